"""What the tests of documents share: where their files are, edits by hand, and a document with some revisions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from coordinator import Document, Workspace

NAME: Final = "tasks.json"
OLD: Final = (1_000_000_000, 1_000_000_000)


def plain(workspace: Workspace, name: str = NAME) -> Path:
    return Path(workspace.directory) / name


def state(workspace: Workspace, *parts: str, name: str = NAME) -> Path:
    return Path(workspace.directory, ".coordinator", "resources", name, "@", *parts)


def edit(workspace: Workspace, text: bytes, name: str = NAME) -> None:
    """An edit by hand, long enough ago that nobody waits for more of it."""
    plain(workspace, name).write_bytes(text)
    os.utime(plain(workspace, name), OLD)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


@pytest.fixture(name="document")
def document_at_3(workspace: Workspace) -> Document:
    """A document at revision 3."""
    document = workspace.document(NAME)
    for revision in range(3):
        document.commit(f"text {revision + 1}".encode(), if_revision=revision)
    return document
