"""Two workers that take turns at a slow pace: neither has anything to wait for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from coordinator import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_those_who_take_turns_do_not_come_to_wait_for_each_other(workspace: Workspace) -> None:
    """Each finds that the other has folded last, and leaves it a moment to fold again: that moment must not grow."""
    boards = [Workspace(workspace.directory, agent=agent).tasks("tasks.json") for agent in ("one", "two")]
    pause, took = threading.Event(), []
    for i in range(50):
        took.append(seconds_of(lambda i=i: boards[i % 2].add({"id": i})))  # type: ignore[misc]
        pause.wait(0.06)
    assert min(took[-6:]) < 0.1, [round(each * 1000) for each in took]
