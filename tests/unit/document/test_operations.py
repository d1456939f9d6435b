"""Patches and merge patches: as the RFCs have them, all or nothing, and repeated exactly."""

from __future__ import annotations

import copy
import json
import math
from typing import Any, Final

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.document.json_text import DEPTH_MAX
from coordinator.document.operations import (
    OPERATION_MAX_BYTES,
    PATCH_MAX_OPERATIONS,
    apply,
    as_operation,
    as_patch,
    replay,
    validate,
)
from coordinator.document.outcome import BadOperation, Context, Rejected
from coordinator.document.patching import COPY_MAX_BYTES, OPERATION_DEPTH_MAX
from coordinator.document.places import equal, pack, same
from coordinator.document.tree import Tree
from coordinator.errors import BadValue, MalformedDocument

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


# ── RFC 6902 ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "operation", "after"),
    [
        ({"a": 1}, op("add", "/b", 2), {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, op("add", "/a", 3), {"a": 3, "b": 2}),
        ([1, 2], op("add", "/-", 3), [1, 2, 3]),
        ([1, 2], op("add", "/2", 3), [1, 2, 3]),
        ([1, 2], op("add", "/0", 3), [3, 1, 2]),
        ({"-": 1}, op("replace", "/-", 2), {"-": 2}),
        ({"01": 1}, op("replace", "/01", 2), {"01": 2}),
        ({"": {"": 1}}, op("replace", "//", 2), {"": {"": 2}}),
        ({"a/b": 1, "m~n": 2, "~1": 3}, op("remove", "/a~1b"), {"m~n": 2, "~1": 3}),
        ({"a/b": 1, "m~n": 2, "~1": 3}, op("remove", "/m~0n"), {"a/b": 1, "~1": 3}),
        ({"a/b": 1, "m~n": 2, "~1": 3}, op("remove", "/~01"), {"a/b": 1, "m~n": 2}),
        ([1, 2, 3], op("remove", "/1"), [1, 3]),
        ({"a": 1, "b": 2, "c": 3}, op("replace", "/b", None), {"a": 1, "b": None, "c": 3}),
        ({"a": {"x": 1}, "b": {}}, op("move", "/b/y", **{"from": "/a/x"}), {"a": {}, "b": {"y": 1}}),
        ([[0], [1], [2]], op("move", "/1/-", **{"from": "/0"}), [[1], [2, [0]]]),
        ([[0], [1], [2]], op("move", "/1/-", **{"from": "/2"}), [[0], [1, [2]]]),
        ([1, 2, 3], op("move", "/2", **{"from": "/0"}), [2, 3, 1]),
        ([1, 2, 3], op("move", "/-", **{"from": "/0"}), [2, 3, 1]),
        ({"a": 1}, op("move", "/a", **{"from": "/a"}), {"a": 1}),
        ({"a": {"x": 1}}, op("copy", "/b", **{"from": "/a"}), {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": {"x": 1}}, op("copy", "/a/y", **{"from": ""}), {"a": {"x": 1, "y": {"a": {"x": 1}}}}),
        ({"a": {"x": 1}}, op("move", "", **{"from": "/a"}), {"x": 1}),
        ({"a": 1}, op("replace", "", [1]), [1]),
        ({"a": 1}, op("add", "", "text"), "text"),
        ("text", op("replace", "", {"a": 1}), {"a": 1}),
        ({"a": 1}, op("test", "", {"a": 1}), {"a": 1}),
        ({"a": 1}, op("add", "/b", 2, unknown="member", xpath="/a"), {"a": 1, "b": 2}),
    ],
)
def test_an_operation_does_what_the_rfc_says(document: Any, operation: dict[str, Any], after: Any) -> None:
    assert text(applied(document, patch(operation))) == text(after)


@pytest.mark.parametrize(
    ("document", "operation", "what"),
    [
        ({"a": 1}, op("remove", "/b"), "/b"),
        ({"a": 1}, op("replace", "/b", 1), "/b"),
        ({"a": 1}, op("add", "/b/c", 1), "no key"),
        ({"a": 1}, op("add", "/a/c", 1), "neither"),
        ({"a": "text"}, op("replace", "/a/0", 1), "neither"),
        ({"a": 1}, op("remove", ""), "whole document"),
        ({"a": 1}, op("move", "/b", **{"from": "/c"}), "/c"),
        ({"a": 1}, op("copy", "/b", **{"from": "/c"}), "/c"),
        ({"a": {"b": {}}}, op("move", "/a/b/c", **{"from": "/a"}), "into itself"),
        ({"a": 1}, op("move", "/a", **{"from": ""}), "into itself"),
        ([[1], 2], op("move", "/0/0", **{"from": "/0"}), "into itself"),
        ([1, 2], op("move", "/2", **{"from": "/0"}), "outside"),
        ([1, 2], op("add", "/3", 1), "outside"),
        ([1, 2], op("replace", "/2", 1), "outside"),
        ([1, 2], op("replace", "/-", 1), "'-'"),
        ([1, 2], op("remove", "/-"), "index"),
        ([1, 2], op("copy", "/0", **{"from": "/-"}), "index"),
        ([[1]], op("add", "/-/0", 1), "index"),
        *[
            ([[1], [2]], op("add", f"/{index}{rest}", 1), "index")
            for index in ("01", "00", "-1", "+1", "1e0", "1.0", " 1", "1 ", "", "\u0661", "0x1")
            for rest in ("", "/0")
        ],
        ([1], op("remove", "/99999999999999999999999"), ""),
    ],
)
def test_a_place_that_is_not_there_is_refused(document: Any, operation: dict[str, Any], what: str) -> None:
    rejected = refused(document, patch(operation))
    assert rejected.why == "path"
    assert what in rejected.text
    assert rejected.facts["path"] in {operation["path"], operation.get("from")}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        (10**20, 1e20),
        ({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}),
        (None, None),
        ("é", "é"),
        ([], []),
        ([True], [True]),
    ],
)
def test_equal_values_pass_a_test(one: Any, other: Any) -> None:
    applied({"a": one}, patch(op("test", "/a", other)))
    applied({"a": other}, patch(op("test", "/a", one)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1.0, True),
        ([1], [True]),
        ({"a": [{"b": 1}]}, {"a": [{"b": True}]}),
        (None, False),
        (None, 0),
        ("1", 1),
        ([], {}),
        ("", None),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1, 2], [2, 1]),
        (2**53 + 1, float(2**53)),
    ],
)
def test_values_that_only_look_equal_fail_it(one: Any, other: Any) -> None:
    for found, expected in ((one, other), (other, one)):
        rejected = refused({"a": found}, patch(op("test", "/a", expected)))
        assert rejected.why == "test"
        assert rejected.facts == {"path": "/a", "expected": text(expected), "found": text(found)}


