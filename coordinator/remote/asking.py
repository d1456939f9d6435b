"""One request until it is answered, or for as long as patience lasts; and from when on it may have been carried out.

Every request carries an id of its own, the same each time that it is sent: so it is carried out once, however often a
reply is lost. The pauses are drawn at random, so that those who lost the same server do not come back all at once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import elapsed_max_ms
from coordinator.errors import CoordinatorError, LeaseHeld, NoRoom, StoreUnavailable, WorkspaceError
from coordinator.remote.connection import NoReply
from coordinator.remote.refusals import OK, error_of

if TYPE_CHECKING:
    import threading

    from coordinator.clock import Clock, Instant
    from coordinator.remote.connection import Connection

PATIENCE_MS: Final = 15_000  # limit: of all tries of one request, beyond what it is to wait over there
TRY_MAX_MS: Final = 8000  # limit: of one try, beyond what it is to wait over there: a cold start is well below it
TRY_MIN_MS: Final = 100
PAUSE_MIN_MS: Final = 50  # between two tries; doubled each time, up to
PAUSE_MAX_MS: Final = 2000
ASK_WAIT_MAX_MS: Final = 4000  # limit: what one request waits over there; who waits longer asks again
ASK_WAIT_CANCEL_MS: Final = 500  # and who may be cancelled, or is to be told of changes, sooner


class Trail:
    """Since when a request may have been carried out: the first sending that was not answered for certain (P10)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mark = clock.now()
        self._unanswered: Instant | None = None

    def sending(self) -> None:
        """It is about to be sent, anew."""
        self._mark = self._clock.now()

    def unanswered(self) -> None:
        """What became of that is not known, and may never be."""
        if self._unanswered is None:
            self._unanswered = self._mark

    def anew(self) -> None:
        """It is another request from now on."""
        self._unanswered = None

    @property
    def has_gaps(self) -> bool:
        """Whether it may have been carried out without word of it."""
        return self._unanswered is not None

    @property
    def since(self) -> Instant:
        """By this process's own clocks, whatever the answer's dates say."""
        return self._unanswered or self._mark


class Asker:
    """Asks for one agent. Thread-safe.

    Args:
        connection: The way.
        clock: The clocks.
        patience_ms: How long one request is tried.
    """

    def __init__(self, connection: Connection, clock: Clock, patience_ms: int) -> None:
        self.connection = connection
        self.clock = clock
        self.patience_ms = patience_ms

    def ask(
        self,
        call: str,
        body: dict[str, Any],
        *,
        resource: str,
        trail: Trail | None = None,
        wait_ms: int = 0,
        within_ms: int | None = None,
    ) -> Told:
        """Asks until there is an answer.

        Args:
            call: What.
            body: With its id in it, where it changes anything.
            resource: What it is about, for errors.
            trail: Notes when it was sent.
            wait_ms: How long the other side is to wait; it stands in the body.
            within_ms: All tries, with what is waited over there; default: the patience.

        Raises:
            StoreUnavailable: No answer in that time; ``outcome_unknown`` if it may have been carried out.
            CoordinatorError: What was answered.
        """
        trail = trail or Trail(self.clock)
        left_ms = _Countdown(self.clock, self.patience_ms + wait_ms if within_ms is None else within_ms)
        pause_ms = float(PAUSE_MIN_MS)
        while True:
            rest_ms = max(left_ms(), TRY_MIN_MS)
            trail.sending()
            try:
                reply = self.connection.send(call, body, min(TRY_MAX_MS + wait_ms, rest_ms))
            except NoReply as none:
                if none.may_stand:
                    trail.unanswered()
                trouble: StoreUnavailable = self._no_answer(call, resource, none.cause)
                retry_after_ms = 0
            else:
                if reply.status == OK and isinstance(reply.body, dict):
                    return Told(reply.body, call, self.connection.place)
                error = error_of(reply, call, resource, self.connection.place)
                if not isinstance(error, StoreUnavailable) or isinstance(error, NoRoom):
                    raise error
                if error.__dict__.get("outcome_unknown", True):
                    trail.unanswered()
                trouble, retry_after_ms = error, reply.retry_after_ms
            pause = max(pause_ms * random.uniform(0.5, 1.0), min(retry_after_ms, PAUSE_MAX_MS))
            if pause + TRY_MIN_MS >= left_ms():
                trouble.outcome_unknown = trail.has_gaps
                raise trouble
            self.clock.pause(pause)
            pause_ms = min(pause_ms * 2, PAUSE_MAX_MS)

    def _no_answer(self, call: str, resource: str, cause: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{call} of {resource!r} was not answered by {self.connection.place}: {cause}",
            resource=resource,
            cause=cause,
            outcome_unknown=False,
            hint="is the coordinator there, and can it be reached from here? A retry is safe",
        )


