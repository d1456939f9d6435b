"""Moving the rule to a table, and back: the mark, the seal, the import; the mark of the item, and the opening.

The table is durable when it answers; the directory is not before it is synced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from durable_table import DurableTable
from torn_world import NAME, TTL, World, found_out, skipping_sync_dirs, skipping_syncs

from coordinator.names import Resource
from coordinator.record.failover import FailoverStore
from coordinator.record.record import MOUNT, TABLE
from coordinator.testing.crash_choices import Tears

if TYPE_CHECKING:
    from coordinator import Workspace

COARSE: Final = Tears(page_bytes=4096, nuls=True)


def begun(*, primitive: str = "symlink") -> World:
    """A workspace with a table: an update was folded, and another one waits in its log."""
    world = World(primitive=primitive, tears=COARSE, table=DurableTable())
    world.before_read = one_store_at_most
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    world.update(document, "b")
    world.settle()
    return world


def one_store_at_most(workspace: Workspace) -> None:
    """Whoever knows of no move, and comes to one store alone, must not be able to go on there if the other is open."""
    store, resource = workspace._member.store, Resource.parse(NAME)
    assert isinstance(store, FailoverStore)
    found = store.mount.read(resource), store.table.read(resource)
    assert any(record is None or record.is_closed for record in found), f"it can be written to in both stores: {found}"


def to_the_table(primitive: str = "symlink") -> World:
    """The rule moves, and the resource with it; then work goes on there, with what was opened before."""
    world = begun(primitive=primitive)
    behind = world.open("behind").document(NAME)
    assert behind.revision > 0
    with world.points.recording():
        world.open("operator").move_authority(TABLE)
        world.update(behind, "c", wait=TTL)
    return world


@pytest.mark.parametrize("primitive", ["symlink", pytest.param("directory", marks=pytest.mark.slow)])
def test_to_the_table(primitive: str) -> None:
    to_the_table(primitive).assert_taken(30, 50)


def back_to_the_mount(primitive: str = "symlink") -> World:
    """And back again."""
    world = begun(primitive=primitive)
    behind = world.open("behind").document(NAME)
    world.open("operator").move_authority(TABLE)
    world.update(behind, "c", wait=TTL)
    world.settle()
    with world.points.recording():
        world.open("operator").move_authority(MOUNT, single_host=True)
        world.update(behind, "d", wait=TTL)
    return world


@pytest.mark.parametrize("primitive", ["symlink", pytest.param("directory", marks=pytest.mark.slow)])
def test_back_to_the_mount(primitive: str) -> None:
    back_to_the_mount(primitive).assert_taken(25, 50)


def brought_over() -> World:
    """Nobody moves it by command: it comes over when it is used, in the middle of an update."""
    world = begun()
    alice = world.open("alice").document(NAME)
    store = world.open("operator")._member.store
    assert isinstance(store, FailoverStore)
    store.move(TABLE)
    world.settle()
    with world.points.recording():
        world.update(alice, "c", wait=TTL)
    return world


def test_brought_over_by_who_uses_it() -> None:
    brought_over().assert_taken(30, 50)


# ── what is broken on purpose is found ───────────────────────────────────────────────────────────────────────────────


def test_a_fold_line_that_is_not_synced_before_the_table_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs(monkeypatch, lambda path: "/@/fold/" in path)
    found_out(brought_over, "CorruptSnapshot")


def test_a_seal_that_is_not_synced_before_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/chain"))
    found_out(to_the_table, "both stores")
