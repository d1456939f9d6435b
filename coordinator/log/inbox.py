r"""The inbox: operations of those who cannot reach the mount, as items of the table (P19, P25).

One writer per item, ever, as with logs. The sort key is ``inbox/<state path>/<incarnation>`` (table_item.py)::

    agent     S  whose it is
    state     S  "open"; "ended": its writer is done; "fenced": nothing more is taken from it (P27)
    frames    L  of B: lines as in a log (frame.py), those that are not folded yet; their chain goes on over the item
    first     N  seq of the first of them; seq + 1 when there are none
    seq       N  of the last operation that was appended
    bytes     N  size of the frames
    outcomes  M  of S, by op id: what became of the last OUTCOMES_MAX, as [outcome, info, revision, again]
    at_ms     N  when its writer last appended, by the store's clock

Appending is one conditional write (``seq`` is what it was, and the item is open), durable when it is acknowledged. A
frame is taken out only after the fold that covers it is committed, and its outcome is put down in the same write. An
item that is closed and empty is deleted.

The item is made empty, in a write of its own: should that write arrive a second time, long after, it would bring back
nothing that was folded before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from coordinator.errors import BadValue, StoreUnavailable
from coordinator.limits import INBOX_FRAME_MAX_BYTES, INBOX_MAX_BYTES, TABLE_BUDGET_MS
from coordinator.log.frame import encode, scan
from coordinator.log.walk import ENDED, INBOX_SEGMENT, OPEN, Position
from coordinator.names import new_id
from coordinator.record.table_calls import ConditionFailed
from coordinator.record.table_item import INBOX, key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.table import TableStore

FENCED: Final = "fenced"
OUTCOMES_MAX: Final = 64
_INFO_MAX_BYTES: Final = 2048  # of an outcome; more is told by the document
_ANSWERS_AT_ONCE: Final = 40  # an expression has 4 KB
# The clauses of the conditions (P8).
_NEW: Final = "attribute_not_exists(pk)"
_NEXT: Final = "seq = :before AND #state = :open AND #bytes < :most"  # nobody has appended since, and there is room
_UNANSWERED: Final = "#first = :first"  # no other compactor has taken these frames out
_OPEN: Final = "#state = :open"
_EMPTY: Final = "#state <> :open AND #first > seq"  # closed, and everything in it was folded


class Answer(NamedTuple):
    """What became of one operation, by a fold's words; ``again``: it had been decided before, at that revision."""

    op_id: str
    outcome: str
    info: Any
    revision: int
    again: bool = False


class InboxItem(NamedTuple):
    """One writer's item, as it was read.

    Attributes:
        incarnation: Whose.
        agent: Of which agent.
        state: ``open``, ``ended`` or ``fenced``.
        first: Seq of the first frame.
        seq: Of the last.
        frames: Lines.
        outcomes: By op id.
        at_ms: When its writer last appended.
    """

    incarnation: str
    agent: str
    state: str
    first: int
    seq: int
    frames: list[bytes]
    outcomes: dict[str, Answer]
    at_ms: int


