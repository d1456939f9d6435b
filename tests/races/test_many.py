"""Many processes at once, and every acknowledged update is there."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from coordinator.testing.files import POINTS
from coordinator.testing.intervals import Held, check_intervals

if TYPE_CHECKING:
    from .support.fleet import Fleet
    from .support.processes import Process

PROCESSES, ALIVE = 200, 12
WORKERS, OPS_EACH, STOPPED, KILLED = 8, 25, 2, 2


def test_two_hundred_processes_take_one_lease_in_turn(fleet: Fleet) -> None:
    fleet.test.document("count.json").commit_json({"count": 0}, if_revision=0)
    crowd = fleet.launch("family.py", "crowd", "count.json", str(PROCESSES), str(ALIVE))
    told = [crowd.answer(f"the turn of process {i + 1} of {PROCESSES}") for i in range(PROCESSES)]
    assert crowd.answer("its end") == {"done": PROCESSES}
    assert not [one for one in told if "failed" in one]

    report = check_intervals(Held(**one) for one in told)
    assert report.ok, report
    assert (report.observations, report.holders) == (PROCESSES, PROCESSES)

    assert fleet.test.document("count.json").read_json() == {"count": PROCESSES}
    by_time = sorted(told, key=lambda one: int(one["from_ns"]))
    assert fleet.revisions("count.json") == [
        (1, "test", 0),
        *((i, one["holder"], one["fence"]) for i, one in enumerate(by_time, 2)),
    ]
    assert fleet.test.status_of("count.json").state == "free"


def run_until_stopped(worker: Process) -> list[str]:
    """A worker that stops itself somewhere inside an increment is killed there; returns what it acknowledged."""
    worker.wait_until_stopped("in one of its increments")
    worker.kill()
    return [told["acknowledged"] for told in worker.rest()]


def run_until_killed(worker: Process, count: int) -> list[str]:
    """A worker is killed wherever it is when it has acknowledged some."""
    acknowledged = [worker.answer("an increment")["acknowledged"] for _ in range(count)]
    worker.kill()
    return acknowledged + [told["acknowledged"] for told in worker.rest() if "acknowledged" in told]


def run_to_the_end(worker: Process) -> list[str]:
    acknowledged = [worker.answer("an increment")["acknowledged"] for _ in range(OPS_EACH)]
    assert worker.answer("its end") == {"done": OPS_EACH}
    return acknowledged


def test_increments_by_eight_processes_some_of_them_killed_are_all_there_once(fleet: Fleet) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    tasks = [{"id": f"task-{i}", "title": f"Review part {i}", "attempts": 0, "needs": []} for i in range(40)]
    fleet.test.document("tasks.json").commit_json({"tasks": tasks, "done": []}, if_revision=0)
    ops = [[f"op-{i}-{k}" for k in range(OPS_EACH)] for i in range(WORKERS)]
    workers = [fleet.start(f"worker-{i}") for i in range(WORKERS)]
    for worker in workers[:STOPPED]:  # every point is passed at least once in each increment
        worker.ask("pause", point=chance.choice(list(POINTS)), nth=chance.randrange(3, OPS_EACH))
    for worker, own in zip(workers, ops, strict=True):
        worker.tell("increments", name="tasks.json", ops=own, ttl=1.0)

    with ThreadPoolExecutor(WORKERS) as pool:  # all of them are watched at once: one that stopped may hold the queue
        running = [pool.submit(run_until_stopped, worker) for worker in workers[:STOPPED]]
        running += [
            pool.submit(run_until_killed, worker, chance.randrange(1, OPS_EACH - 5))
            for worker in workers[STOPPED : STOPPED + KILLED]
        ]
        running += [pool.submit(run_to_the_end, worker) for worker in workers[STOPPED + KILLED :]]
        acknowledged = [one.result() for one in running]

    board = json.loads(fleet.test.document("tasks.json").read())
    done = board["done"]
    assert len(done) == len(set(done))
    assert not {op for own in acknowledged for op in own} - set(done)
    for own, own_acknowledged in zip(ops, acknowledged, strict=True):
        kept = [op for op in done if op in set(own)]
        assert kept == own[: len(kept)]  # in the order in which they were made
        assert len(own_acknowledged) <= len(kept) <= len(own_acknowledged) + 1  # the one it was killed in, perhaps
    assert sum(task["attempts"] for task in board["tasks"]) == len(done)
    assert [number for number, _, _ in fleet.revisions("tasks.json")] == list(range(1, len(done) + 2))
    assert json.loads(fleet.view("tasks.json")) == board


def test_two_that_commit_and_collect_at_once_lose_nothing(fleet: Fleet) -> None:
    fleet.test.document("log.txt").commit(b"", if_revision=0)
    workers = [fleet.start(f"worker-{i}") for i in range(2)]
    ops = [[f"op-{i}-{k}" for k in range(60)] for i in range(2)]
    for worker, own in zip(workers, ops, strict=True):
        worker.tell("count_and_collect", name="log.txt", ops=own, every=3)
    for worker in workers:
        assert worker.answer("its end")["done"] == 60

    lines = fleet.test.document("log.txt").read().decode().splitlines()
    assert sorted(lines) == sorted(ops[0] + ops[1])
    assert [line for line in lines if line in ops[0]] == ops[0]
    assert [number for number, _, _ in fleet.revisions("log.txt")] == list(range(1, 122))
    numbers = [record.n for record in fleet.test.history("log.txt")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert fleet.test.document("log.txt").conflicts() == []
    assert fleet.view("log.txt") == fleet.test.document("log.txt").read()
