"""B6: eight processes claim the next of 2,000 tasks in a tasks.json of 500 KB; each claim durable before its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.claiming import CPU, RATE, READY, SHARE, WAIT, claiming_side
from benchmarks.ours import Board
from benchmarks.peers import CLAIMING_PEERS, FLOCK, SQLITE
from benchmarks.runner import Case, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Options

TASKS = 2000
AGENTS = 8


def trials(options: Options) -> Sequence[Trial]:
    """A crowd, and one agent alone."""
    seconds = 0.7 if options.quick else 3.0
    return [
        Trial(
            "b6-crowd",
            f"claim-next, {AGENTS} processes, {TASKS:,} tasks",
            (RATE, SHARE, CPU, WAIT, READY),
            [claiming_side(way, agents=AGENTS, tasks=TASKS, seconds=seconds) for way in (Board(), *CLAIMING_PEERS)],
            (
                Target("rate", 20, FLOCK.name),
                Target("rate", 1, SQLITE.name),
                Target("share", 0.5, text="slowest worker ≥ 0.5 of a fair share"),
            ),
            note="Of the peers the two with filelock sync nothing, and flock + orjson does not sync the directory: a "
            "power failure can take back what was answered. SQLite and the shared log are for one host only.",
        ),
        Trial(
            "b6-alone",
            f"claim-next, one process alone, {TASKS:,} tasks",
            (RATE, CPU, WAIT, READY),
            [claiming_side(way, agents=1, tasks=TASKS, seconds=seconds) for way in (Board(), FLOCK, SQLITE)],
            (Target("rate", 1, FLOCK.name),),
        ),
    ]


CASE = Case("B6", "claim-next", trials)
