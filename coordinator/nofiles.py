"""The seam to a file system that is not here: for agents that reach a workspace by its table only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

from coordinator.errors import NoDirectory

if TYPE_CHECKING:
    from coordinator.files import Files


class _NoFiles:
    """Refuses every call, telling what to do instead."""

    def realpath(self, path: str) -> str:
        return path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _refuse


def _refuse(*_args: Any, **_how: Any) -> NoReturn:
    raise NoDirectory("this workspace was opened without its directory: only leases and updates work here", path="")


NO_FILES = cast("Files", _NoFiles())
