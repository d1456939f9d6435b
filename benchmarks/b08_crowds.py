"""B8: B6 with 1 to 256 agents. Whoever takes turns under a lock pays for the crowd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.b06_claims import TASKS
from benchmarks.claiming import CPU, RATE, READY, SHARE, WAIT, claiming_side
from benchmarks.ours import Board
from benchmarks.peers import FLOCK, SQLITE
from benchmarks.runner import OURS, Case, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.claiming import Claiming
    from benchmarks.runner import Options


def trials(options: Options) -> Sequence[Trial]:
    """All crowds in one trial: they are compared with each other."""
    crowds = (1, 8, 64) if options.quick else (1, 8, 64, 256)
    seconds = 0.5 if options.quick else 3.0
    ways: tuple[Claiming, ...] = (Board(), FLOCK, SQLITE)

    def name(way: str, crowd: int) -> str:
        return f"{way}, {crowd} agent{'s' * (crowd > 1)}"

    sides: list[Side] = [
        claiming_side(way, agents=crowd, tasks=TASKS, seconds=seconds, name=name(way.name, crowd))
        for way in ways
        for crowd in crowds
    ]
    few, many = name(OURS, crowds[1]), name(OURS, crowds[-1])
    return [
        Trial(
            "b8-crowds",
            f"claim-next by the number of agents, {TASKS:,} tasks",
            (RATE, CPU, SHARE, WAIT, READY),
            sides,
            (
                Target("rate", 1, few, side=many, text=f"throughput with {crowds[-1]} agents ≥ with {crowds[1]}"),
                Target(
                    "cpu", 1, few, at_most=True, side=many, text=f"CPU of a claim with {crowds[-1]} ≤ with {crowds[1]}"
                ),
            ),
            axis="agents",
            points={name(way.name, crowd): (way.name, float(crowd)) for way in ways for crowd in crowds},
        )
    ]


CASE = Case("B8", "claim-next by the number of agents", trials)
