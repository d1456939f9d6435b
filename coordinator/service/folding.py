"""What the compactor function does with most of its time: fold whatever waits, in all documents, until nothing does.

Documents are folded in rounds, a bounded number of folds each, so that one that is written to without pause does not
hold up the others; and one that cannot be folded is noted, left alone, and does not hold them up either. Nothing here
is what makes folding safe: publishing is fenced (P24), and this process may be killed or frozen at any instruction.

Nothing is kept from one invocation to the next but what the library keeps, which looks at its record before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordinator.clock import elapsed_max_ms
from coordinator.document.drain import Drain
from coordinator.document.revision import load_json
from coordinator.errors import BadName, CoordinatorError
from coordinator.limits import FOLD_BATCH_BYTES, INBOX_POLL_MS
from coordinator.log.reader import LogBatch, LogReader
from coordinator.names import Resource
from coordinator.record.table_item import INBOX
from coordinator.status import sweep_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from coordinator.document.compactor import Compactor, Folded
    from coordinator.document.document import Document
    from coordinator.log.inbox import InboxLog
    from coordinator.log.walk import Position
    from coordinator.record.member import Member
    from coordinator.workspace import Workspace

FOLDS_EACH: Final = 8  # limit: of one document, before it is another's turn
QUIET_LOOKS: Final = 2  # rounds in which nothing was new, before it is called idle: a look at the inbox may be left out
COLLECT_MINUTES: Final = 60  # limit: within so many, every document has its turn to be collected
COLLECT_MARGIN_S: Final = 5.0  # limit: of the time left, below which no collection is begun


@dataclass(slots=True)
class Backlog:
    """What was found waiting in one document.

    Attributes:
        operations: How many, in all looks together: each is read once before it is folded.
        age_ms: Of the oldest, when it was looked at.
    """

    operations: int = 0
    age_ms: int = 0


@dataclass(slots=True)
class Report:
    """What one invocation did.

    Attributes:
        looked_at: Documents, by name.
        backlogs: What waited, by document; those where nothing did are not in it.
        fold_ms: How long each fold took that published something.
        applied: Operations whose preconditions held.
        rejected: Operations that were refused.
        held: Who holds the lease of a document that therefore could not be folded, by document.
        failures: What went wrong, by document; ``""`` for what is of none.
        is_idle: Whether nothing was left to fold; else the time was over first.
        collected: Records archived, files deleted, bytes freed.
    """

    looked_at: set[str] = field(default_factory=set)
    backlogs: dict[str, Backlog] = field(default_factory=dict)
    fold_ms: list[int] = field(default_factory=list)
    applied: int = 0
    rejected: int = 0
    held: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    is_idle: bool = False
    collected: tuple[int, int, int] = (0, 0, 0)

    @property
    def lag_ms(self) -> int:
        """How old an operation had become when it was folded, or has become if it was not; the oldest."""
        return max((backlog.age_ms for backlog in self.backlogs.values()), default=0)

    @property
    def lag_operations(self) -> int:
        """How many were found waiting."""
        return sum(backlog.operations for backlog in self.backlogs.values())


# ── how much waits, and for how long ─────────────────────────────────────────────────────────────────────────────────


class _Noting:
    """Notes what a fold reads, as it reads it: so that nothing is read twice for the sake of figures."""

    def __init__(self, compactor: Compactor) -> None:
        self._compactor = compactor
        self.backlog = Backlog()

    def note(self, logs: Iterable[Sequence[bytes]]) -> None:
        for payloads in logs:
            if payloads:
                self.backlog.operations += len(payloads)
                self.backlog.age_ms = max(self.backlog.age_ms, self._age_ms(payloads[0]))

    def _age_ms(self, oldest: bytes) -> int:
        """Of the first frame of a log. What was appended before the last fold was read by it: no age is above that.

        So a writer whose clock is a day behind makes nothing look a day old.
        """
        state = self._compactor.state
        floor_ms = state.at_ms if state is not None else 0
        try:
            at_ms = int(load_json(oldest, exact=False)["at"])
        except (ValueError, KeyError, TypeError):
            return 0  # the fold tells what is wrong with it
        return max(self._compactor.now_ms() - max(at_ms, floor_ms), 0)


class _NotedReader(LogReader):
    """A reader of logs whose reading is noted."""

    def __init__(self, member: Member, resource: Resource, noting: _Noting) -> None:
        super().__init__(member, resource)
        self._noting = noting

    def read(self, positions: Mapping[str, Position], *, max_bytes: int = FOLD_BATCH_BYTES) -> LogBatch:
        batch = super().read(positions, max_bytes=max_bytes)
        self._noting.note(new.payloads for new in batch.logs)
        return batch


class _NotedDrain(Drain):
    """A look into the inbox that is noted."""

    noting: _Noting | None = None

    def look(self, positions: Mapping[str, Position]) -> list[InboxLog]:
        found = super().look(positions)
        if self.noting is not None:
            self.noting.note(log.payloads for log in found)
        return found


def _noting_of(member: Member, document: Document, noted: dict[str, _Noting]) -> _Noting:
    """What notes a document's folds. Reader and drain are fresh in each invocation: the first look leaves nothing out.

    Private parts of the compactor are replaced by parts of the same kind: how a document is folded is not for users.
    """
    found = noted.get(document.name)
    if found is None:
        compactor = document._folding.compactor  # noqa: SLF001 - see above
        found = noted[document.name] = _Noting(compactor)
        resource = Resource.parse(document.name)
        with compactor.guard:
            compactor._reader = _NotedReader(member, resource, found)  # noqa: SLF001 - see above
            if member.table is not None:
                drain = _NotedDrain(member, resource, member.table)
                drain.noting = found
                compactor._drain = drain  # noqa: SLF001 - see above
    return found


# ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Rounds:
    """Folds documents in turns.

    Args:
        workspace: Theirs.
        remaining: Tells the seconds that are left for it.
        report: Where what happens is put down.
    """

    def __init__(self, workspace: Workspace, remaining: Callable[[], float], report: Report) -> None:
        self._workspace = workspace
        self._member: Member = workspace._member  # noqa: SLF001 - the library's own room
        self._remaining = remaining
        self._report = report
        self._noted: dict[str, _Noting] = {}

    def run(self, names: Sequence[str]) -> None:
        """Folds until nothing is new, or the time is over.

        Args:
            names: Those that come first; none: every document there is. What is in the inbox is always folded.
        """
        due = list(dict.fromkeys([*(names or self._everything()), *self._in_inbox()]))
        for name in due:
            self._look_at_once(name)
        # Who names documents says so again when there is more: nobody else is served while this one looks in vain.
        enough, quiet = 1 if names else QUIET_LOOKS, 0
        while due and quiet < enough:
            busy = []
            for name in due:
                if self._remaining() <= 0:
                    return
                if self._fold(name):
                    busy.append(name)
            quiet = 0 if busy else quiet + 1
            due = [name for name in dict.fromkeys([*busy, *self._in_inbox()]) if name not in self._report.failures]
            if due and not busy and quiet < enough:
                self._member.clock.pause(INBOX_POLL_MS)
        self._report.is_idle = True

    def _look_at_once(self, name: str) -> None:
        with self._step(name):
            drain = self._workspace.document(name)._folding.compactor._drain  # noqa: SLF001 - see _noting_of
            if drain is not None:
                drain.look_at_once()

    def _everything(self) -> list[str]:
        with self._step(""):
            return [str(resource) for resource in self._member.store.resources()]
        return []

    def _in_inbox(self) -> list[str]:
        """Documents that somebody has an item for: also those that nobody has folded yet, which no store lists."""
        table = self._member.table
        found: list[str] = []
        if table is not None:
            with self._step(""):
                found += (_document_of(item["sk"]["S"]) for item in table.archive.query(INBOX, only="sk"))
        return sorted({name for name in found if name})

    def _fold(self, name: str) -> bool:
        """One document's turn; whether anything was new."""
        self._report.looked_at.add(name)
        self._report.held.pop(name, None)
        is_new = False
        with self._step(name):
            document = self._workspace.document(name)
            noting = _noting_of(self._member, document, self._noted)
            for _ in range(FOLDS_EACH):
                began = self._member.clock.now()
                done = document.compact()
                self._note(name, noting, done, elapsed_max_ms(began, self._member.clock.now()))
                if done.waiting_for:
                    self._wait_for(document, noting, done.waiting_for)
                if not done.revision:
                    break
                is_new = True
                if self._remaining() <= 0:
                    break
        return is_new

    def _note(self, name: str, noting: _Noting, done: Folded, took_ms: int) -> None:
        report = self._report
        if done.revision:
            report.fold_ms.append(took_ms)
        report.applied += done.applied
        report.rejected += done.rejected
        if noting.backlog.operations:
            report.backlogs[name] = noting.backlog

    def _wait_for(self, document: Document, noting: _Noting, holder: str) -> None:
        """Somebody holds the lease, so nothing can be published: what waits for that is looked at all the same."""
        self._report.held[document.name] = holder
        noting.backlog = Backlog()  # each look reads all of it
        compactor = document._folding.compactor  # noqa: SLF001 - see _noting_of
        with compactor.guard:
            state = compactor.state
            if state is not None:
                compactor._reader.read(state.mounted())  # noqa: SLF001 - see _noting_of
                if compactor._drain is not None:  # noqa: SLF001
                    compactor._drain.look(state.positions)  # noqa: SLF001
        if noting.backlog.operations:
            self._report.backlogs[document.name] = noting.backlog

    def _step(self, name: str) -> _Step:
        return _Step(self._report, name)


