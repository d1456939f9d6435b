"""Deleting what of a document nobody can need any more: snapshots, fold lines, ended logs (P18, P27).

Everything is deleted by name, and names are never used twice (P6). What the newest record leads to is read first, so
that whatever is published meanwhile leads to newer names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.document.revision import LineAt, LineGoneError, Lines
from coordinator.document.snapshot import collect_snapshots
from coordinator.document.state import Base
from coordinator.folders import list_surely, remove_quietly
from coordinator.limits import FOLD_FILES_MAX, FOLD_KEEP_BYTES, ORPHAN_KEEP_MS
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from coordinator.document.revision import Line
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import FoldAt, Record


def tidy(member: Member, resource: Resource, record: Record, place: FoldAt) -> tuple[int, int]:
    """Deletes what is no longer needed. Safe at any time, by any number at once.

    Args:
        member: Through whom.
        resource: Whose.
        record: The newest record.
        place: The newest fold line, as it tells.

    Returns:
        Files deleted, and their bytes.
    """
    lines = Lines(member, resource)
    try:
        needed = _needed(lines, lines.read(place))
    except LineGoneError:  # collected meanwhile: others have tidied
        return 0, 0
    try:
        files, freed_bytes = _drop_folds(member, resource, lines, needed)
    except OSError as error:
        raise unavailable(error, resource, "collecting the folds of") from error
    bases = {Base(*line.body["base"]).head.snapshot for line in needed}
    more_files, more_bytes = collect_snapshots(member, resource, record, bases)
    return files + more_files, freed_bytes + more_bytes


def _needed(lines: Lines, newest: Line) -> list[Line]:
    """The lines from the last checkpoint on: the newest revision cannot be read without them."""
    found = [newest]
    while "full" not in found[-1].body and found[-1].body["prev"]:
        before = LineAt(*found[-1].body["prev"])
        found.append(lines.read(before.place, before.sha256))
    return found


def _drop_folds(member: Member, resource: Resource, lines: Lines, needed: list[Line]) -> tuple[int, int]:
    """Deletes files of fold lines: the oldest above the bounds, and those that no record leads to and are old."""
    folder = member.places.of(resource, "fold")
    names = list_surely(member.files, member.places.resources, folder)
    order = dict.fromkeys(line.at.place.name for line in needed)
    keep = set(order)
    for line in lines.walk(needed[-1].at):
        order[line.at.place.name] = None  # newest first
    sizes = {name: member.files.stat(f"{folder}/{name}").size_bytes for name in names}
    total = count = deleted = freed_bytes = 0
    now_ms = member.store.now_ms()
    for name in [*order, *(name for name in names if name not in order)]:
        if name not in sizes:
            continue
        total, count = total + sizes[name], count + 1
        path = f"{folder}/{name}"
        if name in keep:
            continue
        age_ms = now_ms - member.files.stat(path).mtime_ns // 1_000_000
        stray = name not in order and age_ms > ORPHAN_KEEP_MS
        surplus = name in order and (total > FOLD_KEEP_BYTES or count > FOLD_FILES_MAX)
        if stray or surplus:
            remove_quietly(member.files, path)
            deleted, freed_bytes = deleted + 1, freed_bytes + sizes[name]
            total, count = total - sizes[name], count - 1
    return deleted, freed_bytes


__all__ = ["tidy"]
