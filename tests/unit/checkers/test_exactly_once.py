"""The exactly-once checker: every kind of fault is seen, alone, and nothing else is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator import BadValue, OperationRejected, Workspace
from coordinator.testing import (
    APPLIED,
    DURABLE,
    REJECTED,
    UNHEARD,
    Decided,
    Told,
    check_exactly_once,
    decided_by,
    told_by,
)

if TYPE_CHECKING:
    from pathlib import Path

TOLD = [Told("a", UNHEARD), Told("a", APPLIED, 1, "x"), Told("b", REJECTED, 2), Told("c", UNHEARD)]
DONE = [Decided("a", 1, APPLIED, "x"), Decided("b", 2, REJECTED), Decided("c", 3)]


def faults(told: list[Told], decided: list[Decided], **more: Any) -> list[tuple[str, str]]:
    return [(fault.kind, fault.op_id) for fault in check_exactly_once(told, decided, **more).faults]


def test_what_is_accounted_for_is_fine() -> None:
    report = check_exactly_once(TOLD, DONE)

    assert report.ok
    assert str(report) == "3 operations asked for, 1 acknowledged, 2 applied, 1 of them unheard: nothing wrong"


def test_nothing_at_all_is_fine() -> None:
    assert check_exactly_once([], []).ok


def test_what_nobody_heard_of_may_have_been_done_or_refused_or_not() -> None:
    for decided in ([Decided("c")], [Decided("c", 4, REJECTED)], []):
        assert faults([Told("c", UNHEARD)], decided) == []


def test_a_retry_that_is_told_the_same_is_fine() -> None:
    assert faults([Told("a", APPLIED, 1)] * 3, [Decided("a", 1)]) == []


WRONG: dict[str, tuple[list[Told], list[Decided], set[str]]] = {
    "told applied, and not there": ([Told("a", APPLIED)], [], {"lost"}),
    "told durable, and not decided": ([Told("a", DURABLE)], [], {"lost"}),
    "told applied, and rejected": ([Told("a", APPLIED)], [Decided("a", outcome=REJECTED)], {"lost"}),
    "done twice": ([Told("a", APPLIED)], [Decided("a"), Decided("a")], {"doubled"}),
    "done twice, and nobody heard": ([Told("a", UNHEARD)], [Decided("a"), Decided("a")], {"doubled"}),
    "done, and not asked for": ([], [Decided("a")], {"invented"}),
    "told rejected, and done": ([Told("a", REJECTED)], [Decided("a")], {"undone"}),
    "told another revision": ([Told("a", APPLIED, 4)], [Decided("a", 5)], {"revised"}),
    "rejected at another revision": ([Told("a", REJECTED, 4)], [Decided("a", 5, REJECTED)], {"revised"}),
    "told both ways": ([Told("a", APPLIED), Told("a", REJECTED)], [Decided("a")], {"undone", "contradicted"}),
    "told of two revisions": ([Told("a", APPLIED, 4), Told("a", APPLIED, 5)], [Decided("a")], {"contradicted"}),
    "done for another": ([Told("a", APPLIED, 0, "x")], [Decided("a", 0, APPLIED, "y")], {"misplaced"}),
    "done out of order": ([Told("a", UNHEARD), Told("b", UNHEARD)], [Decided("b", 2), Decided("a", 1)], {"disordered"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_fault_is_seen_and_no_other(case: str) -> None:
    told, decided, kinds = WRONG[case]

    report = check_exactly_once(told, decided)

    assert {(fault.kind, fault.op_id) for fault in report.faults} == {(kind, "a") for kind in kinds}
    assert not report.ok
    for kind in kinds:
        assert report.of(kind) == ["a"]
        assert f"{kind} a: told " in str(report)


def test_what_was_there_before_is_nobodys_invention() -> None:
    assert faults([], [Decided("a")], others={"a"}) == []


def test_what_is_durable_may_be_under_way() -> None:
    assert faults([Told("a", DURABLE)], [], is_settled=False) == []


def test_what_was_decided_before_the_log_begins_is_not_missed_there() -> None:
    assert faults([Told("a", APPLIED, 3)], [], since=3) == []
    assert faults([Told("a", APPLIED, 4)], [], since=3) == [("lost", "a")]
    assert ("doubled", "a") in faults([Told("a", APPLIED, 3)], [Decided("a", 5)], since=3)


def test_a_long_report_is_cut_and_counted() -> None:
    lines = str(check_exactly_once([Told(str(n), APPLIED, n + 1) for n in range(30)], [])).splitlines()
    assert lines[0].endswith("0 of them unheard: 30 lost")
    assert lines[1] == "  lost 0: told applied at 1; found nothing"
    assert lines[-1] == "  and 10 more"


def test_an_outcome_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadValue, match="no such outcome"):
        check_exactly_once([Told("a", "maybe")], [])
    with pytest.raises(BadValue, match="no such outcome"):
        check_exactly_once([], [Decided("a", outcome=DURABLE)])


# ── a system of which it is known what went wrong ────────────────────────────────────────────────────────────────────


def run_of_a_system(chance: random.Random, count: int) -> tuple[list[Told], list[Decided]]:
    """Each operation is retried until it is answered, or given up; the system remembers what it decided."""
    memory: dict[str, Decided] = {}
    told = []
    for number in range(count):
        op_id = f"op-{number}"
        for _ in range(chance.randrange(1, 4)):
            told.append(Told(op_id, UNHEARD))
            if chance.random() < 0.3:  # the request was lost
                continue
            outcome = APPLIED if chance.random() < 0.8 else REJECTED
            decided = memory.setdefault(op_id, Decided(op_id, len(memory) + 1, outcome))
            if chance.random() < 0.7:  # else the reply was
                told.append(Told(op_id, decided.outcome, decided.revision))
    chance.shuffle(told)
    return told, list(memory.values())


@given(st.integers(0, 2**32), st.integers(0, 30))
def test_a_system_that_remembers_is_accepted(seed: int, count: int) -> None:
    report = check_exactly_once(*run_of_a_system(random.Random(seed), count))
    assert report.ok, report


@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from(["lost", "doubled", "invented", "undone", "revised"]))
def test_one_thing_done_wrong_is_found_and_named(seed: int, count: int, kind: str) -> None:
    told, decided = run_of_a_system(random.Random(seed), count)
    heard = {one.op_id for one in told if one.outcome == (REJECTED if kind == "undone" else APPLIED)}
    places = [place for place, one in enumerate(decided) if one.op_id in heard]
    if kind == "invented":
        decided.append(Decided("nobody's", 99))
        victim = "nobody's"
    elif not places:
        return
    else:
        victim = decided[places[0]].op_id
        if kind == "lost":
            del decided[places[0]]
        elif kind == "doubled":
            decided.append(decided[places[0]]._replace(revision=99))
        else:
            wrong = {"outcome": APPLIED} if kind == "undone" else {"revision": 99}
            decided[places[0]] = decided[places[0]]._replace(**wrong)

    report = check_exactly_once(told, decided)

    assert victim in report.of(kind)
    assert {fault.op_id for fault in report.faults if fault.kind != "disordered"} == {victim}


# ── this system's own receipts and changes ───────────────────────────────────────────────────────────────────────────


def test_receipts_of_a_document_are_held_against_its_changes(tmp_path: Path) -> None:
    with Workspace.init(tmp_path, agent="writer-1") as workspace:
        document = workspace.document("plan.json")
        told = [told_by(document.update({f"task-{number}": number}), "writer-1") for number in range(3)]
        with pytest.raises(OperationRejected) as refused:
            document.update([{"op": "test", "path": "/task-0", "value": "another"}])
        told.append(told_by(refused.value, "writer-1"))
        decided = decided_by(document.changes())

    assert [one.outcome for one in told] == [APPLIED] * 3 + [REJECTED]
    assert [one.op_id for one in decided] == [one.op_id for one in told]
    report = check_exactly_once(told, decided)
    assert report.ok, report
    assert check_exactly_once(told, decided[1:]).of("lost") == [told[0].op_id]
    assert check_exactly_once(told, [*decided, decided[0]]).of("doubled") == [told[0].op_id]
