"""Was everything that was acknowledged done once, and nothing else? A checker for receipts and what became of them.

    told = [Told("op-1", APPLIED, revision=4), Told("op-2", REJECTED), Told("op-3", UNHEARD)]
    report = check_exactly_once(told, decided_by(document.changes()))
    assert report.ok, report

Clients write down what they are about to ask for *before* they do (``Told(op_id, UNHEARD)``), and what they were told
afterwards: then whatever is killed in between has its outcome unknown, and nothing that is found was never asked for.
The other side is anything that tells what was done, in order: a document's changes, lines of a log, rows of a table,
or the items of the final state (then without revisions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from coordinator.document.folding import Change

APPLIED: Final = "applied"
REJECTED: Final = "rejected"
DURABLE: Final = "durable"  # it is kept and will be decided, one way or the other
UNHEARD: Final = "unknown"  # asked for, and then nothing that tells

_OUTCOMES: Final = (APPLIED, REJECTED, DURABLE, UNHEARD)
_TOLD_MAX: Final = 20  # lines of a report; the rest is counted


class Told(NamedTuple):
    """What one client was told of one operation. A retry makes one more of the same id.

    Attributes:
        op_id: The operation.
        outcome: ``APPLIED``, ``REJECTED``, ``DURABLE`` or ``UNHEARD``.
        revision: At which revision that was decided; 0: not told.
        client: Who was told; empty: not to be compared.
    """

    op_id: str
    outcome: str
    revision: int = 0
    client: str = ""


class Decided(NamedTuple):
    """What was done, or refused, as the system's own log or state has it.

    Attributes:
        op_id: The operation.
        revision: At which revision; 0: not known.
        outcome: ``APPLIED`` or ``REJECTED``.
        client: On whose behalf; empty: not known.
    """

    op_id: str
    revision: int = 0
    outcome: str = APPLIED
    client: str = ""


class Fault(NamedTuple):
    """One operation that is not accounted for exactly once.

    Attributes:
        kind: ``lost``: told applied, and not found so; or told durable, and never decided.
            ``doubled``: applied more than once.
            ``invented``: applied, and never asked for.
            ``undone``: told rejected, and applied all the same.
            ``revised``: told of one revision, and decided at another.
            ``contradicted``: told applied once, and rejected once; or of two revisions.
            ``misplaced``: told to one client, and done on another's behalf.
            ``disordered``: decided at a revision below that of the one before it.
        op_id: The operation.
        told: What its clients were told.
        found: What the log or state has of it.
    """

    kind: str
    op_id: str
    told: tuple[Told, ...]
    found: tuple[Decided, ...]

    def __str__(self) -> str:
        told = ", ".join(_outcome(told.outcome, told.revision, told.client) for told in self.told) or "nothing"
        found = ", ".join(_outcome(one.outcome, one.revision, one.client) for one in self.found) or "nothing"
        return f"{self.kind} {self.op_id}: told {told}; found {found}"


@dataclass(frozen=True, slots=True)
class ExactlyOnceReport:
    """What was found. ``str(report)`` is for people.

    Attributes:
        asked: How many operations were asked for.
        acknowledged: How many of them were told to be applied.
        applied: How many operations were applied.
        unheard: How many of those nobody was told of: all that may be unknown.
        faults: Everything that is wrong, by kind, and then in the order in which it was told or found.
    """

    asked: int
    acknowledged: int
    applied: int
    unheard: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is accounted for exactly once."""
        return not self.faults

    def of(self, kind: str) -> list[str]:
        """The operations with one kind of fault."""
        return [fault.op_id for fault in self.faults if fault.kind == kind]

    def __str__(self) -> str:
        kinds = list(dict.fromkeys(fault.kind for fault in self.faults))
        counts = ", ".join(f"{len(self.of(kind))} {kind}" for kind in kinds) or "nothing wrong"
        summary = (
            f"{self.asked} operations asked for, {self.acknowledged} acknowledged, {self.applied} applied, "
            f"{self.unheard} of them unheard: {counts}"
        )
        lines = [summary, *(f"  {fault}" for fault in self.faults[:_TOLD_MAX])]
        if len(self.faults) > _TOLD_MAX:
            lines.append(f"  and {len(self.faults) - _TOLD_MAX} more")
        return "\n".join(lines)


def check_exactly_once(
    told: Iterable[Told],
    decided: Iterable[Decided],
    *,
    others: Collection[str] = (),
    since: int = 0,
    is_settled: bool = True,
) -> ExactlyOnceReport:
    """Holds what clients were told against what was done.

    An operation of unknown outcome may have been applied once, or not. A rejected one that is not found is fine: few
    systems keep those for ever.

    Args:
        told: What was asked for, and what its clients were told; in any order, retries among them.
        decided: What was done, in the order in which it was. An operation that stands here twice was done twice: the
            answer to a retry, from memory, must not be here.
        others: Operations that are nobody's here and may be found: edits by hand, what was there before.
        since: What was decided up to this revision is no longer told by ``decided``, and is not missed there.
        is_settled: Whether all that is durable was decided by now. False: it may still be under way.

    Raises:
        BadValue: An outcome that there is not.
    """
    asked: dict[str, list[Told]] = {}
    for one in told:
        if one.outcome not in _OUTCOMES:
            raise BadValue(f"{one}: there is no such outcome", argument="told", value=one.outcome)
        asked.setdefault(one.op_id, []).append(one)
    found: dict[str, list[Decided]] = {}
    fallen: list[str] = []
    highest = 0
    for done in decided:
        if done.outcome not in {APPLIED, REJECTED}:
            raise BadValue(f"{done}: there is no such outcome", argument="decided", value=done.outcome)
        found.setdefault(done.op_id, []).append(done)
        if 0 < done.revision < highest:
            fallen.append(done.op_id)
        highest = max(highest, done.revision)
    history = _History(asked, found, frozenset(others), since, is_settled=is_settled)
    kinds = [*history.faults(), *(("disordered", op_id) for op_id in dict.fromkeys(fallen))]
    applied = {op_id for op_id, ones in found.items() if any(one.outcome == APPLIED for one in ones)}
    heard = {op_id for op_id, ones in asked.items() if any(one.outcome == APPLIED for one in ones)}
    return ExactlyOnceReport(
        asked=len(asked),
        acknowledged=len(heard),
        applied=len(applied),
        unheard=len(applied - heard),
        faults=tuple(
            Fault(kind, op_id, tuple(asked.get(op_id, ())), tuple(found.get(op_id, ()))) for kind, op_id in kinds
        ),
    )


