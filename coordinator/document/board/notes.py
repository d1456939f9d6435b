"""What was changed in a tree since a board's index last looked, as far as it matters to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.document.tree import SIDE

if TYPE_CHECKING:
    from coordinator.document.board.formats import Layout
    from coordinator.document.tree import Path

BOARD: Final = "board"
RECORDS: Final = "tasks"
_DEEP_RECORD: Final = 4  # side, board, tasks, key
_DEEP_SUBTASK: Final = 4  # row, subtasks, position, field: below the array


class Notes:
    """Called with the path of every change and every undoing; only notes, since more may follow before anybody asks.

    Attributes:
        dirty: Whether there is anything in it.
        stale: Everything has to be read again.
        rebound: The table beside the document is another one.
        low: From this row on the tasks may have moved, or be others.
        redone: Rows whose task has another priority, other needs or dependencies.
        touched: Row and place in it (0: the task, from 1: its subtasks) of those whose status changed.
        records: Keys whose claims changed.
        fields: Fields of tasks that a filter looks at.
    """

    __slots__ = (
        "_base",
        "_layout",
        "_structure",
        "dirty",
        "fields",
        "low",
        "rebound",
        "records",
        "redone",
        "stale",
        "touched",
    )

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._structure = {layout.dependencies, layout.needs, layout.priority}
        self._base: tuple[Any, ...] = ()
        self.fields: set[str] = set()
        self.low = 0
        self.redone: dict[int, None] = {}
        self.touched: dict[tuple[int, int], None] = {}
        self.records: dict[str, None] = {}
        self.dirty = self.stale = True
        self.rebound = False

    def clear(self, base: tuple[Any, ...], rows: int) -> None:
        """All was looked at.

        Args:
            base: Where the array of tasks is; empty when it is nowhere yet.
            rows: How long it is.
        """
        self._base = base
        self.low = rows
        if self.redone:
            self.redone = {}
        if self.touched:
            self.touched = {}
        if self.records:
            self.records = {}
        self.rebound = False
        self.dirty = self.stale = not base

    def watch(self, path: Path | None) -> None:
        """Notes a change. None: anything may have changed."""
        if self.stale:
            return
        if path is None:
            self.stale = self.dirty = True
        elif path[0] == SIDE:
            if len(path) >= _DEEP_RECORD:
                if path[1] == BOARD and path[2] == RECORDS:
                    self.records[path[3]] = None
                    self.dirty = True
            elif len(path) == 1 or (path[1] == BOARD and path[-1] in {BOARD, RECORDS}):
                self.rebound = self.dirty = True
        elif tuple(path[: len(self._base)]) == self._base and len(path) > len(self._base):
            self.dirty = True
            self._watch_task(path[len(self._base) :])
        else:
            self._watch_around(path)

    def _watch_around(self, path: Path) -> None:
        for part, own in zip(path, self._base, strict=False):
            if part != own and isinstance(part, str):
                return  # beside the board
            if part != own:
                break  # an element of a list around the board: it may have moved
        self.stale = self.dirty = True

    def _watch_task(self, path: Path) -> None:
        row, layout = path[0], self._layout
        field = path[1] if len(path) > 1 else layout.id
        if field == layout.status:
            self.touched[row, 0] = None
        elif field == layout.subtasks and len(path) == _DEEP_SUBTASK and path[3] == layout.status:
            self.touched[row, path[2] + 1] = None
        elif field in {layout.id, layout.subtasks}:
            self.low = min(self.low, row)
        elif field in self._structure:
            self.redone[row] = None
        if self.fields and not self.fields.isdisjoint(path[1:4:2]):  # the field of a task, and of a subtask
            self.redone[row] = None
