"""``decide``, cell by cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from decide_support import ASKER, FIRST_IN_LINE, FREE, LIVE, MINE, OVER, REQUESTS, SEALED, SKEW_MS, SPENT
from support import NOW_MS, a_lease, a_record, an_id

from coordinator.record.decide import (
    TABLE,
    Acquire,
    Ask,
    Break,
    Commit,
    Decision,
    Detach,
    Leave,
    Put,
    Raise,
    Readings,
    Refusal,
    Release,
    Renew,
    Request,
    Resume,
    Standing,
    Transition,
    Why,
    decide,
    standing,
)
from coordinator.record.record import Head, Holding, Record, Waiter, encode

if TYPE_CHECKING:
    from collections.abc import Callable


HOLDERS: Final = {Renew, Release, Detach, Resume, Commit}


class Situation(NamedTuple):
    record: Record
    request: Request
    readings: Readings


def situation(verb: type, column: Standing) -> Situation:
    """A record and readings under which the verb's request has that standing."""
    detached = verb is Resume
    record = a_record(lease=a_lease(detached=detached), waiting=(FIRST_IN_LINE,))
    request, readings = REQUESTS[verb], Readings(NOW_MS, SKEW_MS)
    if column is FREE:
        record = replace(record, lease=None, freed_ms=NOW_MS - 400)
    elif column is SPENT:
        readings = readings._replace(held_ms=8000)
    elif column is SEALED:
        record = replace(record, kind="sealed")
    elif column in {LIVE, OVER} and verb in HOLDERS:
        request = replace(request, lease_id=an_id(50))
    if column is OVER:
        readings = readings._replace(now_ms=NOW_MS - 1000 + 10_000 + SKEW_MS + 1)
    return Situation(record, request, readings)


class Yes(NamedTuple):
    """The next record: its kind, its why, and how else it differs from the one before."""

    kind: str
    why: str = ""
    changes: Callable[[Situation], dict[str, Any]] = lambda _: {}


IMPOSSIBLE: Final = "impossible"


def new_lease(case: Situation) -> dict[str, Any]:
    now_ms = case.readings.now_ms
    lease = Holding(8, ASKER.request, "asker", ASKER.incarnation, 20_000, now_ms, now_ms, 0, detached=False)
    return {"lease": lease, "freed_ms": 0, "waiting": ()}


def one_more_waits(case: Situation) -> dict[str, Any]:
    return {"waiting": (FIRST_IN_LINE, Waiter(ASKER.request, case.readings.now_ms))}


def nobody_waits(_: Situation) -> dict[str, Any]:
    return {"waiting": ()}


def freed(case: Situation) -> dict[str, Any]:
    return {"lease": None, "freed_ms": case.readings.now_ms}


def content_without_lease(_: Situation) -> dict[str, Any]:
    return {"head": Head(4, 8, ASKER.incarnation, "b" * 64, 23, 0)}


def content_and_freed(case: Situation) -> dict[str, Any]:
    return {**content_without_lease(case), **freed(case)}


def content_under_lease(_: Situation) -> dict[str, Any]:
    return {"head": Head(4, 8, ASKER.incarnation, "b" * 64, 23, 5)}


def floor_at_6(_: Situation) -> dict[str, Any]:
    return {"floor": 6}


def renewed(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS)}


def renewed_and_detached(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS, detached=True)}


def handed_on(_: Situation) -> dict[str, Any]:
    return {"lease": a_lease(renewed_ms=NOW_MS, lease_id=an_id(99), agent="asker", incarnation=ASKER.incarnation)}


