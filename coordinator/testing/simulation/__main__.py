"""``python -m coordinator.testing.simulation``: one seed again, with every call of it; or many, for figures."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import TYPE_CHECKING, Final

from coordinator.clock import SYSTEM_CLOCK, elapsed_max_ms
from coordinator.testing.simulation.campaign import run_in_processes, shrink
from coordinator.testing.simulation.library import simulated
from coordinator.testing.simulation.table_work import TABLE_WORKS
from coordinator.testing.simulation.work import WORKS
from coordinator.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence


_A_ROUND: Final = 2000  # seeds


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m coordinator.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the seed; with --runs, the first")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--work", choices=[*WORKS, *TABLE_WORKS], help="what the agents do; default: by the seed")
    parser.add_argument("--schedule", default="", metavar="FAULTS/AGENTS", help="what shrinking leaves: 0,2/1,3")
    parser.add_argument("--shrink", action="store_true", help="leave out faults and agents while it still fails")
    parser.add_argument("--trace", action="store_true", help="print every call")
    parser.add_argument("--fresh", action="store_true", help="with --runs or --hours: begin at a seed drawn just now")
    parser.add_argument("--processes", type=int, default=1, help="with --runs or --hours: how many at once")
    parser.add_argument("--hours", type=float, default=0, help="seed after seed, for so long")
    asked = parser.parse_args(arguments)
    out = sys.stdout
    if asked.runs > 1 or asked.hours:
        return _many(asked)
    with simulated():
        schedule = asked.schedule
        if asked.shrink:
            schedule = shrink(asked.seed, work=asked.work)
        world = World(asked.seed, work=asked.work, schedule=schedule, trace=asked.trace)
        result = world.run()
    out.write("".join(f"{line}\n" for line in result.trace))
    out.write("".join(f"fault {number}: {fault}\n" for number, fault in world.plan))
    out.write(f"{result.report()}\n" if result.failures else f"{result.summary()}: nothing was found\n")
    return 1 if result.failures else 0


def _many(asked: argparse.Namespace) -> int:
    """Runs many seeds, in rounds if it is to go on for hours; stops at the first round that finds something."""
    first = secrets.randbelow(10**9) if asked.fresh else asked.seed
    count = asked.runs if asked.runs > 1 else _A_ROUND
    began = SYSTEM_CLOCK.now()
    while True:
        sys.stdout.write(f"seeds {first} to {first + count - 1}\n")
        report = run_in_processes(range(first, first + count), asked.processes, work=asked.work)
        sys.stdout.write(f"{report}\n")
        sys.stdout.flush()
        if report.failures:
            return 1
        if elapsed_max_ms(began, SYSTEM_CLOCK.now()) >= asked.hours * 3_600_000:
            return 0
        first += count


if __name__ == "__main__":
    sys.exit(main())
