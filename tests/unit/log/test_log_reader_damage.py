"""The reader of segments that were cut, altered or mixed up: never a wrong operation, and damage is told (P22)."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from log_support import RESOURCE, Follower, a_member, an_op, log_folder, log_paths, payload_of, read_all
from segment_support import CHAIN, ENDS, FIRST, INCARNATION, SECOND, make_old, ops, put, segment_of, whole_before

from coordinator.log import reader as reader_module
from coordinator.log.opening import After
from coordinator.log.reader import Position
from coordinator.log.writer import LogWriter

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.record.member import Member


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return a_member(tmp_path)


# ── cut, altered, mixed up: one segment ──────────────────────────────────────────────────────────────────────────────


def test_truncated_at_every_byte_it_is_a_write_in_flight(member: Member) -> None:
    for cut in range(len(FIRST) + 1):
        put(member, 1, FIRST[:cut])
        follower = read_all(member)
        assert follower.damaged == []
        assert follower.payloads.get(INCARNATION, []) == ops(1, whole_before(cut))
        put(member, 1, FIRST)
        follower.look()
        assert follower.payloads[INCARNATION] == ops(1, 4), "it is looked at again"


def test_a_file_cut_behind_a_position_holds_nothing_new(member: Member) -> None:
    put(member, 1, FIRST)
    follower = read_all(member)
    for cut in range(len(FIRST)):
        put(member, 1, FIRST[:cut])
        assert follower.look()[:4] == ([], [], [], [])


def test_an_altered_byte_is_damage_wherever_it_is_and_what_precedes_it_counts(member: Member) -> None:
    for place, was in enumerate(FIRST):
        for other in {was ^ 1, was ^ 4, was ^ 16, was ^ 32, ord("\n")} - {was, 0}:
            path = put(member, 1, FIRST[:place] + bytes([other]) + FIRST[place + 1 :])
            follower = read_all(member)
            whole = whole_before(place)
            assert follower.payloads.get(INCARNATION, []) == ops(1, whole)
            assert len(follower.damaged) == 1
            damage = follower.damaged[0]
            bad = next((end for end in reversed([0, *ENDS]) if end <= place), 0)
            assert damage[:4] == (INCARNATION, "bob", path, bad)
            again = Follower(member, dict(follower.positions), dict(follower.payloads))
            again.look()
            assert again.damaged == follower.damaged, "told again, for as long as nobody has set it aside"


def test_a_hole_is_a_write_in_flight_until_it_has_stayed(member: Member) -> None:
    """Pages that reach a server in another order than they were written leave NUL bytes for a while."""
    for start in range(0, len(FIRST), 3):
        for end in {start + 1, start + 7, ENDS[2], ENDS[3], len(FIRST)}:
            if end <= start:
                continue
            path = put(member, 1, FIRST[:start] + bytes(end - start) + FIRST[end:])
            follower = read_all(member)
            assert follower.damaged == []
            assert follower.payloads.get(INCARNATION, []) == ops(1, whole_before(start))
            make_old(path)
            follower.look()
            assert len(follower.damaged) == (end <= ENDS[3]), "with nothing valid after it, it is a torn tail for good"
            put(member, 1, FIRST)
            follower.look()
            assert follower.payloads[INCARNATION] == ops(1, 4)


def test_lines_swapped_dropped_repeated_or_merged_are_damage(member: Member) -> None:
    lines = FIRST.splitlines(keepends=True)
    strange = segment_of(1, [payload.replace(b"pad", b"PAD") for payload in ops(1, 4)])[0].splitlines(keepends=True)
    cases = [
        (1, [lines[0], lines[2], lines[1], *lines[3:]]),
        (1, [lines[0], *lines[2:]]),
        (1, [lines[0], *lines[4:]]),
        (3, [*lines[:3], lines[2], *lines[3:]]),
        (2, [*lines[:2], *strange[2:]]),
        (0, lines[1:]),
        (5, [*lines, lines[0]]),
        (5, [*lines, *lines]),
    ]
    for bad, mixed in cases:
        put(member, 1, b"".join(mixed))
        follower = read_all(member)
        assert follower.payloads.get(INCARNATION, []) == ops(1, max(bad - 1, 0))
        assert [damage.offset for damage in follower.damaged] == [sum(map(len, lines[:bad]))]


@pytest.mark.parametrize(
    ("payloads", "whole", "what"),
    [
        ([*ops(1, 2), *ops(4, 5)], 2, "operation 4 stands after operation 2"),
        ([*ops(2, 3)], 0, "operation 2 stands after operation 0"),
        ([*ops(1, 3), *ops(2, 4)], 3, "operation 2 stands after operation 3"),
        ([*ops(1, 2), *ops(2, 2), *ops(4, 5)], 2, "operation 2 stands after operation 2"),
        ([*ops(1, 1), b'{"seq":0,"id":1}'], 1, "what is no operation stands after operation 1"),
        ([*ops(1, 1), b'{"other":1}', *ops(3, 3)], 1, "what is no operation stands after operation 1"),
        ([*ops(1, 1), b'{"end":{"seq":1}}', *ops(2, 3)], 1, "what is no operation stands after operation 1"),
    ],
)
def test_operations_that_do_not_count_up_are_damage(
    member: Member, payloads: list[bytes], whole: int, what: str
) -> None:
    put(member, 1, segment_of(1, payloads)[0])
    follower = read_all(member)
    assert follower.payloads.get(INCARNATION, []) == ops(1, whole)
    assert [damage.what for damage in follower.damaged] == [what]
    assert follower.damaged[0].offset == len(segment_of(1, payloads[:whole])[0])
    position = follower.positions[INCARNATION]
    assert (position.offset, position.seq) == (follower.damaged[0].offset, whole)


def test_damage_to_one_log_hinders_no_other(member: Member) -> None:
    put(member, 1, FIRST[:300].replace(b"op-1", b"op-X") + FIRST[300:])
    writer = LogWriter(member, RESOURCE)
    writer.append([an_op(1)])
    follower = read_all(member)
    assert [damage.incarnation for damage in follower.damaged] == [INCARNATION]
    assert follower.payloads[writer.incarnation] == [payload_of(1, 1)]


def test_the_grace_of_a_hole_is_what_makes_the_difference(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    put(member, 1, FIRST[: ENDS[1]] + bytes(20) + FIRST[ENDS[1] + 20 :])
    assert read_all(member).damaged == []
    monkeypatch.setattr(reader_module, "HOLE_SETTLE_MS", -60_000)
    assert len(read_all(member).damaged) == 1


def test_any_bytes_at_all_are_read_without_a_wrong_operation(member: Member) -> None:
    """A thousand logs put together from pieces of a real one."""
    import random

    chance = random.Random(5)
    whole = ops(1, 4)
    for _ in range(1000):
        data = FIRST
        for _ in range(chance.randint(1, 3)):
            start, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
            piece: Any = chance.choice([b"", data[start:end] * 2, bytes(end - start), data[end:] + data[:start], b"\n"])
            data = data[:start] + piece + data[end:]
        put(member, 1, data)
        found = read_all(member).payloads.get(INCARNATION, [])
        assert found == whole[: len(found)]


# ── segments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_successor_is_read_after_what_it_names(member: Member) -> None:
    put(member, 1, FIRST)
    put(member, 2, SECOND)
    assert read_all(member).payloads[INCARNATION] == ops(1, 7)


def test_what_stands_beyond_the_end_that_a_successor_names_is_ignored(member: Member) -> None:
    end = ENDS[2]
    second, _ = segment_of(2, ops(3, 6), After(1, end, segment_of(1, ops(1, 2))[1]))
    put(member, 2, second)
    for cut in range(end, len(FIRST) + 1):
        for beyond in (FIRST[end:cut], FIRST[end:cut] + b"\0\0", b"garbage\n" + FIRST[end:cut]):
            put(member, 1, FIRST[:end] + beyond)
            follower = read_all(member)
            assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 6), [])


def test_what_was_read_beyond_is_not_read_twice(member: Member) -> None:
    """P21: repeated byte for byte, under the same seqs."""
    for last in range(2, 5):
        shutil.rmtree(log_folder(member), ignore_errors=True)
        put(member, 1, segment_of(1, ops(1, last))[0])
        follower = read_all(member)
        second, _ = segment_of(2, ops(3, 6), After(1, ENDS[2], segment_of(1, ops(1, 2))[1]))
        for cut in range(0, len(second) + 1, 5):
            put(member, 2, second[:cut])
            follower.look()
        put(member, 2, second)
        follower.look()
        assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 6), [])


def test_a_segment_that_its_successor_does_not_name_is_passed_over(member: Member) -> None:
    after = After(1, len(FIRST), CHAIN)
    put(member, 1, FIRST)
    third, _ = segment_of(3, ops(5, 8), after)
    put(member, 3, third)
    for second in (b"", b"C1 ", b"garbage\n", bytes(100), SECOND, SECOND[:-10], segment_of(2, ops(5, 5), after)[0]):
        put(member, 2, second)
        assert read_all(member).payloads[INCARNATION] == ops(1, 8)
        assert read_all(member).damaged == []


def test_a_first_segment_that_never_counted_is_passed_over(member: Member) -> None:
    second, _ = segment_of(2, ops(1, 3), None)
    for first in (b"", b"C1", bytes(50), segment_of(1, ops(1, 1))[0]):
        put(member, 1, first)
        (member.files.stat(log_paths(member)[0]),)
        follower = read_all(member)
        put(member, 2, second)
        follower.look()
        assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 3), [])
        os.unlink(log_paths(member)[1])


def test_a_segment_cut_or_altered_before_the_end_that_its_successor_names_is_damage(member: Member) -> None:
    put(member, 2, SECOND)
    for cut in range(len(FIRST)):
        path = put(member, 1, FIRST[:cut])
        follower = read_all(member)
        assert follower.payloads.get(INCARNATION, []) == ops(1, whole_before(cut))
        assert [damage.path for damage in follower.damaged] == [path]
    for place in range(0, len(FIRST), 2):
        put(member, 1, FIRST[:place] + bytes([FIRST[place] ^ 1]) + FIRST[place + 1 :])
        follower = read_all(member)
        assert follower.payloads.get(INCARNATION, []) == ops(1, whole_before(place))
        assert len(follower.damaged) == 1


def test_a_hole_before_the_end_that_a_successor_names_is_damage_when_it_has_stayed(member: Member) -> None:
    put(member, 2, SECOND)
    for start in range(ENDS[0], len(FIRST), 5):
        path = put(member, 1, FIRST[:start] + bytes(len(FIRST) - start))
        follower = read_all(member)
        assert follower.damaged == []
        assert follower.payloads.get(INCARNATION, []) == ops(1, whole_before(start))
        make_old(path)
        follower.look()
        assert [damage.path for damage in follower.damaged] == [path]


def test_damage_in_a_segment_that_was_folded_is_not_looked_for(member: Member) -> None:
    path = put(member, 1, FIRST)
    follower = read_all(member)
    put(member, 2, SECOND)
    put(member, 1, FIRST[:200])
    follower.look()
    assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 7), [])
    follower = Follower(member, {INCARNATION: Position("bob", INCARNATION, 1, len(FIRST), CHAIN, 4, "open")})
    os.unlink(path)
    assert follower.reader.read(follower.positions).logs[0].payloads == ops(5, 7), "nor needed: it can be deleted"


def test_a_successor_of_another_chain_is_damage(member: Member) -> None:
    put(member, 1, FIRST)
    put(member, 2, segment_of(2, ops(5, 7), After(1, len(FIRST), CHAIN ^ 1))[0])
    follower = read_all(member)
    assert follower.payloads[INCARNATION] == ops(1, 4)
    assert [(damage.offset, "chain" in damage.what) for damage in follower.damaged] == [(len(FIRST), True)]


def test_a_successor_that_goes_on_from_within_a_frame_is_damage(member: Member) -> None:
    put(member, 1, FIRST)
    for end in (ENDS[3] - 1, ENDS[3] + 5, len(FIRST) - 1):
        put(member, 2, segment_of(2, ops(5, 7), After(1, end, CHAIN))[0])
        follower = read_all(member)
        assert len(follower.damaged) == 1
        assert follower.payloads[INCARNATION] == ops(1, whole_before(end))


def test_a_segment_that_is_missing_is_damage(member: Member) -> None:
    third, _ = segment_of(3, ops(8, 9), After(2, len(SECOND), 5))
    put(member, 1, FIRST)
    path = put(member, 2, SECOND)
    put(member, 3, third)
    os.unlink(path)
    follower = read_all(member)
    assert follower.payloads[INCARNATION] == ops(1, 4)
    assert [damage.path for damage in follower.damaged] == [path]
    put(member, 2, bytes(20))
    assert [damage.path for damage in read_all(member).damaged] == [path]


def test_altered_in_a_successor_is_damage_after_what_precedes_it(member: Member) -> None:
    put(member, 1, FIRST)
    for place in range(0, len(SECOND), 2):
        path = put(member, 2, SECOND[:place] + bytes([SECOND[place] ^ 1]) + SECOND[place + 1 :])
        follower = read_all(member)
        found = follower.payloads[INCARNATION]
        assert found == ops(1, len(found))
        assert len(found) >= 4
        assert [damage.path for damage in follower.damaged] == [path]
