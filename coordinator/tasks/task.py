"""One claimed task, in the hands of the worker that claimed it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from coordinator.clock import elapsed_max_ms
from coordinator.document.submit import DURABLE
from coordinator.errors import ClaimLost, CoordinatorError
from coordinator.events import Event, call_safely

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from coordinator.clock import Instant
    from coordinator.document.receipt import OperationReceipt
    from coordinator.record.member import Member
    from coordinator.tasks.board import TaskBoard

    LostCallback = Callable[[ClaimLost], None]


class Task:
    """A task that was claimed. Made by ``TaskBoard.claim_next``; a context manager that completes or fails it.

    Thread-safe. Its id and epoch are all that is needed to speak for it, from whatever process
    (``TaskBoard.complete(id, epoch)``).

    Attributes:
        board: Where it is from.
        id: As text.
        epoch: The claim's fence: greater than every earlier claim's on the board.
        attempt: Which attempt this is, from 1.
        task: The object in the document, as it stood when it was claimed: a copy.
        until_ms: When the claim runs out, by the store's clock, Unix milliseconds.
        lost: Why it is no longer this worker's, once that was found out.
    """

    def __init__(
        self,
        board: TaskBoard,
        member: Member,
        granted: dict[str, Any],
        *,
        mark: Instant,
        ttl_ms: int,
        on_lost: LostCallback | None = None,
    ) -> None:
        self.board = board
        self.id: str = granted["id"]
        self.epoch: int = granted["epoch"]
        self.attempt: int = granted["attempt"]
        self.task: dict[str, Any] = granted["task"]
        self.until_ms: int = granted["until_ms"]
        self.lost: ClaimLost | None = None
        self._ttl_ms = ttl_ms
        self._held_ms = ttl_ms  # from the mark on
        self._mark = mark
        self._on_lost = on_lost
        self._ended = False
        self._pid = os.getpid()
        self._member = member

    @property
    def is_over(self) -> bool:
        """Whether it was completed, failed, released or lost, as far as is known here."""
        return self._ended or self.lost is not None

    @property
    def remaining(self) -> float:
        """Seconds for which nobody else is given it, by this process's own clocks; 0 when it is over. Asks nobody."""
        if self.is_over:
            return 0.0
        return max(self._held_ms - elapsed_max_ms(self._mark, self._member.clock.now()), 0) / 1000

    def __repr__(self) -> str:
        return f"<Task {self.id!r} epoch={self.epoch} attempt={self.attempt}>"

    def heartbeat(self, *, ttl: float | None = None) -> OperationReceipt:
        """Makes the claim last for ``ttl`` seconds from now; as many as it was claimed for, without it.

        Raises:
            ClaimLost: Stop working on it.
            StoreUnavailable: A retry is safe, while ``remaining`` is above 0.
        """
        seconds = self._ttl_ms / 1000 if ttl is None else ttl
        mark = self._member.clock.now()
        with _Watched(self):
            receipt = self.board.heartbeat(self.id, self.epoch, ttl=seconds)
        if receipt.state != DURABLE and receipt.result:
            self.until_ms = max(self.until_ms, receipt.result["until_ms"])
            left_ms = self._held_ms - elapsed_max_ms(self._mark, mark)
            self._mark, self._held_ms = mark, max(round(seconds * 1000), left_ms)
        return receipt

    def complete(self, result: Any = None, *, wait: float = 10) -> OperationReceipt:
        """Marks it as done, with a result that is any JSON value. Raises as ``TaskBoard.complete``."""
        with _Watched(self, ends=True):
            return self.board.complete(self.id, self.epoch, result, wait=wait)

    def fail(
        self, error: str, *, retryable: bool = True, delay: float | None = None, wait: float = 10
    ) -> OperationReceipt:
        """Gives it up; see ``TaskBoard.fail``."""
        with _Watched(self, ends=True):
            return self.board.fail(self.id, self.epoch, error, retryable=retryable, delay=delay, wait=wait)

    def release(self, *, wait: float = 10) -> OperationReceipt:
        """Gives it back untried; see ``TaskBoard.release``."""
        with _Watched(self, ends=True):
            return self.board.release(self.id, self.epoch, wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the task, unless something was said of it already; fails it when the body raised.

        What ends the program, and not the task (KeyboardInterrupt, SystemExit, a cancelled coroutine), releases it: it
        was not the task's fault. Never swallows the body's exception, and never hides it behind one of its own: what
        could not be said of the task is told as a note of that exception and as an event, and its claim runs out.

        Raises:
            ClaimLost: The body ended well, and the task was another's before it did.
            StoreUnavailable: The body ended well, and that could not be said.
        """
        if self._pid != os.getpid() or self.is_over:
            return  # a forked child leaves the block too; the task is its parent's to complete
        if error is None:
            self.complete()
            return
        try:
            if isinstance(error, Exception):
                self.fail(_text_of(error))
            else:
                self.release()
        except CoordinatorError as trouble:
            error.add_note(f"task {self.id} could not be given back: {trouble}")
            reason, detail = getattr(trouble, "cause", trouble.message), {"task": self.id}
            event = Event("release_failed", self.board.name, self.board.agent, self.epoch, "", reason, detail=detail)
            self._member.events.tell(event)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def found_lost(self, error: ClaimLost) -> None:
        """Notes that it is another's."""
        first, self.lost = self.lost is None, error
        if first and self._on_lost:
            call_safely(self._on_lost, error)

    def found_ended(self) -> None:
        """Notes that all was said."""
        self._ended = True


class _Watched:
    """Around what is said of a task: notes when that was the last word, or that it is another's."""

    def __init__(self, task: Task, *, ends: bool = False) -> None:
        self._task, self._ends = task, ends

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ClaimLost) and not self._task.is_over:
            self._task.found_lost(error)
        elif error is None and self._ends:
            self._task.found_ended()


