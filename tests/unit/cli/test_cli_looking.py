"""``init``, ``status``, ``lease list``, ``show`` and ``release``, ``gc``, ``demo``."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import LeaseLost, ResourceStatus, Workspace
from coordinator.names import Resource
from coordinator.record.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer

KEYS = {field.name for field in fields(ResourceStatus)}


def table(text: str) -> list[list[str]]:
    """The lines below the headings, each as its cells that are not empty."""
    return [re.split(" {2,}", line.strip()) for line in text.splitlines()[1:]]


# ── init ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_init(call: Callable[..., Answer], tmp_path: Path, primitive: str) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    told = call("init", str(folder), "--primitive", primitive, "--json")
    made = Workspace(folder).format
    assert told.status == 0
    assert told.value == {
        "directory": str(folder),
        "workspace_id": made.workspace_id,
        "primitive": primitive,
        "format": 1,
    }
    again = call("init", str(folder))
    assert again == (0, f"{folder} is a workspace (records by {primitive})\n", "")
    assert Workspace(folder).format == made


def test_init_here(call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert call("init").status == 0
    assert (folder / ".coordinator" / "format.json").is_file()


def test_init_of_nothing(call: Callable[..., Answer], tmp_path: Path) -> None:
    assert call("init", str(tmp_path / "missing")).status == 66
    assert not (tmp_path / "missing").exists()


def test_init_with_a_wrong_primitive(call: Callable[..., Answer], tmp_path: Path, workspace: Workspace) -> None:
    assert call("init", str(tmp_path), "--primitive", "hardlink").status == 2
    other = "directory" if workspace.format.primitive == "symlink" else "symlink"
    assert call("init", workspace.directory, "--primitive", other).status == 2


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_workspace(call: Callable[..., Answer], workspace: Workspace) -> None:
    assert call("status") == (0, f"nothing was leased or committed in {workspace.directory} yet\n", "")
    assert call("status", "--json") == (0, "[]\n", "")
    assert call("lease", "list") == (0, "no lease is held\n", "")
    assert call("lease", "list", "--json") == (0, "[]\n", "")


def test_status(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    with workspace.lease("deploy/prod", ttl=100) as lease:
        told = call("status", "--json")
        held, plan = told.value
        shown = call("status").out
        (only,) = call("status", "plan.json", "--json").value
    assert told.status == 0
    assert set(held) == set(plan) == KEYS
    assert (held["resource"], held["state"], held["holder"], held["fence"]) == ("deploy/prod", "held", "alice", 1)
    assert held["until_ms"] - held["since_ms"] == 100_000
    assert (plan["resource"], plan["state"], plan["revision"], plan["size_bytes"]) == ("plan.json", "free", 1, 3)
    assert only | {"now_ms": 0} == plan | {"now_ms": 0}
    headings = ["RESOURCE", "STATE", "HOLDER", "FENCE", "SINCE", "UNTIL", "WAITING", "REV", "BYTES", "EDITS"]
    assert shown.splitlines()[0].split() == headings
    first, second = table(shown)
    assert first[:4] == ["deploy/prod", "held", "alice", str(lease.fence)]
    assert first[4].endswith(" s ago")
    assert first[5].startswith("in ")
    assert len(first) == 6
    assert second[:2] + second[-2:] == ["plan.json", "free", "1", "3"]


def test_ages_are_of_the_stores_clock(call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def told_by_another_clock(_workspace: Workspace, name: str) -> ResourceStatus:
        return ResourceStatus(name, "held", "carol", 7, 1000, 30_300, 2, 4, 900, 3, now_ms=13_300)

    monkeypatch.setattr(Workspace, "status_of", told_by_another_clock)
    (cells,) = table(call("status", "x").out)
    assert cells == ["x", "held", "carol", "7", "12.3 s ago", "in 17.0 s", "2", "4", "900", "3"]


def test_a_name_that_was_never_leased(call: Callable[..., Answer]) -> None:
    assert table(call("status", "x").out) == [["x", "free"]]


def damage(workspace: Workspace, name: str) -> str:
    """Puts a record that is none on top of a chain."""
    chain = Places(workspace.directory).of(Resource.parse(name), "chain")
    path = f"{chain}/{9:012d}"
    if workspace.format.primitive == "symlink":
        os.symlink("v=1/n=9/nonsense", path)
    else:
        os.mkdir(path)
        Path(path, "record").write_text("v=1/n=9/nonsense")
    return path


def test_a_damaged_resource(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.lease("x").release()
    workspace.lease("y").release()
    path = damage(workspace, "x")
    told = call("status")
    assert told.status == 0
    assert [cells[1] for cells in table(told.out)] == ["damaged", "free"]
    assert path in told.err
    assert path in call("status", "--json").value[0]["trouble"]
    listed = call("lease", "list")
    assert table(listed.out) == [["x", "damaged"]]
    assert path in listed.err
    told = call("status", "x", "--json")
    assert (told.status, told.error["error"]) == (65, "CorruptRecord")
    collected = call("gc")
    assert collected.status == 65
    assert path in collected.err
    assert call("gc", "--json").status == 65


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_list_and_show(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.lease("free").release()
    with workspace.lease("held"):
        assert [cells[0] for cells in table(call("lease", "list").out)] == ["held"]
        (held,) = call("lease", "list", "--json").value
        shown = call("lease", "show", "held")
    assert set(held) == KEYS
    assert (held["resource"], held["holder"], held["fence"]) == ("held", "alice", 1)
    lease, history = shown.out.split("\n\n")
    assert table(lease)[0][:4] == ["held", "held", "alice", "1"]
    (cells,) = table(history)
    assert cells[0] == "1"
    assert cells[2:] == ["grant", "alice", "free"]


def test_show_tells_the_newest_of_the_history(call: Callable[..., Answer], workspace: Workspace) -> None:
    for _ in range(7):
        workspace.lease("x").release()
    shown = call("lease", "show", "x", "--json").value
    assert set(shown) == KEYS | {"history"}
    assert [record["n"] for record in shown["history"]] == list(range(5, 15))
    assert shown["history"][-2]["kind"] == "grant"
    assert shown["history"][-2]["lease"]["fence"] == 13


def test_show_of_a_name_that_was_never_leased(call: Callable[..., Answer]) -> None:
    assert len(call("lease", "show", "x").out.splitlines()) == 2
    assert call("lease", "show", "x", "--json").value["history"] == []


def test_release_by_force(call: Callable[..., Answer], workspace: Workspace) -> None:
    lease = workspace.lease("plan.json")
    refused = call("lease", "release", "plan.json", "--fence", "7", "--json")
    assert (refused.status, refused.error["error"]) == (76, "LeaseLost")
    assert refused.error["fields"]["successor"] == "alice"
    lease.check()
    told = call("lease", "release", "plan.json", "--fence", "1", "--json")
    assert (told.status, told.value) == (0, {"resource": "plan.json", "released_fence": 1})
    assert workspace.history("plan.json")[-1].agent == "bob"
    with pytest.raises(LeaseLost):
        lease.commit(b"{}")
    lease = workspace.lease("plan.json")
    told = call("lease", "release", "plan.json", "--fence", str(lease.fence))
    assert told.status == 0
    assert f"fence {lease.fence} is free" in told.out


def test_release_of_what_nobody_holds(call: Callable[..., Answer]) -> None:
    told = call("lease", "release", "x", "--fence", "1")
    assert told.status == 76
    assert "nobody holds it" in told.err


# ── gc, demo ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gc(call: Callable[..., Answer], workspace: Workspace) -> None:
    for _ in range(40):
        workspace.lease("x").release()
    told = call("gc", "--json")
    assert told.status == 0
    assert set(told.value) == {"resources", "records", "files", "bytes_freed", "trouble"}
    assert told.value["resources"] == 1
    assert told.value["records"] > 0
    told = call("gc")
    assert told.status == 0
    assert re.fullmatch(r"1 resources: \d+ records archived, \d+ files removed, \d+ bytes freed\n", told.out)


def test_demo(call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def run_demo(**options: Any) -> int:
        asked.append(options)
        return 1

    monkeypatch.setattr("coordinator.demo.run_demo", run_demo)
    assert call("demo").status == 1
    assert call("demo", "--tasks", "t.json", "--workers", "3", "--json", "--keep", "there").status == 1
    assert asked == [
        {"tasks_path": None, "workers": 8, "as_json": False, "keep": None},
        {"tasks_path": "t.json", "workers": 3, "as_json": True, "keep": "there"},
    ]
    assert call("demo", "--workers", "1").status == 2
