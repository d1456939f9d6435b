"""Where a workspace keeps what."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from coordinator.errors import BadName
from coordinator.names import STATE_DIR, STATE_MARK, Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.files import Files


class Places:
    """Where a workspace keeps what: the only place where these paths are put together."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.state = f"{root}/{STATE_DIR}"
        self.resources = f"{self.state}/resources"
        self.clocks = f"{self.state}/clock"
        self.scratch = f"{self.state}/scratch"
        self.lives = f"{self.state}/live"

    def of(self, resource: Resource, *parts: str) -> str:
        """A path below one resource's state folder."""
        return "/".join((self.resources, resource.state_path, *parts))


def states_below(files: Files, folder: str, below: str = "") -> Iterator[Resource]:
    """Every resource that has a state folder, in the order of a walk. OSError."""
    for name in files.listdir(folder):
        path = f"{below}{name}"
        if name == STATE_MARK:
            with contextlib.suppress(BadName):  # else it is not of our making
                yield Resource.from_state_path(path)
        elif files.stat(f"{folder}/{name}").kind == "directory":
            yield from states_below(files, f"{folder}/{name}", f"{path}/")
