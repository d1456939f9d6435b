"""The operations on a board: which fields each has, and of what type.

The same check serves before submission (``validate``, which tells the caller what to do) and when the operation is
decided: what was let through the one is never stopped by the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator.document.board.formats import PRIORITIES, STATES, Layout, is_id
from coordinator.document.board.spec import check_spec
from coordinator.errors import BadValue
from coordinator.limits import TTL_MAX_MS, TTL_MIN_MS, WAIT_MAX_MS

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT_MAX: Final = 1000  # limit: tasks in one claim
ADD_MAX: Final = 10_000  # limit: tasks in one addition
TEXT_MAX_CHARS: Final = 8192  # limit: an error or a reason


def _is_int(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_where(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(field, str)
        and (_is_scalar(wanted) or (isinstance(wanted, list) and all(_is_scalar(one) for one in wanted)))
        for field, wanted in value.items()
    )


_Check = tuple["Callable[[Any], bool]", str]
_EPOCH: Final[_Check] = (lambda v: _is_int(v, 1, 1 << 62), "the epoch that the claim was given: a whole number")
_ID: Final[_Check] = (is_id, "a task's id: text or a whole number")
_TTL: Final[_Check] = (
    lambda v: _is_int(v, TTL_MIN_MS, TTL_MAX_MS),
    f"milliseconds, from {TTL_MIN_MS} to {TTL_MAX_MS}",
)
_TEXT: Final[_Check] = (
    lambda v: isinstance(v, str) and len(v) <= TEXT_MAX_CHARS,
    f"text of at most {TEXT_MAX_CHARS} characters",
)
_TEXTS: Final[_Check] = (_is_texts, "a list of texts")
_ANY: Final[_Check] = (lambda _: True, "")

_FIELDS: Final[dict[str, dict[str, _Check]]] = {
    "task.add": {
        "tasks": (
            lambda v: isinstance(v, list) and 0 < len(v) <= ADD_MAX and all(isinstance(one, dict) for one in v),
            f"a list of 1 to {ADD_MAX} objects",
        )
    },
    "task.claim": {
        "needs": (lambda v: v is None or _is_texts(v), "a list of texts: what the agent can do"),
        "where": (_is_where, "an object: for each field a value, or a list of values"),
        "count": (lambda v: _is_int(v, 1, COUNT_MAX), f"a whole number from 1 to {COUNT_MAX}"),
        "ttl_ms": _TTL,
        "ids": (lambda v: v is None or (isinstance(v, list) and all(is_id(one) for one in v)), "a list of task ids"),
    },
    "task.heartbeat": {"id": _ID, "epoch": _EPOCH, "ttl_ms": _TTL},
    "task.complete": {"id": _ID, "epoch": _EPOCH, "result": _ANY},
    "task.fail": {
        "id": _ID,
        "epoch": _EPOCH,
        "error": _TEXT,
        "retryable": (lambda v: isinstance(v, bool), "true or false"),
        "delay_ms": (
            lambda v: v is None or _is_int(v, 0, WAIT_MAX_MS),
            f"milliseconds, from 0 to {WAIT_MAX_MS}, or null for the usual",
        ),
    },
    "task.release": {"id": _ID, "epoch": _EPOCH},
    "task.cancel": {"id": _ID, "reason": _TEXT},
}
_REQUIRED: Final = {
    "task.add": ("tasks",),
    "task.claim": ("ttl_ms",),
    "task.heartbeat": ("id", "epoch", "ttl_ms"),
    "task.complete": ("id", "epoch"),
    "task.fail": ("id", "epoch", "error", "retryable"),
    "task.release": ("id", "epoch"),
    "task.cancel": ("id",),
}


def validate(op: Any, resource: str) -> None:
    """Checks an operation before it is submitted.

    Raises:
        BadValue: Says which field is wrong, and what it has to be.
    """
    field, wrong = problem_with(op)
    if not wrong:
        layout = check_spec(op["board"])
        if op["do"] == "task.add":
            field, wrong = "tasks", problem_with_tasks(op["tasks"], layout)
    if wrong:
        value = op.get(field) if isinstance(op, dict) else op
        raise BadValue(f"an operation on the tasks of {resource!r}: {wrong}", argument=field, value=value)


def problem_with(op: Any) -> tuple[str, str]:
    """Which field of an operation is wrong and why; two empty texts when none is. The spec is not looked at."""
    fields = _FIELDS.get(op["do"]) if isinstance(op, dict) and isinstance(op.get("do"), str) else None
    if fields is None:
        return "do", f"it does one of {', '.join(_FIELDS)}"
    for field, value in op.items():
        check = fields.get(field)
        if check is None:
            if field not in {"do", "board"}:
                return field, f"{op['do']} has no field {field!r}, but: {', '.join(fields)}"
        elif not check[0](value):
            return field, f"{field} of {op['do']} is {check[1]}"
    for field in _REQUIRED[op["do"]]:
        if field not in op:
            return field, f"{op['do']} needs the field {field}: {fields[field][1]}"
    return ("", "") if "board" in op else ("board", "it names its board, like {'format': 'default'}")


def problem_with_tasks(tasks: list[dict[str, Any]], layout: Layout) -> str:
    """What is wrong with one of the tasks that are to be added; empty when nothing is."""
    words = [word for word, state in layout.states.items() if state in STATES]
    for at, task in enumerate(tasks):
        for field, good, what in (
            (layout.id, is_id, "text or a whole number"),
            (layout.status, words.__contains__, f"one of {', '.join(words)}"),
            (layout.priority, _is_priority, f"a whole number, or one of {', '.join(PRIORITIES)}"),
            (layout.dependencies, lambda v: isinstance(v, list) and all(is_id(one) for one in v), "a list of ids"),
            (layout.needs, _is_texts, "a list of texts"),
            (layout.max_attempts, lambda v: _is_int(v, 1, 1 << 31), "a whole number from 1"),
        ):
            given = task.get(field)
            if given is not None and not good(given):
                return f"{field} of task {at + 1} is {what}, not {str(given)[:80]!r}"
    return ""


def _is_priority(value: Any) -> bool:
    return value in PRIORITIES if isinstance(value, str) else _is_int(value, -(1 << 53), 1 << 53)
