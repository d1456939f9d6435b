"""What the tests of the board share: a board that checks itself at every step."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Final

from coordinator.document.board import apply, stats_of, tasks_of, validate
from coordinator.document.outcome import Context, Rejected
from coordinator.document.tree import Tree

NOW_MS: Final = 1_000_000
DEFAULT: Final = {"format": "default"}
TASKMASTER_TEXT: Final = (Path(__file__).parent / "taskmaster.json").read_text(encoding="utf-8")


class Play:
    """Does operations one after the other, as a fold does.

    After each it is made sure that an index made afresh gives the same, that the edits repeat it on a copy, that
    undoing and doing it again changes nothing, and that the operation was left alone.
    """

    def __init__(
        self, value: Any = None, spec: dict[str, Any] | None = None, side: dict[str, Any] | None = None
    ) -> None:
        self.tree = Tree(copy.deepcopy(value), copy.deepcopy(side))
        self.spec: dict[str, Any] = dict(DEFAULT if spec is None else spec)
        self.now_ms = NOW_MS
        self.steps = 0
        self._given: list[tuple[dict[str, Any], str]] = []

    @property
    def value(self) -> Any:
        return self.tree.value

    def do(self, do: str, agent: str = "ann", **fields: Any) -> Any:
        """Does ``task.<do>``. A refusal is undone and raised."""
        self.steps += 1
        op = {"do": f"task.{do}", "board": dict(self.spec), **fields}
        if do in {"claim", "heartbeat"}:
            op.setdefault("ttl_ms", 1000)
        validate(op, "tasks.json")
        return self.decide(op, Context(self.now_ms, agent, f"operation{self.steps}", self.steps))

    def decide(self, op: dict[str, Any], context: Context) -> Any:
        self._given.append((op, text(op)))
        before = copy.deepcopy((self.tree.value, self.tree.side))
        expected = self._afresh(before, op, context)
        mark = self.tree.mark()
        outcomes = []
        for _ in range(2):
            self.tree.undo_to(mark)
            assert text(self.tree.roots) == text({"value": before[0], "side": before[1]})
            outcomes.append(_outcome(self.tree, op, context))
        for earlier, given in self._given:
            assert text(earlier) == given
        after = self.tree.value, self.tree.side
        for outcome in outcomes:
            assert text(outcome) == text(expected[0])
        if isinstance(outcomes[-1], Rejected):
            self.tree.undo_to(mark)
            raise outcomes[-1]
        assert text(after) == text(expected[1])
        edits = json.loads(json.dumps(self.tree.edits_since(mark)))
        copied = Tree(*before)
        for kind, path, *rest in edits:
            getattr(copied, kind)(path, *rest)
        assert text((copied.value, copied.side)) == text(after)
        return json.loads(json.dumps(outcomes[-1]))

    @staticmethod
    def _afresh(before: tuple[Any, Any], op: dict[str, Any], context: Context) -> tuple[Any, Any]:
        tree = Tree(*copy.deepcopy(before))
        return _outcome(tree, op, context), (tree.value, tree.side)

    # ── shorter ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, *tasks: dict[str, Any]) -> list[Any]:
        ids: list[Any] = self.do("add", tasks=list(tasks))["ids"]
        return ids

    def claim(self, agent: str = "ann", **fields: Any) -> list[tuple[str, int]]:
        return [(one["id"], one["epoch"]) for one in self.do("claim", agent, **fields)["tasks"]]

    def names(self, agent: str = "ann", **fields: Any) -> list[str]:
        return [name for name, _ in self.claim(agent, **fields)]

    def refused(self, do: str, agent: str = "ann", **fields: Any) -> Rejected:
        try:
            outcome = self.do(do, agent, **fields)
        except Rejected as rejected:
            return rejected
        raise AssertionError(f"{do} was not refused: {outcome}")

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {task["id"]: task for task in tasks_of(self.tree.value, self.tree.side, self.spec)}

    def status(self, name: str) -> str:
        status: str = self.tasks()[name]["status"]
        return status

    def stats(self) -> dict[str, Any]:
        return stats_of(self.tree.value, self.tree.side, self.spec, self.now_ms)


def _outcome(tree: Tree, op: dict[str, Any], context: Context) -> Any:
    try:
        return copy.deepcopy(apply(tree, op, context))
    except Rejected as rejected:
        return rejected


def text(value: Any) -> str:
    """A value as text, so that the order of keys counts and 1 is not True."""
    if isinstance(value, Rejected):
        return repr((value.why, value.text, value.winner, value.facts))
    return json.dumps(value)


def tasks(*names: str, **fields: Any) -> list[dict[str, Any]]:
    """Pending tasks of those ids."""
    return [{"id": name, "title": f"Task {name}", "status": "pending", **fields} for name in names]


def board(*names: str, **fields: Any) -> dict[str, Any]:
    return {"tasks": tasks(*names, **fields)}
