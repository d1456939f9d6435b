"""Which tasks a document holds, whatever tool wrote it, and which of them there are to do. Pure.

Three forms are known::

    [{"id": 1, "status": "pending", …}, …]                               a bare list
    {"tasks": [{"id": 1, …}, …], …}                                      plain
    {"master": {"tasks": [{"id": 1, …}, …], "metadata": {…}}, …}         lists under tags, as claude-task-master keeps

A task is addressed by its tag (empty without tags) and its id as text, since tools write ``"dependencies": ["3"]`` for
a task whose id is the number 3. Dependencies hold within a tag; ``"3.1"`` is subtask 1 of task 3.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = tuple[str, str]
Task = dict[str, Any]

PENDING: Final = frozenset({"pending", "todo"})
DONE: Final = frozenset({"done", "completed"})
_IN_PROGRESS: Final = ("in-progress", "in_progress")  # the first one, unless the file itself uses the other
_DONE_WORDS: Final = ("done", "completed")


class NoTasks(ValueError):
    """The document is none of the forms, or holds no task."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, the same in each act.

    Attributes:
        form: ``list``, ``plain`` or ``tagged``.
        chosen: The tasks to claim and complete, in this order.
        honours_dependencies: Whether a task waits until those it depends on are done.
        reset: Tasks that were set back to pending in the copy, for want of pending ones.
        pending: The word that a task set back gets.
        in_progress: The word for a claimed task.
        done: The word for a completed one.
    """

    form: str
    chosen: tuple[Address, ...]
    honours_dependencies: bool = True
    reset: tuple[Address, ...] = ()
    pending: str = "pending"
    in_progress: str = _IN_PROGRESS[0]
    done: str = _DONE_WORDS[0]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """The inverse of ``to_json``."""
        addresses = {key: tuple((tag, name) for tag, name in value[key]) for key in ("chosen", "reset")}
        return cls(**{**value, **addresses})


def form_of(document: Any) -> str:
    """Which form a document has.

    Raises:
        NoTasks: None of them.
    """
    if isinstance(document, list):
        return "list"
    if isinstance(document, dict):
        if isinstance(document.get("tasks"), list):
            return "plain"
        if any(_is_tagged_list(value) for value in document.values()):
            return "tagged"
    raise NoTasks('it is neither a list of tasks, nor {"tasks": […]}, nor {"<tag>": {"tasks": […]}}')


def _is_tagged_list(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("tasks"), list)


def find_tasks(document: Any) -> dict[Address, Task]:
    """Every task that has an id and a status, by its address, in the document's order; the document's own objects.

    An id that stands twice in one list addresses nothing: nobody could say which of the two is meant.
    """
    form = form_of(document)
    if form == "tagged":
        lists = {tag: value["tasks"] for tag, value in document.items() if _is_tagged_list(value)}
    else:
        lists = {"": document if form == "list" else document["tasks"]}
    found = [((tag, str(task["id"])), task) for tag, tasks in lists.items() for task in tasks if _is_task(task)]
    times = Counter(address for address, _ in found)
    return {address: task for address, task in found if times[address] == 1}


def _is_task(value: Any) -> bool:
    if not isinstance(value, dict) or isinstance(value.get("id"), bool):
        return False
    return isinstance(value.get("id"), int | str) and isinstance(value.get("status"), str)


def is_ready(tasks: dict[Address, Task], address: Address) -> bool:
    """Whether all that a task depends on is done; what is not to be found is not done."""
    dependencies = tasks[address].get("dependencies") or []
    return all(_status_of(tasks, address[0], str(dependency)) in DONE for dependency in dependencies)


def _status_of(tasks: dict[Address, Task], tag: str, name: str) -> str:
    task = tasks.get((tag, name))
    if task is None and "." in name:
        parent, _, sub = name.partition(".")
        subtasks = tasks.get((tag, parent), {}).get("subtasks") or []
        task = next((sub_task for sub_task in subtasks if str(sub_task.get("id")) == sub), None)
    return str(task.get("status", "")) if task else ""


def next_claimable(document: Any, plan: Plan) -> Address | None:
    """The first chosen task that is pending and whose dependencies are done; None when there is none just now."""
    tasks = find_tasks(document)
    for address in plan.chosen:
        task = tasks.get(address)
        if task and task["status"] in PENDING and (not plan.honours_dependencies or is_ready(tasks, address)):
            return address
    return None


def any_pending(document: Any, plan: Plan) -> bool:
    """Whether a chosen task still is to be claimed, now or when others are done."""
    tasks = find_tasks(document)
    return any(address in tasks and tasks[address]["status"] in PENDING for address in plan.chosen)


def open_tasks(document: Any, plan: Plan, *, ready: bool = True) -> dict[str, list[str]]:
    """The chosen tasks that are not done, by tag; with ``ready``, only those whose dependencies are."""
    tasks = find_tasks(document)
    found: dict[str, list[str]] = {}
    for address in plan.chosen:
        task = tasks.get(address)
        if task is None or task["status"] in DONE:
            continue
        if not (ready and plan.honours_dependencies) or is_ready(tasks, address):
            found.setdefault(address[0], []).append(address[1])
    return found


def board_options(plan: Plan, tag: str) -> dict[str, Any]:
    """How a task board finds the tasks of a tag, for ``Workspace.tasks``.

    The plan says which tasks are ready, in every act; so the board is not to ask their other fields.
    """
    at = {"list": "", "plain": "/tasks"}.get(plan.form, f"/{_escaped(tag)}/tasks")
    states = {
        "pending": _first(plan.pending, PENDING),
        "in-progress": _first(plan.in_progress, _IN_PROGRESS),
        "done": _first(plan.done, _DONE_WORDS),
    }
    unread = {field: f"(no {field})" for field in ("dependencies", "needs", "max_attempts")}
    return {"format": "list", "at": at, "states": states, **unread}


def _first(word: str, words: Iterable[str]) -> list[str]:
    return [word, *sorted(set(words) - {word})]


def status_pointers(document: Any) -> dict[str, Address]:
    """Where the status of each task stands, as a JSON pointer (RFC 6901)."""
    found = {id(task): address for address, task in find_tasks(document).items()}
    form = form_of(document)
    if form == "tagged":
        lists = {f"/{_escaped(tag)}/tasks": value["tasks"] for tag, value in document.items() if _is_tagged_list(value)}
    else:
        lists = {"": document} if form == "list" else {"/tasks": document["tasks"]}
    return {
        f"{at}/{place}/status": found[id(task)]
        for at, tasks in lists.items()
        for place, task in enumerate(tasks)
        if id(task) in found
    }


def _escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def set_status(document: Any, address: Address, status: str) -> str:
    """Sets one task's status, in place; returns the one before, or an empty text when there is no such task."""
    task = find_tasks(document).get(address)
    if task is None:
        return ""
    before: str = task["status"]
    task["status"] = status
    return before


