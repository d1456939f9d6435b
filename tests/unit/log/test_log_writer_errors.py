"""The writer when calls fail: nothing that it acknowledged is lost or doubled, synced or not (P21)."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from log_support import (
    RESOURCE,
    Follower,
    Syncs,
    a_member,
    an_op,
    failing,
    log_folder,
    log_paths,
    read_all,
    segments_of,
)

from coordinator.errors import NoRoom, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.limits import LOG_TRIES
from coordinator.log import segments
from coordinator.log.writer import LogWriter
from coordinator.testing import FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.testing import Call


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


CALLS = ["mkdir", "refresh", "create", "write", "sync", "sync_dir"]


class Seen:
    """A hook that has a follower look at every call, and then lets some calls fail. Tells how many did."""

    def __init__(self, follower: Follower, fails: FailAt) -> None:
        self._follower, self._fails = follower, fails
        self.failed = 0

    def __call__(self, call: Call) -> None:
        self._follower.look()
        try:
            self._fails(call)
        except OSError:
            self.failed += 1
            raise


@pytest.mark.parametrize("times", [1, LOG_TRIES, LOG_TRIES + 1])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op", CALLS)
def test_whatever_fails_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, op: str, when: Any, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader looks at every call at the seam, so that whatever could be seen was seen, and folded."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 400)
    plain = a_member(tmp_path)
    for nth in range(1, 8):
        shutil.rmtree(plain.places.of(RESOURCE), ignore_errors=True)
        follower = Follower(plain)
        hook = Seen(follower, FailAt(errno.EIO, op, contains="/tasks.json/@", nth=nth, times=times, when=when))
        writer = LogWriter(a_member(tmp_path, files=InterceptedFiles(SYSTEM_FILES, hook)), RESOURCE)
        acknowledged: list[int] = []
        unknown: list[int] = []
        while len(acknowledged) < 6 or acknowledged[-1] < len(acknowledged):
            number = len(acknowledged) + len(unknown) + 1
            try:
                writer.append([an_op(number)])
            except StoreUnavailable as error:
                if error.outcome_unknown:
                    unknown.append(number)
            else:
                acknowledged.append(number)
        failed = hook.failed
        writer.close()
        follower.look()
        assert follower.damaged == []
        assert follower.numbers() == sorted(acknowledged + unknown), "repeated, never dropped"
        assert read_all(plain).numbers() == follower.numbers()
        if hook.failed == failed:
            assert [position.state for position in follower.positions.values()] == ["ended"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op", ["write", "sync", "sync_dir"])
def test_after_an_error_nothing_more_is_written_to_a_segment(tmp_path: Path, op: str, when: Any) -> None:
    """P21."""
    fails, failed, calls = FailAt(errno.EIO, op, contains="/log", nth=2, when=when), set(), []

    def hook(call: Call) -> None:
        if call.op in {"write", "sync"} and call.when == "before":
            assert call.path not in failed, "a poisoned segment"
            calls.append(call.path)
        try:
            fails(call)
        except OSError:
            failed.update(calls[-1:])
            raise

    writer = failing(tmp_path, hook)
    for number in range(1, 30):
        writer.append([an_op(number, 9000)])
    assert len(failed) == 1
    assert read_all(writer._member).numbers() == list(range(1, 30))


def test_a_close_that_fails_does_no_harm(tmp_path: Path) -> None:
    """On NFS close may be the first to tell of an error; what was acknowledged was synced."""
    closed: list[str] = []

    class Closing(InterceptedFiles):
        def create(self, path: str, mode: int | None = None) -> Any:
            file = super().create(path, mode)
            real = file.close

            def close() -> None:
                real()
                closed.append(path)
                raise OSError(errno.EIO, "close", path)

            file.close = close  # type: ignore[method-assign]
            return file

    a_member(tmp_path)
    member = a_member(tmp_path, files=Closing(SYSTEM_FILES, lambda _call: None))
    writer = LogWriter(member, RESOURCE)
    for number in range(20):
        writer.append([an_op(number, 9000)])
    writer.close()
    assert len(closed) == 3
    assert read_all(member).numbers() == list(range(20))


def test_what_was_never_written_is_taken_back(tmp_path: Path) -> None:
    """No file could be made: the caller is told that it was not done, and it is not."""
    fails = FailAt(errno.EIO, "create", times=LOG_TRIES)
    writer = failing(tmp_path, fails)
    with pytest.raises(StoreUnavailable, match=r"^appending to the log of 'tasks\.json' failed: EIO") as caught:
        writer.append([an_op(1)])
    assert not caught.value.outcome_unknown
    assert fails.seen == LOG_TRIES
    assert writer.append([an_op(2)])[1:4] == (1, 1, 1)
    assert read_all(writer._member).numbers() == [2]


def test_a_full_disk_is_told_at_once_and_leaves_no_litter(tmp_path: Path) -> None:
    fails = FailAt(errno.ENOSPC, "write", nth=2, times=50)
    writer = failing(tmp_path, fails)
    writer.append([an_op(1)])
    for number in range(2, 52):
        with pytest.raises(NoRoom) as caught:
            writer.append([an_op(number)])
        assert caught.value.outcome_unknown
    assert fails.seen == 51
    assert segments_of(writer._member) == [1]
    written = writer.append([an_op(52)])
    assert (written.segment, written.last_seq) == (51, 52)
    assert read_all(writer._member).numbers() == list(range(1, 53))


def test_the_first_segment_stays_though_it_failed(tmp_path: Path) -> None:
    """A log without its first segment would be nobody's (P27)."""
    writer = failing(tmp_path, FailAt(errno.EIO, "sync"))
    assert writer.append([an_op(1)]).segment == 2
    assert segments_of(writer._member) == [1, 2]
    assert read_all(writer._member).numbers() == [1]


