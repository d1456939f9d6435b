"""Leases beside what people use instead: rounds interleaved, medians, ratios with their spread.

    pip install -e '.[bench]' && python benchmarks/leases.py [--directory DIR] [--rounds 7] [--only NAME]

The cases:

* ``import``: CPU of ``import coordinator`` in a fresh process, above that of bare Python; beside ``import filelock``.
* ``fresh``: CPU of a fresh process that imports, opens a workspace, takes and releases a lease; beside one that imports
  filelock and pydantic and takes and releases a file lock.
* ``pair``: acquire + release without contention; beside the lease people write by hand: flock, read a JSON lease, write
  it by temp + fsync + rename + directory fsync, twice.
* ``contended``: eight processes, 1 ms held, 1 ms between; beside filelock. Rate, p99 and longest wait.

Absolute figures are those of one machine at one time; the ratios are the result.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAIR_SECONDS = 0.5
CONTENDED_SECONDS = 3.0
WORKERS = 8

FRESH_OURS = """
import sys
from coordinator import Workspace
with Workspace(sys.argv[1], agent="fresh").lease("fresh"):
    pass
"""
FRESH_PEER = """
import sys
import filelock, pydantic
class Settings(pydantic.BaseModel):
    path: str
with filelock.FileLock(Settings(path=sys.argv[1]).path + "/peer.lock"):
    pass
"""
CONTENDED_OURS = """
from coordinator import Workspace
ws = Workspace(directory, agent=f"worker-{number}")
take = lambda: ws.lease("contended", ttl=30, wait=60)
"""
CONTENDED_PEER = """
import filelock
lock = filelock.FileLock(directory + "/peer.lock")
take = lock.acquire
"""
CONTENDED = """
import json, sys, time
directory, number, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
{setup}
print("ready", flush=True)
sys.stdin.readline()
waits, end = [], time.monotonic() + seconds
while time.monotonic() < end:
    began = time.perf_counter()
    with take():
        waits.append(time.perf_counter() - began)
        time.sleep(0.001)
    time.sleep(0.001)
print(json.dumps(waits))
"""


def children_cpu_seconds(code: str, *args: str) -> float:
    """CPU, user and system, of a fresh Python process that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *args], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pairs_per_second(pair: Callable[[], None]) -> float:
    """How often a pair of acquire and release goes through in a second."""
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < PAIR_SECONDS:
        pair()
        done += 1
    return done / (time.perf_counter() - began)


def hand_written_lease(directory: str) -> Callable[[], None]:
    """The peer of ``pair``: a lease in a JSON file under flock, each state synced before it is answered."""
    lock = os.open(f"{directory}/hand.lock", os.O_RDWR | os.O_CREAT, 0o666)
    path = Path(f"{directory}/hand.json")
    path.write_text("{}")

    def write(state: dict[str, object]) -> None:
        with open(f"{path}.tmp", "w") as file:
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
            json.loads(path.read_text())
            write(state)
            fcntl.flock(lock, fcntl.LOCK_UN)

    return pair


def contended_waits(setup: str, directory: str) -> list[float]:
    """How long each acquisition waited, over all workers, in CONTENDED_SECONDS."""
    code = CONTENDED.format(setup=setup)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, directory, str(number), str(CONTENDED_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(WORKERS)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    waits: list[float] = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        told, _ = worker.communicate()
        waits += json.loads(told)
    return waits


def tell(name: str, what: str, ours: list[float], peer: list[float], unit: str) -> None:
    """One line: both medians, and the ratio of each round with its spread."""
    ratios = sorted(mine / other for mine, other in zip(ours, peer, strict=True))
    print(
        f"{name:10} {what:22} ours {statistics.median(ours):9.3f} {unit:9} peer {statistics.median(peer):9.3f} {unit:9}"
        f" ratio {statistics.median(ratios):6.2f}  ({ratios[0]:.2f} … {ratios[-1]:.2f})",
        flush=True,
    )


def run_import(directory: str, rounds: int) -> None:
    """CPU of importing."""
    del directory
    bare = statistics.median(children_cpu_seconds("pass") for _ in range(rounds))
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(max(children_cpu_seconds("import coordinator") - bare, 1e-4) * 1000)
        peer.append(max(children_cpu_seconds("import filelock") - bare, 1e-4) * 1000)
    tell("import", "CPU above bare Python", ours, peer, "ms")


def run_fresh(directory: str, rounds: int) -> None:
    """CPU of a fresh process with one lease."""
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(children_cpu_seconds(FRESH_OURS, directory) * 1000)
        peer.append(children_cpu_seconds(FRESH_PEER, directory) * 1000)
    tell("fresh", "CPU of the process", ours, peer, "ms")


def run_pair(directory: str, rounds: int) -> None:
    """Uncontended pairs."""
    from coordinator import Workspace  # noqa: PLC0415 - the other cases measure this import

    workspace = Workspace(directory, agent="pair")

    def ours() -> None:
        with workspace.lease("pair"):
            pass

    hand = hand_written_lease(directory)
    mine, other = [], []
    for _ in range(rounds):
        mine.append(pairs_per_second(ours))
        other.append(pairs_per_second(hand))
    tell("pair", "acquire + release", mine, other, "/s")


def run_contended(directory: str, rounds: int) -> None:
    """Eight processes on one lease."""
    figures: dict[str, tuple[list[float], list[float]]] = {"rate": ([], []), "p99": ([], []), "longest": ([], [])}
    for _ in range(rounds):
        for side, setup in enumerate((CONTENDED_OURS, CONTENDED_PEER)):
            waits = sorted(contended_waits(setup, directory))
            figures["rate"][side].append(len(waits) / CONTENDED_SECONDS)
            figures["p99"][side].append(waits[int(len(waits) * 0.99)] * 1000)
            figures["longest"][side].append(waits[-1] * 1000)
    for what, (mine, other) in figures.items():
        tell("contended", what, mine, other, "/s" if what == "rate" else "ms")


CASES = {"import": run_import, "fresh": run_fresh, "pair": run_pair, "contended": run_contended}


def main() -> None:
    """Runs the cases in a fresh workspace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", help="where the workspace is made (default: the system's temporary folder)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=sorted(CASES))
    options = parser.parse_args()
    from coordinator import Workspace  # noqa: PLC0415 - as above

    directory = tempfile.mkdtemp(prefix="coordinator-bench-", dir=options.directory)
    try:
        Workspace.init(directory, agent="bench")
        for name, run in CASES.items():
            if options.only in {None, name}:
                run(directory, options.rounds)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
