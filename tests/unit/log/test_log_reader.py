"""The reader: everything that is new, once, and never a wrong operation, whatever became of the files (P22, P27)."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
from log_support import RESOURCE, Follower, a_member, an_op, log_folder, log_paths, payload_of, read_all
from support import an_id

from coordinator.errors import NewerFormat, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.log import reader as reader_module
from coordinator.log import segments, walk
from coordinator.log.frame import encode
from coordinator.log.opening import After, LogName, file_name, opening_payload
from coordinator.log.reader import LogReader, Position
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import FailAt, InterceptedFiles, StaleFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.record.member import Member
    from coordinator.testing import Call

INCARNATION: Final = an_id(7)


def put(member: Member, segment: int, data: bytes, *, agent: str = "bob", incarnation: str = INCARNATION) -> str:
    """Writes a log's file by hand; returns its path."""
    os.makedirs(log_folder(member), exist_ok=True)
    path = f"{log_folder(member)}/{file_name(LogName(agent, incarnation, segment))}"
    with open(path, "wb") as file:
        file.write(data)
    return path


def segment_of(
    segment: int, payloads: list[bytes], after: After | None = None, *, agent: str = "bob", resource: str = "tasks.json"
) -> tuple[bytes, int]:
    """A segment's bytes, and the chain at its end."""
    data, chain = encode(opening_payload(LogName(agent, INCARNATION, segment), resource, after), 0)
    for payload in payloads:
        line, chain = encode(payload, chain)
        data += line
    return data, chain


def ops(first: int, last: int) -> list[bytes]:
    return [payload_of(number, number) for number in range(first, last + 1)]


def make_old(path: str) -> None:
    """As if it had not been changed for an hour."""
    os.utime(path, (1, os.stat(path).st_mtime - 3600))


FIRST, CHAIN = segment_of(1, ops(1, 4))
SECOND, _ = segment_of(2, ops(5, 7), After(1, len(FIRST), CHAIN))
ENDS: Final = [len(segment_of(1, ops(1, last))[0]) for last in range(5)]  # of the opening, and of each operation


def whole_before(place: int) -> int:
    """How many operations of the first segment stand before a place."""
    return max(sum(end <= place for end in ENDS) - 1, 0)


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return a_member(tmp_path)


# ── what is new ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_folder_is_no_logs(member: Member) -> None:
    assert LogReader(member, RESOURCE).read({}) == ([], [], [], [], [], set())


def test_each_operation_is_returned_once(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 500)
    writers = [LogWriter(member, RESOURCE) for _ in range(3)]
    follower = Follower(member)
    for number in range(0, 60, 3):
        for i, writer in enumerate(writers[: 1 + number % 2 * 2]):
            writer.append([an_op(number + i)])
        batch = follower.look()
        assert len(batch.logs) == 1 + number % 2 * 2
        assert follower.look().logs == []
    assert follower.damaged == []
    assert sorted(follower.numbers()) == sorted(read_all(member).numbers())


def test_a_position_goes_through_json(member: Member) -> None:
    put(member, 1, FIRST)
    follower = read_all(member)
    position = follower.positions[INCARNATION]
    assert position == Position("bob", INCARNATION, 1, len(FIRST), CHAIN, 4, "open")
    assert Position(*json.loads(json.dumps(list(position)))) == position


def test_what_is_not_read_for_its_size_comes_first_the_next_time(member: Member) -> None:
    writers = [LogWriter(member, RESOURCE) for _ in range(4)]
    for i, writer in enumerate(writers):
        writer.append([an_op(100 * i + n, 1000) for n in range(50)])
    follower = Follower(member)
    order = []
    for _ in range(40):
        batch = follower.look(max_bytes=2000)
        order += [new.after.incarnation for new in batch.logs]
        for writer in writers[:1]:  # one who never stops does not keep the others waiting
            writer.append([an_op(9999)])
    assert set(order) == set(follower.positions) == {writer.incarnation for writer in writers}
    assert set(order[:4]) == set(follower.positions)
    while follower.look().logs:
        pass
    assert sorted(number for number in follower.numbers() if number != 9999) == [
        100 * i + n for i in range(4) for n in range(50)
    ]


