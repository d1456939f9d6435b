"""Whoever reads a record that is not synced yet waits for its author's word, and syncs it when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.limits import SYNC_WORD_WAIT_MAX_MS
from coordinator.names import Resource
from coordinator.record.synced import is_told_synced, tell_synced
from coordinator.testing import InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.testing import Call

NAME = "plan.json"


def test_the_word_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "synced")
    pauses: list[float] = []

    def others(pause_ms: float) -> None:
        pauses.append(pause_ms)
        if len(pauses) in {2, 4}:  # somebody's of an earlier record, then the author's
            tell_synced(SYSTEM_FILES, path, 6 + len(pauses) // 4)

    assert is_told_synced(SYSTEM_FILES, ManualClock(on_pause=others), path, 7)
    assert len(pauses) == 4


def test_it_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    clock = ManualClock()
    before_ms = clock.wall_ms()
    assert not is_told_synced(SYSTEM_FILES, clock, str(tmp_path / "synced"), 7)
    assert SYNC_WORD_WAIT_MAX_MS - 1 <= clock.wall_ms() - before_ms <= SYNC_WORD_WAIT_MAX_MS + 1


def test_a_file_that_was_made_and_not_stamped_yet_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "synced").touch()
    assert not is_told_synced(SYSTEM_FILES, ManualClock(), str(tmp_path / "synced"), 7)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_reader_syncs_the_chain_only_when_nobody_says_that_it_is(tmp_path: Path, is_told: bool) -> None:
    author = Workspace.init(tmp_path, agent="author")
    author.document(NAME).commit(b"{}", if_revision=0)
    (synced,) = tmp_path.glob(".coordinator/resources/*/@/synced")
    calls: list[Call] = []
    files = InterceptedFiles(SYSTEM_FILES, calls.append)
    reader = Workspace(tmp_path, agent="reader", files=files, clock=ManualClock())
    record = reader._member.store.read(Resource.parse(NAME))
    assert record is not None
    if not is_told:
        synced.unlink()
    calls.clear()
    reader._member.store.make_durable(Resource.parse(NAME), record.n)
    chain = str(synced.with_name("chain"))
    assert (("before", "sync_dir", chain) in calls) is not is_told
