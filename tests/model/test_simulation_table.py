"""Worlds with a table: what its client is told, one seed one run, and every rule of the table switched off in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator.errors import StoreUnavailable
from coordinator.names import Resource
from coordinator.record.authority import Authority, read_authority, register
from coordinator.record.record import MOUNT
from coordinator.record.table import TableStore
from coordinator.record.table_calls import TableCalls
from coordinator.testing.simulation import World, simulated
from coordinator.testing.simulation.campaign import run_many, shrink
from coordinator.testing.simulation.client import DONE, DONE_LATE, DONE_TWICE, NOT_DONE
from coordinator.testing.simulation.expressions import UnknownExpression
from coordinator.testing.simulation.items import Items
from coordinator.testing.simulation.table_client import INTERNAL, TABLE_NAME, THROTTLED, SimTable
from coordinator.testing.simulation.table_work import TABLE_WORKS
from model.mutants import MUTANTS, Mutant
from model.simulated_work import Bench
from model.table_mutants import TABLE_MUTANTS, no_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordinator.testing.simulation.client import SimFiles, SimProcess

FIRST: Final = Authority.first(MOUNT, "", "somebody")
# What has to be noticed when it is switched off, and the rules that stand for it.
ASKED: Final = {
    "exclusive append": ("P1 an append replaces", "P1 look, then append", "P8 NEW", "P8 FOLLOWS"),
    "own-request recognition": ("P7 own request unknown", "P7 own record in the table unknown"),
    "floor check": ("P18 no look after the append",),
    "directory-first reads": ("P6 folders not opened", "P6 numbers probed"),
    "fsync before publish": ("P15 content not synced", "P20 logs not synced", "P24 folds not synced"),
    "O_EXCL incarnation": ("P19 one path for all",),
    "chain hash": ("P20 no chain",),
    "poisoning": ("P21 no poison", "P21 frames dropped"),
    "receipts' idempotency": ("P25 ids forgotten", "P25 inbox: answered twice"),
    "max and min clocks": ("P10 shortest trust", "P9 longest watch"),
    "the seal": ("P29 no seal",),
}


@pytest.fixture(scope="module", autouse=True)
def in_simulation() -> Iterator[None]:
    with simulated():
        World(0)  # makes the workspaces that all worlds begin with, before any rule is switched off
        yield


# ── worlds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("work", TABLE_WORKS)
def test_fixed_seeds(work: str) -> None:
    report = run_many(range(60), work=work, stop_after=3)
    print(report)  # noqa: T201 - the figures are what people look for
    assert not report.failures, str(report)


def test_a_third_of_the_seeds_have_a_table_and_resources_move_between_the_stores() -> None:
    worlds = [World(seed) for seed in range(300)]
    assert 80 < sum(world.items is not None for world in worlds) < 120
    moved = [world for world in worlds if world.work.name == "moving"][:10]
    for world in moved:
        assert not world.run().failures
    assert sum(world.chains.moves for world in moved) > 50


def test_one_seed_is_one_run_in_every_process() -> None:
    for work in TABLE_WORKS:
        here = World(3, work=work, trace=True).run()
        command = [sys.executable, *here.command().split()[1:]]
        there = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
        )
        assert there.stdout.splitlines()[: len(here.trace)] == here.trace


def test_what_fails_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    no_seal(monkeypatch)
    (failed,) = run_many(range(100), work="moving", stop_after=1).failures
    small = World(failed.seed, work="moving", schedule=shrink(failed.seed, work="moving")).run()
    assert small.failures
    assert small.agents < failed.agents


def test_the_simulation_does_without_boto3() -> None:
    code = (
        "import sys; from coordinator.testing.simulation.__main__ import main;"
        "assert main(['--seed', '1', '--work', 'names']) == 0;"
        "assert not {'boto3', 'botocore'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ── every rule switched off ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mutant", TABLE_MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_mutant_is_found(mutant: Mutant) -> None:
    """By a seed in which nothing is found as long as the rule is there."""
    for seed in mutant.seeds():
        with pytest.MonkeyPatch.context() as patch:
            mutant.switch_off(patch)
            found = World(seed, work=mutant.work).run().failures
        if found and not World(seed, work=mutant.work).run().failures:
            print(f"{mutant.rule}: seed {seed}: {found[0]}")  # noqa: T201 - how it shows
            return
    pytest.fail(f"{mutant.rule}: nothing was found")


def test_every_rule_that_was_asked_for_is_switched_off_somewhere() -> None:
    rules = [mutant.rule for mutant in (*MUTANTS, *TABLE_MUTANTS)]
    missing = [one for found in ASKED.values() for one in found if not any(rule.startswith(one) for rule in rules)]
    assert missing == []


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


class TableBench(Bench):
    """A bench with a table."""

    def __init__(self) -> None:
        super().__init__()
        self.items = Items()

    def calls(self, process: SimProcess) -> TableCalls:
        client = SimTable(self.world, process, self.items)
        return TableCalls(TABLE_NAME, process.host.clock, client=client)

    def asks(self, body: Callable[[TableCalls, SimProcess], Any], prepare: Callable[[SimProcess], None]) -> Any:
        """What one process makes of it, after something was prepared for it."""
        process = self.process(0)
        found: list[Any] = []
        prepare(process)
        self.start(process, lambda _files: found.append(body(self.calls(process), process)))
        self.run()
        return found[0]


def registering(calls: TableCalls, process: SimProcess) -> Any:
    """Registers a workspace; what was told, and what stood then and later."""
    before = process.host.clock.now().monotonic_ns
    told = register(calls, "w", FIRST)
    took_ms = (process.host.clock.now().monotonic_ns - before) // 1_000_000
    process.host.clock.pause(30_000)
    return told == FIRST, read_authority(calls, "w") == FIRST, took_ms


@pytest.mark.parametrize("lost", [DONE, NOT_DONE, DONE_LATE, DONE_TWICE])
def test_a_lost_reply_is_asked_for_again_and_makes_nothing_twice(lost: str) -> None:
    bench = TableBench()

    def prepare(process: SimProcess) -> None:
        process.table_lost = lost

    told, stands, took_ms = bench.asks(registering, prepare)
    assert told
    assert stands
    assert took_ms >= (2000 if lost != DONE_TWICE else 0)


@pytest.mark.parametrize("code", [THROTTLED, INTERNAL])
def test_a_table_that_refuses_for_a_while_is_asked_again(code: str) -> None:
    bench = TableBench()

    def prepare(process: SimProcess) -> None:
        process.table_error, process.table_errors_left = code, 4

    told, stands, took_ms = bench.asks(registering, prepare)
    assert told
    assert stands
    assert took_ms >= 100


def test_a_host_that_is_cut_off_is_told_that_nothing_was_sent() -> None:
    bench = TableBench()

    def prepare(process: SimProcess) -> None:
        process.host.is_far = True

    def body(calls: TableCalls, _process: SimProcess) -> bool:
        with pytest.raises(StoreUnavailable) as raised:
            register(calls, "w", FIRST)
        return raised.value.outcome_unknown

    assert bench.asks(body, prepare) is False
    assert bench.items.standing == {}


def test_an_answer_that_took_its_time_tells_no_time() -> None:
    bench = TableBench()

    def prepare(process: SimProcess) -> None:
        process.table_delay_ms = 1500

    def body(calls: TableCalls, process: SimProcess) -> tuple[int | None, int]:
        read_authority(calls, "w")
        stale = calls.time.now_ms()
        fresh = TableStore(calls, "w", process.host.clock).now_ms()
        return stale, bench.world.service_ns() // 1_000_000 - fresh

    stale, late_ms = bench.asks(body, prepare)
    assert stale is None
    assert 0 <= late_ms < 1100


def test_what_nobody_taught_the_table_ends_the_run() -> None:
    bench = TableBench()

    def body(_files: SimFiles) -> None:
        client = SimTable(bench.world, bench.process(0), bench.items)
        client.put_item(TableName=TABLE_NAME, Item={"pk": {"S": "w"}, "sk": {"S": "x"}})

    bench.start(bench.process(0), body)
    with pytest.raises(UnknownExpression):
        bench.run()


def test_what_is_put_twice_or_behind_is_noticed() -> None:
    """A record under a number that was used, in the other store."""
    world = next(world for world in map(World, range(100)) if world.items is not None)
    world.chains.begin()
    state_path = Resource.parse("plan.json").state_path
    known = world.chains._newest[state_path]
    world.chains._put("the table", state_path, known)
    assert "was put into the table after" in str(world.scheduler.failures[0])