@pytest.mark.parametrize("chunk", [200, 333, 1000])
@pytest.mark.parametrize("max_bytes", [1, 100, 300, 5000])
def test_wherever_a_read_ends_nothing_is_lost(
    member: Member, monkeypatch: pytest.MonkeyPatch, chunk: int, max_bytes: int
) -> None:
    monkeypatch.setattr(walk, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 700)
    writer = LogWriter(member, RESOURCE)
    for number in range(30):
        writer.append([an_op(number, number * 37 % 400)])
    writer.close()
    follower = Follower(member)
    for _ in range(40):
        follower.look(max_bytes)
    assert follower.numbers() == list(range(30))
    assert follower.damaged == []
    assert follower.positions[writer.incarnation if writer._log else next(iter(follower.positions))].state == "ended"


def test_a_frame_longer_than_a_read_is_read_whole(member: Member) -> None:
    writer = LogWriter(member, RESOURCE)
    writer.append([an_op(0)])
    writer.append([an_op(1, 900_000), an_op(2, 900_000), an_op(3)])
    follower = Follower(member)
    for _ in range(4):
        follower.look(max_bytes=1)
    assert follower.numbers() == [0, 1, 2, 3]


def count_calls(member_folder: Path, calls: list[Call], *, is_local: bool) -> Member:
    class Counted(InterceptedFiles):
        def is_local(self, path: str) -> bool:
            del path
            return is_local

    return a_member(member_folder, files=Counted(SYSTEM_FILES, calls.append))


@pytest.mark.parametrize(("is_local", "op"), [(True, "stat"), (False, "read_at")])
def test_a_log_without_news_costs_one_call_and_one_that_is_over_none(
    tmp_path: Path, is_local: bool, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 500)
    plain = a_member(tmp_path)
    writers = [LogWriter(plain, RESOURCE) for _ in range(5)]
    for writer in writers:
        for number in range(20):
            writer.append([an_op(number)])
    calls: list[Call] = []
    follower = Follower(count_calls(tmp_path, calls, is_local=is_local))
    follower.look()
    ended = writers[0].incarnation
    follower.positions[ended] = follower.positions[ended]._replace(state="ended")
    set_aside = writers[1].incarnation
    follower.positions[set_aside] = follower.positions[set_aside]._replace(state="quarantined")
    calls.clear()
    batch = follower.look()
    assert (batch.logs, sorted(batch.left)) == ([], sorted([ended, set_aside]))
    assert [call.op for call in calls if call.when == "before"] == ["listdir", op, op, op]


def test_another_host_sees_what_is_appended_at_once(tmp_path: Path) -> None:
    """On NFS a name that was absent, and a size, may be remembered; listing and opening anew ask the server (P6)."""
    writer = LogWriter(a_member(tmp_path, "alice"), RESOURCE)
    other = a_member(tmp_path, files=StaleFiles(SYSTEM_FILES))
    follower = Follower(other)
    for number in range(5):
        follower.look()
        writer.append([an_op(number)])
        follower.look()
        assert follower.numbers() == list(range(number + 1))


def test_a_fenced_log_is_read_and_stays_fenced(member: Member) -> None:
    put(member, 1, FIRST)
    follower = read_all(member)
    before = follower.positions[INCARNATION]._replace(state="fenced")
    put(member, 1, segment_of(1, ops(1, 6))[0])
    batch = LogReader(member, RESOURCE).read({INCARNATION: before})
    assert batch.logs[0].payloads == ops(5, 6)
    assert batch.logs[0].after.state == "fenced"


def test_an_ended_log_is_said_to_have_ended(member: Member) -> None:
    put(member, 1, segment_of(1, [*ops(1, 4), b'{"end":{"seq":4}}'])[0])
    batch = LogReader(member, RESOURCE).read({})
    assert (batch.logs[0].ended, batch.logs[0].after.state, batch.logs[0].payloads) == (True, "ended", ops(1, 4))


