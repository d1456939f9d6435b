"""Locks, events, timers and threads for the library while it is simulated: they wait in simulated time.

A real lock would stop the one thread that may run. Nothing else is different: a lock that is free costs nothing, and
one that another thread of the same process has is waited for, in simulated time, until that thread frees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from coordinator.testing.simulation.schedule import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordinator.testing.simulation.schedule import SimThread


class SimLock:
    """As threading.Lock."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: list[SimThread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See threading.Lock."""
        if self._is_held and not self._could_wait(blocking, timeout):
            return False
        self._is_held = True
        return True

    def _could_wait(self, blocking: bool, timeout: float) -> bool:
        """Waits until it is free; whether it is."""
        scheduler = Scheduler.running
        if not blocking or scheduler is None:
            return False
        until_ns = scheduler.now_ns + round(timeout * 1e9)
        while self._is_held:
            left_ns = until_ns - scheduler.now_ns if timeout >= 0 else -1
            if timeout >= 0 >= left_ns:
                return False
            _wait(self._waiting, scheduler, left_ns)
        return True

    def release(self) -> None:
        """See threading.Lock."""
        self._is_held = False
        _wake(self._waiting)

    def locked(self) -> bool:
        """See threading.Lock."""
        return self._is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class SimRLock:
    """As threading.RLock."""

    def __init__(self) -> None:
        self._owner: object = None
        self._depth = 0
        self._waiting: list[SimThread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See threading.RLock; there is no use in the library for a timeout."""
        scheduler = Scheduler.running
        me: object = scheduler.current if scheduler is not None else "nobody's thread"
        while self._depth and self._owner is not me:
            if not blocking or timeout >= 0 or scheduler is None:
                return False
            _wait(self._waiting, scheduler, -1)
        self._owner = me
        self._depth += 1
        return True

    def release(self) -> None:
        """See threading.RLock."""
        self._depth -= 1
        if not self._depth:
            self._owner = None
            _wake(self._waiting)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class SimEvent:
    """As threading.Event, as far as the library uses it: a clock's pause waits for it."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[SimThread] = []

    def set(self) -> None:
        """See threading.Event."""
        self._is_set = True
        _wake(self._waiting)

    def is_set(self) -> bool:
        """See threading.Event."""
        return self._is_set

    def pause(self, span_ns: int) -> bool:
        """Waits until it is set, at most for a span."""
        scheduler = Scheduler.running
        if not self._is_set and scheduler is not None:
            _wait(self._waiting, scheduler, span_ns)
        return self._is_set


class SimThreadStarter:
    """As threading.Thread: a thread of the process that starts it, and dies with it."""

    def __init__(
        self, target: Callable[..., Any], args: Sequence[Any] = (), name: str = "", *, daemon: bool = True
    ) -> None:
        self.name, self.daemon = name, daemon
        self._target, self._args = target, args

    def start(self) -> None:
        """See threading.Thread."""
        scheduler = Scheduler.running
        if scheduler is not None:
            scheduler.spawn(scheduler.current.process, lambda: self._target(*self._args))


class SimTimer:
    """As threading.Timer."""

    def __init__(self, interval: float, function: Callable[[], Any]) -> None:
        self.daemon = True
        self._interval_ns = round(interval * 1e9)
        self._function = function
        self._is_cancelled = False

    def start(self) -> None:
        """See threading.Timer."""
        scheduler = Scheduler.running
        if scheduler is not None:
            process = scheduler.current.process
            scheduler.at(scheduler.now_ns + max(self._interval_ns, 0), lambda: self._ring(scheduler, process))

    def _ring(self, scheduler: Scheduler, process: Any) -> None:
        if not self._is_cancelled and not process.is_dead:
            scheduler.spawn(process, self._run)

    def _run(self) -> None:
        if not self._is_cancelled:
            self._function()

    def cancel(self) -> None:
        """See threading.Timer."""
        self._is_cancelled = True


class SimThreading:
    """Stands in for the module ``threading`` in the library's modules."""

    Lock = SimLock
    RLock = SimRLock
    Event = SimEvent
    Thread = SimThreadStarter
    Timer = SimTimer

    def __new__(cls) -> Self:
        """There is nothing to make of it."""
        raise TypeError("it stands in for a module")


def _wait(waiting: list[SimThread], scheduler: Scheduler, span_ns: int) -> None:
    me = scheduler.current
    waiting.append(me)
    try:
        scheduler.park(span_ns)
    finally:
        if me in waiting:
            waiting.remove(me)


def _wake(waiting: list[SimThread]) -> None:
    scheduler = Scheduler.running
    if waiting and scheduler is not None:
        for thread in waiting:
            scheduler.wake(thread)
    waiting.clear()
