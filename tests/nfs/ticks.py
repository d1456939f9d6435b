"""One clock for all hosts: this machine's, asked over the bridge. ``python -m nfs.ticks ADDRESS`` answers.

Each guest has a monotonic clock of its own. What several of them told is only to be compared once it is put on one.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from typing import Final, NamedTuple

PORT: Final = 7123
ASKED: Final = 60  # times; the quickest answer counts
ANSWER_S: Final = 0.5
_BYTES_MAX: Final = 64


class Offset(NamedTuple):
    """By how much this host's monotonic clock is behind the machine's.

    Attributes:
        ns: To be added to a time of this host.
        within_ns: It may be that much more or less.
    """

    ns: int
    within_ns: int


def answer(address: str) -> None:
    """Answers for ever: what was sent, and this machine's monotonic clock."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((address, PORT))
        while True:
            data, who = own.recvfrom(_BYTES_MAX)
            own.sendto(b"%s %d" % (data, time.monotonic_ns()), who)


def ask(address: str) -> Offset:
    """Compares this host's monotonic clock with the machine's. RuntimeError when nobody answers."""
    found: list[Offset] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(ANSWER_S)
        for number in range(ASKED):
            before_ns = time.monotonic_ns()
            own.sendto(b"%d" % number, (address, PORT))
            with contextlib.suppress(TimeoutError):
                told, _, there_ns = own.recv(_BYTES_MAX).partition(b" ")
                after_ns = time.monotonic_ns()
                if int(told) == number:  # not a late answer to an earlier question
                    half_ns = (after_ns - before_ns) // 2 + 1
                    found.append(Offset(int(there_ns) - before_ns - half_ns, half_ns))
    if not found:
        raise RuntimeError(f"{address} does not tell the time")
    return min(found, key=lambda offset: offset.within_ns)


if __name__ == "__main__":
    answer(sys.argv[1])
