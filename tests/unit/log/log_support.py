"""What the tests of logs share: members, operations, and a reader that remembers and checks."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.log.opening import parse_file_name
from coordinator.log.reader import LogReader, Position
from coordinator.log.writer import LogWriter
from coordinator.names import Resource
from coordinator.testing import InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.clock import Clock
    from coordinator.files import Files
    from coordinator.log.reader import Damage, LogBatch
    from coordinator.record.member import Member
    from coordinator.testing import Call

RESOURCE: Final = Resource.parse("tasks.json")


def an_op(number: int, pad: int = 0) -> bytes:
    """An operation as a writer is given it, told apart by its number."""
    return b'{"id":"op-%d","at":1790000000000,"op":{"do":"merge","patch":{"n":%d,"pad":"%b"}}}' % (
        number,
        number,
        b"x" * pad,
    )


def payload_of(seq: int, number: int, pad: int = 0) -> bytes:
    """What of it is to be found in the log."""
    return b'{"seq":%d,%b' % (seq, an_op(number, pad)[1:])


def number_of(payload: bytes) -> int:
    return int(json.loads(payload)["op"]["patch"]["n"])


def a_member(folder: Path | str, agent: str = "bob", *, files: Files = SYSTEM_FILES, **options: Any) -> Member:
    """An agent of the workspace in a folder, which is made when it is not there."""
    root = str(folder)
    if not os.path.exists(f"{root}/.coordinator"):
        Workspace.init(root, agent="founder")
    return Workspace(root, agent=agent, files=files, **options)._member


def crash_member(files: Files, clock: Clock, agent: str = "bob") -> Member:
    """An agent on a file system in memory."""
    return Workspace("/shared", agent=agent, files=files, clock=clock)._member


def log_folder(member: Member) -> str:
    return member.places.of(RESOURCE, "log")


def log_paths(member: Member) -> list[str]:
    """All logs' files, by name."""
    try:
        return [f"{log_folder(member)}/{name}" for name in sorted(member.files.listdir(log_folder(member)))]
    except FileNotFoundError:
        return []


def log_files_of(files: Files) -> list[str]:
    """Names of the logs' files of a file system in memory."""
    try:
        return files.listdir(f"/shared/.coordinator/resources/{RESOURCE.state_path}/log")
    except FileNotFoundError:
        return []


def segments_of(member: Member) -> list[int]:
    names = [parse_file_name(os.path.basename(path)) for path in log_paths(member)]
    return [name.segment for name in names if name]


@dataclass
class Follower:
    """Reads a document's logs again and again, as a compactor does, and checks what no log may show."""

    member: Member
    positions: dict[str, Position] = field(default_factory=dict)
    payloads: dict[str, list[bytes]] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = LogReader(self.member, RESOURCE)

    def look(self, max_bytes: int = 1 << 30) -> LogBatch:
        batch = self.reader.read(self.positions, max_bytes=max_bytes)
        for new in batch.logs:
            key = new.after.incarnation
            assert new.before == self.positions.get(key)
            self.positions[key] = Position(*json.loads(json.dumps(new.after)))
            known = self.payloads.setdefault(key, [])
            known += new.payloads
            assert [json.loads(payload)["seq"] for payload in known] == list(range(1, len(known) + 1))
            assert new.after.seq == len(known)
            assert new.ended == (new.after.state == "ended")
        self.damaged += batch.damaged
        return batch

    def numbers(self) -> list[int]:
        """All operations seen, of each log in its order."""
        return [number_of(payload) for known in self.payloads.values() for payload in known]


def read_all(member: Member) -> Follower:
    follower = Follower(member)
    follower.look()
    return follower


def failing(folder: Path, hook: Callable[[Call], None]) -> LogWriter:
    """A writer on files with a hook."""
    a_member(folder)
    return LogWriter(a_member(folder, files=InterceptedFiles(SYSTEM_FILES, hook)), RESOURCE)


class Syncs:
    """A hook that counts the syncs of logs' files, and can hold the first one up."""

    def __init__(self) -> None:
        self.count = 0
        self.is_held = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, call: Call) -> None:
        if call[:2] == ("before", "sync") and call.path.endswith(".log"):
            self.count += 1
            self.is_held.set()
            assert self.go_on.wait(30)
