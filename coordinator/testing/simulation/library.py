"""The library, made ready to be simulated: its locks, timers and random numbers, and bounds small enough to be met.

Files and clocks are handed to a workspace; what else of the machine the library uses is replaced here, in its modules
and nowhere else, as long as a ``simulated`` block lasts:

* ``threading``: by locks that wait in simulated time, and timers and threads that are the scheduler's (locks.py);
* ``random``: by the run's own generator;
* ``os.urandom``, of which ids are made: likewise.

Bounds that take a busy day to be met (when a chain is collected, a segment left, a checkpoint written, a silent log
retired) are set by each run, so that few operations meet them all.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import random
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from coordinator.record.life import Lives
from coordinator.record.record import Record, decode
from coordinator.testing.simulation.locks import SimThreading

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is imported late by the library, and has to be there before anything is replaced.
_LATE: Final = (
    "coordinator.document.board",
    "coordinator.document.distant",
    "coordinator.document.drain",
    "coordinator.document.edits",
    "coordinator.document.folding",
    "coordinator.document.history",
    "coordinator.document.json_text",
    "coordinator.document.operations",
    "coordinator.document.tidy",
    "coordinator.log.inbox",
    "coordinator.record.failover",
    "coordinator.record.ruling",
    "coordinator.record.table",
    "coordinator.tasks",
    "coordinator.together",
    "coordinator.workspace",
)
_OURS: Final = ("coordinator.testing", "coordinator.cli", "coordinator.demo")

# What may be set, and what to: module, name (of a class's attribute: class and name), and the choices.
SCALES: Final[tuple[tuple[str, str, tuple[int, ...]], ...]] = (
    ("coordinator.record.mount", "MountStore.live_max", (6, 10, 96)),
    ("coordinator.record.mount", "MountStore.live_keep", (2, 3, 5)),
    ("coordinator.record.collect", "HISTORY_SEGMENTS_MAX", (2, 16)),
    ("coordinator.log.segments", "SEGMENT_BYTES", (300, 1000, 65536)),
    ("coordinator.document.compactor", "CHECKPOINT_MIN_BYTES", (800, 3000, 262144)),
    ("coordinator.document.compactor", "CHECKPOINT_FILES", (3, 64)),
    ("coordinator.document.compactor", "FOLD_BATCH_BYTES", (400, 1 << 20)),
    ("coordinator.document.revision", "FOLD_FILE_BYTES", (1000, 1 << 20)),
    ("coordinator.document.tidy", "FOLD_FILES_MAX", (2, 3, 256)),
    ("coordinator.document.retire", "RETIRE_AFTER_MS", (30, 2000, 3_600_000)),
    ("coordinator.record.table", "TableStore.live_max", (6, 10, 32)),
    ("coordinator.record.table", "TableStore.live_keep", (2, 3, 4)),
    ("coordinator.record.failover", "FLOCK_REFUSED_MS", (0, 100, 1000)),
    ("coordinator.document.drain", "INBOX_POLL_MS", (0, 50, 200)),
    ("coordinator.document.drain", "RETIRE_AFTER_MS", (30, 2000, 3_600_000)),
    ("coordinator.log.inbox", "OUTCOMES_MAX", (2, 64)),
)


class _Box:
    """The generator of the run that is under way."""

    def __init__(self) -> None:
        self.rng = random.Random(0)

    def uniform(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def randrange(self, below: int) -> int:
        return self.rng.randrange(below)

    def urandom(self, size: int) -> bytes:
        return self.rng.randbytes(size)


BOX: Final = _Box()


class _Os:
    """Stands in for the module ``os`` where ids are made."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def urandom(size: int) -> bytes:
        return BOX.urandom(size)


@functools.lru_cache(maxsize=2048)
def _decode(text: str, *, resource: str, path: str) -> Record:
    return decode(text, resource=resource, path=path)


def _modules() -> list[Any]:
    for name in _LATE:
        importlib.import_module(name)
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("coordinator.") and not name.startswith(_OURS)
    ]


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """As long as it lasts, workspaces can be run in simulated worlds, and nowhere else. One at a time in a process."""
    before: list[tuple[Any, str, Any]] = []

    def replace(module: Any, name: str, value: Any) -> None:
        before.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    for module in _modules():
        if getattr(module, "threading", None) is threading and module.__name__ != "coordinator.files":
            replace(module, "threading", SimThreading)
        if getattr(module, "random", None) is random:
            replace(module, "random", BOX)
        if getattr(module, "decode", None) is decode and module.__name__ != decode.__module__:
            replace(module, "decode", _decode)  # a third of the time of a run: histories are read over and over
    replace(sys.modules["coordinator.names"], "os", _Os())
    replace(Lives, "__del__", lambda _self: None)  # when objects are collected no seed decides
    for path, name, _ in SCALES:
        owner, last = _owner(path, name)
        before.append((owner, last, getattr(owner, last)))
    logger = logging.getLogger("coordinator")  # what goes wrong here is meant to, thousands of times
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def _owner(path: str, name: str) -> tuple[Any, str]:
    owner: Any = sys.modules[path]
    *classes, last = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, last


def scale(rng: random.Random) -> None:
    """Sets the bounds for one run."""
    for path, name, choices in SCALES:
        owner, last = _owner(path, name)
        setattr(owner, last, rng.choice(choices))


def ids_from(rng: random.Random) -> None:
    """Has ids and jitter come from this generator."""
    BOX.rng = rng
