"""For users' own tests: fakes of what the coordinator stands on, and checkers of what a system did.

The fakes: a store in memory, a clock that is set by hand, a file system that fails on command. The checkers
(``check_linearizable``, ``check_intervals``, ``check_exactly_once``) know nothing of the coordinator: they judge what
clients of any system were told.

Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.testing.clock import ManualClock
    from coordinator.testing.crash import CrashFiles, CrashState
    from coordinator.testing.exactly_once import (
        APPLIED,
        DURABLE,
        REJECTED,
        UNHEARD,
        Decided,
        ExactlyOnceReport,
        Told,
        check_exactly_once,
        decided_by,
        told_by,
    )
    from coordinator.testing.files import Call, FailAt, InterceptedFiles, PauseAt
    from coordinator.testing.history import UNKNOWN, Operation, Recorder
    from coordinator.testing.intervals import Held, IntervalReport, check_intervals
    from coordinator.testing.jepsen import read_jepsen
    from coordinator.testing.linearizable import LinearizabilityReport, check_linearizable
    from coordinator.testing.linearizable_models import (
        Acquire,
        Add,
        Append,
        AppendLog,
        Cas,
        FencedLease,
        GrowingSet,
        Model,
        Read,
        Register,
        Release,
        Use,
        Write,
    )
    from coordinator.testing.memory import MemoryStore
    from coordinator.testing.stale import StaleFiles

_HOMES = {
    "APPLIED": "exactly_once",
    "DURABLE": "exactly_once",
    "REJECTED": "exactly_once",
    "UNHEARD": "exactly_once",
    "UNKNOWN": "history",
    "Acquire": "linearizable_models",
    "Add": "linearizable_models",
    "Append": "linearizable_models",
    "AppendLog": "linearizable_models",
    "Call": "files",
    "Cas": "linearizable_models",
    "CrashFiles": "crash",
    "CrashState": "crash",
    "Decided": "exactly_once",
    "ExactlyOnceReport": "exactly_once",
    "FailAt": "files",
    "FencedLease": "linearizable_models",
    "GrowingSet": "linearizable_models",
    "Held": "intervals",
    "InterceptedFiles": "files",
    "IntervalReport": "intervals",
    "LinearizabilityReport": "linearizable",
    "ManualClock": "clock",
    "MemoryStore": "memory",
    "Model": "linearizable_models",
    "Operation": "history",
    "PauseAt": "files",
    "Read": "linearizable_models",
    "Recorder": "history",
    "Register": "linearizable_models",
    "Release": "linearizable_models",
    "StaleFiles": "stale",
    "Told": "exactly_once",
    "Use": "linearizable_models",
    "Write": "linearizable_models",
    "check_exactly_once": "exactly_once",
    "check_intervals": "intervals",
    "check_linearizable": "linearizable",
    "decided_by": "exactly_once",
    "read_jepsen": "jepsen",
    "told_by": "exactly_once",
}

__all__ = [
    "APPLIED",
    "DURABLE",
    "REJECTED",
    "UNHEARD",
    "UNKNOWN",
    "Acquire",
    "Add",
    "Append",
    "AppendLog",
    "Call",
    "Cas",
    "CrashFiles",
    "CrashState",
    "Decided",
    "ExactlyOnceReport",
    "FailAt",
    "FencedLease",
    "GrowingSet",
    "Held",
    "InterceptedFiles",
    "IntervalReport",
    "LinearizabilityReport",
    "ManualClock",
    "MemoryStore",
    "Model",
    "Operation",
    "PauseAt",
    "Read",
    "Recorder",
    "Register",
    "Release",
    "StaleFiles",
    "Told",
    "Use",
    "Write",
    "check_exactly_once",
    "check_intervals",
    "check_linearizable",
    "decided_by",
    "read_jepsen",
    "told_by",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
