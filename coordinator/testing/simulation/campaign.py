"""Many runs and their figures; and one that fails, made as small as it can be."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordinator.clock import SYSTEM_CLOCK
from coordinator.testing.simulation.library import simulated
from coordinator.testing.simulation.world import Result, World

if TYPE_CHECKING:
    from collections.abc import Iterable

HOUR_NS = 3_600_000_000_000


@dataclass(slots=True)
class Report:
    """Figures of many runs. ``str(report)`` is for people."""

    runs: int = 0
    steps: int = 0
    switches: int = 0
    faults: int = 0
    simulated_ns: int = 0
    real_ns: int = 0
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Counts one run."""
        self.runs += 1
        self.steps += result.steps
        self.switches += result.switches
        self.faults += result.faults
        self.simulated_ns += result.simulated_ns
        if result.failures:
            self.failures.append(result)

    def merge(self, other: Report) -> None:
        """Adds the figures of other runs, but for the real time."""
        self.runs += other.runs
        self.steps += other.steps
        self.switches += other.switches
        self.faults += other.faults
        self.simulated_ns += other.simulated_ns
        self.failures += other.failures

    def __str__(self) -> str:
        seconds = max(self.real_ns, 1) / 1e9
        figures = (
            f"{self.runs:,} schedules, {self.steps:,} steps, {self.switches:,} switches, {self.faults:,} faults, "
            f"{self.simulated_ns / HOUR_NS:,.1f} simulated hours in {seconds:,.1f} s: "
            f"{self.runs / seconds:,.1f} schedules a second; {len(self.failures)} failed"
        )
        return "\n".join([*(result.report() for result in self.failures), figures])


def run_in_processes(seeds: range, processes: int, *, work: str | None = None) -> Report:
    """Runs seeds in several processes at once; outside of a ``simulated`` block."""
    began_ns = SYSTEM_CLOCK.now().monotonic_ns
    shares = [seeds[i::processes] for i in range(processes)]
    total = Report()
    # Spawned: a forked child would share the locks of this process's threads.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for report in pool.map(_run_share, shares, [work] * processes):
            total.merge(report)
    total.real_ns = SYSTEM_CLOCK.now().monotonic_ns - began_ns
    return total


def _run_share(seeds: range, work: str | None) -> Report:
    with simulated():
        return run_many(seeds, work=work)


def run_many(seeds: Iterable[int], *, work: str | None = None, stop_after: int = 0) -> Report:
    """Runs seeds, in a ``simulated`` block.

    Args:
        seeds: Which.
        work: See World.
        stop_after: So many failures are enough; 0: run all.
    """
    report = Report()
    began_ns = SYSTEM_CLOCK.now().monotonic_ns
    for seed in seeds:
        report.add(World(seed, work=work).run())
        if stop_after and len(report.failures) >= stop_after:
            break
    report.real_ns = SYSTEM_CLOCK.now().monotonic_ns - began_ns
    return report


def shrink(seed: int, *, work: str | None = None) -> str:
    """Leaves faults and agents out, one at a time, for as long as the run still fails; what is left, as a schedule."""
    world = World(seed, work=work)
    faults, agents = [number for number, _ in world.plan], [*world.taking_part]
    smaller = True
    while smaller:
        smaller = False
        for left in (faults, agents):
            for one in [*left]:
                left.remove(one)
                if agents and World(seed, work=work, schedule=schedule_of(faults, agents)).run().failures:
                    smaller = True
                else:
                    left.append(one)
                    left.sort()
    return schedule_of(faults, agents)


def schedule_of(faults: Iterable[int], agents: Iterable[int]) -> str:
    """Which faults and agents take part, as ``World`` and the command line take it."""
    return f"{','.join(map(str, faults))}/{','.join(map(str, agents))}"
