"""What people use instead of a coordinator to hand out tasks, each as well as it is usually written."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchmarks.runner import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.claiming import Claim, Claiming

PATIENCE_SECONDS: Final = 60.0


def library(name: str) -> Any:
    """A peer's module.

    Raises:
        NotInstalled: It is not there.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise NotInstalled(f"{name} is not installed (pip install -e '.[bench]')") from None


def next_pending(tasks: list[dict[str, Any]], agent: str) -> str | None:
    """Claims the first pending task of a list; its id."""
    for task in tasks:
        if task["status"] == "pending":
            task["status"] = "in_progress"
            task["owner"] = agent
            task["claimed_at"] = time.time()
            found: str = task["id"]
            return found
    return None


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(path: str, data: bytes, *, synced: bool) -> None:
    """Gives a file other content, by a temporary file of its own. The directory is not synced: few do."""
    scratch = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, data)
        if synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(scratch, path)


class InFile:
    """Tasks in a ``tasks.json``: the part that does not depend on how it is locked and written."""

    name = ""

    def prepare(self, directory: str, tasks: list[dict[str, Any]]) -> None:
        """Writes the file."""
        with open(f"{directory}/tasks.json", "wb") as file:
            file.write(orjson.dumps({"tasks": tasks}))

    def owners(self, directory: str) -> Mapping[str, str]:
        """Reads the file."""
        with open(f"{directory}/tasks.json", "rb") as file:
            tasks = orjson.loads(file.read())["tasks"]
        return {task["id"]: task["owner"] for task in tasks if task["owner"]}


class FlockOrjson(InFile):
    """flock, orjson, temp + fsync + replace: the careful one."""

    name = "flock + orjson + fsync + replace"

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """The lock file stays open."""
        path, lock = f"{directory}/tasks.json", os.open(f"{directory}/tasks.lock", os.O_RDWR | os.O_CREAT, 0o666)

        def claim() -> str | None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with open(path, "rb") as file:
                    document = orjson.loads(file.read())
                task = next_pending(document["tasks"], agent)
                if task:
                    replace_file(path, orjson.dumps(document), synced=True)
                return task
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)

        return claim, lambda: os.close(lock)


class FilelockOrjson(InFile):
    """filelock, orjson, temp + replace, nothing synced."""

    name = "filelock + orjson, unsynced"

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """The library with its defaults: it polls every 50 ms."""
        path, lock = f"{directory}/tasks.json", library("filelock").FileLock(f"{directory}/tasks.lock")

        def claim() -> str | None:
            with lock:
                with open(path, "rb") as file:
                    document = orjson.loads(file.read())
                task = next_pending(document["tasks"], agent)
                if task:
                    replace_file(path, orjson.dumps(document), synced=False)
                return task

        return claim, lambda: None


class FilelockJson(InFile):
    """filelock, json, indented, written in place: what people do."""

    name = "filelock + json"

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """As above."""
        path, lock = f"{directory}/tasks.json", library("filelock").FileLock(f"{directory}/tasks.lock")

        def claim() -> str | None:
            with lock:
                with open(path, encoding="utf-8") as file:
                    document = json.load(file)
                task = next_pending(document["tasks"], agent)
                if task:
                    with open(path, "w", encoding="utf-8") as file:
                        json.dump(document, file, indent=2)
                return task

        return claim, lambda: None


class Sqlite:
    """SQLite, WAL, synchronous=FULL: the right tool on one host, and none for a network mount."""

    name = "SQLite WAL, synchronous=FULL"
    CLAIM = (
        "UPDATE tasks SET status = 'in_progress', owner = ?, claimed_at = ? WHERE number = "
        "(SELECT number FROM tasks WHERE status = 'pending' ORDER BY number LIMIT 1) RETURNING id"
    )

    def connect(self, directory: str) -> sqlite3.Connection:
        """A connection with its own transactions."""
        connection = sqlite3.connect(f"{directory}/tasks.sqlite", timeout=PATIENCE_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def prepare(self, directory: str, tasks: list[dict[str, Any]]) -> None:
        """One row a task, and an index by status."""
        connection = self.connect(directory)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE tasks "
            "(number INTEGER PRIMARY KEY, id TEXT, status TEXT, owner TEXT, claimed_at REAL, body TEXT)"
        )
        connection.execute("CREATE INDEX pending ON tasks (status, number)")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO tasks (id, status, body) VALUES (?, 'pending', ?)",
            [(task["id"], orjson.dumps(task).decode()) for task in tasks],
        )
        connection.execute("COMMIT")
        connection.close()

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """One connection; busy_timeout does the waiting."""
        connection = self.connect(directory)

        def claim() -> str | None:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(self.CLAIM, (agent, time.time())).fetchone()
            connection.execute("COMMIT")
            return row[0] if row else None

        return claim, connection.close

    def owners(self, directory: str) -> Mapping[str, str]:
        """Whoever has a row."""
        connection = self.connect(directory)
        rows = connection.execute("SELECT id, owner FROM tasks WHERE owner IS NOT NULL").fetchall()
        connection.close()
        return dict(rows)


class SharedLog:
    """One log for all under flock: each reads what is new, claims, appends, syncs. Over NFS it would lose records."""

    name = "synced shared log under flock"

    def prepare(self, directory: str, tasks: list[dict[str, Any]]) -> None:
        """The tasks in a file that never changes, and an empty log."""
        with open(f"{directory}/tasks.json", "wb") as file:
            file.write(orjson.dumps({"tasks": tasks}))
        with open(f"{directory}/claims.log", "wb"):
            pass

    def open(self, directory: str, agent: str) -> tuple[Claim, Callable[[], None]]:
        """Everything is read once; then the log's tail only."""
        with open(f"{directory}/tasks.json", "rb") as file:
            tasks = {task["id"]: task for task in orjson.loads(file.read())["tasks"]}
        pending = dict.fromkeys(tasks)
        log = os.open(f"{directory}/claims.log", os.O_RDWR | os.O_APPEND)
        seen = 0

        def claim() -> str | None:
            nonlocal seen
            fcntl.flock(log, fcntl.LOCK_EX)
            try:
                seen += catch_up(os.pread(log, os.fstat(log).st_size - seen, seen))
                task = next(iter(pending), None)
                if task is not None:
                    write_all(log, orjson.dumps({"task": task, "owner": agent, "at": time.time()}) + b"\n")
                    os.fdatasync(log)
                return task
            finally:
                fcntl.flock(log, fcntl.LOCK_UN)

        def catch_up(lines: bytes) -> int:
            for line in lines.splitlines():
                entry = orjson.loads(line)
                pending.pop(entry["task"])
                tasks[entry["task"]]["owner"] = entry["owner"]
            return len(lines)

        return claim, lambda: os.close(log)

    def owners(self, directory: str) -> Mapping[str, str]:
        """The log, read from its start."""
        with open(f"{directory}/claims.log", "rb") as file:
            entries = [orjson.loads(line) for line in file]
        return {entry["task"]: entry["owner"] for entry in entries}


FLOCK: Final = FlockOrjson()
SQLITE: Final = Sqlite()
CLAIMING_PEERS: Final[tuple[Claiming, ...]] = (FLOCK, FilelockOrjson(), FilelockJson(), SQLITE, SharedLog())
