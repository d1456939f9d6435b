"""What a system is checked against: how it would answer if it did one thing at a time.

    class Counter(Model[int]):
        def initial(self) -> int:
            return 0

        def step(self, state: int, asked: Any, answer: Any) -> tuple[bool, int]:
            return answer in {state + 1, UNKNOWN}, state + 1

Ready: ``Register``, ``FencedLease``, ``AppendLog``, ``GrowingSet``. States are immutable and hashable, and equal when
nothing that is asked later can tell them apart.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from coordinator.testing.history import UNKNOWN

S = TypeVar("S")


class Model(abc.ABC, Generic[S]):
    """A system that does one thing at a time. Pure: no method may keep anything."""

    @abc.abstractmethod
    def initial(self) -> S:
        """The state before anything was asked."""

    @abc.abstractmethod
    def step(self, state: S, asked: Any, answer: Any) -> tuple[bool, S]:
        """Whether this may be answered so in this state, and the state afterwards.

        Args:
            state: Before.
            asked: What was asked.
            answer: What the client was told, or ``UNKNOWN``: then any answer is fine, and the state is the one after it
                was carried out (that it never was is for the checker to try).
        """

    def observes(self, asked: Any, answer: Any) -> bool:  # noqa: ARG002 - the default needs neither
        """Whether this leaves every state as it is in which it may be answered so: a read, a refusal.

        Such an operation is put wherever it fits first, without looking further: saying so for reads makes a check of
        many clients several times as fast. False is always right.
        """
        return False

    def told(self, asked: Any, answer: Any) -> str:
        """One operation, for the report."""
        answered = "?" if answer is UNKNOWN else repr(answer)
        return str(asked) if answer is None and not isinstance(asked, Read) else f"{asked} -> {answered}"


# ── a register ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Read:
    """Answered with all there is: a register's value, a log as a tuple, a set as a frozenset."""

    def __str__(self) -> str:
        return "read"


@dataclass(frozen=True, slots=True)
class Write:
    """Answered with anything."""

    value: Any

    def __str__(self) -> str:
        return f"write {self.value!r}"


@dataclass(frozen=True, slots=True)
class Cas:
    """Compare and set: answered with whether the value was the expected one, and so was replaced."""

    expected: Any
    value: Any

    def __str__(self) -> str:
        return f"cas {self.expected!r} to {self.value!r}"


class Register(Model[Any]):
    """One value: ``Read``, ``Write``, ``Cas``.

    Args:
        initial: The value at the beginning.
    """

    def __init__(self, initial: Any = None) -> None:
        self._initial = initial

    def initial(self) -> Any:
        """See Model."""
        return self._initial

    def step(self, state: Any, asked: Any, answer: Any) -> tuple[bool, Any]:
        """See Model."""
        kind = type(asked)
        if kind is Read:
            return answer is UNKNOWN or answer == state, state
        if kind is Write:
            return True, asked.value
        if state == asked.expected:
            return answer is UNKNOWN or bool(answer), asked.value
        return answer is UNKNOWN or not answer, state

    def observes(self, asked: Any, answer: Any) -> bool:
        """See Model."""
        return type(asked) is Read or (type(asked) is Cas and answer is not UNKNOWN and not answer)


# ── a lease ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Acquire:
    """Answered with the fence (a number above all fences before), or None: somebody else holds it."""

    def __str__(self) -> str:
        return "acquire"


@dataclass(frozen=True, slots=True)
class Release:
    """Answered with whether that fence's lease was held, and so was ended."""

    fence: int

    def __str__(self) -> str:
        return f"release {self.fence}"


@dataclass(frozen=True, slots=True)
class Use:
    """Anything that is done under a lease (check, renew, a fenced write): answered with whether it was accepted."""

    fence: int

    def __str__(self) -> str:
        return f"use {self.fence}"


class LeaseState(NamedTuple):
    """A lease, as far as it can be known.

    Attributes:
        fence: Of the newest grant; or, while ``is_exact`` is false, the lowest that it may have.
        is_exact: False after a grant of which nobody was told the fence.
        not_these: Fences that it does not have, since they were refused; while not exact.
        is_held: Whether the newest grant still stands.
    """

    fence: int = 0
    is_exact: bool = True
    not_these: frozenset[int] = frozenset()
    is_held: bool = False


