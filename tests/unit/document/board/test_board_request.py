"""Operations of a wrong form: told before they are submitted, and never decided."""

from __future__ import annotations

from typing import Any

import pytest
from board_steps import DEFAULT, NOW_MS, board

from coordinator.document.board import apply, validate
from coordinator.document.board.request import ADD_MAX, COUNT_MAX, TEXT_MAX_CHARS
from coordinator.document.outcome import BadOperation, Context, Rejected
from coordinator.document.tree import Tree
from coordinator.errors import BadValue
from coordinator.limits import TTL_MAX_MS, TTL_MIN_MS

GOOD: dict[str, dict[str, Any]] = {
    "task.add": {"tasks": [{"title": "x"}]},
    "task.claim": {"ttl_ms": 1000},
    "task.heartbeat": {"id": "a", "epoch": 1, "ttl_ms": 1000},
    "task.complete": {"id": "a", "epoch": 1},
    "task.fail": {"id": "a", "epoch": 1, "error": "", "retryable": True},
    "task.release": {"id": "a", "epoch": 1},
    "task.cancel": {"id": "a"},
}
WRONG: list[tuple[str, str, Any]] = [
    ("task.add", "tasks", {}),
    ("task.add", "tasks", []),
    ("task.add", "tasks", ["a"]),
    ("task.add", "tasks", [{}] * (ADD_MAX + 1)),
    ("task.add", "tasks", [{"id": 1.5}]),
    ("task.add", "tasks", [{"id": ""}]),
    ("task.add", "tasks", [{"status": "ready"}]),
    ("task.add", "tasks", [{"status": ["pending"]}]),
    ("task.add", "tasks", [{"priority": "higher"}]),
    ("task.add", "tasks", [{"priority": True}]),
    ("task.add", "tasks", [{"priority": 1.5}]),
    ("task.add", "tasks", [{"dependencies": "a"}]),
    ("task.add", "tasks", [{"dependencies": [None]}]),
    ("task.add", "tasks", [{"needs": "python"}]),
    ("task.add", "tasks", [{"needs": [1]}]),
    ("task.add", "tasks", [{"max_attempts": 0}]),
    ("task.claim", "needs", "python"),
    ("task.claim", "needs", [1]),
    ("task.claim", "where", []),
    ("task.claim", "where", {"a": {}}),
    ("task.claim", "where", {"a": [[]]}),
    ("task.claim", "count", 0),
    ("task.claim", "count", True),
    ("task.claim", "count", COUNT_MAX + 1),
    ("task.claim", "ttl_ms", TTL_MIN_MS - 1),
    ("task.claim", "ttl_ms", TTL_MAX_MS + 1),
    ("task.claim", "ttl_ms", 1000.0),
    ("task.claim", "ids", "a"),
    ("task.claim", "ids", [None]),
    ("task.claim", "nedes", []),
    ("task.heartbeat", "epoch", "1"),
    ("task.heartbeat", "epoch", 0),
    ("task.heartbeat", "id", None),
    ("task.complete", "id", ["a"]),
    ("task.fail", "error", None),
    ("task.fail", "error", "x" * (TEXT_MAX_CHARS + 1)),
    ("task.fail", "retryable", 1),
    ("task.fail", "delay_ms", -1),
    ("task.cancel", "reason", 7),
    ("task.cancel", "epoch", 1),
    ("task.claim", "board", None),
    ("task.claim", "board", {"format": "x"}),
]
CONTEXT = Context(NOW_MS, "ann", "op", 1)


def op_of(do: str, **fields: Any) -> dict[str, Any]:
    return {"do": do, "board": DEFAULT, **GOOD.get(do, {}), **fields}


@pytest.mark.parametrize("do", GOOD)
def test_good_ones_pass_and_are_understood(do: str) -> None:
    validate(op_of(do), "tasks.json")
    try:
        apply(Tree(board("a")), op_of(do), CONTEXT)
    except Rejected as rejected:
        assert rejected.why == "unknown"  # noqa: PT017 - some have to be refused: nothing was claimed


@pytest.mark.parametrize(("do", "field", "value"), WRONG)
def test_wrong_ones_are_told_and_not_decided(do: str, field: str, value: Any) -> None:
    op = op_of(do, **{field: value})
    with pytest.raises(BadValue, match="tasks" if field != "board" else "spec") as raised:
        validate(op, "tasks.json")
    assert raised.value.argument in {field, "format"}
    assert field == "board" or field in str(raised.value)
    tree = Tree(board("a"))
    with pytest.raises(BadOperation):
        apply(tree, op, CONTEXT)
    assert (tree.edits, tree.value, tree.side) == ([], board("a"), {})


@pytest.mark.parametrize(("do", "field"), [(do, field) for do, fields in GOOD.items() for field in [*fields, "board"]])
def test_nothing_that_is_needed_may_be_left_out(do: str, field: str) -> None:
    op = op_of(do)
    del op[field]
    with pytest.raises(BadValue) as raised:
        validate(op, "tasks.json")
    assert raised.value.argument == field
    with pytest.raises(BadOperation):
        apply(Tree(board("a")), op, CONTEXT)


@pytest.mark.parametrize(
    "op", [None, [], {}, {"do": 1}, {"do": ["task.claim"]}, {"do": "task.steal", "board": DEFAULT}]
)
def test_what_is_no_operation_at_all(op: Any) -> None:
    with pytest.raises(BadValue):
        validate(op, "tasks.json")
    with pytest.raises(BadOperation):
        apply(Tree(board("a")), op, CONTEXT)
