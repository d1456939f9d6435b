"""The reader: everything that is new, once, from files with the right names, whatever happens meanwhile (P22, P27)."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from log_support import RESOURCE, Follower, a_member, an_op, log_folder, log_paths, payload_of, read_all
from segment_support import CHAIN, FIRST, INCARNATION, SECOND, ops, put, segment_of
from support import an_id

from coordinator.errors import NewerFormat, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.log import segments, walk
from coordinator.log.frame import encode
from coordinator.log.opening import LogName, file_name
from coordinator.log.reader import LogReader, Position
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import FailAt, InterceptedFiles, StaleFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.record.member import Member
    from coordinator.testing import Call


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
