"""How often folds write the plain file anew (P26), when one agent folds, and when several do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Workspace
from coordinator.clock import Instant
from coordinator.document import folding
from coordinator.files import SYSTEM_FILES
from coordinator.testing import InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordinator.document.document import Document
    from coordinator.testing import Call

NAME: Final = "tasks.json"
AGENTS: Final = 4
LONG_AGO: Final = Instant(0, 0, 0)


class Crowd:
    """Agents that update in turns, and a count of how often each of them replaced the plain file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        Workspace.init(folder, agent="founder").document(NAME).commit(b"{}", if_revision=0)
        self.replaced = [0] * AGENTS
        self.documents = [self._document(folder, at) for at in range(AGENTS)]

    def _document(self, folder: Path, at: int) -> Document:
        def count(call: Call) -> None:
            self.replaced[at] += call == ("after", "rename", str(self.path)) or call == (
                "after",
                "exchange",
                str(self.path),
            )

        workspace = Workspace(folder, agent=f"agent-{at}", files=InterceptedFiles(SYSTEM_FILES, count))
        return workspace.document(NAME)

    def update(self, at: int, value: int) -> None:
        self.documents[at].update([{"op": "add", "path": f"/{at}", "value": value}])

    def shown(self, at: int) -> int | None:
        found = json.loads(self.path.read_bytes()).get(str(at))
        assert found is None or isinstance(found, int)
        return found


@pytest.fixture
def crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    monkeypatch.setattr(folding, "VIEW_PAUSE_MIN_MS", 60_000)
    crowd = Crowd(tmp_path)
    yield crowd
    for document in crowd.documents:
        document.close()


def test_who_updates_once_and_looks_at_the_file_sees_it(crowd: Crowd) -> None:
    for value in (1, 2):
        for at in range(AGENTS):
            crowd.update(at, value)
            assert crowd.shown(at) == value
        for document in crowd.documents:  # long ago, by its own clock
            document._folding._refreshed_at = document._folding._folded_at = LONG_AGO


def test_those_who_fold_all_the_time_share_one_rate(crowd: Crowd) -> None:
    for at in range(AGENTS):
        crowd.update(at, 1)
    assert crowd.replaced == [1] * AGENTS
    for document in crowd.documents:  # their own pauses are over
        document._folding._refreshed_at = LONG_AGO
    for at in range(AGENTS):
        crowd.update(at, 2)
    assert crowd.replaced == [1] * AGENTS, "agent-3 has written it just now"


def test_what_was_put_off_is_shown_when_the_process_is_done_with_it(crowd: Crowd) -> None:
    for value in (1, 2):
        crowd.update(0, value)
    assert crowd.shown(0) == 1
    crowd.documents[0].close()
    assert crowd.shown(0) == 2
