"""For users' own tests: a store in memory, a clock that is set by hand, a file system that fails on command."""

from __future__ import annotations

from coordinator.testing.clock import ManualClock
from coordinator.testing.crash import CrashFiles, CrashState
from coordinator.testing.files import Call, FailAt, InterceptedFiles, PauseAt
from coordinator.testing.intervals import Held, check_intervals
from coordinator.testing.memory import MemoryStore
from coordinator.testing.stale import StaleFiles

__all__ = [
    "Call",
    "CrashFiles",
    "CrashState",
    "FailAt",
    "Held",
    "InterceptedFiles",
    "ManualClock",
    "MemoryStore",
    "PauseAt",
    "StaleFiles",
    "check_intervals",
]
