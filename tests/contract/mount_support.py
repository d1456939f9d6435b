"""What the tests of the store on a directory share: its primitive, and a store whose calls fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from support import open_mount

from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.testing import Call, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import StoreKind

    from coordinator.record.mount import MountStore


NAME: Final = Resource.parse("tasks.json")


def primitive_of(mount: StoreKind) -> str:
    return mount.name.removeprefix("mount-")


def put_op(mount: StoreKind) -> str:
    """The call that is the commit point."""
    return "symlink" if mount.name == "mount-symlink" else "rename"


def failing(mount: StoreKind, hook: Callable[[Call], None]) -> MountStore:
    return open_mount(mount.root, primitive_of(mount), files=InterceptedFiles(SYSTEM_FILES, hook))
