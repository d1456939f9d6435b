"""Patches and merge patches: as the RFCs have them, all or nothing."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest
from operations_support import NOW, applied, merge, op, patch, refused, text

from coordinator.document.operations import apply, as_operation
from coordinator.document.outcome import Rejected
from coordinator.document.places import same
from coordinator.document.tree import Tree
from coordinator.errors import BadValue

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
