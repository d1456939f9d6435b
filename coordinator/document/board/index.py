"""Which tasks can be claimed, which is first, and whose time is up, without looking at all of them.

The index is a cache of one board of one tree: built in one pass, then kept up by watching the tree. What it answers
never depends on its history: a fresh one gives the same answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from coordinator.document.board.formats import CANCELLED, DONE, IN_PROGRESS, PENDING, Entry, Layout
from coordinator.document.board.notes import BOARD, RECORDS, Notes
from coordinator.document.board.queues import Queues
from coordinator.document.board.spec import check_spec
from coordinator.document.board.times import HELD, Times
from coordinator.document.outcome import Rejected
from coordinator.document.tree import VALUE, copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordinator.document.tree import Tree

INDEXES_MAX: Final = 8  # limit: boards (tags) of one document whose index is kept


def index_of(tree: Tree, spec: dict[str, Any]) -> Index:
    """The index of a board, made at the first use of it.

    Raises:
        BadValue: Not a spec.
    """
    kept = _kept.get(tree)
    if kept is None:
        kept = _kept[tree] = []
    for index in kept:
        if index.spec == spec:
            return index
    index = Index(copy_of(spec), check_spec(spec))
    if len(kept) == INDEXES_MAX:
        tree.watchers.remove(kept.pop(0).notes.watch)
    kept.append(index)
    tree.watchers.append(index.notes.watch)
    return index


class Index:
    """A board's tasks by key, by readiness and by deadline. ``refresh`` before asking anything.

    Attributes:
        by_key: The tasks. Of two with the same id only the first is one.
        rows: For each element of the array what ``Layout.read`` made of it.
        records: The newest claim of each task, as kept beside the document.
        queues: The tasks that can be claimed.
        times: The claims and pauses that end by themselves.
        now_ms: The time of the last look.
    """

    def __init__(self, spec: dict[str, Any], layout: Layout) -> None:
        self.spec = spec
        self.layout = layout
        self.by_key: dict[str, Entry] = {}
        self.records: dict[str, Any] = {}
        self.rows: list[list[Entry | None]] = []
        self.queues = Queues()
        self.times = Times(self.claim_of, self._pause_of)
        self.notes = Notes(layout)
        self.notes.fields = self.queues.fields
        self.now_ms = 0
        self._base: tuple[Any, ...] = ()
        self._tasks: list[Any] = []
        self._waiters: dict[str, dict[Entry, None]] = {}
        self._met: set[str] = set()

    def claim_of(self, key: str) -> Any:
        """The newest claim of a task that is on the board, or None."""
        return self.records.get(key) if key in self.by_key else None

    def is_met(self, key: str) -> bool:
        """Whether a task counts as done for those that wait for it."""
        return key in self._met or (key not in self.by_key and _is_done(self.records.get(key)))

    def is_awaited(self, key: str) -> bool:
        """Whether a task on the board waits for that one, which may not be there."""
        return bool(self._waiters.get(key))

    def entries(self) -> Iterable[Entry]:
        """Every task, in the order of the file."""
        return (entry for row in self.rows for entry in row if entry is not None and self._has(entry))

    # ── looking again ────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, tree: Tree, now_ms: int) -> None:
        """Brings the index up to what the tree says now.

        Raises:
            Rejected: The document has no such board.
        """
        if self.notes.dirty:
            self._look_again(tree, now_ms)
        if now_ms != self.now_ms:
            self.now_ms = now_ms
            for key in self.times.turned(now_ms):
                if key in self.by_key:
                    self._look(self.by_key[key])

    def _look_again(self, tree: Tree, now_ms: int) -> None:
        notes = self.notes
        if notes.rebound and not notes.stale:  # the first claim makes the table, and undoing that takes it away
            records = _records(tree)
            notes.stale = any(key not in notes.records for key in (*records, *self.records))
            self.records = records
        if notes.stale:
            self._build(tree, now_ms)
            return
        low = min(notes.low, len(self.rows))
        if low < len(self._tasks) or low < len(self.rows):
            self._reread(low)
        for row in notes.redone:
            if row < low:
                self._drop([row])
                self._take([row])
        for entry in self._noted():
            self._settle(entry)
        for key in notes.records:
            if key not in self.by_key:
                self._settle_met(key)
        notes.clear(self._base, len(self.rows))

    def _noted(self) -> dict[Entry, None]:
        """The tasks whose status or claim changed, once each."""
        rows = self.rows
        noted = [self.by_key.get(key) for key in self.notes.records]
        for row, place in self.notes.touched:
            if row < len(rows) and place < len(rows[row]):
                noted.append(rows[row][place])
        return {entry: None for entry in noted if entry is not None and self._has(entry)}

    def _build(self, tree: Tree, now_ms: int) -> None:
        self.notes.dirty = self.notes.stale = True  # until it is done: there may be no such board
        self._base, self._tasks = locate(tree, self.layout)
        self.records = _records(tree)
        self.now_ms = now_ms
        self.by_key, self.rows, self._waiters, self._met = {}, [], {}, set()
        self.times.clear()
        self.queues.clear()
        self._reread(0)
        self.queues.line_up()
        self.notes.clear(self._base, len(self.rows))

    def _reread(self, low: int) -> None:
        """Reads again every task from a row on: what stood there may have moved."""
        keys = self._drop(range(low, len(self.rows)))
        del self.rows[low:]
        new = range(low, len(self._tasks))
        self.rows.extend([] for _ in new)
        self._take(new)
        for key in keys:
            if key not in self.by_key:
                self._settle_met(key)

    def _drop(self, rows: Iterable[int]) -> list[str]:
        keys = []
        for row in rows:
            for entry in self.rows[row]:
                if entry is not None and self._has(entry):
                    keys.append(entry.key)
                    for key in entry.deps:
                        self._waiters[key].pop(entry, None)
                    self._set_ready(entry, ready=False)
            for entry in self.rows[row]:
                if entry is not None and self._has(entry):
                    del self.by_key[entry.key]
        return keys

    def _take(self, rows: Iterable[int]) -> None:
        taken = self._read(rows)
        by_key, waiters, met = self.by_key, self._waiters, self._met
        for entry in taken:
            if (entry.state == DONE) != (entry.key in met):
                self._settle_met(entry.key)
        for entry in taken:
            for key in entry.deps:
                if key not in by_key:
                    self._settle_met(key)
                waiters.setdefault(key, {})[entry] = None
                entry.unmet += key not in met
        for entry in taken:
            if entry.key in self.records:
                self.times.note(entry.key, self.now_ms)
            if self._is_ready(entry):
                self._set_ready(entry, ready=True)

    def _read(self, rows: Iterable[int]) -> list[Entry]:
        """Reads tasks. Those of an id that stands before already are left out, with their subtasks."""
        read, by_key, base = self.layout.read, self.by_key, self._base
        taken = []
        for row in rows:
            found = self.rows[row] = read(self._tasks[row], row, (*base, row))
            for entry in found:
                if entry is None or (entry.parent is not None and not self._has(entry.parent)):
                    continue
                if by_key.setdefault(entry.key, entry) is entry:
                    taken.append(entry)
        return taken

    def _has(self, entry: Entry) -> bool:
        return self.by_key.get(entry.key) is entry

    # ── what follows from what ───────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, entry: Entry) -> None:
        """Looks again at one task, and at those for which it matters."""
        state = self.layout.state_of(entry.task)
        if state != entry.state:
            entry.state = state
            self._settle_met(entry.key)
            for child in entry.children:
                self._look(child)
            if entry.parent is not None:
                self._look(entry.parent)
        self.times.note(entry.key, self.now_ms)
        self._look(entry)

    def _look(self, entry: Entry) -> None:
        ready = self._is_ready(entry)
        if ready != entry.ready:
            self._set_ready(entry, ready=ready)

    def _settle_met(self, key: str) -> None:
        """Whether a task counts as done for those that wait for it; one that was deleted after it was done does."""
        entry = self.by_key.get(key)
        met = entry.state == DONE if entry is not None else _is_done(self.records.get(key))
        if met == (key in self._met):
            return
        if met:
            self._met.add(key)
        else:
            self._met.discard(key)
        for waiter in self._waiters.get(key, ()):
            waiter.unmet += -1 if met else 1
            self._look(waiter)

    def _is_ready(self, entry: Entry) -> bool:
        if entry.state != PENDING or entry.unmet or entry.bound or not entry.sound or not self._has(entry):
            return False
        record = self.records.get(entry.key)
        if record is not None and (record["state"] == HELD or record.get("not_before_ms", 0) > self.now_ms):
            return False
        if entry.parent is not None:
            return entry.parent.sound and entry.parent.state in {PENDING, IN_PROGRESS}
        return not entry.children or not any(is_open(child) for child in entry.children)

    def _pause_of(self, key: str) -> int:
        entry, record = self.by_key.get(key), self.records.get(key)
        if entry is None or record is None or entry.state != PENDING:
            return 0
        pause_ms: int = record.get("not_before_ms", 0)
        return pause_ms

    def _set_ready(self, entry: Entry, *, ready: bool) -> None:
        if ready == entry.ready:
            return
        entry.ready = ready
        if ready:
            self.queues.enter(entry)
        else:
            self.queues.leave(entry)


def is_open(entry: Entry) -> bool:
    """Whether a subtask keeps its task from being claimed; one that goes with its task does not."""
    return not entry.bound and entry.state not in {DONE, CANCELLED}


def locate(tree: Tree, layout: Layout) -> tuple[tuple[Any, ...], list[Any]]:
    """The path of the array of tasks, and the array. Both are empty when our own format has none yet.

    Raises:
        Rejected: It is not there, or not an array.
    """
    found, base = tree.value, [VALUE]
    if layout.ours and (found is None or (isinstance(found, dict) and "tasks" not in found)):
        return (), []
    where = "/" + "/".join(layout.at)
    for part in layout.at:
        at: Any = part
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            at = int(part)
        elif not isinstance(found, dict) or part not in found:
            there = ", ".join(map(repr, list(found)[:20])) if isinstance(found, dict) else "no object"
            raise Rejected("format", f"the document has no tasks at {where}: instead of {part!r} there is {there}")
        base.append(at)
        found = found[at]
    if not isinstance(found, list):
        raise Rejected("format", f"the document has no array of tasks at {where}")
    return tuple(base), found


def _records(tree: Tree) -> dict[str, Any]:
    board = tree.side.get(BOARD)
    records: dict[str, Any] = board[RECORDS] if board else {}
    return records


def _is_done(record: Any) -> bool:
    return record is not None and record["state"] == DONE


_kept: WeakKeyDictionary[Tree, list[Index]] = WeakKeyDictionary()
