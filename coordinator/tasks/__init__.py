"""The task board: many workers claim and complete tasks of one document, and none waits for a lock.

    board = workspace.tasks("tasks.json")
    board.add([{"title": "Write the parser"}, {"title": "Test it", "needs": ["python"]}])
    with board.claim_next(needs={"python"}, wait=None) as task:
        …                                             # done when the block ends well, failed when it raises
        task.complete(result={"ok": True})            # or said so, with a result

Every call is one operation in this process's own log, decided in a fold (document/board). A claim has an *epoch*, which
is its fence: once somebody else was given the task, whatever the one before still says of it is refused, and a result
that comes too late is kept beside the task. A claim lasts for its ttl by the store's clock, and longer by heartbeats;
the task of a worker that died is given to the next by itself.

    board.py    TaskBoard: what can be said and asked
    task.py     Task: one claim in a worker's hands; NoTask; heartbeats in the background
    access.py   the way to the document: operations in, refusals out as errors, a look at the newest state
    idle.py     waiting for a task without asking for it
"""

from __future__ import annotations

from coordinator.tasks.board import TaskBoard
from coordinator.tasks.task import NoTask, Task

__all__ = ["NoTask", "Task", "TaskBoard"]
