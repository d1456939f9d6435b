"""Leases, by hand and by chance: small histories of known verdicts, and stretches of time against all pairs."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.testing import (
    UNKNOWN,
    Acquire,
    FencedLease,
    Held,
    Operation,
    Release,
    Use,
    check_intervals,
    check_linearizable,
)


def asked(process: str, what: object, answer: object, invoked: int, returned: int | None) -> Operation:
    return Operation(process, what, answer, invoked, returned)


A_HOLDS = asked("a", Acquire(), 3, 0, 10)
B_TAKES_OVER = asked("b", Acquire(), 5, 20, 30)

# history; whether it may be so where leases run out; and where they do not
HISTORIES: dict[str, tuple[list[Operation], bool, bool]] = {
    "one after the other": ([A_HOLDS, asked("a", Release(3), True, 11, 15), B_TAKES_OVER], True, True),
    "taken over": ([A_HOLDS, B_TAKES_OVER], True, False),
    "the same fence twice": ([A_HOLDS, B_TAKES_OVER._replace(answer=3)], False, False),
    "a lower fence": ([A_HOLDS, B_TAKES_OVER._replace(answer=2)], False, False),
    "used after a takeover": ([A_HOLDS, B_TAKES_OVER, asked("a", Use(3), True, 40, 50)], False, False),
    "used while it is taken over": ([A_HOLDS, B_TAKES_OVER, asked("a", Use(3), True, 25, 50)], True, False),
    "refused after a takeover": ([A_HOLDS, B_TAKES_OVER, asked("a", Use(3), False, 40, 50)], True, False),
    "refused though it is held": ([A_HOLDS, asked("a", Use(3), False, 40, 50)], True, False),
    "busy though nobody holds it": ([B_TAKES_OVER._replace(answer=None)], False, False),
    "busy by one that never heard": (
        [asked("a", Acquire(), UNKNOWN, 0, None), B_TAKES_OVER._replace(answer=None)],
        True,
        True,
    ),
    "used by one that never heard of the release": (
        [A_HOLDS, asked("a", Release(3), UNKNOWN, 11, None), asked("a", Use(3), True, 40, 50)],
        True,
        True,
    ),
    "used after a release of unknown outcome that let another in": (
        [A_HOLDS, asked("a", Release(3), UNKNOWN, 11, None), B_TAKES_OVER, asked("a", Use(3), True, 40, 50)],
        False,
        False,
    ),
    "released twice": (
        [A_HOLDS, asked("a", Release(3), True, 11, 12), asked("a", Release(3), True, 13, 14)],
        False,
        False,
    ),
}


@pytest.mark.parametrize("case", HISTORIES)
def test_small_histories_of_a_lease_have_the_known_verdicts(case: str) -> None:
    operations, where_it_runs_out, where_it_does_not = HISTORIES[case]
    assert check_linearizable(FencedLease(), operations).ok == where_it_runs_out
    assert check_linearizable(FencedLease(takeover=False), operations).ok == where_it_does_not


stretches = st.builds(
    lambda holder, fence, begin, span: Held(f"agent-{holder}", fence, begin, begin + span),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 10),
)


@given(st.lists(stretches, max_size=8))
def test_overlaps_are_those_of_every_pair(seen: list[Held]) -> None:
    def share_time(one: Held, other: Held) -> bool:
        first, second = sorted((one, other), key=lambda held: (held.from_ns, held.until_ns, held.fence))
        return second.from_ns < first.until_ns

    report = check_intervals(seen)

    expected = sum(share_time(one, other) for one, other in combinations(seen, 2))
    assert len(report.overlaps) == expected
    assert all(overlap.shared_ns >= 0 for overlap in report.overlaps)
    assert report.ok == (not report.overlaps and not report.disorders)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=20), st.data())
def test_grants_one_after_the_other_are_accepted_until_one_begins_early(
    turns: list[tuple[int, int]], data: st.DataObject
) -> None:
    now, seen = 0, []
    for number, (pause, span) in enumerate(turns):
        seen.append(Held(f"agent-{number % 3}", number + 1, now + pause, now + pause + span + 1))
        now += pause + span + 1
    assert check_intervals(data.draw(st.permutations(seen))).ok

    if len(seen) > 1:
        place = data.draw(st.integers(1, len(seen) - 1))
        seen[place] = seen[place]._replace(from_ns=seen[place - 1].until_ns - 1)
        assert not check_intervals(seen).ok
