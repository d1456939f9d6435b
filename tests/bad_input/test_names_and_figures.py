"""Names and figures that users, models and environment variables hand in."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.errors import BadName, BadValue, LeaseHeld

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator import Workspace

BAD_NAMES = [
    "..",
    "../x",
    "a/../b",
    "a/..",
    "/",
    "/etc/passwd",
    "//x",
    "",
    "\0",
    "a\0b",
    "a\nb",
    "a\x1b[31m",
    "a\x7f",
    "\t",
    "x" * 256,
    "é" * 128,
    "ok/" + "x" * 256,
    "/".join(["x" * 100] * 6),
    "\ud800",
    "a/\udcff",
    ".coordinator",
    ".coordinator/x",
    ".Coordinator/format.json",
    ".COORDINATOR",
    "a//b",
    "./a",
    ".",
    "a/.",
    "a/",
    "a/b/",
]


def every_way(workspace: Workspace, name: Any) -> list[Callable[[], object]]:
    return [
        lambda: workspace.lease(name),
        lambda: workspace.try_lease(name),
        lambda: workspace.document(name),
        lambda: workspace.status_of(name),
        lambda: workspace.history(name),
        lambda: workspace.request_release(name, grace=0),
        lambda: workspace.break_lease(name, fence=1),
        lambda: workspace.resume(f"v1.1.{'a' * 20}.{name}"),
    ]


def listed(folder: str) -> list[str]:
    return sorted(os.path.join(top, name) for top, folders, files in os.walk(folder) for name in (*folders, *files))


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_is_no_safe_path_is_refused_everywhere(workspace: Workspace, name: str) -> None:
    before = listed(workspace.directory)
    for way in every_way(workspace, name):
        with pytest.raises(BadName) as caught:
            way()
        assert caught.value.name == name
        assert caught.value.hint
        assert "\x1b" not in str(caught.value)
        str(caught.value).encode(errors="strict")  # fit for a log
    assert listed(workspace.directory) == before


@pytest.mark.parametrize("name", [None, 7, b"tasks.json", ["a"]], ids=repr)
def test_a_name_that_is_no_text(workspace: Workspace, name: Any) -> None:
    for way in every_way(workspace, name)[:-1]:
        with pytest.raises((BadName, TypeError)):
            way()


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, "@", "@/@", "a/@/b", "ünï/çødé.json", "-rf", "~", "$HOME", "a b"]
)
def test_an_odd_name_that_is_lawful_works(workspace: Workspace, name: str) -> None:
    with workspace.lease(name, ttl=5) as lease:
        lease.commit(b"{}")
    assert workspace.document(name).read() == b"{}"
    assert [status.resource for status in workspace.status()] == [name]


def test_the_longest_name_works(workspace: Workspace) -> None:
    name = "/".join(["@" * 127] * 4)
    assert len(name) == 511
    workspace.document(name).commit(b"{}", if_revision=0)
    assert workspace.document(name).read() == b"{}"


# ── symbolic links ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_link_that_leads_out_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    os.symlink(outside / "secret", f"{workspace.directory}/link")
    os.symlink(outside, f"{workspace.directory}/folder")
    os.symlink("../outside/new", f"{workspace.directory}/relative")
    os.symlink(f"{workspace.directory}-2", f"{workspace.directory}/prefix")
    for name in ("link", "folder/secret", "folder/new", "folder/deep/new", "relative", "prefix"):
        for way in every_way(workspace, name)[:-1]:
            with pytest.raises(BadName, match="leads out"):
                way()
    assert os.listdir(outside) == ["secret"]


def test_a_link_into_the_state_folder_is_refused(workspace: Workspace) -> None:
    os.symlink(".coordinator", f"{workspace.directory}/state")
    os.symlink(".coordinator/format.json", f"{workspace.directory}/format")
    for name in ("state", "state/format.json", "format", "state/new"):
        for way in every_way(workspace, name)[:-1]:
            with pytest.raises(BadName, match="own folder"):
                way()


def test_a_link_to_the_workspace_itself_and_a_ring_of_links(workspace: Workspace) -> None:
    os.symlink(".", f"{workspace.directory}/itself")
    os.symlink("b", f"{workspace.directory}/a")
    os.symlink("a", f"{workspace.directory}/b")
    with pytest.raises(BadName):
        workspace.lease("itself")
    assert workspace.document("itself/x.json").name == "x.json"
    with workspace.lease("a", ttl=5) as lease:  # it names no file, and is a name like any other
        assert lease.fence == 1


def test_an_alias_is_the_same_lease(workspace: Workspace) -> None:
    os.mkdir(f"{workspace.directory}/real")
    with open(f"{workspace.directory}/real/tasks.json", "wb") as file:
        file.write(b"{}")
    os.symlink("real/tasks.json", f"{workspace.directory}/alias.json")
    os.symlink("real", f"{workspace.directory}/folder")
    names = ["real/tasks.json", "alias.json", "folder/tasks.json"]
    for held in names:
        with workspace.lease(held, ttl=30) as lease:
            assert lease.resource == "real/tasks.json"
            for other in names:
                with pytest.raises(LeaseHeld):
                    workspace.lease(other, ttl=30)
                assert workspace.status_of(other).state == "held"
    assert workspace.document("alias.json").read() == b"{}"
    workspace.document("alias.json").commit(b"[]", if_revision=0)
    assert workspace.document("folder/tasks.json").read() == b"[]"
    with open(f"{workspace.directory}/real/tasks.json", "rb") as file:
        assert file.read() == b"[]"
    assert os.path.islink(f"{workspace.directory}/alias.json")
    assert [status.resource for status in workspace.status()] == ["real/tasks.json"]


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NO_NUMBERS = [math.nan, math.inf, -math.inf, -1, -0.001, "30", "", None, True, False, [], 1j, b"1"]


@pytest.mark.parametrize(
    "ttl", [0, 0.0, 0.099, 1e-9, 86_400.1, 1e9, 1e300, 10**400, *NO_NUMBERS], ids=lambda value: repr(value)[:20]
)
def test_a_ttl_out_of_its_limits(workspace: Workspace, ttl: Any) -> None:
    with pytest.raises(BadValue, match="ttl") as caught:
        workspace.lease("a", ttl=ttl)
    assert caught.value.argument == "ttl"
    assert workspace.status() == []


@pytest.mark.parametrize("wait", [1e9, 1e300, *(wait for wait in NO_NUMBERS if wait is not None)], ids=repr)
def test_a_wait_out_of_its_limits(workspace: Workspace, wait: Any) -> None:
    with pytest.raises(BadValue, match="wait") as caught:
        workspace.lease("a", wait=wait)
    assert caught.value.argument == "wait"
    assert workspace.status() == []


@pytest.mark.parametrize("ends_in", [value for value in NO_NUMBERS if value is not None], ids=repr)
def test_an_end_of_the_host_that_is_no_number(workspace: Workspace, ends_in: Any) -> None:
    with pytest.raises(BadValue, match="ends_in"):
        workspace.lease("a", ends_in=ends_in)


@pytest.mark.parametrize(
    ("ends_in", "figure"), [(12.5, "12.5 s"), (0.05, "0.05 s"), (0, "0.001 s"), (29.999, "29.999 s")]
)
def test_a_ttl_beyond_the_end_of_the_host_is_refused_with_the_figure(
    workspace: Workspace, ends_in: float, figure: str
) -> None:
    with pytest.raises(BadValue) as caught:
        workspace.lease("a", ttl=30, ends_in=ends_in)
    assert figure in caught.value.message
    assert "30 s" in caught.value.message
    assert figure in caught.value.hint
    assert workspace.status() == []


@pytest.mark.parametrize("grace", [value for value in NO_NUMBERS if value is not None], ids=repr)
def test_a_grace_that_is_no_number(workspace: Workspace, grace: Any) -> None:
    with pytest.raises(BadValue, match="grace"):
        workspace.request_release("a", grace=grace)


def test_the_limits_themselves_are_lawful(workspace: Workspace) -> None:
    workspace.lease("a", ttl=0.1, wait=0).release()
    workspace.lease("a", ttl=86_400, wait=30 * 86_400, ends_in=86_400).release()


@pytest.mark.parametrize(
    "token", ["", "v1", "v2.1.x.a", "v1.-1.x.a", f"v1.1.{'A' * 20}.a", f"v1.{'9' * 5000}.{'a' * 20}.a", "\0"]
)
def test_a_token_that_is_none(workspace: Workspace, token: str) -> None:
    with pytest.raises((BadValue, BadName)):
        workspace.resume(token)


def test_a_token_with_a_name_that_leads_out(workspace: Workspace) -> None:
    with pytest.raises(BadName):
        workspace.resume(f"v1.1.{'a' * 20}.../x")
