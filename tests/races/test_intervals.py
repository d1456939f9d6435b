from __future__ import annotations

import itertools
import random

import pytest

from coordinator import BadValue
from coordinator.testing.intervals import Held, check_intervals


def test_holders_one_after_the_other_are_fine_however_they_are_told() -> None:
    turns = [Held(f"agent-{i}", 3 * i + 1, 100 * i, 100 * i + 90) for i in range(50)]
    random.Random(1).shuffle(turns)

    report = check_intervals(turns)

    assert report.ok
    assert str(report) == "50 stretches of 50 holders: 0 overlaps, 0 fences out of order"


def test_nothing_at_all_is_fine() -> None:
    assert check_intervals([]).ok


def test_one_that_begins_when_the_other_ends_is_no_overlap() -> None:
    assert check_intervals([Held("b", 2, 20, 30), Held("a", 1, 10, 20)]).ok


def test_an_overlap_is_told_with_who_and_for_how_long() -> None:
    first, second = Held("a", 1, 1_000_000, 5_000_000), Held("b", 4, 3_500_000, 9_000_000)

    report = check_intervals([second, first])

    assert not report.ok
    assert [(overlap.first, overlap.second, overlap.shared_ns) for overlap in report.overlaps] == [
        (first, second, 1_500_000)
    ]
    assert not report.disorders
    assert "overlap of 1.500 ms: a (fence 1) from 1.000 ms to 5.000 ms, and b (fence 4)" in str(report)


def test_one_long_stretch_overlaps_every_one_inside_it() -> None:
    outer = Held("long", 1, 0, 1000)
    inner = [Held(f"agent-{i}", i + 2, 10 * i + 1, 10 * i + 5) for i in range(5)]

    assert [overlap.second for overlap in check_intervals([*inner, outer]).overlaps] == inner


def test_a_moment_inside_another_ones_stretch_is_an_overlap() -> None:
    assert len(check_intervals([Held("a", 1, 0, 100), Held("b", 2, 50, 50)]).overlaps) == 1


def test_a_holder_that_overlaps_itself_is_an_overlap() -> None:
    assert len(check_intervals([Held("a", 1, 0, 100), Held("a", 1, 50, 150)]).overlaps) == 1


def test_a_fence_that_went_back_is_told_once() -> None:
    high, low, next_one = Held("a", 7, 0, 10), Held("b", 3, 20, 30), Held("c", 8, 40, 50)

    report = check_intervals([high, low, next_one])

    assert [(disorder.earlier, disorder.later) for disorder in report.disorders] == [(high, low)]
    assert "fence 3 came after 7: a (fence 7) from 0.000 ms to 0.000 ms, then b (fence 3)" in str(report)


def test_one_fence_for_two_holders_is_out_of_order() -> None:
    assert len(check_intervals([Held("a", 7, 0, 10), Held("b", 7, 20, 30)]).disorders) == 1


def test_one_grant_may_be_told_in_several_stretches() -> None:
    assert check_intervals([Held("a", 7, 0, 10), Held("a", 7, 20, 30), Held("b", 8, 30, 31)]).ok


def test_a_stretch_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(BadValue, match=r"a .fence 1. .* ends before it begins"):
        check_intervals([Held("a", 1, 10, 9)])


def test_a_long_report_is_cut_and_counted() -> None:
    lines = str(check_intervals([Held(f"agent-{i}", i, i, 1000) for i in range(30)])).splitlines()

    assert len(lines) == 22
    assert lines[-1] == "  and 415 more"


@pytest.mark.parametrize("seed", range(20))
def test_overlaps_are_exactly_those_that_a_comparison_of_all_pairs_finds(seed: int) -> None:
    chance = random.Random(seed)
    starts = [chance.randrange(200) for _ in range(40)]
    seen = [Held(f"agent-{i}", i, start, start + chance.randrange(1, 12)) for i, start in enumerate(starts)]

    found = {frozenset((overlap.first.fence, overlap.second.fence)) for overlap in check_intervals(seen).overlaps}

    assert found == {
        frozenset((a.fence, b.fence))
        for a, b in itertools.combinations(seen, 2)
        if a.from_ns < b.until_ns and b.from_ns < a.until_ns
    }