def test_a_test_of_nothing_fails_as_a_test() -> None:
    rejected = refused({"a": 1}, patch(op("test", "/b", 1)))
    assert (rejected.why, rejected.facts) == ("test", {"path": "/b", "expected": "1"})


def test_a_refusal_shows_neither_a_whole_document_nor_a_whole_text() -> None:
    document = {"big": ["x" * 1000] * 1000, "text": "y" * 100_000, "k" * 5000: 1}
    assert "1,000 elements" in refused(document, patch(op("test", "/big", 1))).text
    refused(document, patch(op("test", "/text", "z" * 100_000)))
    refused(document, patch(op("remove", "/big/nothing")))
    refused(document, patch(op("remove", "/" + "n" * 5000)))


def test_what_was_done_before_a_failure_is_undone_with_the_order_of_keys() -> None:
    document = {"c": {"z": 1, "y": [1, 2, 3], "x": 2}, "b": 1, "a": 0}
    rejected = refused(
        document,
        patch(
            op("remove", "/c/z"),
            op("add", "/c/y/0", {"deep": {}}),
            op("add", "/c/y/0/deep/er", 1),
            op("move", "/c/new", **{"from": "/b"}),
            op("replace", "/c/x", None),
            op("remove", "/c/y/3"),
            op("remove", "/c"),
            op("replace", "", {"other": 1}),
            op("remove", "/a"),
        ),
    )
    assert rejected.facts["path"] == "/a"


