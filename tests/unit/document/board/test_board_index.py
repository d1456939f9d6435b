"""The index is a cache: whatever happened to the tree, it gives what one made afresh gives, and costs little."""

from __future__ import annotations

import copy
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from board_steps import DEFAULT, NOW_MS, TASKMASTER_TEXT, Play, board, text
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.document.board import apply
from coordinator.document.board.index import INDEXES_MAX, Index, index_of
from coordinator.document.outcome import Context, Rejected
from coordinator.document.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["a", "b", "c", "d", "e"]
STATUSES = ["pending", "in-progress", "done", "failed", "cancelled", "deferred", "review", None]
OWN = {"format": "taskmaster", "tag": "master", "subtasks": "own"}

names = st.sampled_from(NAMES)
some = st.lists(names, max_size=2)
agents = st.sampled_from(["ann", "bob"])
passing = st.tuples(st.just("time"), st.sampled_from([1, 400, 1001, 5000, -300]))
task = st.fixed_dictionaries(
    {"id": st.one_of(names, st.integers(0, 3))},
    optional={
        "dependencies": some,
        "needs": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "priority": st.sampled_from(["high", "low", 0, 3]),
        "area": st.sampled_from(["u", "v", ["u", "v"]]),
        "max_attempts": st.integers(1, 2),
        "status": st.sampled_from(["pending", "pending", "deferred", "done"]),
    },
)
where = st.dictionaries(
    st.sampled_from(["area", "status", "priority"]), st.sampled_from(["u", "high", ["pending", "v"]])
)
claims = st.fixed_dictionaries(
    {"ttl_ms": st.sampled_from([100, 500, 3000]), "count": st.integers(1, 3)},
    optional={"needs": st.lists(st.sampled_from(["x", "y"])), "where": where, "ids": st.lists(names, max_size=3)},
)
held = st.integers(0, 5)  # which of the epochs given out, from the newest
steps = st.one_of(
    passing,
    st.tuples(st.just("add"), agents, st.fixed_dictionaries({"tasks": st.lists(task, min_size=1, max_size=3)})),
    st.tuples(st.just("claim"), agents, claims),
    st.tuples(st.just("claim"), agents, claims),
    st.tuples(st.sampled_from(["heartbeat", "release"]), agents, st.just({}), held),
    st.tuples(st.just("complete"), agents, st.fixed_dictionaries({}, optional={"result": st.just([1])}), held),
    st.tuples(
        st.just("fail"),
        agents,
        st.fixed_dictionaries({"error": st.just("e"), "retryable": st.booleans()}, optional={"delay_ms": st.just(350)}),
        held,
    ),
    st.tuples(st.just("cancel"), agents, st.fixed_dictionaries({"id": names})),
    st.tuples(st.just("field"), st.integers(0, 9), st.sampled_from(
        [("status", one) for one in STATUSES]
        + [("dependencies", one) for one in ([], ["a"], ["b", "c"], "a")]
        + [("needs", ["x"]), ("needs", []), ("priority", "high"), ("priority", 9)]
        + [("id", "a"), ("id", None), ("area", "u")]
    )),
    st.tuples(st.sampled_from(["remove", "insert", "set", "swap", "patched", "rewind", "settle"]), st.integers(0, 9)),
)  # fmt: skip


