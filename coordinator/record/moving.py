"""Moving a resource from store to store: what is due, and the records that do it (P29, P30). Pure.

Whoever comes by takes the next step, each of which is one append that only one can win:

    ==================  ==================================  =====================================================
    authority           what stands                         due
    ==================  ==================================  =====================================================
    table               the mount's chain is open, or       SEAL    append SEALED to it
                        there is neither chain nor item
                        (born in the table: it rules it)
                        sealed, no item or an older mark    IMPORT  put the sealed record into the table
                        sealed or none, and an open item    the table rules it
    table, since birth  anything                            the table rules it
    mount               the mount's chain is open           the mount rules it
                        neither chain nor item, and the     MARK    (the name is closed there before it is used here)
                        workspace was born in the table
                        sealed, no item or an older mark    MARK    put MOVED into the table
                        sealed or none, and an open item    MARK    put MOVED into it: it is closed
    either              the newest of both is MOVED         OPEN    append OPENED to the chain on the mount
    either, but older   a record of a later epoch           LEARN   ask who rules
    ==================  ==================================  =====================================================

A client that knows of no move finds SEALED at the end of its chain, or MOVED in the item, where it wanted to append:
refused, it asks who rules and goes on there. Fences only grow (P3): what is imported stands at a greater n than the
seal, and OPENED at a greater n than the mark; the numbers in between are never used, since nobody appends to a closed
chain but by the steps above.

The two stores have two clocks. A lease that moves gets its whole ttl again, by the new clock: its holder may go on
trusting it, by its own clocks, and others wait rather too long than too short. A host's deadline keeps what was left.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING

from coordinator.record.record import BLANK, MOUNT, TABLE, Record, Waiter

if TYPE_CHECKING:
    from coordinator.record.authority import Authority
    from coordinator.record.decide import Author


class Step(enum.Enum):
    """What is due."""

    LEARN = "ask who rules: a record tells of a later move"
    USE_MOUNT = "the mount rules it"
    USE_TABLE = "the table rules it"
    SEAL = "seal the chain on the mount"
    IMPORT = "put the newest record into the table"
    MARK = "mark the item as moved"
    OPEN = "open the chain on the mount"


def next_step(authority: Authority, on_mount: Record | None, in_table: Record | None) -> Step:
    """What is due before a resource can be used."""
    if any(record is not None and record.epoch > authority.epoch for record in (on_mount, in_table)):
        return Step.LEARN
    if authority.mode == TABLE and not authority.needs_seals:
        return Step.USE_TABLE
    mount_is_open = on_mount is not None and not on_mount.is_closed
    is_marked = in_table is not None and in_table.is_closed and not mount_is_open
    if is_marked and (on_mount is None or _is_later(in_table, on_mount)):
        # The chain is opened first, even if the table rules again by now: else whoever opens it late would have a
        # second open store.
        return Step.OPEN
    if on_mount is None and in_table is None:
        return _for_a_new_name(authority)
    if mount_is_open:
        return Step.USE_MOUNT if authority.mode == MOUNT else Step.SEAL
    table_is_open = in_table is not None and not in_table.is_closed
    return Step.MARK if authority.mode == MOUNT else Step.USE_TABLE if table_is_open else Step.IMPORT


def _for_a_new_name(authority: Authority) -> Step:
    """A name that neither store knows is closed where the workspace was born before it is used in the other.

    Somebody who knows of no move may put it there; nobody puts it into the other without closing it here first.
    """
    if authority.mode == TABLE:
        return Step.USE_TABLE if authority.born == TABLE else Step.SEAL
    return Step.USE_MOUNT if authority.born == MOUNT else Step.MARK


def _is_later(one: Record | None, other: Record) -> bool:
    return one is not None and (one.epoch, one.n) > (other.epoch, other.n)


def sealed(on_mount: Record | None, author: Author, epoch: int, now_ms: int) -> Record:
    """The record that closes a chain on the mount."""
    before = on_mount or BLANK
    return _next(before, author, n=before.n + 1, kind="sealed", mode=TABLE, epoch=epoch, now_ms=now_ms)


def imported(on_mount: Record, in_table: Record | None, author: Author, epoch: int, now_ms: int) -> Record:
    """The first record of a resource in the table, or the first after it was away; by the table's clock."""
    n = max(on_mount.n, in_table.n if in_table else 0) + 1
    base = replace(_rebased(_newest(on_mount, in_table), now_ms), floor=n)  # nothing before it stands here
    return _next(base, author, n=n, kind="import", mode=TABLE, epoch=epoch, now_ms=now_ms)


def marked(on_mount: Record | None, in_table: Record | None, author: Author, epoch: int, now_ms: int) -> Record:
    """The record that closes an item; what follows on it stands on the mount."""
    base = in_table if in_table is not None and not in_table.is_closed else _newest(on_mount or BLANK, in_table)
    n = max(on_mount.n if on_mount else 0, in_table.n if in_table else 0) + 1
    return _next(base, author, n=n, kind="moved", mode=MOUNT, epoch=epoch, now_ms=now_ms)


def opened(on_mount: Record | None, in_table: Record, author: Author, now_ms: int) -> Record:
    """The record that opens a chain on the mount again; by the mount's clock, and with the chain's own floor (P18)."""
    base = replace(_rebased(in_table, now_ms), floor=on_mount.floor if on_mount else in_table.n + 1)
    return _next(base, author, n=in_table.n + 1, kind="opened", mode=MOUNT, epoch=in_table.epoch, now_ms=now_ms)


def _newest(on_mount: Record, in_table: Record | None) -> Record:
    """Which of two closed records was closed later."""
    return in_table if in_table is not None and _is_later(in_table, on_mount) else on_mount


def _next(base: Record, author: Author, *, n: int, kind: str, mode: str, epoch: int, now_ms: int) -> Record:
    return replace(
        base,
        n=n,
        kind=kind,
        why="",
        request=author.request,
        agent=author.agent,
        incarnation=author.incarnation,
        at_ms=now_ms,
        floor=max(base.floor, 1),
        mode=mode,
        epoch=epoch,
    )


def _rebased(record: Record, now_ms: int) -> Record:
    """A closed record by another store's clock; ``at_ms`` is when it was closed, by its own."""
    lease = record.lease
    waiting = tuple(Waiter(waiter.request, now_ms) for waiter in record.waiting)
    if lease is None:
        return replace(record, waiting=waiting, freed_ms=now_ms if record.freed_ms else 0)
    left_ms = max(lease.dead_by_ms - record.at_ms, 1)
    moved = replace(
        lease,
        granted_ms=min(lease.granted_ms, now_ms),
        renewed_ms=now_ms,
        dead_by_ms=now_ms + left_ms if lease.dead_by_ms else 0,
    )
    return replace(record, lease=moved, waiting=waiting)
