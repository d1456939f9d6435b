"""What a process does that forks, or becomes another program: ``family.py DIRECTORY SCENARIO [ARGUMENT…]``.

Tells of itself in lines of JSON; waits for a line where the test has to look first.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from coordinator import CoordinatorError, DocumentLease, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, InterceptedFiles
from coordinator.testing.files import POINTS

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "COORDINATOR_TEST_TOKEN"  # noqa: S105 - the name of a variable


def say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")  # one write: lines of several processes do not mix


def wait_for_the_test() -> None:
    os.read(0, 1)


def outcome(call: Callable[[], object]) -> str:
    """What came of a call: ``done``, or the error and its reason."""
    try:
        call()
    except CoordinatorError as error:
        return f"{type(error).__name__} {getattr(error, 'reason', '')}".strip()
    return "done"


def fork(child: Callable[[], None]) -> int:
    """Runs ``child`` in a forked process, which ends with it, whatever happens; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        child()
    except BaseException as error:  # noqa: BLE001 - told, and the child must not go on as its parent
        say({"failed": repr(error)})
    finally:
        os._exit(0)


class Held:
    """A thread of this process that stands still inside an append, with the queue lock and its turn in its hands."""

    def __init__(self, directory: str, agent: str, name: str) -> None:
        self._inside, self._go_on = threading.Event(), threading.Event()
        self.workspace = Workspace(directory, agent=agent, files=InterceptedFiles(SYSTEM_FILES, self._on_call))
        self._name = name
        self.outcome = ""
        self._thread = threading.Thread(target=self._put, daemon=True)
        self._thread.start()
        self._inside.wait()

    def _on_call(self, call: Call) -> None:
        if POINTS["before_append"](call) and threading.current_thread() is self._thread and not self._go_on.is_set():
            self._inside.set()
            self._go_on.wait()

    def _put(self) -> None:
        self.outcome = outcome(lambda: self.workspace.document(self._name).commit(b"by the thread", if_revision=0))

    def finish(self) -> str:
        self._go_on.set()
        self._thread.join()
        return self.outcome


# ── fork ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def use_of_a_parents_lease(directory: str) -> None:
    workspace = Workspace(directory, agent="family")
    with workspace.lease("parents.json", ttl=60) as lease:
        lease.commit(b"the parent's")
        pid = os.fork()
        if pid == 0:
            _say_as_child(lease)
        else:
            os.waitpid(pid, 0)
            say({"wanted": lease.wanted, "check": outcome(lease.check), "remaining": lease.remaining})
            say({"commit": outcome(lambda: lease.commit(b"the parent's still")), "renew": outcome(lease.renew)})
            wait_for_the_test()
    if pid == 0:
        _say_own_lease(workspace)
        os._exit(0)
    say({"released": True})


def _say_as_child(lease: DocumentLease) -> None:
    calls: dict[str, Callable[[], object]] = {
        "check": lease.check,
        "renew": lease.renew,
        "commit": lambda: lease.commit(b"the child's"),
        "detach": lease.detach,
        "release": lease.release,
    }
    try:
        say({do: outcome(call) for do, call in calls.items()} | {"remaining": lease.remaining})
    except BaseException as error:  # noqa: BLE001 - told, and the child must not go on as its parent
        say({"failed": repr(error)})
        os._exit(1)


def _say_own_lease(workspace: Workspace) -> None:
    try:
        with workspace.lease("childs.json", ttl=60) as own:
            own.commit(b"the child's")
            say({"fence": own.fence})
    except BaseException as error:  # noqa: BLE001 - told, and the child must not go on as its parent
        say({"failed": repr(error)})


def fork_under_a_busy_thread(directory: str) -> None:
    """Children are forked while a thread stands inside an append, and while one holds every guard of the store."""
    held = Held(directory, "busy", "busy.json")
    workspace = held.workspace
    for i in range(3):
        os.waitpid(fork(lambda i=i: _commit_as_child(workspace, f"own-{i}.json")), 0)  # type: ignore[misc]
    os.waitpid(fork(lambda: _commit_as_child(workspace, "busy.json")), 0)
    say({"thread": held.finish()})
    guards = [workspace._member.guard, workspace._member.store._guard]  # type: ignore[attr-defined]
    taken, done = threading.Event(), threading.Event()

    def take() -> None:
        with guards[0], guards[1]:
            taken.set()
            done.wait()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    taken.wait()
    pid = fork(lambda: _commit_as_child(workspace, "guarded.json"))
    done.set()
    os.waitpid(pid, 0)
    thread.join()
    say({"parent": outcome(lambda: workspace.lease("parents.json", ttl=60).release())})


