"""Where a workspace keeps what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.names import STATE_DIR

if TYPE_CHECKING:
    from coordinator.names import Resource


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
