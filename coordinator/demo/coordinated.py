"""The workspace of a coordinated act, as whoever judges it sees it: through the public face, like any other agent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from coordinator.demo.judge import check_chain
from coordinator.demo.plan import board_options
from coordinator.demo.replay import Replay, check_replay
from coordinator.demo.strategies import FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.demo.act import ActSpec, Setting
    from coordinator.demo.judge import Counts
    from coordinator.demo.ledger import Entry


class Coordinated:
    """Makes the workspace, and looks at it.

    Args:
        folder: Where the shared file is.
        spec: Which act.
        setting: What is the same in each.
    """

    def __init__(self, folder: str, spec: ActSpec, setting: Setting) -> None:
        from coordinator import Workspace  # noqa: PLC0415 - the other acts have none

        self._workspace = Workspace.init(folder, agent="judge", single_host=True)
        self._document = self._workspace.document(FILE)
        self._plan, self._logs = setting.plan, spec.logs
        self._replay = Replay(setting.initial, setting.plan, round(spec.ttl_s * 1000))

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._document.revision

    def read(self) -> bytes:
        """The newest content."""
        return self._document.read()

    def has_passed(self, agent: str) -> bool:
        """Whether the task that an agent claimed last, over logs, was given to another."""
        return self._replayed().passed(agent)

    def _replayed(self) -> Replay:
        self._replay.feed(self._document.changes(self._replay.revision))
        return self._replay

    def wrong(self, entries: Sequence[Entry], counts: Counts, final: bytes, *, killed: int, frozen: int) -> list[str]:
        """What must not be in a coordinated act, besides losing, doubling and tearing."""
        if self._logs:
            wrong = check_replay(self._replayed(), entries, final, killed=killed)
        else:
            wrong = check_chain(entries, self._document.history(), killed=killed)
        if not counts.fields_kept:
            wrong.append("something other than the tasks' statuses was changed")
        elif not counts.layout_kept:
            wrong.append("the text is laid out otherwise than it was")
        if counts.refused < frozen:
            wrong.append(f"{frozen} holders were frozen past their ttl, and only {counts.refused} commits refused")
        with open(self._document.path, "rb") as file:
            if file.read() != final:
                wrong.append("the plain file does not show the newest revision")
        if not all(self._is_kept(entry) for entry in entries if entry.kind == "refused"):
            wrong.append("content that was refused was not kept")
        return wrong

    def _is_kept(self, refused: Entry) -> bool:
        """Whether what a stale holder handed in can still be looked at."""
        if not self._logs:
            return os.path.isfile(refused.kept)
        board = self._workspace.tasks(FILE, **board_options(self._plan, refused.tag))
        told = board.get(refused.id) or {"late_results": []}
        return any((late["epoch"], late["agent"]) == (refused.fence, refused.worker) for late in told["late_results"])
