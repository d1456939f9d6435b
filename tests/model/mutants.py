"""The rules switched off, one at a time: the simulation has to notice each.

A mutant patches the library, in a ``simulated`` block, and never edits it. ``work`` is what its agents do; a defect
that only some works can meet is looked for in those.
"""

from __future__ import annotations

import contextlib
import errno
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator import clock, folders, lease
from coordinator.document import compactor, revision, state
from coordinator.log import frame, opening, reader, segments, walk
from coordinator.log.frame import Frames
from coordinator.names import new_id
from coordinator.record import decide, member, mount
from coordinator.record.mount import MountStore
from coordinator.record.primitive import SymlinkPrimitive
from coordinator.record.store import Appended
from coordinator.testing.simulation.client import SimFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from coordinator.clock import Instant
    from coordinator.names import Resource
    from coordinator.record.record import Record

    Patch = pytest.MonkeyPatch


# ── P1, P7, P18: the append ──────────────────────────────────────────────────────────────────────────────────────────


def overwriting_append(patch: Patch) -> None:
    """A record replaces the one that stands there."""

    def put(self: SymlinkPrimitive, path: str, text: str) -> None:
        aside = f"{path}.{new_id()}"
        self._files.symlink(text, aside)
        self._files.rename(aside, path)

    patch.setattr(SymlinkPrimitive, "put", put)


def look_then_append(patch: Patch) -> None:
    """Whether a position is free is looked at, and then it is taken."""

    def put(self: SymlinkPrimitive, path: str, text: str) -> None:
        self._files.refresh(path.rpartition("/")[0])
        with contextlib.suppress(FileNotFoundError):
            self._files.stat(path)
            raise FileExistsError(errno.EEXIST, "taken", path)
        aside = f"{path}.{new_id()}"
        self._files.symlink(text, aside)
        self._files.rename(aside, path)

    patch.setattr(SymlinkPrimitive, "put", put)


def own_request_unknown(patch: Patch) -> None:
    """A name that is taken is another's, always."""
    real = MountStore._look

    def look(self: MountStore, resource: Resource, record: Record) -> bool | None:
        return None if real(self, resource, record) is None else False

    patch.setattr(MountStore, "_look", look)


def no_look_after_the_append(patch: Patch) -> None:
    """What was put below the floor counts as accepted."""

    def confirm(self: MountStore, resource: Resource, record: Record) -> Appended:
        return Appended(record, self._list(resource).records)

    patch.setattr(MountStore, "_confirm", confirm)


# ── P6: fresh reads ──────────────────────────────────────────────────────────────────────────────────────────────────


def folders_not_opened(patch: Patch) -> None:
    """A file system whose names are looked up without opening their folders."""
    patch.setattr(SimFiles, "refresh", lambda _self, _path: None)


def probed_numbers(patch: Patch) -> None:
    """The newest record is found by asking for one name after the other."""

    def probe(self: MountStore, resource: Resource) -> Any:
        newest = max(0, (self._seen[resource].n if resource in self._seen else 1) - 1)
        while True:
            try:
                self._files.stat(self._places.of(resource, "chain", f"{newest + 1:012d}"))
            except FileNotFoundError:
                return mount._Listing(newest, newest)
            newest += 1

    patch.setattr(MountStore, "_list", probe)


# ── P15, P20: synced before it is told ───────────────────────────────────────────────────────────────────────────────


def unsynced_content(patch: Patch) -> None:
    """Content is renamed to its name without having been synced."""

    def write(seam: Any, path: str, data: bytes, mode: int | None = None) -> None:
        with seam.create(path, mode) as file:
            file.write(data)

    patch.setattr(member, "write_new", write)
    patch.setattr(folders, "write_new", write)


def unsynced_logs(patch: Patch) -> None:
    """An operation is durable as soon as it is written."""

    def sync(self: segments.Segments) -> None:
        self._after = opening.After(self.segment, self.offset, self._chain)
        self._held = (self.seq, [])

    patch.setattr(segments.Segments, "_sync", sync)


def unsynced_folds(patch: Patch) -> None:
    """A fold line is named by a record as soon as it is written."""

    class Unsynced:
        def __init__(self, file: Any) -> None:
            self.write, self.close = file.write, file.close

        def sync(self) -> None:
            pass

    real = revision.FoldLog._begin

    def begin(self: revision.FoldLog) -> None:
        real(self)
        self._open = Unsynced(self._open)  # type: ignore[assignment]

    patch.setattr(revision.FoldLog, "_begin", begin)


# ── P19 to P22: logs ─────────────────────────────────────────────────────────────────────────────────────────────────


def one_path_for_all(patch: Patch) -> None:
    """One incarnation for all lives of an agent; whoever finds the file there writes to it, from its beginning."""
    patch.setattr(segments, "new_id", lambda: "a" * 20)
    real = SimFiles.create

    def create(self: SimFiles, path: str, mode: int | None = None) -> Any:
        if "/log/" in path:
            with contextlib.suppress(FileNotFoundError):
                self.unlink(path)
        return real(self, path, mode)

    patch.setattr(SimFiles, "create", create)


