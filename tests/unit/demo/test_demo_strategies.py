"""The ways to change the file: what each of them loses, keeps and refuses, with the interleaving forced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from coordinator import Workspace
from coordinator.demo import strategies
from coordinator.demo.reader import is_whole
from coordinator.demo.strategies import (
    FILE,
    STRATEGIES,
    Ack,
    InPlace,
    NotNow,
    Refused,
    Strategy,
    TempRename,
    Torn,
    UnderLease,
    make_strategy,
)

BEFORE = b'{\n "a": 0,\n "b": 0\n}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Workspace.init(tmp_path)
    (tmp_path / FILE).write_bytes(BEFORE)
    return tmp_path


def made(name: str, folder: Path, agent: str = "one", ttl_s: float = 30) -> Strategy:
    return make_strategy(name, str(folder), agent, ttl_s, None)


def setting(key: str) -> strategies.Change:
    def change(value: Any) -> bool:
        value[key] += 1
        return True

    return change


def nothing() -> None:
    """Between read and write."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_way_changes_the_file(name: str, folder: Path) -> None:
    strategy = made(name, folder)
    assert strategy.update(setting("a"), nothing) is not None
    assert strategy.update(setting("a"), nothing) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 2, "b": 0}
    assert json.loads(strategy.look()) == {"a": 2, "b": 0}
    assert [path for path in os.listdir(folder) if path.endswith(".tmp")] == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_change_is_no_update(name: str, folder: Path) -> None:
    assert made(name, folder).update(lambda _value: False, nothing) is None
    assert (folder / FILE).read_bytes() == BEFORE


def test_an_update_under_a_lease_says_its_revision_and_keeps_the_layout(folder: Path) -> None:
    strategy = made("lease", folder)
    first = strategy.update(setting("a"), nothing)
    second = strategy.update(setting("a"), nothing)
    assert first is not None
    assert second is not None
    assert (first.revision, second.revision) == (2, 3)  # 1 is the file as it was found
    assert first.fence < second.fence
    assert (folder / FILE).read_bytes() == BEFORE.replace(b'"a": 0', b'"a": 2')


@pytest.mark.parametrize("name", ["in-place", "rename"])
def test_without_a_lock_an_update_in_between_is_lost(name: str, folder: Path) -> None:
    one, two = made(name, folder), made(name, folder, "two")
    assert one.update(setting("a"), lambda: acknowledged(two.update(setting("b"), nothing))) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 1, "b": 0}


def acknowledged(ack: Ack | None) -> None:
    assert ack is not None


def test_under_a_lease_an_update_in_between_has_to_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "LEASE_WAIT_S", 0.05)
    one, two = made("lease", folder), made("lease", folder, "two")

    def other() -> None:
        with pytest.raises(NotNow):
            two.update(setting("b"), nothing)

    assert one.update(setting("a"), other) is not None
    assert two.update(setting("b"), nothing) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 1, "b": 1}


def test_a_holder_that_slept_past_its_ttl_is_refused_and_its_content_kept(folder: Path) -> None:
    one, two = made("lease", folder, ttl_s=0.2), made("lease", folder, "two")
    with pytest.raises(Refused) as refused:
        one.update(setting("a"), lambda: acknowledged(two.update(setting("b"), nothing)))
    assert refused.value.reason == "taken"
    assert json.loads(Path(refused.value.kept).read_bytes()) == {"a": 1, "b": 0}
    assert json.loads((folder / FILE).read_bytes()) == {"a": 0, "b": 1}


def test_a_lease_lost_with_nothing_to_commit_is_no_refusal(folder: Path) -> None:
    made("lease", folder).update(setting("a"), nothing)
    one, two = made("lease", folder, ttl_s=0.2), made("lease", folder, "two")

    def change(_value: Any) -> bool:
        acknowledged(two.update(setting("b"), nothing))
        return False

    with pytest.raises(NotNow):
        one.update(change, nothing)


def test_a_commit_that_was_made_is_acknowledged_though_the_release_finds_the_lease_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator import DocumentLease

    commit = DocumentLease.commit_json

    def commit_and_lose(lease: DocumentLease, value: Any) -> Any:
        receipt = commit(lease, value)
        Workspace(folder, agent="operator").break_lease(FILE, fence=lease.fence)
        return receipt

    monkeypatch.setattr(DocumentLease, "commit_json", commit_and_lose)
    ack = made("lease", folder).update(setting("a"), nothing)
    assert ack is not None
    assert ack.revision == 2


@pytest.mark.parametrize("kind", [InPlace, TempRename])
def test_a_torn_file_is_told_and_stays_as_it_is_while_somebody_may_be_writing(
    kind: type[InPlace | TempRename], folder: Path
) -> None:
    strategy = kind(str(folder))
    strategy.look()
    for torn in (b"", b'{"a":', BEFORE + b"}"):
        (folder / FILE).write_bytes(torn)
        with pytest.raises(Torn):
            strategy.update(setting("a"), nothing)
        assert (folder / FILE).read_bytes() == torn
    (folder / FILE).unlink()
    with pytest.raises(Torn):
        strategy.look()
    assert strategy.restored == 0


def test_a_file_that_stays_broken_is_brought_back_from_the_last_whole_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    strategy, newcomer = InPlace(str(folder)), InPlace(str(folder))
    strategy.look()
    (folder / FILE).write_bytes(b"{")
    for now in (100.0, 100.0 + strategies.BROKEN_FOR_S + 0.01):
        clock[0] = now
        for reader in (newcomer, strategy):  # the newcomer has no copy to bring back
            with pytest.raises(Torn):
                reader.look()
    assert (strategy.restored, newcomer.restored) == (1, 0)
    assert json.loads(newcomer.look()) == json.loads(BEFORE)


def test_the_reader_tells_whole_from_torn(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert not is_whole(str(path))
    for content, whole in ((BEFORE, True), (b"", False), (BEFORE[:-1], False), (BEFORE * 2, False), (b"\xff", False)):
        path.write_bytes(content)
        assert is_whole(str(path)) is whole


def test_workers_load_nothing_that_they_do_not_need() -> None:
    code = (
        "import sys, coordinator.demo.worker; print([m for m in sys.modules if m.split('.')[0] in set(sys.argv[1:])])"
    )
    banned = ["rich", "typer", "portalocker", "asyncio"]
    done = subprocess.run([sys.executable, "-c", code, *banned], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("left_alone", [False, True])
def test_a_worker_is_stopped_inside_its_second_commit_but_not_when_nobody_is_left_to_continue_it(
    left_alone: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.demo import worker
    from coordinator.demo.worker import INSIDE, INSIDE_POINT, Stopper
    from coordinator.testing import Call, PauseAt

    monkeypatch.setattr(worker, "_told_to_leave", lambda: left_alone)

    class Recorder(PauseAt):
        passed = 0

        def __call__(self, call: Call) -> None:
            self.passed += self.armed and self._matches(call)

    inside = Recorder(INSIDE_POINT, armed=False)
    strategy = UnderLease(str(folder), "one", 30, inside)
    stopper = Stopper({2: INSIDE}, inside)
    strategy.update(setting("a"), stopper.between)
    assert not inside.armed
    strategy.update(setting("a"), stopper.between)
    assert (inside.passed > 0) is not left_alone