def test_later_operations_go_into_what_earlier_ones_made() -> None:
    operations = [
        op("add", "/a", {}),
        op("add", "/a/b", []),
        op("add", "/a/b/-", {"c": 1}),
        op("replace", "/a/b/0/c", 2),
    ]
    assert applied({}, patch(*operations)) == {"a": {"b": [{"c": 2}]}}


def test_tests_are_not_recorded_and_what_nobody_reads_is_not_either() -> None:
    tree = Tree({"a": 1})
    apply(tree, patch(op("test", "/a", 1), op("replace", "/a", 2, note="x" * 1000)), NOW)
    assert tree.edits == [["patch", [op("replace", "/a", 2)]]]


def test_a_document_does_not_share_values_with_the_operation() -> None:
    value: dict[str, Any] = {"list": []}
    for each in (patch(op("add", "/a", value)), patch(op("replace", "/x", value)), merge({"a": value, "x": [value]})):
        tree = Tree({"x": 1})
        apply(tree, each, NOW)
        apply(tree, patch(op("copy", "/b", **{"from": "/x"})), NOW)
        tree.value.get("a", tree.value["x"])["list"].append(1)
        assert value == {"list": []}


# ── RFC 7396 ─────────────────────────────────────────────────────────────────────────────────────────────────────────

RFC_7396: Final = [  # its appendix A
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("document", "change", "after"), RFC_7396)
def test_a_merge_does_what_the_rfc_says(document: Any, change: Any, after: Any) -> None:
    assert text(applied(document, merge(change))) == text(after)


def test_a_merge_keeps_keys_where_they_are_and_adds_new_ones_last() -> None:
    document = {"c": 1, "b": {"y": 1, "x": 2}, "a": 3}
    after = applied(document, merge({"new": [None], "a": 0, "b": {"w": {"v": None, "u": 1}, "x": 9}}))
    assert text(after) == text({"c": 1, "b": {"y": 1, "x": 9, "w": {"u": 1}}, "a": 0, "new": [None]})


# ── preconditions of a whole operation ───────────────────────────────────────────────────────────────────────────────


def test_if_holds_for_the_revision_before_the_one_being_made() -> None:
    assert applied({"a": 1}, patch(op("add", "/b", 1), **{"if": 7})) == {"a": 1, "b": 1}
    assert applied({"a": 1}, merge({"b": 1}, **{"if": 7})) == {"a": 1, "b": 1}
    for stale in (0, 6, 8, 9):
        rejected = refused({"a": 1}, merge({"b": 1}, **{"if": stale}))
        assert (rejected.why, rejected.facts) == ("revision", {"expected": stale, "current": 7})


def test_if_does_not_hold_once_another_operation_of_the_same_fold_changed_something() -> None:
    tree = Tree({})
    apply(tree, merge({"a": 1}, **{"if": 7}), NOW)
    with pytest.raises(Rejected) as caught:
        apply(tree, merge({"a": 2}, **{"if": 7}), NOW)
    assert caught.value.facts == {"expected": 7, "current": 8}
    tree.settle()
    apply(tree, merge({"a": 2}, **{"if": 8}), NOW._replace(revision=9))
    assert tree.value == {"a": 2}


def test_if_still_holds_after_one_that_was_refused() -> None:
    tree = Tree({})
    mark = tree.mark()
    with pytest.raises(Rejected):
        apply(tree, patch(op("add", "/a", 1), op("remove", "/b")), NOW)
    tree.undo_to(mark)
    apply(tree, merge({"a": 2}, **{"if": 7}), NOW)
    assert tree.value == {"a": 2}


