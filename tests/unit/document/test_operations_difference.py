"""An edit made by hand: applied where nobody else was, refused where somebody was, and never onto the wrong element."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any, Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coordinator.document.difference import difference
from coordinator.document.operations import apply, validate
from coordinator.document.outcome import Context, Rejected
from coordinator.document.places import same
from coordinator.document.tree import Tree
from coordinator.errors import BadValue, CoordinatorError

NOW: Final = Context(now_ms=1, agent="by hand", op_id="op", revision=2)

OLD: Final = {
    "name": "demo",
    "tags": ["a", "b"],
    "tasks": [
        {"id": 1, "title": "one", "status": "pending", "subtasks": [{"id": 1, "t": "x"}, {"id": 2, "t": "y"}]},
        {"id": 2, "title": "two", "status": "pending"},
        {"id": "3", "title": "three", "status": "pending", "details": None},
    ],
    "empty": [],
}


def submitted(document: Any, operations: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    """The document afterwards, and why those that were refused were."""
    tree, refusals = Tree(copy.deepcopy(document)), []
    for operation in operations:
        validate(operation, "tasks.json")
        mark = tree.mark()
        try:
            apply(tree, json.loads(json.dumps(operation)), NOW)
        except Rejected as rejected:
            tree.undo_to(mark)
            refusals.append(rejected.why)
    return tree.value, refusals


def edited(document: Any, change: str) -> Any:
    """The document after a statement on ``d``, its tasks ``t``."""
    d = copy.deepcopy(document)
    exec(change, {"d": d, "t": d.get("tasks")})  # noqa: S102 - the statements of this file
    return d


def task(name: Any, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": f"task {name}", **more}


EDITS: Final = {
    "a field": "t[1]['status'] = 'done'",
    "a field that was null": "t[2]['details'] = 'x'",
    "another type": "d['name'] = True",
    "a number written otherwise": "d['name'] = 1.0",
    "a new key": "d['new/key~'] = {'x': []}",
    "a new key inside": "t[0]['subtasks'][1]['owner'] = 'me'",
    "a key removed": "del t[2]['details']",
    "an array without ids": "d['tags'].append('c')",
    "inserted first": "t.insert(0, {'id': 9})",
    "inserted between": "t[1:1] = [{'id': 8}, {'id': 9}]",
    "inserted last": "t += [{'id': 8}, {'id': 9}]",
    "inserted into an empty one": "d['empty'] = [{'id': 1}, {'id': 2}]",
    "inserted and removed at once": "t[1:2] = [{'id': 8}]",
    "the first removed": "del t[0]",
    "all removed": "t.clear()",
    "an element renamed": "t[1]['id'] = 7",
    "reversed": "t.reverse()",
    "moved, changed, inserted and removed": "t.reverse(); t[0]['title'] = '?'; del t[1]; t.insert(1, {'id': 9})",
    "inside inside": "t[0]['subtasks'][0]['t'] = 'z'; del t[0]['subtasks'][1]; t[0]['subtasks'].append({'id': 5})",
    "ids lost": "del t[1]['id']",
    "a list made an object": "d['tasks'] = {'1': {}}",
    "an object made a list": "d['tasks'] = [[1]]",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_applied_to_what_was_edited_gives_what_it_became(edit: str) -> None:
    new = edited(OLD, EDITS[edit])
    after, refusals = submitted(OLD, difference(OLD, new))
    assert refusals == []
    assert same(after, new)
    assert difference(OLD, new, new) == []
    assert difference(OLD, OLD) == []


def test_another_value_altogether_is_replaced() -> None:
    for old, new in itertools.permutations([None, True, 1, 1.0, "x", [], {}, [1], {"a": 1}], 2):
        after, refusals = submitted(old, difference(old, new))
        assert (refusals, same(after, new)) == ([], True)
        after, refusals = submitted("changed meanwhile", difference(old, new))
        assert (after, len(refusals)) == ("changed meanwhile", 1)


OTHERS: Final = {
    "a field of another task": "t[0]['status'] = 'taken'",
    "another key": "d['theirs'] = 1",
    "a task inserted first": "t.insert(0, {'id': 77})",
    "a task inserted between": "t.insert(2, {'id': 77})",
    "a task appended": "t.append({'id': 77})",
    "a subtask inserted": "t[0]['subtasks'].insert(0, {'id': 77})",
}


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize(
    "edit", ["a field", "a new key", "a key removed", "an array without ids", "inserted between", "inserted last"]
)
def test_what_others_changed_elsewhere_stays_and_so_does_the_edit(edit: str, others: str) -> None:
    new, now = edited(OLD, EDITS[edit]), edited(OLD, OTHERS[others])
    after, refusals = submitted(now, difference(OLD, new, now))
    assert refusals == []
    ids = [each["id"] for each in new["tasks"]]
    assert [each["id"] for each in after["tasks"] if each["id"] in ids] == ids
    back, refusals = submitted(after, difference(new, OLD, after))  # the edit taken back: theirs alone is left
    assert refusals == []
    assert same(back, now)


SAME_PLACE: Final = [
    ("t[1]['status'] = 'done'", "t[1]['status'] = 'failed'"),
    ("t[1]['status'] = 'done'", "del t[1]['status']"),
    ("t[1]['status'] = 'done'", "del t[1]"),
    ("t[1]['status'] = 'done'", "t.clear()"),
    ("t[1]['status'] = 'done'", "t[1]['id'] = 5"),
    ("t[1]['status'] = 'done'", "d['tasks'] = {'a': {'id': 2, 'status': 'pending'}}"),
    ("t[1]['status'] = 'done'", "del d['tasks']"),
    ("del t[1]['status']", "t[1]['status'] = 'failed'"),
    ("t[1]['owner'] = 'me'", "t[1]['owner'] = 'you'"),
    ("t[1]['owner'] = 'me'", "t[1]['owner'] = None"),
    ("t[1]['owner'] = 'me'", "t[1] = {'id': 4}"),
    ("del t[1]", "t[1]['status'] = 'taken'"),
    ("t.append({'id': 4, 't': 'mine'})", "t.append({'id': 4, 't': 'yours'})"),
    ("t.append({'id': 4})", "d['tasks'] = {}"),
    ("d['tags'] = ['x']", "d['tags'].append('c')"),
    ("d['tags'] = ['x']", "d['tags'] = {'0': 'a', '1': 'b'}"),
    ("t[0], t[1] = t[1], t[0]", "t[1], t[2] = t[2], t[1]"),
    ("t[1], t[2] = t[2], t[1]", "t[0], t[1] = t[1], t[0]"),
    ("d['empty'].append({'id': 1})", "d['empty'] = 0"),
    ("d['0'] = 1", "d.clear(); d['0'] = 2"),
]


@pytest.mark.parametrize(("edit", "others"), SAME_PLACE)
@pytest.mark.parametrize("is_known", [False, True])
def test_what_others_changed_in_the_same_place_is_not_overwritten(edit: str, others: str, is_known: bool) -> None:
    new, now = edited(OLD, edit), edited(OLD, others)
    operations = difference(OLD, new, now) if is_known else difference(OLD, new)
    after, refusals = submitted(now, operations)
    assert len(refusals) == 1
    assert same(after, now)


def test_an_edit_that_others_made_too_is_not_told_twice() -> None:
    new = edited(OLD, "t[1]['status'] = 'done'; del t[0]; t.append({'id': 9}); d['x'] = 1; d['tags'] = []")
    half = edited(OLD, "t[1]['status'] = 'done'; del t[0]; t.insert(0, {'id': 77}); t.append({'id': 9})")
    after, refusals = submitted(half, difference(OLD, new, half))
    assert refusals == []
    assert same(after, edited(new, "t.insert(0, {'id': 77})"))


def test_an_index_that_moved_is_refused_and_does_not_hit_another_task() -> None:
    """Without ``now``, or when the document moves on between the difference and the fold."""
    new = edited(OLD, "t[1]['status'] = 'done'; del t[2]; t.insert(2, {'id': 9})")
    now = edited(OLD, "t.insert(0, {'id': 77, 'status': 'pending'})")
    after, refusals = submitted(now, difference(OLD, new))
    assert refusals == ["test"] * 3
    assert same(after, now)


def test_one_edited_task_is_a_small_change() -> None:
    old = {"tasks": [task(i, details="x" * 1000) for i in range(2000)]}
    new = edited(old, "t[1500]['title'] = 'new'")
    assert difference(old, new) == [
        {
            "do": "patch",
            "patch": [
                {"op": "test", "path": "/tasks/1500/id", "value": 1500},
                {"op": "test", "path": "/tasks/1500/title", "value": "task 1500"},
                {"op": "replace", "path": "/tasks/1500/title", "value": "new"},
            ],
        }
    ]


def test_another_member_can_tell_elements_apart() -> None:
    old = {"tasks": [{"name": "a", "v": 1}, {"name": "b", "v": 1}]}
    new, now = edited(old, "t[1]['v'] = 2"), edited(old, "t.insert(0, {'name': 'c', 'v': 1})")
    after, refusals = submitted(now, difference(old, new, now, key="name"))
    assert (refusals, [each["v"] for each in after["tasks"]]) == ([], [1, 1, 2])


@pytest.mark.parametrize("ids", [(1, 1), (True, 2), (None, 2), (1.5, 2), ([1], 2)])
def test_without_ids_that_tell_them_apart_an_array_is_one_value(ids: tuple[Any, Any]) -> None:
    old = [{"id": each, "v": 1} for each in ids]
    new = copy.deepcopy(old)
    new[1]["v"] = 2
    operations = difference(old, new)
    assert [each["op"] for each in operations[0]["patch"]] == ["test", "replace"]
    assert submitted(old, operations) == (new, [])


def test_what_is_too_deep_or_too_large_to_be_an_operation_is_for_the_caller_to_see() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"k": deep}
    for old, new in ((deep, {"k": 1}), ({"k": 1}, deep), (["x" * 300_000], ["y"])):
        for operation in difference(old, new):
            with pytest.raises(CoordinatorError):
                validate(operation, "r")
    tasks = [task(i) for i in range(2000)]
    reordering = difference(tasks, tasks[::-1])
    with pytest.raises(BadValue, match="operations"):
        validate(reordering[0], "r")


# ── random documents ─────────────────────────────────────────────────────────────────────────────────────────────────

scalars = st.sampled_from([None, True, False, 0, 1, 1.0, "", "a", "b"])
fields = st.dictionaries(st.sampled_from(["a", "b", "0", "-", "x/y"]), scalars, max_size=3)


def with_ids(inner: Any) -> Any:
    element = st.tuples(
        st.sampled_from([1, 2, 3, 4, "1", "a"]), fields, st.dictionaries(st.just("sub"), inner, max_size=1)
    )
    elements = st.lists(element, max_size=5, unique_by=lambda each: repr(each[0]))
    return elements.map(lambda found: [{"id": name, **more, **sub} for name, more, sub in found])


documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "-"]), inner, max_size=3)
        | with_ids(inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(documents | with_ids(documents), documents | with_ids(documents))
def test_any_edit_applied_to_what_was_edited_gives_what_it_became(old: Any, new: Any) -> None:
    operations = difference(old, new)
    after, refusals = submitted(old, operations)
    assert refusals == []
    assert same(after, new)


def by_id(document: Any) -> Any:
    """Every place by a name that others' insertions do not change."""
    if isinstance(document, dict):
        return {key: by_id(value) for key, value in document.items()}
    if isinstance(document, list) and document and all(isinstance(each, dict) and "id" in each for each in document):
        return {f"{type(each['id']).__name__} {each['id']}": by_id(each) for each in document}
    return document


