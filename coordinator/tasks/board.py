"""What can be said and asked of a board's tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, overload

from coordinator.clock import millis_of
from coordinator.document.board import stats_of, tasks_of, validate
from coordinator.document.board.queues import matches
from coordinator.document.tree import Tree, copy_of
from coordinator.errors import BadValue
from coordinator.limits import TTL_MAX_MS, UPDATE_WAIT_DEFAULT_MS, WAIT_MAX_MS
from coordinator.tasks.access import Access
from coordinator.tasks.idle import Idle, revisions
from coordinator.tasks.task import NoTask, Task, renew

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence

    from coordinator.clock import Instant
    from coordinator.document.document import Document
    from coordinator.document.receipt import OperationReceipt
    from coordinator.errors import CoordinatorError
    from coordinator.record.member import Member
    from coordinator.tasks.task import LostCallback

    # ``list`` is a method's name in the class below.
    Told = dict[str, Any]
    Rows = list[Told]
    Texts = list[str]
    Tasks = list[Task]

TTL_DEFAULT: Final = 300.0  # limit: seconds; an agent's step takes minutes, and heartbeats are optional
WAIT_DEFAULT: Final = UPDATE_WAIT_DEFAULT_MS / 1000
TEXT_MAX_CHARS: Final = 8192  # of an error or a reason; a longer one is cut


class TaskBoard:
    """The tasks in one document. Made by ``Workspace.tasks``. Thread-safe; a forked child may go on using it.

    Args:
        member: Who acts.
        document: Where the tasks are.
        spec: Their format, from ``board.make_spec``.
    """

    def __init__(self, member: Member, document: Document, spec: dict[str, Any]) -> None:
        self.spec = spec
        self._member = member
        self._access = Access(member, document, spec)
        self._hopeful = False  # the last claim left something: the next one asks without looking first

    @property
    def name(self) -> str:
        """The document's name."""
        return self._access.name

    @property
    def agent(self) -> str:
        """Who claims."""
        return self._member.agent

    @property
    def title_field(self) -> str:
        """What the document calls a task's title."""
        return self._access.layout.title

    def __repr__(self) -> str:
        return f"<TaskBoard {self.name!r} {self.spec['format']} agent={self.agent!r}>"

    # ── adding ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(
        self,
        tasks: Sequence[dict[str, Any]] | dict[str, Any],
        *,
        op_id: str | None = None,
        wait: float = WAIT_DEFAULT,
    ) -> Texts:
        """Adds tasks at the end of the board: all of them, or none.

        Args:
            tasks: Objects of any fields. Those with a meaning: ``id`` (made, when there is none), ``title``,
                ``status``, ``priority`` (``high``, ``medium``, ``low``, or a number of which the lower goes first),
                ``dependencies`` (ids), ``needs`` (what a worker must be able to do), ``max_attempts``.
            op_id: The id of an addition that may have been submitted before: it is made once.
            wait: Seconds to wait until it is decided.

        Returns:
            Their ids, as text.

        Raises:
            OperationRejected: ``duplicate`` id, ``dependency`` on what is not there, or ``cycle``. None was added.
            BadValue: A field is malformed. None was added.
            LeaseHeld, StoreUnavailable: Not decided in that time. It may still be: add again with its
                ``op_id``.
        """
        given = [tasks] if isinstance(tasks, dict) else list(tasks)
        receipt = self._access.decided(self._access.op("add", tasks=given), op_id, wait)
        return [str(one) for one in receipt.result["ids"]]

    # ── claiming ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def claim_next(
        self,
        *,
        needs: Iterable[str] | None = None,
        where: dict[str, Any] | None = None,
        count: None = None,
        ids: Iterable[str | int] | None = None,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        renew_in_background: bool = False,
        on_lost: LostCallback | None = None,
        op_id: str | None = None,
    ) -> Task | NoTask: ...

    @overload
    def claim_next(
        self,
        *,
        needs: Iterable[str] | None = None,
        where: dict[str, Any] | None = None,
        count: int,
        ids: Iterable[str | int] | None = None,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        renew_in_background: bool = False,
        on_lost: LostCallback | None = None,
        op_id: str | None = None,
    ) -> Tasks: ...

    def claim_next(
        self,
        *,
        needs: Iterable[str] | None = None,
        where: dict[str, Any] | None = None,
        count: int | None = None,
        ids: Iterable[str | int] | None = None,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        renew_in_background: bool = False,
        on_lost: LostCallback | None = None,
        op_id: str | None = None,
    ) -> Task | NoTask | Tasks:
        """Claims the first task that can be claimed: of the highest priority, and of those the first in the document.

        Args:
            needs: What this worker can do: it is given no task that needs more. None: it can do everything.
            where: Only tasks whose fields have these values; a list of values means any of them.
            count: Up to so many at once.
            ids: Only these tasks.
            ttl: Seconds that the claim lasts without a heartbeat.
            wait: Seconds to wait for a task; 0 looks once, None waits for as long as it takes. Waiting costs a look at
                the document's chain up to four times a second, and writes nothing.
            cancel: An event that ends the waiting when it is set.
            renew_in_background: Send heartbeats by a thread, for as long as the task is referenced.
            on_lost: Called once with the ClaimLost, when a heartbeat finds that a task is no longer this worker's.
            op_id: The id of a claim that may have been submitted before, from whatever process: what was decided then
                is returned, and ``wait`` does not count.

        Returns:
            A Task; or, when there is none to be had, a NoTask, which is false and can stand in a ``with``. With
            ``count`` a list, which may be empty.

        Raises:
            LeaseHeld, StoreUnavailable: Tasks are there, but it was not decided who gets them, because somebody holds
                the document's lease or the store does not answer. With an ``op_id``, a claim may still be granted:
                claim again with it, or leave it: what is granted to nobody runs out after its ttl.
            NoSuchDocument: There is none of that name (nor came one while it was waited for).
            MalformedDocument: The document has no tasks where the format has them.
            BadValue: An argument.
        """
        op = self._access.op(
            "claim",
            ttl_ms=millis_of(ttl, "ttl", TTL_MAX_MS),
            count=1 if count is None else count,
            needs=None if needs is None else sorted(_texts(needs, "needs")),
            where=where,
            ids=None if ids is None else list(ids),
        )
        validate(op, self.name)
        wait_ms = None if wait is None else millis_of(wait, "wait", WAIT_MAX_MS)
        mark, answer = self._claim(op, op_id, wait_ms, cancel)
        tasks = [
            Task(self, self._member, granted, mark=mark, ttl_ms=op["ttl_ms"], on_lost=on_lost)
            for granted in answer["tasks"]
        ]
        if renew_in_background and tasks:
            renew(tasks, op["ttl_ms"], self._member)
        if count is not None:
            return tasks
        return tasks[0] if tasks else NoTask(answer["next_ms"])

    def _claim(
        self, op: dict[str, Any], op_id: str | None, wait_ms: int | None, cancel: threading.Event | None
    ) -> tuple[Instant, dict[str, Any]]:
        """Asks whenever there may be something; what was decided, and a moment before it was."""
        idle = Idle(self._access, op, wait_ms, cancel)
        if op_id is not None and not self._access.revision():
            self._access.may_claim(op)  # NoSuchDocument: a claim that is decided makes a document of nothing
        while True:
            if op_id is not None or self._hopeful or idle.may_claim():
                mark = self._member.clock.now()
                receipt = self._access.decided(op, op_id, WAIT_DEFAULT)
                self._hopeful = receipt.result["claimable"] > 0
                if receipt.result["tasks"] or op_id is not None:
                    return mark, receipt.result
                idle.came_up_empty(receipt)
            if not idle.pause():
                return self._member.clock.now(), {"tasks": [], "next_ms": idle.next_ms}

    # ── what a worker says ───────────────────────────────────────────────────────────────────────────────────────────

    def heartbeat(
        self,
        task_id: str | int,
        epoch: int,
        *,
        ttl: float = TTL_DEFAULT,
        op_id: str | None = None,
        wait: float = WAIT_DEFAULT,
    ) -> OperationReceipt:
        """Makes a claim last for ``ttl`` seconds from now.

        Returns:
            The receipt; its result tells ``until_ms``. While it is ``durable`` only, nothing is extended yet.

        Raises:
            ClaimLost: The task is another's, or was decided: stop.
            OperationRejected: ``unknown``: there is no such task, or it was never claimed with that epoch.
            StoreUnavailable: A retry is safe; with ``op_id=error.op_id`` if it was ``outcome_unknown``.
        """
        op = self._access.op("heartbeat", id=task_id, epoch=epoch, ttl_ms=millis_of(ttl, "ttl", TTL_MAX_MS))
        return self._access.submit(op, op_id, wait)

    def complete(
        self,
        task_id: str | int,
        epoch: int,
        result: Any = None,
        *,
        op_id: str | None = None,
        wait: float = WAIT_DEFAULT,
    ) -> OperationReceipt:
        """Marks a task as done, with a result that is any JSON value. To say so twice is no error.

        Returns:
            The receipt. ``durable``: it will be decided, but was not in ``wait`` seconds.

        Raises:
            ClaimLost: Somebody else was given the task, or decided it: ``successor`` says who. The result is kept
                beside (``get(task_id)["late_results"]``) when ``kept`` is not empty.
            OperationRejected, StoreUnavailable: As ``heartbeat``.
        """
        return self._access.submit(self._access.op("complete", id=task_id, epoch=epoch, result=result), op_id, wait)

    def fail(
        self,
        task_id: str | int,
        epoch: int,
        error: str,
        *,
        retryable: bool = True,
        delay: float | None = None,
        op_id: str | None = None,
        wait: float = WAIT_DEFAULT,
    ) -> OperationReceipt:
        """Gives a task up: it is tried again after a pause, unless that is futile or it was tried often enough.

        Args:
            task_id: Which task.
            epoch: The claim's.
            error: What went wrong; what exceeds 8,192 characters is cut.
            retryable: False: it has failed for good.
            delay: Seconds until it may be claimed again. Default: one second, doubling with each attempt.
            op_id: As ``add``.
            wait: As ``complete``.

        Returns:
            The receipt; its result tells ``status``, ``attempts``, ``max_attempts`` and ``not_before_ms``.

        Raises:
            ClaimLost, OperationRejected, StoreUnavailable: As ``heartbeat``.
        """
        delay_ms = None if delay is None else millis_of(delay, "delay", WAIT_MAX_MS)
        op = self._access.op(
            "fail", id=task_id, epoch=epoch, error=error[:TEXT_MAX_CHARS], retryable=retryable, delay_ms=delay_ms
        )
        return self._access.submit(op, op_id, wait)

    def release(
        self, task_id: str | int, epoch: int, *, op_id: str | None = None, wait: float = WAIT_DEFAULT
    ) -> OperationReceipt:
        """Gives a task back untried: it can be claimed at once, and the attempt does not count.

        Raises:
            ClaimLost, OperationRejected, StoreUnavailable: As ``heartbeat``.
        """
        return self._access.submit(self._access.op("release", id=task_id, epoch=epoch), op_id, wait)

    def cancel(
        self, task_id: str | int, reason: str = "", *, op_id: str | None = None, wait: float = WAIT_DEFAULT
    ) -> OperationReceipt:
        """Cancels a task, whoever holds it: that one is told at its next word.

        Raises:
            OperationRejected: ``done`` already, or ``unknown``.
        """
        return self._access.submit(self._access.op("cancel", id=task_id, reason=reason), op_id, wait)

    def undecided(self, receipt: OperationReceipt) -> CoordinatorError:
        """The error for a receipt that is ``durable`` only, for those who need to know what became of it."""
        return self._access.undecided(receipt.op_id)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, task_id: str | int) -> Told | None:
        """One task as ``list`` tells it, with ``late_results``: what superseded workers handed in. None: no such."""
        key = self._access.layout.key_of(task_id)

        def find(tree: Tree, _at_ms: int) -> Told | None:
            for told in tasks_of(tree.value, tree.side, self.spec):
                if self._access.layout.key_of(told["id"]) == key:
                    late = tree.side.get("board", {}).get("late", {}).get(key, [])
                    return _own({**told, "late_results": late})
            return None

        return self._access.look(find)

    def stats(self) -> Told:
        """Figures: ``tasks``, ``by_status``, ``claimable``, ``blocked``, ``held``, ``overdue``, ``next_ms``."""
        now_ms = self._access.store_now_ms()
        figures = self._access.look(lambda tree, _: stats_of(tree.value, tree.side, self.spec, now_ms))
        return {**figures, "now_ms": now_ms}

    def watch(self, *, timeout: float | None = None) -> Iterator[Told]:
        """The tasks that change from now on, as ``list`` tells them, with the ``revision`` and what it ``was``.

        What happens to one task between two looks is told as one change; of a task that was taken out of the document,
        ``status`` is ``deleted``. Ends after ``timeout`` seconds.
        """
        timeout_ms = None if timeout is None else millis_of(timeout, "timeout", WAIT_MAX_MS)
        since = self._access.revision()
        return self._changes(since, self._standings(), timeout_ms)

    def _changes(self, since: int, seen: dict[str, Told], timeout_ms: int | None) -> Iterator[Told]:
        for revision in revisions(self._access, since, timeout_ms):
            now = self._standings()
            for name in dict.fromkeys([*seen, *now]):
                old, new = seen.get(name), now.get(name)
                if _standing(old) != _standing(new):
                    gone = {"id": name, "status": "deleted", "holder": None}
                    yield {**(new or gone), "was": old and old["status"], "revision": revision}
            seen = now

    def _standings(self) -> dict[str, Told]:
        return {told["id"]: told for told in self.list()}

    def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        where: dict[str, Any] | None = None,
        holder: str | None = None,
    ) -> Rows:
        """Every task, in the order of the document, as it stands in the newest revision.

        Args:
            status: Only those of this status, or of these: ``pending``, ``in-progress``, ``done``, ``failed``,
                ``cancelled``, ``deferred``.
            where: As ``claim_next``.
            holder: Only those held by this agent.

        Returns:
            For each ``id``, ``title``, ``status``, ``priority``, ``dependencies``, ``blocked_by``, ``needs``,
            ``holder``, ``epoch``, ``until_ms``, ``since_ms``, ``attempts``, ``max_attempts``, ``not_before_ms``,
            ``by``, ``error``, ``reason``, ``result``, ``late``, ``parent``, and ``task``: the object as it stands in
            the document.
        """
        wanted = None if status is None else {status} if isinstance(status, str) else set(status)

        def find(tree: Tree, _at_ms: int) -> Rows:
            return [
                _own(told)
                for told in tasks_of(tree.value, tree.side, self.spec)
                if (wanted is None or told["status"] in wanted)
                and (holder is None or told["holder"] == holder)
                and (not where or matches(SimpleNamespace(task=told["task"]), where))  # type: ignore[arg-type]
            ]

        return self._access.look(find)


def _own(told: Told) -> Told:
    """A copy that is the caller's to change."""
    copied: Told = copy_of(told)
    return copied


def _standing(told: Told | None) -> tuple[Any, ...] | None:
    return None if told is None else (told["status"], told["holder"], told["epoch"])


def _texts(given: Iterable[str], argument: str) -> set[str]:
    if isinstance(given, str):  # its letters would be taken for needs
        raise BadValue(f"{argument} is a set of texts, not one text", argument=argument, value=given)
    return set(given)
