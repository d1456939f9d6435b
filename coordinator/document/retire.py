"""Logs whose writers said nothing at their end (P27): killed, frozen for good, or on a host that is gone.

A log that has not grown for RETIRE_AFTER_MS is *fenced*: a fold publishes that nothing behind what the next fold finds
counts. The next fold reads it once more, folds what is left, and marks it ended; then it is deleted like any other. A
writer that wakes up later finds that out after its sync, and submits again, under the same ids, in a new log: time only
decides when to try (P2).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from coordinator.folders import list_surely, remove_quietly
from coordinator.limits import ORPHAN_KEEP_MS, RETIRE_AFTER_MS
from coordinator.log.keep import log_files
from coordinator.log.opening import parse_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordinator.log.reader import Position
    from coordinator.names import Resource
    from coordinator.record.member import Member


def silent_logs(member: Member, resource: Resource, positions: Iterable[Position], now_ms: int) -> list[str]:
    """Incarnations whose logs are open and have not grown for RETIRE_AFTER_MS. Raises OSError."""
    return [
        position.incarnation
        for position in positions
        if position.state == "open" and _newest_ms(member, resource, position) < now_ms - RETIRE_AFTER_MS
    ]


def _newest_ms(member: Member, resource: Resource, position: Position) -> int:
    folder = member.places.of(resource, "log")
    newest_ms = 0
    for name in log_files(member, resource, position.incarnation):
        with contextlib.suppress(FileNotFoundError):
            newest_ms = max(newest_ms, member.files.stat(f"{folder}/{name}").mtime_ns // 1_000_000)
    return newest_ms


def remove_orphans(member: Member, resource: Resource, positions: Mapping[str, Position], now_ms: int) -> int:
    """Deletes old files in ``log/`` that are nobody's; returns how many. OSError as the files.

    To be called after a fold: a log of which anything whole was ever there has a position by then.
    """
    folder = member.places.of(resource, "log")
    removed = 0
    for text in list_surely(member.files, member.places.resources, folder):
        name = parse_file_name(text)
        if name is not None and name.incarnation in positions:
            continue
        with contextlib.suppress(FileNotFoundError):
            if member.files.stat(f"{folder}/{text}").mtime_ns // 1_000_000 < now_ms - ORPHAN_KEEP_MS:
                remove_quietly(member.files, f"{folder}/{text}")
                removed += 1
    return removed
