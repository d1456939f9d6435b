"""A lock quota: a relay between a client and the server that refuses locks past a number. ``python -m nfs.quota …``.

The client mounts this machine's address, and each of its connections goes on to the server. A lock past the quota is
refused by the server itself, since the relay makes its range empty on the way (NFS4ERR_INVAL); so the session's slots
stay as the server keeps them. On the way back that error is made the one which the quota is told with::

    client ── SEQUENCE PUTFH LOCK(length=all) ──> relay ── SEQUENCE PUTFH LOCK(length=0) ──> server
    client <── ok ok NFS4ERR_DQUOT ────────────── relay <── ok ok NFS4ERR_INVAL ──────────── server

What is counted are the locks that the server has granted here and not taken back. One line of output for each refusal.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from typing import Final, NamedTuple

PORT: Final = 2049
# How NFSv4 says that something is used up (RFC 7530, 13.1), and what the Linux client makes of it.
DQUOT: Final = 69  # EDQUOT
RESOURCE: Final = 10018  # EREMOTEIO
_INVALID: Final = 22
_CALL: Final = 0
_NFS: Final = 100003
_COMPOUND: Final = 1
_SEQUENCE: Final = 53
_SEQUENCE_BYTES: Final = 32
_PUTFH: Final = 22
_LOCK: Final = 12
_UNLOCK: Final = 14
_LENGTH_AT: Final = 16  # of a LOCK's arguments: type, reclaim, offset, and then the length
_MARK: Final = 0x80000000  # the last fragment of a record
_RECLAIM_AT: Final = 4


class Asked(NamedTuple):
    """A compound that locks or unlocks.

    Attributes:
        xid: Of the call.
        kind: LOCK or UNLOCK.
        at: Where the operation's arguments begin, in the record.
    """

    xid: int
    kind: int
    at: int


class _Reader:
    """Takes a record of XDR apart."""

    def __init__(self, record: bytes) -> None:
        self._record = record
        self.at = 0

    def number(self) -> int:
        value: int = struct.unpack_from(">I", self._record, self.at)[0]
        self.at += 4
        return value

    def skip_opaque(self) -> None:
        self.skip((self.number() + 3) & ~3)

    def skip(self, count: int) -> None:
        self.at += count


def asked(record: bytes) -> Asked | None:
    """The lock or unlock that a client's record asks for; None when it asks for something else."""
    read = _Reader(record)
    with contextlib.suppress(struct.error):
        xid, kind = read.number(), read.number()
        _version, program, _four, procedure = (read.number() for _ in range(4))
        if (kind, program, procedure) != (_CALL, _NFS, _COMPOUND):
            return None
        for _ in ("credentials", "verifier"):
            read.skip(4)
            read.skip_opaque()
        read.skip_opaque()  # a tag
        read.skip(4)  # the minor version
        count, first = read.number(), read.number()
        read.skip(_SEQUENCE_BYTES)
        if (count, first, read.number()) != (3, _SEQUENCE, _PUTFH):
            return None
        read.skip_opaque()
        operation = read.number()
        if operation in {_LOCK, _UNLOCK}:
            return Asked(xid, operation, read.at)
    return None


def emptied(record: bytes, lock: Asked) -> bytes:
    """The same lock, on no byte at all."""
    at = lock.at + _LENGTH_AT
    return record[:at] + bytes(8) + record[at + 8 :]


def answered(record: bytes) -> tuple[int, int, int]:
    """Of a server's record: xid, whether it is a call of its own (backchannel), and where the compound's status is."""
    read = _Reader(record)
    xid, kind = read.number(), read.number()
    if kind == _CALL:
        return xid, _CALL, 0
    read.skip(8)  # accepted, and the verifier's flavour
    read.skip_opaque()
    read.skip(4)  # done
    return xid, kind, read.at


class Quota:
    """How many locks there are, for all connections.

    Args:
        locks: So many, and no more.
        status: What one more is refused with.
    """

    def __init__(self, locks: int, status: int) -> None:
        self._locks = locks
        self._status = status
        self._granted = 0
        self._under_way = 0
        self._guard = threading.Lock()

    def request(self, record: bytes, pending: dict[int, tuple[int, bool]]) -> bytes:
        """What goes to the server in a client's record's place."""
        found = asked(record)
        if found is None:
            return record
        with self._guard:
            reclaims = any(record[found.at + _RECLAIM_AT : found.at + 2 * _RECLAIM_AT])
            over = found.kind == _LOCK and not reclaims and self._granted + self._under_way >= self._locks
            self._under_way += found.kind == _LOCK and not over
            pending[found.xid] = (found.kind, over)
        return emptied(record, found) if over else record

    def reply(self, record: bytes, pending: dict[int, tuple[int, bool]]) -> bytes:
        """What goes to the client in a server's record's place."""
        xid, kind, at = answered(record)
        if kind == _CALL or xid not in pending:
            return record
        asked_for, over = pending.pop(xid)
        status: int = struct.unpack_from(">I", record, at)[0]
        with self._guard:
            if asked_for == _UNLOCK:
                self._granted -= status == 0
            elif not over:
                self._under_way -= 1
                self._granted += status == 0
        if not over or status != _INVALID:
            return record
        sys.stdout.write(f"refused: {self._granted} of {self._locks} locks are in use\n")
        sys.stdout.flush()
        told = struct.pack(">I", self._status)
        return record[:at] + told + record[at + 4 : -4] + told  # the compound's status, and the last operation's


def records(source: socket.socket) -> bytes:
    """The next record, whole; empty at the end."""
    whole = b""
    while True:
        head = _exactly(source, 4)
        if not head:
            return b""
        mark: int = struct.unpack(">I", head)[0]
        whole += _exactly(source, mark & ~_MARK)
        if mark & _MARK:
            return whole


def _exactly(source: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = source.recv(count - len(parts))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def relay(client: socket.socket, server: socket.socket, quota: Quota) -> None:
    """Carries records both ways until either side ends."""
    pending: dict[int, tuple[int, bool]] = {}
    ways = ((client, server, quota.request), (server, client, quota.reply))

    def carry(way: int) -> None:
        source, target, changed = ways[way]
        with contextlib.suppress(OSError):
            while record := records(source):
                record = changed(record, pending)
                target.sendall(struct.pack(">I", _MARK | len(record)) + record)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    for way in range(len(ways)):
        threading.Thread(target=carry, args=(way,), daemon=True).start()


def main(listen: str, server: str, locks: str, status: str) -> None:
    """See above. Serves for ever."""
    quota = Quota(int(locks), int(status))
    with socket.create_server((listen, PORT)) as door:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = door.accept()
            there = socket.create_connection((server, PORT))
            for end in (client, there):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            relay(client, there, quota)


if __name__ == "__main__":
    main(*sys.argv[1:])
