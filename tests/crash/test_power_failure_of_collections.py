"""Deleting: old records, snapshots, fold lines; logs that ended, logs of writers that say nothing, damaged logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from torn_world import (
    AT,
    NAME,
    PAUSE_MS,
    ROOT,
    STATE,
    TTL,
    World,
    found_out,
    skipping_sync_dirs,
    skipping_syncs_in,
)

from coordinator.document import compactor, tidy
from coordinator.folders import write_new
from coordinator.limits import RETIRE_AFTER_MS
from coordinator.log import reader
from coordinator.record import collect
from coordinator.testing.crash_choices import Tears
from coordinator.testing.crash_points import is_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Workspace

PRIMITIVES: Final = ("symlink", "directory")
COARSE: Final = Tears(page_bytes=4096, nuls=True)


def not_scratch(path: str) -> bool:
    return is_aside(path) and "/.coordinator/scratch/" not in path


# ── records and content ──────────────────────────────────────────────────────────────────────────────────────────────


def collected(primitive: str = "symlink", *, aside: Callable[[str], bool] = is_aside, again: bool = False) -> World:
    """Records are archived, the floor raised, and records and snapshots deleted that are below it."""
    world = World(primitive=primitive, tears=COARSE, aside=aside)
    document = world.open("alice").document(NAME)
    for number in (1, 2, 3):
        world.whole(document.read_json(), number, lambda data: document.commit(data, if_revision=document.revision))
    if again:
        document.collect(keep=2)
    world.settle()
    revisions = {one.n for one in world.open("bob", world.disk).history(NAME)}

    def check(workspace: Workspace) -> None:
        known = {one.n for one in workspace.history(NAME)}
        assert revisions <= known, f"records that nobody can find any more: {revisions - known}"

    world.on_read = check
    with world.points.recording():
        document.collect(keep=1)
    return world


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_a_collection(primitive: str, again: bool) -> None:
    collected(primitive, again=again).assert_taken(12, 14)


@pytest.mark.slow
def test_a_collection_with_every_subset_of_scratch_names() -> None:
    collected("directory", aside=not_scratch).assert_taken(25, 600, bounded=5)


def merged() -> World:
    """Many small archives are made one, and then deleted."""
    world = World(tears=COARSE)
    document = world.open("alice").document(NAME)
    for number in (1, 2, 3):
        world.whole(document.read_json(), number, lambda data: document.commit(data, if_revision=document.revision))
        document.collect(keep=1)
    world.settle()
    revisions = {one.n for one in world.open("bob", world.disk).history(NAME)}

    def check(workspace: Workspace) -> None:
        known = {one.n for one in workspace.history(NAME)}
        assert revisions <= known, f"records that nobody can find any more: {revisions - known}"

    world.on_read = check
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "HISTORY_SEGMENTS_MAX", 1)
        with world.points.recording():
            document.collect(keep=1)
    return world


def test_a_merge_of_archives() -> None:
    merged().assert_taken(7, 15)


def tidied() -> World:
    """After a checkpoint: fold lines and content that nobody needs are deleted, at the smallest bounds there are."""
    world = World(tears=COARSE)
    document = world.open("alice").document(NAME)
    for key in ("a", "b", "c"):
        world.update(document, key, wait=TTL)
        document._folding.compactor._log._abandon()  # each line in a file of its own, as of many processes
        document._folding.compactor._log._open = None
    world.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)
        world.update(document, "d", wait=TTL)
    world.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tidy, "FOLD_FILES_MAX", 1)
        with world.points.recording():
            document.collect(keep=1)
    return world


def test_fold_lines() -> None:
    tidied().assert_taken(10, 15)


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ended() -> World:
    """A writer ends; its log is folded, and deleted."""
    world = World(tears=COARSE)
    alice, bob = world.open("alice"), world.open("bob").document(NAME)
    world.update(bob, "a", wait=TTL)
    world.update(alice.document(NAME), "b")
    world.settle()
    with world.points.recording():
        alice.close()
        world.update(bob, "c", wait=TTL)
    return world


def test_a_log_that_ended() -> None:
    ended().assert_taken(20, 50)


def retired() -> World:
    """A writer says nothing more, and what it wrote last was not folded: its log is fenced, read, ended and deleted."""
    world = World(tears=COARSE)
    alice, bob = (world.open(agent).document(NAME) for agent in ("alice", "bob"))
    world.update(alice, "a", wait=TTL)
    world.update(bob, "b", wait=TTL)
    world.update(alice, "c")
    world.settle()
    world.clock.advance(RETIRE_AFTER_MS * 2)
    with world.points.recording():
        world.update(bob, "d")
        bob.collect()
    return world


def test_a_silent_log() -> None:
    retired().assert_taken(18, 19)


def quarantined() -> World:
    """A log that was altered is set aside: it is copied, a revision says so, and it is deleted."""
    world = World(tears=COARSE, may_quarantine=True)
    alice, bob = (world.open(agent).document(NAME) for agent in ("alice", "bob"))
    world.update(alice, "a", wait=TTL)
    world.update(bob, "b", wait=TTL)
    world.settle()
    name = next(name for name in world.disk.listdir(f"{AT}/log") if name.startswith("alice."))
    data = world.disk.read(f"{AT}/log/{name}")
    world.disk.unlink(f"{AT}/log/{name}")
    damaged = data + b"what no writer ever wrote\n"
    write_new(world.disk, f"{AT}/log/{name}", damaged)
    world.settle()

    def check(workspace: Workspace) -> None:
        files = workspace._member.files
        places = [f"{AT}/{folder}/{name}" for folder in ("log", "quarantine")]
        found = [files.read(path) for path in places if name in files.listdir(path.rpartition("/")[0])]
        assert damaged in found, "the evidence is gone"

    world.on_read = check
    world.disk.mkdir(f"{AT}/quarantine")
    world.settle()
    with world.points.recording():
        world.update(bob, "c", wait=TTL)
    return world


def test_a_damaged_log() -> None:
    quarantined().assert_taken(25, 50)


# ── what is broken on purpose is found ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("act", [collected, merged])
def test_an_archive_that_is_not_synced(act: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs_in(monkeypatch, collect, "_write_segment")
    found_out(act, "nobody can find")


@pytest.mark.parametrize("act", [collected, merged])
def test_a_folder_of_archives_that_is_not_synced(act: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/history"))
    found_out(act, "nobody can find")


def test_logs_that_are_deleted_before_a_revision_tells_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/chain"))
    found_out(ended, "lost")


def test_a_position_that_is_forgotten_before_its_files_are_durably_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader._Files, "sync_names", lambda _files: None)
    monkeypatch.setattr("coordinator.document.state.IDS_MAX", 1)
    found_out(forgotten)


def forgotten() -> World:
    """A log is deleted, and two folds later its position is forgotten."""
    world = World(tears=COARSE)
    alice, bob = world.open("alice"), world.open("bob").document(NAME)
    world.update(bob, "a", wait=TTL)
    world.update(alice.document(NAME), "b")
    alice.close()
    world.settle()
    world.update(bob, "c", wait=TTL)  # it is deleted, which need not be durable
    world.clock.advance(PAUSE_MS)
    for folder in (ROOT, AT, f"{AT}/chain", f"{AT}/shown", f"{STATE}/scratch"):
        world.disk.sync_dir(folder)
    with world.points.recording():
        world.update(bob, "d", wait=TTL)
    return world


def test_a_position_that_is_forgotten() -> None:
    forgotten().assert_taken(20, 50)


def test_evidence_that_is_deleted_before_its_copy_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/quarantine"))
    found_out(quarantined)
