"""How far a chain is synced, as its authors tell each other on a disk of one host, where syncs are dear.

resources/<name>/@/synced         its mtime, in ns, is the number of a record that is known to be durable
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from coordinator.clock import elapsed_max_ms
from coordinator.limits import N_DIGITS, QUEUE_POLL_MIN_MS, SYNC_WORD_WAIT_MAX_MS

if TYPE_CHECKING:
    from coordinator.clock import Clock
    from coordinator.files import Files


def tell_synced(files: Files, path: str, n: int) -> None:
    """Leaves word for those who read record n that they need not sync it.

    Said after the sync returned, so it cannot be true on the disk before that is.
    """
    with suppress(OSError):  # they sync it themselves
        files.stamp(path, n)


def is_told_synced(files: Files, clock: Clock, path: str, n: int) -> bool:
    """Whether the author of record n, or of a later one, says that it is synced; asked as long as that may take.

    A record can be read before its author has synced it. To sync it at once as well is no faster, and all who waited
    for one fold did so at once: nearly as many syncs more as there were folds (measured, 8 processes).

    Raises:
        OSError: It cannot be asked.
    """
    began = clock.now()
    while True:
        with suppress(FileNotFoundError):
            # The mtime of a file that was made this moment, and not stamped yet, is a time: larger than any number.
            if n <= files.stat(path).mtime_ns < 10**N_DIGITS:
                return True
        if elapsed_max_ms(began, clock.now()) >= SYNC_WORD_WAIT_MAX_MS:
            return False  # its author was killed, or is slow
        clock.pause(QUEUE_POLL_MIN_MS)
