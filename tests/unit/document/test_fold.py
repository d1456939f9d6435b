"""Folding is a pure function of a state and one sequence of operations (P23)."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from fold_support import DOCUMENT, NOW_MS, OPS, Folds, content_of, incarnation_of, operation, sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.document import state as state_module
from coordinator.document.fold import Operation, fold, order, parse
from coordinator.document.revision import decode_line, encode_line
from coordinator.document.state import trim
from coordinator.errors import NewerFormat

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

DAY_MS = 24 * 3600 * 1000


def folded(sequence: Sequence[Operation], cuts: Iterable[int] = (), value: Any = DOCUMENT) -> Folds:
    """A sequence, folded in pieces that end at these places."""
    folds = Folds.of(value)
    ends = sorted({*cuts, len(sequence)} - {0})
    start = 0
    for end in ends:
        folds.take(fold(folds.state, sequence[start:end], now_ms=NOW_MS))
        start = end
    return folds


# ── where it is cut ──────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150)
@given(sequences(), st.data())
def test_a_sequence_cut_into_folds_anywhere_gives_the_same(sequence: list[Operation], data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, len(sequence))))
    assert folded(sequence, cuts).told == folded(sequence).told == folded(sequence, range(1, len(sequence))).told


@settings(max_examples=60)
@given(sequences(), st.sampled_from([None, {}, [], 7, {"tasks": []}]))
def test_and_from_whatever_the_document_is(sequence: list[Operation], value: Any) -> None:
    assert folded(sequence, range(1, len(sequence)), value).told == folded(sequence, (), value).told


@settings(max_examples=60)
@given(sequences())
def test_a_fold_can_be_put_back_and_made_again(sequence: list[Operation]) -> None:
    """As when another compactor was faster."""
    folds = Folds.of()
    before = content_of(folds.state)
    mark = folds.state.tree.mark()
    first = json.dumps(fold(folds.state, sequence, now_ms=NOW_MS))
    folds.state.tree.undo_to(mark)
    assert content_of(folds.state) == before
    assert json.dumps(fold(folds.state, sequence, now_ms=NOW_MS)) == first


@settings(max_examples=60)
@given(sequences())
def test_folding_leaves_the_operations_and_what_was_told_alone(sequence: list[Operation]) -> None:
    """What a later operation changes must not show in an earlier one's result or edits, nor in a log's frames."""
    given_as = json.dumps(sequence)
    folds = Folds.of()
    told: list[str] = []
    for each in sequence:
        folds.take(fold(folds.state, [each], now_ms=NOW_MS))
        told.append(json.dumps(folds.receipts[-1]))
    assert [json.dumps(receipt) for receipt in folds.receipts] == told
    assert json.dumps(sequence) == given_as


# ── what a fold publishes ────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=100)
@given(sequences(), st.data())
def test_repeating_the_edits_gives_what_deciding_gave(sequence: list[Operation], data: st.DataObject) -> None:
    from coordinator.document.operations import replay

    folds = folded(sequence, data.draw(st.sets(st.integers(1, len(sequence)))))
    reader = Folds.of().state
    line = encode_line({"rev": 2, "prev": None, "pos": {}, "gone": [], "ops": folds.receipts})
    body = decode_line(line)
    assert body is not None
    for receipt in body["ops"]:
        replay(reader.tree, receipt[6] or [])
    assert content_of(reader) == content_of(folds.state)
    assert json.dumps(body["ops"]) == json.dumps(folds.receipts)


@settings(max_examples=100)
@given(sequences())
def test_what_was_rejected_leaves_no_trace(sequence: list[Operation]) -> None:
    """The same without the rejected and the repeated ones, as far as the document is concerned."""
    folds = folded(sequence)
    stood = [each for each, receipt in zip(sequence, folds.receipts, strict=True) if receipt[4] == "applied"]
    assert content_of(folded(stood).state) == content_of(folds.state)
    assert all(receipt[6] is None for receipt in folds.receipts if receipt[4] != "applied")


@settings(max_examples=100)
@given(st.lists(OPS, min_size=1, max_size=6))
def test_a_rejected_one_leaves_the_very_same_text(ops: list[dict[str, Any]]) -> None:
    folds = Folds.of()
    for number, op in enumerate(ops, 1):
        before = content_of(folds.state)
        outcomes = fold(folds.state, [operation(number, op)], now_ms=NOW_MS)
        if outcomes[0][4] == "rejected":
            assert content_of(folds.state) == before
            assert folds.state.tree.edits_since((0, 0)) == []
        folds.take(outcomes)


# ── who is first ─────────────────────────────────────────────────────────────────────────────────────────────────────


def logs_of(sequence: Sequence[Operation]) -> list[list[Operation]]:
    """Each log's operations, in the order of their seqs."""
    return [[each for each in sequence if each.incarnation == incarnation_of(agent)] for agent in (1, 2, 3)]


