"""One reader process: reads the plain file over and over, as ``cat``, an editor or a dashboard does, and counts.

Started as ``python -m coordinator.demo.reader FILE RUN``; begins and leaves as a worker does. It is never frozen
itself, so it also continues whoever is, should the process that started them all have died.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time

from coordinator.demo.ledger import Journal, parse_lines

NAME = "reader"
PAUSE_S = 0.003
REPORT_S = 0.2
CONTINUE_S = 10


def is_whole(path: str) -> bool:
    """One look: whether the file is there and is whole JSON."""
    try:
        with open(path, "rb") as file:
            json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return False
    return True


def continue_all(folder: str) -> None:
    """Continues the other processes until all have left, since their standard input ended; but not for ever.

    Once would not do: a worker may have been about to stop itself.
    """
    deadline = time.monotonic() + CONTINUE_S
    while _continue_once(folder) and time.monotonic() < deadline:
        time.sleep(0.02)


def _continue_once(folder: str) -> int:
    """Continues every process that has a journal; returns how many there still are."""
    found = 0
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            entries, _ = parse_lines(name, 1, file.read())
        for entry in entries:
            if entry.pid and entry.pid != os.getpid():
                with contextlib.suppress(ProcessLookupError, PermissionError):  # ended, and perhaps another's by now
                    os.kill(entry.pid, signal.SIGCONT)
                    found += 1
    return found


def main(path: str, run: str) -> None:
    """Reads until standard input ends."""
    journal = Journal(os.path.join(run, "journal"), NAME, 1)
    os.read(0, 1)
    reads = torn = 0
    reported = time.monotonic()
    pause_s = PAUSE_S
    while not select.select([0], [], [], pause_s)[0]:
        began = time.monotonic()
        reads += 1
        torn += not is_whole(path)
        now = time.monotonic()
        pause_s = max(PAUSE_S, 2 * (now - began))  # a third of its time at most: a large file costs a look dearly
        if now - reported > REPORT_S:
            journal.write("reads", reads=reads, torn=torn)
            reads, torn, reported = 0, 0, now
    journal.write("reads", reads=reads, torn=torn)
    journal.write("end", reason="told")
    continue_all(os.path.join(run, "journal"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
