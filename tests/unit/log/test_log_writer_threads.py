"""One writer, many threads and forked children: one sync covers all who wait, and an interrupt stops nobody else."""

from __future__ import annotations

import errno
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from log_support import RESOURCE, Syncs, a_member, an_op, failing, payload_of, read_all
from support import in_thread, together, wait_until

from coordinator.errors import StoreUnavailable
from coordinator.limits import LOG_TRIES
from coordinator.log.writer import LogWriter, _Call
from coordinator.testing import FailAt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.testing import Call


# ── many threads ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_sync_covers_all_who_wait(tmp_path: Path) -> None:
    """P20. The first sync is held until nine others wait; one more is enough for all of them."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    writer.append([an_op(0)])
    syncs.count = 0
    syncs.is_held.clear()
    syncs.go_on.clear()
    with in_thread(lambda: writer.append([an_op(1)])):
        assert syncs.is_held.wait(30)

        waiting = [partial(writer.append, [an_op(n), an_op(100 + n)]) for n in range(2, 11)]
        with in_thread(partial(together, *waiting)) as outcome:
            wait_until(lambda: len(writer._queue) == 9)
            syncs.go_on.set()
        assert syncs.count == 2
    seqs = sorted(written[1:3] for written in outcome[0])
    assert seqs == [(first, first + 1) for first in range(3, 21, 2)]
    follower = read_all(writer._member)
    assert len(follower.numbers()) == 20
    for written, n in zip(outcome[0], range(2, 11), strict=True):
        known = follower.payloads[written.incarnation]
        assert known[written.first_seq - 1 : written.last_seq] == [
            payload_of(written.first_seq, n),
            payload_of(written.last_seq, 100 + n),
        ]


def test_a_crowd_of_threads_loses_nothing(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)

    def some(thread: int) -> None:
        for i in range(40):
            number = thread * 1000 + i
            written = writer.append([an_op(number, 500)])
            assert written.first_seq == written.last_seq

    together(*(partial(some, n) for n in range(8)))
    numbers = read_all(member).numbers()
    assert sorted(numbers) == [thread * 1000 + i for thread in range(8) for i in range(40)]
    for thread in range(8):
        own = [number for number in numbers if number // 1000 == thread]
        assert own == sorted(own)


def test_an_error_is_told_to_everybody_in_the_group_and_each_its_own(tmp_path: Path) -> None:
    syncs, fails = Syncs(), FailAt(errno.EIO, "write", nth=2, times=1000)

    def hook(call: Call) -> None:
        fails(call)
        syncs(call)

    writer = failing(tmp_path, hook)
    syncs.go_on.clear()
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            writer.append([an_op(number)])
        except StoreUnavailable as error:
            errors.append(error)

    with in_thread(lambda: writer.append([an_op(0)])):
        assert syncs.is_held.wait(30)
        with in_thread(partial(together, *(partial(one, n) for n in (1, 2, 3)))):
            wait_until(lambda: len(writer._queue) == 3)
            syncs.go_on.set()
    assert len({id(error) for error in errors}) == 3
    assert all(isinstance(error, StoreUnavailable) and error.outcome_unknown for error in errors)


@pytest.mark.parametrize("op", ["write", "sync"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_of_the_one_who_leads_stops_nobody_else(tmp_path: Path, op: str, when: str) -> None:
    armed = [False]

    def hook(call: Call) -> None:
        if armed[0] and call[:2] == (when, op):
            armed[0] = False
            raise KeyboardInterrupt

    writer = failing(tmp_path, hook)
    writer.append([an_op(1)])
    armed[0] = True
    with pytest.raises(KeyboardInterrupt):
        writer.append([an_op(2)])
    written = writer.append([an_op(3)])
    assert (written.segment, written.last_seq) == (2, 3)
    assert read_all(writer._member).numbers() == [1, 2, 3]


class Gone(Exception):
    """Stands for an interrupt."""


class Gate:
    """A lock whose second acquisition, the one that waits, is interrupted: at once, or when it was opened."""

    def __init__(self, *, is_opened: bool) -> None:
        self._lock = threading.Lock()
        self._is_opened = is_opened
        self._closed = 0

    def acquire(self) -> None:
        self._closed += 1
        if self._closed == 1 or self._is_opened:
            assert self._lock.acquire(timeout=30)
        if self._closed == 2:
            raise Gone

    def release(self) -> None:
        self._lock.release()


@pytest.mark.parametrize("is_opened", [False, True])
def test_an_interrupt_of_one_who_waits_stops_nobody_else(tmp_path: Path, is_opened: bool) -> None:
    """The one that would lead next, or was just told to, goes away; the one behind it leads instead."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    syncs.go_on.clear()
    call = _Call([an_op(2)], sync=True)
    call.gate = Gate(is_opened=is_opened)  # type: ignore[assignment]
    with in_thread(lambda: writer.append([an_op(1)])):
        assert syncs.is_held.wait(30)
        with in_thread(lambda: writer._run(call)) as gone:
            wait_until(lambda: writer._queue == ([call] if is_opened else []) and bool(is_opened or gone))
            with in_thread(lambda: writer.append([an_op(3)])) as outcome:
                wait_until(lambda: len(writer._queue) == (2 if is_opened else 1))
                syncs.go_on.set()
    assert isinstance(gone[0], Gone)
    assert outcome[0].last_seq == 2
    assert read_all(writer._member).numbers() == [1, 3]


# ── forks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def appended(writer: LogWriter, number: int) -> None:
    writer.append([an_op(number)])


def in_child(body: Callable[[], None]) -> None:
    """Runs a body in a forked child, and sees that it ends well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_writes_a_log_of_its_own(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    own = writer.append([an_op(1)]).incarnation

    def child() -> None:
        for number in range(101, 104):
            assert writer.append([an_op(number)]).incarnation != own
        writer.close()

    in_child(child)
    assert writer.append([an_op(2)])[:4] == (own, 2, 2, 1)
    follower = read_all(member)
    assert [len(known) for known in follower.payloads.values()].count(2) == 1
    assert sorted(follower.numbers()) == [1, 2, 101, 102, 103]
    states = {key: position.state for key, position in follower.positions.items()}
    assert states.pop(own) == "open"
    assert list(states.values()) == ["ended"]


def test_a_child_forked_in_the_middle_of_an_append_can_append(tmp_path: Path) -> None:
    """Another thread leads, a third waits; in the child neither is there to let go of anything."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    writer.append([an_op(1)])
    syncs.is_held.clear()
    syncs.go_on.clear()
    with in_thread(lambda: writer.append([an_op(2)])):
        assert syncs.is_held.wait(30)
        with in_thread(lambda: writer.append([an_op(3)])):
            wait_until(lambda: len(writer._queue) == 1)

            def child() -> None:
                syncs.go_on.set()
                assert writer.append([an_op(4)])[1:3] == (1, 1)

            with writer._guard:  # as if a thread that the child has not held it
                in_child(child)
            syncs.go_on.set()
    numbers = read_all(writer._member).numbers()
    assert sorted(numbers) == [1, 2, 3, 4]


def test_a_child_does_not_repeat_what_its_parent_could_not_write(tmp_path: Path) -> None:
    writer = failing(tmp_path, FailAt(errno.EIO, "sync", times=LOG_TRIES))
    with pytest.raises(StoreUnavailable):
        writer.append([an_op(1)])
    in_child(writer.close)
    in_child(lambda: appended(writer, 2))
    assert sorted(read_all(writer._member).numbers()) == [1, 2], "the first segment shows it, and stays"
    writer.append([an_op(3)])
    assert sorted(read_all(writer._member).numbers()) == [1, 2, 3]
