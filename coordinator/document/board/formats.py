"""Where the tasks of a document are, and what their fields are called.

Three formats are one layout with different names: our own (``{"tasks": […]}``), the file of Taskmaster (tags, tasks,
subtasks), and any array of objects. A layout only reads; the rules change the document, and of a foreign one nothing
but the status.

A task is known by its *key*: its id as text, so that ``7`` and ``"7"`` are one task; with the tag before it for
Taskmaster (``master:12``, and ``master:12.3`` for a subtask). The *name* of a task is what people and operations call
it on its own board: the key without the tag. In an array elsewhere than at ``/tasks`` the pointer to it stands before
the id (``/work/items:7``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.board.queues import Queue

PENDING: Final = "pending"
IN_PROGRESS: Final = "in-progress"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
DEFERRED: Final = "deferred"
STATES: Final = (PENDING, IN_PROGRESS, DONE, FAILED, CANCELLED, DEFERRED)

PRIORITIES: Final = {"critical": 0, "urgent": 0, "high": 1, "medium": 2, "normal": 2, "low": 3}
"""A number as a priority stands on the same scale: the lower goes first."""
PRIORITY_DEFAULT: Final = 2
ATTEMPTS_DEFAULT: Final = 3  # limit


class Entry:
    """One task as the board sees it.

    Attributes:
        key: Its id as text, with the tag before it.
        name: Its id as text, without the tag.
        order: What decides who is first: priority, then position in the file.
        path: Where it stands in the tree.
        task: The object in the document.
        parent: The task it is a subtask of.
        children: Its subtasks.
        deps: Keys of the tasks that must be done before; for a subtask also those of its parent.
        needs: What an agent must be able to do, sorted.
        sound: False when its dependencies or needs cannot be read: nobody can be given it.
        bound: True when it goes with its parent and cannot be claimed by itself.
        state: One of ``STATES``, or whatever else its status says.
        unmet: How many of ``deps`` are not done.
        ready: Whether it can be claimed now.
        queues: Where it is counted while it is ready.
    """

    __slots__ = (
        "bound",
        "children",
        "deps",
        "key",
        "name",
        "needs",
        "order",
        "parent",
        "path",
        "queues",
        "ready",
        "sound",
        "state",
        "task",
        "unmet",
    )

    def __init__(self, key: str, name: str, path: tuple[Any, ...], task: dict[str, Any]) -> None:
        self.key = key
        self.name = name
        self.path = path
        self.task = task
        self.order: tuple[Any, ...] = ()
        self.parent: Entry | None = None
        self.children: Sequence[Entry] = ()
        self.deps: tuple[str, ...] = ()
        self.needs: tuple[str, ...] = ()
        self.sound = True
        self.bound = False
        self.state = PENDING
        self.unmet = 0
        self.ready = False
        self.queues: Sequence[Queue] = ()


class Layout(NamedTuple):
    """How one document keeps its tasks. Made by ``spec.check_spec``."""

    at: tuple[str, ...]
    prefix: str
    id: str
    status: str
    title: str
    priority: str
    dependencies: str
    needs: str
    max_attempts: str
    subtasks: str
    bound: bool
    ours: bool
    states: dict[str, str]
    """What a status in the document means."""
    names: dict[str, str]
    """What is written for a state."""

    def state_of(self, task: dict[str, Any]) -> str:
        """What the document says about a task; a task without status is pending."""
        raw = task.get(self.status)
        if raw is None:
            return PENDING
        return self.states.get(raw, raw) if isinstance(raw, str) else "?"

    def key_of(self, given: Any) -> str:
        """The key of a task that an operation names: ``12``, ``"12"`` or ``"master:12"``."""
        text = str(given)
        return text if not self.prefix or text.startswith(self.prefix) else self.prefix + text

    def max_attempts_of(self, task: dict[str, Any]) -> int:
        """How often a task is tried before it has failed."""
        given = task.get(self.max_attempts)
        return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else ATTEMPTS_DEFAULT

    def read(self, task: Any, row: int, path: tuple[Any, ...]) -> list[Entry | None]:
        """A task and its subtasks, in the order of the file; None for what is no task."""
        name = _name_of(task, self.id)
        if not name:
            return [None]
        entry = Entry(self.prefix + name, name, path, task)
        rank = _rank(task.get(self.priority), PRIORITY_DEFAULT)
        entry.order = (rank, row, 0)
        entry.state = self.state_of(task)
        entry.deps, entry.sound = self._deps(task, "")
        if task.get(self.needs):
            entry.needs, sound = _needs(task[self.needs])
            entry.sound = entry.sound and sound
        found: list[Entry | None] = [entry]
        if self.subtasks:
            subtasks = task.get(self.subtasks)
            for at, subtask in enumerate(subtasks if isinstance(subtasks, list) else ()):
                found.append(self._subtask(entry, subtask, at, rank))
        return found

    def _subtask(self, parent: Entry, task: Any, at: int, rank: Any) -> Entry | None:
        own = _name_of(task, self.id)
        if not own:
            return None
        name = f"{parent.name}.{own}"
        entry = Entry(self.prefix + name, name, (*parent.path, self.subtasks, at), task)
        entry.order = (_rank(task.get(self.priority), rank), parent.order[1], at + 1)
        entry.state = self.state_of(task)
        deps, entry.sound = self._deps(task, f"{parent.name}.")
        entry.deps = tuple(dict.fromkeys(deps + parent.deps))
        if task.get(self.needs):
            entry.needs, sound = _needs(task[self.needs])
            entry.sound = entry.sound and sound
        entry.bound = self.bound
        entry.parent = parent
        parent.children = (*parent.children, entry)
        return entry

    def _deps(self, task: dict[str, Any], siblings: str) -> tuple[tuple[str, ...], bool]:
        """The keys a task waits for. In a subtask a plain id is a sibling's, and ``1.2`` is subtask 2 of task 1."""
        given = task.get(self.dependencies)
        if not given:
            return (), True
        if not isinstance(given, list) or not all(is_id(one) for one in given):
            return (), False
        texts = [str(one) for one in given]
        keys = [self.prefix + (text if "." in text else siblings + text) for text in texts] if siblings else None
        return tuple(dict.fromkeys(keys or [self.prefix + text for text in texts])), True


def is_id(value: Any) -> bool:
    """Whether a value can be a task's id."""
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _name_of(task: Any, field: str) -> str:
    if not isinstance(task, dict):
        return ""
    given = task.get(field)
    return str(given) if is_id(given) else ""


def _rank(given: Any, otherwise: Any) -> Any:
    if isinstance(given, str):
        return PRIORITIES.get(given.lower(), otherwise)
    return given if isinstance(given, int | float) and not isinstance(given, bool) else otherwise


def _needs(given: Any) -> tuple[tuple[str, ...], bool]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        return (), False
    return tuple(sorted(set(given))), True