CELLS: Final[dict[tuple[type, Standing], Yes | Why | str]] = {
    (Acquire, FREE): Yes("grant", "free", new_lease),
    (Acquire, MINE): IMPOSSIBLE,
    (Acquire, SPENT): IMPOSSIBLE,
    (Acquire, LIVE): Why.HELD,
    (Acquire, OVER): Yes("grant", "expired", new_lease),
    (Acquire, SEALED): Why.MOVED,
    (Ask, FREE): Yes("ask", "", one_more_waits),
    (Ask, MINE): IMPOSSIBLE,
    (Ask, SPENT): IMPOSSIBLE,
    (Ask, LIVE): Yes("ask", "", one_more_waits),
    (Ask, OVER): Yes("ask", "", one_more_waits),
    (Ask, SEALED): Why.MOVED,
    (Leave, FREE): Yes("leave", "", nobody_waits),
    (Leave, MINE): IMPOSSIBLE,
    (Leave, SPENT): IMPOSSIBLE,
    (Leave, LIVE): Yes("leave", "", nobody_waits),
    (Leave, OVER): Yes("leave", "", nobody_waits),
    (Leave, SEALED): Why.MOVED,
    (Break, FREE): Why.RELEASED,
    (Break, MINE): IMPOSSIBLE,
    (Break, SPENT): IMPOSSIBLE,
    (Break, LIVE): Yes("break", "forced", freed),
    (Break, OVER): Yes("break", "forced", freed),
    (Break, SEALED): Why.MOVED,
    (Put, FREE): Yes("commit", "", content_without_lease),
    (Put, MINE): IMPOSSIBLE,
    (Put, SPENT): IMPOSSIBLE,
    (Put, LIVE): Why.HELD,
    (Put, OVER): Yes("commit", "expired", content_and_freed),
    (Put, SEALED): Why.MOVED,
    (Raise, FREE): Yes("floor", "", floor_at_6),
    (Raise, MINE): IMPOSSIBLE,
    (Raise, SPENT): IMPOSSIBLE,
    (Raise, LIVE): Yes("floor", "", floor_at_6),
    (Raise, OVER): Yes("floor", "", floor_at_6),
    (Raise, SEALED): Why.MOVED,
    (Renew, FREE): Why.RELEASED,
    (Renew, MINE): Yes("renew", "", renewed),
    (Renew, SPENT): Why.EXPIRED,
    (Renew, LIVE): Why.TAKEN,
    (Renew, OVER): Why.TAKEN,
    (Renew, SEALED): Why.MOVED,
    (Release, FREE): Why.RELEASED,
    (Release, MINE): Yes("release", "", freed),
    (Release, SPENT): Yes("release", "", freed),
    (Release, LIVE): Why.TAKEN,
    (Release, OVER): Why.TAKEN,
    (Release, SEALED): Why.MOVED,
    (Detach, FREE): Why.RELEASED,
    (Detach, MINE): Yes("detach", "", renewed_and_detached),
    (Detach, SPENT): Why.EXPIRED,
    (Detach, LIVE): Why.TAKEN,
    (Detach, OVER): Why.TAKEN,
    (Detach, SEALED): Why.MOVED,
    (Resume, FREE): Why.RELEASED,
    (Resume, MINE): Yes("resume", "", handed_on),
    (Resume, SPENT): Why.EXPIRED,
    (Resume, LIVE): Why.TAKEN,
    (Resume, OVER): Why.TAKEN,
    (Resume, SEALED): Why.MOVED,
    (Commit, FREE): Why.RELEASED,
    (Commit, MINE): Yes("commit", "", content_under_lease),
    (Commit, SPENT): Why.EXPIRED,
    (Commit, LIVE): Why.TAKEN,
    (Commit, OVER): Why.TAKEN,
    (Commit, SEALED): Why.MOVED,
}


def cell_name(cell: tuple[type, Standing]) -> str:
    return f"{cell[0].__name__}-{cell[1].name}"


def test_the_table_has_exactly_these_cells() -> None:
    assert len(CELLS) == 11 * 6
    assert set(TABLE) == set(CELLS)