class _Step:
    """Around one document: what it raises is noted, and the others go on."""

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False  # an exit is an exit
        self._report.failures[self._name] = error
        return True


def _document_of(sort_key: str) -> str:
    """The document that an inbox item is for; empty when it is not of our making."""
    state_path = sort_key.removeprefix(INBOX).rpartition("/")[0]
    try:
        return str(Resource.from_state_path(state_path))
    except BadName:
        return ""


# ── collecting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def whose_turn(names: Sequence[str], minute: int) -> list[str]:
    """Which documents are to be collected in a minute: a cursor that needs no state but the clock.

    In COLLECT_MINUTES all of them have their turn, and with each time round the order within a minute is another, so
    that a time that is always too short for some is not always too short for the same.
    """
    slot, around = minute % COLLECT_MINUTES, minute // COLLECT_MINUTES
    mine = [name for i, name in enumerate(sorted(names)) if i % COLLECT_MINUTES == slot]
    cut = around % len(mine) if mine else 0
    return mine[cut:] + mine[:cut]


def collect(workspace: Workspace, minute: int, remaining: Callable[[], float], report: Report) -> None:
    """Retires silent logs and deletes what nobody needs (P18, P27), in the documents whose turn it is.

    Args:
        workspace: Theirs.
        minute: Since 1970, as the schedule has it.
        remaining: Tells the seconds that are left.
        report: Where what happens is put down.
    """
    for name in whose_turn(sorted(report.looked_at - report.failures.keys() - report.held.keys()), minute):
        if remaining() < COLLECT_MARGIN_S:
            return
        with _Step(report, name):
            done = workspace.document(name).collect()
            records, files, freed_bytes = report.collected
            report.collected = (records + done[0], files + done[1], freed_bytes + done[2])
    if minute % COLLECT_MINUTES == 0 and remaining() >= COLLECT_MARGIN_S:
        with _Step(report, ""):
            sweep_leftovers(workspace._member)  # noqa: SLF001 - the library's own room


def told(errors: Mapping[str, Exception]) -> Iterator[dict[str, str]]:
    """Failures as plain values, for the log."""
    for name, error in errors.items():
        hint = error.hint if isinstance(error, CoordinatorError) else ""
        message = error.message if isinstance(error, CoordinatorError) else str(error)
        yield {"document": name, "error": type(error).__name__, "message": message, "hint": hint}
