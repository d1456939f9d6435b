"""B9: append a record of 200 bytes, durable on return; and a hundred of them at once."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from benchmarks.crew import in_child
from benchmarks.ours import log_appender, make_workspace
from benchmarks.peers import write_all
from benchmarks.runner import OURS, Case, Metric, NotInstalled, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.runner import Options

    Append = Callable[[int], None]

RECORD_BYTES = 200
GROUP = 100
PREALLOCATED_BYTES = 64 << 20
PEER = "write + fdatasync"
PREALLOCATED = "write + fdatasync, preallocated"


def our_append(directory: str) -> Append:
    """The log that operations go to: a frame around each record, with its checksum and chain."""
    return log_appender(directory, RECORD_BYTES)


def peer_append(directory: str, *, preallocate: bool = False) -> Append:
    """The same bytes at a tracked offset, and a sync."""
    if not hasattr(os, "fdatasync") or (preallocate and not hasattr(os, "posix_fallocate")):
        raise NotInstalled("this system has no fdatasync, or no posix_fallocate")
    file = os.open(f"{directory}/peer.log", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    if preallocate:
        os.posix_fallocate(file, 0, PREALLOCATED_BYTES)
        os.fsync(file)
    record = b"r" * (RECORD_BYTES - 1) + b"\n"

    def append(count: int) -> None:
        write_all(file, record * count)
        os.fdatasync(file)

    return append


def records_per_second(append: Append, group: int, seconds: float) -> float:
    """How many records are durable in a second; the first append, which makes the file, is not counted."""
    append(group)
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        append(group)
        done += group
    return done / (now - began)


def trials(options: Options) -> Sequence[Trial]:
    """One record at a time, and groups."""
    seconds = 0.3 if options.quick else 1.0
    metric = Metric("rate", "durable records a second", "/s")

    def side(name: str, opening: Callable[[str], Append], group: int) -> Side:
        def measure(directory: str) -> dict[str, float]:
            if name == OURS:
                in_child(lambda: make_workspace(directory))
            return {"rate": in_child(lambda: records_per_second(opening(directory), group, seconds))}

        return Side(name, measure)

    def preallocated(directory: str) -> Append:
        return peer_append(directory, preallocate=True)

    return [
        Trial(
            "b9-single",
            f"append one record of {RECORD_BYTES} bytes, durable",
            (metric,),
            [side(OURS, our_append, 1), side(PEER, peer_append, 1), side(PREALLOCATED, preallocated, 1)],
            (Target("rate", 0.95, PEER),),
        ),
        Trial(
            "b9-group",
            f"append {GROUP} records of {RECORD_BYTES} bytes at once, durable",
            (metric,),
            [side(OURS, our_append, GROUP), side(PEER, peer_append, GROUP)],
            (Target("rate", 0.7, PEER),),
        ),
    ]


CASE = Case("B9", "durable append", trials)