def test_an_end_that_comes_alone_is_news(member: Member) -> None:
    put(member, 1, FIRST)
    follower = read_all(member)
    put(member, 1, segment_of(1, [*ops(1, 4), b'{"end":{"seq":4}}'])[0])
    batch = follower.look()
    assert (batch.logs[0].ended, batch.logs[0].payloads) == (True, [])


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


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "case", ["another agent's", "another incarnation", "another segment", "another document's", "no opening"]
)
def test_a_file_that_was_copied_or_renamed_is_damage(member: Member, case: str) -> None:
    first = FIRST
    agent, incarnation, segment = "bob", INCARNATION, 1
    if case == "another agent's":
        agent = "eve"
    elif case == "another incarnation":
        incarnation = an_id(8)
    elif case == "another segment":
        put(member, 1, FIRST)
        segment = 2
    elif case == "another document's":
        first = segment_of(1, ops(1, 4), resource="other.json")[0]
    else:
        first = encode(payload_of(1, 1), 0)[0]
    path = put(member, segment, first, agent=agent, incarnation=incarnation)
    follower = read_all(member)
    assert follower.numbers() == ([1, 2, 3, 4] if segment == 2 else [])
    assert [damage[:4] for damage in follower.damaged] == [(incarnation, agent, path, 0)]
    assert ("copied or renamed" in follower.damaged[0].what) == (case != "no opening")


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("agent", ["alice", "eve"])
def test_a_copy_under_another_agents_name_does_not_harm_the_original(
    member: Member, is_known: bool, agent: str
) -> None:
    put(member, 1, segment_of(1, ops(1, 3))[0])
    follower = Follower(member)
    if is_known:
        follower.look()
    put(member, 1, FIRST)
    copy = put(member, 1, FIRST, agent=agent)
    batch = follower.look()
    assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 4), [])
    assert batch.orphans == [os.path.basename(copy)]


def test_what_is_not_the_name_of_a_log_is_nobodys(member: Member) -> None:
    put(member, 1, FIRST)
    names = ["x", "a.log", f"bob.{INCARNATION}.1.log", f"bob.{INCARNATION}.0000001.log", f".{INCARNATION}.000001.log"]
    for name in names:
        with open(f"{log_folder(member)}/{name}", "wb"):
            pass
    batch = LogReader(member, RESOURCE).read({})
    assert sorted(batch.orphans) == sorted(names)
    assert len(batch.logs) == 1


@pytest.mark.parametrize("agent", ["bob", "b.o.b", "bob@host-1.example", "0"])
def test_names_of_agents_may_hold_what_divides_names(tmp_path: Path, agent: str) -> None:
    member = a_member(tmp_path, agent)
    LogWriter(member, RESOURCE).append([an_op(1)])
    follower = read_all(member)
    assert [position.agent for position in follower.positions.values()] == [agent]


def test_a_resource_with_a_strange_name(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    resource = Resource.parse('ü/"q\\.json')
    LogWriter(member, resource).append([an_op(1)])
    batch = LogReader(member, resource).read({})
    assert len(batch.logs[0].payloads) == 1
    assert batch.damaged == []


def test_an_incarnation_without_its_first_segment_is_an_orphan_unless_it_is_known(member: Member) -> None:
    """P27: what is left of a log that was deleted, or comes back from a writer that was frozen, is not folded."""
    put(member, 2, SECOND)
    batch = LogReader(member, RESOURCE).read({})
    assert batch[:3] == ([], [], [])
    assert batch.orphans == [file_name(LogName("bob", INCARNATION, 2))]
    put(member, 2, segment_of(2, ops(1, 2), None)[0])
    assert len(LogReader(member, RESOURCE).read({}).orphans) == 1
    put(member, 2, SECOND)
    known = Position("bob", INCARNATION, 1, len(FIRST), CHAIN, 4, "open")
    batch = LogReader(member, RESOURCE).read({INCARNATION: known})
    assert batch.logs[0].payloads == ops(5, 7)
    assert batch.orphans == []


@pytest.mark.parametrize(("state", "is_synced"), [("open", False), ("ended", True), ("quarantined", True)])
def test_a_log_that_is_over_is_absent_only_when_that_is_durable(tmp_path: Path, state: str, is_synced: bool) -> None:
    """Its position is forgotten then; were the file to come back after a power failure, it would be folded anew."""
    plain = a_member(tmp_path)
    put(plain, 1, FIRST, incarnation=an_id(8))
    calls: list[Call] = []
    member = a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, calls.append))
    positions = {INCARNATION: Position("bob", INCARNATION, 1, 5, 5, 1, state)}
    batch = LogReader(member, RESOURCE).read(positions)
    assert batch.absent == [INCARNATION]
    assert ("sync_dir" in [call.op for call in calls]) == is_synced
    shutil.rmtree(log_folder(plain))
    assert LogReader(member, RESOURCE).read(positions).absent == [INCARNATION]


