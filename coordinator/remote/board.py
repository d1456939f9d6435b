"""A task board that is spoken to through the coordinator function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from coordinator.clock import millis_of
from coordinator.document.board import validate
from coordinator.document.receipt import DURABLE
from coordinator.errors import CoordinatorError, LeaseHeld, NoSuchDocument, StoreUnavailable
from coordinator.names import new_id, parse_id
from coordinator.remote.asking import Trail, Waiting
from coordinator.remote.records import RemoteRecords, not_remotely
from coordinator.remote.updates import receipt_from
from coordinator.tasks.access import Access
from coordinator.tasks.board import WAIT_DEFAULT, TaskBoard

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from coordinator.clock import Instant
    from coordinator.document.receipt import OperationReceipt
    from coordinator.record.member import Member
    from coordinator.remote.asking import Asker
    from coordinator.remote.document import RemoteDocument

    Told = dict[str, Any]
    Rows = list[Told]

_CALLS: Final = {"claim": "claim_next"}


class RemoteAccess(Access):
    """A board's way to its document: the same operations, checked here and decided in a fold over there.

    Args:
        member: Who acts.
        document: Where the tasks are.
        spec: Their format.
        asker: Asks the function.
    """

    def __init__(self, member: Member, document: RemoteDocument, spec: dict[str, Any], asker: Asker) -> None:
        super().__init__(member, document, spec)
        self._asker = asker
        self._records = RemoteRecords(asker)
        self._is_there = False  # once it was seen

    def submit(self, op: dict[str, Any], op_id: str | None, wait: float) -> OperationReceipt:
        """Submits one operation; its receipt, unless it was refused: that is raised."""
        return self.send(op, op_id, millis_of(wait, "wait"), Trail(self.clock))

    def send(self, op: dict[str, Any], op_id: str | None, wait_ms: int, trail: Trail) -> OperationReceipt:
        """``submit``, noting when it was sent. The same id each time, so that it is done once."""
        validate(op, self.name)
        chosen = new_id() if op_id is None else parse_id(op_id)
        verb = op["do"].removeprefix("task.")
        fields = {name: value for name, value in op.items() if name != "do"}
        body = {"document": self.name, "agent": self.agent, "op_id": chosen, **fields}
        waiting = Waiting(self.clock, wait_ms)
        while True:
            portion_ms = waiting.portion_ms()
            receipt, trouble = self._once(
                f"tasks/{_CALLS.get(verb, verb)}", {**body, "wait_ms": portion_ms}, trail, portion_ms
            )
            if receipt is not None and receipt.state != DURABLE:
                return receipt
            trail.unanswered()  # it is durable, and may be decided at any time from now on
            if not waiting.goes_on():
                if receipt is None:
                    assert trouble is not None  # noqa: S101 - it is one or the other
                    trouble.__dict__.setdefault("op_id", chosen)
                    raise trouble
                return receipt

    def _once(
        self, call: str, body: dict[str, Any], trail: Trail, wait_ms: int
    ) -> tuple[OperationReceipt | None, CoordinatorError | None]:
        """One asking: the receipt, or why there is none yet."""
        try:
            told = self._asker.ask(call, body, resource=self.name, trail=trail, wait_ms=wait_ms)
        except LeaseHeld as held:  # it goes on when that lease ends
            return None, held
        except StoreUnavailable as error:
            error.op_id = body["op_id"]
            raise
        return receipt_from(told.part("receipt")), None

    def decided_in(self, op: dict[str, Any], op_id: str | None, trail: Trail) -> OperationReceipt:
        """``decided``, noting when it was sent."""
        receipt = self.send(op, op_id, round(WAIT_DEFAULT * 1000), trail)
        if receipt.state == DURABLE:
            raise self.undecided(receipt.op_id)
        if receipt.result is None:
            raise self._gone(receipt)
        return receipt

    def make_sure_it_is_there(self) -> None:
        """Before a claim, which would be decided, in vain, of a document that does not exist, too.

        Raises:
            NoSuchDocument: There is none of that name.
        """
        if not self._is_there:
            if self._records.status(self._resource).revision == 0:
                self.stats()  # it may be a plain file that was never committed
            self._is_there = True

    def pause_until_worth(self, receipt: OperationReceipt, waiting: Waiting) -> bool:
        """After a claim in vain: waits until there may be something; False when the time is over first.

        A look at the record costs the function one read; the tasks are looked at only when that has moved.
        """
        seen, next_ms = receipt.revision, receipt.result["next_ms"]
        while waiting.goes_on():
            status = self._records.status(self._resource)
            if next_ms is not None and status.now_ms >= next_ms:
                return True
            if status.revision != seen:
                seen, figures = status.revision, self.stats()
                next_ms = figures["next_ms"]
                if figures["claimable"]:
                    return True
        return False

    def stats(self) -> Told:
        """Figures of the board."""
        figures: Told = self.ask("tasks/stats")["stats"]
        return figures

    def store_now_ms(self) -> int:
        """The store's time."""
        return self._records.status(self._resource).now_ms

    def now_ms(self) -> int:
        """The store's time."""
        return self.store_now_ms()

    def ask(self, call: str, **fields: Any) -> dict[str, Any]:
        """Asks about the board."""
        body = {"document": self.name, "board": self.spec, **fields}
        return self._asker.ask(call, body, resource=self.name)

    def compact(self) -> bool:
        """Others fold."""
        return False

    def look(self, _reader: Any) -> NoReturn:
        """The tree is not here."""
        raise not_remotely(f"looking into the tasks of {self.name!r}")


class RemoteBoard(TaskBoard):
    """The tasks in one document, through the coordinator function. Made by ``RemoteWorkspace.tasks``.

    Args:
        member: Who acts.
        document: Where the tasks are.
        spec: Their format.
        asker: Asks the function.
    """

    def __init__(self, member: Member, document: RemoteDocument, spec: dict[str, Any], asker: Asker) -> None:
        super().__init__(member, document, spec)
        self._remote = RemoteAccess(member, document, spec, asker)
        self._access = self._remote

    def _claim(
        self, op: dict[str, Any], op_id: str | None, wait_ms: int | None, cancel: threading.Event | None
    ) -> tuple[Instant, dict[str, Any]]:
        """Asks until there is one, or the time is over; and since when the claim may have been granted."""
        waiting = Waiting(self._member.clock, wait_ms, cancel)
        while True:
            try:
                if op_id is None:
                    self._remote.make_sure_it_is_there()
            except NoSuchDocument:  # it may come while it is waited for
                if not waiting.goes_on():
                    raise
                continue
            trail = Trail(self._member.clock)
            receipt = self._remote.decided_in(op, op_id, trail)
            if receipt.result["tasks"] or op_id is not None:
                return trail.since, receipt.result
            if not self._remote.pause_until_worth(receipt, waiting):
                return trail.since, receipt.result

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, task_id: str | int) -> Told | None:
        """One task; see ``TaskBoard.get``."""
        task: Told | None = self._remote.ask("tasks/get", id=task_id)["task"]
        return task

    def stats(self) -> Told:
        """Figures; see ``TaskBoard.stats``."""
        return self._remote.stats()

    def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        where: dict[str, Any] | None = None,
        holder: str | None = None,
    ) -> Rows:
        """Every task; see ``TaskBoard.list``."""
        wanted = None if status is None else [status] if isinstance(status, str) else sorted(status)
        fields = {"status": wanted, "where": where, "holder": holder}
        told = self._remote.ask("tasks/list", **{name: value for name, value in fields.items() if value is not None})
        rows: Rows = told["tasks"]
        return rows
