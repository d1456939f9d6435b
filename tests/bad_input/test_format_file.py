"""A workspace whose ``format.json`` is damaged, newer or missing, and many who make one at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import Workspace
from coordinator.errors import BadValue, Damaged, NewerFormat, NotAWorkspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The format file of a workspace with one committed document."""
    Workspace.init(tmp_path, agent="alice").document("a.json").commit(b"one", if_revision=0)
    return tmp_path / ".coordinator" / "format.json"


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def both_ways(path: Path) -> list[Callable[[], Workspace]]:
    """Opening it, and making it: neither may mend it silently."""
    folder = path.parent.parent
    return [lambda: Workspace(folder), lambda: Workspace.init(folder)]


def assert_damaged(path: Path) -> None:
    before = path.read_bytes()
    for way in both_ways(path):
        with pytest.raises(Damaged) as caught:
            way()
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)
        assert caught.value.hint, "no hint"
    assert path.read_bytes() == before


def test_cut_at_any_byte(path: Path) -> None:
    whole = path.read_bytes()
    for end in range(len(whole.rstrip())):
        path.write_bytes(whole[:end])
        assert_damaged(path)


@pytest.mark.parametrize("text", [b"", b"\0" * 50, b"\xff\xfe{}", b"format", b"[]", b"1", b"null", b'"text"', b"{}"])
def test_not_the_json_that_it_has_to_be(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    assert_damaged(path)


def test_nested_too_deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)
    assert_damaged(path)


WRONG: dict[str, list[Any]] = {
    "format": ["1", None, [], {}, 1.5, True],
    "min_reader": ["1", None, [], {}, 0.5, True],
    "min_writer": ["1", None, [], {}, 0.5, True],
    "workspace_id": [1, None, [], ""],
    "primitive": [1, None, [], {}],
    "authority": [1, None, [], "mount"],
    "made_by": [1, None, []],
    "made_ms": ["1", None, [], {}],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_the_wrong_type(path: Path, name: str) -> None:
    wrong = {}
    for value in WRONG[name]:
        rewrite(path, **{name: value})
        try:
            Workspace(path.parent.parent)
        except Damaged as error:
            if error.path != str(path) or not error.hint:
                wrong[repr(value)] = f"no path, or no hint: {error}"
        except Exception as error:  # noqa: BLE001 - told with the value that brought it about
            wrong[repr(value)] = f"raised {error!r}"
        else:
            wrong[repr(value)] = "was accepted"
    assert not wrong


@pytest.mark.parametrize("name", WRONG)
def test_a_field_that_is_missing(path: Path, name: str) -> None:
    told = json.loads(path.read_text())
    del told[name]
    path.write_text(json.dumps(told))
    assert_damaged(path)


def test_a_field_of_a_newer_version_is_no_damage(path: Path) -> None:
    rewrite(path, colour="blue")
    assert Workspace(path.parent.parent).document("a.json").read() == b"one"


def test_an_unknown_primitive_is_told(path: Path) -> None:
    rewrite(path, primitive="hardlink")
    assert_damaged(path)
    with pytest.raises(Damaged, match="hardlink"):
        Workspace(path.parent.parent)


def test_a_newer_one_is_refused_at_opening(path: Path) -> None:
    rewrite(path, format=3, min_reader=2, min_writer=3, made_by="agent-coordinator 9.0")
    for way in both_ways(path):
        with pytest.raises(NewerFormat, match=r"agent-coordinator 9\.0") as caught:
            way()
        assert (caught.value.needs, caught.value.have) == (2, 1)
        assert caught.value.hint


def test_a_newer_one_that_may_be_read_is_read_and_not_written(path: Path) -> None:
    rewrite(path, format=2, min_writer=2)
    folder = path.parent.parent
    before = {str(found) for found in folder.rglob("*") if "/clock/" not in str(found)}
    workspace = Workspace(folder, agent="bob")
    assert workspace.document("a.json").read() == b"one"
    assert [status.state for status in workspace.status()] == ["free"]
    writes: list[Callable[[], object]] = [
        lambda: workspace.lease("a.json", ttl=1),
        lambda: workspace.lease("new.json", ttl=1),
        lambda: workspace.document("a.json").commit(b"two", if_revision=1),
        lambda: workspace.document("new.json").commit(b"two", if_revision=0),
        lambda: workspace.document("a.json").collect(keep=1),
    ]
    for write in writes:
        with pytest.raises(NewerFormat) as caught:
            write()
        assert (caught.value.needs, caught.value.have) == (2, 1)
    assert {str(found) for found in folder.rglob("*") if "/clock/" not in str(found)} == before, "something was written"
    assert (folder / "a.json").read_bytes() == b"one"


def test_a_newer_one_that_may_be_read_is_not_collected(path: Path) -> None:
    """Also not snapshots, refused content, scratch and clock files: what a newer version needs is not known here."""
    folder = path.parent.parent
    old = folder / ".coordinator/scratch/old"
    old.write_bytes(b"of a newer version")
    os.utime(old, (1, 1))
    orphan = folder / f".coordinator/resources/a.json/@/snap/{0:012d}-of-a-newer-version"
    orphan.write_bytes(b"of a newer version")
    rewrite(path, format=2, min_writer=2)
    with pytest.raises(NewerFormat):
        Workspace(folder).collect()
    assert old.exists()
    assert orphan.exists()


def test_a_state_folder_without_its_format_file(path: Path) -> None:
    path.unlink()
    opening, making = both_ways(path)
    with pytest.raises(NotAWorkspace, match=r"format\.json") as caught:
        opening()
    assert caught.value.hint
    names = set(os.listdir(path.parent.parent))
    with pytest.raises(Damaged, match=r"no format\.json") as damaged:
        making()
    assert damaged.value.hint
    assert set(os.listdir(path.parent.parent)) == names
    assert not path.exists()


def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotAWorkspace, match="missing") as caught:
        Workspace.init(tmp_path / "missing")
    assert caught.value.hint
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for way in (Workspace.init, Workspace):
        with pytest.raises(NotAWorkspace, match="file"):
            way(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_file_in_the_place_of_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / ".coordinator").write_bytes(b"precious")
    with pytest.raises(Damaged):
        Workspace.init(tmp_path)
    assert os.listdir(tmp_path) == [".coordinator"]
    assert (tmp_path / ".coordinator").read_bytes() == b"precious"


