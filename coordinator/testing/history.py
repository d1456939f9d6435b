"""What clients asked of a system, and what they were told: the input of ``check_linearizable``.

    recorder = Recorder()
    with recorder.call("agent-1", Write(3), key="config") as call:
        service.write("config", 3)          # an error leaves the outcome unknown
        call.returned()

An operation took effect at one instant between its invocation and its return, or the system is not linearizable. One
that never returned (a time-out, an error that does not say, a killed client) has no such end: it may take effect at any
time after its invocation, or never.
"""

from __future__ import annotations

import contextlib
import enum
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.clock import SYSTEM_CLOCK
from coordinator.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from coordinator.clock import Clock


class Answer(enum.Enum):
    """The answer that nobody got."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = Answer.UNKNOWN


class Operation(NamedTuple):
    """One call of one client.

    Attributes:
        process: Who asked; for the report only. It may ask for several things at once.
        asked: What, in the terms of the model (``Write(3)``). Hashable.
        answer: What it was told (``True``, a fence, the value read); ``UNKNOWN`` when it was not.
        invoked: Before the call, by a clock that is common to all (``time.monotonic_ns()`` on one host, or a count).
        returned: After the call, by the same clock; None when it never returned: its outcome is unknown.
        key: Of what; operations of different keys have nothing to do with each other.
    """

    process: Hashable
    asked: Any
    answer: Any
    invoked: int
    returned: int | None
    key: Hashable = None


class Call:
    """One operation under way; made by ``Recorder.call``. Its outcome is unknown until one of these is called."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.returned_ns: int | None = None
        self.answer: Any = UNKNOWN
        self.is_void = False

    def returned(self, answer: Any = None) -> None:
        """The system answered; to be called as soon as it did."""
        self.returned_ns, self.answer = self._clock.now().monotonic_ns, answer

    def failed(self) -> None:
        """It is certain that it did not take effect, and never will: it is not part of the history."""
        self.is_void = True


class Recorder:
    """Collects the operations of this process's threads. Thread-safe.

    Clients in other processes write their own ``Operation`` (a plain tuple, which pickles): the monotonic clock is one
    for all processes of a host.

    Args:
        clock: For tests.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._ended: list[Operation] = []
        self._running: dict[Call, Operation] = {}

    @contextlib.contextmanager
    def call(self, process: Hashable, asked: Any, key: Hashable = None) -> Iterator[Call]:
        """Records what is done inside. An exception goes through, and leaves the outcome unknown."""
        call = Call(self._clock)
        with self._guard:
            self._running[call] = Operation(process, asked, UNKNOWN, self._clock.now().monotonic_ns, None, key)
        try:
            yield call
        finally:
            with self._guard:
                begun = self._running.pop(call)
                if not call.is_void:
                    self._ended.append(begun._replace(answer=call.answer, returned=call.returned_ns))

    def operations(self) -> list[Operation]:
        """All so far; what is still under way is of unknown outcome."""
        with self._guard:
            return [*self._ended, *self._running.values()]


def check_times(operations: list[Operation]) -> None:
    """Refuses what cannot be a history.

    Raises:
        BadValue: An operation that returned before it was invoked, or one whose ``asked`` or key cannot be hashed.
    """
    for operation in operations:
        if operation.returned is not None and operation.returned < operation.invoked:
            raise BadValue(
                f"{operation} returned before it was invoked",
                argument="operations",
                value=tuple(operation),
                hint="two clocks were mixed up",
            )
        try:
            hash((operation.asked, operation.key))
        except TypeError as error:
            raise BadValue(
                f"{operation}: {error}",
                argument="operations",
                value=tuple(operation),
                hint="ask in hashable terms: tuples for lists, a text or an id for a document",
            ) from error
