"""Snapshots and plain files that were cut, altered or taken away behind our back."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Workspace
from coordinator.errors import CoordinatorError, CorruptSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME: Final = "tasks.json"
FIRST: Final = b'{"tasks": ["first"]}\n'
SECOND: Final = b'{"tasks": ["first", "second"]}\n'


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def delete(path: Path) -> None:
    path.unlink()


@pytest.fixture(params=["symlink", "directory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A workspace in which a document has two revisions."""
    folder = tmp_path / "shared"
    folder.mkdir()
    document = Workspace.init(folder, agent="alice", primitive=request.param).document(NAME)
    document.commit(FIRST, if_revision=0)
    document.commit(SECOND, if_revision=1)
    return folder


def opened(folder: Path) -> Workspace:
    """As a fresh process would see it."""
    return Workspace(folder, agent="bob")


# ── the snapshot ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", [cut, alter, empty, delete])
def test_a_damaged_snapshot_is_named_and_a_new_commit_heals(folder: Path, damage: Callable[[Path], None]) -> None:
    snapshot = max(folder.glob(f".coordinator/resources/{NAME}/@/snap/*"))
    damage(snapshot)
    workspace = opened(folder)
    with pytest.raises(CorruptSnapshot) as caught:
        workspace.document(NAME).read()
    assert (caught.value.path, caught.value.revision) == (str(snapshot), 2)
    assert str(snapshot) in str(caught.value)
    assert caught.value.hint
    assert (folder / NAME).read_bytes() == SECOND, "the plain file is the last copy"
    with workspace.lease(NAME, ttl=5) as lease:
        with pytest.raises(CorruptSnapshot):
            lease.read()
        assert lease.commit(b"healed").revision == 3
        assert lease.read() == b"healed"
    fresh = opened(folder)
    assert fresh.document(NAME).read() == b"healed"
    assert fresh.document(NAME).at(1) == FIRST
    assert (folder / NAME).read_bytes() == b"healed"


