"""Operations repeated exactly and put back; and both kinds of patches against the library, on random documents."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operations_support import NOW, applied, merge, op, patch, refused, text

from coordinator.document.operations import apply, as_patch, replay
from coordinator.document.outcome import BadOperation, Rejected
from coordinator.document.places import equal, pack
from coordinator.document.tree import Tree

# ── repeated, and put back ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "edits",
    [
        [["add", ["value", "a"], 1]],
        [["replace", ["value", "b"], 1]],
        [["remove", ["value", "b"]]],
        [["remove", ["value", "l", 7]]],
        [["remove", ["value", "l", "x"]]],
        [["replace", ["value", "a", "b"], 1]],
        [["patch", [op("remove", "/b")]]],
        [["patch", [op("remove", "/a/b")]]],
    ],
)
def test_edits_of_another_document_are_not_repeated(edits: Any) -> None:
    with pytest.raises(ValueError, match="edit 0 of 1 does not fit"):
        replay(Tree({"a": 1, "l": []}), edits)


def test_edits_of_a_newer_version_stop_whoever_catches_up() -> None:
    for edit in (["swap", ["value", "a"], ["value", "b"]], ["remove"], "remove", ["patch"]):
        with pytest.raises(BadOperation):
            replay(Tree({"a": 1}), [edit])  # type: ignore[list-item]


def test_what_is_repeated_is_told_to_watchers_and_can_be_put_back() -> None:
    tree = Tree({"b": 1, "a": {}})
    seen: list[Any] = []
    tree.watchers.append(seen.append)
    mark = tree.mark()
    replay(tree, [["remove", ["value", "b"]], ["patch", [op("add", "/a/x", 1)]], ["add", ["side", "claim"], {}]])
    assert seen == [["value", "b"], None, ["side", "claim"]]
    tree.undo_to(mark)
    assert text(tree.roots) == text({"value": {"b": 1, "a": {}}, "side": {}})


def test_edits_as_one_patch_leave_out_what_is_kept_beside() -> None:
    document = {"t": [{"a/b": 1}], "x": 1}
    tree = Tree(copy.deepcopy(document))
    tree.add(("value", "t", "-"), 5)
    tree.add(("side", "claims"), {})
    tree.replace(("value", "t", 0, "a/b"), 2)
    apply(tree, patch(op("test", "/x", 1), op("move", "/y", **{"from": "/x"})), NOW)
    tree.remove(("value", "t", 1))
    change = as_patch(tree.edits)
    assert change == [
        op("add", "/t/1", 5),
        op("replace", "/t/0/a~1b", 2),
        op("move", "/y", **{"from": "/x"}),
        op("remove", "/t/1"),
    ]
    assert jsonpatch.apply_patch(document, change) == tree.value
    tree.replace(("value",), 7)
    assert as_patch(tree.edits)[-1] == op("replace", "", 7)


def test_edits_of_a_fold_hold_what_each_was_and_not_what_became_of_it() -> None:
    """The value that is added must not change in the edits when the next operation changes it in the document."""
    document: Any = {}
    tree = Tree(copy.deepcopy(document))
    apply(tree, merge({"tasks": [], "x": {}}), NOW)
    apply(tree, patch(op("add", "/tasks/-", 1)), NOW)
    apply(tree, merge({"x": {"y": 1}}), NOW)
    follower = Tree(document)
    replay(follower, tree.edits)
    assert follower.value == tree.value == {"tasks": [1], "x": {"y": 1}}


# ── against the library, on random documents ─────────────────────────────────────────────────────────────────────────


KEYS: Final = ["a", "b", "0", "1", "-", "", "/", "~1"]
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 2**70, 0.0, 1.0, -1.5]), st.sampled_from(KEYS))
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


def places_of(value: Any, at: str = "") -> list[str]:
    found = [at]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += places_of(each, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found


@st.composite
def documents_and_patches(draw: st.DrawFn) -> tuple[Any, list[dict[str, Any]]]:
    """A document and a patch of which most operations find their place, in the document as it is then."""
    document = draw(documents)
    now, operations = copy.deepcopy(document), []
    for _ in range(draw(st.integers(1, 6))):
        there = st.sampled_from(places_of(now))
        beside = st.builds(lambda at, key: f"{at}/{key}", there, st.sampled_from(["a", "b", "0", "1", "2", "-", "~01"]))
        kind = draw(st.sampled_from(["add", "add", "remove", "replace", "move", "copy", "test"]))
        place = draw(beside | there if kind in {"add", "move", "copy"} else there | there | beside)
        operation = op(kind, place)
        if kind in {"move", "copy"}:
            operation["from"] = draw(there)
        if kind in {"add", "replace"}:
            operation["value"] = draw(documents)
        if kind == "test":
            exact = draw(st.booleans()) and place in places_of(now)
            operation["value"] = jsonpatch.JsonPointer(place).resolve(now) if exact else draw(documents)
        operations.append(copy.deepcopy(operation))
        try:
            now = jsonpatch.apply_patch(now, [operation])
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
            if draw(st.booleans()):
                operations.pop()
    return document, operations


@settings(max_examples=300)
@given(documents_and_patches())
def test_a_patch_does_what_the_library_does_on_a_copy(drawn: tuple[Any, list[dict[str, Any]]]) -> None:
    document, operations = drawn
    try:
        expected = jsonpatch.apply_patch(document, operations)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        refused(document, patch(*operations))
    else:
        assert text(applied(document, patch(*operations))) == text(expected)


@settings(max_examples=300)
@given(documents, documents)
def test_a_merge_does_what_the_rfcs_pseudo_code_does(document: Any, change: Any) -> None:
    def pseudo(target: Any, merged: Any) -> Any:
        if not isinstance(merged, dict):
            return merged
        target = target if isinstance(target, dict) else {}
        for name, value in merged.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = pseudo(target.get(name), value)
        return target

    expected = pseudo(copy.deepcopy(document), copy.deepcopy(change))
    assert text(applied(document, merge(change))) == text(expected)


@settings(max_examples=200)
@given(documents_and_patches(), documents, st.data())
def test_several_in_one_fold_are_repeated_and_put_back(
    drawn: tuple[Any, list[dict[str, Any]]], change: Any, data: st.DataObject
) -> None:
    document, operations = drawn
    tree = Tree(copy.deepcopy(document))
    start = tree.mark()
    later = [patch(each) for each in operations] + [merge(change), patch(*operations)]
    for each in data.draw(st.permutations(later)):
        mark, before = tree.mark(), text(tree.value)
        try:
            apply(tree, each, NOW)
        except Rejected:
            tree.undo_to(mark)
            assert text(tree.value) == before
    follower = Tree(copy.deepcopy(document))
    replay(follower, json.loads(pack(tree.edits)))
    assert text(follower.value) == text(tree.value)
    assert equal(jsonpatch.apply_patch(document, as_patch(tree.edits)), tree.value)
    tree.undo_to(start)
    assert text(tree.value) == text(document)