@pytest.mark.parametrize("segment", [1, 2])
def test_a_newer_version_is_told_and_nothing_is_guessed(member: Member, segment: int) -> None:
    put(member, 1, FIRST)
    payload = b'{"open":{"version":2,"who":"knows"}}'
    put(member, segment, encode(payload, 0)[0])
    with pytest.raises(NewerFormat, match=r"the log of bob \(.*\) is of version 2, from byte 0 of /") as caught:
        read_all(member)
    assert (caught.value.needs, caught.value.have) == (2, 1)
    assert caught.value.path == log_paths(member)[segment - 1]


# ── what happens meanwhile ───────────────────────────────────────────────────────────────────────────────────────────


def acting(folder: Path, when: tuple[str, str], name: str, act: Callable[[], None]) -> Member:
    """A member on files where, once, something happens at a call."""
    done: list[int] = []

    def hook(call: Call) -> None:
        if call[:2] == when and call.path.endswith(name) and not done:
            done.append(1)
            act()

    return a_member(folder, files=InterceptedFiles(SYSTEM_FILES, hook))


def test_a_file_that_vanishes_between_list_and_read_is_absent_this_time(tmp_path: Path) -> None:
    path = put(a_member(tmp_path), 1, FIRST)
    member = acting(tmp_path, ("after", "listdir"), "/log", lambda: os.unlink(path))
    assert LogReader(member, RESOURCE).read({}) == ([], [], [], [], [], set())


def test_what_looks_like_damage_is_looked_at_twice(tmp_path: Path) -> None:
    """Between list and read another compactor folded on and deleted, and the writer went on."""
    plain = a_member(tmp_path)
    put(plain, 1, FIRST)
    path = put(plain, 2, SECOND[:-1] + b"}\n")

    def go_on() -> None:
        put(plain, 2, SECOND)

    member = acting(tmp_path, ("after", "read_at"), ".000002.log", go_on)
    follower = read_all(member)
    assert (follower.payloads[INCARNATION], follower.damaged) == (ops(1, 7), [])
    put(plain, 2, SECOND[:-1] + b"}\n")
    assert [damage.path for damage in read_all(member).damaged] == [path]


@pytest.mark.parametrize("op", ["listdir", "read_at", "stat"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_store_that_does_not_answer_is_no_damage(tmp_path: Path, op: str, code: int) -> None:
    plain = a_member(tmp_path)
    path = put(plain, 1, FIRST)
    known = read_all(plain).positions
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"C1 ")
    hook = FailAt(code, op, contains="/log", times=100)
    member = count_calls(tmp_path, [], is_local=True)
    member.files.hook = hook  # type: ignore[attr-defined]
    reader = LogReader(member, RESOURCE)
    with pytest.raises(StoreUnavailable, match="reading the logs of") as caught:
        reader.read(known)
    assert caught.value.resource == "tasks.json"


def test_stale_files_are_gone(tmp_path: Path) -> None:
    put(a_member(tmp_path), 1, FIRST)
    member = a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, FailAt(errno.ESTALE, "read_at", contains="/log")))
    reader = LogReader(member, RESOURCE)
    assert reader.read({})[:2] == ([], [])
    assert reader.read({}).logs[0].payloads == ops(1, 4)


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
