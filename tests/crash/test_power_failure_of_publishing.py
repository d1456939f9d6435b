"""Publishing a revision: a fold line or a checkpoint, or whole content; the record; the plain file and its sidecar.

Those who wait for the outcome of an update leave their logs unsynced on a disk of one host: what they are told is in a
revision, which is synced. So these trees are torn in logs, too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import pytest
from torn_world import NAME, PAUSE_MS, TTL, World, found_out, skipping_sync_dirs, skipping_syncs, skipping_syncs_in

from coordinator import LeaseLost
from coordinator.document import compactor
from coordinator.document.shown import Renderings
from coordinator.document.sidecar import Sidecar
from coordinator.document.snapshot import Draft
from coordinator.document.submit import Submissions
from coordinator.document.view import View
from coordinator.log import segments
from coordinator.record.member import Member
from coordinator.record.mount import MountStore
from coordinator.testing import InterceptedFiles
from coordinator.testing.crash_choices import Tears
from coordinator.testing.crash_points import is_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Workspace
    from coordinator.testing import Call

PRIMITIVES: Final = ("symlink", "directory")
COARSE: Final = Tears(page_bytes=4096, nuls=True)


def not_scratch(path: str) -> bool:
    """The primitive ``directory`` moves records out of scratch/, and back: there, too, every subset is taken."""
    return is_aside(path) and "/.coordinator/scratch/" not in path


def of(primitive: str, *, local: bool = True, aside: Callable[[str], bool] = is_aside) -> World:
    return World(primitive=primitive, local=local, tears=COARSE, aside=aside)


# ── folds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_fold(primitive: str = "symlink", *, local: bool = True) -> World:
    """The first update of all: it takes the plain file over, and makes every folder."""
    world = of(primitive, local=local)
    document = world.open("alice").document(NAME)
    with world.points.recording():
        world.update(document, "a", wait=TTL)
    return world


def next_fold(primitive: str = "symlink", *, local: bool = True, aside: Callable[[str], bool] = is_aside) -> World:
    """A fold that finds everything there: one line, one record, one plain file; of two writers' logs."""
    world = of(primitive, local=local, aside=aside)
    alice, bob = (world.open(agent).document(NAME) for agent in ("alice", "bob"))
    world.update(alice, "a", wait=TTL)
    world.settle()
    with world.points.recording():
        world.update(bob, "b")
        world.update(alice, "c", "no-d", wait=TTL)
    return world


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_a_fold(primitive: str, local: bool) -> None:
    next_fold(primitive, local=local).assert_taken(25, 35)


@pytest.mark.slow
def test_a_fold_with_every_subset_of_scratch_names() -> None:
    next_fold("directory", aside=not_scratch).assert_taken(30, 800)


@pytest.mark.parametrize("primitive", ["symlink", pytest.param("directory", marks=pytest.mark.slow)])
def test_the_first_fold_of_all(primitive: str) -> None:
    first_fold(primitive).assert_taken(40, 100)


def two_folds() -> World:
    """Two revisions, and the plain file replaced twice."""
    world = of("symlink")
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    world.settle()
    with world.points.recording():
        world.update(document, "b", wait=TTL)
        world.update(document, "c", wait=TTL)
    return world


@pytest.mark.slow
def test_two_folds() -> None:
    two_folds().assert_taken(40, 60)


def checkpoint() -> World:
    """A fold that writes the content down whole."""
    world = of("symlink")
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    world.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)
        with world.points.recording():
            world.update(document, "b", wait=TTL)
            world.update(document, "c", wait=TTL)
    return world


def test_a_checkpoint() -> None:
    checkpoint().assert_taken(40, 60)


def unsynced_rotation() -> World:
    """Those who wait leave their log unsynced; at its end it is synced, and another segment begun."""
    world = of("symlink")
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    world.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", 600)
        with world.points.recording():
            world.update(document, "b", wait=TTL)
            world.update(document, "c", wait=TTL)
            world.update(document, "d")
    return world


def test_logs_of_those_who_wait() -> None:
    unsynced_rotation().assert_taken(30, 60)


# ── whole content ────────────────────────────────────────────────────────────────────────────────────────────────────


def committed(primitive: str = "symlink", *, begun: bool = True) -> World:
    """Under a lease, and without one, on a document that has a revision, or none."""
    world = of(primitive)
    workspace = world.open("alice")
    document = workspace.document(NAME)
    if begun:
        world.whole(document.read_json(), 1, lambda data: document.commit(data, if_revision=document.revision))
        world.settle()
    value = document.read_json()
    world.clock.advance(PAUSE_MS)
    with world.points.recording():
        with workspace.lease(NAME, ttl=TTL) as lease:
            world.whole(value, 2, lease.commit)
        world.whole(value, 3, lambda data: document.commit(data, if_revision=document.revision))
    return world


@pytest.mark.parametrize(
    ("primitive", "begun"),
    [
        ("symlink", True),
        ("symlink", False),
        ("directory", True),
        pytest.param("directory", False, marks=pytest.mark.slow),
    ],
)
def test_a_commit(primitive: str, begun: bool) -> None:
    committed(primitive, begun=begun).assert_taken(30, 40)


def mixed(*, commit_too: bool = True) -> World:
    """Whole content committed on what was folded, and folded on."""
    world = of("symlink")
    workspace = world.open("alice")
    document = workspace.document(NAME)
    world.update(document, "a", wait=TTL)
    world.settle()
    value = document.read_json()
    world.clock.advance(PAUSE_MS)
    with contextlib.ExitStack() as stack:
        if commit_too:
            stack.enter_context(world.points.recording())
        with workspace.lease(NAME, ttl=TTL) as lease:
            world.whole(value, 1, lease.commit)
        if not commit_too:
            world.settle()
            stack.enter_context(world.points.recording())
        world.update(document, "b", wait=TTL)
    return world


