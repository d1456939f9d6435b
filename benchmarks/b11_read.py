"""B11: read the current state of 10,000 tasks, with nothing new since the last read, and with ten new operations."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.claiming import make_tasks
from benchmarks.crew import in_child
from benchmarks.ours import Board, Reader
from benchmarks.peers import InFile
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.runner import Options

TASKS = 10_000
NEW = 10
PEER = "read the file, orjson.loads"


def median_ms(look: Callable[[], object], before: Callable[[], object], times: int) -> float:
    """How long a look takes; what is done before each is not counted."""
    took: list[float] = []
    for _ in range(times):
        before()
        began = time.perf_counter()
        look()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def trials(options: Options) -> Sequence[Trial]:
    """Nothing new, and ten new operations."""
    times = 10 if options.quick else 30

    def ours(directory: str, new: int) -> dict[str, float]:
        in_child(lambda: Board().prepare(directory, make_tasks(TASKS)))

        def work() -> float:
            reader = Reader(directory)
            reader.look()
            return median_ms(reader.look, lambda: reader.change(new), times)

        return {"time": in_child(work)}

    def peer(directory: str) -> dict[str, float]:
        InFile().prepare(directory, make_tasks(TASKS))

        def look() -> Any:
            with open(f"{directory}/tasks.json", "rb") as file:
                return orjson.loads(file.read())

        return {"time": in_child(lambda: median_ms(look, lambda: None, times))}

    metric = Metric("time", "time of a look", "ms", "less")
    return [
        Trial(
            "b11-same",
            f"read {TASKS:,} tasks, nothing new",
            (metric,),
            [Side(OURS, lambda directory: ours(directory, 0)), Side(PEER, peer)],
            (Target("time", 0.05, PEER, at_most=True),),
        ),
        Trial(
            "b11-new",
            f"read {TASKS:,} tasks, {NEW} new operations by another agent",
            (metric,),
            [Side(OURS, lambda directory: ours(directory, NEW)), Side(PEER, peer)],
            (Target("time", 0.1, PEER, at_most=True),),
        ),
    ]


CASE = Case("B11", "read the current state", trials)
