"""The writer: what it acknowledged is there, whatever failed in between, once, in order, in files of its own."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from log_support import RESOURCE, Follower, a_member, an_op, log_folder, log_paths, payload_of, read_all, segments_of
from support import in_thread, together, wait_until

from coordinator.errors import BadValue, NoRoom, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.limits import FRAME_MAX_BYTES, LOG_TRIES, SEGMENT_BYTES
from coordinator.log import segments
from coordinator.log.frame import scan
from coordinator.log.opening import parse_opening
from coordinator.log.writer import LogWriter, Written, _Call
from coordinator.testing import FailAt, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.testing import Call


def failing(folder: Path, hook: Callable[[Call], None]) -> LogWriter:
    """A writer on files with a hook."""
    a_member(folder)
    return LogWriter(a_member(folder, files=InterceptedFiles(SYSTEM_FILES, hook)), RESOURCE)


class Syncs:
    """A hook that counts the syncs of logs' files, and can hold the first one up."""

    def __init__(self) -> None:
        self.count = 0
        self.is_held = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, call: Call) -> None:
        if call[:2] == ("before", "sync") and call.path.endswith(".log"):
            self.count += 1
            self.is_held.set()
            assert self.go_on.wait(30)


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


# ── many threads ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_sync_covers_all_who_wait(tmp_path: Path) -> None:
    """P20. The first sync is held until nine others wait; one more is enough for all of them."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    writer.append([an_op(0)])
    syncs.count = 0
    syncs.is_held.clear()
    syncs.go_on.clear()
    with in_thread(lambda: writer.append([an_op(1)])):
        assert syncs.is_held.wait(30)

        waiting = [partial(writer.append, [an_op(n), an_op(100 + n)]) for n in range(2, 11)]
        with in_thread(partial(together, *waiting)) as outcome:
            wait_until(lambda: len(writer._queue) == 9)
            syncs.go_on.set()
        assert syncs.count == 2
    seqs = sorted(written[1:3] for written in outcome[0])
    assert seqs == [(first, first + 1) for first in range(3, 21, 2)]
    follower = read_all(writer._member)
    assert len(follower.numbers()) == 20
    for written, n in zip(outcome[0], range(2, 11), strict=True):
        known = follower.payloads[written.incarnation]
        assert known[written.first_seq - 1 : written.last_seq] == [
            payload_of(written.first_seq, n),
            payload_of(written.last_seq, 100 + n),
        ]


def test_a_crowd_of_threads_loses_nothing(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)

    def some(thread: int) -> None:
        for i in range(40):
            number = thread * 1000 + i
            written = writer.append([an_op(number, 500)])
            assert written.first_seq == written.last_seq

    together(*(partial(some, n) for n in range(8)))
    numbers = read_all(member).numbers()
    assert sorted(numbers) == [thread * 1000 + i for thread in range(8) for i in range(40)]
    for thread in range(8):
        own = [number for number in numbers if number // 1000 == thread]
        assert own == sorted(own)


def test_an_error_is_told_to_everybody_in_the_group_and_each_its_own(tmp_path: Path) -> None:
    syncs, fails = Syncs(), FailAt(errno.EIO, "write", nth=2, times=1000)

    def hook(call: Call) -> None:
        fails(call)
        syncs(call)

    writer = failing(tmp_path, hook)
    syncs.go_on.clear()
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            writer.append([an_op(number)])
        except StoreUnavailable as error:
            errors.append(error)

    with in_thread(lambda: writer.append([an_op(0)])):
        assert syncs.is_held.wait(30)
        with in_thread(partial(together, *(partial(one, n) for n in (1, 2, 3)))):
            wait_until(lambda: len(writer._queue) == 3)
            syncs.go_on.set()
    assert len({id(error) for error in errors}) == 3
    assert all(isinstance(error, StoreUnavailable) and error.outcome_unknown for error in errors)


@pytest.mark.parametrize("op", ["write", "sync"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_of_the_one_who_leads_stops_nobody_else(tmp_path: Path, op: str, when: str) -> None:
    armed = [False]

    def hook(call: Call) -> None:
        if armed[0] and call[:2] == (when, op):
            armed[0] = False
            raise KeyboardInterrupt

    writer = failing(tmp_path, hook)
    writer.append([an_op(1)])
    armed[0] = True
    with pytest.raises(KeyboardInterrupt):
        writer.append([an_op(2)])
    written = writer.append([an_op(3)])
    assert (written.segment, written.last_seq) == (2, 3)
    assert read_all(writer._member).numbers() == [1, 2, 3]


class Gone(Exception):
    """Stands for an interrupt."""


class Gate:
    """A lock whose second acquisition, the one that waits, is interrupted: at once, or when it was opened."""

    def __init__(self, *, is_opened: bool) -> None:
        self._lock = threading.Lock()
        self._is_opened = is_opened
        self._closed = 0

    def acquire(self) -> None:
        self._closed += 1
        if self._closed == 1 or self._is_opened:
            assert self._lock.acquire(timeout=30)
        if self._closed == 2:
            raise Gone

    def release(self) -> None:
        self._lock.release()


@pytest.mark.parametrize("is_opened", [False, True])
def test_an_interrupt_of_one_who_waits_stops_nobody_else(tmp_path: Path, is_opened: bool) -> None:
    """The one that would lead next, or was just told to, goes away; the one behind it leads instead."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    syncs.go_on.clear()
    call = _Call([an_op(2)], sync=True)
    call.gate = Gate(is_opened=is_opened)  # type: ignore[assignment]
    with in_thread(lambda: writer.append([an_op(1)])):
        assert syncs.is_held.wait(30)
        with in_thread(lambda: writer._run(call)) as gone:
            wait_until(lambda: writer._queue == ([call] if is_opened else []) and bool(is_opened or gone))
            with in_thread(lambda: writer.append([an_op(3)])) as outcome:
                wait_until(lambda: len(writer._queue) == (2 if is_opened else 1))
                syncs.go_on.set()
    assert isinstance(gone[0], Gone)
    assert outcome[0].last_seq == 2
    assert read_all(writer._member).numbers() == [1, 3]


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