def test_a_fold_on_a_commit() -> None:
    mixed(commit_too=False).assert_taken(15, 40)


@pytest.mark.slow
def test_a_commit_on_what_was_folded_and_a_fold_on_it() -> None:
    mixed().assert_taken(40, 60)


def refused() -> World:
    """A commit that comes too late: what was to be committed is kept, at a path that its author is told."""
    world = of("symlink")
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    told: list[str] = []
    data = b'{"list": ["a"], "again": ["a"], "whole": 99}'

    def check(workspace: Workspace) -> None:
        assert all(workspace._member.files.read(path) == data for path in told), "what was kept is gone"

    world.after_fold = check
    with world.open("bob").lease(NAME, ttl=TTL) as lease:
        world.settle()
        world.clock.advance(TTL * 2000)
        with world.points.recording():
            with pytest.raises(LeaseLost) as lost:
                lease.commit(data)
            told.append(lost.value.kept)
            world.promised.kept = (data,)
            world.points.look("after its author was told")
    return world


def test_a_commit_that_is_refused() -> None:
    refused().assert_taken(8, 10)


class _KilledError(BaseException):
    """Not an Exception: nothing of ours may catch it."""


def told_by_another() -> World:
    """An update is folded by a process that is killed before it synced its record; its writer finds the outcome."""
    world = of("symlink")
    world.update(world.open("alice").document(NAME), "a", wait=TTL)
    killed: list[Call] = []

    def kill(call: Call) -> None:
        if call[:2] == ("before", "sync_dir") and call.path.endswith("/@/chain"):
            killed.append(call)
            raise _KilledError

    bob = world.open("bob", InterceptedFiles(world.points.files, kill)).document(NAME)

    def fold(_pause_ms: float) -> None:
        if not killed:
            with contextlib.suppress(_KilledError):
                bob.compact()

    world.settle()
    carol = world.open("carol").document(NAME)
    world.clock.on_pause = fold
    # Not alone, as far as she knows: she has to read up, and waits a moment first.
    with pytest.MonkeyPatch.context() as patch, world.points.recording():
        patch.setattr(Submissions, "_age_ms", lambda *_: 0)
        world.update(carol, "b", wait=TTL)
    assert killed
    return world


def test_an_outcome_that_is_found_in_a_revision_whose_publisher_was_killed() -> None:
    told_by_another().assert_taken(10, 20)


# ── the power fails again while the first failure is recovered ───────────────────────────────────────────────────────


def failing_again(monkeypatch: pytest.MonkeyPatch, act: Callable[[], World], every: int) -> int:
    monkeypatch.setattr(World, "again_every", every)
    world = act()
    print(f"\n{world.points}, and {world.judged_again} after a second failure")  # noqa: T201 - asked for
    return world.judged_again


def test_a_second_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failing_again(monkeypatch, next_fold, 20) > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("act", [first_fold, next_fold, checkpoint, unsynced_rotation, mixed, told_by_another])
def test_second_failures(act: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
    assert failing_again(monkeypatch, act, 7) > 100


# ── what is broken on purpose is found ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("act", [next_fold, checkpoint])
def test_a_fold_line_that_is_not_synced_before_its_record(
    act: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    skipping_syncs(monkeypatch, lambda path: "/@/fold/" in path)
    found_out(act, "CorruptSnapshot")


def test_a_checkpoint_that_is_not_synced_before_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs_in(monkeypatch, Draft, "_write")
    found_out(checkpoint, "CorruptSnapshot")


@pytest.mark.parametrize("act", [first_fold, checkpoint, committed])
def test_content_that_is_not_synced_before_its_record(
    act: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    skipping_syncs_in(monkeypatch, Member, "write_scratch")
    found_out(act)


@pytest.mark.parametrize(
    ("folder", "act"),
    [
        ("chain", next_fold),
        ("chain", committed),
        ("fold", first_fold),
        ("snap", committed),
        ("snap", checkpoint),
        ("", first_fold),
    ],
)
def test_a_folder_that_is_not_synced(folder: str, act: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith(f"/@/{folder}" if folder else "/@"))
    found_out(act)


@pytest.mark.slow
def test_a_log_that_is_not_synced_for_who_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs(monkeypatch, lambda path: "/@/log/" in path)
    found_out(unsynced_rotation, "lost")


@pytest.mark.parametrize("folder", ["/@", "/@/kept"])
def test_content_that_was_refused_and_is_not_synced(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith(folder))
    found_out(refused, "kept|FileNotFound")


def test_a_revision_that_is_told_before_its_record_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds its outcome in another's revision makes that durable first."""
    monkeypatch.setattr(MountStore, "make_durable", lambda *_: None)
    found_out(told_by_another, "lost")


def test_a_view_or_a_sidecar_that_is_not_synced_before_it_is_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs_in(monkeypatch, View, "_replace")
    found_out(next_fold)


def test_a_sidecar_that_is_not_synced_before_it_is_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs_in(monkeypatch, Sidecar, "tell")
    found_out(next_fold)


@pytest.mark.slow
def test_renderings_that_are_not_synced_before_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power failure the plain file would be taken for an edit by hand."""
    skipping_syncs_in(monkeypatch, Renderings, "note")
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/shown"))
    found_out(two_folds)
