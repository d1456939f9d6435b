"""What the tests of a workspace and its table share; the fixtures are in conftest.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coordinator import Workspace

FLEET: Final = "fleet"
AT_TABLE: Final = ("--table", FLEET)


def id_of(workspace: Workspace) -> str:
    return workspace.format.workspace_id


def copied(workspace: Workspace, folder: Path) -> Path:
    shutil.copytree(workspace.directory, folder, symlinks=True)
    return folder


def mark_of(folder: str | Path) -> str:
    return f"inode {Path(folder, '.coordinator').stat().st_ino}"
