"""What the tests of invocations share: a Lambda's context, what was told, and what became of leases and logs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator import Workspace
    from coordinator.events import Event
    from coordinator.testing import Call, ManualClock


NAME = "tasks.json"
PLAN = "plan.json"


@dataclass
class Context:
    """A Lambda's, with a deadline by a clock of the test; ``off_ms`` makes it tell something else."""

    clock: ManualClock
    had_ms: int = 60_000
    aws_request_id: str = "request-1"
    off_ms: int = 0
    _began_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self._began_ms = self.clock.wall_ms()

    def get_remaining_time_in_millis(self) -> int:
        return self.had_ms - (self.clock.wall_ms() - self._began_ms) + self.off_ms


def ended(events: list[Event]) -> dict[str, Any]:
    """What the last invocation told at its end."""
    found = [event for event in events if event.kind == "invocation_ended"]
    return {"reason": found[-1].reason, **found[-1].detail}


def thaws(events: list[Event]) -> list[str]:
    return [event.reason for event in events if event.kind == "invocation_thawed"]


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def ended_by(workspace: Workspace, *names: str) -> list[str]:
    return [workspace.status_of(name).state for name in names]


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unsynced(calls: list[Call]) -> set[str]:
    """The log files whose last write no sync followed."""
    last: dict[str, str] = {}
    for call in calls:
        if "/log/" in call.path and call.op in {"write", "sync"} and call.when == "after":
            last[call.path] = call.op
    assert last, "no log was written"
    return {path for path, op in last.items() if op == "write"}


def log_files(workspace: Workspace) -> list[str]:
    folder = os.path.join(workspace.directory, ".coordinator/resources", PLAN, "@/log")
    return sorted(os.path.join(folder, name) for name in os.listdir(folder))
