"""A board's way to its document: operations go in, refusals come out as errors, the newest state is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from coordinator.clock import elapsed_max_ms, elapsed_min_ms
from coordinator.document.board import validate
from coordinator.document.board.index import index_of
from coordinator.document.board.spec import check_spec
from coordinator.document.content import rejection
from coordinator.document.fold import APPLIED
from coordinator.document.outcome import Rejected
from coordinator.document.submit import DURABLE
from coordinator.document.tree import Tree
from coordinator.errors import ClaimLost, LeaseHeld, MalformedDocument, OperationRejected, StoreUnavailable
from coordinator.events import Event
from coordinator.names import Resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Clock, Instant
    from coordinator.document.document import Document
    from coordinator.document.receipt import OperationReceipt
    from coordinator.errors import CoordinatorError
    from coordinator.record.member import Member
    from coordinator.record.record import Holding, Record

T = TypeVar("T")

_CLOCK_KEEP_MS: Final = 1000
_KEPT: Final = "stop working on it; your result is kept with the task (late_results)"
_NOT_KEPT: Final = "stop working on it; nothing of it is kept with the task"


class Access:
    """One board of one document, for this process. Thread-safe.

    Args:
        member: Who acts.
        document: Where the tasks are.
        spec: Their format.
    """

    def __init__(self, member: Member, document: Document, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.layout = check_spec(spec)
        self.document = document
        self.name = document.name
        self._member = member
        self._resource = Resource.parse(document.name)
        self._asked: tuple[Instant, int] | None = None

    @property
    def agent(self) -> str:
        """Who acts."""
        return self._member.agent

    @property
    def clock(self) -> Clock:
        """The seam to time."""
        return self._member.clock

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────

    def op(self, verb: str, **fields: Any) -> dict[str, Any]:
        """An operation on this board; fields that are None are left out."""
        given = {field: value for field, value in fields.items() if value is not None}
        return {"do": f"task.{verb}", "board": self.spec, **given}

    def submit(self, op: dict[str, Any], op_id: str | None, wait: float) -> OperationReceipt:
        """Submits one operation; its receipt, unless it was refused: that is raised."""
        validate(op, self.name)
        receipt = self.document.perform([op], ids=None if op_id is None else [op_id], wait=wait)[0]
        if receipt.state == "rejected":
            raise self._refusal(op, receipt)
        if receipt.result and "refused" in receipt.result:  # a completion whose result was kept all the same
            raise self._claim_lost(op, receipt.result["refused"], receipt.result)
        if receipt.state == APPLIED and receipt.result is None and op["do"] == "task.complete":
            raise self._gone(receipt)  # it may have been one that was refused, and its result kept
        return receipt

    def decided(self, op: dict[str, Any], op_id: str | None, wait: float) -> OperationReceipt:
        """The receipt of an operation that is of no use before it is decided."""
        receipt = self.submit(op, op_id, wait)
        if receipt.state == DURABLE:
            raise self.undecided(receipt.op_id)
        if receipt.result is None:
            raise self._gone(receipt)
        return receipt

    def _gone(self, receipt: OperationReceipt) -> OperationRejected:
        return OperationRejected(
            f"operation {receipt.op_id} on {self.name!r} was applied at revision {receipt.revision}, "
            "so long ago that what it gave is no longer known",
            resource=self.name,
            op_id=receipt.op_id,
            why="gone",
            winner="",
            revision=receipt.revision,
            facts={},
            hint="look at the task: whose result stands there?",
        )

    def undecided(self, op_id: str) -> CoordinatorError:
        """The error for an operation that was not decided in time: it may be yet."""
        held = self.lease_in_the_way(self._member.store.read(self._resource))
        if held is not None:
            return self.lease_held(held, op_id)
        return StoreUnavailable(
            f"operation {op_id} on {self.name!r} is durable, but was not decided in time",
            resource=self.name,
            cause="nothing was folded",
            outcome_unknown=True,
            op_id=op_id,
            hint="it will be decided; ask with the same op_id what became of it",
        )

    def _refusal(self, op: dict[str, Any], receipt: OperationReceipt) -> CoordinatorError:
        if receipt.why in {"superseded", "gone"} and "epoch" in op:
            return self._claim_lost(op, receipt.why, {**receipt.facts, "winner": receipt.winner, "text": receipt.text})
        if receipt.why in {"format", "malformed"}:
            return self._malformed(receipt.text)
        return rejection(self._resource, receipt)

    def _malformed(self, text: str) -> MalformedDocument:
        return MalformedDocument(
            f"{self.name!r}: {text}",
            resource=self.name,
            where=f"/{'/'.join(self.layout.at)}",
            hint="say where its tasks are: format, tag, at",
        )

    def _claim_lost(self, op: dict[str, Any], why: str, facts: dict[str, Any]) -> ClaimLost:
        name, kept = str(op["id"]), bool(facts.get("kept"))
        error = ClaimLost(
            f"the claim on task {name} of {self.name!r} with epoch {op['epoch']} is lost: {facts['text']}",
            hint=_KEPT if kept else _NOT_KEPT,
            resource=self.name,
            fence=op["epoch"],
            reason=why,
            successor=facts.get("winner") or "",
            successor_fence=facts.get("winner_epoch") or 0,
            kept=f"{self.name}: late result of task {name}, epoch {op['epoch']}" if kept else "",
            task_id=name,
        )
        event = Event("lost", self.name, self.agent, op["epoch"], error.successor, why, detail={"task": name})
        self._member.events.tell(event)
        return error

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def newest(self) -> Record | None:
        """The newest record of the document."""
        return self._member.store.read(self._resource)

    def revision(self) -> int:
        """The newest revision; 0 when nothing was committed."""
        record = self.newest()
        return record.revision if record else 0

    def compact(self) -> bool:
        """Folds what writers left in their logs; whether there was anything."""
        return self.document.compact().revision > 0

    def store_now_ms(self) -> int:
        """The store's time."""
        return self._member.store.now_ms()

    def now_ms(self) -> int:
        """The store's time: asked for at most once a second, and reckoned, low rather than high, in between."""
        now = self._member.clock.now()
        asked = self._asked
        if asked is None or elapsed_max_ms(asked[0], now) >= _CLOCK_KEEP_MS:
            asked = self._asked = (now, self._member.store.now_ms())
        return asked[1] + elapsed_min_ms(asked[0], now)

    def lease_in_the_way(self, record: Record | None) -> Holding | None:
        """The lease that keeps the document from being folded, if there is one."""
        held = record.lease if record else None
        over = held is not None and self.now_ms() > held.until_ms + self._member.store.skew_ms
        return None if over else held

    def lease_held(self, held: Holding, op_id: str = "") -> LeaseHeld:
        """The error for a lease that keeps the document from being folded."""
        more = {"op_id": op_id} if op_id else {}
        return LeaseHeld(
            f"the tasks of {self.name!r} cannot be given out: {held.agent} holds its lease (fence {held.fence})",
            resource=self.name,
            holder=held.agent,
            fence=held.fence,
            since_ms=held.granted_ms,
            until_ms=held.until_ms,
            now_ms=self.now_ms(),
            waiting=0,
            waited_ms=0,
            hint="it goes on when that lease ends" + ("; ask then with the same op_id" if op_id else ""),
            **more,
        )

    def may_claim(self, op: dict[str, Any]) -> tuple[bool, int | None]:
        """Whether a claim may be given something now, and when time alone changes that."""
        now_ms = self.now_ms()

        def find(tree: Tree, at_ms: int) -> tuple[bool, int | None]:
            index = index_of(tree, self.spec)
            index.refresh(tree, max(now_ms, at_ms, index.now_ms))
            next_ms = index.times.next_ms()
            ids, needs, where = op.get("ids"), op.get("needs"), op.get("where")
            if ids is None:
                ready = index.queues.first(needs, where) is not None
            else:
                entries = (index.by_key.get(self.layout.key_of(one)) for one in ids)
                ready = any(entry is not None and entry.ready for entry in entries)
            return ready or (next_ms is not None and next_ms <= now_ms), next_ms

        return self.look(find)

    def look(self, reader: Callable[[Tree, int], T]) -> T:
        """Reads the newest content and the claims beside it, while nothing changes them in another thread.

        Raises:
            NoSuchDocument, MalformedDocument: As a document's ``read_json``; or it has no tasks there.
        """
        record = self._member.store.read(self._resource)
        try:
            if record is None or record.head is None:
                return reader(Tree(self.document.read_json()), 0)
            folding = self.document._folding  # noqa: SLF001 - the board is the document's other half
            with folding._guard:  # noqa: SLF001 - likewise
                state = folding._up_to(record)  # noqa: SLF001 - likewise
                if not state.malformed:
                    return reader(state.tree, state.at_ms)
        except Rejected as rejected:
            raise self._malformed(rejected.text) from None
        self.document.read_json()
        raise self._malformed(state.malformed)
