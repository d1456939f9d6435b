"""Power failures at every call of a log's life: what was acknowledged is found in every tree that may be left.

The trees are taken down inside the hook, where the call is made. A reader that had folded all that could be seen before
the failure goes on with what it finds after it.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from log_support import RESOURCE, Follower, an_op, crash_member, log_files_of, read_all

from coordinator import Workspace
from coordinator.errors import StoreUnavailable
from coordinator.log import segments
from coordinator.log.reader import remove_logs
from coordinator.log.writer import LogWriter
from coordinator.testing import CrashFiles, FailAt, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Hashable

    from coordinator.testing import Call


class LostError(Exception):
    """What a power failure must not do."""


class Power:
    """A hook that looks at every tree that a power failure may leave at each call.

    Attributes:
        acknowledged: Operations that must be found from now on.
        judged: How many trees were looked at.
    """

    def __init__(self, *, fails: FailAt | None = None) -> None:
        self.clock = ManualClock()
        self.disk = CrashFiles(self.clock)
        self.disk.mkdir("/shared")
        Workspace.init("/shared", agent="founder", files=self.disk, clock=self.clock)
        self.disk.sync_all()
        self.acknowledged: list[int] = []
        self.follower = Follower(crash_member(self.disk, self.clock))
        self.judged = 0
        self._fails = fails
        self._seen: set[Hashable] = set()
        self.member = crash_member(InterceptedFiles(self.disk, self), self.clock)

    def __call__(self, call: Call) -> None:
        if "/tasks.json/@" not in call.path:
            return
        self.follower.look()
        self.judge()
        if self._fails is not None:
            self._fails(call)

    def judge(self) -> None:
        positions = tuple(self.follower.positions.values())
        for state in self.disk.crash_states(exhaustive_max=32, samples=4, seed=len(self._seen)):
            key = (state.key, tuple(self.acknowledged), positions)
            if key in self._seen:
                continue
            self._seen.add(key)
            self.judged += 1
            found = read_all(crash_member(state.files, self.clock))
            missing = [number for number in self.acknowledged if number not in found.numbers()]
            if missing or found.damaged or len(set(found.numbers())) < len(found.numbers()):
                raise LostError(f"{missing} missing, {found.damaged}; lost: {state.lost}")
            self._judge_folded(state.files, state.lost)

    def _judge_folded(self, files: CrashFiles, lost: Any) -> None:
        """For a reader that had folded what could be seen nothing is damaged, and nothing comes twice."""
        folded = {key: list(known) for key, known in self.follower.payloads.items()}
        again = Follower(crash_member(files, self.clock), dict(self.follower.positions), folded)
        again.look()
        if again.damaged or set(self.acknowledged) - set(again.numbers()):
            raise LostError(f"after folding: {again.damaged}; lost: {lost}")


def write_a_log(power: Power, count: int) -> LogWriter:
    writer = LogWriter(power.member, RESOURCE)
    number = 0
    while len(power.acknowledged) < count:
        number += 1
        with suppress(StoreUnavailable):
            writer.append([an_op(number)])
            power.acknowledged.append(number)
        power.judge()
    return writer


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 400)


def test_a_power_failure_at_any_call_loses_nothing_acknowledged() -> None:
    power = Power()
    writer = write_a_log(power, 9)
    writer.close()
    power.judge()
    assert power.judged > 40
    power.disk.sync_all()
    assert power.follower.look().damaged == []
    assert [position.state for position in power.follower.positions.values()] == ["ended"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op", ["mkdir", "create", "write", "sync", "sync_dir"])
@pytest.mark.parametrize(("nth", "times"), [(1, 1), (2, 1), (2, 3), (4, 1), (5, 4)])
def test_nor_after_errors(op: str, when: Any, nth: int, times: int) -> None:
    power = Power(fails=FailAt(errno.EIO, op, nth=nth, times=times, when=when, contains="/@"))
    write_a_log(power, 6).close()
    power.judge()


def test_nor_does_a_writer_that_comes_after_it() -> None:
    """What was torn off is passed over by whoever reads on, and a new writer has a log of its own."""
    power = Power()
    write_a_log(power, 4)
    for state in power.disk.crash_states(exhaustive_max=64):
        member = crash_member(state.files, power.clock, "next")
        LogWriter(member, RESOURCE).append([an_op(100)])
        assert set(read_all(member).numbers()) >= {*power.acknowledged, 100}


@pytest.mark.parametrize("missing", ["sync", "sync_dir"])
def test_a_writer_that_does_not_sync_is_found_out(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    power = Power()
    if missing == "sync_dir":
        monkeypatch.setattr(CrashFiles, "sync_dir", lambda _self, _path: None)
    else:
        monkeypatch.setattr(CrashFiles, "_sync", lambda _self, _file, _path: None)
    with pytest.raises(LostError, match="missing"):
        write_a_log(power, 3)


def test_what_is_not_synced_is_so_after_sync() -> None:
    power = Power()
    writer = LogWriter(power.member, RESOURCE)
    writer.append([an_op(1)], sync=False)
    writer.append([an_op(2)], sync=False)
    assert any(read_all(crash_member(state.files, power.clock)).numbers() == [] for state in power.disk.crash_states())
    writer.sync()
    power.acknowledged = [1, 2]
    power.judge()


def test_a_position_is_forgotten_only_when_the_files_cannot_come_back() -> None:
    """Absent, as the reader says it, is for good: no failure brings any segment back."""
    power = Power()
    writer = write_a_log(power, 8)
    writer.close()
    power.disk.sync_all()
    follower = power.follower
    follower.look()
    assert remove_logs(crash_member(power.disk, power.clock), RESOURCE, next(iter(follower.positions))) > 2
    came_back = [len(log_files_of(state.files)) for state in power.disk.crash_states(exhaustive_max=256)]
    assert max(came_back) > 2
    assert follower.look().absent == list(follower.positions)
    assert [log_files_of(state.files) for state in power.disk.crash_states(exhaustive_max=256)] == [[]]


def test_what_comes_back_of_a_removed_log_is_covered_by_its_position() -> None:
    power = Power()
    write_a_log(power, 8).close()
    power.disk.sync_all()
    follower = power.follower
    follower.look()
    remove_logs(crash_member(power.disk, power.clock), RESOURCE, next(iter(follower.positions)))
    for state in power.disk.crash_states(exhaustive_max=256):
        batch = Follower(crash_member(state.files, power.clock), dict(follower.positions)).look()
        assert (batch.logs, batch.damaged, batch.orphans) == ([], [], [])
