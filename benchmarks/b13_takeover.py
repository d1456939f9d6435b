"""B13: how long a lease stands in the way after its holder was killed, or frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.crew import in_child
from benchmarks.engine import lock_library, our_table
from benchmarks.ours import make_workspace
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Options

TTL_S = 2.0
TABLE = "coordinator, table"
PEER = "python-dynamodb-lock"
_HOLD = """
import sys, time
from coordinator import Workspace
where = {"directory": sys.argv[1]} if sys.argv[1] else {"table": "bench", "workspace": "bench"}
lease = Workspace(agent="holder", **where).lease(sys.argv[2], ttl=float(sys.argv[3]))
print("held", flush=True)
time.sleep(600)
"""
_PEER_HOLD = """
import sys, time, datetime, boto3
import python_dynamodb_lock.python_dynamodb_lock as library
client = library.DynamoDBLockClient(boto3.resource("dynamodb"), table_name="peer",
    heartbeat_period=datetime.timedelta(seconds=0.5), safe_period=datetime.timedelta(seconds=1.5),
    lease_duration=datetime.timedelta(seconds=float(sys.argv[3])))
lock = client.acquire_lock(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


def held(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that holds it."""
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def ours_after(number: signal.Signals, directory: str, name: str, *, ttl_s: float) -> float:
    """Seconds from a signal to the holder until another has the lease."""
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    where = {"directory": directory} if directory else {"table": our_table(), "workspace": "bench"}
    waiter = Workspace(agent="waiter", **where)  # type: ignore[arg-type]
    holder = held(_HOLD, directory, name, str(ttl_s))
    try:
        os.kill(holder.pid, number)
        began = time.perf_counter()
        waiter.lease(name, ttl=30, wait=60).release()
        return time.perf_counter() - began
    finally:
        holder.kill()
        holder.wait()


def peer_after(number: signal.Signals, name: str) -> float:
    """The same, of python-dynamodb-lock."""
    from datetime import timedelta  # noqa: PLC0415 - for this peer only

    library = lock_library()
    import boto3  # noqa: PLC0415 - likewise

    client = library.DynamoDBLockClient(
        boto3.resource("dynamodb"),
        table_name="peer",
        heartbeat_period=timedelta(seconds=0.5),
        safe_period=timedelta(seconds=1.5),
        lease_duration=timedelta(seconds=TTL_S),
    )
    holder = held(_PEER_HOLD, "", name, str(TTL_S))
    try:
        os.kill(holder.pid, number)
        began = time.perf_counter()
        client.acquire_lock(name, retry_period=timedelta(seconds=0.05)).release()
        return time.perf_counter() - began
    finally:
        holder.kill()
        holder.wait()
        client.close(release_locks=True)


def trials(_options: Options) -> Sequence[Trial]:
    """After SIGKILL, and after SIGSTOP."""

    def on_disk(number: signal.Signals, directory: str) -> dict[str, float]:
        in_child(lambda: make_workspace(directory))
        return {"seconds": in_child(lambda: ours_after(number, directory, "x", ttl_s=TTL_S))}

    def in_table(number: signal.Signals) -> dict[str, float]:
        our_table()
        name = f"x-{time.monotonic_ns()}"
        return {"seconds": in_child(lambda: ours_after(number, "", name, ttl_s=TTL_S))}

    def peer(number: signal.Signals) -> dict[str, float]:
        lock_library()
        name = f"x-{time.monotonic_ns()}"
        return {"seconds": in_child(lambda: peer_after(number, name))}

    def trial(key: str, title: str, number: signal.Signals, target: Target) -> Trial:
        return Trial(
            key,
            title,
            (Metric("seconds", "until another has it", "s", "less"),),
            [
                Side(OURS, lambda directory: on_disk(number, directory)),
                Side(TABLE, lambda _directory: in_table(number)),
                Side(PEER, lambda _directory: peer(number)),
            ],
            (target,),
            note=f"The lease lasts {TTL_S:g} s, and the waiter comes when the holder is struck.",
        )

    return [
        trial("b13-killed", "takeover after SIGKILL", signal.SIGKILL, Target("seconds", 0.1, at_most=True)),
        trial("b13-frozen", "takeover after a freeze", signal.SIGSTOP, Target("seconds", TTL_S * 1.1, at_most=True)),
    ]


CASE = Case("B13", "takeover", trials)
