"""The failover model's table of what is due, and the records that do it, held against record/moving.py cell by cell."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import pytest
from support import NOW_MS, a_record, an_author

from coordinator.record import moving
from coordinator.record.authority import Authority
from model.moving import MOUNT, STORE_NAMES, TABLE, Rec, Rules, due, mode_of, record_of

if TYPE_CHECKING:
    from coordinator.record.record import Record

EPOCHS: Final = (1, 2, 3, 4)


def records(store: int) -> list[Rec | None]:
    """What may stand in a store, open and closed, of several epochs; the content tells which record it came from."""
    kinds = ("commit", "opened", "sealed") if store == MOUNT else ("commit", "import", "moved")
    found = [Rec(n, kind, epoch, 0, (0, 0), (store, epoch, n)) for kind, epoch, n in product(kinds, EPOCHS, (3, 7))]
    return [None, *found]


def real(rec: Rec | None, store: int) -> Record | None:
    if rec is None:
        return None
    mode = STORE_NAMES[1 - store if rec.is_closed else store]
    return a_record(n=rec.n, kind=rec.kind, mode=mode, epoch=rec.epoch, extra=(("from", str(rec.content)),))


def authority(born: int, epoch: int) -> Authority:
    return Authority(STORE_NAMES[mode_of(born, epoch)], epoch, STORE_NAMES[born], "here")


def step_of(step: moving.Step) -> str:
    return step.name.lower().replace("_", " ")


@pytest.mark.parametrize("born", [MOUNT, TABLE])
def test_what_is_due_is_what_the_code_says(born: int) -> None:
    for epoch, on_mount, in_table in product(EPOCHS, records(MOUNT), records(TABLE)):
        told = step_of(moving.next_step(authority(born, epoch), real(on_mount, MOUNT), real(in_table, TABLE)))
        assert told == due(Rules(), born, epoch, on_mount, in_table), (
            f"born {STORE_NAMES[born]}, epoch {epoch}, on the mount {on_mount}, in the table {in_table}"
        )


def test_the_records_that_move_are_the_codes() -> None:
    author, seen = an_author(1), set()
    for epoch, on_mount, in_table in product(EPOCHS, records(MOUNT), records(TABLE)):
        step = due(Rules(), MOUNT, epoch, on_mount, in_table)
        if step not in {"seal", "import", "mark", "open"}:
            continue
        seen.add(step)
        wanted = record_of(Rules(), step, epoch, 0, on_mount, in_table)
        mount, table = real(on_mount, MOUNT), real(in_table, TABLE)
        if step == "seal":
            made = moving.sealed(mount, author, epoch, NOW_MS)
        elif step == "import":
            assert mount is not None
            made = moving.imported(mount, table, author, mount.epoch, NOW_MS)
        elif step == "mark":
            made = moving.marked(mount, table, author, epoch, NOW_MS)
        else:
            assert table is not None
            made = moving.opened(mount, table, author, NOW_MS)
        content = str(wanted.content) if wanted.content else ""
        assert (made.n, made.kind, made.epoch, made.extra) == (
            wanted.n,
            wanted.kind,
            wanted.epoch,
            (("from", content),) if content else (),
        ), f"{step}, epoch {epoch}, on the mount {on_mount}, in the table {in_table}"
    assert seen == {"seal", "import", "mark", "open"}
