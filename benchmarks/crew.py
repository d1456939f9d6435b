"""Processes that are made ready first, set going together, and asked for what they did.

Forked, not started anew: 256 of them are ready in a second, and what is measured begins after the start anyway. The
parent measures nothing itself and opens nothing that it measures, so that every measurement has a fresh process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
import time
import traceback
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    Work = Callable[[], Any]
    Start = Callable[[int], Work]

PATIENCE_SECONDS: Final = 120.0


class CrewFailed(Exception):
    """A worker raised, died, or did not end in time."""


def run_crew(count: int, start: Start, *, patience_seconds: float = PATIENCE_SECONDS) -> list[Any]:
    """Runs work in that many processes at once.

    Args:
        count: How many.
        start: Called in each process with its number; does what is not measured, and returns what is.
        patience_seconds: How long they may take to be ready, and again how long to be done; what is left is killed.

    Returns:
        What each one's work returned.

    Raises:
        CrewFailed: With the first worker's words.
    """
    fork = multiprocessing.get_context("fork")
    gate_read, gate_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    crew: list[tuple[BaseProcess, Connection]] = []
    try:
        for number in range(count):
            ours, theirs = fork.Pipe(duplex=False)
            process: BaseProcess = fork.Process(
                target=_worker, args=(start, number, theirs, gate_read, gate_write), daemon=True
            )
            process.start()
            theirs.close()
            crew.append((process, ours))
        _gather(crew, patience_seconds)
        os.close(gate_write)
        gate_write = -1
        answers = _gather(crew, patience_seconds)
        for process, _ in crew:
            process.join(1)
        return answers
    finally:
        if gate_write >= 0:
            os.close(gate_write)
        os.close(gate_read)
        for process, ours in crew:
            ours.close()
            process.kill()
        for process, _ in crew:
            process.join()


def in_child(work: Callable[[], Any], *, patience_seconds: float = PATIENCE_SECONDS) -> Any:
    """What this returns, done in a process of its own."""
    return run_crew(1, lambda _number: work, patience_seconds=patience_seconds)[0]


def cpu_seconds() -> float:
    """CPU time of this process so far, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes() -> int:
    """The most memory that this process ever had.

    On Linux not from ``ru_maxrss``: that is inherited over fork and exec, so a large parent would show in its children.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _worker(start: Start, number: int, tell: Connection, gate_read: int, gate_write: int) -> None:
    """One process: ready, wait for the gate (its end of file: everybody wakes at once), work, tell."""
    os.close(gate_write)
    try:
        work = start(number)
        gc.collect()
        tell.send((True, None))
        os.read(gate_read, 1)
        tell.send((True, work()))
    except BaseException as error:  # noqa: BLE001 - all of it is the parent's to tell
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"worker {number}: {type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
        tell.send((False, told))


def _gather(crew: list[tuple[BaseProcess, Connection]], patience_seconds: float) -> list[Any]:
    """One message of each."""
    deadline = time.monotonic() + patience_seconds
    waiting = {ours: number for number, (_, ours) in enumerate(crew)}
    answers: list[Any] = [None] * len(crew)
    while waiting:
        ready = wait(list(waiting), max(deadline - time.monotonic(), 0))
        if not ready:
            raise CrewFailed(f"{len(waiting)} of {len(crew)} workers did not end in {patience_seconds:g} s")
        for ours in ready:
            assert isinstance(ours, Connection)
            number = waiting.pop(ours)
            try:
                good, answers[number] = ours.recv()
            except EOFError:
                raise CrewFailed(f"worker {number} died") from None
            if not good:
                raise CrewFailed(str(answers[number]))
    return answers
