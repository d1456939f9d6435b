"""Two ways to put a small text under a name if that name is absent, in one step (P1). One is chosen, once, at init.

    symlink      chain/000000000042 -> v=1/n=42/kind=grant/…             the link's target is the record
    directory    chain/000000000042/record                               renamed into place, ready and synced

``symlink()`` is exclusive and carries its content in one request, on NFS too (measured). An O_EXCL file will not do: a
freeze between create and write leaves it empty for ever. Hard links do not exist on S3 Files, and RENAME_NOREPLACE is
EINVAL on NFS. Where symbolic links are refused, renaming a prepared, non-empty directory onto the name is as exact:
ENOTEMPTY or EEXIST when it is taken (measured).
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Protocol

from coordinator.folders import remove_quietly, write_new
from coordinator.names import new_id

if TYPE_CHECKING:
    from coordinator.files import Files

RECORD_FILE: Final = "record"


class Primitive(Protocol):
    """How one record is put, read and removed."""

    name: str

    def put(self, path: str, text: str) -> None:
        """Puts ``text`` under ``path``; FileExistsError when it is taken. Nothing is ever half there."""
        ...

    def get(self, path: str) -> str:
        """What was put. ENOENT or ESTALE when it is not, or no longer, there."""
        ...

    def remove(self, path: str) -> None:
        """Removes it; absent is fine."""
        ...


class SymlinkPrimitive:
    """The record is the target of a symbolic link."""

    name = "symlink"

    def __init__(self, files: Files) -> None:
        self._files = files

    def put(self, path: str, text: str) -> None:
        """See Primitive."""
        self._files.symlink(text, path)

    def get(self, path: str) -> str:
        """See Primitive."""
        return self._files.readlink(path)

    def remove(self, path: str) -> None:
        """See Primitive."""
        try:
            self._files.unlink(path)
        except FileNotFoundError:
            return


class DirectoryPrimitive:
    """The record is a file in a directory that was renamed into place.

    Args:
        files: The seam.
        scratch: A folder on the same file system where directories are prepared and taken apart.
    """

    name = "directory"

    def __init__(self, files: Files, scratch: str) -> None:
        self._files = files
        self._scratch = scratch

    def put(self, path: str, text: str) -> None:
        """See Primitive."""
        files, prepared = self._files, f"{self._scratch}/{os.path.basename(path)}-{new_id()}"
        files.mkdir(prepared)
        try:
            write_new(files, f"{prepared}/{RECORD_FILE}", text.encode())
            files.sync_dir(prepared)
            files.rename(prepared, path)
        except OSError as error:
            remove_quietly(files, f"{prepared}/{RECORD_FILE}")
            with contextlib.suppress(OSError):  # what is left in scratch, a collection finds
                files.rmdir(prepared)
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise FileExistsError(errno.EEXIST, "the position is taken", path) from error
            raise

    def get(self, path: str) -> str:
        """See Primitive."""
        # The file was written before its directory got this name, and names are never reused: opening it by name
        # after listing the chain reads this record or none (P6).
        return self._files.read(f"{path}/{RECORD_FILE}").decode("utf-8", errors="surrogateescape")

    def remove(self, path: str) -> None:
        """See Primitive."""
        # Moved away first: emptied in place, it would for a moment be an empty directory, onto which a late writer's
        # rename would succeed.
        trash = f"{self._scratch}/trash-{new_id()}"
        try:
            self._files.rename(path, trash)
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(f"{trash}/{RECORD_FILE}")
        self._files.rmdir(trash)


def primitive_named(name: str, files: Files, scratch: str) -> Primitive | None:
    """The primitive that the workspace was made with; None when this version does not know it."""
    if name == SymlinkPrimitive.name:
        return SymlinkPrimitive(files)
    if name == DirectoryPrimitive.name:
        return DirectoryPrimitive(files, scratch)
    return None
