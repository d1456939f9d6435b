"""The record: all that is agreed on about one resource, and its form on disk.

A record is written as a path of ``name=value`` parts, so that it can be the target of a symbolic link, which every file
system takes and ``ls -l`` shows::

    v=1/n=42/kind=grant/why=free/request=<id>/by=reviewer-1/inc=<id>/at_ms=1790000000000
      /fence=42/lease=<id>/holder=reviewer-1/holder_inc=<id>/ttl_ms=30000/granted_ms=…/renewed_ms=…[/dead_by_ms=…][/detached=1]
      /freed_ms=…                                           instead of the line above, when nobody holds the lease
      [/waiting=<id>.<since_ms>+<id>.<since_ms>]
      [/rev=7/head_n=40/head_inc=<id>/sha256=<64 hex>/bytes=1558491/head_fence=38]
      [/fold=7.<inc>.3.81920.412]                           the newest fold line: revision, file, offset, bytes
      /floor=1/authority=mount.1[/<fields of a newer version>]/crc=<8 hex>

(one line on disk). ``crc`` is the CRC-32 of everything before it: a record cut or altered by hand is refused, never
believed. Fields that this version does not know are carried along unread; another ``v`` is refused. The longest record
that the limits allow is computed from the table below and asserted to fit.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote

from coordinator.errors import BadValue, CorruptRecord, NewerFormat
from coordinator.limits import (
    AGENT_MAX_BYTES,
    EXTRA_MAX_BYTES,
    ID_CHARS,
    MILLIS_DIGITS,
    N_DIGITS,
    RECORD_MAX_BYTES,
    RECORD_PART_MAX_BYTES,
    SIZE_DIGITS,
    WAITING_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
MOUNT: Final = "mount"
TABLE: Final = "table"


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds the lease. Times are the store's clock, Unix milliseconds; ``dead_by_ms`` is 0 when there is none."""

    fence: int
    lease_id: str
    agent: str
    incarnation: str
    ttl_ms: int
    granted_ms: int
    renewed_ms: int
    dead_by_ms: int = 0
    detached: bool = False

    @property
    def until_ms(self) -> int:
        """When it runs out, unless it is renewed."""
        until_ms = self.renewed_ms + self.ttl_ms
        return min(until_ms, self.dead_by_ms) if self.dead_by_ms else until_ms


class Waiter(NamedTuple):
    """One place in the line (P12)."""

    request: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """The committed content: revision, and the snapshot that holds it (P15).

    ``n`` and ``incarnation`` are of the record and the writer that committed it, and with the sha256 they are the
    snapshot's name. ``fence`` is 0 for content that was committed without a lease. Of a revision that was folded
    (``Record.is_folded``) the sha256 and size are those of its fold line, which says how to come by the content (P26).
    """

    revision: int
    n: int
    incarnation: str
    sha256: str
    size_bytes: int
    fence: int

    @property
    def snapshot(self) -> str:
        """Name of the snapshot file in ``snap/``."""
        return f"{self.n:0{N_DIGITS}}-{self.incarnation}-{self.sha256}"


@dataclass(frozen=True, slots=True)
class FoldAt:
    """Where a fold line stands: ``fold/<incarnation>.<file>.log``, from ``offset`` on, ``size_bytes`` long (P26).

    It stays in the record when content is committed after it: how far each log was folded is told by the fold line.
    """

    revision: int
    incarnation: str
    file: int
    offset: int
    size_bytes: int

    @property
    def name(self) -> str:
        """Name of the file in ``fold/``."""
        return f"{self.incarnation}.{self.file:06d}.log"


@dataclass(frozen=True, slots=True)
class Record:
    """Position ``n`` of a resource's chain. ``BLANK`` (n = 0) stands for a resource that has none yet."""

    n: int
    kind: str
    request: str
    agent: str
    incarnation: str
    at_ms: int
    why: str = ""
    lease: Holding | None = None
    freed_ms: int = 0
    waiting: tuple[Waiter, ...] = ()
    head: Head | None = None
    fold: FoldAt | None = None
    floor: int = 1
    mode: str = MOUNT
    epoch: int = 1
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def revision(self) -> int:
        """Revision of the committed content; 0 when nothing was committed."""
        return self.head.revision if self.head else 0

    @property
    def is_closed(self) -> bool:
        """Whether another store rules the resource from here on (P29, P30): nothing follows on it here."""
        return self.kind in {"sealed", "moved"}

    @property
    def is_folded(self) -> bool:
        """Whether the newest revision was folded, and not committed whole."""
        return self.head is not None and self.fold is not None and self.fold.revision == self.head.revision


