"""A process is killed, others go on with what it left, and then the power fails.

What a killed process did and had not synced is there for everyone until the power fails. Whoever builds on it and is
told that its own work is durable, relies on somebody having made the other's part durable, too.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import NoSuchDocument, NotAWorkspace, Workspace
from coordinator.folders import write_new
from coordinator.testing import InterceptedFiles, ManualClock
from coordinator.testing.crash import CrashFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordinator.files import Files
    from coordinator.testing import Call

ROOT: Final = "/shared"
NAME: Final = "plan.json"
PATH: Final = f"{ROOT}/{NAME}"
TTL_SECONDS: Final = 5
SEED: Final = 7
EDIT: Final = b"what somebody wrote by hand\n"


class _KilledError(BaseException):
    """Not an Exception: nothing of ours may catch it."""


class Killer:
    """A hook: from its nth call on, the process makes no more calls, and those of its clean-up neither."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self.at = ""

    def __call__(self, call: Call) -> None:
        self._left -= 1
        if self._left <= 0:
            self.at = self.at or " ".join(call)
            raise _KilledError


def a_disk() -> tuple[CrashFiles, ManualClock]:
    clock = ManualClock()
    disk = CrashFiles(clock)
    disk.mkdir(ROOT)
    disk.sync_all()
    return disk, clock


def killed_at_each_call(
    before: Callable[[Files, ManualClock], object], life: Callable[[Files, ManualClock], object]
) -> Iterator[tuple[str, CrashFiles, ManualClock]]:
    """Where a life was cut off, and the disk as it then is, for each call; ``before`` is durable and not cut."""
    nth, effects = 0, -1
    while True:
        nth += 1
        disk, clock = a_disk()
        before(disk, clock)
        disk.sync_all()
        killer = Killer(nth)
        try:
            life(InterceptedFiles(disk, killer), clock)
        except _KilledError:
            if len(disk.effects) != effects:  # else that call did nothing since the last one
                effects = len(disk.effects)
                yield killer.at, disk, clock
        else:
            return


def found_after_power_failure(disk: CrashFiles, clock: ManualClock) -> Iterator[tuple[str, CrashFiles, ManualClock]]:
    now_ms = clock.wall_ms()
    for state in disk.crash_states(exhaustive_max=8, samples=3, seed=SEED, clock=ManualClock(now_ms)):
        lost = ", ".join(" ".join(effect) for effect in state.lost)
        yield f"lost with the power: {lost or 'nothing'}; seed {SEED}", state.files, ManualClock(now_ms)


def commit(files: Files, clock: ManualClock, data: bytes, agent: str) -> None:
    with Workspace(ROOT, agent=agent, files=files, clock=clock).lease(NAME, ttl=TTL_SECONDS) as lease:
        lease.commit(data)


def what_is_read(files: Files, clock: ManualClock) -> str:
    try:
        return repr(Workspace(ROOT, agent="reader", files=files, clock=clock).document(NAME).read())
    except (NotAWorkspace, NoSuchDocument) as error:
        return repr(error)


def losses(
    before: Callable[[Files, ManualClock], object],
    life: Callable[[Files, ManualClock], object],
    after: Callable[[Files, ManualClock], object],
    *,
    share: float = 1,
) -> list[str]:
    """Where a process has to be killed for another's acknowledged commit of ``b"acknowledged"`` to be lost.

    ``share``: how many of all calls are tried, chosen by the seed.
    """
    found, cut, chance = [], 0, random.Random(SEED)
    for at, disk, clock in killed_at_each_call(before, life):
        if chance.random() >= share:
            continue
        cut += 1
        clock.advance(TTL_SECONDS * 2000)
        after(disk, clock)
        for lost, files, later in found_after_power_failure(disk, clock):
            read = what_is_read(files, later)
            if read != repr(b"acknowledged"):
                found.append(f"killed {at}; {lost}; then read: {read}")
                break
    assert cut > 10, "the life makes fewer calls than it must"
    return found


def nothing(_files: Files, _clock: ManualClock) -> None:
    """Nothing was there."""


