"""The drawing of operations, and the recorder that collects them."""

from __future__ import annotations

import threading

import pytest

from coordinator.testing import UNKNOWN, ManualClock, Operation, Read, Recorder, Register, Write, check_linearizable
from coordinator.testing.timeline import Bar, drawn


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn([]) == []


def test_instants_are_columns_whatever_lies_between() -> None:
    bars = [Bar("a", 0, 10**9, "#1"), Bar("longer", 1, None, ""), Bar("c", 2, 2, "x")]
    assert drawn(bars) == [
        "a       |-----------|     #1",
        "longer      |--- - - - -",
        "c               |         x",
    ]


def test_many_bars_stay_narrow_and_are_told_apart() -> None:
    lines = drawn([Bar(f"client {n:02}", n, n + 50, "") for n in range(50)])
    assert len({line[9:] for line in lines}) == 50
    assert max(map(len, lines)) < 250


def test_a_recorder_keeps_what_was_told_and_leaves_the_rest_open() -> None:
    clock = ManualClock()
    recorder = Recorder(clock)
    begin = clock.now().monotonic_ns
    with recorder.call("a", Write(1), key="k") as call:
        clock.advance(5)
        call.returned()
    with pytest.raises(TimeoutError), recorder.call("b", Write(2), key="k"):
        raise TimeoutError
    with recorder.call("c", Write(3), key="k") as call:
        call.failed()
    with recorder.call("d", Read(), key="k"):
        assert [one.process for one in recorder.operations()] == ["a", "b", "d"]  # what is under way is there

    done, lost, _ = recorder.operations()
    assert done == Operation("a", Write(1), None, begin, begin + 5_000_000, "k")
    assert (lost.answer, lost.returned) == (UNKNOWN, None)


def test_threads_may_record_at_once() -> None:
    """A register with a lock about it, used by threads: what is recorded of it is linearizable."""
    recorder, guard, cell = Recorder(), threading.Lock(), [0]
    start = threading.Barrier(4)

    def client(name: int) -> None:
        start.wait(10)
        for number in range(50):
            with recorder.call(name, Write(100 * name + number)) as call:
                with guard:
                    cell[0] = 100 * name + number
                call.returned()
            with recorder.call(name, Read()) as call:
                with guard:
                    value = cell[0]
                call.returned(value)

    threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    report = check_linearizable(Register(0), recorder.operations())
    assert report.ok, report
    assert report.keys[0].operations == 400