BLANK: Final = Record(n=0, kind="blank", request="", agent="", incarnation="", at_ms=0, floor=0)


class _Shape(NamedTuple):
    pattern: re.Pattern[str]
    max_chars: int


def _digits(count: int) -> _Shape:
    return _Shape(re.compile(rf"0|[1-9][0-9]{{0,{count - 1}}}"), count)


_ID: Final = _Shape(re.compile(rf"[a-z2-7]{{{ID_CHARS}}}"), ID_CHARS)
_WORD: Final = _Shape(re.compile(r"[a-z]{1,12}"), 12)
_AGENT: Final = _Shape(re.compile(rf"[A-Za-z0-9._@+-]{{1,{AGENT_MAX_BYTES}}}"), AGENT_MAX_BYTES)
_WAITER: Final = rf"[a-z2-7]{{{ID_CHARS}}}\.[0-9]{{1,{MILLIS_DIGITS}}}"

# Every field in the order in which it is written, with its form and its greatest length.
FORMS: Final[Mapping[str, _Shape]] = {
    "v": _digits(2),
    "n": _digits(N_DIGITS),
    "kind": _WORD,
    "why": _WORD,
    "request": _ID,
    "by": _AGENT,
    "inc": _ID,
    "at_ms": _digits(MILLIS_DIGITS),
    "fence": _digits(N_DIGITS),
    "lease": _ID,
    "holder": _AGENT,
    "holder_inc": _ID,
    "ttl_ms": _digits(8),
    "granted_ms": _digits(MILLIS_DIGITS),
    "renewed_ms": _digits(MILLIS_DIGITS),
    "dead_by_ms": _digits(MILLIS_DIGITS),
    "detached": _Shape(re.compile(r"[01]"), 1),
    "freed_ms": _digits(MILLIS_DIGITS),
    "waiting": _Shape(
        re.compile(rf"{_WAITER}(?:\+{_WAITER}){{0,{WAITING_MAX - 1}}}"),
        WAITING_MAX * (ID_CHARS + 1 + MILLIS_DIGITS) + WAITING_MAX - 1,
    ),
    "rev": _digits(N_DIGITS),
    "head_n": _digits(N_DIGITS),
    "head_inc": _ID,
    "sha256": _Shape(re.compile(r"[0-9a-f]{64}"), 64),
    "bytes": _digits(SIZE_DIGITS),
    "head_fence": _digits(N_DIGITS),
    "fold": _Shape(
        re.compile(
            rf"[1-9][0-9]{{0,{N_DIGITS - 1}}}\.[a-z2-7]{{{ID_CHARS}}}\.[0-9]{{1,6}}\.[0-9]{{1,8}}\.[1-9][0-9]{{0,7}}"
        ),
        N_DIGITS + ID_CHARS + 6 + 8 + 8 + 4,
    ),
    "floor": _digits(N_DIGITS),
    "authority": _Shape(re.compile(r"(?:mount|table)\.[1-9][0-9]{0,5}"), 12),
    "crc": _Shape(re.compile(r"[0-9a-f]{8}"), 8),
}
_LEASE_FIELDS: Final = ("fence", "lease", "holder", "holder_inc", "ttl_ms", "granted_ms", "renewed_ms")
_HEAD_FIELDS: Final = ("rev", "head_n", "head_inc", "sha256", "bytes", "head_fence")

# A lease and its absence never stand in one record, so freed_ms does not add to the worst case.
WORST_CASE_BYTES: Final = (
    sum(len(name) + 1 + shape.max_chars + 1 for name, shape in FORMS.items() if name != "freed_ms")
    + EXTRA_MAX_BYTES
    - 1
)
if WORST_CASE_BYTES > RECORD_MAX_BYTES:
    raise AssertionError(f"a record can be {WORST_CASE_BYTES} bytes long; {RECORD_MAX_BYTES} is the most")
