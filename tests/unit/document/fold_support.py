"""What the tests of folding share: operations of every kind drawn at random, and states that can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from support import an_id

from coordinator.document.fold import Operation
from coordinator.document.state import NO_BASE, State

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW_MS: Final = 1_790_000_000_000
BOARD: Final = {"format": "default"}
DOCUMENT: Final = {"n": 0, "list": [1, 2], "map": {"a": {"b": 1}}, "tasks": [{"id": "t0", "status": "pending"}]}

_KEYS = st.sampled_from(["n", "m", "map", "list", "new"])
_SCALARS = st.sampled_from([None, True, 0, 1, 2**63, 2**70, -1.5, "text", "ö\t\x7f☃", ""])
_VALUES: st.SearchStrategy[Any] = st.one_of(_SCALARS, st.just([]), st.just({"a": [1]}), st.lists(_SCALARS, max_size=2))
_PATHS = st.sampled_from(
    ["/n", "/m", "/new", "/list", "/list/0", "/list/1", "/list/-", "/map", "/map/a", "/map/a/b", "/map/c", "/x/y"]
)
_STEPS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": _PATHS, "value": _VALUES}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": _PATHS}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "from": _PATHS, "path": _PATHS}),
)
_PATCHES = st.builds(lambda steps: {"do": "patch", "patch": steps}, st.lists(_STEPS, min_size=1, max_size=4))
_MERGES = st.builds(
    lambda patch: {"do": "merge", "patch": patch},
    st.dictionaries(_KEYS, st.one_of(_VALUES, st.dictionaries(_KEYS, _VALUES, max_size=2)), max_size=3),
)
_NAMES = st.sampled_from([f"t{i}" for i in range(4)])
_EPOCHS = st.integers(1, 4)
_TTLS = st.sampled_from([1000, 60_000])


def _task(do: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"do": st.just(f"task.{do}"), "board": st.just(BOARD), **fields})


_ADDITIONS = st.builds(
    lambda name, needs: {"id": name, "status": "pending", "dependencies": needs},
    _NAMES,
    st.lists(_NAMES, max_size=1),
)
_TASKS = st.one_of(
    _task("add", tasks=st.lists(_ADDITIONS, min_size=1, max_size=2)),
    _task("claim", ttl_ms=_TTLS),
    _task("claim", ttl_ms=_TTLS, count=st.integers(1, 3)),
    _task("heartbeat", id=_NAMES, epoch=_EPOCHS, ttl_ms=_TTLS),
    _task("complete", id=_NAMES, epoch=_EPOCHS, result=_VALUES),
    _task("fail", id=_NAMES, epoch=_EPOCHS, error=st.just("no"), retryable=st.booleans(), delay_ms=st.just(0)),
    _task("release", id=_NAMES, epoch=_EPOCHS),
    _task("cancel", id=_NAMES),
)

OPS: Final = st.one_of(_PATCHES, _MERGES, _TASKS)
"""Operations that do not ask for a revision."""

OPS_OF_REVISIONS: Final = st.one_of(OPS, st.builds(lambda op, n: {**op, "if": n}, _MERGES, st.integers(0, 4)))
"""Some that do, too."""


def incarnation_of(agent: int) -> str:
    return an_id(700 + agent)


def operation(number: int, op: dict[str, Any], *, agent: int = 1, at_ms: int = NOW_MS, same_as: int = 0) -> Operation:
    """An operation of an agent's log; ``same_as``: it has the id of another."""
    op_id = an_id(same_as or number)
    return Operation(at_ms, incarnation_of(agent), number, f"agent-{agent}", op_id, op)


@st.composite
def sequences(draw: st.DrawFn, *, max_size: int = 14) -> list[Operation]:
    """Operations of three agents in one order; some are there twice."""
    ops = draw(st.lists(OPS, min_size=1, max_size=max_size))
    found = []
    for number, op in enumerate(ops, 1):
        again = draw(st.integers(1, number - 1)) if number > 1 and draw(st.integers(0, 5)) == 0 else 0
        op = ops[again - 1] if again else op  # noqa: PLW2901 - a retry is the same operation
        found.append(operation(number, op, agent=draw(st.integers(1, 3)), same_as=again))
    return found


@dataclass
class Folds:
    """A document in memory, folded again and again as the compactor does it, without files."""

    state: State = field(default_factory=State)
    receipts: list[list[Any]] = field(default_factory=list)

    @classmethod
    def of(cls, value: Any = DOCUMENT) -> Folds:
        folds = cls()
        folds.state.set_base(NO_BASE._replace(revision=1), json.dumps(value).encode(), "tasks.json")
        return folds

    def take(self, outcomes: list[list[Any]]) -> None:
        """What was folded stands."""
        self.receipts += outcomes
        self.state.revision += 1
        self.state.tree.settle()
        for op_id, _, _, _, outcome, _, _ in outcomes:
            if outcome != "again":
                self.state.ids[op_id] = (self.state.revision, outcome)

    @property
    def told(self) -> str:
        """Content, what is kept beside it, remembered operations and receipts; without revisions."""
        ids = {op_id: outcome for op_id, (_, outcome) in self.state.ids.items()}
        return json.dumps([content_of(self.state), ids, [without_revisions(receipt) for receipt in self.receipts]])


def without_revisions(receipt: Sequence[Any]) -> list[Any]:
    op_id, agent, incarnation, seq, outcome, info, edits = receipt
    return [op_id, agent, incarnation, seq, outcome, info[1] if outcome == "again" else info, edits]


def content_of(state: State) -> str:
    """Content and side table as text, so that the order of keys counts and 1 is not True."""
    return json.dumps(state.tree.roots)


def everything_of(state: State) -> dict[str, Any]:
    """All that two processes have to agree on."""
    return {
        "content": content_of(state),
        "positions": {key: tuple(value) for key, value in sorted(state.positions.items())},
        "ids": list(state.ids.items()),
        "revision": state.revision,
        "at_ms": state.at_ms,
        "base": state.base,
        "malformed": state.malformed,
        "last": state.last,
    }
