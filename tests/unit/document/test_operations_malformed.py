"""Operations that are malformed, too large or too deep: told before they are submitted, and refused in a fold."""

from __future__ import annotations

import math
from typing import Any

import pytest
from operations_support import NOW, applied, merge, op, patch, refused

from coordinator.document.json_text import DEPTH_MAX
from coordinator.document.operations import OPERATION_MAX_BYTES, PATCH_MAX_OPERATIONS, apply, validate
from coordinator.document.outcome import BadOperation
from coordinator.document.patching import COPY_MAX_BYTES, OPERATION_DEPTH_MAX
from coordinator.document.tree import Tree
from coordinator.errors import BadValue, MalformedDocument


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
