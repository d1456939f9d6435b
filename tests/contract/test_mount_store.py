"""What the store on a directory promises besides: lost replies, damage, and calls that fail."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from mount_support import NAME, failing, primitive_of, put_op
from support import NOW_MS, a_free_record, an_author, fill, open_mount, put_by_hand, remove_by_hand

from coordinator.errors import CorruptRecord, NewerFormat, NoRoom, StoreUnavailable
from coordinator.limits import APPEND_TRIES
from coordinator.record import mount as mounting
from coordinator.record.record import encode
from coordinator.record.store import Appended
from coordinator.testing import Call, FailAt

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import StoreKind


# ── failed appends are looked into (P7) ──────────────────────────────────────────────────────────────────────────────


def test_a_lost_reply_is_recognised_as_won(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", when="after"))
    record = a_free_record(3)
    assert store.append(NAME, record, durable=True) == Appended(record, 3)
    assert len(mount.open().history(NAME)) == 3


def test_a_lost_reply_after_which_others_built_on_it_is_recognised_too(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    other, seen = mount.open(), []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op == put_op(mount) and "/chain/" in call.path:
            seen.append(other.append(NAME, a_free_record(4), durable=False))
            raise OSError(errno.ETIMEDOUT, "the reply was lost")

    result = failing(mount, hook).append(NAME, a_free_record(3, 33), durable=True)
    assert isinstance(result, Appended)
    assert isinstance(seen[0], Appended)
    assert [record.n for record in other.history(NAME)] == [1, 2, 3, 4]


def test_an_error_that_left_nothing_is_tried_again(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", times=APPEND_TRIES - 1))
    record = a_free_record(3)
    assert store.append(NAME, record, durable=True) == Appended(record, 3)


def test_an_error_that_stays_leaves_the_outcome_unknown(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store = failing(mount, FailAt(errno.EIO, put_op(mount), contains="/chain/", times=1000))
    with pytest.raises(StoreUnavailable) as caught:
        store.append(NAME, a_free_record(3), durable=True)
    assert caught.value.outcome_unknown
    assert caught.value.cause.startswith("EIO: ")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_no_room_is_certain_and_told_as_such(mount: StoreKind, code: int) -> None:
    fill(mount.open(), NAME, 2)
    hook = FailAt(code, put_op(mount), contains="/chain/", times=1000)
    with pytest.raises(NoRoom) as caught:
        failing(mount, hook).append(NAME, a_free_record(3), durable=True)
    assert not caught.value.outcome_unknown
    assert hook.seen == 1  # trying again would change nothing
    assert len(mount.open().history(NAME)) == 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_no_permission_is_certain(mount: StoreKind, code: int) -> None:
    fill(mount.open(), NAME, 2)
    with pytest.raises(StoreUnavailable) as caught:
        failing(mount, FailAt(code, put_op(mount), contains="/chain/", times=1000)).append(
            NAME, a_free_record(3), durable=True
        )
    assert not caught.value.outcome_unknown


def test_a_sync_that_fails_leaves_the_outcome_unknown_and_a_retry_settles_it(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 2)
    store, record = failing(mount, FailAt(errno.EIO, "sync_dir", contains="/chain")), a_free_record(3)
    with pytest.raises(StoreUnavailable) as caught:
        store.append(NAME, record, durable=True)
    assert caught.value.outcome_unknown
    assert store.append(NAME, record, durable=True) == Appended(record, 3)
    assert len(mount.open().history(NAME)) == 3


def test_a_folder_that_vanished_is_made_again(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    shutil.rmtree(os.path.join(mount.root, ".coordinator", "resources", "tasks.json"))
    record = a_free_record(1)
    assert mount.open().append(NAME, record, durable=True) == Appended(record, 1)


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_append_syncs_the_chain(mount: StoreKind, durable: bool) -> None:
    fill(mount.open(), NAME, 2)
    calls: list[Call] = []
    store = failing(mount, calls.append)
    store.append(NAME, a_free_record(3), durable=durable)
    ops = [call.op for call in calls if call.when == "after" and call.path.startswith(mount.chain(NAME))]
    assert ops.count("sync_dir") == durable
    if durable:  # what was put is made durable, not what was there before
        assert ops.index(put_op(mount)) < ops.index("sync_dir")


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_newest_record_is_refused_with_its_path(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 3)
    path = put_by_hand(mount, NAME, 4, encode(a_free_record(4))[:-1] + "!")
    with pytest.raises(CorruptRecord) as caught:
        mount.open().read(NAME)
    assert (caught.value.path, caught.value.where, caught.value.resource) == (path, "crc", "tasks.json")
    remove_by_hand(mount, NAME, 4)  # the hint's advice
    newest = mount.open().read(NAME)
    assert newest is not None
    assert newest.n == 3


def test_a_record_under_another_number_is_refused(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 3)
    put_by_hand(mount, NAME, 4, encode(a_free_record(3)))
    with pytest.raises(CorruptRecord) as caught:
        mount.open().read(NAME)
    assert caught.value.where == "n"


def test_a_newer_record_is_newer_and_not_damaged(mount: StoreKind) -> None:
    import zlib

    fill(mount.open(), NAME, 1)
    body = "v=2/n=2/all=else"
    put_by_hand(mount, NAME, 2, f"{body}/crc={zlib.crc32(body.encode()):08x}")
    with pytest.raises(NewerFormat):
        mount.open().read(NAME)


def test_a_plain_file_in_the_place_of_a_record_is_refused(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    with open(f"{mount.chain(NAME)}/{2:012d}", "w", encoding="ascii") as file:
        file.write("copied by a tool that follows links")
    with pytest.raises((CorruptRecord, StoreUnavailable)):
        mount.open().read(NAME)


def test_a_damaged_old_record_stops_a_collection_before_it_deletes(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 9)
    remove_by_hand(mount, NAME, 4)
    put_by_hand(mount, NAME, 4, "v=1/n=4/cut")
    before = sorted(os.listdir(mount.chain(NAME)))
    with pytest.raises(CorruptRecord):
        mount.open().collect(NAME, an_author(1), keep=2)
    assert sorted(os.listdir(mount.chain(NAME))) == before


def test_names_in_the_chain_that_are_not_ours_are_left_alone(mount: StoreKind) -> None:
    records = fill(mount.open(), NAME, 3)
    for name in (".nfs000000000123", "000000000004.tmp", "99", "x" * 12, "000000000003~"):
        with open(f"{mount.chain(NAME)}/{name}", "w", encoding="ascii"):
            pass
    assert mount.open().read(NAME) == records[-1]
    mount.open().collect(NAME, an_author(1), keep=1)
    assert len(os.listdir(mount.chain(NAME))) == 5 + 2


def test_a_chain_that_went_back_is_not_believed(mount: StoreKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "LIST_TRIES", 3)
    store = mount.open()
    fill(store, NAME, 3)
    assert store.read(NAME) is not None
    remove_by_hand(mount, NAME, 3)
    with pytest.raises(StoreUnavailable, match="record 2, and 3"):
        store.read(NAME)


def test_a_record_collected_between_listing_and_reading_is_looked_for_anew(mount: StoreKind) -> None:
    records = fill(mount.open(), NAME, 3)
    reads = "readlink" if put_op(mount) == "symlink" else "read"
    moved = False

    def hook(call: Call) -> None:
        nonlocal moved
        if call.when == "before" and call.op == reads and not moved:
            moved = True
            mount.open().append(NAME, a_free_record(4, 44), durable=False)
            remove_by_hand(mount, NAME, 3)

    found = failing(mount, hook).read(NAME)
    assert found is not None
    assert (found.n, found.request) == (4, a_free_record(4, 44).request)
    assert records[2].n == 3


# ── a store that does not answer ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call", ["read", "history", "collect", "resources", "now_ms"])
def test_whatever_fails_is_told_as_unavailable(mount: StoreKind, call: str) -> None:
    fill(mount.open(), NAME, 3)

    def hook(at: Call) -> None:
        if at.when == "before":
            raise OSError(errno.EIO, "gone", at.path)

    store = failing(mount, hook)
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(NAME),
        "history": lambda: store.history(NAME),
        "collect": lambda: store.collect(NAME, an_author(1), keep=1),
        "resources": lambda: list(store.resources()),
        "now_ms": store.now_ms,
    }
    with pytest.raises(StoreUnavailable) as caught:
        calls[call]()
    assert caught.value.cause.startswith("EIO: ")


def test_a_store_that_may_only_be_read_refuses_every_write(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    newer = NewerFormat("too new", path=mount.root, needs=2, have=1)
    store = open_mount(mount.root, primitive_of(mount))
    store._newer = newer
    assert store.read(NAME) is not None
    with pytest.raises(NewerFormat):
        store.append(NAME, a_free_record(2), durable=True)
    with pytest.raises(NewerFormat), store.turn(NAME):
        pass


def test_folders_that_are_not_ours_are_no_resources(mount: StoreKind) -> None:
    fill(mount.open(), NAME, 1)
    resources = os.path.join(mount.root, ".coordinator", "resources")
    os.makedirs(f"{resources}/lost+found/deep")
    os.makedirs(f"{resources}/@/chain")  # the state folder of no name at all
    with open(f"{resources}/notes.txt", "w", encoding="ascii"):
        pass
    assert list(mount.open().resources()) == ["tasks.json"]


def test_the_stores_clock_is_the_file_systems(mount: StoreKind) -> None:
    store = mount.open()
    now_ms = store.now_ms()
    (name,) = os.listdir(os.path.join(mount.root, ".coordinator", "clock"))
    path = os.path.join(mount.root, ".coordinator", "clock", name)
    assert os.stat(path).st_mtime_ns // 1_000_000 == now_ms
    os.unlink(path)  # swept as old
    assert store.now_ms() >= now_ms
    assert now_ms < NOW_MS * 2


def test_no_descriptor_is_left_open(mount: StoreKind, no_open_files_left: None) -> None:  # noqa: ARG001 - the fixture looks
    store = mount.open()
    with store.turn(NAME):
        fill(store, NAME, 5)
    store.collect(NAME, an_author(1), keep=1)
    store.now_ms()
    store.history(NAME)
    with pytest.raises(StoreUnavailable), failing(mount, FailAt(errno.ENOLCK, "try_lock")).turn(NAME):
        pass