class Story:
    """A play with changes by hand, and folds that are given up."""

    def __init__(self, play: Play, rows: Callable[[Tree], list[Any]], at: list[Any]) -> None:
        self.play = play
        self.rows = rows
        self.at = at
        self.marks = [(play.tree.mark(), play.now_ms)]
        self.epochs: list[tuple[str, int]] = []

    def step(self, kind: str, *more: Any) -> None:
        if kind == "time":
            self.play.now_ms += more[0]
        elif kind in {"field", "remove", "insert", "set", "swap", "patched", "rewind", "settle"}:
            getattr(self, f"_{kind}")(*more)
        else:
            self._operation(kind, *more)
        self.play.tree.get(["side"])
        self._compare()

    def _operation(self, kind: str, agent: str, fields: dict[str, Any], which: int | None = None) -> None:
        if which is not None:
            if not self.epochs:
                return
            name, epoch = self.epochs[-1 - which % len(self.epochs)]
            fields = {**fields, "id": name, "epoch": epoch}
        self.marks.append((self.play.tree.mark(), self.play.now_ms))
        try:
            result = self.play.do(kind, agent, **fields)
        except Rejected:
            return
        if kind == "claim":
            self.epochs += [(one["id"], one["epoch"]) for one in result["tasks"]]

    def _compare(self) -> None:
        """What everybody could claim now, by the index kept and by one made afresh."""
        play, tree = self.play, self.play.tree
        op = {"do": "task.claim", "board": play.spec, "ttl_ms": 1000, "count": 50}
        context = Context(play.now_ms, "eve", "trial", 99)
        mark = tree.mark()
        kept = copy.deepcopy(apply(tree, op, context))
        tree.undo_to(mark)
        assert text(kept) == text(apply(Tree(*copy.deepcopy((tree.value, tree.side))), op, context))

    # ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pick(self, number: int) -> int | None:
        rows = self.rows(self.play.tree)
        return number % len(rows) if rows else None

    def _field(self, number: int, change: tuple[str, Any]) -> None:
        row = self._pick(number)
        if row is not None:
            self.play.tree.put([*self.at, row, change[0]], copy.deepcopy(change[1]))

    def _remove(self, number: int) -> None:
        row = self._pick(number)
        if row is not None:
            self.play.tree.remove([*self.at, row])

    def _insert(self, number: int) -> None:
        rows = self.rows(self.play.tree)
        self.play.tree.add([*self.at, number % (len(rows) + 1)], {"id": NAMES[number % 5], "dependencies": ["a"]})

    def _set(self, number: int) -> None:
        row = self._pick(number)
        if row is not None:
            self.play.tree.replace([*self.at, row], {"id": NAMES[number % 5], "status": "done"})

    def _swap(self, number: int) -> None:
        self.play.tree.replace(self.at, copy.deepcopy(self.rows(self.play.tree)[::-1][: number or 9]))

    def _patched(self, number: int) -> None:
        rows = self.rows(self.play.tree)

        def change(value: Any) -> Any:
            rows.append({"id": NAMES[number % 5]})
            return value

        self.play.tree.patched(change, [rows], [])

    def _rewind(self, number: int) -> None:
        """A fold that was beaten by another's is undone, and its time with it."""
        mark, self.play.now_ms = self.marks[-1 - number % len(self.marks)]
        self.play.tree.undo_to(mark)

    def _settle(self, _: int) -> None:
        self.play.tree.settle()
        self.marks = [(self.play.tree.mark(), self.play.now_ms)]


@settings(max_examples=400)
@given(st.lists(steps, max_size=25))
def test_kept_or_fresh_it_is_the_same(sequence: list[tuple[Any, ...]]) -> None:
    there = board("a", "b", dependencies=["c", "d"]) | {"more": []}
    there["tasks"] += board("c", "d", area="u")["tasks"]
    story = Story(Play(there), lambda tree: tree.value["tasks"], ["value", "tasks"])
    for step in sequence:
        story.step(*step)


sub_steps = st.one_of(
    passing,
    st.tuples(st.just("claim"), agents, st.fixed_dictionaries({"count": st.integers(1, 3), "ttl_ms": st.just(500)})),
    st.tuples(st.just("claim"), agents, st.fixed_dictionaries({"where": st.just({"status": "pending"})})),
    st.tuples(st.sampled_from(["heartbeat", "release", "complete", "complete"]), agents, st.just({}), held),
    st.tuples(st.just("cancel"), agents, st.fixed_dictionaries({"id": st.sampled_from(["1", "1.2", "2", "2.1"])})),
    st.tuples(st.just("field"), st.integers(0, 1), st.tuples(st.just("status"), st.sampled_from(STATUSES))),
    st.tuples(st.just("field"), st.integers(0, 4), st.tuples(
        st.just("subtasks"), st.sampled_from([[], [{"id": 1}, {"id": 2, "dependencies": [1]}], None])
    )),
    st.tuples(st.just("sub"), st.integers(0, 9), st.sampled_from(STATUSES)),
    st.tuples(st.sampled_from(["remove", "swap", "rewind", "settle"]), st.integers(0, 9)),
)  # fmt: skip


