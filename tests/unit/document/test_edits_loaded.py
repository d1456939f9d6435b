"""Which text an editor had loaded; and that whatever it was, no edit that is folded takes back what others did."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.document.difference import difference
from coordinator.document.loaded import Loaded, Saved, loaded
from coordinator.document.operations import apply
from coordinator.document.outcome import Context, Rejected
from coordinator.document.tree import Tree

NOW: Final = Context(now_ms=1, agent="edit", op_id="op", revision=99)
NOTHING: Final = object()


def board(**statuses: Any) -> dict[str, Any]:
    """A document with tasks t1, t2, … and their statuses."""
    return {"name": "demo", "tasks": [{"id": int(name[1:]), "status": status} for name, status in statuses.items()]}


# Revisions 3 to 6, newest first; revision 2 and those before are not known.
TEXTS: Final = [
    (6, board(t1="done", t2="done", t3="held", t4="new")),
    (5, board(t1="done", t2="done", t3="pending")),
    (4, board(t1="done", t2="held", t3="pending")),
    (3, board(t1="held", t2="pending", t3="pending")),
]


def told(texts: list[tuple[int, Any]], edited: Any) -> Loaded:
    found = loaded(texts, edited)
    assert found is not None
    return found


@pytest.mark.parametrize("index", [0, 1, 2])
def test_it_is_told_by_the_places_that_nobody_edited(index: int) -> None:
    revision, text = TEXTS[index]
    edited = copy.deepcopy(text)
    edited["name"] = "by hand"
    found = told([*TEXTS, (1, board(t1="pending", t2="pending"))], edited)
    assert (found.revision, found.base, found.is_doubtful) == (revision, text, False)


def test_a_text_older_than_those_known_is_not_guessed() -> None:
    assert loaded(TEXTS, board(t1="held", t2="pending", t3="by hand")) is None
    assert loaded([], board()) is None


def test_the_first_revision_had_none_before_it() -> None:
    only = [(1, board(t1="pending"))]
    assert told(only, board(t1="by hand")).base == only[0][1]
    found = told([(2, board(t1="done", t2="pending")), (1, board(t1="pending", t2="pending"))], board(t1="x", t2="y"))
    assert found.revision == 1, "nothing tells that revision 2 was seen"


def test_a_status_written_by_chance_as_an_agent_wrote_it_is_outvoted() -> None:
    texts = [(3, board(t1="done", t2="pending")), (2, board(t1="held", t2="pending")), (1, board(t1="held", t2="held"))]
    edited = board(t1="done", t2="held")  # the first text, and t1 done by hand
    found = told(texts, edited)
    assert found.revision == 1
    assert difference(found.base, edited, texts[0][1]) == [], "what is so already is not told again"
    assert found.is_doubtful, "it may as well be the newest text, with t2 taken back: in doubt"


def test_a_change_taken_back_by_hand_is_seen_when_enough_others_were_loaded() -> None:
    statuses = {f"t{i}": "pending" for i in range(1, 7)}
    older = [(2, board(**statuses) | {"tasks": []}), (1, {"name": "", "tasks": []})]
    texts = [(4, board(**{**statuses, "t1": "done", "t2": "done"})), (3, board(**statuses)), *older]
    newest = [(5, board(**dict.fromkeys(statuses, "done"))), *texts]
    edited = board(**{**dict.fromkeys(statuses, "done"), "t1": "pending"})
    found = told(newest, edited)
    assert found.revision == 5
    assert difference(found.base, edited, newest[0][1]), "an agent's change that was seen may be taken back"


def test_where_a_text_may_be_missing_in_between_what_was_unseen_is_not_taken_back() -> None:
    older = board(t1="a", t2="a", t3="a")
    newer = board(t1="b", t2="b", t3="b")
    edited = board(t1="b", t2="b", t3="a", t4="by hand")  # loaded in between
    found = told([(9, newer), (1, older)], edited)
    assert found.base == board(t1="b", t2="b", t3="a")
    assert (found.newest, found.is_doubtful) == (newer, True)


def test_an_element_that_others_removed_and_that_was_edited_was_loaded_before() -> None:
    texts = [(2, board(t1="a")), (1, board(t1="a", t2="a"))]
    edited = board(t1="a", t2="by hand")
    found = told(texts, edited)
    assert found.revision == 1
    (change,) = difference(found.base, edited, texts[0][1])
    with pytest.raises(Rejected):
        apply(Tree(copy.deepcopy(texts[0][1])), change, NOW)


def test_an_element_given_the_id_that_an_agent_gave_meanwhile_overwrites_nothing() -> None:
    mine, theirs = ({"id": 7, "title": title, "notes": title} for title in ("mine", "theirs"))
    texts = [(2, {"tasks": [theirs]}), (1, {"tasks": []})]
    edited = {"tasks": [mine]}
    found = told(texts, edited)
    assert found.revision == 1
    (change,) = difference(found.base, edited, texts[0][1])
    with pytest.raises(Rejected):
        apply(Tree(copy.deepcopy(texts[0][1])), change, NOW)


def counted(count: int, *notes: str) -> dict[str, Any]:
    """A document in which agents count, so that no text has what another had."""
    return {"counts": {str(i): count + i for i in range(4)}, "notes": dict.fromkeys(notes, "by hand")}


def test_what_agents_change_all_the_time_does_not_pass_for_edited() -> None:
    """An old text, and in it what the known ones have from its own editor's save before."""
    texts = [(30, counted(900, "a", "b")), (29, counted(800, "a", "b")), (28, counted(700, "a")), (27, counted(600))]
    assert loaded(texts, counted(5, "a", "b", "c")) is None
    edited = counted(700, "a", "c")
    assert told(texts, edited).revision == 28