@settings(max_examples=80)
@given(sequences(), st.lists(st.integers(-10, 10), min_size=14, max_size=14), st.randoms(use_true_random=False))
def test_the_order_in_which_logs_are_listed_does_not_matter(
    sequence: list[Operation], ats: list[int], chance: random.Random
) -> None:
    sequence = [each._replace(at_ms=NOW_MS + at) for each, at in zip(sequence, ats, strict=False)]
    logs = logs_of(sequence)
    ordered = order(logs, floor_ms=NOW_MS - 5, now_ms=NOW_MS + 5)
    shuffled = logs.copy()
    chance.shuffle(shuffled)
    assert order(shuffled, floor_ms=NOW_MS - 5, now_ms=NOW_MS + 5) == ordered
    assert sorted(ordered) == sorted(sequence)
    for log in logs:
        assert [each for each in ordered if each in log] == log, "each log keeps its own order"


@pytest.mark.parametrize("off_ms", [DAY_MS, -DAY_MS, 10**15, -(10**15)])
def test_a_clock_that_is_a_day_off_neither_starves_nor_blocks(off_ms: int) -> None:
    """It counts as the fold before, or as now; and what is behind it in its log, whatever its time, still follows."""
    off = [operation(n, {"do": "merge", "patch": {}}, agent=1, at_ms=NOW_MS + off_ms + n) for n in (1, 2)]
    sound = [operation(n, {"do": "merge", "patch": {}}, agent=2, at_ms=NOW_MS) for n in (3, 4)]
    mended = operation(5, {"do": "merge", "patch": {}}, agent=1, at_ms=NOW_MS)
    found = order([[*off, mended], sound], floor_ms=NOW_MS - 1000, now_ms=NOW_MS + 1000)
    expected = [*off, mended, *sound] if off_ms < 0 else [*sound, *off, mended]
    assert found == expected


def test_a_clock_that_is_set_back_keeps_the_order_of_its_log() -> None:
    log = [operation(n, {"do": "merge", "patch": {}}, at_ms=NOW_MS - n * 1000) for n in range(1, 5)]
    other = [operation(9, {"do": "merge", "patch": {}}, agent=0, at_ms=NOW_MS - 1500)]
    assert order([log, other], floor_ms=0, now_ms=NOW_MS) == [*other, *log]


# ── tried again ──────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=80)
@given(sequences(), st.data())
def test_what_is_folded_again_changes_nothing(sequence: list[Operation], data: st.DataObject) -> None:
    """Whole or in part, in a later fold or in the same, under another log: each outcome is that of the first time."""
    folds = folded(sequence)
    before = content_of(folds.state)
    repeated = data.draw(st.lists(st.sampled_from(sequence), min_size=1, max_size=6))
    moved = [each._replace(incarnation=incarnation_of(9), seq=seq) for seq, each in enumerate(repeated, 1)]
    outcomes = fold(folds.state, [*repeated, *moved], now_ms=NOW_MS + DAY_MS)
    assert content_of(folds.state) == before
    first = {receipt[0]: receipt[4] for receipt in folds.receipts if receipt[4] != "again"}
    assert [(each[4], each[5]) for each in outcomes] == [("again", [2, first[each.op_id]]) for each in repeated] * 2


def test_older_ones_than_are_remembered_are_recognised_by_what_is_known() -> None:
    folds = Folds.of()
    known = {operation(1, {}).op_id: (1, "applied")}
    outcomes = fold(folds.state, [operation(1, {"do": "merge", "patch": {"n": 5}})], now_ms=NOW_MS, known=known)
    assert outcomes[0][4:] == ["again", [1, "applied"], None]
    assert folds.state.value == DOCUMENT


def test_the_newest_ids_are_remembered_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "IDS_MAX", 5)
    ids = {str(number): (number, "applied") for number in range(1, 10)}
    trim(ids)
    assert list(ids) == ["5", "6", "7", "8", "9"]


