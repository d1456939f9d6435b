"""Collection on a directory: late writers find that they lost, and history stays whole wherever it fails (P18)."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from mount_support import NAME, failing, primitive_of, put_op
from support import a_free_record, an_author, fill, open_mount

from coordinator.errors import StoreUnavailable
from coordinator.record import collect as collecting
from coordinator.record.store import Appended, Beaten

if TYPE_CHECKING:
    from support import StoreKind

    from coordinator.record.mount import MountStore
    from coordinator.testing import Call


def stray(mount: StoreKind, count: int = 10, keep: int = 2) -> tuple[Any, MountStore]:
    """A chain whose records 1 … count - keep were collected; returns the newest record and a store."""
    store = open_mount(mount.root, primitive_of(mount))
    fill(store, NAME, count)
    store.collect(NAME, an_author(1), keep=keep)
    return store.read(NAME), store


def test_a_thawed_writer_that_takes_a_deleted_number_finds_that_it_lost(mount: StoreKind) -> None:
    newest, _ = stray(mount)
    assert not os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")
    assert mount.open().append(NAME, a_free_record(4), durable=True) == Beaten(newest)
    assert os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")  # it did put it there, and nobody believes it
    assert mount.open().read(NAME) == newest
    history = mount.open().history(NAME)
    assert (history[3].n, history[3].request) == (4, a_free_record(4, 4).request)


def test_what_a_thawed_writer_left_is_deleted_with_the_next_collection(mount: StoreKind) -> None:
    _, store = stray(mount)
    mount.open().append(NAME, a_free_record(4), durable=True)
    store.collect(NAME, an_author(1), keep=2)
    assert not os.path.lexists(f"{mount.chain(NAME)}/{4:012d}")
    assert [record.n for record in store.history(NAME)] == list(range(1, 13))


def test_an_outcome_that_the_archive_no_longer_tells_is_unknown(mount: StoreKind) -> None:
    stray(mount)
    shutil.rmtree(f"{os.path.dirname(mount.chain(NAME))}/history")
    with pytest.raises(StoreUnavailable) as caught:
        mount.open().append(NAME, a_free_record(4), durable=True)
    assert caught.value.outcome_unknown


def test_the_floor_stands_in_the_chain_and_the_archive_is_whole_before_anything_is_deleted(mount: StoreKind) -> None:
    records, witnessed = fill(mount.open(), NAME, 10), []

    def hook(call: Call) -> None:
        removes = call.op == ("unlink" if put_op(mount) == "symlink" else "rename")
        if call.when == "before" and removes and (mount.chain(NAME) in call.path or "/trash-" in call.path):
            witness = mount.open()
            newest = witness.read(NAME)
            assert newest is not None
            witnessed.append((newest.floor, witness.history(NAME)[:10] == records))

    failing(mount, hook).collect(NAME, an_author(1), keep=3)
    removals = [entry for entry in witnessed if entry[0] > 1]
    assert len(removals) >= 7
    assert set(removals) == {(8, True)}


@pytest.mark.parametrize("nth", range(1, 40))
def test_a_collection_that_fails_anywhere_loses_nothing_and_the_next_one_ends_it(mount: StoreKind, nth: int) -> None:
    fill(mount.open(), NAME, 8)
    passed = 0

    def hook(call: Call) -> None:
        nonlocal passed
        if call.when == "before" and call.op not in {"listdir", "readlink", "read", "stat", "touch"}:
            passed += 1
            if passed >= nth:
                raise OSError(errno.EIO, "the mount is gone", call.path)

    try:
        failing(mount, hook).collect(NAME, an_author(1), keep=2)
    except StoreUnavailable:
        assert passed >= nth
    store = mount.open()
    before = [record.n for record in store.history(NAME)]
    assert before[:8] == list(range(1, 9))
    store.collect(NAME, an_author(2), keep=2)
    newest = store.read(NAME)
    assert newest is not None
    assert [record.n for record in store.history(NAME)] == list(range(1, newest.n + 1))
    standing = sorted(int(name) for name in os.listdir(mount.chain(NAME)))
    assert standing == list(range(newest.floor, newest.n + 1))


def test_many_small_segments_become_one(mount: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "HISTORY_SEGMENTS_MAX", 2)
    store, floor = mount.open(), 1
    for n in (1, 3, 5, 7, 9, 11):
        for record in (a_free_record(n, floor=floor),):
            assert isinstance(store.append(NAME, record, durable=False), Appended)
        store.collect(NAME, an_author(1), keep=1)
        newest = store.read(NAME)
        assert newest is not None
        floor = newest.floor
        assert newest.n == (n if n == 1 else n + 1) or newest.n == n
        if newest.n == n:
            store.append(NAME, a_free_record(n + 1, floor=floor), durable=False)
    segments = os.listdir(f"{os.path.dirname(mount.chain(NAME))}/history")
    assert len(segments) <= 3
    history = store.history(NAME)
    assert [record.n for record in history] == list(range(1, history[-1].n + 1))


def test_the_oldest_history_goes_first_when_there_is_too_much(
    mount: StoreKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = mount.open()
    fill(store, NAME, 20)
    store.collect(NAME, an_author(1), keep=10)
    assert [record.n for record in store.history(NAME)] == list(range(1, 22))
    monkeypatch.setattr(collecting, "HISTORY_MAX_BYTES", 1500)
    store.collect(NAME, an_author(1), keep=6)
    left = [record.n for record in store.history(NAME)]
    assert left[0] == 11
    assert left == list(range(11, 23))


def test_old_history_is_dropped(mount: StoreKind) -> None:
    stray(mount)
    folder = f"{os.path.dirname(mount.chain(NAME))}/history"
    (segment,) = os.listdir(folder)
    os.utime(f"{folder}/{segment}", (1, 1))
    mount.open().collect(NAME, an_author(1), keep=500)
    assert os.listdir(folder) == []


def test_a_segment_that_was_cut_while_it_was_written_tells_what_it_can(mount: StoreKind) -> None:
    stray(mount)
    folder = f"{os.path.dirname(mount.chain(NAME))}/history"
    (segment,) = os.listdir(folder)
    os.truncate(f"{folder}/{segment}", os.path.getsize(f"{folder}/{segment}") - 5)
    assert [record.n for record in mount.open().history(NAME)] == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11]
