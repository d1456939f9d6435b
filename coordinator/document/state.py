"""What a document is at one revision, in memory: content, positions in all logs, and recent operations (P25).

It is brought up to a record by reading what is new: the fold lines since, or, when content was committed whole in
between, that content. The same lines give the same state, whoever reads them.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.acquire import moved_error
from coordinator.document.fold import APPLIED, REJECTED
from coordinator.document.operations import replay
from coordinator.document.revision import LineAt, LineGoneError, Lines
from coordinator.document.snapshot import read_snapshot, sha256_of
from coordinator.document.tree import SIDE, VALUE, Tree
from coordinator.errors import CorruptSnapshot, MalformedDocument
from coordinator.limits import IDS_MAX, LIST_TRIES
from coordinator.log.reader import Position
from coordinator.log.walk import INBOX_SEGMENT
from coordinator.record.record import Head
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordinator.document.revision import Line
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


class Base(NamedTuple):
    """The whole content that edits are applied to: a snapshot of this revision. Revision 0: there was none."""

    revision: int
    n: int
    incarnation: str
    sha256: str
    size_bytes: int

    @property
    def head(self) -> Head:
        """The same, as snapshots are asked for."""
        return Head(self.revision, self.n, self.incarnation, self.sha256, self.size_bytes, 0)


NO_BASE = Base(0, 0, "", "", 0)


class State:
    """A document's state, and how it was come by. Changed in place; not thread-safe.

    Attributes:
        tree: The content and its side table.
        positions: How far each log was folded.
        ids: The recent operations: revision and outcome, oldest first, at most IDS_MAX.
        revision: Which revision this is.
        at_ms: The time of the last fold, by the store's clock.
        base: Where the content came from.
        text: The base's text: what renders of the content are laid out like; None when there was none.
        malformed: Why the base is not JSON; empty when it is.
        last: The newest fold line.
        lines_bytes: Size of the lines since the last checkpoint.
        full_bytes: Size of that checkpoint, content included.
        files: The files that the lines since then stand in.
        checkpoint: Its revision; 0: there was none.
    """

    def __init__(self) -> None:
        self.tree = Tree()
        self.positions: dict[str, Position] = {}
        self.ids: dict[str, tuple[int, str]] = {}
        self.revision = 0
        self.at_ms = 0
        self.base = NO_BASE
        self.text: bytes | None = None
        self.malformed = ""
        self.last: LineAt | None = None
        self.lines_bytes = 0
        self.full_bytes = 0
        self.files: set[str] = set()
        self.checkpoint = 0

    @property
    def value(self) -> Any:
        """The content."""
        return self.tree.value

    def mounted(self) -> Mapping[str, Position]:
        """The positions in logs on the mount; those in the inbox are another's business."""
        if all(position.segment != INBOX_SEGMENT for position in self.positions.values()):
            return self.positions
        return {name: at for name, at in self.positions.items() if at.segment != INBOX_SEGMENT}

    @property
    def is_nothing(self) -> bool:
        """Whether there is no document: nothing was committed, and no operation made one."""
        return self.base.revision == 0 and self.tree.value is None

    def is_at(self, record: Record | None) -> bool:
        """Whether this is the state of a record."""
        if record is None:
            return self.revision == 0
        at = self.last.place if self.last else None
        return bool(record.revision == self.revision and record.fold == at)

    def set_base(self, base: Base, data: bytes | None, name: str) -> None:
        """Takes a whole content over."""
        self.base, self.text, self.malformed = base, data, ""
        value = None
        if data is not None:
            from coordinator.document.json_text import parse  # noqa: PLC0415 - 3 ms that a log alone does not need

            try:
                value = parse(data, name)
            except MalformedDocument as error:
                self.malformed = error.message
        self.tree.roots[VALUE] = value
        self.tree.settle()
        for watcher in self.tree.watchers:
            watcher(None)
        self.revision = max(self.revision, base.revision)

    def apply(self, line: Line) -> None:
        """Repeats what a fold line says. Its edits of the content only if they are above the base."""
        body, revision = line.body, line.at.revision
        self.positions.update({key: Position(*value) for key, value in body["pos"].items()})
        for gone in body["gone"]:
            self.positions.pop(gone, None)
        for op_id, _, _, _, outcome, _, edits in body["ops"]:
            if outcome != "again":
                self.ids[op_id] = (revision, outcome)
            if edits:
                wanted = edits if revision > self.base.revision else [edit for edit in edits if _is_beside(edit)]
                replay(self.tree, wanted)
        trim(self.ids)
        self.tree.settle()
        self.note(line)

    def note(self, line: Line) -> None:
        """Takes down that a line is the newest, once its changes are made."""
        body = line.body
        if "full" in body:
            self.base = max(self.base, Base(*body["base"]))  # by revision: whole content may have been committed since
            self.full_bytes, self.lines_bytes = body["base"][4] + line.at.size_bytes, 0
            self.files, self.checkpoint = set(), line.at.revision
        else:
            self.lines_bytes += line.at.size_bytes
        self.files.add(line.at.place.name)
        self.last, self.at_ms = line.at, body["at_ms"]
        self.revision = max(self.revision, line.at.revision)

    def begin(self, line: Line) -> None:
        """Takes a checkpoint's positions, ids and side table; the content is set from its base."""
        full = line.body["full"]
        self.positions = {key: Position(*value) for key, value in full["pos"].items()}
        self.ids = {key: (value[0], value[1]) for key, value in full["ids"].items()}
        self.tree.roots[SIDE] = full["side"]
        self.note(line)

    def full(self) -> dict[str, Any]:
        """What a checkpoint holds besides the content."""
        positions = {key: list(position) for key, position in self.positions.items()}
        return {"pos": positions, "ids": self.ids, "side": self.tree.side}


