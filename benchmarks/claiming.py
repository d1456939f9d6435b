"""What B6, B7 and B8 have in common: processes that claim tasks until none is left, or for a time."""

from __future__ import annotations

import contextlib
import importlib
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.crew import Job, cpu_seconds, in_child, run_crew
from benchmarks.runner import Metric, Side, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Claim = Callable[[], str | None]

RATE: Final = Metric("rate", "claims a second", "/s")
COST: Final = Metric("cost", "time of a claim, all agents together", "ms", "less")
CPU: Final = Metric("cpu", "CPU of a claim, all agents together", "ms", "less")
SHARE: Final = Metric("share", "slowest worker's part of a fair share", "")
READY: Final = Metric("ready", "CPU of an agent until its first claim", "ms", "less")
WAIT: Final = Metric("p99", "p99 of an agent's wait for its claim", "ms", "less")
DESCRIPTION: Final = (
    "Read the module, list what callers rely on, and write down each assumption that no test yet holds, one a line. "
)


class Claiming(Protocol):
    """A way to hand out tasks: one of the peers, or ours."""

    name: str

    def prepare(self, directory: str, tasks: list[dict[str, Any]]) -> None:
        """Puts the tasks there, all pending. Called once, in a process of its own."""

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """For one agent in its process: how to claim the next task (its id; None: none is left), and how to end."""

    def owners(self, directory: str) -> Mapping[str, str]:
        """Who has what, read afresh after the run."""


class WrongAnswer(Exception):
    """A task was handed out twice, or an answered claim is not there."""


def make_tasks(count: int) -> list[dict[str, Any]]:
    """Tasks as they are found in a ``tasks.json``: about 250 bytes each."""
    return [
        {
            "id": f"task-{number:06}",
            "title": f"Review module number {number}",
            "description": DESCRIPTION,
            "status": "pending",
            "owner": None,
            "priority": 0,
            "needs": [],
        }
        for number in range(count)
    ]


def agent_name(number: int) -> str:
    """The name of a worker."""
    return f"agent-{number:03}"


def claiming_side(way: Claiming, *, agents: int, tasks: int, seconds: float, name: str = "", repeat: int = 1) -> Side:
    """A side that claims with so many agents from so many tasks for at most so many seconds.

    Each has claimed once before the clock starts: reading a document for the first time is told by ``READY``.

    Few tasks are gone in a moment, in which the start of the processes is most of what is seen: ``repeat`` takes the
    medians of several moments.
    """

    def once(directory: str) -> Mapping[str, float]:
        os.mkdir(directory)
        in_child(lambda: way.prepare(directory, make_tasks(tasks)))

        def start(number: int) -> Job:
            cpu = cpu_seconds()
            claim, end = way.open(directory, agent_name(number))
            first = claim()
            cpu = cpu_seconds() - cpu
            return Job(lambda: claim_for(claim, seconds) | {"first": first, "ready": cpu}, end)

        done = run_crew(agents, start, patience_seconds=seconds + 120)
        owners = in_child(lambda: dict(way.owners(directory)))
        check(done, owners)
        return figures(done)

    def measure(directory: str) -> Mapping[str, float]:
        import_beforehand(way, f"{directory}/warm")
        found = [once(f"{directory}/{number}") for number in range(repeat)]
        return {metric: statistics.median(figures[metric] for figures in found) for metric in found[0]}

    return Side(name or way.name, measure)


def import_beforehand(way: Claiming, directory: str) -> None:
    """Imports here, before anybody is forked, what a first claim imports: what that costs is B1 and B2."""

    def claim_once() -> list[str]:
        os.mkdir(directory)
        way.prepare(directory, make_tasks(2))
        claim, end = way.open(directory, agent_name(0))
        claim()
        end()
        return list(sys.modules)

    for module in in_child(claim_once):
        if module not in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)


def claim_for(claim: Claim, seconds: float) -> dict[str, Any]:
    """Claims until nothing is left or the time is over."""
    claims: list[str] = []
    waits: list[float] = []
    cpu = cpu_seconds()
    began = last = time.monotonic()
    while last - began < seconds:
        task = claim()
        now = time.monotonic()
        if task is None:
            break
        claims.append(task)
        waits.append(now - last)
        last = now
    cpu = cpu_seconds() - cpu
    return {"claims": claims, "waits": waits, "began": began, "ended": last, "cpu": cpu}


def check(done: list[dict[str, Any]], owners: Mapping[str, str]) -> None:
    """Every answered claim is there afterwards, and no task was handed out twice.

    Raises:
        WrongAnswer: One was, or is not.
    """
    given: dict[str, str] = {}
    for number, worker in enumerate(done):
        for task in [worker["first"], *worker["claims"]]:
            if task is None:
                continue
            if task in given:
                raise WrongAnswer(f"{task} was handed out to {given[task]} and to {agent_name(number)}")
            given[task] = agent_name(number)
    for task, agent in given.items():
        if owners.get(task) != agent:
            raise WrongAnswer(f"{task} was answered to {agent}, and afterwards belongs to {owners.get(task)}")


def figures(done: list[dict[str, Any]]) -> dict[str, float]:
    """What the workers did together."""
    counts = [len(worker["claims"]) for worker in done]
    total = sum(counts)
    if not total:
        raise WrongAnswer("nobody got any task")
    elapsed = max(worker["ended"] for worker in done) - min(worker["began"] for worker in done)
    waits = sorted(wait for worker in done for wait in worker["waits"])
    return {
        RATE.key: total / elapsed,
        COST.key: elapsed / total * 1000,
        CPU.key: sum(worker["cpu"] for worker in done) / total * 1000,
        SHARE.key: min(counts) * len(counts) / total,
        WAIT.key: quantile(waits, 0.99) * 1000,
        READY.key: statistics.median(worker["ready"] for worker in done) * 1000,
    }
