"""A small explicit-state checker: goes through every state of a model, breadth first.

A model says where it begins, what may happen next, and what must never be. States are hashable values, best nested
tuples. Breadth first means that the trace to the first fault found is a shortest one. With ``progress`` the checker
also looks for states from which nothing leads to an end any more: a deadlock, or a loop that nobody can leave.
"""

from __future__ import annotations

import gc
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

S = TypeVar("S")

Label = tuple[Any, ...]  # who, a text with {} for each of the rest: made into words only for a trace


class Model(Protocol[S]):
    """What is checked."""

    def starts(self) -> Iterable[S]:
        """Where it begins."""
        ...

    def moves(self, state: S) -> Iterator[tuple[Label, S]]:
        """Everything that may happen next, one step of one process each."""
        ...

    def fault(self, state: S) -> str:
        """What is wrong with a state; empty when nothing is."""
        ...

    def is_done(self, state: S) -> bool:
        """Whether everybody has reached an end."""
        ...

    def told(self, state: S) -> str:
        """A state in one line, without what the processes have in mind."""
        ...


class Found(NamedTuple):
    """What came of it.

    Attributes:
        states: How many there are, or were gone through until a fault was found.
        steps: How many ways lead from one to another.
        depth: How many steps the longest of the shortest ways takes.
        fault: What is wrong; empty when nothing is.
        trace: The way to it, in words.
    """

    states: int
    steps: int
    depth: int
    fault: str
    trace: list[str]

    def __str__(self) -> str:
        """For people."""
        size = f"{self.states:,} states, {self.steps:,} steps, depth {self.depth}"
        if not self.fault:
            return f"no fault: {size}"
        return "\n".join([f"FAULT: {self.fault} ({size})", *(f"  {line}" for line in self.trace)])


class Checker(Generic[S]):
    """Goes through one model.

    Args:
        model: Which.
        progress: Look for states from which no end can be reached, too; costs memory for every step.
        states_max: Give up with MemoryError above this many.
    """

    def __init__(self, model: Model[S], *, progress: bool = False, states_max: int = 2_000_000) -> None:
        self._model = model
        self._progress = progress
        self._states_max = states_max
        self._numbers: dict[S, int] = {}  # in the order in which they were found
        self._states: list[S] = []
        self._parents = array("i")
        self._from = array("i")
        self._to = array("i")

    def run(self) -> Found:
        """Everything, or up to the first fault."""
        for state in self._model.starts():
            self._add(state, -1)
        steps, depth, level_end = 0, 0, len(self._states)
        number = 0
        fault_of, moves_of = self._model.fault, self._model.moves
        numbers, states = self._numbers, self._states
        while number < len(states):
            if number == level_end:
                depth, level_end = depth + 1, len(states)
            state = states[number]
            fault = fault_of(state)
            if fault:
                return self._found(number, steps, depth, fault)
            for _, after in moves_of(state):
                steps += 1
                known = numbers.get(after, -1)
                if known < 0:
                    known = self._add(after, number)
                if self._progress:
                    self._from.append(number)
                    self._to.append(known)
            number += 1
        stuck = self._stuck() if self._progress else -1
        if stuck >= 0:
            return self._found(stuck, steps, depth, "stuck: from here no end can be reached any more")
        return Found(len(states), steps, depth, "", [])

    def _add(self, state: S, parent: int) -> int:
        number = len(self._states)
        if number >= self._states_max:
            raise MemoryError(f"more than {self._states_max:,} states")
        self._numbers[state] = number
        self._states.append(state)
        self._parents.append(parent)
        return number

    def _stuck(self) -> int:
        """The first state from which no end can be reached; -1: there is none."""
        before: list[list[int]] = [[] for _ in self._states]
        for one, other in zip(self._from, self._to, strict=True):
            before[other].append(one)
        good = bytearray(len(self._states))
        to_do = [number for number, state in enumerate(self._states) if self._model.is_done(state)]
        for number in to_do:
            good[number] = 1
        while to_do:
            for number in before[to_do.pop()]:
                if not good[number]:
                    good[number] = 1
                    to_do.append(number)
        return good.find(0)

    def _found(self, number: int, steps: int, depth: int, fault: str) -> Found:
        path = [number]
        while self._parents[path[-1]] >= 0:
            path.append(self._parents[path[-1]])
        return Found(len(self._states), steps, depth, fault, self._words(path[::-1]))

    def _words(self, path: Sequence[int]) -> list[str]:
        states = [self._states[number] for number in path]
        lines = [f"{'at first':54} {self._model.told(states[0])}"]
        for i, (state, after) in enumerate(pairwise(states), 1):
            label = next(label for label, other in self._model.moves(state) if other == after)
            words = f"{i:2} {label[0]}: {str(label[1]).format(*label[2:])}"
            lines.append(f"{words:54} {self._model.told(after)}")
        return lines


def check(model: Model[S], *, progress: bool = False, states_max: int = 2_000_000) -> Found:
    """Exhausts a model, or finds a shortest way to a fault."""
    was_on = gc.isenabled()
    gc.disable()  # many small objects that stay, and no cycles: looking for some takes most of the time
    try:
        return Checker(model, progress=progress, states_max=states_max).run()
    finally:
        if was_on:
            gc.enable()
