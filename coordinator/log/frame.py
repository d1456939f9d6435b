r"""Frames: the lines of a log (P20). Pure; nothing here touches a file.

A log is a sequence of *segments*, files of one writer; a segment is a sequence of *frames*, one line each::

    C1 <length> <crc32> <chain> {json}\n

    length   bytes of the json, decimal, without leading zeros
    crc32    of the json, 8 hex digits
    chain    crc32 of all the json of this segment up to here, one after the other, 8 hex digits

The json is one object, compact UTF-8: it holds neither a line feed nor a NUL byte. An example::

    C1 122 7a2b943b 7a2b943b {"open":{"version":1,"agent":"bob", … ,"segment":1,"resource":"tasks.json","after":null}}
    C1 80 df8d90e6 0c2fd1e1 {"seq":1,"id":"a1","at":1790000000000,"op":{"do":"merge","patch":{"done":true}}}
    C1 17 62aeac1f e0152395 {"end":{"seq":1}}

The first frame of a segment opens it (opening.py), ``end`` is the last of a log whose writer was done (P27), and what
is in between are operations.

Why three checks: the length and the crc tell a whole frame by itself, wherever it stands; the chain tells that it
stands after those it was written after. So lines that were swapped, dropped, repeated, or merged from two writers are
noticed, although each of them is whole.

What a write in flight looks like (P22): bytes are only ever added at the end, so what is there of it is the beginning
of a frame (``cut``), or has holes that read as NUL bytes where the system wrote later pages first (``nul``). Anything
else that is no frame was altered.

Admitted weaknesses: 32 bits are made against accidents, not against an adversary; one in four thousand million
accidents goes unnoticed. A segment that is cut exactly between two frames looks like a shorter one, until its
successor, which names its end, tells better.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from zlib import crc32

from coordinator.errors import BadValue
from coordinator.limits import FRAME_MAX_BYTES

HEAD_MAX_BYTES: Final = len(b"C1 1048576 01234567 01234567 ")
LINE_MAX_BYTES: Final = HEAD_MAX_BYTES + FRAME_MAX_BYTES + 1

CUT: Final = "cut"
NUL: Final = "nul"

_HEAD: Final = re.compile(rb"C1 ([1-9][0-9]{0,6}) ([0-9a-f]{8}) ([0-9a-f]{8}) (?=\{)")
# The beginning of a head: each part may be missing, with all that follow.
_HEAD_CUT: Final = re.compile(
    rb"C(?:1(?: (?:[1-9][0-9]{0,6}(?: (?:[0-9a-f]{0,8}|[0-9a-f]{8} (?:[0-9a-f]{0,8}|[0-9a-f]{8} )))?)?)?)?|"
)


class Frames(NamedTuple):
    """The whole, valid frames that some bytes begin with.

    Attributes:
        payloads: Their json, in order.
        ends: The offset after each, in these bytes.
        chain: After the last.
        stop: Why there are no more: empty when all bytes are used; ``cut`` or ``nul``: what follows may be a write in
            flight; ``form``, ``length``, ``crc`` or ``chain``: what is wrong with what follows.
    """

    payloads: list[bytes]
    ends: list[int]
    chain: int
    stop: str


def encode(payload: bytes, chain: int) -> tuple[bytes, int]:
    """A frame, and the chain after it.

    Args:
        payload: One JSON object, compact.
        chain: After the frame before; 0 at the beginning of a segment.

    Raises:
        BadValue: See ``check``.
    """
    check(payload)
    chain = crc32(payload, chain)
    return b"C1 %d %08x %08x %b\n" % (len(payload), crc32(payload), chain, payload), chain


def check(payload: bytes, more_bytes: int = 0) -> None:
    """Refuses what is no payload of a frame, or would be too long if it grew by so much.

    Raises:
        BadValue: It is too long, or no compact JSON object with something in it.
    """
    if len(payload) + more_bytes > FRAME_MAX_BYTES:
        raise BadValue(
            f"an operation of {len(payload):,} bytes is too long: {FRAME_MAX_BYTES - more_bytes:,} is the most",
            argument="operation",
            value=len(payload),
            hint="divide it into several, or keep large content in a file of its own",
        )
    if payload[:2] != b'{"' or b"\n" in payload or b"\0" in payload:
        text = "a frame holds one JSON object, compact and not empty"
        raise BadValue(text, argument="operation", value=repr(payload[:80]))


def scan(data: bytes, chain: int) -> Frames:
    """As many whole, valid frames as there are from the start.

    Args:
        data: From the beginning of a frame on.
        chain: After the frame before; 0 at the beginning of a segment.
    """
    # On the way of every operation that is folded: about a microsecond each. One comparison of the whole head checks
    # length, crc and chain, and that they are written as encode writes them.
    payloads: list[bytes] = []
    ends: list[int] = []
    lines = data.split(b"\n")
    rest = lines.pop()
    end = 0
    for line in lines:
        start = line.find(b"{")
        payload = line[start:]
        following = crc32(payload, chain)
        size = len(payload)
        if line[:start] != b"C1 %d %08x %08x " % (size, crc32(payload), following) or size > FRAME_MAX_BYTES:
            return Frames(payloads, ends, chain, _what_is_wrong(line, chain))
        chain = following
        end += len(line) + 1
        payloads.append(payload)
        ends.append(end)
    return Frames(payloads, ends, chain, _what_is_left(rest) if rest else "")


def has_valid_after(data: bytes, start: int) -> bool:
    """Whether from somewhere on a frame stands there that is whole by its own length and crc (P22)."""
    at = data.find(b"C1 ", start)
    while at >= 0:
        if _is_whole_at(data, at):
            return True
        at = data.find(b"C1 ", at + 1)
    return False


def _is_whole_at(data: bytes, at: int) -> bool:
    head = _HEAD.match(data, at)
    if head is None:
        return False
    end = head.end() + int(head[1])
    return data[end : end + 1] == b"\n" and crc32(memoryview(data)[head.end() : end]) == int(head[2], 16)


def _what_is_wrong(line: bytes, chain: int) -> str:
    """Why a line, with its end, is not the next frame."""
    if b"\0" in line:
        return NUL
    head = _HEAD.match(line)
    if head is None:
        return "form"
    size_bytes = int(head[1])
    payload = line[head.end() :]
    if size_bytes != len(payload) or size_bytes > FRAME_MAX_BYTES:
        return "length"
    if crc32(payload) != int(head[2], 16):
        return "crc"
    return "chain" if crc32(payload, chain) != int(head[3], 16) else "form"


def _what_is_left(rest: bytes) -> str:
    """What a last line without its end is: the beginning of a frame, mostly."""
    if b"\0" in rest:
        return NUL
    head = _HEAD.match(rest)
    if head is None:
        return CUT if _HEAD_CUT.fullmatch(rest) else "form"
    size_bytes = int(head[1])
    return "length" if size_bytes > FRAME_MAX_BYTES or len(rest) - head.end() > size_bytes else CUT