if max(len(name) + 1 + shape.max_chars for name, shape in FORMS.items()) > RECORD_PART_MAX_BYTES:
    raise AssertionError(f"a part of a record can be longer than {RECORD_PART_MAX_BYTES} bytes")


def encode(record: Record) -> str:
    """The record as one relative path.

    Raises:
        BadValue: A field is outside its form, so that no reader could take the record: a bug above, or fields of a
            newer version that leave no room.
    """
    values = _values_of(record)
    for name, value in values.items():
        if value != "" and not FORMS[name].pattern.fullmatch(str(value)):
            raise BadValue(f"{name}={value!r} cannot stand in a record", argument=name, value=value)
    parts = [f"{name}={value}" for name, value in values.items() if value != ""]
    parts += [f"{name}={quote(value, safe='')}" for name, value in record.extra]
    body = "/".join(parts)
    text = f"{body}/crc={zlib.crc32(body.encode()):08x}"
    if len(text) > RECORD_MAX_BYTES:
        raise BadValue(
            f"the record is {len(text)} bytes long, and {RECORD_MAX_BYTES} is the most", argument="extra", value=text
        )
    return text


def _values_of(record: Record) -> dict[str, str | int]:
    """Every field in the order in which it is written; those that are not there left out, or empty."""
    values: dict[str, str | int] = {
        "v": VERSION,
        "n": record.n,
        "kind": record.kind,
        "why": record.why,
        "request": record.request,
        "by": record.agent,
        "inc": record.incarnation,
        "at_ms": record.at_ms,
    }
    if record.lease:
        lease = record.lease
        held = (lease.fence, lease.lease_id, lease.agent, lease.incarnation, lease.ttl_ms)
        values.update(zip(_LEASE_FIELDS, (*held, lease.granted_ms, lease.renewed_ms), strict=True))
        if lease.dead_by_ms:
            values["dead_by_ms"] = lease.dead_by_ms
        if lease.detached:
            values["detached"] = 1
    elif record.freed_ms:
        values["freed_ms"] = record.freed_ms
    if record.waiting:
        values["waiting"] = "+".join(f"{waiter.request}.{waiter.since_ms}" for waiter in record.waiting)
    if record.head:
        head = record.head
        content = (head.revision, head.n, head.incarnation, head.sha256, head.size_bytes, head.fence)
        values.update(zip(_HEAD_FIELDS, content, strict=True))
    if record.fold:
        fold = record.fold
        values["fold"] = f"{fold.revision}.{fold.incarnation}.{fold.file}.{fold.offset}.{fold.size_bytes}"
    values["floor"] = record.floor
    values["authority"] = f"{record.mode}.{record.epoch}"
    return values


def is_whole(text: str) -> bool:
    """Whether a text ends with the checksum of the rest of it."""
    body, _, crc = text.rpartition("/crc=")
    return f"{zlib.crc32(body.encode(errors='surrogateescape')):08x}" == crc


def decode(text: str, *, resource: str, path: str) -> Record:
    """The inverse of ``encode``.

    Raises:
        CorruptRecord: Says which field, what is wrong with it, and in which file.
        NewerFormat: The record is whole, and of a version that this library does not know.
    """
    try:
        values = _split(text)
        version = values.pop("v", "")
        if version.isdecimal() and int(version) > VERSION:
            raise NewerFormat(
                f"the record of {resource!r} at {path} is of version {version}; this library knows {VERSION}",
                path=path,
                needs=int(version),
                have=VERSION,
            )
        if version != str(VERSION):
            raise _DamageError("v", f"{version!r} is no version")
        extra = tuple((name, unquote(values.pop(name))) for name in [*values] if name not in FORMS)
        record = _from_values(values, extra)
        _refuse_contradictions(record)
    except _DamageError as damage:
        where, what = damage.args
        raise CorruptRecord(
            f"the record of {resource!r} at {path} is damaged at {where}: {what}",
            resource=resource,
            path=path,
            where=where,
        ) from None
    return record


