"""What stands in the table: one item per resource, and its archive. Pure.

::

    pk   S  the workspace's id
    sk   S  record/<state path>                     the newest record of a resource, and those before it
            past/<state path>/<first>-<last>        records that were collected (P18), 12 digits each
            workspace                               which store rules, and whose workspace it is (authority.py)
            inbox/<state path>/<incarnation>/<seq>  operations of those who cannot reach the mount (log/inbox.py)

    record/…    n        N  position of the newest record: what every append is conditional on (P1)
                record   S  that record, encoded as on a mount (record.py)
                past     B  the records before it, from its floor on: zlib of one a line, oldest first
    past/…      records  B  likewise
                at_ms    N  when they were archived

A state path (names.py) is never the beginning of another, so a query by prefix finds one resource's items only. Items
have no TTL, and record items are never deleted (P8). The workspace's id is the partition key, so that a policy can name
it (``dynamodb:LeadingKeys``).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import CorruptRecord
from coordinator.limits import N_DIGITS
from coordinator.record.record import Record, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.names import Resource

RECORD: Final = "record/"
PAST: Final = "past/"
INBOX: Final = "inbox/"
WORKSPACE: Final = "workspace"
SCHEMA: Final = (("pk", "HASH"), ("sk", "RANGE"))  # both of type S
_RAW_MAX_BYTES: Final = 4 << 20  # of past records, unpacked: what a small item could never hold was not made by us


@dataclass(frozen=True, slots=True)
class Chained:
    """The newest record of a resource and, as text, those before it that are not archived."""

    record: Record
    text: str
    past: tuple[str, ...]

    @property
    def live(self) -> int:
        """How many records the item holds."""
        return len(self.past) + 1

    def after(self, record: Record) -> Chained:
        """The same with one more record; what is below its floor is archived by then, and left out."""
        lines = (*self.past, self.text)
        below = max(record.floor - (self.record.n - len(self.past)), 0)
        return Chained(record, encode(record), lines[below:])

    def request_at(self, n: int) -> str:
        """The request that wrote record n; empty when it is not here."""
        if n == self.record.n:
            return self.record.request
        at = n - (self.record.n - len(self.past))
        return _request_in(self.past[at]) if 0 <= at < len(self.past) else ""


def first(record: Record) -> Chained:
    """A resource's first record in the table."""
    return Chained(record, encode(record), ())


def key(workspace: str, sort_key: str) -> dict[str, Any]:
    """A primary key, as the API wants it."""
    return {"pk": {"S": workspace}, "sk": {"S": sort_key}}


def values(chained: Chained) -> dict[str, Any]:
    """The attributes of a record item."""
    return {
        "n": {"N": str(chained.record.n)},
        "record": {"S": chained.text},
        "past": {"B": pack(chained.past)},
    }


def parse(item: dict[str, Any], resource: Resource) -> Chained:
    """The inverse of ``values``.

    Raises:
        CorruptRecord: Says which attribute is wrong: an item is never edited by hand.
        NewerFormat: The record is of a version that this library does not know.
    """
    where = f"item {item.get('sk', {}).get('S', '?')!r}"
    n = _attribute(item, "n", "N", resource, where)
    text = _attribute(item, "record", "S", resource, where)
    past = _attribute(item, "past", "B", resource, where)
    record = _decoded(text, resource, where)
    if str(record.n) != n:
        raise _corrupt(resource, where, "n", f"it says {n}, and the record says {record.n}")
    lines = unpack(past, resource, where)
    if record.n - len(lines) < 1:
        raise _corrupt(resource, where, "past", "it holds more records than there can be")
    return Chained(record, text, lines)


def _attribute(item: dict[str, Any], name: str, kind: str, resource: Resource, where: str) -> Any:
    try:
        return item[name][kind]
    except (KeyError, TypeError):
        raise _corrupt(resource, where, name, "it is missing, or of another type") from None


def _decoded(text: str, resource: Resource, where: str) -> Record:
    try:
        return decode(text, resource=resource, path=where)
    except CorruptRecord as damage:
        raise _corrupt(resource, where, damage.where, damage.message.partition(": ")[2]) from None


def pack(lines: Sequence[str]) -> bytes:
    """Records as one attribute."""
    return zlib.compress("\n".join(lines).encode(), 6)  # never empty: older engines refuse an empty attribute


def unpack(data: Any, resource: Resource, where: str) -> tuple[str, ...]:
    """The inverse of ``pack``. Raises CorruptRecord."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, _RAW_MAX_BYTES)
        if not unpacker.eof:
            raise _corrupt(resource, where, "past", "it is cut, or longer than anything that was written")
        return tuple(text.decode().split("\n")) if text else ()
    except (zlib.error, UnicodeDecodeError, TypeError) as error:
        raise _corrupt(resource, where, "past", str(error)) from None


def decode_all(lines: Sequence[str], resource: Resource, where: str) -> list[Record]:
    """The records of an attribute."""
    return [_decoded(line, resource, where) for line in lines]


def archive_key(resource: Resource, first_n: int, last_n: int) -> str:
    """The sort key of an archive item."""
    return f"{PAST}{resource.state_path}/{first_n:0{N_DIGITS}}-{last_n:0{N_DIGITS}}"


def last_of(sort_key: str) -> int:
    """The position of the last record in an archive item, by its sort key."""
    digits = sort_key.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _request_in(line: str) -> str:
    return line.partition("/request=")[2].partition("/")[0]


def _corrupt(resource: Resource, path: str, where: str, what: str) -> CorruptRecord:
    return CorruptRecord(
        f"the record of {str(resource)!r} in the table ({path}) is damaged at {where}: {what}",
        resource=str(resource),
        path=path,
        where=where,
        hint="items are never edited by hand: restore the table to a point before (point-in-time recovery), "
        "or put back what `coordinator lease show` shows",
    )