def _commit_as_child(workspace: Workspace, name: str) -> None:
    with workspace.lease(name, ttl=60, wait=30) as lease:
        receipt = lease.commit(b"by the child")
    say({"child": name, "revision": receipt.revision, "incarnation": workspace._member.incarnation})


def leave_a_child_behind(directory: str) -> None:
    """A child forked while a thread holds the queue lock; it lives on when this process is killed."""
    Held(directory, "busy", "busy.json")
    reader, writer = os.pipe()

    def live_on() -> None:
        os.write(writer, b"!")  # the fork is over in the child, too
        wait_for_the_test()

    child = fork(live_on)
    os.read(reader, 1)
    say({"child": child})
    threading.Event().wait()


# ── exec ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def become_another_program(directory: str, ttl: str) -> None:
    held = Held(directory, "executed", "busy.json")
    lease = held.workspace.lease("held.json", ttl=float(ttl))
    lease.commit(b"before exec")
    say({"fence": lease.fence})
    wait_for_the_test()
    lease.renew()
    os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), directory, "another_program"])  # noqa: S606 - that is the scenario


def another_program(directory: str) -> None:
    workspace = Workspace(directory, agent="executed")
    say({"lease": outcome(lambda: workspace.lease("held.json", ttl=60)), "locks": _open_locks()})
    wait_for_the_test()


def _open_locks() -> list[str] | None:
    """Lock files that this process has open; None where /proc does not tell."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return None
    found = [os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in descriptors]
    return [path for path in found if path.endswith("queue.lock")]


def hand_over_by_exec(directory: str) -> None:
    lease = Workspace(directory, agent="before").lease("handed.json", ttl=60)
    lease.commit(b"before exec")
    environment = {**os.environ, TOKEN: lease.detach()}
    say({"fence": lease.fence})
    program = [sys.executable, os.path.abspath(__file__), directory, "take_over_after_exec"]
    os.execve(sys.executable, program, environment)  # noqa: S606 - that is the scenario


def take_over_after_exec(directory: str) -> None:
    with Workspace(directory, agent="after").resume(os.environ[TOKEN]) as lease:
        receipt = lease.commit(lease.read() + b", after exec")
        say({"fence": lease.fence, "revision": receipt.revision})
    say({"again": outcome(lambda: Workspace(directory).resume(os.environ[TOKEN]))})


# ── a crowd ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def crowd(directory: str, name: str, count: str, alive: str) -> None:
    """Forks many processes that all want one lease, some of them alive at any time; each tells when it held it."""
    running: set[int] = set()
    for i in range(int(count)):
        if len(running) == int(alive):
            running.discard(os.wait()[0])
        running.add(fork(lambda i=i: _one_of_the_crowd(directory, name, i)))  # type: ignore[misc]
    while running:
        running.discard(os.wait()[0])
    say({"done": int(count)})


def _one_of_the_crowd(directory: str, name: str, i: int) -> None:
    workspace = Workspace(directory, agent=f"agent-{i}")
    with workspace.lease(name, ttl=60, wait=None) as lease:
        from_ns = time.monotonic_ns()
        board = lease.read_json()
        board["count"] += 1
        lease.commit_json(board)
        until_ns = time.monotonic_ns()
    say({"holder": workspace.agent, "fence": lease.fence, "from_ns": from_ns, "until_ns": until_ns})


SCENARIOS: dict[str, Callable[..., None]] = {
    scenario.__name__: scenario
    for scenario in (
        use_of_a_parents_lease,
        fork_under_a_busy_thread,
        leave_a_child_behind,
        become_another_program,
        another_program,
        hand_over_by_exec,
        take_over_after_exec,
        crowd,
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](sys.argv[1], *sys.argv[3:])