def _is_beside(edit: list[Any]) -> bool:
    return bool(edit[0] != "patch" and edit[1][0] == SIDE)


def trim(ids: dict[str, tuple[int, str]]) -> None:
    """Forgets the oldest ids above the limit."""
    while len(ids) > IDS_MAX:
        del ids[next(iter(ids))]


def remember(
    ids: dict[str, tuple[int, str]], outcomes: Sequence[Sequence[Any]], revision: int
) -> dict[str, tuple[int, str]]:
    """Adds the ids that a fold decided, each with its revision and outcome (P25); returns the same dict."""
    ids.update((one[0], (revision, one[4])) for one in outcomes if one[4] in {APPLIED, REJECTED})
    trim(ids)
    return ids


class Loader:
    """Brings states up to records.

    Args:
        member: Through whom lines and snapshots are read.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self.lines = Lines(member, resource)

    def up_to(self, state: State | None, record: Record | None) -> State:
        """The state of a record, or of a newer one when that record's files are collected.

        Args:
            state: What is known; changed in place. None: nothing.
            record: The newest record, as far as the caller knows.

        Raises:
            CorruptSnapshot: A file that the newest record leads to is missing or damaged.
            StoreUnavailable: A retry is safe.
        """
        missing = LineGoneError()
        was_missing = False
        for _ in range(LIST_TRIES):
            try:
                return self._up_to(state, record)
            except LineGoneError as error:
                newest = self._member.store.read(self._resource)
                missing = error
                if was_missing and newest == record:
                    break
                was_missing, state, record = True, None, newest
                self.lines.forget()
            except ValueError as error:
                raise self._unfit(record, error) from error
        if record is not None and record.is_closed:  # others, who know where it goes on, have collected
            raise moved_error(self._member, self._resource, record)
        if isinstance(missing.__cause__, OSError) and missing.__cause__.errno == errno.ESTALE:
            raise unavailable(missing.__cause__, self._resource, "reading a fold of") from missing
        path, revision = str(missing), record.revision if record else 0
        raise CorruptSnapshot(
            f"revision {revision} of {str(self._resource)!r} is missing: {path}",
            resource=str(self._resource),
            path=path,
            revision=revision,
        )

    def _unfit(self, record: Record | None, error: ValueError) -> CorruptSnapshot:
        """The error for lines that are whole, and cannot have been made from the content before them."""
        path = self._member.places.of(self._resource, "fold")
        revision = record.revision if record else 0
        return CorruptSnapshot(
            f"the folds of {str(self._resource)!r} up to revision {revision} do not fit what they change: {error}",
            resource=str(self._resource),
            path=path,
            revision=revision,
        )

    def outcomes_of(self, wanted: set[str], newest: LineAt) -> dict[str, tuple[int, str]]:
        """What the lines that are kept tell of operations that are tried again: revision and outcome by id."""
        found = {}
        for line in self.lines.walk(newest):
            for op_id, _, _, _, outcome, _, _ in line.body["ops"]:
                if op_id in wanted and outcome != "again":
                    found[op_id] = (line.at.revision, outcome)
            if len(found) == len(wanted):
                break
        return found

    def exactly(self, record: Record) -> State | None:
        """The state of this very record; None when files of it are collected."""
        try:
            return self._up_to(State(), record)
        except LineGoneError:
            return None

    def _up_to(self, state: State | None, record: Record | None) -> State:
        state = state or State()
        if record is None or state.is_at(record) or record.revision < state.revision:
            return state  # (a record older than what is known is the caller's)
        lines = self._lines_after(state, record)
        if self._follows(state, lines, record):
            for line in lines:
                state.apply(line)
            return state
        base = self._base(record, lines)
        data = self._content(base)
        if lines and "full" in lines[0].body and (state.last is None or lines[0].at.revision > state.last.revision + 1):
            state = State()
            state.begin(lines.pop(0))
        state.set_base(base, data, str(self._resource))
        for line in lines:
            state.apply(line)
        return state

    def _lines_after(self, state: State, record: Record) -> list[Line]:
        """The lines that a state lacks; from a checkpoint on, if it cannot be told what it lacks."""
        if record.fold is None or (state.last is not None and record.fold == state.last.place):
            return []
        sha256 = record.head.sha256 if record.is_folded and record.head else ""
        return self.lines.back(record.fold, sha256, after=state.last.revision if state.last else 0)

    def _follows(self, state: State, lines: list[Line], record: Record) -> bool:
        """Whether the lines are all that happened since: no content was committed whole in between."""
        revisions = [line.at.revision for line in lines]
        return state.revision > 0 and revisions == list(range(state.revision + 1, record.revision + 1))

    def _base(self, record: Record, lines: list[Line]) -> Base:
        if not record.is_folded and record.head:
            head = record.head
            return Base(head.revision, head.n, head.incarnation, head.sha256, head.size_bytes)
        return Base(*lines[-1].body["base"])

    def _content(self, base: Base) -> bytes | None:
        if base.revision == 0:
            return None
        data = read_snapshot(self._member, self._resource, base.head)
        if data is None:
            raise LineGoneError(self._member.places.of(self._resource, "snap", base.head.snapshot))
        return data


def identity(data: bytes, revision: int, n: int, incarnation: str) -> Base:
    """The base that a content is, once it stands in snap/ under these."""
    return Base(revision, n, incarnation, sha256_of(data), len(data))
