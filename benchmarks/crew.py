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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.process import BaseProcess

    Start = Callable[[int], "Job"]

PATIENCE_SECONDS: Final = 120.0


class CrewFailed(Exception):
    """A worker raised, died, or did not end in time."""


class Job(NamedTuple):
    """What a worker does when all are ready, and what it does when all have done that."""

    work: Callable[[], Any]
    finish: Callable[[], Any] = lambda: None


def run_crew(count: int, start: Start, *, patience_seconds: float = PATIENCE_SECONDS) -> list[Any]:
    """Runs work in that many processes at once.

    Args:
        count: How many.
        start: Called in each process with its number; does what is not measured, and returns what is. Nobody finishes
            before everybody has worked: what it costs one to close its files is not to slow down the others' work.
        patience_seconds: How long they may take to be ready, and again how long to be done; what is left is killed.

    Returns:
        What each one's work returned.

    Raises:
        CrewFailed: With the first worker's words.
    """
    fork = multiprocessing.get_context("fork")
    gates = (*os.pipe(), *os.pipe())  # of work, of finishing: open when their write ends are closed
    closed: set[int] = set()
    sys.stdout.flush()
    sys.stderr.flush()
    crew: list[tuple[BaseProcess, Connection]] = []
    try:
        for number in range(count):
            ours, theirs = fork.Pipe(duplex=False)
            process: BaseProcess = fork.Process(target=_worker, args=(start, number, theirs, gates), daemon=True)
            process.start()
            theirs.close()
            crew.append((process, ours))
        _gather(crew, patience_seconds)
        answers: list[Any] = []
        for gate in (gates[1], gates[3]):
            os.close(gate)
            closed.add(gate)
            answers.append(_gather(crew, patience_seconds))
        for process, _ in crew:
            process.join(1)
        found: list[Any] = answers[0]
        return found
    finally:
        for gate in {*gates} - closed:
            os.close(gate)
        for process, ours in crew:
            ours.close()
            process.kill()
        for process, _ in crew:
            process.join()


def in_child(work: Callable[[], Any], *, patience_seconds: float = PATIENCE_SECONDS) -> Any:
    """What this returns, done in a process of its own."""
    return run_crew(1, lambda _number: Job(work), patience_seconds=patience_seconds)[0]


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


def _worker(start: Start, number: int, tell: Connection, gates: tuple[int, ...]) -> None:
    """One process. A gate's end of file wakes everybody at once."""
    to_work, work_is_open, to_finish, finish_is_open = gates
    os.close(work_is_open)
    os.close(finish_is_open)
    try:
        job = start(number)
        gc.collect()
        tell.send((True, None))
        os.read(to_work, 1)
        tell.send((True, job.work()))
        os.read(to_finish, 1)
        job.finish()
        tell.send((True, None))
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
