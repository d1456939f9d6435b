"""New tasks: ids for those that have none, and no task that could never be claimed."""

from __future__ import annotations

from base64 import b32encode
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from coordinator.document.board.claims import NEW
from coordinator.document.board.formats import PENDING
from coordinator.document.board.index import locate
from coordinator.document.board.request import problem_with_tasks
from coordinator.document.outcome import BadOperation, Rejected
from coordinator.document.tree import END, VALUE, copy_of

if TYPE_CHECKING:
    from coordinator.document.board.claims import Board
    from coordinator.document.board.formats import Entry
    from coordinator.document.board.index import Index


def add(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    """Adds tasks at the end of the board.

    Raises:
        Rejected: ``duplicate``, ``dependency`` (on a task that is not there) or ``cycle``; names them.
        BadOperation: A field of a task is of a wrong type.
    """
    index, layout = board.index, board.index.layout
    wrong = problem_with_tasks(op["tasks"], layout)
    if wrong:
        raise BadOperation(wrong)
    ids = _ids(board, op["tasks"])
    tasks = []
    for given, one in zip(op["tasks"], ids, strict=True):
        task = {layout.id: one, **copy_of(given)}
        task[layout.id] = one
        if task.get(layout.status) is None:
            task[layout.status] = layout.names[PENDING]
        tasks.append(task)
    new = _entries(index, tasks)
    _refuse_unknown(index, new)
    _refuse_cycles(index, new)
    base = _array(board)
    for task in tasks:
        board.tree.add((*base, END), task)
    for key in new:
        if board.record(key) is not None:  # of a task that was deleted: its claims are not this one's
            board.set_record(key, {"state": NEW, "holder": "", "epoch": 0, "attempts": 0})
    return {"ids": ids}


def _array(board: Board) -> tuple[Any, ...]:
    """The path of the array; makes it in a document of ours that has none."""
    tree = board.tree
    base, _ = locate(tree, board.index.layout)
    if base:
        return base
    if tree.value is None:
        tree.replace((VALUE,), {"tasks": []})
    else:
        tree.add((VALUE, "tasks"), [])
    return (VALUE, "tasks")


def _ids(board: Board, tasks: list[dict[str, Any]]) -> list[Any]:
    """The id of each: as given, the next number on a board of numbers, or a short text made of the operation's id."""
    index = board.index
    given = [task.get(index.layout.id) for task in tasks]
    if None not in given:
        return given
    if _is_numbered(index, given):
        following = max((one for one in (*_ids_there(index), *given) if one is not None), default=0)
        return [one if one is not None else (following := following + 1) for one in given]
    taken = {str(one) for one in given if one is not None}
    stem = "t" + b32encode(blake2s(board.context.op_id.encode(), digest_size=20).digest()).decode().lower()
    made: list[Any] = []
    for at, one in enumerate(given):
        made.append(one if one is not None else _unused(index, stem, at + 1, taken))
        taken.add(str(made[-1]))
    return made


def _is_numbered(index: Index, given: list[Any]) -> bool:
    """Whether a foreign board's ids are whole numbers, as far as it has any; Taskmaster's are from the start."""
    if index.layout.ours:
        return False
    ids = [*_ids_there(index), *(one for one in given if one is not None)]
    return all(isinstance(one, int) for one in ids) and (bool(ids) or bool(index.layout.subtasks))


def _ids_there(index: Index) -> list[Any]:
    return [entry.task[index.layout.id] for entry in index.by_key.values() if entry.parent is None]


def _unused(index: Index, stem: str, at: int, taken: set[str]) -> str:
    for length in range(7, len(stem) + 1):
        name = f"{stem[:length]}-{at}"
        if name not in taken and index.layout.key_of(name) not in index.by_key:
            return name
    raise Rejected("duplicate", f"no id is left for task {at}: give it one")  # somebody used all of them on purpose


def _entries(index: Index, tasks: list[dict[str, Any]]) -> dict[str, Entry]:
    new: dict[str, Entry] = {}
    twice: dict[str, None] = {}
    for at, task in enumerate(tasks):
        for entry in index.layout.read(task, at, ()):
            if entry is None:
                raise Rejected("format", f"a subtask of task {task[index.layout.id]!s} has no id")
            if entry.key in new or entry.key in index.by_key:
                twice[entry.name] = None
            new[entry.key] = entry
    if twice:
        names = list(twice)
        raise Rejected("duplicate", f"there is a task of this id already: {', '.join(names[:20])}", ids=names)
    return new


def _refuse_unknown(index: Index, new: dict[str, Entry]) -> None:
    missing = {
        f"{entry.name} on {key.removeprefix(index.layout.prefix)}": None
        for entry in new.values()
        for key in entry.deps
        if key not in new and key not in index.by_key and not index.is_met(key)
    }
    if missing:
        raise Rejected(
            "dependency", f"depends on what is not there: {', '.join(list(missing)[:20])}", missing=list(missing)
        )


def _refuse_cycles(index: Index, new: dict[str, Entry]) -> None:
    """A cycle that new tasks close goes through one of them: the search starts at each.

    It goes on into the tasks that are there only when one of those waits for a new one, as may be written by hand.
    """
    closing = any(index.is_awaited(key) for key in new)
    done: set[str] = set()
    for start in new:
        path: dict[str, None] = {}
        stack = [(start, False)]
        while stack:
            key, leaving = stack.pop()
            if leaving:
                del path[key]
                done.add(key)
                continue
            if key in path:
                around = list(path)[list(path).index(key) :]
                if not any(one in new for one in around):
                    continue  # was there before
                names = [one.removeprefix(index.layout.prefix) for one in around]
                raise Rejected("cycle", f"would wait for each other: {' -> '.join([*names, names[0]])}", ids=names)
            if key in done:
                continue
            path[key] = None
            stack.append((key, True))
            entry = new.get(key) or (index.by_key.get(key) if closing else None)
            if entry is not None:
                stack.extend((other, False) for other in entry.deps)
                stack.extend((child.key, False) for child in entry.children if not child.bound)
