"""Replies that are cut, servers that are killed or stopped: nothing is done twice, and trust ends in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines import Engine
from engines.faults import DROP_REPLY, DROP_REQUEST, PASS, RESET_AFTER_WRITE, TRUNCATED_REPLY, held
from support import in_thread, readable, wait_until

import coordinator
from coordinator import LeaseLost, StoreUnavailable, Workspace
from coordinator.clock import elapsed_max_ms
from coordinator.names import new_id
from coordinator.remote import RemoteWorkspace, asking
from remote.faces import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.faults import Fault
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy

    from coordinator.service.local import LocalServer

FAULTS: Final = [DROP_REQUEST, DROP_REPLY, TRUNCATED_REPLY, RESET_AFTER_WRITE]


@dataclass
class Cut:
    """A workspace whose way is cut once, and the directory behind it."""

    remote: RemoteWorkspace
    mounted: Workspace
    proxy: FaultProxy
    name: str

    def cut(self, fault: Fault, field: str) -> None:
        """From now on: the first request with this field suffers that."""
        suffered: list[int] = []

        def plan(number: int, _operation: str, body: dict[str, Any]) -> Fault:
            if field in body and not suffered:
                suffered.append(number)
                return fault
            return PASS

        self.proxy.plan = plan

    @property
    def suffered(self) -> int:
        return sum(count for name, count in self.proxy.counts.items() if name != "pass")


@pytest.fixture
def way(served: tuple[LocalServer, str], fault_proxy: ProxyFactory) -> Iterator[Cut]:
    server, directory = served
    proxy = fault_proxy(Engine(server.url.rstrip("/"), "", "coordinator"))
    with RemoteWorkspace(proxy.endpoint_url, agent="alice") as remote, Workspace(directory, agent="author") as mounted:
        yield Cut(remote, mounted, proxy, f"cut-{new_id()[:8]}")


def grants_of(way: Cut) -> list[tuple[str, str]]:
    return [(one.kind, one.agent) for one in way.mounted.history(way.name) if one.kind in {"grant", "release"}]


# ── replies that are cut ─────────────────────────────────────────────────────────────────────────────────────────────


def test_when_all_is_well_every_request_is_sent_once(way: Cut) -> None:
    way.mounted.document(f"{way.name}.json").commit_json({"tasks": [{"id": 1}]}, if_revision=0)
    with way.remote.lease(way.name) as lease:
        lease.check()
        lease.renew()
    way.remote.document(f"{way.name}.json").update({"a": 1})
    with way.remote.tasks(f"{way.name}.json").claim_next() as task:
        assert task is not None
    assert len(way.proxy.log) == 8  # with one look whether the document is there


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_lease_is_granted_renewed_and_released_once(way: Cut, fault: Fault) -> None:
    way.cut(fault, "ttl_ms")
    lease = way.remote.lease(way.name, ttl=20)
    assert way.suffered == 1
    way.cut(fault, "token")
    lease.renew()
    assert way.suffered == 2
    lease.check()
    way.cut(fault, "token")
    lease.release()
    assert way.suffered == 3
    assert grants_of(way) == [("grant", "alice"), ("release", "alice")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_release_that_landed_is_no_loss_though_another_came_before_it_was_told(way: Cut, fault: Fault) -> None:
    lease = way.remote.lease(way.name, ttl=20)
    waited = Workspace(way.mounted.directory, agent="bob")
    with in_thread(lambda: waited.lease(way.name, ttl=20, wait=20)) as had:
        wait_until(lambda: way.mounted.status_of(way.name).waiting > 0, 10)
        way.cut(fault, "token")
        lease.release()
    assert had[0].fence > lease.fence
    had[0].release()
    waited.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_several_leases_are_granted_once(way: Cut, fault: Fault) -> None:
    names = [f"{way.name}-a", f"{way.name}-b"]
    way.cut(fault, "names")
    with way.remote.lease_many(names, ttl=20):
        pass
    assert way.suffered == 1
    for name in names:
        assert [one.kind for one in way.mounted.history(name)] == ["grant", "release"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_an_update_and_a_boards_words_are_applied_once(way: Cut, fault: Fault) -> None:
    name = f"{way.name}.json"
    way.mounted.document(name).commit_json({"n": [], "tasks": []}, if_revision=0)
    way.cut(fault, "operations")
    way.remote.document(name).update([{"op": "add", "path": "/n/-", "value": 1}])
    board = way.remote.tasks(name)
    way.cut(fault, "op_id")
    board.add([{"id": 7}])
    way.cut(fault, "op_id")
    claimed = board.claim_next()
    assert claimed
    way.cut(fault, "op_id")
    claimed.complete("done")
    assert way.suffered == 4
    value = way.mounted.document(name).read_json()
    assert value["n"] == [1]
    (task,) = way.mounted.tasks(name).list()
    assert (task["status"], task["attempts"], task["result"], task["late"]) == ("done", 1, "done", 0)


def test_the_trust_in_a_lease_counts_from_the_first_sending_that_was_not_answered(
    way: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10: the grant may date from then, whichever reply tells of it."""
    way.cut(DROP_REPLY, "ttl_ms")
    began = way.remote._member.clock.now()
    monkeypatch.setattr(asking, "PAUSE_MIN_MS", 1500)  # the second sending comes well after the first
    lease = way.remote.lease(way.name, ttl=20)
    passed_ms = elapsed_max_ms(began, way.remote._member.clock.now())
    assert passed_ms >= 750
    assert lease.remaining * 1000 <= 16_000 - passed_ms + 300
    lease.release()