class _History:
    """Both sides, by operation."""

    def __init__(
        self,
        asked: dict[str, list[Told]],
        found: dict[str, list[Decided]],
        others: frozenset[str],
        since: int,
        *,
        is_settled: bool,
    ) -> None:
        self._asked, self._found, self._others = asked, found, others
        self._since, self._is_settled = since, is_settled

    def faults(self) -> Iterator[tuple[str, str]]:
        """Kind and operation, kind by kind."""
        tests = (
            ("lost", self._is_lost),
            ("doubled", self._is_doubled),
            ("invented", self._is_invented),
            ("undone", self._is_undone),
            ("revised", self._is_revised),
            ("contradicted", self._is_contradicted),
            ("misplaced", self._is_misplaced),
        )
        every = dict.fromkeys([*self._asked, *self._found])
        for kind, test in tests:
            yield from ((kind, op_id) for op_id in every if test(op_id))

    def _times(self, op_id: str, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self._found.get(op_id, ()))

    def _told(self, op_id: str, outcome: str) -> list[Told]:
        return [one for one in self._asked.get(op_id, ()) if one.outcome == outcome]

    def _is_lost(self, op_id: str) -> bool:
        if self._times(op_id, APPLIED):
            return False
        acknowledged = self._told(op_id, APPLIED)
        if acknowledged:
            return not any(0 < one.revision <= self._since for one in acknowledged)
        # Of what was durable and decided up to ``since``, nothing is known here.
        is_decided = self._times(op_id, REJECTED) or self._told(op_id, REJECTED) or self._since
        return self._is_settled and bool(self._told(op_id, DURABLE)) and not is_decided

    def _is_doubled(self, op_id: str) -> bool:
        times = self._times(op_id, APPLIED)
        before = any(0 < one.revision <= self._since for one in self._told(op_id, APPLIED))
        return times > 1 or (before and times > 0 and self._is_after(op_id))

    def _is_after(self, op_id: str) -> bool:
        return all(one.revision > self._since for one in self._found[op_id] if one.outcome == APPLIED)

    def _is_invented(self, op_id: str) -> bool:
        return self._times(op_id, APPLIED) > 0 and op_id not in self._asked and op_id not in self._others

    def _is_undone(self, op_id: str) -> bool:
        return bool(self._told(op_id, REJECTED)) and self._times(op_id, APPLIED) > 0

    def _is_revised(self, op_id: str) -> bool:
        """Told of a revision at which it was not decided so; where the revisions are known."""
        for outcome in (APPLIED, REJECTED):
            known = {one.revision for one in self._found.get(op_id, ()) if one.outcome == outcome}
            told = {one.revision for one in self._told(op_id, outcome)}
            if known and 0 not in known and any(0 < revision not in known for revision in told):
                return True
        return False

    def _is_contradicted(self, op_id: str) -> bool:
        applied, rejected = self._told(op_id, APPLIED), self._told(op_id, REJECTED)
        revisions = [{one.revision for one in ones} - {0} for ones in (applied, rejected)]
        return bool(applied and rejected) or any(len(of_it) > 1 for of_it in revisions)

    def _is_misplaced(self, op_id: str) -> bool:
        clients = {one.client for one in self._asked.get(op_id, ())} - {""}
        done_for = {one.client for one in self._found.get(op_id, ())} - {""}
        return bool(clients) and not done_for <= clients


def decided_by(changes: Iterable[Change]) -> list[Decided]:
    """What a document's changes say was decided. Answers to retries, from memory, are left out.

    Args:
        changes: ``Document.changes()``; when it no longer goes back to the beginning, tell ``check_exactly_once`` since
            when.
    """
    return [
        Decided(operation["op_id"], change.revision, operation["outcome"], operation["agent"])
        for change in changes
        for operation in change.operations
        if operation["outcome"] in {APPLIED, REJECTED}
    ]


def told_by(receipt: Any, client: str = "") -> Told:
    """What a receipt of ``Document.perform`` (or an ``OperationRejected``) tells its client."""
    return Told(receipt.op_id, getattr(receipt, "state", REJECTED), receipt.revision, client)


def _outcome(outcome: str, revision: int, client: str) -> str:
    at = f" at {revision}" if revision else ""
    of = f" ({client})" if client else ""
    return f"{outcome}{at}{of}"
