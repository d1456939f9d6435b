"""A lease among threads, renewed in the background, and in a forked child."""

from __future__ import annotations

import errno
import gc
import os
import signal
import threading

import pytest
from support import together, wait_until

from coordinator import DocumentLease, LeaseLost, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, FailAt, InterceptedFiles

NAME = "tasks.json"


def test_many_threads_share_one_lease(workspace: Workspace) -> None:
    with workspace.lease(NAME, ttl=600) as lease:

        def run(i: int) -> list[int]:
            revisions = []
            for j in range(5):
                lease.check()
                revisions.append(lease.commit(f"{i} {j}".encode()).revision)
                lease.renew()
            return revisions

        revisions = sorted(revision for told in together(*[lambda i=i: run(i) for i in range(6)]) for revision in told)
    assert revisions == list(range(1, 31))
    assert workspace.document(NAME).revision == 30


def test_many_threads_share_one_workspace(workspace: Workspace) -> None:
    def run() -> None:
        for _ in range(5):
            with workspace.lease("count", ttl=60, wait=60) as lease:
                number = int(lease.read()) if workspace.document("count").revision else 0
                lease.commit(str(number + 1).encode())

    together(*[run] * 6)
    assert workspace.document("count").read() == b"30"


class Renewals:
    """A hook that tells when the chain was appended to so many times."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.reached = threading.Event()

    def __call__(self, call: Call) -> None:
        if call.when == "after" and call.op == "symlink" and "/chain/" in call.path:
            self._left -= 1
            if self._left == 0:
                self.reached.set()


def renewing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"renew {NAME}"]


def test_a_lease_renewed_in_the_background_outlives_its_ttl(workspace: Workspace) -> None:
    hook = Renewals(6)
    alice = Workspace(workspace.directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, hook))
    with alice.lease(NAME, ttl=0.5, renew_in_background=True) as lease:
        assert hook.reached.wait(30)
        assert lease.remaining > 0
        lease.check()
        assert workspace.try_lease(NAME) is None
        assert lease.fence == 1
    wait_until(lambda: not renewing_threads())
    assert workspace.status_of(NAME).state == "free"


def test_a_loss_found_in_the_background_is_called_back_once(workspace: Workspace) -> None:
    told: list[LeaseLost] = []
    called = threading.Event()

    def on_lost(error: LeaseLost) -> None:
        told.append(error)
        called.set()

    lease = workspace.lease(NAME, ttl=0.5, renew_in_background=True, on_lost=on_lost)
    workspace.break_lease(NAME, fence=lease.fence)
    assert called.wait(30)
    wait_until(lambda: not renewing_threads())
    with pytest.raises(LeaseLost):
        lease.check()
    assert [error.reason for error in told] == ["released"]


def test_a_forgotten_lease_is_not_kept_alive(workspace: Workspace) -> None:
    lease = workspace.lease(NAME, ttl=0.5, renew_in_background=True)
    assert renewing_threads()
    del lease
    gc.collect()
    wait_until(lambda: not renewing_threads())


def test_a_background_renewal_tries_again_when_the_store_did_not_answer(workspace: Workspace) -> None:
    hook = Renewals(3)
    fail = FailAt(errno.EIO, "touch", nth=2, times=1)  # the store's clock, asked by a renewal

    def both(call: Call) -> None:
        fail(call)
        hook(call)

    alice = Workspace(workspace.directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, both))
    with alice.lease(NAME, ttl=1, renew_in_background=True) as lease:
        assert hook.reached.wait(30)
        assert lease.fence == 1
    assert fail.seen >= 3


def test_a_forked_child_has_no_lease_and_does_not_end_its_parents(workspace: Workspace) -> None:
    with workspace.lease(NAME, ttl=600) as lease:
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            os._exit(_as_a_child(lease))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        lease.check()
        assert lease.fence == 1


def _as_a_child(lease: DocumentLease) -> int:
    for call in (lease.check, lease.renew, lease.release, lambda: lease.commit(b"child's")):
        try:
            call()
        except LeaseLost as error:
            if error.reason != "forked":
                return 2
        else:
            return 3
    with lease:  # leaving a block that the parent entered
        pass
    return 0 if lease.remaining == 0 else 4