def scan_without(*, crc: bool) -> Callable[[Patch], None]:
    """Frames are taken for whole without comparing the chain, or neither chain nor crc."""

    def scan(data: bytes, chain: int) -> Frames:
        *lines, rest = data.split(b"\n")
        payloads: list[bytes] = []
        ends: list[int] = []
        end = 0
        for line in lines:
            head = frame._HEAD.match(line)
            payload = line[head.end() :] if head else b""
            whole = head is not None and int(head[1]) == len(payload)
            if head is None or not whole or (crc and int(head[2], 16) != zlib.crc32(payload)):
                return Frames(payloads, ends, chain, frame._what_is_wrong(line, chain))
            chain = int(head[3], 16)
            end += len(line) + 1
            payloads.append(payload)
            ends.append(end)
        return Frames(payloads, ends, chain, frame._what_is_left(rest) if rest else "")

    return lambda patch: patch.setattr(walk, "scan", scan)


def no_poison(patch: Patch) -> None:
    """After an error the same segment is written on."""
    patch.setattr(segments.Segments, "_poison", lambda self: setattr(self, "_is_sound", True))


def frames_dropped(patch: Patch) -> None:
    """After an error a new segment is begun, and what was not synced is not repeated."""
    real = segments.Segments._poison

    def poison(self: segments.Segments) -> None:
        real(self)
        self._held = (self._held[0], [])

    patch.setattr(segments.Segments, "_poison", poison)


def tail_is_damage(patch: Patch) -> None:
    """A write in flight counts as damage."""
    real = frame.scan

    def scan(data: bytes, chain: int) -> Frames:
        found = real(data, chain)
        return found._replace(stop="crc") if found.stop else found

    patch.setattr(walk, "scan", scan)


# ── P25, P27: receipts ───────────────────────────────────────────────────────────────────────────────────────────────


def no_ids(patch: Patch) -> None:
    """Nobody remembers which operations were decided."""
    patch.setattr(state, "trim", lambda ids: ids.clear())
    patch.setattr(compactor.Compactor, "_known", lambda *_args: {})


def fenced_is_over(patch: Patch) -> None:
    """A log that is retired is not read once more."""
    patch.setattr(reader, "_OVER", frozenset({"fenced", "ended", "quarantined"}))


# ── P9, P10: clocks ──────────────────────────────────────────────────────────────────────────────────────────────────


def shortest_trust(patch: Patch) -> None:
    """A holder believes the clock that tells the shortest time."""

    def shortest_ms(since: Instant, now: Instant) -> int:
        return max(min(a - b for a, b in zip(now, since, strict=True)), 0) // 1_000_000

    patch.setattr(lease, "elapsed_max_ms", shortest_ms)


def longest_watch(patch: Patch) -> None:
    """A contender believes the clock that tells the longest time."""

    def elapsed_ms(self: clock.CautiousTimer) -> int:
        now = self._clock.now()
        self._total_ns += max(now.monotonic_ns - self._last.monotonic_ns, now.wall_ns - self._last.wall_ns, 0)
        self._last = now
        return self._total_ns // 1_000_000

    patch.setattr(clock.CautiousTimer, "elapsed_ms", elapsed_ms)


def endless_trust(patch: Patch) -> None:
    """A holder trusts its lease for longer than others wait for it."""
    patch.setattr(lease, "TRUST_PERCENT", 150)
    patch.setattr(decide, "TRUST_PERCENT", 150)


BUDGET: Final = 400


class Mutant(NamedTuple):
    """A rule, how it is switched off, and which work may show it.

    Attributes:
        seen: A seed that is known to show it, tried first; the budget is for when the simulation has changed.
    """

    rule: str
    switch_off: Callable[[Patch], None]
    work: str | None = None
    seen: int = 0

    def seeds(self) -> Iterator[int]:
        """The seeds to try: a few hundred."""
        yield self.seen
        yield from range(BUDGET)


MUTANTS = [
    Mutant("P1 an append replaces", overwriting_append, "leases"),
    Mutant("P1 look, then append", look_then_append, "leases", seen=32),
    Mutant("P7 own request unknown", own_request_unknown, "leases", seen=54),
    Mutant("P18 no look after the append", no_look_after_the_append, "leases", seen=15),
    Mutant("P6 folders not opened", folders_not_opened, seen=181),
    Mutant("P6 numbers probed", probed_numbers),
    Mutant("P15 content not synced", unsynced_content, "leases", seen=13),
    Mutant("P20 logs not synced", unsynced_logs, "updates"),
    Mutant("P24 folds not synced", unsynced_folds, "updates"),
    Mutant("P19 one path for all", one_path_for_all, "updates"),
    Mutant("P20 no crc", scan_without(crc=False), "updates", seen=33),
    Mutant("P20 no chain", scan_without(crc=True), "updates", seen=145),
    Mutant("P21 no poison", no_poison, "updates"),
    Mutant("P21 frames dropped", frames_dropped, "updates"),
    Mutant("P22 a tail is damage", tail_is_damage, "updates"),
    Mutant("P25 ids forgotten", no_ids, "updates"),
    Mutant("P27 not read once more", fenced_is_over, "updates", seen=185),
    Mutant("P10 shortest trust", shortest_trust, "leases", seen=71),
    Mutant("P10 endless trust", endless_trust, "leases"),
    Mutant("P9 longest watch", longest_watch, "leases", seen=77),
]