@pytest.mark.parametrize("cell", [cell for cell, told in CELLS.items() if told != IMPOSSIBLE], ids=cell_name)
def test_cell(cell: tuple[type, Standing]) -> None:
    verb, column = cell
    case = situation(verb, column)
    assert standing(*case) is column
    decision, told = decide(*case), CELLS[cell]
    if isinstance(told, Yes):
        expected = replace(
            case.record,
            n=8,
            kind=told.kind,
            why=told.why,
            request=ASKER.request,
            agent="asker",
            incarnation=ASKER.incarnation,
            at_ms=case.readings.now_ms,
        )
        assert decision == Transition(replace(expected, **told.changes(case)))
    else:
        assert decision == Refusal(Why(told), case.record)


@pytest.mark.parametrize("cell", [cell for cell, told in CELLS.items() if told == IMPOSSIBLE], ids=cell_name)
def test_impossible_cell_is_never_reached_and_says_so(cell: tuple[type, Standing]) -> None:
    verb, column = cell
    readings = (
        Readings(NOW_MS, SKEW_MS),
        Readings(NOW_MS, SKEW_MS, held_ms=8000),
        Readings(NOW_MS, SKEW_MS, watched_ms=11_000, held_ms=8000),
        Readings(NOW_MS + 10**7, SKEW_MS),
    )
    records = [situation(verb, other).record for other in Standing]
    reached = {standing(record, REQUESTS[verb], reading) for record in records for reading in readings}
    assert reached == {FREE, LIVE, OVER, SEALED}
    case = situation(verb, LIVE)
    with pytest.raises(AssertionError, match=f"{verb.__name__} names no lease"):
        TABLE[verb, column](*case)


@pytest.mark.parametrize("verb", [Acquire, Ask, Put])
def test_a_resource_without_record_is_free(verb: type) -> None:
    request = replace(REQUESTS[verb], on_revision=0) if verb is Put else REQUESTS[verb]
    decision = decide(None, request, Readings(NOW_MS, SKEW_MS))
    assert isinstance(decision, Transition)
    assert (decision.record.n, decision.record.floor) == (1, 1)
    assert encode(decision.record)


@pytest.mark.parametrize("verb", [Break, Renew, Release, Detach, Resume, Commit])
def test_nothing_is_held_where_no_record_is(verb: type) -> None:
    decision = decide(None, REQUESTS[verb], Readings(NOW_MS, SKEW_MS))
    assert isinstance(decision, Refusal)
    assert decision.why is Why.RELEASED


def test_a_holder_is_told_by_lease_id_and_fence_together() -> None:
    readings = Readings(NOW_MS, SKEW_MS)
    assert standing(a_record(), Renew(ASKER, an_id(51), 5), readings) is MINE
    assert standing(a_record(), Renew(ASKER, an_id(51), 4), readings) is LIVE
    assert standing(a_record(), Renew(ASKER, an_id(50), 5), readings) is LIVE


def test_fields_of_a_newer_version_are_carried_along_by_every_verb() -> None:
    for verb, column in CELLS:
        case = situation(verb, column)
        newer = replace(case.record, extra=(("quota", "a/b=c"),), epoch=3)
        if isinstance(CELLS[verb, column], Yes):
            decision = decide(newer, case.request, case.readings)
            assert isinstance(decision, Transition)
            assert (decision.record.extra, decision.record.epoch) == (newer.extra, 3), (verb, column)


def test_decide_is_deterministic_and_does_not_touch_its_arguments() -> None:
    for verb, column in CELLS:
        if CELLS[verb, column] != IMPOSSIBLE:
            case, same = situation(verb, column), situation(verb, column)
            assert decide(*case) == decide(*case)
            assert case == same


def test_a_retry_of_the_same_request_gives_the_same_record() -> None:
    decisions: set[Decision] = {decide(a_record(), REQUESTS[Renew], Readings(NOW_MS, SKEW_MS)) for _ in range(3)}
    assert len(decisions) == 1