def test_another_primitive_than_it_was_made_with_is_refused(tmp_path: Path) -> None:
    Workspace.init(tmp_path, primitive="symlink")
    with pytest.raises(BadValue, match="symlink"):
        Workspace.init(tmp_path, primitive="directory")
    with pytest.raises(BadValue, match="hardlink"):
        Workspace.init(tmp_path, primitive="hardlink")


MAKE = """
import sys
from coordinator import Workspace
print("ready", flush=True)
sys.stdin.readline()
print(Workspace.init(sys.argv[1]).format.workspace_id, flush=True)
"""


def test_eight_processes_make_one_workspace(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    gate, start = os.pipe()  # all wait for the end of this one pipe
    crowd = [subprocess.Popen(command, stdin=gate, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    os.close(gate)
    try:
        for process in crowd:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        os.close(start)
        start = -1
        told = [process.communicate(timeout=30)[0].strip() for process in crowd]
    finally:
        if start >= 0:
            os.close(start)
        for process in crowd:
            process.kill()
            process.wait()
    assert [process.returncode for process in crowd] == [0] * 8
    assert set(told) == {Workspace(tmp_path).format.workspace_id}
    assert os.listdir(tmp_path) == [".coordinator"], "the losers left something"


@pytest.mark.parametrize("name", ["scratch", "clock"])
@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_an_empty_folder_that_a_restore_left_out_is_made_again(tmp_path: Path, primitive: str, name: str) -> None:
    """Backups by way of an object store or a version control system carry no empty folders."""
    Workspace.init(tmp_path, agent="alice", primitive=primitive).document("a.json").commit(b"one", if_revision=0)
    shutil.rmtree(tmp_path / ".coordinator" / name)
    workspace = Workspace(tmp_path, agent="bob")
    assert workspace.document("a.json").read() == b"one"
    with workspace.lease("a.json", ttl=5) as lease:
        lease.commit(b"two")
    workspace.collect()
    assert Workspace(tmp_path).document("a.json").read() == b"two"
