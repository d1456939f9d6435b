"""B12: three NFS clients, eight agents on each, claim the next of 2,000 tasks; every claim durable before its answer.

The clients and their server are User Mode Linux guests on this machine (tests/nfs): needs root, and Debian's packages.
Runs only when it is asked for, with ``--only B12``. What a peer hands out twice, or forgets, is counted, not refused:
that is what is to be compared.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if not __package__:  # run as a file, in a guest
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.claiming import CPU, RATE, SHARE, WAIT, agent_name, claim_for, import_beforehand, make_tasks
from benchmarks.crew import Job, run_crew
from benchmarks.ours import Board
from benchmarks.peers import FLOCK, SharedLog
from benchmarks.runner import Case, Metric, NotInstalled, Side, Target, Trial, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.claiming import Claiming
    from benchmarks.runner import Options

TASKS: Final = 2000
CLIENTS: Final = 3
AGENTS: Final = 8  # on each client
CREW_SECONDS: Final = 240.0
LOST: Final = Metric("lost", "answered claims that were handed out twice, or are not there afterwards", "%", "less")
_LAB: Final = "/mnt/lab"  # shared by all guests and this machine, not over NFS


WAYS: Final[dict[str, Claiming]] = {way.name: way for way in (Board(), FLOCK, SharedLog())}


# ── on this machine ──────────────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def lab() -> Any:
    """The server and its clients; one for the whole run.

    Raises:
        NotInstalled: Says why they cannot be had here.
    """
    tests = str(Path(__file__).parent.parent / "tests")
    if tests not in sys.path:
        sys.path.append(tests)  # what boots them belongs to the tests
    try:
        from nfs.lab import Lab  # noqa: PLC0415 - for this case only
        from nfs.packages import NotToBeHad  # noqa: PLC0415 - likewise
    except ImportError as missing:
        raise NotInstalled(str(missing)) from None
    try:
        made = Lab(CLIENTS).__enter__()
    except NotToBeHad as missing:
        raise NotInstalled(str(missing)) from None
    atexit.register(made.close)
    return made


def side(way: Claiming, agents: int, seconds: float) -> Side:
    """One way to claim, over NFS, with that many agents on each client."""

    def measure(_directory: str) -> Mapping[str, float]:
        return measured(lab(), way, agents, seconds)

    return Side(way.name, measure)


def measured(lab: Any, way: Claiming, agents: int, seconds: float) -> dict[str, float]:
    """Runs it once in a lab; the figures."""
    name = f"b12-{time.monotonic_ns()}"
    shared: Path = lab.folder / name
    shared.mkdir()
    first = lab.clients[0]
    first.run(_command("prepare", way.name, name), CREW_SECONDS)
    jobs = [
        client.start(_command("claim", way.name, name, str(number * agents), str(agents), str(seconds)))
        for number, client in enumerate(lab.clients)
    ]
    until = time.monotonic() + CREW_SECONDS
    while len(list(shared.glob("ready-*"))) < agents * len(jobs) and time.monotonic() < until:
        if any(job.status() for job in jobs):  # one has failed: the others need not wait for it
            break
        time.sleep(0.05)
    (shared / "go").touch()
    for job in jobs:
        done = job.wait(CREW_SECONDS + seconds)
        if done.status:
            raise RuntimeError(done.out[-500:])
    first.run(_command("judge", way.name, name), CREW_SECONDS)
    crews = [json.loads((shared / f"crew-{number * agents}").read_text()) for number in range(len(jobs))]
    return figures(crews, json.loads((shared / "owners").read_text()))


def figures(crews: list[list[dict[str, Any]]], owners: Mapping[str, str]) -> dict[str, float]:
    """What all agents did together. Clocks are compared within a client only."""
    workers = [worker for crew in crews for worker in crew]
    answered = [(task, agent_name(worker["number"])) for worker in workers for task in worker["all"]]
    given: dict[str, str] = {}
    lost = 0
    for task, agent in answered:
        if task in given or owners.get(task) != agent:
            lost += 1
        given[task] = agent
    counts = [len(worker["claims"]) for worker in workers]
    waits = sorted(wait for worker in workers for wait in worker["waits"])
    if not waits:
        raise RuntimeError("nobody got any task")
    rate = sum(
        sum(len(worker["claims"]) for worker in crew)
        / (max(worker["ended"] for worker in crew) - min(worker["began"] for worker in crew))
        for crew in crews
        if any(worker["claims"] for worker in crew)
    )
    return {
        RATE.key: rate,
        LOST.key: lost / len(answered) * 100,
        SHARE.key: min(counts) * len(counts) / sum(counts),
        WAIT.key: quantile(waits, 0.99) * 1000,
        CPU.key: sum(worker["cpu"] for worker in workers) / sum(counts) * 1000,
    }


def _command(*arguments: str) -> str:
    return shlex.join([sys.executable, os.path.abspath(__file__), *arguments])


# ── in a guest ───────────────────────────────────────────────────────────────────────────────────────────────────────


def claim_in_guest(way: Claiming, name: str, first: int, agents: int, seconds: float) -> None:
    """One client's agents. Tells through the folder that all guests share."""
    shared = f"{_LAB}/{name}"
    import_beforehand(way, f"/dev/shm/{name}")  # noqa: S108 - this guest's own memory

    def start(number: int) -> Job:
        claim, end = way.open(name, agent_name(first + number))
        taken = claim()

        def work() -> dict[str, Any]:
            Path(f"{shared}/ready-{first + number}").touch()
            while not os.path.exists(f"{shared}/go"):
                time.sleep(0.02)
            did = claim_for(claim, seconds)
            return did | {"number": first + number, "all": [task for task in (taken, *did["claims"]) if task]}

        return Job(work, end)

    done = run_crew(agents, start, patience_seconds=CREW_SECONDS)
    Path(f"{shared}/crew-{first}").write_text(json.dumps(done), encoding="utf-8")


def main(verb: str, way: str, name: str, *figures: str) -> None:
    """What a guest is asked to do; it stands in the share."""
    if verb == "prepare":
        os.mkdir(name)
        WAYS[way].prepare(name, make_tasks(TASKS))
    elif verb == "judge":
        Path(f"{_LAB}/{name}/owners").write_text(json.dumps(WAYS[way].owners(name)), encoding="utf-8")
    else:
        first, agents, seconds = figures
        claim_in_guest(WAYS[way], name, int(first), int(agents), float(seconds))


def trials(options: Options) -> Sequence[Trial]:
    """A crowd on three clients."""
    seconds = 3.0 if options.quick else 10.0
    return [
        Trial(
            "b12-nfs",
            f"claim-next over NFSv4.2, {CLIENTS} clients of {AGENTS} agents each, {TASKS:,} tasks",
            (RATE, LOST, SHARE, WAIT, CPU),
            [side(way, AGENTS, seconds) for way in WAYS.values()],
            (
                Target("rate", 10, FLOCK.name),
                Target("lost", 0, at_most=True, text="nothing lost, nothing given twice"),
            ),
            note="Server and clients are User Mode Linux guests that share this machine's processors.",
        )
    ]


CASE = Case("B12", "claim-next over real NFS", trials)

if __name__ == "__main__":
    main(*sys.argv[1:])
