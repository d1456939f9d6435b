"""What the store on a directory promises besides: lost replies, late writers, damage, and the queue."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import (
    NOW_MS,
    a_free_record,
    an_author,
    fill,
    open_mount,
    put_by_hand,
    race_for_positions,
    remove_by_hand,
)

from coordinator.errors import CorruptRecord, NewerFormat, NoRoom, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.limits import APPEND_TRIES
from coordinator.names import Resource
from coordinator.record import collect as collecting
from coordinator.record import mount as mounting
from coordinator.record.record import encode
from coordinator.record.store import Appended, Beaten
from coordinator.testing import Call, FailAt, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import StoreKind

    from coordinator.record.mount import MountStore

NAME: Final = Resource.parse("tasks.json")


def primitive_of(mount: StoreKind) -> str:
    return mount.name.removeprefix("mount-")


def put_op(mount: StoreKind) -> str:
    """The call that is the commit point."""
    return "symlink" if mount.name == "mount-symlink" else "rename"


def failing(mount: StoreKind, hook: Callable[[Call], None]) -> MountStore:
    return open_mount(mount.root, primitive_of(mount), files=InterceptedFiles(SYSTEM_FILES, hook))


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_four_processes_exactly_one_wins_each_position(mount: StoreKind) -> None:
    context, count = multiprocessing.get_context("spawn"), 30
    barrier, told = context.Barrier(4), context.Queue()
    arguments = (mount.root, primitive_of(mount), count, barrier, told)
    processes = [context.Process(target=race_for_positions, args=arguments, daemon=True) for _ in range(4)]
    for process in processes:
        process.start()
    won = sorted(entry for _ in processes for entry in told.get(timeout=60))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert [n for n, _ in won] == list(range(1, count + 1))
    history = mount.open().history(Resource.parse("race"))
    assert [(record.n, record.request) for record in history] == won


HOLDER: Final = textwrap.dedent("""
    import os, signal, sys
    from coordinator.names import Resource
    from support import open_mount

    store = open_mount(sys.argv[1], sys.argv[2])
    with store.turn(Resource.parse("tasks.json")):
        os.kill(os.getpid(), signal.SIGSTOP)
""")


@pytest.fixture
def stopped_holder(mount: StoreKind) -> Any:
    """A process that was stopped while it held the turn."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, mount.root, primitive_of(mount)], env=environment, stdin=subprocess.DEVNULL
    ) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)


def test_a_stopped_holder_of_the_turn_delays_others_only_so_long(
    mount: StoreKind, stopped_holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "QUEUE_WAIT_MAX_MS", 150)
    store = mount.open()
    began = time.monotonic()
    with store.turn(NAME):
        waited_ms = (time.monotonic() - began) * 1000
        assert store.append(NAME, a_free_record(1), durable=True) == Appended(store.read(NAME), 1)  # type: ignore[arg-type]
    assert stopped_holder.poll() is None
    assert 149 <= waited_ms < 150 + 2000  # the library rounds up to whole milliseconds


def test_a_killed_holder_of_the_turn_delays_nobody(
    mount: StoreKind, stopped_holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "QUEUE_WAIT_MAX_MS", 60_000)
    stopped_holder.send_signal(signal.SIGKILL)
    stopped_holder.wait(60)
    began = time.monotonic()
    with mount.open().turn(NAME):
        assert time.monotonic() - began < 30


def test_a_turn_that_one_thread_takes_twice_waits_and_goes_on(
    mount: StoreKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounting, "QUEUE_WAIT_MAX_MS", 30)
    store = mount.open()
    with store.turn(NAME), store.turn(NAME):
        fill(store, NAME, 1)
    with store.turn(NAME):  # and all is given back
        assert lock_is_taken(mount)
    assert not lock_is_taken(mount)


def lock_is_taken(mount: StoreKind) -> bool:
    lock = SYSTEM_FILES.try_lock(f"{os.path.dirname(mount.chain(NAME))}/queue.lock")
    if lock:
        lock.unlock()
    return lock is None


