"""The linearizability checker: against one that tries everything, and on histories that are right by construction."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any, cast

import pytest
from checker_histories import (
    KINDS,
    Kind,
    TrueRegister,
    any_history,
    assert_explains,
    fits_by_force,
    is_linearizable_by_force,
    mostly_unheard,
    true_histories,
)
from hypothesis import given
from hypothesis import strategies as st

from coordinator import BadValue
from coordinator.testing import ManualClock, linearizable_search
from coordinator.testing.linearizable import UNKNOWN, KeyReport, Operation, check_linearizable
from coordinator.testing.linearizable_models import Append, AppendLog, Cas, Read, Register, Write

if TYPE_CHECKING:
    from coordinator.clock import Instant
    from coordinator.testing.linearizable_models import Model

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def checked(model: Model[Any], operations: list[Operation], **limits: Any) -> KeyReport:
    (report,) = check_linearizable(model, operations, **limits).keys
    return report


# ── against the truth ────────────────────────────────────────────────────────────────────────────────────────────────


@every_kind
@given(data=st.data())
def test_what_happened_one_by_one_is_linearizable(kind: Kind, data: st.DataObject) -> None:
    operations = data.draw(true_histories(kind))

    report = checked(kind.model, operations)

    assert report.ok, report
    assert_explains(kind.model, report.order, operations)


@given(data=st.data())
def test_a_value_that_was_never_written_cannot_have_been_read(data: st.DataObject) -> None:
    operations = data.draw(true_histories(KINDS["register"]))
    returned = [place for place, one in enumerate(operations) if one.asked == Read() and one.returned is not None]
    if not returned:
        return
    place = data.draw(st.sampled_from(returned))
    operations[place] = operations[place]._replace(answer=99)

    report = check_linearizable(Register(), operations)

    assert report.verdict == "not linearizable"
    assert report.keys[0].blocked == operations[place]
    assert "read -> 99" in str(report)


def is_as_by_force(kind: Kind, operations: list[Operation]) -> bool:
    report = checked(kind.model, operations)
    if report.ok != is_linearizable_by_force(kind.model, operations) or report.verdict == "unknown":
        return False
    if report.ok:
        assert_explains(kind.model, report.order, operations)
        return True
    return not report.is_exact or is_the_first_without_a_place(kind.model, operations, report.blocked)


def is_the_first_without_a_place(model: Model[Any], operations: list[Operation], blocked: Operation | None) -> bool:
    """All that returned before it can be explained, with what was invoked by then; together with it, it cannot."""
    assert blocked is not None
    assert blocked.returned is not None
    begun = [one for one in operations if one.invoked <= blocked.returned]
    returns = sorted((one.returned, one.invoked, place) for place, one in enumerate(begun) if one.returned is not None)
    before = [begun[place] for _, _, place in returns[: [begun[place] for *_, place in returns].index(blocked)]]
    others = [one for one in begun if one not in before and one != blocked]
    explained = fits_by_force(model, before, [*others, blocked])
    return explained and not fits_by_force(model, [*before, blocked], others)


@every_kind
def test_the_verdict_and_the_prefix_are_those_of_trying_everything(kind: Kind) -> None:
    chance = random.Random(5)
    verdicts = []
    for _ in range(400):
        operations = any_history(kind, chance)
        assert is_as_by_force(kind, operations), "\n".join(map(str, operations))
        verdicts.append(is_linearizable_by_force(kind.model, operations))
    assert 40 < sum(verdicts) < 360  # both are tried


def test_of_what_nobody_heard_of_nothing_is_left_out_and_nothing_spent_twice() -> None:
    chance = random.Random(6)
    verdicts = []
    for _ in range(1000):
        operations = mostly_unheard(chance)
        assert is_as_by_force(KINDS["register"], operations), "\n".join(map(str, operations))
        verdicts.append(is_linearizable_by_force(Register(), operations))
    assert 100 < sum(verdicts) < 900


@pytest.mark.parametrize("exact", [1, 10**6])
def test_the_way_of_long_searches_leads_to_the_same_verdicts(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizable_search, "_SHORT", 2)
    monkeypatch.setattr(linearizable_search, "_EXACT", exact)
    chance = random.Random(7)
    for _ in range(500):
        for operations in (mostly_unheard(chance), any_history(KINDS["register"], chance)):
            assert is_as_by_force(KINDS["register"], operations), "\n".join(map(str, operations))


# ── rules that are broken on purpose ─────────────────────────────────────────────────────────────────────────────────


def _always(*_: Any) -> bool:
    return True


def _without_spent(search: Any, at: int, ahead: int, spent: int, state: Any) -> bool:
    """Who comes later is not gone on from, even if it spent less."""
    seen = search._seen[at]
    is_new = (ahead, state) not in seen
    seen[ahead, state] = [spent]
    return is_new


def _without(part: str) -> Any:
    """A memory of configurations from whose key something is left out."""
    is_new = linearizable_search._Search._is_new

    def forgetful(search: Any, at: int, ahead: int, spent: int, state: Any) -> bool:
        if part == "at":
            at = 0
        return is_new(search, at, 0 if part == "ahead" else ahead, spent, None if part == "state" else state)

    return forgetful


def _without_real_time(model: Any, operations: Any, returns: Any, sorts: Any) -> Any:
    return _MOMENTS(model, [one._replace(invoked=0) for one in operations], returns, sorts)


def _failed(_operations: Any, _numbers: Any) -> list[Any]:
    """Of what is unknown, nothing ever took effect."""
    return []


def _by_now(search: Any, model: Any, operations: list[Operation]) -> None:
    """Of what is unknown, everything did, and at once: as if it had returned."""
    done = [one._replace(returned=one.invoked) if one.returned is None else one for one in operations]
    _HISTORY(search, model, done)


_MOMENTS = linearizable_search._moments
_HISTORY = linearizable_search._History.__init__

MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "alike whatever they were told": (linearizable_search, "_likeness", lambda operation: type(operation.asked)),
    "everything only observes": (Register, "observes", _always),
    "the memory without what was spent": (linearizable_search._Search, "_is_new", _without_spent),
    "the memory without the state": (linearizable_search._Search, "_is_new", _without("state")),
    "the memory without what is ahead": (linearizable_search._Search, "_is_new", _without("ahead")),
    "the memory without how far": (linearizable_search._Search, "_is_new", _without("at")),
    "unknown is failed": (linearizable_search, "_sorts_of", _failed),
    "unknown is done": (linearizable_search._History, "__init__", _by_now),
    "real time is ignored": (linearizable_search, "_moments", _without_real_time),
}


@pytest.mark.parametrize("broken", MUTANTS)
def test_a_rule_of_the_search_that_is_broken_is_seen(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTANTS[broken])
    chance = random.Random(5)
    histories = (any_history(KINDS["register"], chance) for _ in range(400))
    unheard = (mostly_unheard(chance) for _ in range(1000))

    def is_wrong(history: list[Operation]) -> bool:
        told = checked(Register(), history).verdict == "linearizable"
        return told != is_linearizable_by_force(Register(), history)

    kept_to = broken in {"alike whatever they were told", "everything only observes"}  # a verdict, or a bad explanation
    seen = (lambda history: not is_as_by_force(KINDS["register"], history)) if kept_to else is_wrong
    assert any(seen(history) for history in itertools.chain(histories, unheard))


# ── histories by hand ────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_at_all_is_linearizable() -> None:
    report = check_linearizable(Register(), [])
    assert report.ok
    assert str(report) == "linearizable: 0 operations, 0 keys, 0 of them not so or unknown"


def test_a_stale_read_is_not_linearizable() -> None:
    operations = [
        Operation("a", Write(1), None, 0, 10),
        Operation("a", Write(2), None, 20, 30),
        Operation("b", Read(), 1, 40, 50),
    ]

    report = checked(Register(), operations)

    assert report.verdict == "not linearizable"
    assert report.blocked == operations[2]
    assert report.order == tuple(operations[:2])
    assert report.states == (2,)
    assert str(report).splitlines()[1:] == [
        "  no place for: b: read -> 1, invoked 40, returned 50",
        "  possible states when it returned: 2",
        "  all that returned before can be explained, by 2 (2 answered), the last of them:",
        "    a: write 1, invoked 0, returned 10",
        "    a: write 2, invoked 20, returned 30",
        "  a write 1    |---|                     #1",
        "  a write 2            |---|             #2",
        "  b read -> 1                  |---|     <- no place",
    ]


def test_what_never_returned_may_take_effect_at_any_time_after_it_was_asked_for() -> None:
    lost = Operation("a", Write(2), UNKNOWN, 20, None)
    before = [Operation("a", Write(1), None, 0, 10), lost, Operation("b", Read(), 1, 30, 40)]
    late = Operation("b", Read(), 2, 10**6, 10**6 + 1)

    assert checked(Register(), [*before, late]).order == (before[0], before[2], lost, late)
    assert lost not in checked(Register(), [*before, late._replace(answer=1)]).order  # or never
    again = [
        late,
        Operation("c", Write(3), None, 2 * 10**6, 2 * 10**6 + 1),
        late._replace(invoked=10**7, returned=10**7),
    ]
    assert not checked(Register(), [*before, *again]).ok  # but not twice


def test_what_never_returned_takes_no_effect_before_it_was_asked_for() -> None:
    operations = [Operation("b", Read(), 2, 0, 10), Operation("a", Write(2), UNKNOWN, 11, None)]
    assert checked(Register(), operations).blocked == operations[0]
    assert checked(Register(), [operations[0], operations[1]._replace(invoked=10)]).ok


def test_what_returned_without_telling_did_happen_by_then() -> None:
    write = Operation("a", Write(1), None, 0, 10)
    swap = Operation("b", Cas(1, 2), UNKNOWN, 20, 30)
    read = Operation("c", Read(), 1, 40, 50)

    assert not checked(Register(), [write, swap, read]).ok
    assert checked(Register(), [write, swap._replace(returned=None), read]).ok


def test_operations_at_the_same_instant_are_under_way_at_once() -> None:
    write, read = Operation("a", Write(1), None, 0, 10), Operation("b", Read(), None, 10, 20)
    assert checked(Register(), [write, read]).ok
    assert not checked(Register(), [write, read._replace(invoked=11)]).ok


def test_keys_are_checked_one_by_one() -> None:
    good = [Operation("a", Write(1), None, 0, 1, "x"), Operation("b", Read(), 1, 2, 3, "x")]
    bad = [Operation("a", Write(2), None, 4, 5, "y"), Operation("b", Read(), 1, 6, 7, "y")]

    report = check_linearizable(Register(), [*bad, *good])

    assert [(one.key, one.ok) for one in report.keys] == [("y", False), ("x", True)]
    assert "key 'y': not linearizable: 2 operations" in str(report)
    assert "key 'x'" not in str(report)


def test_a_report_of_many_keys_is_cut_and_counted() -> None:
    bad = [Operation("a", Read(), 1, 0, 1, key) for key in range(30)]
    assert str(check_linearizable(Register(), bad)).splitlines()[-1] == "and 25 more keys"


def test_the_timeline_shows_what_never_ended() -> None:
    operations = [
        Operation("a", Write("a long text that nobody wants to read to its end"), UNKNOWN, 0, None),
        Operation("b", Read(), 1, 5, 9),
    ]
    assert checked(Register(), operations).timeline() == [
        "a write 'a long text that nobody wants …  |--- - - - -",
        "b read -> 1                                   |---|     <- no place",
    ]


# ── what cannot be told ──────────────────────────────────────────────────────────────────────────────────────────────


def crowd(clients: int) -> list[Operation]:
    """All at once, each with a value of its own; and then a value that nobody wrote."""
    writes = [Operation(client, Cas(client, client + 1), True, 0, 1000 + client) for client in range(1, clients)]
    writes += [Operation(client, Write(client), None, 0, 1000 + client) for client in range(clients)]
    return [*writes, Operation("reader", Read(), -1, 2000, 2001)]


class HurriedClock(ManualClock):
    """A second passes at every look."""

    def now(self) -> Instant:
        self.advance(1000)
        return super().now()


def test_the_time_for_it_is_bounded() -> None:
    report = check_linearizable(Register(), crowd(40), budget=3, clock=HurriedClock())
    assert report.verdict == "unknown"
    assert not report.ok
    assert report.keys[0].elapsed_ms < 10_000
    assert "unknown: 80 operations" in str(report)
    assert "stopped at" in str(report)


def test_what_it_remembers_is_bounded() -> None:
    report = checked(Register(), crowd(40), remembered_max=500)
    assert report.verdict == "unknown"
    assert report.configurations == 500


@pytest.mark.parametrize(
    ("operation", "limits", "says"),
    [
        (Operation("a", Read(), 1, 9, 8), {}, "returned before it was invoked"),
        (Operation("a", Write([1]), None, 1, 2), {}, "unhashable"),
        (Operation("a", Read(), 1, 1, 2, key=cast("Any", [1])), {}, "unhashable"),
        (Operation("a", Read(), 1, 1, 2), {"budget": -1}, "budget=-1"),
        (Operation("a", Read(), 1, 1, 2), {"remembered_max": 0}, "remembered_max=0"),
    ],
)
def test_what_cannot_be_checked_is_refused(operation: Operation, limits: dict[str, Any], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        check_linearizable(Register(), [operation], **limits)


# ── how much is tried ────────────────────────────────────────────────────────────────────────────────────────────────


def long_history(count: int, clients: int, chance: random.Random, values: int, unknown: float) -> list[Operation]:
    """A true one of a register. Each client asks, sees it done, is answered; one that never hears is replaced."""
    system = TrueRegister()
    operations: list[Operation] = []
    running: dict[int, tuple[Any, int, list[Any]]] = {}
    names = list(range(clients))
    now = 0
    while len(operations) < count:
        now += 1
        slot = chance.randrange(clients)
        if slot not in running:
            one, other = chance.randrange(values), chance.randrange(values)
            running[slot] = (chance.choice([Read(), Write(one), Cas(one, other)]), now, [])
            continue
        asked, invoked, answer = running[slot]
        if not answer:
            answer.append(system.perform(asked))
        elif chance.random() < unknown:
            operations.append(Operation(names[slot], asked, UNKNOWN, invoked, None))
            names[slot] = max(names) + 1
            del running[slot]
        else:
            operations.append(Operation(names[slot], asked, answer[0], invoked, now))
            del running[slot]
    for slot, (asked, invoked, _) in running.items():
        operations.append(Operation(names[slot], asked, UNKNOWN, invoked, None))
    return operations


@pytest.mark.parametrize(
    ("clients", "values", "unknown"), [(5, 5, 0.0), (10, 5, 0.0), (10, 1000, 0.0), (10, 5, 0.05), (10, 1000, 0.03)]
)
def test_long_histories_are_decided_without_trying_much(clients: int, values: int, unknown: float) -> None:
    operations = long_history(1000, clients, random.Random(1), values, unknown)

    report = checked(Register(), operations)

    assert report.ok, report
    assert report.configurations < 20_000
    assert_explains(Register(), report.order, operations)


@pytest.mark.parametrize(("clients", "values", "unknown"), [(5, 5, 0.0), (10, 5, 0.0), (5, 1000, 0.02), (8, 5, 0.02)])
def test_a_wrong_answer_in_a_long_history_is_found(clients: int, values: int, unknown: float) -> None:
    operations = long_history(400, clients, random.Random(1), values, unknown)
    wrong = next(n for n in range(250, 400) if operations[n].asked == Read() and operations[n].returned is not None)
    operations[wrong] = operations[wrong]._replace(answer=-1)

    report = checked(Register(), operations)

    assert report.verdict == "not linearizable"
    assert report.blocked == operations[wrong]
    assert report.configurations < 60_000


def test_a_violation_is_told_even_where_its_beginning_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are of unknown outcome that not all ways to have spent them can be tried."""
    monkeypatch.setattr(linearizable_search, "_SHORT", 1000)
    monkeypatch.setattr(linearizable_search, "_EXACT", 2000)
    lost = [Operation(n, Cas(n % 7, (n * 3 + 1) % 7), UNKNOWN, n, None) for n in range(60)]
    lost += [Operation(n, Write(n % 7), UNKNOWN, n, None) for n in range(40)]
    reads = [Operation("r", Read(), (5 * n) % 7, 100 + 2 * n, 101 + 2 * n) for n in range(60)]
    impossible = Operation("r", Read(), 8, 1000, 1001)

    report = checked(Register(), [*lost, *reads, impossible])

    assert report.verdict == "not linearizable"
    assert report.blocked == impossible
    assert report.is_exact or "more than once" in str(report)


def test_a_log_of_many_clients_is_decided_by_the_positions_that_were_told() -> None:
    chance = random.Random(3)
    places = list(range(300))
    for start in range(0, 300, 10):
        chunk = places[start : start + 10]
        chance.shuffle(chunk)
        places[start : start + 10] = chunk
    operations = [
        Operation(n % 10, Append(place), place, n // 10 * 10, n // 10 * 10 + 9) for n, place in enumerate(places)
    ]
    operations.append(Operation("r", Read(), tuple(range(300)), 10**4, 10**4 + 1))

    assert checked(AppendLog(), operations).configurations < 2000
    operations[-1] = operations[-1]._replace(answer=(*range(299), 7))
    assert checked(AppendLog(), operations).blocked == operations[-1]