@pytest.mark.parametrize("subtasks", ["own", "parent"])
@settings(max_examples=120)
@given(sequence=st.lists(sub_steps, max_size=15))
def test_with_subtasks_too(subtasks: str, sequence: list[tuple[Any, ...]]) -> None:
    play = Play(json.loads(TASKMASTER_TEXT), {**OWN, "subtasks": subtasks})
    at = ["value", "master", "tasks"]
    story = Story(play, lambda tree: tree.value["master"]["tasks"], at)
    for kind, *more in sequence:
        if kind != "sub":
            story.step(kind, *more)
            continue
        paths = [
            [*at, row, "subtasks", place, "status"]
            for row, one in enumerate(play.value["master"]["tasks"])
            for place in range(len(one["subtasks"] or ()))
        ]
        if paths:
            play.tree.put(paths[more[0] % len(paths)], more[1])
            story._compare()


def test_the_comparison_sees_an_index_that_is_not_kept_up() -> None:
    play = Play(board("a", "b"))
    play.names()
    play.tree.watchers.clear()
    with pytest.raises(AssertionError):
        play.names(count=2)


@pytest.mark.parametrize("toggled", [0, 1200])
def test_a_fold_that_is_given_up_takes_its_time_along(toggled: int) -> None:
    play = Play(board("a", "b", "c"))
    for name, epoch in play.claim(count=3):
        play.do("fail", id=name, epoch=epoch, error="", retryable=True, delay_ms=500)
    play.now_ms += 600
    assert play.do("claim", ids=[])["next_ms"] is None
    index = index_of(play.tree, play.spec)
    play.tree.replace(["value", "tasks", 1, "status"], "deferred")
    for at in range(toggled):  # more ended pauses than are remembered at a time
        play.tree.replace(["value", "tasks", 0, "status"], "pending" if at % 2 else "review")
        index.refresh(play.tree, play.now_ms)
    play.tree.replace(["value", "tasks", 1, "status"], "pending")
    assert play.names(ids=[]) == []
    play.now_ms -= 101
    assert play.do("claim", count=3) == {"tasks": [], "next_ms": NOW_MS + 500, "claimable": 0}
    play.now_ms += 1
    assert play.names(count=3) == ["a", "b", "c"]


def test_an_index_that_is_made_late_can_go_back_too() -> None:
    first = Play(board("a"))
    ((_, epoch),) = first.claim()
    first.do("fail", id="a", epoch=epoch, error="", retryable=True, delay_ms=500)
    play = Play(first.value, side=first.tree.side)
    play.now_ms += 600
    assert play.names(ids=[]) == []
    play.now_ms -= 101
    assert play.names() == []


def test_a_pause_that_is_over_otherwise_is_not_waited_for() -> None:
    play = Play(board("a"))
    ((_, epoch),) = play.claim()
    play.do("fail", id="a", epoch=epoch, error="", retryable=True, delay_ms=500)
    assert play.do("claim")["next_ms"] == NOW_MS + 500
    play.tree.replace(["value", "tasks", 0, "status"], "cancelled")
    assert play.do("claim")["next_ms"] is None


def test_a_claim_beside_that_somebody_else_changed() -> None:
    play = Play({"tasks": [{"id": "a"}, {"id": "b", "dependencies": ["gone"]}]})
    assert play.names(count=9) == ["a"]
    play.tree.put(["side", "board", "tasks", "gone"], {"state": "done", "epoch": 0, "attempts": 1, "holder": ""})
    assert play.names(count=9) == ["b"]