def make_plan(document: Any, *, workers: int, most: int) -> Plan:
    """Decides what is to be done; changes nothing.

    In this order: pending tasks with their dependencies honoured, if there are enough of them and as many ready at once
    as there are workers; pending tasks regardless of dependencies; and, where too few are pending, others set back to
    pending in the copy (``prepare``).

    Args:
        document: The user's tasks.
        workers: How many will work on it; three tasks for each are enough.
        most: No more than this many are chosen.

    Raises:
        NoTasks: There are none at all.
    """
    tasks = find_tasks(document)
    if not tasks:
        raise NoTasks("it holds no task with an id and a status")
    words = {task["status"] for task in tasks.values()}
    plan = Plan(
        form_of(document),
        (),
        pending="todo" if "todo" in words and "pending" not in words else "pending",
        in_progress=next((word for word in _IN_PROGRESS if word in words), _IN_PROGRESS[0]),
        done=next((word for word in _DONE_WORDS if word in words), _DONE_WORDS[0]),
    )
    enough = 3 * workers
    ready, reachable = _reachable(tasks)
    if len(reachable) >= min(enough, most) and ready >= workers:
        return replace(plan, chosen=tuple(reachable[:most]))
    pending = [address for address, task in tasks.items() if task["status"] in PENDING]
    others = [address for address in tasks if address not in set(pending)]
    missing = max(min(enough, most) - len(pending), 0)
    chosen = tuple([*pending, *others[:missing]][:most])
    return replace(plan, chosen=chosen, honours_dependencies=False, reset=tuple(others[:missing]))


def _reachable(tasks: dict[Address, Task]) -> tuple[int, list[Address]]:
    """How many tasks are ready at the start, and all that can be done with dependencies honoured, in such an order."""
    trial = {address: dict(task) for address, task in tasks.items()}
    pending = [address for address, task in tasks.items() if task["status"] in PENDING]
    order: list[Address] = []
    first = 0
    while wave := [address for address in pending if trial[address]["status"] in PENDING and is_ready(trial, address)]:
        first = first or len(wave)
        order += wave
        for address in wave:
            trial[address]["status"] = _DONE_WORDS[0]
    return first, order


def prepare(document: Any, plan: Plan) -> None:
    """Sets back in the copy what the plan says; nothing when there were enough pending tasks."""
    for address in plan.reset:
        set_status(document, address, plan.pending)


def describe(plan: Plan) -> str:
    """The plan as a sentence."""
    forms = {"list": "a bare list of tasks", "plain": 'a plain {"tasks": […]}', "tagged": "lists of tasks under tags"}
    tags = len({tag for tag, _ in plan.chosen})
    where = f" under {tags} tag{'s' if tags != 1 else ''}" if plan.form == "tagged" else ""
    text = f"{forms[plan.form]}; {len(plan.chosen)} tasks to claim and complete{where}, "
    if plan.honours_dependencies:
        text += "dependencies honoured"
    else:
        text += "dependencies not honoured, since too few tasks would be ready at once"
    if plan.reset:
        text += f"; {len(plan.reset)} of them were set back to {plan.pending!r} in the copy, since too few were pending"
    return text
