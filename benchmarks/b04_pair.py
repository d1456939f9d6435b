"""B4: acquire and release a lease that nobody else wants, the grant synced."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.crew import in_child
from benchmarks.engine import lock_library, our_table
from benchmarks.ours import make_workspace
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.runner import Options

PEER = "python-dynamodb-lock"
HAND = "JSON lease under flock, all synced"


def our_pair(directory: str) -> Callable[[], None]:
    """A lease of a workspace."""
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    workspace = Workspace(directory, agent="pair")

    def pair() -> None:
        with workspace.lease("pair"):
            pass

    return pair


def hand_pair(directory: str) -> Callable[[], None]:
    """The lease that people write by hand: flock, read JSON, write it by temp + fsync + rename + directory fsync."""
    lock = os.open(f"{directory}/hand.lock", os.O_RDWR | os.O_CREAT, 0o666)
    path = Path(f"{directory}/hand.json")
    path.write_text("{}", encoding="utf-8")

    def write(state: dict[str, object]) -> None:
        with open(f"{path}.tmp", "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.tmp", path)
        folder = os.open(directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def pair() -> None:
        for state in ({"holder": "hand", "until": time.time() + 30, "id": os.urandom(8).hex()}, {}):
            fcntl.flock(lock, fcntl.LOCK_EX)
            json.loads(path.read_text(encoding="utf-8"))
            write(state)
            fcntl.flock(lock, fcntl.LOCK_UN)

    return pair


def table_pair() -> Callable[[], None]:
    """A lease in a table."""
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    workspace = Workspace(table=our_table(), workspace="bench", agent="pair")

    def pair() -> None:
        with workspace.lease("pair"):
            pass

    return pair


def peer_pair() -> Callable[[], None]:
    """A lock of python-dynamodb-lock."""
    import boto3  # noqa: PLC0415 - for this peer only

    client = lock_library().DynamoDBLockClient(boto3.resource("dynamodb"), table_name="peer")
    return lambda: client.acquire_lock("pair").release()


def pairs_per_second(pair: Callable[[], None], seconds: float) -> float:
    """How often a pair goes through in a second; the first, which makes folders, is not counted."""
    pair()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        pair()
        done += 1
    return done / (time.perf_counter() - began)


def trials(options: Options) -> Sequence[Trial]:
    """One."""
    seconds = 0.3 if options.quick else 1.0

    def ours(directory: str) -> dict[str, float]:
        in_child(lambda: make_workspace(directory))
        return {"rate": in_child(lambda: pairs_per_second(our_pair(directory), seconds))}

    def hand(directory: str) -> dict[str, float]:
        return {"rate": in_child(lambda: pairs_per_second(hand_pair(directory), seconds))}

    def in_table(_directory: str) -> dict[str, float]:
        our_table()
        return {"rate": in_child(lambda: pairs_per_second(table_pair(), seconds))}

    def peer(_directory: str) -> dict[str, float]:
        lock_library()
        return {"rate": in_child(lambda: pairs_per_second(peer_pair(), seconds))}

    return [
        Trial(
            "b4-table",
            "acquire + release in a table, no contention",
            (Metric("rate", "pairs a second", "/s"),),
            [Side(OURS, in_table), Side(PEER, peer)],
            (Target("rate", 1.3, PEER),),
            note="Both on DynamoDB Local.",
        ),
        Trial(
            "b4-pair",
            "acquire + release, no contention",
            (Metric("rate", "pairs a second", "/s"),),
            [Side(OURS, ours), Side(HAND, hand)],
            (Target("rate", 2, HAND),),
            note="By hand there is no fence and no history.",
        ),
    ]


CASE = Case("B4", "uncontended lease", trials)
