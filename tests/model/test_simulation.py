"""The simulated world: each thing that it claims to do, done; many seeds; and every rule switched off in turn."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.testing.simulation import World, simulated
from coordinator.testing.simulation.__main__ import main
from coordinator.testing.simulation.campaign import run_many, shrink
from coordinator.testing.simulation.client import DONE, DONE_LATE, DONE_TWICE, NOT_DONE
from coordinator.testing.simulation.locks import SimEvent, SimLock, SimTimer
from coordinator.testing.simulation.schedule import Scheduler, StuckError
from model.mutants import MUTANTS, Mutant, overwriting_append, own_request_unknown
from model.simulated_work import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.testing.simulation.client import SimFiles

FIXED = int(os.environ.get("SIMULATED_SEEDS", "250"))  # CI asks for thousands
FRESH = FIXED // 2


@pytest.fixture(scope="module", autouse=True)
def in_simulation() -> Iterator[None]:
    with simulated():
        World(0)  # makes the workspaces that all worlds begin with, before any rule is switched off
        yield


# ── many seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fixed_seeds() -> None:
    report = run_many(range(FIXED), stop_after=3)
    print(report)  # noqa: T201 - the figures are what people look for
    assert not report.failures, str(report)


def test_fresh_seeds() -> None:
    first = random.SystemRandom().randrange(1 << 40)
    report = run_many(range(first, first + FRESH), stop_after=3)
    print(report)  # noqa: T201 - likewise
    assert not report.failures, str(report)


def test_one_seed_is_one_run_in_every_process() -> None:
    """Whatever ran before, and however this interpreter orders its sets."""
    here = [World(seed, trace=True).run() for seed in (3, 4, 5)]
    assert [World(seed, trace=True).run().trace for seed in (5, 4, 3)] == [run.trace for run in reversed(here)]
    for run in here:
        command = [sys.executable, *run.command().split()[1:]]
        there = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
        )
        assert there.stdout.splitlines()[: len(run.trace)] == run.trace


# ── every rule switched off ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
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


def test_what_fails_is_made_small_and_can_be_replayed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    overwriting_append(monkeypatch)
    (failed,) = run_many(range(100), work="leases", stop_after=1).failures
    schedule = shrink(failed.seed, work="leases")
    faults, _, agents = schedule.partition("/")
    assert len(agents.split(",")) <= failed.agents
    small = World(failed.seed, work="leases", schedule=schedule).run()
    assert small.failures
    assert len(small.trace) == 0
    assert small.faults <= len(faults.split(","))
    monkeypatch.setattr("coordinator.testing.simulation.__main__.simulated", pytest.MonkeyPatch.context)
    assert main(small.command().split()[3:]) == 1
    told = capsys.readouterr().out
    assert small.failures[0].splitlines()[0] in told
    assert " symlink /w/" in told


def test_a_run_that_comes_to_no_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.testing.simulation.schedule.STEPS_MAX", 50)
    own_request_unknown(monkeypatch)
    scheduler = Scheduler(steps_max=50)
    process = Bench().process(0)

    def body() -> None:
        while True:
            scheduler.give_way(1)

    scheduler.spawn(process, body, is_agent=True)
    scheduler.run()
    assert isinstance(scheduler.failures[0], StuckError)


def test_everybody_waiting_is_told() -> None:
    scheduler = Scheduler()
    scheduler.spawn(Bench().process(0), scheduler.park, is_agent=True)
    scheduler.run()
    assert isinstance(scheduler.failures[0], StuckError)


# ── what a client remembers ──────────────────────────────────────────────────────────────────────────────────────────


def put(files: SimFiles, path: str, data: bytes) -> None:
    with files.create(path) as file:
        file.write(data)
        file.sync()


def replace(files: SimFiles, path: str, data: bytes) -> None:
    put(files, f"{path}.new", data)
    files.rename(f"{path}.new", path)


def is_there(files: SimFiles, path: str) -> bool:
    try:
        files.stat(path)
    except FileNotFoundError:
        return False
    return True


def test_an_absent_name_stays_absent_until_its_folder_is_opened() -> None:
    bench = Bench()
    assert not bench.does(1, lambda files: is_there(files, "/w/x"))
    bench.does(0, lambda files: put(files, "/w/x", b"1"))
    assert not bench.does(1, lambda files: is_there(files, "/w/x"))
    assert bench.does(2, lambda files: is_there(files, "/w/x"))
    with pytest.raises(FileExistsError):  # the server decides, whatever is remembered
        bench.does(1, lambda files: put(files, "/w/x", b"2"))
    bench.does(1, lambda files: files.refresh("/w"))
    assert bench.does(1, lambda files: is_there(files, "/w/x"))


def test_an_absent_name_is_asked_for_again_after_some_time() -> None:
    bench = Bench()
    assert not bench.does(1, lambda files: is_there(files, "/w/x"))
    bench.does(0, lambda files: put(files, "/w/x", b"1"))
    bench.wait(31_000)
    assert bench.does(1, lambda files: is_there(files, "/w/x"))


def test_a_replaced_file_is_read_stale_until_its_folder_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(bench.hosts[1], "_asks_anyway", lambda _path: False)
    bench.does(0, lambda files: put(files, "/w/x", b"old"))
    assert bench.does(1, lambda files: files.read("/w/x")) == b"old"
    bench.does(0, lambda files: replace(files, "/w/x", b"new"))
    assert bench.does(0, lambda files: files.read("/w/x")) == b"new"
    assert bench.does(1, lambda files: files.read("/w/x")) == b"old"
    assert bench.does(2, lambda files: files.read("/w/x")) == b"new"
    bench.does(1, lambda files: files.listdir("/w"))
    assert bench.does(1, lambda files: files.read("/w/x")) == b"new"


def test_what_is_written_is_seen_elsewhere_once_it_is_synced_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(bench.hosts[0].rng, "random", lambda: 0.9)  # nothing is written back early
    held: list[Any] = []

    def write(files: SimFiles) -> None:
        held.append(files.create("/w/x"))
        held[0].write(b"one")

    bench.does(0, write)
    assert bench.does(0, lambda files: files.read("/w/x")) == b"one"
    assert bench.does(1, lambda files: files.read("/w/x")) == b""
    bench.does(0, lambda _files: held[0].sync())
    assert bench.does(1, lambda files: files.read("/w/x")) == b"one"
    bench.does(0, lambda _files: (held[0].write(b" two"), held[0].close()))
    assert bench.does(1, lambda files: files.read_at("/w/x", 3, 9)) == b" two"


def test_a_host_that_crashes_loses_any_part_of_what_was_not_synced() -> None:
    found = set()
    for attempt in range(60):
        bench = Bench()
        bench.world.page_bytes = 4
        bench.hosts[0].rng.seed(attempt)
        held: list[Any] = []

        def write(files: SimFiles, held: list[Any] = held) -> None:
            held.append(files.create("/w/x"))
            held[0].write(b"sure")
            held[0].sync()
            held[0].write(b"abcdefgh")

        bench.does(0, write)
        bench.hosts[0].crash()
        found.add(bench.does(1, lambda files: files.read("/w/x")))
    assert found >= {b"sure", b"sureabcd", b"sure\0\0\0\0efgh", b"sureabcdefgh"}


def test_a_power_failure_keeps_what_is_durable_and_any_part_of_the_rest() -> None:
    found = set()
    for attempt in range(60):
        bench = Bench(is_local=True)

        def make(files: SimFiles) -> None:
            put(files, "/w/synced", b"1")
            files.sync_dir("/w")
            put(files, "/w/named", b"2")
            with files.create("/w/written") as file:
                file.write(b"3")

        bench.does(0, make)
        bench.world.server.lose_power(random.Random(attempt), 4096)
        found.add(
            frozenset(bench.does(0, lambda files: files.listdir("/w"))) - {".coordinator", "plan.json", "tasks.json"}
        )
        assert bench.does(0, lambda files: files.read("/w/synced")) == b"1"
    assert found == {frozenset({"synced", *more}) for more in ((), ("named",), ("written",), ("named", "written"))}


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("silent_ms", "is_lost"), [(5_000, False), (95_000, True)])
def test_a_lock_is_lost_by_who_was_silent_for_longer_than_the_lease(silent_ms: int, is_lost: bool) -> None:
    bench = Bench()
    bench.world.locks._lease_ns = 90_000_000_000
    holder = bench.process(0)
    rival = bench.process(1)
    seen: list[bool] = []

    def hold(files: SimFiles) -> None:
        lock = files.try_lock("/w/lock")
        assert lock is not None
        holder.host.fall_silent()
        holder.host.clock.pause(200_000)
        holder.host.speak_again()
        lock.unlock()  # says nothing

    def contend(files: SimFiles) -> None:
        rival.host.clock.pause(silent_ms)
        seen.append(files.try_lock("/w/lock") is not None)
        rival.host.clock.pause(300_000 - silent_ms)
        seen.append(files.try_lock("/w/lock") is None)

    bench.start(holder, hold)
    bench.start(rival, contend, delay_ms=1000)
    bench.run()
    assert seen == [is_lost, is_lost]  # who took it has it still, whatever the silent one unlocked


def test_a_killed_process_frees_its_lock_at_once() -> None:
    bench = Bench()
    holder, rival = bench.process(0), bench.process(1)
    seen: list[bool] = []

    def hold(files: SimFiles) -> None:
        assert files.try_lock("/w/lock")
        holder.host.clock.pause(1_000_000)

    def contend(files: SimFiles) -> None:
        seen.append(files.try_lock("/w/lock") is None)
        bench.world.scheduler.kill(holder)
        seen.append(files.try_lock("/w/lock") is not None)

    bench.start(holder, hold)
    bench.start(rival, contend, delay_ms=1000)
    bench.run()
    assert seen == [True, True]


# ── replies, errors, the network ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lost", "code", "stands"),
    [
        (DONE_TWICE, {errno.EEXIST}, True),
        (DONE, {errno.EIO, errno.ETIMEDOUT}, True),
        (NOT_DONE, {errno.EIO, errno.ETIMEDOUT}, False),
        (DONE_LATE, {errno.EIO, errno.ETIMEDOUT}, False),
    ],
)
def test_a_lost_reply(lost: str, code: set[int], stands: bool) -> None:
    bench = Bench()
    process = bench.process(0)
    process.lost = lost
    seen: list[Any] = []

    def link(files: SimFiles) -> None:
        with pytest.raises(OSError, match=r"/w/x") as raised:
            files.symlink("target", "/w/x")
        seen.append(raised.value.errno in code)
        seen.append("/w/x" in bench.world.server.nodes)
        process.host.clock.pause(31_000)
        seen.append("/w/x" in bench.world.server.nodes)

    bench.start(process, link)
    bench.run()
    assert seen == [True, stands, lost != NOT_DONE]


def test_what_the_dead_had_asked_for_may_be_done_after_the_heal() -> None:
    bench = Bench()
    process, other = bench.process(0), bench.process(1)
    process.host.cut()
    bench.start(process, lambda files: files.symlink("target", "/w/x"))

    def look(files: SimFiles) -> None:
        other.host.clock.pause(1000)
        bench.world.scheduler.kill(process)
        other.host.clock.pause(1000)
        assert "x" not in files.listdir("/w")
        process.host.heal()
        assert "x" in files.listdir("/w")

    bench.start(other, look)
    bench.run()


def test_errors_are_told_of_as_often_as_planned() -> None:
    bench = Bench()
    process = bench.process(0)
    process.error, process.errors_left = errno.ENOSPC, 2

    def body(files: SimFiles) -> list[bool]:
        assert "plan.json" in files.listdir("/w")  # no call that could be told of a full disk
        seen = []
        for number in range(3):
            try:
                put(files, f"/w/{number}", b"1")
            except OSError as error:
                seen.append(error.errno == errno.ENOSPC)
        return seen

    found: list[Any] = []
    bench.start(process, lambda files: found.append(body(files)))
    bench.run()
    assert found == [[True, True]]


# ── time and threads ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_process_stands_still_and_its_clocks_go_on() -> None:
    bench = Bench()
    frozen, other = bench.process(0), bench.process(1)
    seen: list[str] = []

    def body(_files: SimFiles) -> None:
        before = frozen.host.clock.now()
        frozen.host.clock.pause(10)
        seen.append("thawed")
        assert frozen.host.clock.now().monotonic_ns - before.monotonic_ns >= 5_000_000_000

    def freeze(_files: SimFiles) -> None:
        frozen.is_frozen = True
        other.host.clock.pause(5_000)
        seen.append("still frozen")
        bench.world.scheduler.thaw(frozen)

    bench.start(frozen, body)
    bench.start(other, freeze, delay_ms=1)
    bench.run()
    assert seen == ["still frozen", "thawed"]


def test_locks_events_and_timers_wait_in_simulated_time() -> None:
    bench = Bench()
    process = bench.process(0)
    seen: list[Any] = []
    lock, event = SimLock(), SimEvent()

    def ring() -> None:
        seen.append("rung")
        with lock:
            process.host.clock.pause(100)
        event.set()

    def body(_files: SimFiles) -> None:
        SimTimer(0.05, ring).start()
        cancelled = SimTimer(0.01, lambda: seen.append("never"))
        cancelled.start()
        cancelled.cancel()
        process.host.clock.pause(60)
        seen.append(lock.acquire(timeout=0.01))
        seen.append(lock.acquire())
        lock.release()
        seen.append(process.host.clock.pause(1000, event))  # type: ignore[arg-type]

    bench.start(process, body)
    bench.run()
    assert seen == ["rung", False, True, True]
    assert bench.world.scheduler.now_ns < 1_000_000_000