def test_an_edit_that_was_decided_may_be_edited_again() -> None:
    texts = [(30, counted(900, "a")), (29, counted(800, "a")), (28, counted(700))]
    first, second = counted(5, "a"), counted(5, "a", "b")
    found = loaded(texts, second, [Saved(counted(5), first)])
    assert found is not None
    assert (found.base, found.is_doubtful) == (first, False)
    assert difference(found.base, second, texts[0][1]) == [
        {"do": "patch", "patch": [{"op": "add", "path": "/notes/b", "value": "by hand"}], "absent": ["/notes/b"]}
    ]


def test_what_was_saved_before_and_stands_no_longer_is_in_doubt() -> None:
    texts = [(3, counted(7)), (2, counted(6)), (1, counted(5))]
    found = loaded(texts, counted(7, "a", "b"), [Saved(counted(7), counted(7, "a"))])
    assert found is not None
    assert (found.base, found.newest, found.is_doubtful) == (counted(7, "a"), counted(7), True)


def test_the_same_text_saved_again_is_an_edit_of_what_it_was() -> None:
    texts = [(2, counted(6)), (1, counted(5))]
    found = loaded(texts, counted(6, "a"), [Saved(counted(6), counted(6, "a"))])
    assert found is not None
    assert found.base == counted(6)


def test_nesting_too_deep_to_be_walked_is_one_place() -> None:
    def nested(value: Any) -> Any:
        for _ in range(400):
            value = {"a": value}
        return value

    found = told([(2, [nested(2), 2, 2]), (1, [nested(1), 1, 1])], [nested(2), 2, 3])
    assert found.revision in {1, 2}


# ── whatever happened, nobody's update is taken back ─────────────────────────────────────────────────────────────────

STEP: Final = st.tuples(
    st.sampled_from(["set", "set", "set", "add", "remove", "meta"]), st.integers(0, 7), st.sampled_from(["s", "n", "x"])
)
STEPS: Final = st.lists(STEP, min_size=1, max_size=3)


