"""A board under an operation: the document's status fields, and the claims beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.document.board.formats import CANCELLED, DEFERRED, DONE, IN_PROGRESS, PENDING
from coordinator.document.board.notes import BOARD, RECORDS
from coordinator.document.tree import SIDE, copy_of

if TYPE_CHECKING:
    from coordinator.document.board.formats import Entry
    from coordinator.document.board.index import Index
    from coordinator.document.outcome import Context
    from coordinator.document.tree import Tree

LAPSED: Final = "lapsed"
ABANDONED: Final = "abandoned"
RELEASED: Final = "released"
RETRY: Final = "retry"
NEW: Final = "new"
_KEPT: Final[tuple[str, ...]] = ("holder", "epoch", "since_ms", "attempts")


class Board:
    """What one operation is decided on. Values are put into the tree whole, and never changed there by hand."""

    __slots__ = ("context", "index", "tree")

    def __init__(self, tree: Tree, index: Index, context: Context) -> None:
        self.tree = tree
        self.index = index
        self.context = context

    def refresh(self) -> None:
        """Lets the index see what was changed."""
        self.index.refresh(self.tree, self.context.now_ms)

    # ── beside the document ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def side(self) -> dict[str, Any]:
        """The board's table; empty before the first claim."""
        side: dict[str, Any] = self.tree.side.get(BOARD) or {}
        return side

    @property
    def epoch(self) -> int:
        """The newest epoch given out."""
        epoch: int = self.side.get("epoch", 0)
        return epoch

    def record(self, key: str) -> Any:
        """The newest claim of a task, or None."""
        return self.index.records.get(key)

    def set_record(self, key: str, record: dict[str, Any]) -> None:
        """Makes a claim a task's newest."""
        self._prepare()
        self.tree.put((SIDE, BOARD, RECORDS, key), record)

    def end(self, key: str, record: dict[str, Any], state: str, **more: Any) -> None:
        """Ends a claim."""
        kept = {name: record[name] for name in _KEPT if name in record}
        self.set_record(key, {"state": state, **kept, "by": self.context.agent, **more})

    def next_epoch(self) -> int:
        """An epoch that was never given out."""
        self._prepare()
        epoch = self.epoch + 1
        self.tree.replace((SIDE, BOARD, "epoch"), epoch)
        return epoch

    def keep(self, table: str, key: str, value: Any) -> None:
        """Keeps something about a task beside the document."""
        self._prepare()
        self.tree.put((SIDE, BOARD, table, key), value)

    def _prepare(self) -> None:
        if BOARD not in self.tree.side:
            self.tree.add((SIDE, BOARD), {"epoch": 0, RECORDS: {}, "results": {}, "late": {}})

    # ── the document ─────────────────────────────────────────────────────────────────────────────────────────────────

    def set_status(self, entry: Entry, state: str) -> None:
        """Says in the document what a task has come to."""
        layout = self.index.layout
        if layout.state_of(entry.task) != state or layout.status not in entry.task:
            self.tree.put((*entry.path, layout.status), layout.names[state])

    def set_result(self, entry: Entry, result: Any) -> None:
        """Keeps what came of a task: in the task when the document is ours."""
        if self.index.layout.ours:
            self.tree.put((*entry.path, "result"), copy_of(result))
        else:
            self.keep("results", entry.key, copy_of(result))

    def tell_error(self, entry: Entry, error: str) -> None:
        """Says in a document of ours why a task has failed; the claim's record says it anyway."""
        if self.index.layout.ours:
            self.tree.put((*entry.path, "error"), error)

    def forget_error(self, entry: Entry) -> None:
        """A task of ours that is tried again, or done, has not failed."""
        if self.index.layout.ours and "error" in entry.task:
            self.tree.remove((*entry.path, "error"))

    def start_children(self, entry: Entry) -> list[str]:
        """Starts the subtasks that go with a task; returns their names."""
        started = [child for child in entry.children if child.state == PENDING]
        for child in started:
            self.set_status(child, IN_PROGRESS)
        return [child.name for child in started]

    def stop_children(self, entry: Entry, record: dict[str, Any], state: str) -> None:
        """Puts back the subtasks that were started with a task and are still under way."""
        started = record.get("subtasks", ())
        for child in entry.children:
            if child.name in started and child.state == IN_PROGRESS:
                self.set_status(child, state)

    def finish_children(self, entry: Entry) -> None:
        """A task that takes its subtasks with it is done with all of them that were not given up."""
        for child in entry.children:
            if child.bound and child.state not in {DONE, CANCELLED, DEFERRED}:
                self.set_status(child, DONE)