def test_leaving_the_turn_frees_it_though_a_forked_child_shares_the_descriptor(mount: StoreKind) -> None:
    store = mount.open()
    with store.turn(NAME):
        child = os.fork()
        if child == 0:  # it has the open file, and does nothing with it
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        _, status = os.waitpid(child, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert lock_is_taken(mount)
    try:
        assert not lock_is_taken(mount)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_forked_child_is_not_stopped_by_locks_of_its_parents_threads(mount: StoreKind) -> None:
    store = open_mount(mount.root, primitive_of(mount))
    fill(store, NAME, 1)
    store._guard.acquire()  # as another thread may have done just then
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        store.after_fork()
        ok = store.append(NAME, a_free_record(2), durable=False)
        os._exit(0 if isinstance(ok, Appended) else 1)
    store._guard.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    newest = store.read(NAME)
    assert newest is not None
    assert newest.n == 2


# ── flock refused (P31) ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_refused_flock_is_told_with_its_cause_and_nothing_falls_back(mount: StoreKind, code: int) -> None:
    fill(mount.open(), NAME, 1)
    store = failing(mount, FailAt(code, "try_lock", times=1000))
    entered = False
    with pytest.raises(StoreUnavailable) as caught, store.turn(NAME):
        entered = True
    assert not entered
    assert caught.value.cause.startswith(f"{errno.errorcode[code]}: ")
    assert caught.value.resource == "tasks.json"
    assert not caught.value.outcome_unknown
    store.read(NAME)  # reading needs no lock


def test_a_turn_that_was_refused_does_not_stop_the_next_one(mount: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "QUEUE_WAIT_MAX_MS", 60_000)
    fill(mount.open(), NAME, 1)
    store = failing(mount, FailAt(errno.ENOLCK, "try_lock"))
    with pytest.raises(StoreUnavailable), store.turn(NAME):
        pass
    began = time.monotonic()
    with store.turn(NAME):
        assert time.monotonic() - began < 30


# ── failed appends are looked into (P7) ──────────────────────────────────────────────────────────────────────────────


def test_a_lost_reply_is_recognised_as_won(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", when="after"))
    record = a_free_record(3)
    assert store.append(NAME, record, durable=True) == Appended(record, 3)
    assert len(mount.open().history(NAME)) == 3


def test_a_lost_reply_after_which_others_built_on_it_is_recognised_too(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    other, seen = mount.open(), []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op == put_op(mount) and "/chain/" in call.path:
            seen.append(other.append(NAME, a_free_record(4), durable=False))
            raise OSError(errno.ETIMEDOUT, "the reply was lost")

    result = failing(mount, hook).append(NAME, a_free_record(3, 33), durable=True)
    assert isinstance(result, Appended)
    assert isinstance(seen[0], Appended)
    assert [record.n for record in other.history(NAME)] == [1, 2, 3, 4]


def test_an_error_that_left_nothing_is_tried_again(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", times=APPEND_TRIES - 1))
    record = a_free_record(3)
    assert store.append(NAME, record, durable=True) == Appended(record, 3)


def test_an_error_that_stays_leaves_the_outcome_unknown(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", times=1000))
    with pytest.raises(StoreUnavailable) as caught:
        store.append(NAME, a_free_record(3), durable=True)
    assert caught.value.outcome_unknown
    assert caught.value.cause.startswith("EIO: ")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_no_room_is_certain_and_told_as_such(mount: StoreKind, code: int) -> None:
    fill(mount.open(), NAME, 2)
    hook = FailAt(code, put_op(mount), contains="/chain/", times=1000)
    with pytest.raises(NoRoom) as caught:
        failing(mount, hook).append(NAME, a_free_record(3), durable=True)
    assert not caught.value.outcome_unknown
    assert hook.seen == 1  # trying again would change nothing
    assert len(mount.open().history(NAME)) == 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_no_permission_is_certain(mount: StoreKind, code: int) -> None:
    fill(mount.open(), NAME, 2)
    with pytest.raises(StoreUnavailable) as caught:
        failing(mount, FailAt(code, put_op(mount), contains="/chain/", times=1000)).append(
            NAME, a_free_record(3), durable=True
        )
    assert not caught.value.outcome_unknown


def test_a_sync_that_fails_leaves_the_outcome_unknown_and_a_retry_settles_it(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store, record = failing(mount, FailAt(errno.EIO, "sync_dir", contains="/chain")), a_free_record(3)
    with pytest.raises(StoreUnavailable) as caught:
        store.append(NAME, record, durable=True)
    assert caught.value.outcome_unknown
    assert store.append(NAME, record, durable=True) == Appended(record, 3)
    assert len(mount.open().history(NAME)) == 3


def test_a_folder_that_vanished_is_made_again(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    shutil.rmtree(os.path.join(mount.root, ".coordinator", "resources", "tasks.json"))
    record = a_free_record(1)
    assert mount.open().append(NAME, record, durable=True) == Appended(record, 1)


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_append_syncs_the_chain(mount: StoreKind, durable: bool) -> None:
    fill(mount.open(), NAME, 2)
    calls: list[Call] = []
    store = failing(mount, calls.append)
    store.append(NAME, a_free_record(3), durable=durable)
    ops = [call.op for call in calls if call.when == "after" and call.path.startswith(mount.chain(NAME))]
    assert ops.count("sync_dir") == durable
    if durable:  # what was put is made durable, not what was there before
        assert ops.index(put_op(mount)) < ops.index("sync_dir")


# ── late writers and collection (P18) ────────────────────────────────────────────────────────────────────────────────


def stray(mount: StoreKind, count: int = 10, keep: int = 2) -> tuple[Any, MountStore]:
    """A chain whose records 1 … count - keep were collected; returns the newest record and a store."""
    store = open_mount(mount.root, primitive_of(mount))
    fill(store, NAME, count)
    store.collect(NAME, an_author(1), keep=keep)
    return store.read(NAME), store


def test_a_thawed_writer_that_takes_a_deleted_number_finds_that_it_lost(mount: StoreKind) -> None:
    newest, _ = stray(mount)
    assert not os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")
    assert mount.open().append(NAME, a_free_record(4), durable=True) == Beaten(newest)
    assert os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")  # it did put it there, and nobody believes it
    assert mount.open().read(NAME) == newest
    history = mount.open().history(NAME)
    assert (history[3].n, history[3].request) == (4, a_free_record(4, 4).request)


def test_what_a_thawed_writer_left_is_deleted_with_the_next_collection(mount: StoreKind) -> None:
    _, store = stray(mount)
    mount.open().append(NAME, a_free_record(4), durable=True)
    store.collect(NAME, an_author(1), keep=2)
    assert not os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")
    assert [record.n for record in store.history(NAME)] == list(range(1, 13))


def test_an_outcome_that_the_archive_no_longer_tells_is_unknown(mount: StoreKind) -> None:
    stray(mount)
    shutil.rmtree(f"{os.path.dirname(mount.chain(NAME))}/history")
    with pytest.raises(StoreUnavailable) as caught:
        mount.open().append(NAME, a_free_record(4), durable=True)
    assert caught.value.outcome_unknown


def test_the_floor_stands_in_the_chain_and_the_archive_is_whole_before_anything_is_deleted(mount: StoreKind) -> None:
    records, witnessed = fill(mount.open(), NAME, 10), []

    def hook(call: Call) -> None:
        removes = call.op == ("unlink" if put_op(mount) == "symlink" else "rename")
        if call.when == "before" and removes and (mount.chain(NAME) in call.path or "/trash-" in call.path):
            witness = mount.open()
            newest = witness.read(NAME)
            assert newest is not None
            witnessed.append((newest.floor, witness.history(NAME)[:10] == records))

    failing(mount, hook).collect(NAME, an_author(1), keep=3)
    removals = [entry for entry in witnessed if entry[0] > 1]
    assert len(removals) >= 7
    assert set(removals) == {(8, True)}


@pytest.mark.parametrize("nth", range(1, 40))
def test_a_collection_that_fails_anywhere_loses_nothing_and_the_next_one_ends_it(mount: StoreKind, nth: int) -> None:
    fill(mount.open(), NAME, 8)
    passed = 0

    def hook(call: Call) -> None:
        nonlocal passed
        if call.when == "before" and call.op not in {"listdir", "readlink", "read", "stat", "touch"}:
            passed += 1
            if passed >= nth:
                raise OSError(errno.EIO, "the mount is gone", call.path)

    try:
        failing(mount, hook).collect(NAME, an_author(1), keep=2)
    except StoreUnavailable:
        assert passed >= nth
    store = mount.open()
    before = [record.n for record in store.history(NAME)]
    assert before[:8] == list(range(1, 9))
    store.collect(NAME, an_author(2), keep=2)
    newest = store.read(NAME)
    assert newest is not None
    assert [record.n for record in store.history(NAME)] == list(range(1, newest.n + 1))
    standing = sorted(int(name) for name in os.listdir(mount.chain(NAME)))
    assert standing == list(range(newest.floor, newest.n + 1))


def test_many_small_segments_become_one(mount: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "HISTORY_SEGMENTS_MAX", 2)
    store, floor = mount.open(), 1
    for n in (1, 3, 5, 7, 9, 11):
        for record in (a_free_record(n, floor=floor),):
            assert isinstance(store.append(NAME, record, durable=False), Appended)
        store.collect(NAME, an_author(1), keep=1)
        newest = store.read(NAME)
        assert newest is not None
        floor = newest.floor
        assert newest.n == (n if n == 1 else n + 1) or newest.n == n
        if newest.n == n:
            store.append(NAME, a_free_record(n + 1, floor=floor), durable=False)
    segments = os.listdir(f"{os.path.dirname(mount.chain(NAME))}/history")
    assert len(segments) <= 3
    history = store.history(NAME)
    assert [record.n for record in history] == list(range(1, history[-1].n + 1))


def test_the_oldest_history_goes_first_when_there_is_too_much(
    mount: StoreKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mount.open()
    fill(store, NAME, 20)
    store.collect(NAME, an_author(1), keep=10)
    assert [record.n for record in store.history(NAME)] == list(range(1, 22))
    monkeypatch.setattr(collecting, "HISTORY_MAX_BYTES", 1500)
    store.collect(NAME, an_author(1), keep=6)
    left = [record.n for record in store.history(NAME)]
    assert left[0] == 11
    assert left == list(range(11, 23))


def test_old_history_is_dropped(mount: StoreKind) -> None:
    stray(mount)
    folder = f"{os.path.dirname(mount.chain(NAME))}/history"
    (segment,) = os.listdir(folder)
    os.utime(f"{folder}/{segment}", (1, 1))
    mount.open().collect(NAME, an_author(1), keep=500)
    assert os.listdir(folder) == []


def test_a_segment_that_was_cut_while_it_was_written_tells_what_it_can(mount: StoreKind) -> None:
    stray(mount)
    folder = f"{os.path.dirname(mount.chain(NAME))}/history"
    (segment,) = os.listdir(folder)
    os.truncate(f"{folder}/{segment}", os.path.getsize(f"{folder}/{segment}") - 5)
    assert [record.n for record in mount.open().history(NAME)] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11]


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_newest_record_is_refused_with_its_path(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 3)
    path = put_by_hand(mount, NAME, 4, encode(a_free_record(4))[:-1] + "!")
    with pytest.raises(CorruptRecord) as caught:
        mount.open().read(NAME)
    assert (caught.value.path, caught.value.where, caught.value.resource) == (path, "crc", "tasks.json")
    remove_by_hand(mount, NAME, 4)  # the hint's advice
    newest = mount.open().read(NAME)
    assert newest is not None
    assert newest.n == 3


def test_a_record_under_another_number_is_refused(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 3)
    put_by_hand(mount, NAME, 4, encode(a_free_record(3)))
    with pytest.raises(CorruptRecord) as caught:
        mount.open().read(NAME)
    assert caught.value.where == "n"


def test_a_newer_record_is_newer_and_not_damaged(mount: StoreKind) -> None:
    import zlib

    fill(mount.open(), NAME, 1)
    body = "v=2/n=2/all=else"
    put_by_hand(mount, NAME, 2, f"{body}/crc={zlib.crc32(body.encode()):08x}")
    with pytest.raises(NewerFormat):
        mount.open().read(NAME)


def test_a_plain_file_in_the_place_of_a_record_is_refused(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    with open(f"{mount.chain(NAME)}/{2:012d}", "w", encoding="ascii") as file:
        file.write("copied by a tool that follows links")
    with pytest.raises((CorruptRecord, StoreUnavailable)):
        mount.open().read(NAME)


def test_a_damaged_old_record_stops_a_collection_before_it_deletes(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 9)
    remove_by_hand(mount, NAME, 4)
    put_by_hand(mount, NAME, 4, "v=1/n=4/cut")
    before = sorted(os.listdir(mount.chain(NAME)))
    with pytest.raises(CorruptRecord):
        mount.open().collect(NAME, an_author(1), keep=2)
    assert sorted(os.listdir(mount.chain(NAME))) == before


def test_names_in_the_chain_that_are_not_ours_are_left_alone(mount: StoreKind) -> None:
    records = fill(mount.open(), NAME, 3)
    for name in (".nfs000000000123", "000000000004.tmp", "99", "x" * 12, "000000000003~"):
        with open(f"{mount.chain(NAME)}/{name}", "w", encoding="ascii"):
            pass
    assert mount.open().read(NAME) == records[-1]
    mount.open().collect(NAME, an_author(1), keep=1)
    assert len(os.listdir(mount.chain(NAME))) == 5 + 2


def test_a_chain_that_went_back_is_not_believed(mount: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "LIST_TRIES", 3)
    store = mount.open()
    fill(store, NAME, 3)
    assert store.read(NAME) is not None
    remove_by_hand(mount, NAME, 3)
    with pytest.raises(StoreUnavailable, match="record 2, and 3"):
        store.read(NAME)


def test_a_record_collected_between_listing_and_reading_is_looked_for_anew(mount: StoreKind) -> None:
    records = fill(mount.open(), NAME, 3)
    reads = "readlink" if put_op(mount) == "symlink" else "read"
    moved = False

    def hook(call: Call) -> None:
        nonlocal moved
        if call.when == "before" and call.op == reads and not moved:
            moved = True
            mount.open().append(NAME, a_free_record(4, 44), durable=False)
            remove_by_hand(mount, NAME, 3)

    found = failing(mount, hook).read(NAME)
    assert found is not None
    assert (found.n, found.request) == (4, a_free_record(4, 44).request)
    assert records[2].n == 3


# ── a store that does not answer ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call", ["read", "history", "collect", "resources", "now_ms"])
def test_whatever_fails_is_told_as_unavailable(mount: StoreKind, call: str) -> None:
    fill(mount.open(), NAME, 3)

    def hook(at: Call) -> None:
        if at.when == "before":
            raise OSError(errno.EIO, "gone", at.path)

    store = failing(mount, hook)
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(NAME),
        "history": lambda: store.history(NAME),
        "collect": lambda: store.collect(NAME, an_author(1), keep=1),
        "resources": lambda: list(store.resources()),
        "now_ms": store.now_ms,
    }
    with pytest.raises(StoreUnavailable) as caught:
        calls[call]()
    assert caught.value.cause.startswith("EIO: ")


def test_a_store_that_may_only_be_read_refuses_every_write(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    newer = NewerFormat("too new", path=mount.root, needs=2, have=1)
    store = open_mount(mount.root, primitive_of(mount))
    store._newer = newer
    assert store.read(NAME) is not None
    with pytest.raises(NewerFormat):
        store.append(NAME, a_free_record(2), durable=True)
    with pytest.raises(NewerFormat), store.turn(NAME):
        pass


def test_folders_that_are_not_ours_are_no_resources(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    resources = os.path.join(mount.root, ".coordinator", "resources")
    os.makedirs(f"{resources}/lost+found/deep")
    os.makedirs(f"{resources}/@/chain")  # the state folder of no name at all
    with open(f"{resources}/notes.txt", "w", encoding="ascii"):
        pass
    assert list(mount.open().resources()) == ["tasks.json"]


def test_the_stores_clock_is_the_file_systems(mount: StoreKind) -> None:
    store = mount.open()
    now_ms = store.now_ms()
    (name,) = os.listdir(os.path.join(mount.root, ".coordinator", "clock"))
    path = os.path.join(mount.root, ".coordinator", "clock", name)
    assert os.stat(path).st_mtime_ns // 1_000_000 == now_ms
    os.unlink(path)  # swept as old
    assert store.now_ms() >= now_ms
    assert now_ms < NOW_MS * 2


def test_no_descriptor_is_left_open(mount: StoreKind, no_open_files_left: None) -> None:  # noqa: ARG001 - the fixture looks
    store = mount.open()
    with store.turn(NAME):
        fill(store, NAME, 5)
    store.collect(NAME, an_author(1), keep=1)
    store.now_ms()
    store.history(NAME)
    with pytest.raises(StoreUnavailable), failing(mount, FailAt(errno.ENOLCK, "try_lock")).turn(NAME):
        pass
