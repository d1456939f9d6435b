"""What the tests of the reader share: segments written by hand, and what they hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from log_support import log_folder, payload_of
from support import an_id

from coordinator.log.frame import encode
from coordinator.log.opening import After, LogName, file_name, opening_payload

if TYPE_CHECKING:
    from coordinator.record.member import Member


INCARNATION: Final = an_id(7)


def put(member: Member, segment: int, data: bytes, *, agent: str = "bob", incarnation: str = INCARNATION) -> str:
    """Writes a log's file by hand; returns its path."""
    os.makedirs(log_folder(member), exist_ok=True)
    path = f"{log_folder(member)}/{file_name(LogName(agent, incarnation, segment))}"
    with open(path, "wb") as file:
        file.write(data)
    return path


def segment_of(
    segment: int, payloads: list[bytes], after: After | None = None, *, agent: str = "bob", resource: str = "tasks.json"
) -> tuple[bytes, int]:
    """A segment's bytes, and the chain at its end."""
    data, chain = encode(opening_payload(LogName(agent, INCARNATION, segment), resource, after), 0)
    for payload in payloads:
        line, chain = encode(payload, chain)
        data += line
    return data, chain


def ops(first: int, last: int) -> list[bytes]:
    return [payload_of(number, number) for number in range(first, last + 1)]


def make_old(path: str) -> None:
    """As if it had not been changed for an hour."""
    os.utime(path, (1, os.stat(path).st_mtime - 3600))


FIRST, CHAIN = segment_of(1, ops(1, 4))
SECOND, _ = segment_of(2, ops(5, 7), After(1, len(FIRST), CHAIN))
ENDS: Final = [len(segment_of(1, ops(1, last))[0]) for last in range(5)]  # of the opening, and of each operation


def whole_before(place: int) -> int:
    """How many operations of the first segment stand before a place."""
    return max(sum(end <= place for end in ENDS) - 1, 0)
