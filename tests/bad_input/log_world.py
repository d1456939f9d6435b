"""A small workspace whose agents update one document through logs, and what must hold when its files were altered.

Every operation adds a name of its own to one list, so that the list tells what was lost and what was done twice.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from coordinator import Workspace
from coordinator.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from coordinator.clock import Clock
    from coordinator.document.document import Document
    from coordinator.document.receipt import OperationReceipt
    from coordinator.events import Event
    from coordinator.files import Files, NewFile

NAME: Final = "tasks.json"
STATE: Final = f".coordinator/resources/{NAME}/@"
EMPTY: Final = b'{"list": []}\n'
WAIT: Final = 5.0


class _Unsynced:
    """A new file whose ``sync`` returns at once."""

    def __init__(self, inner: NewFile) -> None:
        self.write, self.close = inner.write, inner.close

    def sync(self) -> None:
        """No power fails in these tests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class QuickFiles(SystemFiles):
    """The real file system without its syncs: thousands of small worlds are made here, and no power fails."""

    def create(self, path: str, mode: int | None = None) -> NewFile:
        return _Unsynced(super().create(path, mode))

    def sync_dir(self, path: str) -> None:
        os.stat(path)  # it is an error if it is not there


QUICK: Final = QuickFiles()


def adding(name: str) -> dict[str, Any]:
    """The operation that adds a name."""
    return {"do": "patch", "patch": [{"op": "add", "path": "/list/-", "value": name}]}


@dataclass
class World:
    """A workspace's folder, and the agents that were opened in it."""

    folder: Path
    events: list[Event] = field(default_factory=list)
    files: Files = QUICK

    @classmethod
    def made(cls, folder: Path, files: Files = QUICK) -> World:
        """With an empty list as its first revision."""
        folder.mkdir()
        founder = Workspace.init(folder, agent="founder", files=files)
        founder.document(NAME).commit(EMPTY, if_revision=0)
        return cls(folder, files=files)

    def copied(self, to: Path) -> World:
        """Another folder with the same content, as ``cp -a`` makes it."""
        shutil.copytree(self.folder, to, symlinks=True)
        return World(to, files=self.files)

    def agent(self, name: str, *, files: Files | None = None, clock: Clock | None = None) -> Document:
        """The document as a fresh process has it."""
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        workspace = Workspace(self.folder, agent=name, files=files or self.files, on_event=self.events.append, **more)
        return workspace.document(NAME)

    def logs(self, agent: str = "") -> list[Path]:
        """The files of an agent's logs."""
        return sorted((self.folder / STATE / "log").glob(f"{agent}*.log"))

    def kept(self) -> dict[str, bytes]:
        """What is in quarantine."""
        return {path.name: path.read_bytes() for path in (self.folder / STATE / "quarantine").glob("*")}

    def list(self) -> list[str]:
        """The names that a fresh process reads."""
        names: list[str] = self.agent("looker").read_json()["list"]
        return names

    def kinds(self) -> set[str]:
        return {event.kind for event in self.events}


def submit(
    document: Document, *names: str, wait: float = 0, ids: Sequence[str] | None = None
) -> list[OperationReceipt]:
    return document.perform([adding(name) for name in names], ids=ids, wait=wait)


def fold_all(document: Document) -> None:
    """Until nothing is left to fold."""
    while document.compact().revision:
        pass


def twice(names: Iterable[str]) -> list[str]:
    """What is there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def of(agent: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(agent)]


def flips(data: bytes, *, every_bit: bool = False) -> Iterator[tuple[int, bytes]]:
    """The data with one bit flipped, at each byte in turn; which bit goes round with the place."""
    for at in range(len(data)):
        for bit in range(8) if every_bit else (at * 5 % 8,):
            yield at, data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