class World:
    """A document changed by agents and by hand; every value that is written is another."""

    def __init__(self) -> None:
        self.value: Any = {
            "tasks": [{"id": i, "s": f"s{i}", "n": f"n{i}", "x": f"x{i}"} for i in range(4)],
            "meta": {"a": "a"},
        }
        self._count = 0

    def change(self, value: Any, steps: list[tuple[str, int, str]], who: str) -> None:
        for kind, at, key in steps:
            self._count += 1
            fresh = f"{who}{self._count}"
            tasks = value["tasks"]
            if kind == "meta":
                value["meta"][key] = fresh
            elif kind == "add":
                added = {"id": 100 + self._count, "s": fresh, "n": fresh, "x": fresh}
                tasks.insert(at % (len(tasks) + 1), added)
            elif tasks and kind == "set":
                tasks[at % len(tasks)][key] = fresh
            elif tasks:
                tasks.pop(at % len(tasks))


def places(value: Any) -> dict[Any, Any]:
    found = {("meta", key): each for key, each in value["meta"].items()}
    for task in value["tasks"]:
        found[task["id"]] = True
        found |= {(task["id"], key): each for key, each in task.items()}
    return found


def folded(now: Any, changes: list[dict[str, Any]]) -> tuple[Any, int]:
    """The document after the changes, and how many were refused."""
    tree, refused = Tree(copy.deepcopy(now)), 0
    for change in changes:
        mark = tree.mark()
        try:
            apply(tree, copy.deepcopy(change), NOW)
        except Rejected:
            tree.undo_to(mark)
            refused += 1
    return tree.value, refused


@settings(max_examples=250)
@given(
    updates=st.lists(st.tuples(STEPS, st.booleans()), max_size=10),
    later=st.lists(STEPS, max_size=2),
    by_hand=STEPS,
    age=st.integers(0, 10),
    keep=st.integers(1, 8),
)
def test_others_updates_stand_and_what_was_edited_is_applied_or_refused(
    updates: list[tuple[Any, bool]], later: list[Any], by_hand: Any, age: int, keep: int
) -> None:
    world = World()
    shown = [(1, copy.deepcopy(world.value))]
    for revision, (steps, is_rendered) in enumerate(updates, 2):
        world.change(world.value, steps, "agent ")
        if is_rendered:
            shown.append((revision, copy.deepcopy(world.value)))
    for steps in later:
        world.change(world.value, steps, "agent ")
    text = shown[max(len(shown) - 1 - age, 0)][1]
    edited = copy.deepcopy(text)
    world.change(edited, by_hand, "hand ")

    found = loaded(reversed(shown[-keep:]), edited)
    if found is None:
        return  # kept, whole
    changes = difference(found.base, edited, world.value)
    after, refused = folded(world.value, changes)

    was, is_edited, now, then = (places(value) for value in (text, edited, world.value, after))
    touched = {place for place in was | is_edited if was.get(place, NOTHING) != is_edited.get(place, NOTHING)}
    removed = {place for place in touched if not isinstance(place, tuple) and place not in is_edited}
    for place in now | then:
        if place not in touched and not (isinstance(place, tuple) and place[0] in removed):
            assert then.get(place, NOTHING) == now.get(place, NOTHING), f"{place}: an update of others was taken back"
    is_told = bool(refused or found.is_doubtful)
    fresh = {place for place in touched if str(is_edited.get(place, "")).startswith("hand ")}
    for place in fresh:
        assert is_told or then.get(place, NOTHING) == is_edited[place], f"{place}: what was edited is neither"


@settings(max_examples=60)
@given(updates=st.lists(STEPS, max_size=6), by_hand=STEPS)
def test_while_nobody_else_changes_anything_all_of_an_edit_is_applied(updates: list[Any], by_hand: Any) -> None:
    world = World()
    shown = [(1, copy.deepcopy(world.value))]
    for revision, steps in enumerate(updates, 2):
        world.change(world.value, [("meta", 0, f"seen {revision}"), *steps], "agent ")
        shown.append((revision, copy.deepcopy(world.value)))
    edited = copy.deepcopy(world.value)
    world.change(edited, [step for step in by_hand if step[0] != "remove"], "hand ")
    found = told(shown[::-1], edited)
    after, refused = folded(world.value, difference(found.base, edited, world.value))
    assert (after, refused) == (edited, 0)
