"""Which of those who wait for a fold makes it (P24): who has the state in memory, then who has waited long enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Workspace
from coordinator.document.submit import Submissions, _Pending
from coordinator.limits import LEAD_AFTER_MAX_MS, LEAD_AFTER_MS, READ_UP_BYTES_PER_MS
from coordinator.names import Resource
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.record.record import Record

NAME: Final = "tasks.json"
LARGE_BYTES: Final = 100 * READ_UP_BYTES_PER_MS  # 100 ms


class Waiter:
    """Somebody who has appended, just after somebody else has folded, and not read the document yet."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        folding = Workspace.init(folder, agent="folding")
        folding.document(NAME).commit(json.dumps({"text": "x" * size_bytes}).encode(), if_revision=0)
        self.record = self._record_of(folding)
        self.clock = ManualClock(start_ms=self.record.at_ms)
        workspace = Workspace(folder, agent="waiting", clock=self.clock)
        self.submissions: Submissions = workspace.document(NAME)._folding.submissions
        self.pending = _Pending(["one"], None)
        self.pending.progress = self.clock.now()

    @staticmethod
    def _record_of(workspace: Workspace) -> Record:
        record = workspace._member.store.read(Resource.parse(NAME))
        assert record is not None
        return record

    def begins(self, after_ms: float) -> None:
        """Appends so much later, instead."""
        self.clock.advance(after_ms)
        self.pending.progress = self.clock.now()

    def leads_after(self, waited_ms: float) -> bool:
        """Whether it folds itself when it has waited for so much longer, without news."""
        self.clock.advance(waited_ms)
        return self.submissions._leads(self.pending, self.record)


def test_a_small_document_is_taken_over_soon(tmp_path: Path) -> None:
    waiter = Waiter(tmp_path, 10)
    assert not waiter.leads_after(LEAD_AFTER_MS - 1)
    assert waiter.leads_after(LEAD_AFTER_MAX_MS)


def test_a_large_one_is_left_to_others_for_as_long_as_reading_it_takes(tmp_path: Path) -> None:
    waiter = Waiter(tmp_path, LARGE_BYTES)
    assert not waiter.leads_after(LEAD_AFTER_MAX_MS)
    assert not waiter.leads_after(60)
    assert waiter.leads_after(40)


@pytest.mark.parametrize("size_bytes", [10, LARGE_BYTES])
def test_who_is_alone_does_not_wait(tmp_path: Path, size_bytes: int) -> None:
    """The newest record is old: nobody folds."""
    waiter = Waiter(tmp_path, size_bytes)
    waiter.begins(60_000)
    assert waiter.leads_after(0)


def test_who_has_met_another_at_work_waits_all_the_same(tmp_path: Path) -> None:
    """However old the newest record: whoever has the turn is reading up, perhaps."""
    waiter = Waiter(tmp_path, LARGE_BYTES)
    waiter.begins(60_000)
    waiter.pending.has_met = True
    assert not waiter.leads_after(0)
    assert waiter.leads_after(LEAD_AFTER_MAX_MS + 100)


def test_a_document_that_is_not_there_yet_is_nobodys_to_wait_for(tmp_path: Path) -> None:
    waiter = Waiter(tmp_path, 10)
    assert waiter.submissions._leads(waiter.pending, None)
