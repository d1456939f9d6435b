"""What leaves the command line by a way that is not its own: Typer's completion, and errors of the system."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from coordinator import Workspace

    from .conftest import Answer


def test_completion_is_a_success(workspace: Workspace) -> None:
    asked = {"_COORDINATOR_COMPLETE": "complete_bash", "COMP_WORDS": "coordinator le", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli"],
        env={**os.environ, **asked},
        cwd=workspace.directory,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"lease", b"")


def test_no_room_for_the_editors_copy(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_options: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    monkeypatch.setenv("EDITOR", "true")
    told = call("document", "edit", "notes")
    assert told.status != 0
    assert "stdout" not in told.err
    assert "No space left" in call("document", "edit", "notes", "--json").error["message"]
    assert workspace.status_of("notes").state == "free"