# ── what this version does not know ──────────────────────────────────────────────────────────────────────────────────

UNKNOWN: list[Any] = [
    {"do": "dance"},
    {"do": "task.dance", "board": {"format": "default"}},
    {"do": "merge", "patch": {}, "unless": 7},
    {"do": "patch", "patch": [{"op": "spin", "path": "/n"}]},
    {"do": "patch"},
    {"do": "merge"},
    {"do": "task.claim", "board": {"format": "newer"}, "ttl_ms": 1000},
    {"do": "task.claim", "board": {"format": "default"}, "ttl_ms": 1000, "unless": 1},
    {"do": "task.claim", "board": 7, "ttl_ms": 1000},
    {"do": "patch", "patch": {"n": 1}},
    {"do": "patch", "patch": [7]},
    {"do": ""},
    {},
]
UNKNOWN_FORMS: list[Any] = [
    {"do": 7},
    {"do": None},
    {"do": ["merge"]},
    {"do": {"merge": 1}},
    [],
    "merge",
    7,
    None,
]


@pytest.mark.parametrize("op", UNKNOWN + UNKNOWN_FORMS, ids=json.dumps)
def test_an_operation_of_another_version_stops_the_fold_and_nothing_stays(op: Any) -> None:
    folds = Folds.of()
    before = content_of(folds.state)
    mark = folds.state.tree.mark()
    sound = [operation(n, {"do": "merge", "patch": {"n": n}}) for n in (1, 2)]
    with pytest.raises(NewerFormat) as caught:
        fold(folds.state, [sound[0], operation(7, op, agent=2), sound[1]], now_ms=NOW_MS)
    assert (caught.value.fields["agent"], caught.value.fields["seq"]) == ("agent-2", 7)
    assert caught.value.fields["incarnation"] == incarnation_of(2)
    assert "agent-2" in str(caught.value)
    folds.state.tree.undo_to(mark)
    assert content_of(folds.state) == before
    assert folds.state.ids == {}


FRAME = {"seq": 1, "id": "a", "at": NOW_MS, "op": {"do": "merge", "patch": {}}}


@pytest.mark.parametrize(
    "change",
    [{"seq": None}, {"id": None}, {"id": 7}, {"id": []}, {"at": None}, {"at": "now"}, {"op": None}, {"op": []}],
    ids=json.dumps,
)
def test_a_frame_with_a_field_of_another_type_stops_the_fold(change: dict[str, Any]) -> None:
    """Its checksum holds, so that somebody meant it: a newer version, or a program that is no version at all."""
    folds = Folds.of()
    with pytest.raises(NewerFormat) as caught:
        fold_of_frames(folds, [orjson.dumps({**FRAME, **change})])
    assert caught.value.fields["agent"] == "bob"


@pytest.mark.parametrize(
    "payload",
    [b"{}", b"[]", b"7", b'{"seq":1}', b'{"seq":1,"id":"a","at":1,"op":', b'{"seq":1,"id":"\xff","at":1,"op":{}}'],
    ids=repr,
)
def test_a_frame_of_another_form_stops_the_fold(payload: bytes) -> None:
    with pytest.raises(NewerFormat) as caught:
        parse([orjson.dumps(FRAME), payload], "bob", incarnation_of(1))
    assert (caught.value.fields["agent"], caught.value.fields["incarnation"]) == ("bob", incarnation_of(1))


def fold_of_frames(folds: Folds, payloads: list[bytes]) -> list[list[Any]]:
    sequence = order([parse(payloads, "bob", incarnation_of(1))], floor_ms=0, now_ms=NOW_MS)
    return fold(folds.state, sequence, now_ms=NOW_MS)


def test_integers_beyond_64_bits_pass_through_a_frame_and_a_fold_line_exactly() -> None:
    folds = Folds.of()
    number = 2**70 + 1
    payload = json.dumps({**FRAME, "op": {"do": "merge", "patch": {"n": number}}, "exact": True}, separators=(",", ":"))
    folds.take(fold_of_frames(folds, [payload.encode()]))
    assert folds.state.value["n"] == number
    body = decode_line(encode_line({"rev": 2, "ops": copy.deepcopy(folds.receipts)}))
    assert body is not None
    assert body["ops"][0][6] == [["replace", ["value", "n"], number]]
