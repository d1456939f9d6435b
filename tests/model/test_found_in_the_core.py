"""What the models found in the code, forced to happen there. Each is one mutant of test_chain_model.py, for real."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Final

from support import a_free_record, fill, mount_kind, open_mount, table_kind

from coordinator import Workspace
from coordinator.clock import SYSTEM_CLOCK
from coordinator.document import compactor
from coordinator.events import Events
from coordinator.files import SYSTEM_FILES
from coordinator.limits import ORPHAN_KEEP_MS, RETIRE_AFTER_MS
from coordinator.names import Resource
from coordinator.record.authority import Authority
from coordinator.record.decide import Author
from coordinator.record.failover import FailoverStore
from coordinator.record.mount import MountStore
from coordinator.record.record import MOUNT, TABLE, encode
from coordinator.record.store import Appended, Beaten
from coordinator.record.table import TableStore
from coordinator.testing import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from engines import Engine
    from support import StoreKind

    from coordinator.document.document import Document

NAME: Final = Resource.parse("tasks.json")
COLLECTOR: Final = Author("c" * 20, "collector", "i" * 20)


def collector() -> Author:
    from coordinator.names import new_id

    return Author(new_id(), "collector", new_id())


def hooked(kind: StoreKind, hook: Callable[[Call], None]) -> MountStore:
    return open_mount(kind.root, "symlink", files=InterceptedFiles(SYSTEM_FILES, hook))


def put_late(kind: StoreKind, n: int, number: int) -> None:
    """A put of somebody who was frozen: it comes now."""
    record = a_free_record(n, number)
    with contextlib.suppress(FileExistsError):
        os.symlink(encode(record), f"{kind.chain(NAME)}/{n:012}")


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_put_that_lands_between_look_and_listing_is_known_for_ones_own(tmp_path: Path) -> None:
    """Model: looks, then lists. The reply is lost, nothing is there at the look; then it lands, and others go on."""
    kind = mount_kind(tmp_path, "symlink")
    fill(kind.open(), NAME, 1)
    seen: list[str] = []

    def hook(call: Call) -> None:
        if call.when != "before":
            return
        if call.op == "symlink" and not seen:
            seen.append("put")
            raise OSError(errno.EIO, "no reply")
        if call.op == "readlink" and seen == ["put"]:
            seen.append("look")
        elif call.op == "listdir" and seen == ["put", "look"]:
            seen.append("landed")
            put_late(kind, 2, 20)
            put_late(kind, 3, 30)

    result = hooked(kind, hook).append(NAME, a_free_record(2, 20), durable=False)
    assert isinstance(result, Appended), "its record stands at 2, and it is told that it was beaten: it appends again"


def test_a_slow_collector_archives_no_record_that_was_put_where_one_was_deleted(tmp_path: Path) -> None:
    """Model: archives what was put below the floor."""
    kind = mount_kind(tmp_path, "symlink")
    fill(kind.open(), NAME, 5)
    listed: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "before" and call.op == "listdir" and call.path == kind.chain(NAME):
            listed.append(call.path)
            if len(listed) == 2:  # it has read the newest record, and is about to copy
                kind.open().collect(NAME, collector(), keep=1)
                put_late(kind, 3, 33)

    hooked(kind, hook).collect(NAME, collector(), keep=1)
    assert len(listed) >= 2
    result = kind.open().append(NAME, a_free_record(3, 33), durable=False)
    assert isinstance(result, Beaten), "record 3 was another's, and the late writer is told that it won"
    assert [record.request for record in kind.open().history(NAME) if record.n == 3] == [a_free_record(3, 3).request]


def test_a_record_put_where_one_was_deleted_is_not_found_in_the_history(tmp_path: Path) -> None:
    """Model: believes the chain before the archive."""
    kind = mount_kind(tmp_path, "symlink")
    fill(kind.open(), NAME, 5)
    kind.open().collect(NAME, collector(), keep=1)
    put_late(kind, 3, 33)
    looks: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op == "readlink" and call.path.endswith("000003"):
            looks.append(call.path)
            if len(looks) == 2:  # the first was the look after its put, the second reads the history
                other = kind.open()
                newest = other.read(NAME)
                assert newest is not None
                other.append(NAME, a_free_record(newest.n + 1, 70, floor=newest.floor), durable=False)
                other.collect(NAME, collector(), keep=1)

    result = hooked(kind, hook).append(NAME, a_free_record(3, 33), durable=False)
    assert len(looks) >= 2
    assert isinstance(result, Beaten), "record 3 was another's, and the late writer is told that it won"


def test_a_record_put_where_one_was_deleted_is_never_read_as_the_newest(tmp_path: Path) -> None:
    """Model: reads what was put below the floor."""
    kind = mount_kind(tmp_path, "symlink")
    fill(kind.open(), NAME, 5)
    listed: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op == "listdir" and call.path == kind.chain(NAME) and not listed:
            listed.append(call.path)
            other = kind.open()
            other.append(NAME, a_free_record(6, 6), durable=False)
            other.collect(NAME, collector(), keep=1)
            put_late(kind, 5, 55)

    record = hooked(kind, hook).read(NAME)
    assert listed
    assert record is not None
    assert record.request != a_free_record(5, 55).request, "what was read was never the newest record"


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_logs(folder: Path, agents: str, count: int, age_ms: int, size_bytes: int = 100) -> None:
    """Durable updates of agents that are gone, in logs that have not changed for so long."""
    for agent in agents:
        document = Workspace(folder, agent=agent).document("tasks.json")
        for number in range(count):
            document.update({f"{agent}{number}": "x" * size_bytes}, wait=0)
    make_old(folder, age_ms)


def make_old(folder: Path, age_ms: int) -> None:
    then = time.time() - age_ms / 1000
    for path in folder.rglob("*.log"):
        if path.parent.name == "log":
            os.utime(path, (then, then))


def keys_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is in the document after everything that is left was folded."""
    monkeypatch.undo()
    document = Workspace(folder, agent="late").document("tasks.json")
    while document.compact().revision:
        pass
    value = document.read_json()
    assert isinstance(value, dict)
    return {*value} - {"first"}


