"""What the tests of operations share: patches, and documents after them, on the way repeated elsewhere and put back."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from coordinator.document.operations import apply, replay, validate
from coordinator.document.outcome import Context, Rejected
from coordinator.document.tree import Tree

NOW: Final = Context(now_ms=1_700_000_000_000, agent="alice", op_id="op1", revision=8)


def patch(*operations: Any, **more: Any) -> dict[str, Any]:
    return {"do": "patch", "patch": list(operations), **more}


def merge(value: Any, **more: Any) -> dict[str, Any]:
    return {"do": "merge", "patch": value, **more}


def op(kind: str, path: str, value: Any = ..., **more: Any) -> dict[str, Any]:
    return {"op": kind, "path": path, **({} if value is ... else {"value": value}), **more}


def text(value: Any) -> str:
    """Two documents are the same when their texts are: order of keys, true and 1, 1 and 1.0."""
    return json.dumps(value)


def duplicate(value: Any) -> Any:
    return json.loads(text(value))  # copy.deepcopy gives up at half the nesting that a document may have


def applied(document: Any, *ops: dict[str, Any]) -> Any:
    """The document afterwards; on the way: what was repeated elsewhere is the same, and so is what was put back."""
    tree = Tree(duplicate(document))
    start = tree.mark()
    for each in ops:
        validate(each, "tasks.json")
        before = text(each)
        apply(tree, each, NOW)
        assert text(each) == before, "the operation itself was changed"
    follower = Tree(duplicate(document))
    replay(follower, json.loads(json.dumps(tree.edits)))
    assert text(follower.value) == text(tree.value)
    after = duplicate(tree.value)
    tree.undo_to(start)
    assert text(tree.value) == text(document)
    assert tree.edits == []
    return after


def refused(document: Any, each: dict[str, Any]) -> Rejected:
    """Why it was refused; on the way: nothing of it is left."""
    tree = Tree(duplicate(document))
    start = tree.mark()
    with pytest.raises(Rejected) as caught:
        apply(tree, each, NOW)
    tree.undo_to(start)
    assert text(tree.value) == text(document)
    assert tree.edits == []
    json.dumps(caught.value.facts)
    assert len(caught.value.text) < 500
    return caught.value
