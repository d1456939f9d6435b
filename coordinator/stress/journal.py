"""What one process tried and was told: a line before, a line after, in a file of its own beside the workspace.

``{"at": <monotonic ns>, "what": "try" | "ack" | "no" | "unknown" | "held" | …, …}``. A line is one write, so what a
killed process had written stays; its last line may be cut, and counts for nothing.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any


class Journal:
    """Writes one process's journal.

    Args:
        path: A new file.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def note(self, what: str, **facts: Any) -> None:
        """One line."""
        line = json.dumps({"at": time.monotonic_ns(), "what": what, **facts})
        os.write(self._descriptor, line.encode() + b"\n")


def read_journal(path: str) -> list[dict[str, Any]]:
    """The whole lines of a journal."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]
