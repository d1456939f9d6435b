"""What the tests of the checkers share: systems that are right, their histories, and a checker that tries all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from coordinator.testing.history import UNKNOWN, Operation
from coordinator.testing.linearizable_models import (
    Acquire,
    Add,
    Append,
    AppendLog,
    Cas,
    FencedLease,
    GrowingSet,
    Model,
    Read,
    Register,
    Release,
    Use,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VALUES = 3


# ── systems that do one thing at a time, written without the models ──────────────────────────────────────────────────


class TrueRegister:
    def __init__(self) -> None:
        self.value: Any = None

    def perform(self, asked: Any) -> Any:
        if isinstance(asked, Read):
            return self.value
        if isinstance(asked, Cas):
            if self.value != asked.expected:
                return False
            self.value = asked.value
            return True
        self.value = asked.value
        return None


class TrueLease:
    def __init__(self) -> None:
        self.last = 0
        self.holder = 0

    def perform(self, asked: Any) -> Any:
        if isinstance(asked, Acquire):
            if self.holder:
                return None
            self.last = self.holder = self.last + 2
            return self.holder
        is_held = asked.fence == self.holder != 0
        if is_held and isinstance(asked, Release):
            self.holder = 0
        return is_held


class TrueLog:
    def __init__(self) -> None:
        self.items: list[Any] = []

    def perform(self, asked: Any) -> Any:
        if isinstance(asked, Read):
            return tuple(self.items)
        self.items.append(asked.item)
        return len(self.items) - 1


class TrueSet:
    def __init__(self) -> None:
        self.items: set[Any] = set()

    def perform(self, asked: Any) -> Any:
        if isinstance(asked, Read):
            return frozenset(self.items)
        is_new = asked.item not in self.items
        self.items.add(asked.item)
        return is_new


class Kind(NamedTuple):
    """A model, the system that it is of, and what can be asked and answered there."""

    model: Model[Any]
    system: Callable[[], Any]
    asks: Callable[[random.Random], Any]
    answers: Callable[[random.Random, Any], Any]


def _ask_register(chance: random.Random) -> Any:
    one, other = chance.randrange(VALUES), chance.randrange(VALUES)
    return chance.choice([Read(), Write(one), Cas(one, other)])


def _answer_register(chance: random.Random, asked: Any) -> Any:
    if isinstance(asked, Read):
        return chance.choice([None, *range(VALUES)])
    return chance.random() < 0.6 if isinstance(asked, Cas) else None


def _ask_lease(chance: random.Random) -> Any:
    fence = 2 * chance.randrange(1, 4)
    return chance.choice([Acquire(), Acquire(), Release(fence), Use(fence)])


def _answer_lease(chance: random.Random, asked: Any) -> Any:
    return chance.choice([None, 2, 4, 6]) if isinstance(asked, Acquire) else chance.random() < 0.6


def _ask_log(chance: random.Random) -> Any:
    return chance.choice([Read(), Append(chance.randrange(VALUES))])


def _answer_log(chance: random.Random, asked: Any) -> Any:
    if isinstance(asked, Read):
        return tuple(chance.randrange(VALUES) for _ in range(chance.randrange(3)))
    return chance.choice([None, 0, 1])


def _ask_set(chance: random.Random) -> Any:
    return chance.choice([Read(), Add(chance.randrange(VALUES))])


def _answer_set(chance: random.Random, asked: Any) -> Any:
    if isinstance(asked, Read):
        return frozenset(chance.randrange(VALUES) for _ in range(chance.randrange(3)))
    return chance.choice([None, False, True])


KINDS: dict[str, Kind] = {
    "register": Kind(Register(), TrueRegister, _ask_register, _answer_register),
    "lease": Kind(FencedLease(takeover=False), TrueLease, _ask_lease, _answer_lease),
    "lease that runs out": Kind(FencedLease(), TrueLease, _ask_lease, _answer_lease),
    "log": Kind(AppendLog(), TrueLog, _ask_log, _answer_log),
    "set": Kind(GrowingSet(), TrueSet, _ask_set, _answer_set),
}


# ── histories ────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def true_histories(draw: st.DrawFn, kind: Kind, most: int = 40) -> list[Operation]:
    """Every operation takes effect at its own instant, 10 apart, somewhere between invocation and return."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    system = kind.system()
    operations = []
    for number in range(draw(st.integers(1, most))):
        instant = 1000 + 10 * number
        asked = kind.asks(chance)
        invoked, returned = instant - chance.randrange(60), instant + chance.randrange(60)
        if chance.random() < 0.15:
            if chance.random() < 0.5:
                system.perform(asked)
            operations.append(Operation(number, asked, UNKNOWN, invoked, None))
        else:
            operations.append(Operation(number, asked, system.perform(asked), invoked, returned))
    chance.shuffle(operations)
    return operations