class FencedLease(Model[LeaseState]):
    """One lease with fences: ``Acquire``, ``Release``, ``Use``. At most one fence is the holder's; fences grow.

    Args:
        takeover: Whether a lease may run out: then an ``Acquire`` may be granted while it is held (the one before is
            the holder's no more), and ``Use`` and ``Release`` may be refused for being late at any time; but never
            accepted after a takeover. False: whatever was acquired is held until it is released.
    """

    def __init__(self, *, takeover: bool = True) -> None:
        self._takeover = takeover

    def initial(self) -> LeaseState:
        """See Model."""
        return LeaseState()

    def step(self, state: LeaseState, asked: Any, answer: Any) -> tuple[bool, LeaseState]:
        """See Model."""
        if type(asked) is Acquire:
            return self._acquire(state, answer)
        if answer is UNKNOWN:  # carried out, if it could be
            fits, after = self._under(state, asked, accepted=True)
            return True, after if fits else state
        return self._under(state, asked, accepted=bool(answer))

    def observes(self, asked: Any, answer: Any) -> bool:
        """See Model: refusals, where they tell nothing of what the fence is."""
        refused = answer is not UNKNOWN and not answer
        return refused and (type(asked) is Acquire or self._takeover)

    def _acquire(self, state: LeaseState, answer: Any) -> tuple[bool, LeaseState]:
        if not answer:
            return state.is_held, state
        if state.is_held and not self._takeover:
            return answer is UNKNOWN, state
        if answer is UNKNOWN:
            return True, LeaseState(_lowest(state) + 1, is_exact=False, is_held=True)
        return answer > _lowest(state), LeaseState(answer, is_held=True)

    def _under(self, state: LeaseState, asked: Any, *, accepted: bool) -> tuple[bool, LeaseState]:
        """What is done under a fence: accepted for the newest one only, and while it stands."""
        fence: int = asked.fence
        may_be_it = fence == state.fence if state.is_exact else fence >= state.fence and fence not in state.not_these
        if accepted:
            return state.is_held and may_be_it, LeaseState(fence, is_held=type(asked) is Use)
        if self._takeover or not state.is_held or not may_be_it:
            return True, state
        if state.is_exact:
            return False, state
        return True, state._replace(not_these=state.not_these | {fence})


def _lowest(state: LeaseState) -> int:
    """The lowest fence that the newest grant may have."""
    fence = state.fence
    while fence in state.not_these:
        fence += 1
    return fence


# ── what only grows ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Append:
    """To a log: answered with the item's position, from 0, or with None when that is not told."""

    item: Any

    def __str__(self) -> str:
        return f"append {self.item!r}"


class AppendLog(Model[tuple[Any, ...]]):
    """A list to which items are only appended: ``Append``; ``Read`` gives all of it, as a tuple or a list."""

    def initial(self) -> tuple[Any, ...]:
        """See Model."""
        return ()

    def step(self, state: tuple[Any, ...], asked: Any, answer: Any) -> tuple[bool, tuple[Any, ...]]:
        """See Model."""
        if type(asked) is Read:
            return answer is UNKNOWN or state == tuple(answer), state
        return answer is UNKNOWN or answer is None or answer == len(state), (*state, asked.item)

    def observes(self, asked: Any, answer: Any) -> bool:  # noqa: ARG002 - whatever was read
        """See Model."""
        return type(asked) is Read


@dataclass(frozen=True, slots=True)
class Add:
    """To a set: answered with whether the item is new there, or with None when that is not told."""

    item: Any

    def __str__(self) -> str:
        return f"add {self.item!r}"


class GrowingSet(Model[frozenset[Any]]):
    """A set from which nothing is taken: ``Add``; ``Read`` gives all of it."""

    def initial(self) -> frozenset[Any]:
        """See Model."""
        return frozenset()

    def step(self, state: frozenset[Any], asked: Any, answer: Any) -> tuple[bool, frozenset[Any]]:
        """See Model."""
        if type(asked) is Read:
            return answer is UNKNOWN or state == frozenset(answer), state
        is_new = asked.item not in state
        return answer is UNKNOWN or answer is None or answer == is_new, state | {asked.item} if is_new else state

    def observes(self, asked: Any, answer: Any) -> bool:
        """See Model."""
        return type(asked) is Read or (type(asked) is Add and answer is False)
