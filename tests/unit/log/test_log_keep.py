"""What happens to logs that are over: evidence is kept, and deleting leaves nothing that would be folded anew."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest
from log_support import RESOURCE, Follower, a_member, an_op, log_folder, log_paths, read_all, segments_of

from coordinator.errors import StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.log import segments
from coordinator.log.reader import Damage, LogReader, log_files, quarantine, remove_logs
from coordinator.log.writer import LogWriter
from coordinator.testing import FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.record.member import Member
    from coordinator.testing import Call


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return a_member(tmp_path)


@pytest.fixture
def writer(member: Member, monkeypatch: pytest.MonkeyPatch) -> LogWriter:
    """One that has written 20 operations into five segments; another has a log beside it."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 450)
    LogWriter(member, RESOURCE).append([an_op(99)])
    writer = LogWriter(member, RESOURCE)
    for number in range(20):
        writer.append([an_op(number)])
    return writer


def spoiled(member: Member, writer: LogWriter) -> Damage:
    path = next(path for path in log_paths(member) if f".{writer.incarnation}.000003" in path)
    with open(path, "r+b") as file:
        file.seek(300)
        file.write(b"#")
    follower = read_all(member)
    assert len(follower.damaged) == 1
    assert follower.damaged[0].path == path
    return follower.damaged[0]


def contents(paths: list[str]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        with open(path, "rb") as file:
            found[os.path.basename(path)] = file.read()
    return found


def test_the_files_of_a_log(member: Member, writer: LogWriter) -> None:
    names = log_files(member, RESOURCE, writer.incarnation)
    assert names == [f"bob.{writer.incarnation}.{segment:06d}.log" for segment in range(1, len(names) + 1)]
    assert len(names) > 4
    assert log_files(member, RESOURCE, "a" * 20) == []


def test_a_damaged_log_is_kept_as_it_was_found(member: Member, writer: LogWriter) -> None:
    damage = spoiled(member, writer)
    paths = quarantine(member, RESOURCE, damage)
    assert all(path.startswith(member.places.of(RESOURCE, "quarantine/")) for path in paths)
    own = [path for path in log_paths(member) if writer.incarnation in path]
    assert contents(paths[:-1]) == contents(own)
    report = json.loads(contents(paths)[f"bob.{writer.incarnation}.json"])
    assert report == {**damage._asdict(), "resource": "tasks.json", "kept": paths[:-1]}
    os.unlink(own[0])
    with open(own[1], "wb"):
        pass
    before = contents(paths)
    again = quarantine(member, RESOURCE, damage._replace(what="worse"))
    assert set(again) <= set(paths)
    assert contents(paths) == before, "what was found first is the evidence"


@pytest.mark.parametrize("op", ["mkdir", "listdir", "read", "create", "write", "sync", "rename", "sync_dir"])
@pytest.mark.parametrize("nth", [1, 3])
def test_setting_aside_can_be_tried_again(tmp_path: Path, member: Member, writer: LogWriter, op: str, nth: int) -> None:
    damage = spoiled(member, writer)
    fails = FailAt(errno.EIO, op, nth=nth)
    other = a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, lambda _call: None))
    other.files.hook = fails  # type: ignore[attr-defined]
    try:
        paths = quarantine(other, RESOURCE, damage)
    except StoreUnavailable:
        paths = quarantine(other, RESOURCE, damage)
    assert len(paths) == len(log_files(member, RESOURCE, writer.incarnation)) + 1
    assert contents(paths[:-1]) == contents([path for path in log_paths(member) if writer.incarnation in path])


def test_a_removed_log_is_gone_and_others_are_not(member: Member, writer: LogWriter) -> None:
    count = len(log_files(member, RESOURCE, writer.incarnation))
    assert remove_logs(member, RESOURCE, writer.incarnation) == count
    assert remove_logs(member, RESOURCE, writer.incarnation) == 0
    assert read_all(member).numbers() == [99]


def test_wherever_removing_stops_nothing_is_folded_anew(tmp_path: Path, member: Member, writer: LogWriter) -> None:
    own = writer.incarnation
    writer.close()
    follower = read_all(member)
    assert follower.positions[own].state == "ended"
    count = len(log_files(member, RESOURCE, own))
    for left in range(count - 1, -1, -1):
        calls: list[int] = []

        def hook(call: Call, calls: list[int] = calls) -> None:
            if call[:2] == ("before", "unlink"):
                calls.append(1)
                if len(calls) > 1:
                    raise OSError(errno.EIO, "the process is dead by now")

        remove_logs(a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, hook)), RESOURCE, own)
        assert len(log_files(member, RESOURCE, own)) == left
        batch = follower.look()
        assert batch.logs == []
        assert (batch.left, batch.absent) == (([own], []) if left else ([], [own]))
        stranger = LogReader(member, RESOURCE).read({})
        assert [new.after.incarnation for new in stranger.logs if new.after.incarnation == own] == []
        assert len(stranger.orphans) == left


def test_segments_that_were_folded_can_be_removed_while_the_log_goes_on(member: Member, writer: LogWriter) -> None:
    follower = read_all(member)
    position = follower.positions[writer.incarnation]
    remove_logs(member, RESOURCE, writer.incarnation, below=position.segment)
    assert segments_of(member) == [1, position.segment] or segments_of(member) == [position.segment, 1]
    for number in range(20, 40):
        writer.append([an_op(number)])
        follower.look()
    assert follower.damaged == []
    known = follower.payloads[writer.incarnation]
    assert len(known) == 40
    again = Follower(member, dict(follower.positions), {writer.incarnation: list(known)})
    again.payloads = follower.payloads
    writer.append([an_op(40)])
    batch = again.look()
    assert [len(new.payloads) for new in batch.logs] == [1]
    assert not os.path.exists(f"{log_folder(member)}/bob.{writer.incarnation}.000001.log")


def test_a_store_that_does_not_list_is_told_of(tmp_path: Path, member: Member, writer: LogWriter) -> None:
    other = a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, FailAt(errno.EIO, "listdir", contains="/log")))
    with pytest.raises(StoreUnavailable, match="listing the logs"):
        remove_logs(other, RESOURCE, writer.incarnation)
    assert len(log_files(member, RESOURCE, writer.incarnation)) > 4
