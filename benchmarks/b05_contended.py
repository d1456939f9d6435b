"""B5: eight processes want one lease, hold it for 1 ms, and leave it for 1 ms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.crew import Job, in_child, run_crew
from benchmarks.ours import make_workspace
from benchmarks.peers import library
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.runner import Options

    Take = Callable[[], AbstractContextManager[Any]]

AGENTS = 8
PEER = "filelock"


def our_take(directory: str, number: int) -> Take:
    """A lease of a workspace."""
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    workspace = Workspace(directory, agent=f"worker-{number}")
    return lambda: workspace.lease("contended", ttl=30, wait=60)


def peer_take(directory: str, _number: int) -> Take:
    """The library with its defaults."""
    lock: AbstractContextManager[Any] = library("filelock").FileLock(f"{directory}/peer.lock")
    return lambda: lock


def waits(take: Take, seconds: float) -> list[float]:
    """How long each acquisition waited."""
    waited: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        with take():
            waited.append(time.perf_counter() - began)
            time.sleep(0.001)
        time.sleep(0.001)
    return waited


def contend(taking: Callable[[str, int], Take], directory: str, seconds: float) -> dict[str, float]:
    """Rate, p99 and longest wait of a crowd."""

    def start(number: int) -> Job:
        take = taking(directory, number)
        return Job(lambda: waits(take, seconds))

    waited = sorted(wait for worker in run_crew(AGENTS, start) for wait in worker)
    return {"rate": len(waited) / seconds, "p99": quantile(waited, 0.99) * 1000, "longest": waited[-1] * 1000}


def trials(options: Options) -> Sequence[Trial]:
    """One."""
    seconds = 1.0 if options.quick else 3.0

    def ours(directory: str) -> dict[str, float]:
        in_child(lambda: make_workspace(directory))
        return contend(our_take, directory, seconds)

    def peer(directory: str) -> dict[str, float]:
        library(PEER)
        return contend(peer_take, directory, seconds)

    return [
        Trial(
            "b5-contended",
            f"one lease, {AGENTS} processes, 1 ms held, 1 ms between",
            (
                Metric("rate", "acquisitions a second", "/s"),
                Metric("p99", "p99 of the wait", "ms", "less"),
                Metric("longest", "longest wait", "ms", "less"),
            ),
            [Side(OURS, ours), Side(PEER, peer)],
            (
                Target("rate", 1.5, PEER),
                Target("p99", 0.2, PEER, at_most=True, text="p99 ≤ 0.2 x filelock's"),
                Target("longest", 0.3, PEER, at_most=True, text="longest ≤ 0.3 x filelock's"),
            ),
            note="filelock syncs nothing, fences nothing, and has no line.",
        )
    ]


CASE = Case("B5", "contended lease", trials)
