"""B7: B6 with 100 to 100,000 tasks. Whoever rewrites the file pays for its size with every claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.b06_claims import AGENTS
from benchmarks.claiming import COST, CPU, RATE, READY, claiming_side
from benchmarks.ours import Board
from benchmarks.peers import FLOCK, SQLITE
from benchmarks.runner import OURS, Case, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.claiming import Claiming
    from benchmarks.runner import Options


def trials(options: Options) -> Sequence[Trial]:
    """All sizes in one trial: they are compared with each other."""
    sizes = (100, 2000, 10_000) if options.quick else (100, 2000, 20_000, 100_000)
    seconds = 0.5 if options.quick else 2.0
    ways: tuple[Claiming, ...] = (Board(), FLOCK, SQLITE)
    points = {f"{way.name}, {size:,} tasks": (way.name, float(size)) for way in ways for size in sizes}
    return [
        Trial(
            "b7-sizes",
            f"claim-next by the number of tasks, {AGENTS} processes",
            (COST, RATE, CPU, READY),
            [
                claiming_side(
                    way,
                    agents=AGENTS,
                    tasks=size,
                    seconds=seconds,
                    name=f"{way.name}, {size:,} tasks",
                    repeat=5 if size < 1000 else 1,
                )
                for way in ways
                for size in sizes
            ],
            (
                Target(
                    "cost",
                    1.5,
                    f"{OURS}, {sizes[0]:,} tasks",
                    at_most=True,
                    side=f"{OURS}, {sizes[-1]:,} tasks",
                    text=f"cost of a claim at {sizes[-1]:,} tasks ≤ 1.5 x at {sizes[0]:,}",
                ),
            ),
            axis="tasks",
            points=points,
        )
    ]


CASE = Case("B7", "claim-next by the number of tasks", trials)
