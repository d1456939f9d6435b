"""The protocol, gone through state by state: as it is, nothing is ever lost; with any rule left out, something is.

Run with ``-s`` to read how many states there are, and the shortest way to each fault. Three models, each of one part:

    chain_model      P1, P3, P7, P15, P18    put if absent, lost and late replies, leases, collection of the chain
    failover_model   P3, P29, P30            mount to table, back, and again, while clients go on
    retire_model     P25, P27                folding, and the retiring of logs
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from model import chain_state, moving, retire_model
from model.chain_model import ChainModel
from model.checker import check
from model.failover_model import FailoverModel
from model.moving import MOUNT, TABLE
from model.retire_model import RetireModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from model.checker import Found, Label, Model


# ── the checker ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Counters:
    """Two count a shared number up by reading and writing it: the oldest of all races. ``trap``: 9 leads nowhere."""

    trap: bool = False

    def starts(self) -> Iterable[tuple[int, int, int]]:
        yield 0, -1, -1

    def is_done(self, state: tuple[int, int, int]) -> bool:
        return state[1:] == (-2, -2)

    def told(self, state: tuple[int, int, int]) -> str:
        return str(state[0])

    def fault(self, state: tuple[int, int, int]) -> str:
        return "counted wrong" if not self.trap and self.is_done(state) and state[0] != 2 else ""

    def moves(self, state: tuple[int, int, int]) -> Iterator[tuple[Label, tuple[int, int, int]]]:
        number, *seen = state
        for i, had in enumerate(seen):
            if had == -1:
                yield (i, "reads {}", number), (number, *seen[:i], number, *seen[i + 1 :])  # type: ignore[misc]
            elif had >= 0:
                yield (i, "writes {}", had + 1), (had + 1, *seen[:i], -2, *seen[i + 1 :])  # type: ignore[misc]
        if self.trap and number == 1:
            yield ("trap", "closes"), (9, 5, 5)
        if self.trap and number == 9:
            yield ("trap", "goes round"), (9, 5, 6)


def test_the_checker_finds_a_shortest_way_to_a_fault() -> None:
    found = check(Counters())
    assert found.fault == "counted wrong"
    assert [line.split()[1:3] for line in found.trace[1:]] == [["0:", "reads"], ["1:", "reads"]] + [
        [f"{i}:", "writes"] for i in (0, 1)
    ]


def test_the_checker_finds_where_nothing_leads_on() -> None:
    class Trapped(Counters):
        def moves(self, state: tuple[int, int, int]) -> Iterator[tuple[Label, tuple[int, int, int]]]:
            return ((label, after) for label, after in super().moves(state) if state[0] != 9 or after[0] == 9)

    assert not check(Trapped(trap=True)).fault
    found = check(Trapped(trap=True), progress=True)
    assert found.fault.startswith("stuck")
    assert "trap: closes" in found.trace[-1]


def test_the_checker_gives_up_rather_than_fill_the_memory() -> None:
    with pytest.raises(MemoryError, match="more than 5 states"):
        check(Counters(), states_max=5)


# ── the protocol as it is ────────────────────────────────────────────────────────────────────────────────────────────


def _failover(born: int) -> dict[str, Callable[[], Model[Any]]]:
    name = f"born on the {moving.STORE_NAMES[born]}"
    return {
        f"failover {name}: two, three moves": lambda: FailoverModel("pp", (1, 1), epochs=4, born=born),
        f"failover {name}: a new name": lambda: FailoverModel("pp", (1, 1), epochs=4, born=born, empty=True),
        f"failover {name}: two each, a late reply": lambda: FailoverModel("pp", (2, 2), epochs=3, born=born, losses=1),
        f"failover {name}: a holder": lambda: FailoverModel("hp", (1, 2), epochs=3, born=born),
        f"failover {name}: three": lambda: FailoverModel("ppp", (1, 1, 1), epochs=3, born=born, empty=True),
    }


AS_IT_IS: dict[str, Callable[[], Model[Any]]] = {
    "chain: two putters, two each": lambda: ChainModel("pp", (2, 2), losses=2),
    "chain: three putters": lambda: ChainModel("ppp", (1, 1, 1), losses=1),
    "chain: killed and begun anew": lambda: ChainModel("ppc", (1, 1, 1), losses=1, kills=1),
    "chain: holder and putter": lambda: ChainModel("hp", (2, 2), losses=1),
    "chain: a holder, collected": lambda: ChainModel("hpc", (1, 1, 1), losses=1),
    "chain: read while collected": lambda: ChainModel("ppcr", (2, 1, 1, 1)),
    "chain: collected twice": lambda: ChainModel("ppc", (1, 3, 2)),
    "chain: two collectors": lambda: ChainModel("ppcc", (1, 1, 1, 1), losses=1),
    **_failover(MOUNT),
    **_failover(TABLE),
    "retire: one writer, two compactors": lambda: RetireModel((2,), (3, 1)),
    "retire: two writers": lambda: RetireModel((1, 1), (4,)),
    "retire: two and two": lambda: RetireModel((1, 1), (2, 1), whole=True),
}


@pytest.mark.parametrize("name", AS_IT_IS)
def test_nothing_is_lost_and_nobody_is_stuck(name: str) -> None:
    found = check(AS_IT_IS[name](), progress=not name.startswith("retire"))
    print(f"\n{name}: {found}")  # noqa: T201 - how much was gone through is what this test is worth
    assert not found.fault, str(found)
    assert found.states > 300, "the model hardly moves: something switches it off"


@pytest.mark.parametrize("born", [MOUNT, TABLE])
def test_two_holders_never_have_one_fence(born: int) -> None:
    # They may take the lease from each other for ever: up to some n is enough, and an end is not what is asked here.
    found = check(FailoverModel("hh", (1, 1), epochs=3, born=born, n_max=6))
    print(f"\n{found}")  # noqa: T201 - as above
    assert not found.fault, str(found)


# ── with one rule left out ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Mutant:
    """A model with rules switched off, and what has to come of it."""

    rules: tuple[str, ...]
    model: Callable[[Any], Model[Any]]
    fault: str


LOST, DOUBLED = "acknowledged, and lost", "doubled"
NOT_ITS = "was acknowledged to"

CHAIN_MUTANTS = {
    "own request not recognised": Mutant(
        ("knows_own",), lambda r: ChainModel("pp", (1, 1), losses=1, rules=r), DOUBLED
    ),
    "tried again as a new request": Mutant(
        ("same_request",), lambda r: ChainModel("pp", (1, 1), losses=1, rules=r), DOUBLED
    ),
    "looks, then lists": Mutant(("lists_then_looks",), lambda r: ChainModel("pp", (1, 1), losses=1, rules=r), DOUBLED),
    "stale holder not fenced": Mutant(("checks_fence",), lambda r: ChainModel("hp", (1, 1), rules=r), LOST),
    "no look at the floor": Mutant(("checks_floor",), lambda r: ChainModel("ppc", (1, 2, 1), rules=r), NOT_ITS),
    "deletes before raising the floor": Mutant(
        ("floor_first",), lambda r: ChainModel("ppc", (1, 2, 1), rules=r), NOT_ITS
    ),
    "archives what was put below the floor": Mutant(
        ("archives_records",), lambda r: ChainModel("ppcc", (1, 2, 1, 1), rules=r), NOT_ITS
    ),
    "believes the chain before the archive": Mutant(
        ("archive_first",), lambda r: ChainModel("ppc", (1, 3, 2), rules=r), NOT_ITS
    ),
    "reads what was put below the floor": Mutant(
        ("reads_whole",), lambda r: ChainModel("ppcr", (1, 2, 1, 1), rules=r), "never was the newest"
    ),
}
FAILOVER_MUTANTS = {
    "no seal": Mutant(("seals",), lambda r: FailoverModel("pp", (1, 1), epochs=2, rules=r), LOST),
    "import overwrites": Mutant(
        ("imports_if_unchanged",), lambda r: FailoverModel("pp", (1, 1), epochs=2, rules=r), LOST
    ),
    "OPENED right above SEALED": Mutant(
        ("opens_above_mark",), lambda r: FailoverModel("hh", (1, 1), epochs=3, n_max=6, rules=r), "was granted after"
    ),
    "opened without closing the item": Mutant(
        ("marks_before_opening",), lambda r: FailoverModel("pp", (1, 1), epochs=3, rules=r), LOST
    ),
    "acts on a rule that is over": Mutant(
        ("asks_if_behind",), lambda r: FailoverModel("pp", (1, 1), epochs=3, rules=r), LOST
    ),
    "a new name on the mount, the table not closed to it": Mutant(
        ("marks_new_names",),
        lambda r: FailoverModel("pp", (1, 1), epochs=2, born=TABLE, empty=True, rules=r),
        LOST,
    ),
    "a seal where no chain ever was": Mutant(
        ("seals_chains_only",),
        lambda r: FailoverModel("pp", (1, 1), epochs=3, born=TABLE, empty=True, rules=r),
        LOST,
    ),
}
RETIRE_MUTANTS = {
    "log read before its fence stands": Mutant(
        ("fences_first",), lambda r: RetireModel((2,), (3,), whole=True, rules=r), LOST
    ),
    "ended, though not read to its end": Mutant(
        ("ends_what_it_read",), lambda r: RetireModel((2,), (3,), rules=r), LOST
    ),
    "fenced, and not submitted again": Mutant(
        ("resubmits",), lambda r: RetireModel((2,), (3,), whole=True, rules=r), LOST
    ),
    "submitted again under a new id": Mutant(
        ("same_id",), lambda r: RetireModel((2,), (3,), whole=True, rules=r), DOUBLED
    ),
    "ids not known": Mutant(("knows_ids",), lambda r: RetireModel((2,), (3,), whole=True, rules=r), DOUBLED),
    "log deleted by its age alone": Mutant(
        ("fences_orphans",), lambda r: RetireModel((1,), (2,), whole=True, rules=r), LOST
    ),
}
MUTANTS: dict[str, tuple[Any, Mutant]] = {
    **{f"chain: {name}": (chain_state.Rules, mutant) for name, mutant in CHAIN_MUTANTS.items()},
    **{f"failover: {name}": (moving.Rules, mutant) for name, mutant in FAILOVER_MUTANTS.items()},
    **{f"retire: {name}": (retire_model.Rules, mutant) for name, mutant in RETIRE_MUTANTS.items()},
}


@pytest.mark.parametrize("name", MUTANTS)
def test_with_a_rule_left_out_something_is_lost(name: str) -> None:
    rules, mutant = MUTANTS[name]
    kept = check(mutant.model(rules()))
    assert not kept.fault, f"it is not the rule that matters: {kept}"
    found = check(mutant.model(rules()._replace(**dict.fromkeys(mutant.rules, False))))
    print(f"\n{name}: {found}")  # noqa: T201 - the shortest way there, for people
    assert mutant.fault in found.fault, str(found)
    assert len(found.trace) == int(found.trace[-1].split()[0]) + 1, "every step is told"


def test_every_rule_is_left_out_once() -> None:
    for rules in (chain_state.Rules, moving.Rules, retire_model.Rules):
        left_out = {rule for kind, mutant in MUTANTS.values() if kind is rules for rule in mutant.rules}
        assert left_out == {*rules._fields}


def test_a_trace_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    mutant = FAILOVER_MUTANTS["no seal"]
    found: Found = check(mutant.model(moving.Rules(seals=False)))
    print(found)  # noqa: T201 - as a person would see it
    told = capsys.readouterr().out
    assert "FAULT: acknowledged, and lost: {a1}" in told
    assert "operator: gives the rule to the table" in told
    assert "B: puts 2:import.2 {} into the table" in told
