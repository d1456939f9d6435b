"""Each figure is shown to count: journals made by hand, with one thing wrong in each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from coordinator import Revision
from coordinator.demo.judge import Counts, check_chain, judge
from coordinator.demo.ledger import CLAIM, COMPLETE, Entry
from coordinator.demo.plan import Plan

PLAN = Plan("tagged", (("ä", "1"), ("ä", "2")))


def text(first: str = "pending", second: str = "pending", **more: Any) -> bytes:
    tasks = [
        {"id": 1, "title": "Größe", "status": first, "subtasks": [{"id": 1, "status": "pending"}]},
        {"status": second, "id": "2"},
    ]
    return json.dumps({"ä": {"tasks": tasks, "metadata": {"n": 1.5}}, **more}, indent=2, ensure_ascii=False).encode()


INITIAL = text()


def ack(op: str, name: str, revision: int = 0, worker: str = "worker-1") -> Entry:
    return Entry(worker, 1, "ack", op=op, tag="ä", id=name, revision=revision, fence=7)


ALL = [ack(CLAIM, "1", 2), ack(COMPLETE, "1", 3), ack(CLAIM, "2", 4), ack(COMPLETE, "2", 5)]
CLEAN = judge(INITIAL, text("done", "done"), ALL, PLAN)


def test_a_clean_run_counts_nothing_wrong() -> None:
    assert Counts(
        acknowledged=4, lost=0, doubled=0, torn=0, refused=0, in_flight=0, reads=0, restored=0, unknown=0, done=2,
        whole=True, fields_kept=True, layout_kept=True,
    ) == CLEAN  # fmt: skip


def test_a_completion_that_the_file_does_not_show_is_lost() -> None:
    assert judge(INITIAL, text("done", "in-progress"), ALL, PLAN) == replace(CLEAN, lost=1, done=1)


def test_a_task_set_back_to_pending_loses_claim_and_completion() -> None:
    assert judge(INITIAL, text("done", "pending"), ALL, PLAN) == replace(CLEAN, lost=2, done=1)


def test_a_claim_alone_is_lost_when_the_task_is_pending_again() -> None:
    found = judge(INITIAL, text("done", "pending"), ALL[:3], PLAN)
    assert found == replace(CLEAN, acknowledged=3, lost=1, done=1)


@pytest.mark.parametrize("final", [b"", b"{", text("done", "done")[:-3], text("done", "done") + b"}", b"3"])
def test_a_file_that_is_no_longer_whole_has_lost_everything(final: bytes) -> None:
    found = judge(INITIAL, final, ALL, PLAN)
    assert (found.lost, found.whole, found.fields_kept, found.layout_kept) == (4, False, False, False)


@pytest.mark.parametrize("second", ["worker-1", "worker-2"])
def test_a_task_claimed_again_is_doubled(second: str) -> None:
    entries = [*ALL, ack(CLAIM, "1", worker=second)]
    assert judge(INITIAL, text("done", "done"), entries, PLAN) == replace(CLEAN, acknowledged=5, doubled=1)


def test_a_claim_that_ran_out_is_not_doubled_when_its_holder_was_refused() -> None:
    late = replace(ack(CLAIM, "1", worker="worker-2"), fence=3)
    refused = Entry("worker-2", 1, "refused", op=COMPLETE, tag="ä", id="1", fence=3)
    final = text("done", "done")
    assert judge(INITIAL, final, [late, *ALL, refused], PLAN) == replace(CLEAN, acknowledged=5, refused=1)
    for other in (replace(refused, fence=8), replace(refused, id="2")):
        assert judge(INITIAL, final, [late, *ALL, other], PLAN).doubled == 1


def test_a_claim_that_ran_out_and_was_given_to_nobody_is_not_lost_when_its_holder_was_refused() -> None:
    refused = Entry("worker-1", 1, "refused", op=COMPLETE, tag="ä", id="2", fence=7)
    entries = [*ALL[:3], refused]
    assert judge(INITIAL, text("done"), entries, PLAN) == replace(CLEAN, acknowledged=3, refused=1, done=1)


def test_torn_reads_of_workers_and_reader_are_added_up() -> None:
    reader = Entry("reader", 1, "reads", reads=40, torn=3)
    entries = [replace(ALL[0], torn=2), *ALL[1:], reader, reader]
    assert judge(INITIAL, text("done", "done"), entries, PLAN) == replace(CLEAN, torn=8, reads=80)


def test_refusals_unknown_outcomes_and_restored_copies_are_counted_apart() -> None:
    entries = [*ALL, *(Entry("worker-2", 1, kind) for kind in ("refused", "unknown", "restored", "ready", "end"))]
    found = judge(INITIAL, text("done", "done"), entries, PLAN)
    assert found == replace(CLEAN, refused=1, unknown=1, restored=1)


def test_what_nobody_acknowledged_is_in_flight_and_neither_lost_nor_doubled() -> None:
    found = judge(INITIAL, text("done", "in-progress"), ALL[:1], PLAN)
    assert found == replace(CLEAN, acknowledged=1, in_flight=2, done=1)


def test_an_altered_field_is_seen() -> None:
    final = text("done", "done").replace("Größe".encode(), b"Size")
    assert judge(INITIAL, final, ALL, PLAN) == replace(CLEAN, fields_kept=False, layout_kept=False)


def test_a_status_that_was_not_ours_to_change_is_seen() -> None:
    final = text("done", "done").replace(b'"status": "pending"', b'"status": "done"')  # the subtask's
    assert judge(INITIAL, final, ALL, PLAN) == replace(CLEAN, fields_kept=False, layout_kept=False)


def test_another_order_of_keys_is_seen() -> None:
    document = json.loads(text("done", "done"))
    document["ä"]["tasks"][1] = {"id": "2", "status": "done"}
    final = json.dumps(document, indent=2, ensure_ascii=False).encode()
    assert judge(INITIAL, final, ALL, PLAN) == replace(CLEAN, fields_kept=False, layout_kept=False)


@pytest.mark.parametrize(
    "final",
    [
        json.dumps(json.loads(text("done", "done")), indent=2).encode(),  # escapes
        json.dumps(json.loads(text("done", "done")), indent=4, ensure_ascii=False).encode(),
        text("done", "done") + b"\n",
    ],
)
def test_another_layout_is_seen(final: bytes) -> None:
    assert judge(INITIAL, final, ALL, PLAN) == replace(CLEAN, layout_kept=False)


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def revision(number: int, why: str = "", agent: str = "worker-1", fence: int = 7) -> Revision:
    return Revision(number, 0, agent, fence, why, "", 0, available=True)


HISTORY = [revision(1, "adopted"), *(revision(number) for number in range(2, 6))]


def test_a_chain_that_accounts_for_all_is_right() -> None:
    assert check_chain(ALL, HISTORY, killed=0) == []


def test_a_revision_acknowledged_twice_is_wrong() -> None:
    wrong = check_chain([*ALL[:3], replace(ALL[3], revision=4)], HISTORY, killed=0)
    assert len(wrong) == 1
    assert "acknowledged to two" in wrong[0]


@pytest.mark.parametrize(
    "last", [replace(ALL[3], revision=6), replace(ALL[3], fence=8), replace(ALL[3], worker="worker-2")]
)
def test_an_acknowledgement_that_the_history_does_not_know_is_wrong(last: Entry) -> None:
    assert any("does not know" in text for text in check_chain([*ALL[:3], last], HISTORY, killed=0))


def test_more_revisions_than_acknowledgements_need_a_killed_worker_each() -> None:
    more = [*HISTORY, revision(6), revision(7)]
    assert check_chain(ALL, more, killed=2) == []
    assert "2 revisions were not acknowledged" in check_chain(ALL, more, killed=1)[0]
    assert check_chain([*ALL, Entry("worker-2", 1, "unknown")], more, killed=1) == []


def test_fewer_revisions_than_acknowledgements_are_wrong() -> None:
    assert any("-1 revisions" in text for text in check_chain(ALL, HISTORY[:-1], killed=3))


def test_a_gap_in_the_history_is_wrong() -> None:
    assert "without a gap" in check_chain(ALL, HISTORY[:2] + HISTORY[3:], killed=0)[0]