class NoTask:
    """There was no task to claim. False, and a context manager that gives None, so that both of these read well.

        while task := board.claim_next(): …
        with board.claim_next() as task:
            if task is not None: …

    Attributes:
        next_ms: When time alone may make a task claimable (somebody's claim runs out, or a pause after a failure), by
            the store's clock; None: only when something else happens.
    """

    def __init__(self, next_ms: int | None = None) -> None:
        self.next_ms = next_ms

    def __bool__(self) -> Literal[False]:
        return False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def __repr__(self) -> str:
        return f"<NoTask next_ms={self.next_ms}>"

    def __getattr__(self, name: str) -> NoReturn:
        # Whoever compares with None gets here: a NoTask is not None, and is false.
        raise AttributeError(f"there was no task to claim, so there is no {name!r}; ask `if task:` before")


def renew(tasks: Sequence[Task], ttl_ms: int, member: Member) -> None:
    """Sends heartbeats for tasks by a daemon thread, until they are over or forgotten."""
    threading.Thread(
        target=_renew_until_over,
        args=([weakref.ref(task) for task in tasks], member, ttl_ms / 3),
        name=f"heartbeats of {tasks[0].board.name}",
        daemon=True,
    ).start()


def _renew_until_over(references: list[weakref.ref[Task]], member: Member, interval_ms: float) -> None:
    """The body of that thread. It holds no reference while it waits: a forgotten task is not kept alive."""
    while references:
        member.clock.pause(interval_ms)
        alive = []
        for reference in references:
            task = reference()
            if task is not None and not task.is_over and _renewed(task):
                alive.append(reference)
            del task
        references = alive


def _renewed(task: Task) -> bool:
    """Sends one heartbeat; whether there is any use in another."""
    try:
        task.heartbeat()
    except ClaimLost:
        return False
    except CoordinatorError:
        return True  # the next one comes well before the claim runs out; a worker that goes on finds out by itself
    return True


def _text_of(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
