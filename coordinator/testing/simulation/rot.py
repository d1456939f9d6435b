"""Logs that are altered behind everybody's back: what length, crc and chain of a frame are for (P20, P22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.testing.simulation.faults import FLIPPED, FOREIGN

if TYPE_CHECKING:
    import random

    from coordinator.testing.simulation.server import Node, Server


def rot(server: Server, how: str, rng: random.Random, now_ns: int) -> str:
    """Alters the log that was written to last, at its end, where nobody may have folded it yet; which one."""
    logs = [node for path, node in server.nodes.items() if "/@/log/" in path and node.data.count(b"\n") > 1]
    if not logs:
        return ""
    node = max(logs, key=lambda one: (one.mtime_ns, one.inode))
    lines = bytes(node.data).splitlines(keepends=True)
    altered = _altered(lines, how, rng, [one for one in logs if one is not node])
    if altered is None:
        return ""
    node.data[:] = b"".join(altered)
    node.mtime_ns = now_ns
    return node.path


def _altered(lines: list[bytes], how: str, rng: random.Random, others: list[Node]) -> list[bytes] | None:
    last = lines[-1]
    if how == FLIPPED:
        at = rng.randrange(last.find(b"{") + 1, len(last) - 2)
        return [*lines[:-1], last[:at] + bytes([last[at] ^ 1]) + last[at + 1 :]]
    if how == FOREIGN:
        seq = _seq_of(last)
        found = [line for one in others for line in bytes(one.data).splitlines(keepends=True) if _seq_of(line) == seq]
        return [*lines[:-1], rng.choice(found)] if found and seq else None
    return [*lines, last]


def _seq_of(line: bytes) -> bytes:
    start = line.find(b'{"seq":')
    return line[start + 7 : line.find(b",", start)] if start >= 0 else b""
