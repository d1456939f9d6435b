from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from benchmarks.runner import (
    OURS,
    Metric,
    NotInstalled,
    Options,
    Outcome,
    Side,
    Spread,
    Target,
    Trial,
    in_turn,
    quantile,
    ratio,
    run_trial,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RATE = Metric("rate", "claims a second", "/s")


def outcome(ours: list[float], peer: list[float], *targets: Target) -> Outcome:
    trial = Trial("b0", "a trial", (RATE,), (), targets)
    return Outcome(trial, {OURS: {"rate": ours}, "peer": {"rate": peer}})


def fixed(name: str, *figures: float, seen: list[str] | None = None) -> Side:
    left = list(figures)

    def measure(directory: str) -> Mapping[str, float]:
        assert os.listdir(directory) == [], "each measurement has an empty directory of its own"
        with open(f"{directory}/left-behind", "w", encoding="utf-8"):
            pass
        if seen is not None:
            seen.append(name)
        return {"rate": left.pop(0)}

    return Side(name, measure)


def test_a_spread_is_the_median_and_both_ends() -> None:
    assert spread([5, 1, 3]) == Spread(3, 1, 5)
    assert spread([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)


def test_a_ratio_is_taken_within_each_round() -> None:
    # A machine that slows down tenfold changes both sides of a round, and no ratio.
    assert ratio([200, 20, 2], [100, 10, 1]) == Spread(2, 2, 2)
    assert ratio([10, 40], [10, 10]) == Spread(2.5, 1, 4)


def test_rounds_that_one_side_lacks_or_that_are_zero_say_nothing() -> None:
    assert ratio([10, 40], [5]) == Spread(2, 2, 2)
    assert ratio([10, 40], [0, 10]) == Spread(4, 4, 4)
    assert ratio([], [1]) is None
    assert ratio([1], [0]) is None


def test_a_quantile_is_one_of_the_figures() -> None:
    figures = [float(number) for number in range(100)]
    assert quantile(figures, 0.99) == 99
    assert quantile(figures, 0.5) == 50
    assert quantile([7.0], 0.99) == 7


@pytest.mark.parametrize(
    ("bound", "at_most", "verdict"),
    [(2.0, False, "met"), (2.1, False, "not met"), (2.0, True, "met"), (1.9, True, "not met")],
)
def test_a_target_is_held_against_the_median_ratio(bound: float, at_most: bool, verdict: str) -> None:
    found = outcome([2, 4, 6], [2, 2, 2])
    assert found.verdict(Target("rate", bound, "peer", at_most=at_most)) == verdict


def test_a_target_without_a_peer_is_held_against_the_figure_itself() -> None:
    found = outcome([2, 4, 6], [1, 1, 1])
    assert found.verdict(Target("rate", 4)) == "met"
    assert found.verdict(Target("rate", 4.5)) == "not met"


def test_what_was_not_measured_is_neither_met_nor_not() -> None:
    found = outcome([2], [1])
    assert found.verdict(Target("rate", 1, "somebody else")) == "not measured"
    assert found.verdict(Target("p99", 1)) == "not measured"


def test_what_is_asked_reads_as_a_sentence() -> None:
    assert Target("rate", 20, "flock").asked() == "≥ 20 x flock"
    assert Target("rate", 0.5, at_most=True).asked() == "≤ 0.5"
    assert Target("rate", 0.5, text="half of it").asked() == "half of it"


def test_every_round_begins_with_another_side() -> None:
    sides = [fixed(name) for name in "abc"]
    order = ["".join(side.name for side in in_turn(sides, number)) for number in range(4)]
    assert order == ["abc", "bca", "cab", "abc"]


def test_sides_are_measured_in_turns_in_directories_that_do_not_stay(tmp_path: Path) -> None:
    seen: list[str] = []
    sides = [fixed(OURS, 2, 6, seen=seen), fixed("peer", 1, 2, seen=seen)]
    found = run_trial(Trial("b0", "a trial", (RATE,), sides), Options(str(tmp_path), rounds=2))
    assert seen == [OURS, "peer", "peer", OURS]
    assert found.ratio("rate", OURS, "peer") == Spread(2.5, 2, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_side_that_fails_has_no_figures_and_stops_nobody_else(tmp_path: Path) -> None:
    sides = [fixed(OURS, 2), fixed("peer", 1, 2, 3)]  # ours has nothing left in the second round
    found = run_trial(Trial("b0", "a trial", (RATE,), sides), Options(str(tmp_path), rounds=3))
    assert found.failures == {OURS: "IndexError: pop from empty list"}
    assert found.figure(OURS, "rate") is None
    assert found.figure("peer", "rate") == Spread(2, 1, 3)


def test_a_side_whose_library_is_missing_is_left_out_and_is_no_failure(tmp_path: Path) -> None:
    def measure(_directory: str) -> Mapping[str, float]:
        raise NotInstalled("it is not installed")

    found = run_trial(Trial("b0", "a trial", (RATE,), [Side("peer", measure)]), Options(str(tmp_path), rounds=2))
    assert found.missing == {"peer": "it is not installed"}
    assert not found.failures
