"""What the tests of the task board share: boards as another process would open them, and short ways to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coordinator import Task, TaskBoard, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="open_as")
def opened_as(workspace: Workspace) -> Iterator[Callable[..., TaskBoard]]:
    """Opens the workspace anew, as another process would, and a board in it."""
    opened: list[Workspace] = []

    def run(agent: str, name: str = "tasks.json", *, options: dict[str, Any] | None = None, **how: Any) -> TaskBoard:
        opened.append(Workspace(workspace.directory, agent=agent, **how))
        return opened[-1].tasks(name, **(options or {}))

    yield run
    for each in opened:
        each.close()


@pytest.fixture(name="board")
def board_of_three(open_as: Callable[..., TaskBoard]) -> TaskBoard:
    """A board of three tasks, for the agent ``ann``."""
    opened = open_as("ann")
    opened.add([{"id": "a", "title": "A"}, {"id": "b", "title": "B"}, {"id": "c", "title": "C"}])
    return opened


def status_of(board: TaskBoard, task_id: str) -> str:
    found = board.get(task_id)
    assert found is not None
    status: str = found["status"]
    return status


def claim(board: TaskBoard, **how: Any) -> Task:
    """A claim that is given something."""
    task = board.claim_next(**how)
    assert isinstance(task, Task)
    return task