class Told(dict[str, Any]):
    """An answer. What it lacks, it lacks because the coordinator is of another version, or is none."""

    def __init__(self, body: Any, call: str, place: str) -> None:
        self._call, self._place = call, place
        if not isinstance(body, dict):
            raise self._strange("is of another shape")
        super().__init__(body)

    def __missing__(self, field: str) -> Any:
        raise self._strange(f"has no {field!r}")

    def part(self, field: str) -> Told:
        """An object in it."""
        return Told(self[field], self._call, self._place)

    def rows(self, field: str) -> list[Told]:
        """A list of objects in it."""
        rows = self[field]
        if not isinstance(rows, list):
            raise self._strange(f"has no list of {field}")
        return [Told(row, self._call, self._place) for row in rows]

    def _strange(self, how: str) -> WorkspaceError:
        hint = "is this the coordinator's address, and of this version?"
        return WorkspaceError(f"the answer to {self._call} {how}", path=self._place, hint=hint)


class _Countdown:
    """What is left of some milliseconds."""

    def __init__(self, clock: Clock, total_ms: int) -> None:
        self._clock, self._total_ms, self._began = clock, total_ms, clock.now()

    def __call__(self) -> int:
        return self._total_ms - elapsed_max_ms(self._began, self._clock.now())


class Waiting:
    """A caller's wait, in portions that the other side is asked to wait; with pauses where it did not.

    Args:
        clock: The clocks.
        wait_ms: How long in all; None: for as long as it takes.
        cancel: Ends it when it is set.
    """

    def __init__(self, clock: Clock, wait_ms: int | None, cancel: threading.Event | None = None) -> None:
        self._clock, self._wait_ms, self._cancel = clock, wait_ms, cancel
        self._began = self._asked = clock.now()
        self._portion_ms = 0
        self._pause_ms = float(PAUSE_MIN_MS)

    def waited_ms(self) -> int:
        """How long it has taken so far."""
        return elapsed_max_ms(self._began, self._clock.now())

    def is_cancelled(self) -> bool:
        """Whether the caller gave up."""
        return self._cancel is not None and self._cancel.is_set()

    def left_ms(self) -> int | None:
        """What is left of the time; None: there is no end to it."""
        return None if self._wait_ms is None else max(self._wait_ms - self.waited_ms(), 0)

    def portion_ms(self) -> int:
        """What the next request is to wait."""
        self._asked = self._clock.now()
        left_ms, most_ms = self.left_ms(), ASK_WAIT_CANCEL_MS if self._cancel is not None else ASK_WAIT_MAX_MS
        self._portion_ms = most_ms if left_ms is None else min(left_ms, most_ms)
        return self._portion_ms

    def goes_on(self) -> bool:
        """After a request in vain: pauses, unless that one waited; False when the time is over, or was cancelled."""
        left_ms = self.left_ms()
        if left_ms == 0 or self.is_cancelled():
            return False
        if self._portion_ms and elapsed_max_ms(self._asked, self._clock.now()) * 2 >= self._portion_ms:
            self._pause_ms = float(PAUSE_MIN_MS)
        else:  # answered at once, whatever was asked: as when it throttles those who wait
            self._pause_ms = min(self._pause_ms * 2, ASK_WAIT_CANCEL_MS)
        pause_ms = self._pause_ms * random.uniform(0.5, 1.0)
        self._portion_ms = 0  # unless the next request is told to wait
        self._clock.pause(pause_ms if left_ms is None else min(pause_ms, left_ms), self._cancel)
        return not self.is_cancelled()


def waited(error: CoordinatorError, waiting: Waiting) -> CoordinatorError:
    """A refusal, telling how long was waited in all, and not only by its last request."""
    if isinstance(error, LeaseHeld):
        error.waited_ms = waiting.waited_ms()
    return error
