"""What a log's files are called, and the frame that opens each of them. Pure.

``<agent>.<incarnation>.<segment, 6 digits>.log``, and as its first frame (frame.py)::

    {"open":{"version":1,"agent":"bob","incarnation":"…","segment":3,"resource":"tasks.json",
             "after":{"segment":2,"end":65710,"chain":1842515611}}}

``after`` tells where the log stood before: up to byte ``end`` of that segment everything was synced, and ``chain`` was
the chain there. What stands beyond, or in a segment in between, is repeated in this one under the same seqs, or was
never acknowledged: it counts no more (P21). ``null``: nothing before this segment counts.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Final, NamedTuple

from coordinator.names import is_id

VERSION: Final = 1
OPENING_MAX_BYTES: Final = 4096  # a resource's name is the longest in it, and that has 512
_SUFFIX: Final = ".log"
_DIGITS: Final = 6
_PARTS: Final = 3


class After(NamedTuple):
    """Where the part of a log that counts ended, when a segment was begun."""

    segment: int
    end: int
    chain: int


class LogName(NamedTuple):
    """What the name of a log's file tells."""

    agent: str
    incarnation: str
    segment: int


class Opening(NamedTuple):
    """An opening frame.

    Attributes:
        version: Of the format.
        name: What the file was called.
        resource: Whose log.
        after: None: nothing before this segment counts.
        size_bytes: Of the whole frame, as it was read.
        chain: After the frame.
    """

    version: int
    name: LogName
    resource: str
    after: After | None
    size_bytes: int = 0
    chain: int = 0


def file_name(name: LogName) -> str:
    """The name of a segment's file."""
    return f"{name.agent}.{name.incarnation}.{name.segment:0{_DIGITS}}{_SUFFIX}"


@functools.lru_cache(maxsize=8192)  # the same names are listed at every look
def parse_file_name(text: str) -> LogName | None:
    """The inverse of ``file_name``; None when it is no log's."""
    parts = text.removesuffix(_SUFFIX).rsplit(".", _PARTS - 1)
    if len(parts) != _PARTS or not parts[0] or not is_id(parts[1]) or not parts[2].isdecimal():
        return None
    name = LogName(parts[0], parts[1], int(parts[2]))
    return name if file_name(name) == text else None


def opening_payload(name: LogName, resource: str, after: After | None) -> bytes:
    """The payload of an opening frame."""
    facts: dict[str, Any] = {
        "version": VERSION,
        **name._asdict(),
        "resource": resource,
        "after": after._asdict() if after else None,
    }
    return json.dumps({"open": facts}, ensure_ascii=False, separators=(",", ":")).encode()


def parse_opening(payload: bytes) -> Opening | None:
    """The inverse of ``opening_payload``; None when it opens nothing. Of a newer version only that is told."""
    try:
        facts = json.loads(payload)["open"]
        version = facts["version"]
        if isinstance(version, int) and version > VERSION:
            return Opening(version, LogName("", "", 0), "", None)
        after = After(**facts["after"]) if facts["after"] is not None else None
        name = LogName(facts["agent"], facts["incarnation"], facts["segment"])
        opening = Opening(version, name, facts["resource"], after)
    except (ValueError, KeyError, TypeError):
        return None
    return opening if opening_payload(name, opening.resource, after) == payload else None