def logs_known(document: Document) -> set[str]:
    state = document._folding.compactor.state
    return {*state.positions} if state else set()


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Workspace.init(folder, agent="founder").document("tasks.json").update({"first": 1})
    monkeypatch.setattr(compactor, "FOLD_BATCH_BYTES", 400)
    return folder


def test_a_log_that_is_retired_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model: ended, though not read to its end. A fold that has read FOLD_BATCH_BYTES does not come to every log."""
    write_logs(begun(tmp_path, monkeypatch), "ab", 20, 0, 40_000)
    compacting = Workspace(tmp_path, agent="compactor").document("tasks.json")
    while len(logs_known(compacting)) < 3:  # the founder's, and both
        assert compacting.compact().revision
    make_old(tmp_path, RETIRE_AFTER_MS * 2)
    Workspace(tmp_path, agent="cleaner").document("tasks.json").collect()
    assert keys_after(tmp_path, monkeypatch) == {f"{agent}{number}" for agent in "ab" for number in range(20)}


def test_a_log_that_no_fold_has_come_to_yet_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model: log deleted by its age alone. A fold that reads FOLD_BATCH_BYTES need not come to every log."""
    write_logs(begun(tmp_path, monkeypatch), "abcd", 5, ORPHAN_KEEP_MS * 2)
    Workspace(tmp_path, agent="cleaner").document("tasks.json").collect()
    assert keys_after(tmp_path, monkeypatch) == {f"{agent}{number}" for agent in "abcd" for number in range(5)}


# ── failover ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def opened_with_both(folder: Path, kind: StoreKind, mode: str) -> Callable[[str], FailoverStore]:
    mount = mount_kind(folder, "symlink")

    def opened(agent: str) -> FailoverStore:
        table, fresh = kind.open(), Authority.first(mode, "here", agent)
        chain = mount.open()
        assert isinstance(table, TableStore)
        assert isinstance(chain, MountStore)
        store = FailoverStore(
            chain,
            table,
            fresh,
            agent=agent,
            clock=SYSTEM_CLOCK,
            events=Events(None),
            falls_back=False,
        )
        store.learn()
        return store

    return opened


def test_a_new_name_is_not_used_in_both_stores(tmp_path: Path, moto_engine: Engine) -> None:
    """Model: a new name on the mount, the table not closed to it. A workspace that was born in the table moves."""
    opened = opened_with_both(tmp_path, table_kind(moto_engine), TABLE)
    behind, mover = opened("behind"), opened("mover")
    mover.move(MOUNT)
    first = mover.read(NAME)
    n = first.n + 1 if first else 1
    won = mover.append(NAME, a_free_record(n, 1, mode=MOUNT, epoch=first.epoch if first else 1), durable=True)
    assert isinstance(won, Appended)
    late = behind.append(NAME, a_free_record(1, 2, mode=TABLE), durable=True)
    assert isinstance(late, Beaten), "both were granted the first record of one resource, each in its own store"


def test_a_resource_that_comes_back_keeps_its_history_on_the_mount(tmp_path: Path, moto_engine: Engine) -> None:
    """P18: OPENED carries the table's floor, below which nothing of the mount's chain was archived."""
    store = opened_with_both(tmp_path, table_kind(moto_engine), MOUNT)("mover")
    fill(store.mount, NAME, 3)
    store.move(TABLE)
    for number in range(20, 30):
        newest = store.read(NAME)
        assert newest is not None
        record = a_free_record(newest.n + 1, number, mode=TABLE, epoch=newest.epoch, floor=newest.floor)
        assert isinstance(store.append(NAME, record, durable=True), Appended)
    store.collect(NAME, collector(), keep=2)
    store.move(MOUNT)
    newest = store.read(NAME)
    assert newest is not None
    assert newest.kind == "opened"
    store.append(NAME, a_free_record(newest.n + 1, 40, epoch=newest.epoch, floor=newest.floor), durable=True)
    store.collect(NAME, collector(), keep=1)
    known = {record.n for record in store.history(NAME)}
    assert {1, 2, 3} <= known, f"records 1 to 3 were deleted without having been archived: {sorted(known)}"
