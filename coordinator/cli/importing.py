"""``tasks import``: the tasks of a file, in the form of the board that they are added to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.document.board import make_spec
from coordinator.document.board.formats import DEFERRED, IN_PROGRESS, PENDING, STATES
from coordinator.document.board.index import locate
from coordinator.document.board.spec import check_spec
from coordinator.document.content import parse_json
from coordinator.document.outcome import Rejected
from coordinator.document.tree import Tree, copy_of
from coordinator.errors import BadValue, MalformedDocument, NoSuchDocument

if TYPE_CHECKING:
    from coordinator.document.board.formats import Entry, Layout


class Imported(NamedTuple):
    """Tasks to be added, and what a person should know about them."""

    tasks: list[dict[str, Any]]
    notes: list[str]


def read_file(path: str) -> Any:
    """The value in a file; ``-`` is stdin.

    Raises:
        NoSuchDocument: There is no such file.
        MalformedDocument: It is not JSON.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise NoSuchDocument(f"{path}: {error.strerror}", resource=path, hint="") from None
    return parse_json(data, path)


def spec_of(value: Any) -> dict[str, Any]:
    """The format of a value, by its looks.

    Raises:
        BadValue: It has several tags, or no tasks at all.
    """
    if isinstance(value, list):
        return make_spec("list")
    if isinstance(value, dict) and isinstance(value.get("tasks"), list):
        return make_spec("default")
    tags = [tag for tag, at in value.items() if _has_tasks(at)] if isinstance(value, dict) else []
    if len(tags) == 1 or "master" in tags:
        return make_spec("taskmaster", tag="master" if "master" in tags else tags[0])
    if tags:
        raise BadValue(f"there are several tags: {', '.join(tags)}", argument="from-tag", value=tags, hint="name one")
    raise BadValue("no tasks are found in it", argument="from", value=None, hint="say what format it is of: --from")


def _has_tasks(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("tasks"), list)


def convert(value: Any, source: dict[str, Any], target: dict[str, Any]) -> Imported:
    """The tasks of a value as those of another board.

    Between boards of one format they are taken as they are. Else their fields are renamed, and subtasks become tasks
    of their own, which their task waits for, unless the board has a place for them.

    Args:
        value: The whole document.
        source: Its spec.
        target: The spec of the board that they are added to.

    Raises:
        MalformedDocument: It has no tasks where the format has them, or one that is none.
    """
    old, new = check_spec(source), check_spec(target)
    try:
        rows = locate(Tree(value), old)[1]
    except Rejected as rejected:
        raise MalformedDocument(rejected.text, resource="", where="/".join(old.at), hint="") from None
    as_they_are = source["format"] == target["format"] and old._replace(at=(), prefix="") == new._replace(
        at=(), prefix=""
    )
    tasks: list[dict[str, Any]] = []
    notes: list[str] = []
    for row, task in enumerate(copy_of(rows)):
        entries = old.read(task, row, ())
        if None in entries:
            raise MalformedDocument(f"task {row + 1} has no id", resource="", where=f"task {row + 1}", hint="")
        for entry in entries:
            assert entry is not None  # noqa: S101 - looked at above
            state = _state(entry, notes)
            if not as_they_are:
                tasks.append(_renamed(entry, state, old, new))
            elif state != entry.state or old.status not in entry.task:
                entry.task[new.status] = new.names[state]
        if as_they_are:
            tasks.append(task)
    return Imported(tasks, notes)


def _state(entry: Entry, notes: list[str]) -> str:
    """What an imported task is: nobody here has claimed it, so none is in progress."""
    if entry.state == IN_PROGRESS:
        notes.append(f"task {entry.name} was in progress; it is pending here, since nobody has claimed it here")
        return PENDING
    if entry.state not in STATES:
        notes.append(f"task {entry.name} was {entry.state!r}, which is no state of this board; it is deferred here")
        return DEFERRED
    return entry.state


def _renamed(entry: Entry, state: str, old: Layout, new: Layout) -> dict[str, Any]:
    given = entry.task
    own = {old.id, old.status, old.title, old.priority, old.dependencies, old.needs, old.max_attempts, old.subtasks}
    task = {new.id: given[old.id] if entry.parent is None else entry.name}
    if old.title in given:
        task[new.title] = given[old.title]
    task |= {field: value for field, value in given.items() if field not in own}
    task[new.status] = new.names[state]
    for name in ("priority", "needs", "max_attempts"):
        if getattr(old, name) in given:
            task[getattr(new, name)] = given[getattr(old, name)]
    deps = [key.removeprefix(old.prefix) for key in entry.deps] + [child.name for child in entry.children]
    if deps:
        task[new.dependencies] = deps
    return task