class _DamageError(Exception):
    """Where, and what."""


def _split(text: str) -> dict[str, str]:
    body, mark, _ = text.rpartition("/crc=")
    if not mark:
        raise _DamageError("crc", "its end is missing")
    if not is_whole(text):
        raise _DamageError("crc", "its checksum does not match; it was cut or altered")
    values: dict[str, str] = {}
    for part in body.split("/"):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise _DamageError(repr(part[:40]), "not of the form name=value")
        if name in values:
            raise _DamageError(name, "it stands there twice")
        values[name] = value
    return values


class _Values(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise _DamageError(name, "it is missing")


def _from_values(raw: Mapping[str, str], extra: tuple[tuple[str, str], ...]) -> Record:
    for name, value in raw.items():
        if not FORMS[name].pattern.fullmatch(value):
            raise _DamageError(name, f"{value[:40]!r} is not of its form")
    values = _Values(raw)
    lease = head = None
    if any(name in values for name in (*_LEASE_FIELDS, "dead_by_ms", "detached")):
        lease = Holding(
            fence=int(values["fence"]),
            lease_id=values["lease"],
            agent=values["holder"],
            incarnation=values["holder_inc"],
            ttl_ms=int(values["ttl_ms"]),
            granted_ms=int(values["granted_ms"]),
            renewed_ms=int(values["renewed_ms"]),
            dead_by_ms=int(values.get("dead_by_ms", "0")),
            detached=values.get("detached", "0") == "1",
        )
    if any(name in values for name in _HEAD_FIELDS):
        head = Head(
            revision=int(values["rev"]),
            n=int(values["head_n"]),
            incarnation=values["head_inc"],
            sha256=values["sha256"],
            size_bytes=int(values["bytes"]),
            fence=int(values["head_fence"]),
        )
    fold = None
    if "fold" in values:
        revision, incarnation, *place = values["fold"].split(".")
        fold = FoldAt(int(revision), incarnation, *map(int, place))
    waiting = [waiter.split(".") for waiter in values["waiting"].split("+")] if "waiting" in values else []
    mode, epoch = values["authority"].split(".")
    return Record(
        n=int(values["n"]),
        kind=values["kind"],
        request=values["request"],
        agent=values["by"],
        incarnation=values["inc"],
        at_ms=int(values["at_ms"]),
        why=values.get("why", ""),
        lease=lease,
        freed_ms=int(values.get("freed_ms", "0")),
        waiting=tuple(Waiter(request, int(since_ms)) for request, since_ms in waiting),
        head=head,
        fold=fold,
        floor=int(values["floor"]),
        mode=mode,
        epoch=int(epoch),
        extra=extra,
    )


def _refuse_contradictions(record: Record) -> None:
    """Refuses what no writer of ours ever wrote."""
    checks = (
        (record.n < 1, "n", "positions begin at 1"),
        (record.floor > record.n, "floor", "it is above the record's own n"),
        (record.lease is not None and record.freed_ms > 0, "freed_ms", "the lease is held and free at once"),
        (record.lease is not None and not 1 <= record.lease.fence <= record.n, "fence", "it is not of this chain"),
        (record.head is not None and not 1 <= record.head.n <= record.n, "head_n", "it is not of this chain"),
        (record.head is not None and record.head.revision < 1, "rev", "revisions begin at 1"),
        (record.fold is not None and record.fold.revision > record.revision, "fold", "it is above the head's revision"),
        (len({waiter.request for waiter in record.waiting}) < len(record.waiting), "waiting", "one waits twice"),
    )
    for wrong, where, what in checks:
        if wrong:
            raise _DamageError(where, what)


def as_dict(record: Record) -> dict[str, object]:
    """The record as plain values, for ``--json`` and for people."""
    shown: dict[str, object] = {
        item.name: getattr(record, item.name)
        for item in fields(record)
        if item.name not in {"lease", "head", "fold", "extra"}
    }
    shown["waiting"] = [waiter._asdict() for waiter in record.waiting]
    for name, part in (("lease", record.lease), ("head", record.head), ("fold", record.fold)):
        shown[name] = {item.name: getattr(part, item.name) for item in fields(part)} if part else None
    return shown
