"""What record/moving.py says is due, and the records that do it, on the failover model's records (P29, P30).

The same table as in the code, so that a test can hold one against the other, cell by cell; and the rules that can be
switched off.
"""

from __future__ import annotations

from typing import NamedTuple

MOUNT, TABLE = 0, 1
STORE_NAMES = ("mount", "table")


class Rules(NamedTuple):
    """What the code keeps to; each can be switched off."""

    seals: bool = True  # P29: SEALED stands on the mount before a resource is imported
    imports_if_unchanged: bool = True  # P29: the import is a conditional write
    opens_above_mark: bool = True  # P30: OPENED stands above the item, not above SEALED
    marks_before_opening: bool = True  # P30: the item is closed before the chain is opened
    asks_if_behind: bool = True  # whoever finds a record of a later epoch than it knows of asks who rules, first
    marks_new_names: bool = True  # a name that neither store knows is closed in the table that ruled from birth
    seals_chains_only: bool = True  # where the table ruled from birth, a chain that never was is not sealed


KEPT = Rules()


class Rec(NamedTuple):
    """A record; ``who`` stands for its request: a life of a client asks once for each n of a store."""

    n: int
    kind: str
    epoch: int
    who: int
    lease: tuple[int, int]  # fence and holder; (0, 0): free
    content: tuple[int, ...]

    @property
    def is_closed(self) -> bool:
        """Whether the other store goes on from here."""
        return self.kind in {"sealed", "moved"}


BLANK = Rec(0, "blank", 1, -1, (0, 0), ())


def mode_of(born: int, epoch: int) -> int:
    """Which store rules in an epoch: every move changes it."""
    return born if epoch % 2 else 1 - born


def due(  # noqa: PLR0911 - a table, row by row
    rules: Rules, born: int, epoch: int, on_mount: Rec | None, in_table: Rec | None
) -> str:
    """moving.next_step; and ``learn`` where its caller has to ask who rules before that."""
    mode = mode_of(born, epoch)
    if rules.asks_if_behind and max(rec.epoch for rec in (on_mount or BLANK, in_table or BLANK)) > epoch:
        return "learn"
    if mode == TABLE and born == TABLE and epoch == 1:
        return "use table"
    mount_is_open = on_mount is not None and not on_mount.is_closed
    table_is_open = in_table is not None and not in_table.is_closed
    if in_table is not None and in_table.is_closed and not mount_is_open and is_later(in_table, on_mount):
        return "open"
    if mode == TABLE:
        is_new = on_mount is None and in_table is None
        if is_new and born == TABLE and rules.seals_chains_only:
            return "use table"
        if (is_new or mount_is_open) and rules.seals:
            return "seal"
        return "use table" if table_is_open else "import"
    if mount_is_open:
        return "use mount"
    if on_mount is None and in_table is None:
        return "mark" if rules.marks_new_names and born == TABLE else "use mount"
    if not rules.marks_before_opening and table_is_open:
        return "open"
    return "mark"


def is_later(one: Rec, other: Rec | None) -> bool:
    """Whether one of two closed records was closed later."""
    return other is None or (one.epoch, one.n) > (other.epoch, other.n)


def record_of(  # noqa: PLR0917 - a step and all that it is made from
    rules: Rules, step: str, epoch: int, who: int, on_mount: Rec | None, in_table: Rec | None
) -> Rec:
    """The record that takes a step."""
    mount, table = on_mount or BLANK, in_table or BLANK
    newest = table if in_table is not None and is_later(table, on_mount) else mount
    if step == "seal":
        return mount._replace(n=mount.n + 1, kind="sealed", epoch=epoch, who=who)
    n = max(mount.n, table.n) + 1
    if step == "import":
        at = mount.epoch if rules.seals else epoch
        return newest._replace(n=n, kind="import", epoch=at, who=who)
    if step == "mark":
        base = table if in_table is not None and not table.is_closed else newest
        return base._replace(n=n, kind="moved", epoch=epoch, who=who)
    at = table.epoch if table.is_closed else epoch
    n = table.n + 1 if rules.opens_above_mark else mount.n + 1
    return table._replace(n=n, kind="opened", epoch=at, who=who)