@pytest.mark.parametrize("damage", [cut, alter, empty, delete])
def test_a_commit_that_names_the_revision_heals_without_a_lease(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(max(folder.glob(f".coordinator/resources/{NAME}/@/snap/*")))
    assert opened(folder).document(NAME).commit(b"healed", if_revision=2).revision == 3
    assert opened(folder).document(NAME).read() == b"healed"


def test_a_folder_in_the_place_of_a_snapshot_is_told(folder: Path) -> None:
    snapshot = max(folder.glob(f".coordinator/resources/{NAME}/@/snap/*"))
    snapshot.unlink()
    snapshot.mkdir()
    workspace = opened(folder)
    with pytest.raises(CoordinatorError, match=r"EISDIR|is a directory|damaged") as caught:
        workspace.document(NAME).read()
    assert str(snapshot) in str(caught.value)
    with workspace.lease(NAME, ttl=5) as lease:
        lease.commit(b"healed")
    assert opened(folder).document(NAME).read() == b"healed"


def test_all_snapshots_gone_and_their_folder_too(folder: Path) -> None:
    shutil.rmtree(folder / f".coordinator/resources/{NAME}/@/snap")
    workspace = opened(folder)
    with pytest.raises(CorruptSnapshot):
        workspace.document(NAME).read()
    with workspace.lease(NAME, ttl=5) as lease:
        lease.commit(b"healed")
    assert opened(folder).document(NAME).read() == b"healed"


# ── the plain file ───────────────────────────────────────────────────────────────────────────────────────────────────


# Altered so that it is JSON still, it is somebody's edit, and folded: tests/unit/document/test_edits.py.
@pytest.mark.parametrize("damage", [cut, empty])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh process", "same process"])
def test_an_edited_plain_file_is_kept_and_repaired(
    folder: Path, damage: Callable[[Path], None], *, fresh: bool
) -> None:
    workspace = opened(folder)
    assert workspace.document(NAME).read() == SECOND
    damage(folder / NAME)
    edit = (folder / NAME).read_bytes()
    document = (opened(folder) if fresh else workspace).document(NAME)
    assert document.read() == SECOND
    assert (folder / NAME).read_bytes() == SECOND
    kept = document.conflicts()
    assert [open(path, "rb").read() for path in kept] == [edit]  # noqa: SIM115 - closed at once
    assert document.read() == SECOND
    assert document.conflicts() == kept, "it was kept twice"
    assert workspace.status_of(NAME).conflicts == 1


def test_an_edit_is_kept_and_told_by_a_commit(folder: Path) -> None:
    (folder / NAME).write_bytes(b"by hand")
    receipt = opened(folder).document(NAME).commit(b"third", if_revision=2)
    assert [open(path, "rb").read() for path in receipt.conflicts] == [b"by hand"]  # noqa: SIM115 - closed at once
    assert (receipt.view, (folder / NAME).read_bytes()) == ("fresh", b"third")


def test_a_deleted_plain_file_is_put_back_without_a_conflict(folder: Path) -> None:
    delete(folder / NAME)
    document = opened(folder).document(NAME)
    assert document.read() == SECOND
    assert (folder / NAME).read_bytes() == SECOND
    assert document.conflicts() == []


def test_set_back_to_an_earlier_revision_is_repaired_without_a_conflict(folder: Path) -> None:
    (folder / NAME).write_bytes(FIRST)
    document = opened(folder).document(NAME)
    assert document.read() == SECOND
    assert (folder / NAME).read_bytes() == SECOND
    assert document.conflicts() == []


def test_a_directory_in_its_place_hinders_neither_reading_nor_committing(folder: Path) -> None:
    delete(folder / NAME)
    (folder / NAME).mkdir()
    (folder / NAME / "user's own").write_bytes(b"precious")
    workspace = opened(folder)
    assert workspace.document(NAME).read() == SECOND
    with workspace.lease(NAME, ttl=5) as lease:
        assert lease.read() == SECOND
        receipt = lease.commit(b"third")
    assert (receipt.revision, receipt.view) == (3, "stale")
    assert opened(folder).document(NAME).read() == b"third"
    assert (folder / NAME / "user's own").read_bytes() == b"precious"
    shutil.rmtree(folder / NAME)
    assert opened(folder).document(NAME).read() == b"third"
    assert (folder / NAME).read_bytes() == b"third"


def test_an_empty_directory_in_its_place_does_so_neither(folder: Path) -> None:
    delete(folder / NAME)
    (folder / NAME).mkdir()
    document = opened(folder).document(NAME)
    assert document.read() == SECOND
    assert document.commit(b"third", if_revision=2).view == "stale"
    assert (folder / NAME).is_dir()


def test_replaced_by_a_link_while_the_document_is_open(folder: Path, tmp_path: Path) -> None:
    """A link to a file outside: that file is never written to; the link is replaced by the plain file."""
    workspace = opened(folder)
    document = workspace.document(NAME)
    outside = tmp_path / "outside.json"
    outside.write_bytes(b"outside")
    delete(folder / NAME)
    os.symlink(outside, folder / NAME)
    assert document.read() == SECOND
    assert outside.read_bytes() == b"outside"
    assert not (folder / NAME).is_symlink()
    assert (folder / NAME).read_bytes() == SECOND
    kept = [open(path, "rb").read() for path in document.conflicts()]  # noqa: SIM115 - closed at once
    assert kept == [f"symbolic link to {outside}\n".encode()], "where it led is told; what lies outside is not copied"


def test_replaced_by_a_link_to_nowhere(folder: Path, tmp_path: Path) -> None:
    document = opened(folder).document(NAME)
    delete(folder / NAME)
    os.symlink(tmp_path / "nowhere", folder / NAME)
    assert document.read() == SECOND
    assert not (tmp_path / "nowhere").exists()
    assert (folder / NAME).read_bytes() == SECOND


@pytest.mark.parametrize("damage", [cut, alter, empty, delete])
def test_the_sidecar_is_no_input(folder: Path, damage: Callable[[Path], None]) -> None:
    sidecar = folder / f".coordinator/resources/{NAME}/@/view.json"
    damage(sidecar)
    document = opened(folder).document(NAME)
    assert document.read() == SECOND
    assert document.commit(b"third", if_revision=2).view == "fresh"
    assert b'"revision": 3' in sidecar.read_bytes()
