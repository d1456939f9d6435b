"""What a board is: the format of its document, as it stands in every operation on it.

::

    {"format": "default"}
    {"format": "taskmaster", "tag": "master", "subtasks": "own"}
    {"format": "list", "at": "/work/items", "id": "key", "status": "state", "states": {"pending": ["todo"], …}}
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import orjson

from coordinator.document.board.formats import (
    CANCELLED,
    DEFERRED,
    DONE,
    FAILED,
    IN_PROGRESS,
    PENDING,
    STATES,
    Layout,
)
from coordinator.errors import BadValue

_FIELDS: Final = ("id", "status", "title", "priority", "dependencies", "needs", "max_attempts")
_OPTIONS: Final = {
    "default": frozenset({"format"}),
    "taskmaster": frozenset({"format", "tag", "subtasks"}),
    "list": frozenset({"format", "at", "states", *_FIELDS}),
}
_OWN_NAMES: Final[dict[str, tuple[str, ...]]] = {state: (state,) for state in STATES}
_TASKMASTER_NAMES: Final = {
    PENDING: ("pending",),
    IN_PROGRESS: ("in-progress",),
    DONE: ("done", "completed"),
    FAILED: ("blocked",),  # it has no word for "failed"; the reason is kept beside
    CANCELLED: ("cancelled",),
    DEFERRED: ("deferred",),
}


def make_spec(format: str = "default", **options: Any) -> dict[str, Any]:  # noqa: A002 - the word users know it by
    """A board's spec, checked.

    Args:
        format: ``default``, ``taskmaster`` or ``list``.
        **options: For ``taskmaster``: ``tag`` (``master``), ``subtasks`` (``own`` or ``parent``). For ``list``: ``at``,
            a JSON pointer to the array (empty: the document itself); the names of the fields ``id``, ``status``,
            ``title``, ``priority``, ``dependencies``, ``needs``, ``max_attempts``; ``states``, what the document calls
            each state: a word, or several of which the first is written.

    Raises:
        BadValue: Says which option is wrong.
    """
    spec = {"format": format, **{name: value for name, value in options.items() if value is not None}}
    if format == "taskmaster":
        spec = {"format": format, "tag": spec.pop("tag", "master"), "subtasks": spec.pop("subtasks", "own"), **spec}
    elif format == "list":
        spec = {"format": format, "at": spec.pop("at", ""), **spec}
    check_spec(spec)
    return spec


def check_spec(spec: Any) -> Layout:
    """The layout that a spec describes.

    Raises:
        BadValue: Says what is wrong with it.
    """
    try:
        text = orjson.dumps(spec)
    except orjson.JSONEncodeError:
        return _checked(spec)  # which says what is wrong with it
    return _checked_text(text)


@lru_cache(maxsize=64)  # every operation carries its board's, and is checked where it is made and where it is folded
def _checked_text(text: bytes) -> Layout:
    return _checked(orjson.loads(text))


def _checked(spec: Any) -> Layout:
    if not isinstance(spec, dict) or spec.get("format") not in tuple(_OPTIONS):
        raise _bad("format", spec, f"the format is one of {', '.join(_OPTIONS)}")
    kind = spec["format"]
    for option in spec:
        if option not in _OPTIONS[kind]:
            raise _bad(str(option), spec[option], f"the format {kind} has no option {option!r}")
    if kind == "taskmaster":
        return _taskmaster(spec)
    fields = {field: _field(spec, field) for field in _FIELDS}
    if len(set(fields.values())) < len(fields):
        raise _bad("list", spec, "two of its fields have the same name")
    at = _pointer(spec.get("at", "")) if kind == "list" else ("tasks",)
    prefix = f"{spec['at']}:" if at not in {(), ("tasks",)} else ""  # two arrays of one document may share ids
    return _layout(fields, _names(spec.get("states", {})), at=at, prefix=prefix, ours=kind == "default")


def _taskmaster(spec: dict[str, Any]) -> Layout:
    tag, subtasks = spec.get("tag", "master"), spec.get("subtasks", "own")
    if not isinstance(tag, str) or not tag:
        raise _bad("tag", tag, "a tag is text, like master")
    if subtasks not in ("own", "parent"):
        raise _bad("subtasks", subtasks, "subtasks are claimed on their own (own) or with their task (parent)")
    return _layout(
        {field: field for field in _FIELDS},
        _TASKMASTER_NAMES,
        at=(tag, "tasks"),
        prefix=f"{tag}:",
        subtasks="subtasks",
        bound=subtasks == "parent",
    )


def _layout(
    fields: dict[str, str],
    names: dict[str, tuple[str, ...]],
    *,
    at: tuple[str, ...],
    prefix: str = "",
    subtasks: str = "",
    bound: bool = False,
    ours: bool = False,
) -> Layout:
    return Layout(
        at=at,
        prefix=prefix,
        subtasks=subtasks,
        bound=bound,
        ours=ours,
        # a word of ours that stands for nothing in this document is not taken for what we mean by it
        states={state: f"?{state}" for state in STATES}
        | {word: state for state, words in names.items() for word in words},
        names={state: words[0] for state, words in names.items()},
        **fields,
    )


def _field(spec: dict[str, Any], field: str) -> str:
    name = spec.get(field, field)
    if not isinstance(name, str) or not name:
        raise _bad(field, name, f"the name of the field {field} is text")
    return name


def _pointer(at: Any) -> tuple[str, ...]:
    if not isinstance(at, str) or (at and not at.startswith("/")):
        raise _bad("at", at, "it is a JSON pointer to the array: empty, or /tasks, or /work/items")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in at.split("/")[1:])


def _names(states: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(states, dict):
        raise _bad("states", states, "it says for each state what the document calls it")
    names: dict[str, tuple[str, ...]] = dict(_OWN_NAMES)
    for state, given in states.items():
        words = [given] if isinstance(given, str) else given
        if state not in names:
            raise _bad("states", state, f"the states are {', '.join(STATES)}")
        if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
            raise _bad("states", given, f"what {state} is called is a word, or a list of words")
        names[state] = tuple(words)
    seen: dict[str, str] = {}
    for state, spelt in names.items():
        for word in spelt:
            if seen.setdefault(word, state) != state:
                raise _bad("states", word, f"{word!r} cannot be both {seen[word]} and {state}")
    return names


def _bad(argument: str, value: Any, text: str) -> BadValue:
    return BadValue(f"not a task board's spec: {text}", argument=argument, value=value)