# ── forks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def appended(writer: LogWriter, number: int) -> None:
    writer.append([an_op(number)])


def in_child(body: Callable[[], None]) -> None:
    """Runs a body in a forked child, and sees that it ends well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_writes_a_log_of_its_own(tmp_path: Path) -> None:
    member = a_member(tmp_path)
    writer = LogWriter(member, RESOURCE)
    own = writer.append([an_op(1)]).incarnation

    def child() -> None:
        for number in range(101, 104):
            assert writer.append([an_op(number)]).incarnation != own
        writer.close()

    in_child(child)
    assert writer.append([an_op(2)])[:4] == (own, 2, 2, 1)
    follower = read_all(member)
    assert [len(known) for known in follower.payloads.values()].count(2) == 1
    assert sorted(follower.numbers()) == [1, 2, 101, 102, 103]
    states = {key: position.state for key, position in follower.positions.items()}
    assert states.pop(own) == "open"
    assert list(states.values()) == ["ended"]


def test_a_child_forked_in_the_middle_of_an_append_can_append(tmp_path: Path) -> None:
    """Another thread leads, a third waits; in the child neither is there to let go of anything."""
    syncs = Syncs()
    writer = failing(tmp_path, syncs)
    writer.append([an_op(1)])
    syncs.is_held.clear()
    syncs.go_on.clear()
    with in_thread(lambda: writer.append([an_op(2)])):
        assert syncs.is_held.wait(30)
        with in_thread(lambda: writer.append([an_op(3)])):
            wait_until(lambda: len(writer._queue) == 1)

            def child() -> None:
                syncs.go_on.set()
                assert writer.append([an_op(4)])[1:3] == (1, 1)

            with writer._guard:  # as if a thread that the child has not held it
                in_child(child)
            syncs.go_on.set()
    numbers = read_all(writer._member).numbers()
    assert sorted(numbers) == [1, 2, 3, 4]


def test_a_child_does_not_repeat_what_its_parent_could_not_write(tmp_path: Path) -> None:
    writer = failing(tmp_path, FailAt(errno.EIO, "sync", times=LOG_TRIES))
    with pytest.raises(StoreUnavailable):
        writer.append([an_op(1)])
    in_child(writer.close)
    in_child(lambda: appended(writer, 2))
    assert sorted(read_all(writer._member).numbers()) == [1, 2], "the first segment shows it, and stays"
    writer.append([an_op(3)])
    assert sorted(read_all(writer._member).numbers()) == [1, 2, 3]


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
