"""``python -m coordinator.testing.simulation``: one seed again, with every call of it; or many, for figures."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from coordinator.testing.simulation.campaign import run_many, shrink
from coordinator.testing.simulation.library import simulated
from coordinator.testing.simulation.work import WORKS
from coordinator.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m coordinator.testing.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the seed; with --runs, the first")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, one after the other")
    parser.add_argument("--work", choices=[*WORKS], help="what the agents do; default: by the seed")
    parser.add_argument("--schedule", default="", metavar="FAULTS/AGENTS", help="what shrinking leaves: 0,2/1,3")
    parser.add_argument("--shrink", action="store_true", help="leave out faults and agents while it still fails")
    parser.add_argument("--trace", action="store_true", help="print every call")
    asked = parser.parse_args(arguments)
    out = sys.stdout
    with simulated():
        if asked.runs > 1:
            report = run_many(range(asked.seed, asked.seed + asked.runs), work=asked.work)
            out.write(f"{report}\n")
            return 1 if report.failures else 0
        schedule = asked.schedule
        if asked.shrink:
            schedule = shrink(asked.seed, work=asked.work)
        world = World(asked.seed, work=asked.work, schedule=schedule, trace=asked.trace)
        result = world.run()
    out.write("".join(f"{line}\n" for line in result.trace))
    out.write("".join(f"fault {number}: {fault}\n" for number, fault in world.plan))
    out.write(f"{result.report()}\n" if result.failures else f"{result.summary()}: nothing was found\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