def test_a_lease_with_little_trust_left_is_renewed_before_it_is_handed_out(
    way: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSE_MIN_MS", 3600)  # more than half of the trust
    way.cut(DROP_REPLY, "ttl_ms")
    with way.remote.lease(way.name, ttl=4) as lease:
        assert lease.remaining > 1.6
    assert [one.kind for one in way.mounted.history(way.name)] == ["grant", "renew", "release"]


def test_patience_ends_and_tells_whether_it_may_have_been_done(way: Cut) -> None:
    hurried = RemoteWorkspace(way.proxy.endpoint_url, agent="alice", patience=0.6)
    way.proxy.plan = lambda _number, _operation, _body: DROP_REPLY
    with pytest.raises(StoreUnavailable) as lost:
        hurried.lease(way.name, ttl=20)
    assert lost.value.outcome_unknown
    assert grants_of(way) == [("grant", "alice")]
    away = RemoteWorkspace("http://127.0.0.1:9", agent="alice", patience=0.3)
    with pytest.raises(StoreUnavailable) as lost:
        away.lease(way.name)
    assert not lost.value.outcome_unknown
    update = away.document("a.json")
    with pytest.raises(StoreUnavailable) as lost:
        update.update({}, op_id=(op_id := new_id()), wait=0)
    assert lost.value.op_id == op_id


def test_a_forked_child_goes_on_with_connections_of_its_own(way: Cut) -> None:
    way.remote.status_of(way.name)
    child = os.fork()
    if child == 0:
        try:
            assert not way.remote._connection._rested  # type: ignore[attr-defined]
            with way.remote.lease(way.name):
                way.remote.status_of(way.name)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent is told by the status
            os._exit(1)
    way.remote.status_of(way.name)
    assert os.waitpid(child, 0)[1] == 0
    way.remote.status_of(way.name)
    assert grants_of(way) == [("grant", "alice"), ("release", "alice")]


# ── servers that are killed and stopped ──────────────────────────────────────────────────────────────────────────────


class Server:
    """A coordinator function in a process of its own."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        path = os.pathsep.join([str(Path(HERE).parent), str(Path(coordinator.__file__).parent.parent)])
        self.process = subprocess.Popen(
            [sys.executable, f"{HERE}/server_process.py", str(port), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert readable(self.process.stdout, 30)
        self.port = int(self.process.stdout.readline().split()[0])
        self.url = f"http://127.0.0.1:{self.port}/"

    def signal(self, number: signal.Signals) -> None:
        """To it and the functions' processes."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    Workspace.init(tmp_path, agent="founder")
    servers: list[Server] = []

    def started(port: int = 0) -> Server:
        servers.append(Server(tmp_path, port))
        return servers[-1]

    yield started
    for server in servers:
        if server.process.poll() is None:
            server.kill()


def test_a_server_killed_in_the_middle_of_a_wait_and_started_again_grants_once(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start()
    bob, alice = Workspace(tmp_path, agent="bob"), RemoteWorkspace(server.url, agent="alice")
    held_by_bob = bob.lease("a", ttl=30)
    with in_thread(lambda: alice.lease("a", ttl=30, wait=30)) as had:
        wait_until(lambda: bob.status_of("a").waiting > 0, 10)
        server.kill()
        held_by_bob.release()
        start(server.port)
    had[0].check()
    assert had[0].fence > held_by_bob.fence
    assert [one.agent for one in bob.history("a") if one.kind == "grant"] == ["bob", "alice"]
    had[0].release()


def test_a_server_killed_after_it_wrote_and_before_it_answered_applies_once(
    start: Callable[..., Server], tmp_path: Path, fault_proxy: ProxyFactory
) -> None:
    server = start()
    mounted = Workspace(tmp_path, agent="author")
    mounted.document("n.json").commit_json({"n": []}, if_revision=0)
    never = threading.Event()
    proxy = fault_proxy(Engine(server.url.rstrip("/"), "", "coordinator"))
    proxy.plan = lambda number, _operation, _body: held(after=never) if number == 1 else PASS
    document = RemoteWorkspace(proxy.endpoint_url, agent="alice").document("n.json")
    with in_thread(lambda: document.update([{"op": "add", "path": "/n/-", "value": 1}])) as told:
        wait_until(lambda: proxy.held > 0, 10)  # it was applied, and nobody has heard of it
        server.kill()
        proxy.plan = lambda _number, _operation, _body: PASS
        start(server.port)
        _break_connections(proxy)
    assert (told[0].state, told[0].again) == ("applied", True)
    assert mounted.document("n.json").read_json() == {"n": [1]}
    never.set()


def _break_connections(proxy: FaultProxy) -> None:
    """What a client's kernel tells when the other end is gone."""
    with proxy._lock:
        serving = list(proxy._serving)
    for wire in serving:
        wire.shut_down()


def test_a_server_that_stands_still_for_longer_than_the_ttl_costs_the_lease_by_the_holders_own_clocks(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start()
    bob, alice = Workspace(tmp_path, agent="bob"), RemoteWorkspace(server.url, agent="alice")
    lost: list[LeaseLost] = []
    lease = alice.lease("a", ttl=1.0, on_lost=lost.append, renew_in_background=True)
    server.signal(signal.SIGSTOP)
    with bob.lease("a", ttl=30, wait=30) as taken:  # on the mount: nobody else stands still
        assert lease.remaining == 0
        server.signal(signal.SIGCONT)
        with pytest.raises(LeaseLost) as told:
            lease.check()
        assert (told.value.successor, told.value.successor_fence) == ("bob", taken.fence)
        assert len(lost) == 1
        taken.check()