class Inbox:
    """All items of one document.

    Args:
        table: Where they are.
        resource: Which document.
    """

    def __init__(self, table: TableStore, resource: Resource) -> None:
        self._table = table
        self._resource = resource
        self._prefix = f"{INBOX}{resource.state_path}/"

    def items(self) -> list[InboxItem]:
        """Every item there is, consistently read."""
        return [self._parse(item) for item in self._table.archive.query(self._prefix)]

    def item(self, incarnation: str) -> InboxItem | None:
        """One of them."""
        answer = self._call("get_item", "reading", incarnation, ConsistentRead=True)
        return self._parse(answer["Item"]) if "Item" in answer else None

    def _parse(self, item: dict[str, Any]) -> InboxItem:
        try:
            outcomes = {op_id: Answer(op_id, *orjson.loads(told["S"])) for op_id, told in item["outcomes"]["M"].items()}
            return InboxItem(
                incarnation=item["sk"]["S"].rpartition("/")[2],
                agent=item["agent"]["S"],
                state=item["state"]["S"],
                first=int(item["first"]["N"]),
                seq=int(item["seq"]["N"]),
                frames=[bytes(frame["B"]) for frame in item["frames"]["L"]],
                outcomes=outcomes,
                at_ms=int(item["at_ms"]["N"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadValue(
                f"the inbox item {item.get('sk')} is damaged: {error!r}",
                argument="inbox",
                value=str(item.get("sk")),
                hint="it was altered by hand: keep a copy of it, and delete it; its writer submits again",
            ) from None

    # ── the writer's side ────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, incarnation: str, agent: str) -> None:
        """Makes an empty item."""
        item = {
            **key(self._table.workspace, f"{self._prefix}{incarnation}"),
            "agent": {"S": agent},
            "state": {"S": OPEN},
            "frames": {"L": []},
            "first": {"N": "1"},
            "seq": {"N": "0"},
            "bytes": {"N": "0"},
            "outcomes": {"M": {}},
            "at_ms": {"N": str(self._table.now_ms())},
        }
        try:
            self._table.calls.call(
                "put_item", self._about("opening"), TABLE_BUDGET_MS, Item=item, ConditionExpression=_NEW
            )
        except ConditionFailed:
            return  # an earlier try of this call: the incarnation is this process's own

    def append(self, incarnation: str, before: int, lines: Sequence[bytes]) -> bool:
        """Appends frames after the one with seq ``before``. False: the item is fenced, or gone (P27).

        Raises:
            StoreUnavailable: With ``outcome_unknown``, they may be there: nothing more may be appended to this item.
        """
        seq, size_bytes = before + len(lines), sum(map(len, lines))
        values = {
            ":new": {"L": [{"B": line} for line in lines]},
            ":seq": {"N": str(seq)},
            ":before": {"N": str(before)},
            ":size": {"N": str(size_bytes)},
            ":most": {"N": str(INBOX_MAX_BYTES)},
            ":open": {"S": OPEN},
            ":at": {"N": str(self._table.now_ms())},
        }
        try:
            self._call(
                "update_item",
                "appending to",
                incarnation,
                UpdateExpression="SET frames = list_append(frames, :new), seq = :seq, at_ms = :at ADD #bytes :size",
                ConditionExpression=_NEXT,
                ExpressionAttributeNames={"#state": "state", "#bytes": "bytes"},
                ExpressionAttributeValues=values,
            )
        except ConditionFailed:
            found = self.item(incarnation)
            if found is None or found.state != OPEN:
                return False
            if found.seq == seq:
                return True  # the reply to an earlier try was lost; nobody else appends here
            raise StoreUnavailable(
                f"the inbox of {str(self._resource)!r} is full: {sum(map(len, found.frames)):,} bytes are not folded",
                resource=str(self._resource),
                cause="nobody folds",
                outcome_unknown=False,
                hint="is the compactor running? coordinator compact --loop, where the directory is mounted",
            ) from None
        return True

    def end(self, incarnation: str) -> None:
        """The writer is done."""
        self._close(incarnation, ENDED)

    # ── the compactor's side ─────────────────────────────────────────────────────────────────────────────────────────

    def fence(self, incarnation: str) -> None:
        """Nothing more is taken from it."""
        self._close(incarnation, FENCED)

    def _close(self, incarnation: str, state: str) -> None:
        try:
            self._call(
                "update_item",
                "closing",
                incarnation,
                UpdateExpression="SET #state = :state",
                ConditionExpression=_OPEN,
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={":state": {"S": state}, ":open": {"S": OPEN}},
            )
        except ConditionFailed:
            return  # it is closed already

    def answer(self, item: InboxItem, answers: Sequence[Answer]) -> None:
        """Takes the first frames of an item out, and puts down what became of them. Safe to repeat."""
        kept = {op_id: told.revision for op_id, told in item.outcomes.items()}
        for start in range(0, len(answers), _ANSWERS_AT_ONCE):
            some = answers[start : start + _ANSWERS_AT_ONCE]
            size_bytes = sum(map(len, item.frames[start : start + len(some)]))
            if not self._answer(item.incarnation, item.first + start, some, size_bytes, kept):
                return  # another compactor has answered

    def _answer(
        self, incarnation: str, first: int, some: Sequence[Answer], size_bytes: int, kept: dict[str, int]
    ) -> bool:
        fresh = {answer.op_id: answer for answer in some}  # the last of one id counts
        surplus = len(kept.keys() | fresh.keys()) - OUTCOMES_MAX
        oldest = sorted(kept.keys() - fresh.keys(), key=kept.__getitem__)[: max(surplus, 0)]
        names = {"#first": "first", "#bytes": "bytes"}
        names |= {f"#o{i}": op_id for i, op_id in enumerate(fresh)} | {
            f"#x{i}": op_id for i, op_id in enumerate(oldest)
        }
        values = {
            ":first": {"N": str(first)},
            ":next": {"N": str(first + len(some))},
            ":less": {"N": str(-size_bytes)},
            **{f":o{i}": {"S": _told(answer)} for i, answer in enumerate(fresh.values())},
        }
        sets = ["#first = :next", *(f"outcomes.#o{i} = :o{i}" for i in range(len(fresh)))]
        removes = [*(f"frames[{i}]" for i in range(len(some))), *(f"outcomes.#x{i}" for i in range(len(oldest)))]
        try:
            self._call(
                "update_item",
                "answering",
                incarnation,
                UpdateExpression=f"SET {', '.join(sets)} REMOVE {', '.join(removes)} ADD #bytes :less",
                ConditionExpression=_UNANSWERED,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        except ConditionFailed:
            return False
        for op_id in oldest:
            del kept[op_id]
        kept.update({op_id: answer.revision for op_id, answer in fresh.items()})
        return True

    def delete(self, incarnation: str) -> None:
        """Deletes an item, if it is closed and everything in it was folded."""
        try:
            self._call(
                "delete_item",
                "deleting",
                incarnation,
                ConditionExpression=_EMPTY,
                ExpressionAttributeNames={"#state": "state", "#first": "first"},
                ExpressionAttributeValues={":open": {"S": OPEN}},
            )
        except ConditionFailed:
            return

    def _call(self, action: str, doing: str, incarnation: str, **request: Any) -> dict[str, Any]:
        where = key(self._table.workspace, f"{self._prefix}{incarnation}")
        return self._table.calls.call(action, self._about(doing), TABLE_BUDGET_MS, Key=where, **request)

    def _about(self, doing: str) -> str:
        return f"{doing} the inbox of {str(self._resource)!r}"


class InboxLog(NamedTuple):
    """What an item has for a fold.

    Attributes:
        item: The item.
        after: The position behind it.
        payloads: Of the operations that are new, in order.
        folded: How many of its first frames were folded before, and not answered.
    """

    item: InboxItem
    after: Position
    payloads: list[bytes]
    folded: int


def read_item(item: InboxItem, before: Position | None) -> InboxLog:
    """What is new in an item since a position.

    Raises:
        BadValue: Its frames do not continue what was folded: it was altered by hand.
    """
    seq, chain = (before.seq, before.chain) if before else (0, 0)
    folded = max(seq - item.first + 1, 0)
    found = scan(b"".join(item.frames[folded:]), chain)
    if found.stop or item.first > seq + 1 or item.first + len(item.frames) - 1 != item.seq:
        raise BadValue(
            f"the frames {item.first} to {item.seq} of the inbox item of {item.agent} ({item.incarnation}) do not "
            f"continue operation {seq}, which was folded last",
            argument="inbox",
            value=item.incarnation,
            hint="it was altered by hand: keep a copy of it, and delete it",
        )
    state = OPEN if item.state == OPEN else ENDED
    after = Position(item.agent, item.incarnation, INBOX_SEGMENT, item.at_ms, found.chain, item.seq, state)
    return InboxLog(item, after, found.payloads, folded)


class InboxWriter:
    """Appends one process's operations to an item of its own. Thread-safe; a forked child has its own.

    Args:
        member: Whose.
        inbox: Of which document.
    """

    def __init__(self, member: Member, inbox: Inbox) -> None:
        self._member = member
        self._inbox = inbox
        self._guard = threading.Lock()
        self._incarnation = ""
        self._seq = self._chain = 0
        member.also_after_fork(self)

    def after_fork(self) -> None:
        """In a forked child: the item is the parent's (P19)."""
        self._guard = threading.Lock()
        self._incarnation = ""

    def append(self, ops: Sequence[bytes]) -> str:
        """Appends operations, durably; returns in which incarnation. Raises BadValue, StoreUnavailable."""
        with self._guard:
            while True:
                if not self._incarnation:
                    fresh = new_id()
                    self._inbox.make(fresh, self._member.agent)
                    self._incarnation, self._seq, self._chain = fresh, 0, 0
                lines, chain = self._frames(ops)
                try:
                    if self._inbox.append(self._incarnation, self._seq, lines):
                        self._seq, self._chain = self._seq + len(lines), chain
                        return self._incarnation
                except BaseException:
                    self._incarnation = ""  # what its end holds is not known: nothing more is appended to it (P21)
                    raise
                self._incarnation = ""  # fenced while this process stood still

    def _frames(self, ops: Sequence[bytes]) -> tuple[list[bytes], int]:
        lines, chain = [], self._chain
        for seq, op in enumerate(ops, self._seq + 1):
            line, chain = encode(b'{"seq":%d,%b' % (seq, op[1:]), chain)
            if len(line) > INBOX_FRAME_MAX_BYTES:
                raise BadValue(
                    f"an operation of {len(line):,} bytes is too long for the inbox, where {INBOX_FRAME_MAX_BYTES:,} "
                    "is the most",
                    argument="operation",
                    value=len(line),
                    hint="divide it into several, or submit it where the directory is mounted",
                )
            lines.append(line)
        return lines, chain

    def close(self) -> None:
        """Says that nothing more comes (P27)."""
        with self._guard:
            incarnation, self._incarnation = self._incarnation, ""
            if incarnation:
                self._inbox.end(incarnation)


def _told(answer: Answer) -> str:
    """An outcome as the item keeps it; what is too long is left out."""
    info = orjson.dumps(answer.info, default=str)
    if len(info) > _INFO_MAX_BYTES:
        info = orjson.dumps({"why": "long", "text": "read the document: this outcome is too long for the inbox"})
    return orjson.dumps([answer.outcome, orjson.Fragment(info), answer.revision, answer.again]).decode()