def leaves(value: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if value in ({}, []):  # whether it is there is not looked at: others may have filled it
        return {}
    if isinstance(value, dict):
        return {place: leaf for key, inner in value.items() for place, leaf in leaves(inner, (*at, key)).items()}
    return {at: json.dumps(value)}


@settings(max_examples=150)
@given(with_ids(documents), with_ids(documents), with_ids(documents))
def test_between_any_three_nothing_of_the_others_is_overwritten(old: Any, new: Any, now: Any) -> None:
    """What others changed and the edit did not, stays; what the edit changed is there, or a refusal says so."""
    operations = difference(old, new, now)
    after, refusals = submitted(now, operations)
    was, edit, theirs, found = (leaves(by_id(each)) for each in (old, new, now, after))
    for place in theirs.keys() | found.keys():
        if theirs.get(place) != was.get(place) and edit.get(place) == was.get(place) and place in theirs:
            assert found.get(place) == theirs[place]
        if theirs.get(place) == found.get(place) or place not in found:
            continue
        assert found[place] == edit.get(place)
        assert theirs.get(place) == was.get(place) or place not in theirs
    assume(not refusals)
    assert difference(old, new, after) == []


@settings(max_examples=120)
@given(with_ids(documents), with_ids(documents), with_ids(documents))
def test_without_knowing_the_others_nothing_of_theirs_is_overwritten_either(old: Any, new: Any, now: Any) -> None:
    after, _ = submitted(now, difference(old, new))
    was, edit, theirs, found = (leaves(by_id(each)) for each in (old, new, now, after))
    for place in found:
        assert found[place] == theirs.get(place) or (
            found[place] == edit.get(place) and theirs.get(place) in {was.get(place), None}
        )
