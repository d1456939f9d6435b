"""B10: fold 1,000,000 operations into 10,000 tasks: CPU, and the most memory.

Two kinds of operations. Those of a busy board: each task is claimed, heartbeat twice and released, over and over, in
one agent's log, since an epoch is known beforehand only where the order of claims is. And patches of single fields, in
eight agents' logs. All sides read the same. The peers are loops that somebody would write by hand: no order between
the logs but that of the files, no receipts, nothing checked but the frame's length and checksum.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchmarks.claiming import make_tasks
from benchmarks.crew import cpu_seconds, in_child
from benchmarks.our_folds import fold_and_publish, fold_in_memory, log_paths, write_logs
from benchmarks.peers import library
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.runner import Options

    Parse = Callable[[bytes], Any]
    Tasks = list[dict[str, Any]]

TASKS: Final = 10_000
TTL_MS: Final = 600_000
STAGES: Final = ("task.claim", "task.heartbeat", "task.heartbeat", "task.release")
BOARD: Final = {"format": "default"}
ORJSON: Final = "frames + orjson + apply"
MEMORY_ROOM_MB: Final = 64
PATIENCE_SECONDS: Final = 900.0


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


def board_operations(count: int) -> Iterator[dict[str, Any]]:
    """A task's round after the other. Claims are decided in this order, so each one's epoch is known beforehand."""
    for number in range(count):
        turn, stage = divmod(number, len(STAGES))
        op: dict[str, Any] = {"do": STAGES[stage], "board": BOARD}
        task = f"task-{turn % TASKS:06}"
        if stage == 0:
            yield op | {"ids": [task], "ttl_ms": TTL_MS}
        elif stage == len(STAGES) - 1:
            yield op | {"id": task, "epoch": turn + 1}
        else:
            yield op | {"id": task, "epoch": turn + 1, "ttl_ms": TTL_MS}


def patch_operations(count: int) -> Iterator[dict[str, Any]]:
    """One field of one task each."""
    for number in range(count):
        step = {"op": "replace", "path": f"/tasks/{number % TASKS}/priority", "value": number}
        yield {"do": "patch", "patch": [step]}


KINDS: Final = {"board": (board_operations, 1), "patch": (patch_operations, 8)}
"""What makes the operations, and in how many logs they are."""


def logs_of(options: Options, kind: str, count: int) -> str:
    """A workspace whose logs hold that many, written for the first who asks; removed with all else after the run."""
    folder = f"{options.directory}/b10-{kind}-{count}"
    if not os.path.isdir(folder):
        os.mkdir(folder)
        make, logs = KINDS[kind]
        in_child(
            lambda: write_logs(folder, make_tasks(TASKS), make(count), -(-count // logs)),
            patience_seconds=PATIENCE_SECONDS,
        )
    return folder


# ── the peers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def frames(path: str) -> Iterator[bytes]:
    """The operations in a file of frames, length and checksum looked at."""
    with open(path, "rb") as file:
        for line in file:
            _, length, crc32, _, payload = line.split(b" ", 4)
            payload = payload[:-1]
            if len(payload) != int(length) or zlib.crc32(payload) != int(crc32, 16):
                raise ValueError(f"a bad frame in {path}")
            if payload.startswith(b'{"seq"'):
                yield payload


def loop_over_mappings(directory: str, parse: Parse) -> Tasks:
    """The hand loop over plain dicts."""
    tasks = make_tasks(TASKS)
    by_id = {task["id"]: task for task in tasks}
    for path in log_paths(directory):
        agent = os.path.basename(path).split(".")[0]
        for payload in frames(path):
            entry = parse(payload)
            op = entry["op"]
            do = op["do"]
            if do == "patch":
                apply_patch(tasks, op["patch"])
            else:
                task = op["ids"][0] if do == "task.claim" else op["id"]
                apply_to_task(by_id[task], do, entry["at"], agent)
    return tasks


def loop_over_objects(directory: str, parse: Parse) -> Tasks:
    """The hand loop over objects with attributes."""
    tasks = make_tasks(TASKS)
    by_id = {task["id"]: task for task in tasks}
    for path in log_paths(directory):
        agent = os.path.basename(path).split(".")[0]
        for payload in frames(path):
            entry = parse(payload)
            op = entry.op
            if op.do == "patch":
                apply_patch(tasks, op.patch)
            else:
                apply_to_task(by_id[op.ids[0] if op.do == "task.claim" else op.id], op.do, entry.at, agent)
    return tasks


def apply_to_task(task: dict[str, Any], do: str, at_ms: int, agent: str) -> None:
    """What an operation of a board does."""
    if do == "task.claim":
        task["status"], task["owner"] = "in-progress", agent
    elif do == "task.heartbeat":
        task["until_ms"] = at_ms + TTL_MS
    else:
        task["status"], task["owner"] = "pending", None


def apply_patch(tasks: Tasks, patch: list[dict[str, Any]]) -> None:
    """A patch that only replaces fields of tasks."""
    for step in patch:
        _, _, row, field = step["path"].split("/")
        tasks[int(row)][field] = step["value"]


def with_orjson(directory: str) -> Tasks:
    """With orjson."""
    return loop_over_mappings(directory, orjson.loads)


def with_json(directory: str) -> Tasks:
    """With the standard library."""
    return loop_over_mappings(directory, json.loads)


def with_msgspec(directory: str) -> Tasks:
    """With msgspec and declared structs."""
    msgspec = library("msgspec")
    texts: Any = list[str]
    steps: Any = list[dict[str, Any]]
    op = msgspec.defstruct("Op", [("do", str), ("id", str, ""), ("ids", texts, []), ("patch", steps, [])])
    return loop_over_objects(
        directory, msgspec.json.Decoder(msgspec.defstruct("Entry", [("at", int), ("op", op)])).decode
    )


def with_pydantic(directory: str) -> Tasks:
    """With pydantic and declared models."""
    pydantic = library("pydantic")
    steps: Any = list[dict[str, Any]]
    op = pydantic.create_model("Op", do=(str, ...), id=(str, ""), ids=(list[str], []), patch=(steps, []))
    return loop_over_objects(directory, pydantic.create_model("Entry", at=(int, ...), op=(op, ...)).model_validate_json)


PEERS: Final[Mapping[str, Callable[[str], Tasks]]] = {
    ORJSON: with_orjson,
    "frames + msgspec Struct + apply": with_msgspec,
    "frames + json + apply": with_json,
    "frames + pydantic + apply": with_pydantic,
}


# ── the trials ───────────────────────────────────────────────────────────────────────────────────────────────────────

RATE: Final = Metric("rate", "operations a CPU second", "/s")


def trials(options: Options) -> Sequence[Trial]:
    """CPU, by the kind of operations; memory, by the length of the logs."""
    few, many = (10_000, 50_000) if options.quick else (100_000, 1_000_000)

    def rate(name: str, kind: str, work: Callable[[str], object]) -> Side:
        def measure(_directory: str) -> dict[str, float]:
            folder = logs_of(options, kind, many)

            def fold() -> float:
                began = cpu_seconds()
                work(folder)
                return many / (cpu_seconds() - began)

            return {"rate": in_child(fold, patience_seconds=PATIENCE_SECONDS)}

        return Side(name, measure)

    def published(count: int) -> Side:
        def measure(directory: str) -> Mapping[str, float]:
            copy = shutil.copytree(logs_of(options, "board", count), f"{directory}/copy", symlinks=True)
            told: Mapping[str, float] = in_child(lambda: fold_and_publish(copy), patience_seconds=PATIENCE_SECONDS)
            return told

        return Side(f"{OURS}, {count:,} operations", measure)

    def folding(kind: str, title: str) -> Trial:
        return Trial(
            f"b10-{kind}",
            f"fold {many:,} {title} into {TASKS:,} tasks",
            (RATE,),
            [rate(OURS, kind, fold_in_memory), *(rate(name, kind, work) for name, work in PEERS.items())],
            (Target("rate", 0.7, ORJSON),),
            note="Ours reads, orders, checks and decides, and keeps receipts; the peers believe what they read.",
        )

    return [
        folding("board", "claims, heartbeats and releases (one log)"),
        folding("patch", "patches of a field (eight logs)"),
        Trial(
            "b10-memory",
            f"fold into {TASKS:,} tasks and publish, by the length of the logs",
            (Metric("growth", "most memory above that of the state", "MB", "less"), RATE),
            [published(few), published(many)],
            [
                Target(
                    "growth",
                    MEMORY_ROOM_MB,
                    at_most=True,
                    side=f"{OURS}, {count:,} operations",
                    text=f"peak memory ≤ state + {MEMORY_ROOM_MB} MB with {count:,} operations",
                )
                for count in (few, many)
            ],
        ),
    ]


CASE = Case("B10", "fold", trials)