def test_absent_keeps_an_addition_from_overwriting() -> None:
    document = {"a": {"x": None}, "tasks": [{"id": 1}, {"id": "2"}, 3, {}]}
    each = patch(op("add", "/a/y", 1), absent=["/a/y", "/b", "/tasks/0/title"])
    assert applied(document, each)["a"] == {"x": None, "y": 1}
    for place, why in (
        ("/a/x", "absent"),
        ("/a", "absent"),
        ("/b/c", "path"),
        ("/tasks/-", "path"),
        ("/a/x/0", "path"),
    ):
        rejected = refused(document, patch(op("add", "/a/y", 1), absent=["/a/y", place]))
        assert (rejected.why, rejected.facts["path"].startswith("/")) == (why, True)


def test_absent_finds_elements_by_their_id() -> None:
    document = {"tasks": [{"id": 1}, {"id": "2"}, 3, {}], "x": {}}
    for there in (1, 1.0, "2"):
        place = {"in": "/tasks", "key": "id", "value": there}
        assert refused(document, merge({}, absent=[place])).why == "absent"
    for missing in (True, 2, "1", None):
        assert applied(document, merge({"x": 1}, absent=[{"in": "/tasks", "key": "id", "value": missing}]))["x"] == 1
    for nowhere in ("/x", "/y", ""):
        assert refused(document, merge({}, absent=[{"in": nowhere, "key": "id", "value": 1}])).why == "path"


def test_a_list_is_a_patch_and_a_dict_is_a_merge_patch() -> None:
    assert as_operation([op("add", "/a", 1)]) == patch(op("add", "/a", 1))
    assert as_operation({"a": 1}, 0) == merge({"a": 1}, **{"if": 0})
    neither: Any
    for neither in ("[]", None, 1, ({},)):
        with pytest.raises(BadValue, match="is no change"):
            as_operation(neither)


def test_what_is_written_the_same_is_told_from_what_is_equal() -> None:
    for one, other in ((1, 1.0), (0.0, -0.0), (True, 1), ([{"a": 1}], [{"a": 1.0}])):
        assert not same(one, other)
        assert same(one, copy.deepcopy(one))
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


# ── malformed ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("each", "what"),
    [
        ([], "not an object"),
        ({"do": "patches", "patch": []}, "'do' is"),
        ({"patch": []}, "'do' is"),
        ({"do": ["patch"], "patch": []}, "'do' is"),
        ({"do": "patch"}, "no 'patch'"),
        ({"do": "merge"}, "no 'patch'"),
        (patch(unless=3), "unknown member 'unless'"),
        ({"do": "patch", "patch": op("add", "/a", 1)}, "not a list"),
        ({"do": "patch", "patch": "[]"}, "not a list"),
        (patch("add"), "operation 0 of the patch is"),
        (patch(op("test", "/a", 1), op("Add", "/a", 1)), "operation 1 of the patch has 'op' \"Add\""),
        (patch(op("append", "/a", "x")), "known are add, remove"),
        (patch({"op": ["add"], "path": "/a", "value": 1}), "has 'op' [\"add\"]"),
        (patch({"path": "/a", "value": 1}), "has 'op' null"),
        (patch(op("add", "/a")), "(add) has no 'value'"),
        (patch(op("replace", "/a")), "(replace) has no 'value'"),
        (patch(op("test", "/a")), "(test) has no 'value'"),
        (patch({"op": "remove"}), "(remove) has no 'path'"),
        (patch(op("move", "/a")), "(move) has no 'from'"),
        (patch(op("copy", "/a", **{"from": 1})), "no JSON pointer, as 'from'"),
        (patch(op("remove", "a")), "does not begin with '/'"),
        (patch(op("remove", "#/a")), "does not begin with '/'"),
        (patch(op("remove", "/~2")), "neither 0 nor 1"),
        (patch(op("remove", "/a~")), "neither 0 nor 1"),
        (patch({"op": "remove", "path": None}), "no JSON pointer"),
        (merge({}, **{"if": "7"}), "'if' is"),
        (merge({}, **{"if": -1}), "'if' is"),
        (merge({}, **{"if": True}), "'if' is"),
        (merge({}, **{"if": None}), "'if' is"),
        (merge({}, absent="/a"), "'absent' is"),
        (merge({}, absent=["a"]), "'absent' has"),
        (merge({}, absent=[""]), "'absent' has"),
        (merge({}, absent=[{"in": "/a", "key": "id"}]), "'absent' has"),
        (merge({}, absent=[{"in": "/a", "key": 1, "value": 1}]), "'absent' has"),
        (merge({}, absent=[{"in": 1, "key": "id", "value": 1}]), "'absent' has"),
    ],
)
def test_a_malformed_operation_is_told_before_it_is_submitted_and_stops_a_fold(each: Any, what: str) -> None:
    with pytest.raises(BadValue) as caught:
        validate(each, "tasks.json")
    assert what in str(caught.value)
    assert "tasks.json" in str(caught.value)
    tree = Tree({"a": 1})
    with pytest.raises(BadOperation) as stopped:
        apply(tree, each, NOW)
    assert what in str(stopped.value)
    assert tree.value == {"a": 1}


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (math.nan, ""),
        ({"a": [math.inf]}, "/a/0"),
        ({1: 2}, ""),
        ("\ud800", ""),
        ({"\udfff": 1}, ""),
        (object(), ""),
        pytest.param(10**4400, "", id="more digits than Python writes"),
    ],
)
def test_a_value_that_json_cannot_carry_is_refused_with_its_place(value: Any, where: str) -> None:
    for each, before in ((merge(value), "/patch"), (patch(op("add", "/x", value)), "/patch/0/value")):
        with pytest.raises(MalformedDocument) as caught:
            validate(each, "tasks.json")
        assert caught.value.where == before + where
        with pytest.raises(BadOperation):
            apply(Tree({}), each, NOW)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**70), 10**200, 1e300, 0.1, -0.0])