@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_a_commit_outlives_the_power_though_who_made_the_workspace_was_killed(primitive: str) -> None:
    def init(files: Files, clock: ManualClock) -> None:
        Workspace.init(ROOT, agent="founder", primitive=primitive, files=files, clock=clock)

    def open_and_commit(files: Files, clock: ManualClock) -> None:
        try:
            commit(files, clock, b"acknowledged", "bob")
        except NotAWorkspace:  # he was killed before it was one
            init(files, clock)
            commit(files, clock, b"acknowledged", "bob")

    found = losses(nothing, init, open_and_commit)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_a_commit_outlives_the_power_though_who_committed_first_was_killed(primitive: str) -> None:
    def init(files: Files, clock: ManualClock) -> None:
        Workspace.init(ROOT, agent="founder", primitive=primitive, files=files, clock=clock)

    found = losses(
        init,
        lambda files, clock: commit(files, clock, b"of the killed one", "alice"),
        lambda files, clock: commit(files, clock, b"acknowledged", "bob"),
    )
    assert not found, "\n".join(found)


@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_a_commit_outlives_the_power_though_who_collected_was_killed(primitive: str) -> None:
    def history(files: Files, clock: ManualClock) -> None:
        Workspace.init(ROOT, agent="founder", primitive=primitive, files=files, clock=clock)
        for number in range(3):
            commit(files, clock, b"%d" % number, "alice")

    def collect(files: Files, clock: ManualClock) -> None:
        Workspace(ROOT, agent="alice", files=files, clock=clock).document(NAME).collect(keep=2)

    def commit_and_collect(files: Files, clock: ManualClock) -> None:
        commit(files, clock, b"acknowledged", "bob")
        Workspace(ROOT, agent="bob", files=files, clock=clock).document(NAME).collect(keep=1)

    found = losses(history, collect, commit_and_collect, share=0.4)
    assert not found, "\n".join(found)


# ── an edit by hand, while it is being kept ──────────────────────────────────────────────────────────────────────────


def edited(files: Files, clock: ManualClock) -> None:
    """A committed document whose plain file was then edited by hand: synced, as a careful editor does."""
    Workspace.init(ROOT, agent="founder", files=files, clock=clock)
    commit(files, clock, b"committed", "alice")
    files.unlink(PATH)
    write_new(files, PATH, EDIT)
    files.sync_dir(ROOT)
    clock.advance(60_000)  # no editor is at work in it any more


def read(files: Files, clock: ManualClock) -> None:
    assert Workspace(ROOT, agent="reader", files=files, clock=clock).document(NAME).read() == b"committed"


def where_the_edit_is(files: CrashFiles, clock: ManualClock) -> list[str]:
    """Paths that hold it, the plain file among them."""
    kept = Workspace(ROOT, agent="seeker", files=files, clock=clock).document(NAME).conflicts()
    there = [PATH] if NAME in files.listdir(ROOT) else []
    return [path for path in [*kept, *there] if files.read(path) == EDIT]


def test_an_edit_outlives_whoever_is_killed_while_keeping_it() -> None:
    gone = []
    for at, disk, clock in killed_at_each_call(edited, read):
        read(disk, clock)
        if not where_the_edit_is(disk, clock):
            gone.append(at)
    assert not gone, "the edit is gone, if the first reader was killed " + "; ".join(gone)


def test_an_edit_outlives_a_power_failure_while_it_is_being_kept() -> None:
    gone = []
    for at, disk, clock in killed_at_each_call(edited, read):
        for lost, files, later in found_after_power_failure(disk, clock):
            read(files, later)
            if not where_the_edit_is(files, later):
                gone.append(f"the power failed {at}; {lost}")
                break
    assert not gone, "the edit is gone:\n" + "\n".join(gone)


def test_an_edit_outlives_the_power_though_who_kept_it_first_was_killed() -> None:
    gone = []
    for at, disk, clock in killed_at_each_call(edited, read):
        read(disk, clock)
        if not where_the_edit_is(disk, clock):
            continue  # the killing alone was enough: see above
        for lost, files, later in found_after_power_failure(disk, clock):
            read(files, later)
            if not where_the_edit_is(files, later):
                gone.append(f"killed {at}; {lost}")
                break
    assert not gone, "the edit is gone:\n" + "\n".join(gone)
