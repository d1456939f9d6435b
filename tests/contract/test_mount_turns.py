"""The queue of the store on a directory: processes take turns, are stopped, killed or forked, and flock is refused."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from mount_support import NAME, failing, primitive_of
from support import a_free_record, fill, open_mount, race_for_positions

from coordinator.errors import StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.record import mount as mounting
from coordinator.record.store import Appended
from coordinator.testing import FailAt

if TYPE_CHECKING:
    from support import StoreKind


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
