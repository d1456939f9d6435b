"""The writer: what it acknowledged is there, in order, in files of its own, which say when they end."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from log_support import (
    RESOURCE,
    Syncs,
    a_member,
    an_op,
    failing,
    log_folder,
    log_paths,
    payload_of,
    read_all,
    segments_of,
)
from support import in_thread, wait_until

from coordinator.errors import BadValue, StoreUnavailable
from coordinator.limits import FRAME_MAX_BYTES, LOG_TRIES, SEGMENT_BYTES
from coordinator.log.frame import scan
from coordinator.log.opening import parse_opening
from coordinator.log.writer import LogWriter, Written
from coordinator.testing import FailAt

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.testing import Call


# ── in good times ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_made_before_the_first_operation(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    writer.sync()
    writer.close()
    assert not os.path.exists(log_folder(member))


def test_what_is_appended_is_in_the_log(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    first = writer.append([an_op(1)])
    second = writer.append([an_op(2), an_op(3)])
    path = f"{log_folder(member)}/bob.{writer.incarnation}.000001.log"
    assert log_paths(member) == [path]
    with open(path, "rb") as file:
        data = file.read()
    frames = scan(data, 0)
    opening = parse_opening(frames.payloads[0])
    assert opening is not None
    assert (opening.name, opening.resource, opening.after) == (("bob", writer.incarnation, 1), "tasks.json", None)
    assert frames.payloads[1:] == [payload_of(1, 1), payload_of(2, 2), payload_of(3, 3)]
    assert first == Written(writer.incarnation, 1, 1, 1, frames.ends[1])
    assert second == Written(writer.incarnation, 2, 3, 1, len(data))


def test_an_empty_append_appends_nothing(tmp_path: Path) -> None:
    writer = LogWriter(a_member(tmp_path), RESOURCE)
    writer.append([an_op(1)])
    assert writer.append([])[1:3] == (2, 1)
    assert writer.append([an_op(2)]).first_seq == 2


def test_the_name_is_synced_before_the_first_append_returns(tmp_path: Path) -> None:
    calls: list[Call] = []
    writer = failing(tmp_path, calls.append)
    writer.append([an_op(1)])
    done = [(call.op, call.path.rsplit("/", 1)[1]) for call in calls if call.when == "after"]
    name = f"bob.{writer.incarnation}.000001.log"
    assert done[-4:] == [("create", name), ("write", name), ("sync", name), ("sync_dir", "log")]
    calls.clear()
    writer.append([an_op(2)])
    assert [call.op for call in calls if call.when == "after"] == ["write", "sync"]


def test_a_full_segment_is_left_for_the_next_one(tmp_path: Path, no_open_files_left: None) -> None:
    del no_open_files_left
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    ends: dict[int, int] = {}
    for number in range(1, 40):
        written = writer.append([an_op(number, 9000)])
        ends[written.segment] = written.end
    assert segments_of(member) == [1, 2, 3, 4, 5]
    sizes = [os.path.getsize(path) for path in log_paths(member)]
    assert sizes == list(ends.values())
    assert all(SEGMENT_BYTES <= size < SEGMENT_BYTES + 9200 for size in sizes[:-1])
    for segment, path in enumerate(log_paths(member)[1:], 2):
        with open(path, "rb") as file:
            opening = parse_opening(scan(file.read(), 0).payloads[0])
        assert opening is not None
        assert opening.after is not None
        assert opening.after[:2] == (segment - 1, ends[segment - 1])
    assert read_all(member).numbers() == list(range(1, 40))
    writer.close()


@pytest.mark.parametrize("op", [b"", b"{}", b"[]", b'{"a":\n1}', an_op(1, FRAME_MAX_BYTES)])
def test_what_is_no_operation_is_refused_alone(tmp_path: Path, op: bytes) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    with pytest.raises(BadValue):
        writer.append([an_op(1), op])
    assert log_paths(member) == []
    assert writer.append([an_op(2)]).last_seq == 1


def test_the_longest_operation_fits(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    op = an_op(1, FRAME_MAX_BYTES - 200)
    writer.append([an_op(0), op, op])
    assert read_all(member).numbers() == [0, 1, 1]


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_writer_that_is_done_says_so(tmp_path: Path, no_open_files_left: None) -> None:
    """P27."""
    del no_open_files_left
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    writer.append([an_op(1)])
    writer.close()
    writer.close()
    with pytest.raises(BadValue, match="closed"):
        writer.append([an_op(2)])
    writer.sync()
    with open(log_paths(member)[0], "rb") as file:
        assert scan(file.read(), 0).payloads[-1] == b'{"end":{"seq":1}}'
    follower = read_all(member)
    assert next(iter(follower.positions.values())).state == "ended"


@pytest.mark.parametrize("op", ["write", "sync", "create"])
def test_a_store_that_does_not_answer_hinders_no_close(tmp_path: Path, op: str, no_open_files_left: None) -> None:
    del no_open_files_left
    writer = failing(tmp_path, FailAt(errno.EIO, op, nth=2, times=1000))
    writer.append([an_op(1)])
    writer.close()
    assert read_all(writer._member).numbers() == [1]


def test_close_repeats_what_was_left(tmp_path: Path) -> None:
    writer = failing(tmp_path, FailAt(errno.EIO, "write", nth=2, times=LOG_TRIES))
    writer.append([an_op(1)])
    with pytest.raises(StoreUnavailable):
        writer.append([an_op(2)])
    writer.close()
    follower = read_all(writer._member)
    assert follower.numbers() == [1, 2]
    assert next(iter(follower.positions.values())).state == "ended"


def test_a_log_that_was_fenced_is_left(tmp_path: Path, no_open_files_left: None) -> None:
    del no_open_files_left
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    first = writer.append([an_op(1)]).incarnation
    writer.restart("somebody else's")
    assert writer.append([an_op(2)]).incarnation == first
    writer.restart(first)
    second = writer.append([an_op(3)])
    assert second.incarnation != first
    assert second[1:4] == (1, 1, 1)
    writer.restart(first)
    assert writer.append([an_op(4)]).incarnation == second.incarnation
    states = {position.state for position in read_all(member).positions.values()}
    assert states == {"open"}
    writer.restart()


def test_a_log_can_be_left_while_it_is_written_to(tmp_path: Path, no_open_files_left: None) -> None:
    del no_open_files_left
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    syncs.go_on.clear()
    with in_thread(lambda: writer.append([an_op(1)])) as first:
        assert syncs.is_held.wait(30)
        with in_thread(lambda: writer.append([an_op(2)])) as second:
            wait_until(lambda: len(writer._queue) == 1)
            writer.restart(writer.incarnation)
            syncs.go_on.set()
    assert first[0].incarnation != second[0].incarnation
    assert sorted(read_all(writer._member).numbers()) == [1, 2]
    writer.restart()
