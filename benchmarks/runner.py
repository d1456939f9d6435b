"""Measures the sides of a trial in turns, and compares them.

A machine's speed drifts: other work, a warm cache, a full disk queue. So the sides of a trial are measured one after
the other, round by round, each round in another order, and a ratio is taken *within* a round. Medians over the rounds
are told, with their spread. Absolute figures are those of one machine at one time; the ratios are the result.

    Case ──< Trial ──< Side ──> measure(directory) -> {metric: figure}
                  └──< Target: a bound on a ratio of two sides, or on one side's own figure
"""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OURS: Final = "coordinator"


class NotInstalled(Exception):
    """A peer's library is missing: it is in the extra ``bench``, or was never meant to be installed with it."""


class Spread(NamedTuple):
    """A figure over the rounds: its median, and its least and greatest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Metric:
    """What a trial measures. ``better`` is ``more`` or ``less``."""

    key: str
    label: str
    unit: str
    better: str = "more"


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared. ``measure`` is given an empty directory of its own, which is removed afterwards."""

    name: str
    measure: Callable[[str], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of one side: its ratio to another side's figure, or its own figure if ``against`` is empty.

    Attributes:
        metric: Which figure.
        bound: At least, or at most, this.
        at_most: Which of the two.
        against: The side in the denominator.
        side: The side in the numerator.
        text: In words, when the bound alone does not say it.
    """

    metric: str
    bound: float
    against: str = ""
    at_most: bool = False
    side: str = OURS
    text: str = ""

    def asked(self) -> str:
        """The bound in words."""
        if self.text:
            return self.text
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {self.bound:g} x {self.against}" if self.against else f"{sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Trial:
    """Sides that are measured in turns.

    Attributes:
        key: Short, unique in a run, a file name: ``b6-crowd``.
        title: One line.
        metrics: The first is the one that is drawn.
        sides: In the order of the table; ``OURS`` among them, or several of ours (sizes, crowds).
        targets: What is asked.
        axis: For a series: its label, with ``points`` giving each side's place on it.
        points: Side name to (series, x): the sides of one series are joined by a line.
        note: What a reader has to know to read the figures.
    """

    key: str
    title: str
    metrics: Sequence[Metric]
    sides: Sequence[Side]
    targets: Sequence[Target] = ()
    axis: str = ""
    points: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the targets: ``key`` is its number (``B6``), ``trials`` makes its trials for a run's options."""

    key: str
    title: str
    trials: Callable[[Options], Sequence[Trial]]


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made.

    Attributes:
        directory: Where the sides' directories are made.
        rounds: How often each side is measured.
        quick: Small sizes and short times: whether it runs, rather than how fast it is.
    """

    directory: str
    rounds: int = 5
    quick: bool = False


@dataclass(slots=True)
class Outcome:
    """What was measured in a trial. ``failures`` names the sides that could not be, or gave wrong answers."""

    trial: Trial
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def figure(self, side: str, metric: str) -> Spread | None:
        """One side's figure; None if it was not measured."""
        found = self.samples.get(side, {}).get(metric)
        return spread(found) if found else None

    def ratio(self, metric: str, side: str, against: str) -> Spread | None:
        """One side's figure as a multiple of another's, taken round by round."""
        upper = self.samples.get(side, {}).get(metric, [])
        lower = self.samples.get(against, {}).get(metric, [])
        return ratio(upper, lower)

    def reached(self, target: Target) -> Spread | None:
        """What stands beside a target's bound."""
        if target.against:
            return self.ratio(target.metric, target.side, target.against)
        return self.figure(target.side, target.metric)

    def verdict(self, target: Target) -> str:
        """``met``, ``not met``, or ``not measured``."""
        reached = self.reached(target)
        if reached is None:
            return "not measured"
        met = reached.median <= target.bound if target.at_most else reached.median >= target.bound
        return "met" if met else "not met"


def spread(figures: Sequence[float]) -> Spread:
    """Median, least and greatest of at least one figure."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Spread | None:
    """The ratios of the rounds that both have; None if there are none.

    Figures that belong to one round stand at one index. A round whose denominator is 0 says nothing, and is left out.
    """
    ratios = [mine / other for mine, other in zip(upper, lower, strict=False) if other]
    return spread(ratios) if ratios else None


def quantile(ordered: Sequence[float], part: float) -> float:
    """The figure below which that part of the ordered figures lies (nearest rank)."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def in_turn(sides: Sequence[Side], number: int) -> list[Side]:
    """The sides in the order of a round: each round begins with the next, so that none always follows the same one."""
    start = number % len(sides) if sides else 0
    return [*sides[start:], *sides[:start]]


def run_trial(trial: Trial, options: Options, tell: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Measures a trial's sides, round by round.

    A side that fails is left out from then on, and its earlier figures with it: what gives wrong answers has no speed.
    """
    outcome = Outcome(trial)
    for number in range(options.rounds):
        for side in in_turn(trial.sides, number):
            if side.name in outcome.failures or side.name in outcome.missing:
                continue
            tell(f"{trial.key}, round {number + 1} of {options.rounds}: {side.name}")
            try:
                _measure(side, options, outcome)
            except NotInstalled as missing:
                outcome.missing[side.name] = str(missing)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be measured
                outcome.failures[side.name] = f"{type(error).__name__}: {error}"
                outcome.samples.pop(side.name, None)
    return outcome


def _measure(side: Side, options: Options, outcome: Outcome) -> None:
    directory = tempfile.mkdtemp(prefix="bench-", dir=options.directory)
    gc.collect()
    try:
        measured = side.measure(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    into = outcome.samples.setdefault(side.name, {})
    for metric, value in measured.items():
        into.setdefault(metric, []).append(float(value))
