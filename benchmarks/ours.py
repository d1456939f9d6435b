"""Our side: tasks handed out by a task board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers import InFile
from benchmarks.runner import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.claiming import Claim

NAME = "tasks.json"


def make_workspace(directory: str) -> None:
    """Makes a directory a workspace."""
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    Workspace.init(directory, agent="bench")


class Board:
    """A workspace's task board, one Workspace in each process."""

    name = OURS

    def prepare(self, directory: str, tasks: list[dict[str, Any]]) -> None:
        """Makes a workspace of a directory that has a ``tasks.json`` already, and takes that over."""
        from coordinator import Workspace  # noqa: PLC0415 - as above

        InFile().prepare(directory, tasks)
        Workspace.init(directory, agent="bench").document(NAME).compact()

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """Opens the workspace and reads the tasks, as the peers have opened their files."""
        from coordinator import Workspace  # noqa: PLC0415 - as above

        workspace = Workspace(directory, agent=agent)
        workspace.document(NAME).value()
        board = workspace.tasks(NAME)

        def claim() -> str | None:
            task = board.claim_next()
            return str(task.id) if task else None

        return claim, workspace.close

    def owners(self, directory: str) -> Mapping[str, str]:
        """From the content that the head of the chain names, not the plain view: nothing else counts as durable."""
        from coordinator import Workspace  # noqa: PLC0415 - as above

        tasks = Workspace(directory, agent="judge").tasks(NAME).list()
        return {str(task["id"]): task["holder"] for task in tasks if task["holder"]}


class Reader:
    """One who looks at the tasks again and again, while another agent changes them."""

    def __init__(self, directory: str) -> None:
        from coordinator import Workspace  # noqa: PLC0415 - as above

        self._document = Workspace(directory, agent="reader").document(NAME)
        self._changing = Workspace(directory, agent="writer").document(NAME)
        self._changes = 0

    def look(self) -> Any:
        """The current value."""
        return self._document.value()

    def change(self, operations: int) -> None:
        """So many operations, each submitted and applied by itself."""
        for _ in range(operations):
            self._changes += 1
            path = f"/tasks/{self._changes % 1000}/priority"
            self._changing.update([{"op": "replace", "path": path, "value": self._changes}])


def log_appender(directory: str, record_bytes: int) -> Callable[[int], None]:
    """Appends that many operations of so many bytes to a log, durable on return."""
    from coordinator import Workspace  # noqa: PLC0415 - as above
    from coordinator.log.writer import LogWriter  # noqa: PLC0415 - as above
    from coordinator.names import Resource  # noqa: PLC0415 - as above

    workspace = Workspace(directory, agent="bench")
    writer = LogWriter(workspace._member, Resource(NAME))  # noqa: SLF001 - the log has no public face of its own
    operation = b'{"do":"merge","patch":{"text":"%s"}}'
    operation %= b"r" * (record_bytes - len(operation) + 2)

    def append(count: int) -> None:
        writer.append([operation] * count)

    return append