def test_another_table_beside_the_document() -> None:
    play = Play(board("a", "b"))
    play.names()
    side = copy.deepcopy(play.tree.side["board"])
    play.names()
    play.tree.replace(["value", "tasks", 1, "status"], "pending")
    assert play.names() == []
    play.tree.replace(["side", "board"], side)
    assert play.names() == ["b"]
    play.tree.replace(["side"], {})
    assert play.do("claim")["next_ms"] is None


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


def lines_of(action: Callable[[], Any]) -> int:
    """How many lines of Python an action runs: a measure that no other load disturbs."""
    count = 0

    def trace(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def cost(size: int, op: dict[str, Any]) -> int:
    """Lines for one operation, when others were done before."""
    fields = {"needs": ["x"], "area": "u", "dependencies": ["t0"]}
    many = [{"id": f"t{at}", **(fields if at else {"status": "done"})} for at in range(size)]
    tree = Tree({"tasks": many})
    for now_ms in range(3):
        apply(tree, {"do": "task.claim", "board": DEFAULT, "ttl_ms": 9000, **op}, Context(NOW_MS + now_ms, "w", "o", 1))
    last = {"do": "task.claim", "board": DEFAULT, "ttl_ms": 9000, **op}
    claim = lines_of(lambda: apply(tree, last, Context(NOW_MS + 3, "w", "o", 1)))
    context = Context(NOW_MS + 4, "w", "o", 1)
    end = {"do": "task.complete", "board": DEFAULT, "id": "t2", "epoch": 2, "result": 1}
    add = {"do": "task.add", "board": DEFAULT, "tasks": [{"dependencies": ["t1"]}]}
    return claim + lines_of(lambda: apply(tree, end, context)) + lines_of(lambda: apply(tree, add, context))


@pytest.mark.parametrize("op", [{}, {"needs": ["x", "y"]}, {"where": {"area": "u"}}], ids=["all", "needs", "where"])
def test_a_large_board_costs_what_a_small_one_does(op: dict[str, Any]) -> None:
    small, large = cost(20, op), cost(4000, op)
    assert large <= small * 1.2
    assert large < 1500


def test_undoing_does_not_read_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(board(*(f"t{at}" for at in range(200))))
    op = {"do": "task.claim", "board": DEFAULT, "ttl_ms": 9000, "count": 3}
    mark = tree.mark()
    first = copy.deepcopy(apply(tree, op, Context(NOW_MS, "w", "o", 1)))
    monkeypatch.setattr(Index, "_build", lambda *_: pytest.fail("built again"))
    for _ in range(3):
        tree.undo_to(mark)
        assert apply(tree, op, Context(NOW_MS, "w", "o", 1)) == first


def test_waiting_entries_of_a_queue_do_not_pile_up() -> None:
    tree = Tree({"tasks": [{"id": "top", "priority": "high"}, {"id": "low"}]})
    context = Context(NOW_MS, "w", "o", 1)
    for _ in range(400):
        apply(tree, {"do": "task.claim", "board": DEFAULT, "ttl_ms": 9000, "ids": ["low"]}, context)
        epoch = tree.side["board"]["epoch"]
        apply(tree, {"do": "task.release", "board": DEFAULT, "id": "low", "epoch": epoch}, context)
    (bucket,) = index_of(tree, DEFAULT).queues._buckets.values()
    assert len(bucket[""]._heap) + len(bucket[""]._line) < 100


def test_no_more_indexes_are_kept_than_a_few() -> None:
    tree = Tree({str(at): [{"id": "x"}] for at in range(30)})
    context = Context(NOW_MS, "w", "o", 1)
    for at in [*range(30), *range(30)]:
        op = {"do": "task.claim", "board": {"format": "list", "at": f"/{at}"}, "ttl_ms": 100}
        apply(tree, op, context)
    assert len(tree.watchers) == INDEXES_MAX
