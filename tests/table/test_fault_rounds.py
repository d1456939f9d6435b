"""No acquire is lost to itself and no two hold one lease, whatever the way to the table does to requests and replies.

Agents in threads and in processes of their own lease a few names again and again, through a proxy that drops, delays,
repeats, cuts and refuses. Then all that they were told is held against the table (table_audit.py).

A failure names its seed, and COORDINATOR_FAULT_SEED=… draws the same faults for the same requests again (threads
come in an order of their own). COORDINATOR_FAULT_ROUNDS=… is how many rounds all tests here play together.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from engines.faults import (
    DROP_REPLY,
    DROP_REQUEST,
    DUPLICATE_FIRST,
    DUPLICATE_LAST,
    INTERNAL_ERROR,
    PASS,
    RESET,
    RESET_AFTER_WRITE,
    THROTTLED,
    THROUGHPUT_EXCEEDED,
    TRUNCATED_REPLY,
    UNAVAILABLE,
    RandomPlan,
    delay,
    late_duplicate,
    late_request,
    pass_all,
)
from support import table_named, together
from table_agent import NAMES, Agent, read_ledger
from table_audit import audit

from coordinator import Workspace
from coordinator.record import table_calls
from coordinator.record.store import Appended, Beaten
from coordinator.record.table import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from engines import Engine
    from engines.faults import Fault, Plan
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy
    from table_agent import Ledger

SEED: Final = int(os.environ.get("COORDINATOR_FAULT_SEED") or random.SystemRandom().randrange(10**9))
ROUNDS: Final = int(os.environ.get("COORDINATOR_FAULT_ROUNDS") or 2000)
LONGEST_SECONDS: Final = 120 + ROUNDS // 10
AGENT: Final = Path(__file__).with_name("table_agent.py")

FAULTS: Final = (
    DROP_REQUEST,
    RESET,
    RESET_AFTER_WRITE,
    DUPLICATE_FIRST,
    DUPLICATE_LAST,
    TRUNCATED_REPLY,
    THROTTLED,
    delay(before_ms=15),
    delay(after_ms=15),
    late_request(20),
    late_duplicate(20),
)
RARE_FAULTS: Final = (INTERNAL_ERROR, INTERNAL_ERROR.after_write(), UNAVAILABLE, THROUGHPUT_EXCEEDED)
RATES: Final = {DROP_REPLY: 0.06, **dict.fromkeys(FAULTS, 0.02), **dict.fromkeys(RARE_FAULTS, 0.01)}


class Fleet:
    """Agents of one workspace that has a table only, behind a proxy."""

    def __init__(self, engine: Engine, proxy: FaultProxy) -> None:
        self.engine = engine
        self.proxy = proxy
        self.table = table_named(engine)
        self.observer = Workspace.init(table=self.table, workspace="fleet", client=engine.client, agent="observer")
        self._calm, proxy.plan = proxy.plan, pass_all

    def workspace(self, agent: str) -> Workspace:
        """As a process of its own would open it."""
        return Workspace(table=self.table, workspace="fleet", client=self._through().client, agent=agent)

    def sharing(self, agent: str, other: Workspace) -> Workspace:
        """Another thread's, in the same process."""
        return Workspace(table=self.table, workspace="fleet", store=other._member.store, agent=agent)

    def process(self, agent: str, rounds: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(AGENT), self.table, "fleet", agent, f"{SEED}/{agent}", str(rounds)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._through().env())

    def _through(self) -> Engine:
        return self.engine.at(self.proxy.endpoint_url)

    def play(self, workspaces: list[Workspace], rounds: int) -> list[Ledger]:
        """All at once, under faults; returns when the last late request has arrived."""
        agents = [Agent(workspace, f"{SEED}/{workspace.agent}") for workspace in workspaces]
        each = -(-rounds // len(agents))
        with self.under_fire():
            ledgers: list[Ledger] = together(
                *[partial(agent.play, each) for agent in agents], timeout_seconds=LONGEST_SECONDS
            )
        return ledgers

    @contextmanager
    def under_fire(self) -> Iterator[None]:
        """While this lasts, the plan of the proxy holds."""
        print(f"COORDINATOR_FAULT_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
        self.proxy.plan = self._calm
        yield
        self.proxy.plan = pass_all
        self.proxy.drain()

    def audit(self, ledgers: list[Ledger]) -> None:
        """Fails when anything is wrong, or when too little happened to tell."""
        found = audit(self.observer, ledgers, NAMES)
        assert found == [], f"COORDINATOR_FAULT_SEED={SEED} {self.proxy}"
        if ROUNDS < 1000:  # chosen by hand, to look at something
            return
        rounds = sum(sum(ledger.told.values()) for ledger in ledgers)
        told = Counter({"granted": sum(len(ledger.grants) for ledger in ledgers)})
        for ledger in ledgers:
            told.update(ledger.told)
        assert told["granted"] > rounds / 4, told
        assert all(ledger.grants for ledger in ledgers)
        assert set(self.proxy.counts) >= {fault.name for fault in RATES}, told


@pytest.fixture
def fleet(dynamodb: Engine, fault_proxy: ProxyFactory) -> Fleet:
    return Fleet(dynamodb, fault_proxy(dynamodb, RandomPlan(SEED, RATES)))


@pytest.mark.timeout(LONGEST_SECONDS)
def test_agents_in_threads(fleet: Fleet) -> None:
    fleet.audit(fleet.play([fleet.workspace(f"agent-{number}") for number in range(6)], ROUNDS * 2 // 5))


@pytest.mark.timeout(LONGEST_SECONDS)
def test_threads_that_share_one_store(fleet: Fleet) -> None:
    first = fleet.workspace("agent-0")
    others = [fleet.sharing(f"agent-{number}", first) for number in range(1, 6)]
    fleet.audit(fleet.play([first, *others], ROUNDS // 5))


@pytest.mark.timeout(LONGEST_SECONDS)
def test_agents_in_processes(fleet: Fleet) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(fleet.process(f"agent-{number}", ROUNDS // 10)) for number in range(4)]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        with fleet.under_fire():
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()
            answers = [process.communicate(timeout=LONGEST_SECONDS)[0] for process in processes]
        fleet.audit([read_ledger(answer) for answer in answers])


# ── the same, with a rule switched off: it has to be found ───────────────────────────────────────────────────────────


def own_requests_unrecognised(patch: pytest.MonkeyPatch) -> None:
    """P7: what is refused is taken for another's."""
    judge = TableStore._judge

    def judged(self: TableStore, *about: Any) -> Appended | Beaten:
        result = judge(self, *about)
        return Beaten(about[2].record) if isinstance(result, Appended) else result

    patch.setattr(TableStore, "_judge", judged)


def unconditional(patch: pytest.MonkeyPatch) -> None:
    """P8: whatever stands there is written over."""
    update = TableStore._update

    def updated(self: TableStore, *about: Any) -> dict[str, Any]:
        request = update(self, *about)
        del request["ConditionExpression"]
        request["ExpressionAttributeValues"].pop(":before", None)
        return request

    patch.setattr(TableStore, "_update", updated)


def lost_replies_forgotten(patch: pytest.MonkeyPatch) -> None:
    """An acquire without an answer says that nothing was made."""
    patch.setattr(table_calls, "may_have_landed", lambda _error: False)


class Mutant(NamedTuple):
    """A rule switched off, the faults under which it matters, and what the audit says then."""

    switch_off: Callable[[pytest.MonkeyPatch], None]
    rates: Mapping[Fault, float]
    finding: str


MUTANTS: Final = [
    Mutant(own_requests_unrecognised, {DROP_REPLY: 0.2}, "was kept from|waited at|carried out|does not stand"),
    Mutant(unconditional, {delay(before_ms=20): 0.5}, "missing|does not stand|two holders"),
    Mutant(lost_replies_forgotten, {DROP_REPLY: 0.8}, "unheard"),
]


def on_grants(plan: Plan) -> Plan:
    """Leaves all else alone, such as releases, which are tried for long."""

    def planned(number: int, operation: str, body: dict[str, Any]) -> Fault:
        is_grant = "kind=grant" in body.get("ExpressionAttributeValues", {}).get(":record", {}).get("S", "")
        return plan(number, operation, body) if is_grant else PASS

    return planned


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.switch_off.__name__)
def test_a_mutant_is_found(
    dynamodb: Engine, fault_proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch, mutant: Mutant
) -> None:
    fleet = Fleet(dynamodb, fault_proxy(dynamodb, on_grants(RandomPlan(SEED, mutant.rates))))
    mutant.switch_off(monkeypatch)
    ledgers = fleet.play([fleet.workspace(f"agent-{number}") for number in range(3)], 45)
    found = audit(fleet.observer, ledgers, NAMES)
    assert any(re.search(mutant.finding, text) for text in found), f"COORDINATOR_FAULT_SEED={SEED} {found}"