def test_a_file_whose_creation_was_not_told_of_is_passed_over(tmp_path: Path) -> None:
    writer = failing(tmp_path, FailAt(errno.EIO, "create", when="after", nth=2))
    for number in range(1, 12):
        writer.append([an_op(number, 9000)])
    assert segments_of(writer._member) == [1, 2, 3]
    assert os.path.getsize(log_paths(writer._member)[1]) == 0
    assert read_all(writer._member).numbers() == list(range(1, 12))


def test_a_strangers_file_is_not_touched(tmp_path: Path) -> None:
    """The next segment's name is there and this process never tried it: the machine or the folder was copied."""
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    before = writer.append([an_op(n, 9000) for n in range(8)]).incarnation
    stranger = f"{log_folder(member)}/bob.{before}.000002.log"
    with open(stranger, "wb") as file:
        file.write(b"another's")
    with pytest.raises(StoreUnavailable, match="not this process's") as caught:
        writer.append([an_op(8)])
    assert caught.value.cause.startswith("EEXIST")
    assert not caught.value.outcome_unknown
    written = writer.append([an_op(9)])
    assert written.incarnation != before
    assert written[1:4] == (1, 1, 1)
    with open(stranger, "rb") as file:
        assert file.read() == b"another's"


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    writer.append([an_op(1)])
    writer.restart()
    os.unlink(log_paths(member)[0])
    os.rmdir(log_folder(member))
    writer.append([an_op(2)])
    assert read_all(member).numbers() == [2]


def test_a_folder_that_was_removed_under_an_open_log_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    writer.append([an_op(1)])
    shutil.rmtree(log_folder(member))
    assert writer.append([an_op(2)]).segment == 2
    assert segments_of(member) == [2]


# ── without sync ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_synced_can_be_read_and_is_synced_later(tmp_path: Path) -> None:
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    for number in range(1, 6):
        writer.append([an_op(number)], sync=False)
        assert read_all(writer._member).numbers() == list(range(1, number + 1))
    assert syncs.count == 0
    writer.sync()
    writer.sync()
    assert syncs.count == 1
    writer.append([an_op(6)], sync=False)
    writer.append([an_op(7)])
    writer.sync()
    assert syncs.count == 2


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("op", ["write", "sync"])
def test_what_was_acknowledged_without_sync_is_repeated_after_an_error(tmp_path: Path, op: str, nth: int) -> None:
    writer = failing(tmp_path, FailAt(errno.EIO, op, nth=nth, contains=".log"))
    follower = Follower(writer._member)
    for number in range(1, 6):
        writer.append([an_op(number)], sync=number == 3)
        follower.look()
    writer.sync()
    writer.append([an_op(6)])
    follower.look()
    assert follower.numbers() == read_all(writer._member).numbers() == list(range(1, 7))
    assert follower.damaged == []


def test_what_was_acknowledged_without_sync_can_be_read_all_along(tmp_path: Path) -> None:
    """The second segment held nothing durable when it failed; but what it held was acknowledged."""
    fails = [FailAt(errno.EIO, "write", nth=2)]

    def hook(call: Call) -> None:
        fails[0](call)

    writer = failing(tmp_path, hook)
    writer.append([an_op(1)])
    writer.append([an_op(2)], sync=False)
    assert segments_of(writer._member) == [1, 2]
    fails[0] = FailAt(errno.EIO, "write", times=LOG_TRIES)
    with pytest.raises(StoreUnavailable):
        writer.append([an_op(3)])
    assert read_all(writer._member).numbers() == [1, 2]
    writer.close()
    assert read_all(writer._member).numbers() == [1, 2, 3]


def test_a_full_segment_is_synced_before_the_next(tmp_path: Path) -> None:
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    for number in range(9):
        writer.append([an_op(number, 9000)], sync=False)
    assert syncs.count == 1
    assert read_all(writer._member).numbers() == list(range(9))
