"""What may be left of unsynced effects is left out by nothing, told once, and counted; and crash points are taken."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.testing import CrashFiles, ManualClock
from coordinator.testing.crash_choices import Tears, every_choice
from coordinator.testing.crash_points import CrashPoints, is_aside

if TYPE_CHECKING:
    from coordinator.testing import CrashState


def a_disk(**more: Any) -> CrashFiles:
    disk = CrashFiles(ManualClock(), **more)
    disk.mkdir("/d")
    disk.sync_all()
    return disk


def names(state: CrashState) -> str:
    return "".join(sorted(state.files.listdir("/d")))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_subset_of_names(count: int) -> None:
    disk = a_disk()
    for name in "abcde"[:count]:
        disk.symlink("x", f"/d/{name}")
    found = [names(state) for state in disk.every_crash_state()]
    assert sorted(found) == sorted(
        "".join(some) for n in range(count + 1) for some in itertools.combinations("abcde"[:count], n)
    )


def test_with_too_many_names_at_most_two_are_lost_or_kept() -> None:
    disk = a_disk()
    for name in "abcdefg":
        disk.symlink("x", f"/d/{name}")
    found = {len(names(state)) for state in disk.every_crash_state(names_max=6)}
    assert found == {0, 1, 2, 5, 6, 7}
    assert len(list(disk.every_crash_state(names_max=6))) == 2 * (1 + 7 + 21)
    assert len(disk.effects_pending()) == 7


def test_names_aside_go_together() -> None:
    disk = a_disk()
    for name in "abxyz":
        disk.symlink("x", f"/d/{name}")
    found = {names(state) for state in disk.every_crash_state(aside=lambda path: path[-1] in "xyz")}
    assert found == {head + tail for head in ("", "a", "b", "ab") for tail in ("", "xyz")}
    assert list(every_choice([True, False], 5)) == [(True, True), (False, True), (True, False), (False, False)]


def contents(disk: CrashFiles, tears: Tears) -> set[bytes]:
    return {state.files.read("/d/f") for state in disk.every_crash_state(tears=tears)}


def test_content_is_cut_at_every_byte_and_nul_in_pages() -> None:
    disk = a_disk()
    file = disk.create("/d/f")
    file.write(b"ab")
    file.sync()
    disk.sync_dir("/d")
    file.write(b"cdefgh")
    cuts = {b"abcdefgh"[:size] for size in range(2, 9)}
    assert contents(disk, Tears(fine=lambda path: path == "/d/f")) == cuts
    assert contents(disk, Tears()) == {b"ab", b"abcde", b"abcdefgh"}
    found = contents(disk, Tears(page_bytes=4, nuls=True)) - cuts
    assert found == {b"ab" + bytes(6), b"abcd" + bytes(4), b"ab" + bytes(2) + b"efgh"}
    holed = [state for state in disk.every_crash_state(tears=Tears(page_bytes=4, nuls=True)) if state.holed]
    assert [state.files.read("/d/f") for state in holed] == [b"ab" + bytes(2) + b"efgh"]


def test_a_file_that_cannot_be_found_is_not_torn() -> None:
    disk = a_disk()
    disk.create("/d/f").write(bytes(100))
    states = list(disk.every_crash_state(tears=Tears(fine=lambda _: True)))
    assert [names(state) for state in states].count("") == 1
    assert len(states) == 1 + 101


def test_an_exchange_is_indivisible() -> None:
    disk = a_disk(exchanges=True)
    disk.mkdir("/e")
    disk.symlink("one", "/d/a")
    disk.symlink("two", "/e/b")
    disk.sync_all()
    disk.exchange("/d/a", "/e/b")
    found = {(state.files.readlink("/d/a"), state.files.readlink("/e/b")) for state in disk.every_crash_state()}
    assert found == {("one", "two"), ("two", "one")}
    disk.sync_dir("/d")
    states = list(disk.every_crash_state())
    assert [(state.files.readlink("/d/a"), state.files.readlink("/e/b")) for state in states] == [("two", "one")]
    with pytest.raises(OSError, match="Invalid"):
        a_disk().exchange("/d/a", "/e/b")


def test_crash_points_are_effects_and_promises() -> None:
    disk = a_disk()
    promised: list[int] = []
    judged: list[tuple[str, str]] = []
    points = CrashPoints(
        disk, lambda state, where: judged.append((names(state), where)), promised=lambda: len(promised)
    )
    files = points.files
    files.mkdir("/d/before")
    disk.sync_all()
    with points.recording():
        files.listdir("/d")
        files.symlink("x", "/d/a")
        files.sync_dir("/d")
        promised.append(1)
        points.look("after it was acknowledged")
    files.symlink("x", "/d/after")
    assert [where.split(" /")[0] for _, where in judged] == [
        "at the beginning",
        "after symlink",
        "after it was acknowledged",
    ]
    assert points.taken == 4
    assert repr(points) == "4 crash points, 3 trees judged"


def test_what_a_judge_raises_is_told_whatever_the_action_makes_of_it() -> None:
    class WrongError(Exception):
        pass

    def judge(_state: CrashState, where: str) -> None:
        if "symlink" in where:
            raise WrongError

    def act() -> None:
        with points.recording():
            try:
                points.files.symlink("x", "/d/a")
            except WrongError:
                points.files.symlink("x", "/d/b")

    points = CrashPoints(a_disk(), judge)
    with pytest.raises(WrongError):
        act()
    assert points.judged == 2, "it went on recording"


def test_what_is_aside() -> None:
    state = "/shared/.coordinator"
    assert is_aside(f"{state}/scratch/x")
    assert is_aside(f"{state}/clock/x")
    assert is_aside(f"{state}/resources/a/@/queue.lock")
    assert not is_aside(f"{state}/resources/a/@/log/x")
    assert not is_aside("/shared/scratch/x")