def test_a_number_is_carried_exactly(number: float) -> None:
    after = applied({"n": 0}, patch(op("replace", "/n", number), op("copy", "/m", **{"from": "/n"})))
    assert repr(after) == repr({"n": number, "m": number})


def test_an_operation_is_bounded() -> None:
    validate(merge({"a": "x" * (OPERATION_MAX_BYTES - 100)}), "r")
    with pytest.raises(BadValue, match="bytes"):
        validate(merge({"a": "x" * OPERATION_MAX_BYTES}), "r")
    many = [op("test", "/a", 1)] * (PATCH_MAX_OPERATIONS + 1)
    validate(patch(*many[1:]), "r")
    with pytest.raises(BadValue, match="1,001 operations"):
        validate(patch(*many), "r")


def test_copies_of_copies_do_not_fill_the_memory_of_whoever_folds() -> None:
    twice = op("copy", "/-", **{"from": ""})
    applied([["x" * 100]], patch(*[twice] * 10))
    assert refused([["x" * 100]], patch(*[twice] * 20)).why == "size"
    wide = op("copy", "/b", **{"from": "/a"})
    assert refused({"a": "x" * (COPY_MAX_BYTES // 3)}, patch(*[wide] * 4)).why == "size"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_stays_within_what_can_be_written() -> None:
    deep = nested(OPERATION_DEPTH_MAX)
    for each in (merge(deep), patch(op("add", "/a", deep))):
        with pytest.raises(MalformedDocument, match="nesting deeper than 100"):
            validate(each, "r")
        assert refused({}, each).why == "depth"
    document = nested(DEPTH_MAX)
    way = "/0" * DEPTH_MAX
    applied(document, patch(op("replace", way, 2), op("test", way, 2)))
    applied(document, patch(op("test", "/0" * 450, nested(50))))
    assert refused(document, patch(op("replace", way, []))).why == "depth"
    assert refused({"a": document[0], "b": {}}, patch(op("move", "/b/c", **{"from": "/a"}))).why == "depth"
    assert refused({"a": document[0]}, patch(op("copy", "/b", **{"from": "/a"}))).why == "depth"
    assert refused(document, patch(op("test", "", 1))).why == "test"
    chain: Any = {"k": {}}
    for _ in range(DEPTH_MAX - 2):
        chain = {"k": chain}
    change: Any = {"n": []}
    for _ in range(OPERATION_DEPTH_MAX - 5):
        change = {"k": change}
    applied(chain, merge(change))


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