def any_history(kind: Kind, chance: random.Random, most: int = 7) -> list[Operation]:
    """Whatever answers: some of them right, most of them not. Times are few, so that many are the same."""
    system = kind.system()
    operations = []
    for number in range(chance.randrange(1, most + 1)):
        asked = kind.asks(chance)
        right = system.perform(asked)
        answer = right if chance.random() < 0.8 else kind.answers(chance, asked)
        invoked = max(0, 3 * number - chance.randrange(12))
        returned = None if chance.random() < 0.25 else invoked + chance.randrange(12)
        operations.append(Operation(number, asked, answer if returned is not None else UNKNOWN, invoked, returned))
    return operations


def mostly_unheard(chance: random.Random) -> list[Operation]:
    """Of a register: first some that nobody heard of, and then some that can be explained by those, or not."""
    lost = [
        Operation(number, chance.choice([Write(one), Cas(one, chance.randrange(VALUES))]), UNKNOWN, number, None)
        for number, one in enumerate(chance.randrange(VALUES) for _ in range(chance.randrange(2, 5)))
    ]
    told = []
    for number in range(chance.randrange(2, 5)):
        asked = chance.choice([Read(), _ask_register(chance)])
        answer = chance.randrange(VALUES) if isinstance(asked, Read) else True if isinstance(asked, Cas) else None
        invoked = 10 + 4 * number - chance.randrange(12)
        told.append(Operation(10 + number, asked, answer, invoked, invoked + 3 + chance.randrange(6)))
    return [*lost, *told]


# ── trying everything ────────────────────────────────────────────────────────────────────────────────────────────────


def fits_by_force(model: Model[Any], needed: Sequence[Operation], optional: Sequence[Operation]) -> bool:
    """Whether any order does, by trying all that do not turn back time. For a handful of operations."""

    def fits(state: Any, needed: tuple[Operation, ...], optional: tuple[Operation, ...]) -> bool:
        if not needed:
            return True
        for one in needed + optional:
            rest = tuple(other for other in needed if other is not one)
            if any(other.returned is not None and other.returned < one.invoked for other in rest):
                continue
            may_be, after = model.step(state, one.asked, one.answer)
            if may_be and fits(after, rest, tuple(other for other in optional if other is not one)):
                return True
        return False

    return fits(model.initial(), tuple(needed), tuple(optional))


def is_linearizable_by_force(model: Model[Any], operations: Sequence[Operation]) -> bool:
    returned = [one for one in operations if one.returned is not None]
    return fits_by_force(model, returned, [one for one in operations if one.returned is None])


def assert_explains(model: Model[Any], order: Sequence[Operation], operations: Sequence[Operation]) -> None:
    """The order has everything that returned, turns back no time, and gives the answers that were given."""
    assert {id(one) for one in operations if one.returned is not None} <= {id(one) for one in order}
    assert len({id(one) for one in order}) == len(order)
    state, latest = model.initial(), 0
    for one in order:
        latest = max(latest, one.invoked)
        assert one.returned is None or latest <= one.returned
        fits, state = model.step(state, one.asked, one.answer)
        assert fits
