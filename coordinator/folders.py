"""Small combinations of the calls of ``Files``, the same for every implementation of it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.files import Files


def make_dirs(files: Files, top: str, path: str) -> None:
    """Makes the directories between ``top``, which exists, and ``path``, and makes all their names durable.

    Names found there already are synced too: whoever made them may have died before it did so itself.
    """
    if path == top:
        return
    parent = os.path.dirname(path)
    make_dirs(files, top, parent)
    try:
        files.mkdir(path)
    except FileExistsError:
        # On NFS the name may still be cached as absent here, although the server has it: mkdir says EEXIST, and opening
        # it ENOENT, until its parent was opened (P6; seen on real clients).
        files.refresh(parent)
        files.refresh(path)  # NotADirectoryError when a file is in the way
    files.sync_dir(parent)


def refresh_down(files: Files, top: str, path: str) -> None:
    """Opens every directory from ``top`` to ``path``, so that a name cached as absent is looked up anew (P6).

    Raises:
        FileNotFoundError: One of them does not exist on the server either.
    """
    if path != top:
        refresh_down(files, top, os.path.dirname(path))
    files.refresh(path)


def list_surely(files: Files, top: str, path: str) -> list[str]:
    """Names in a directory; none when it does not exist on the server either, whatever this host's cache says (P6)."""
    try:
        try:
            return files.listdir(path)
        except FileNotFoundError:
            refresh_down(files, top, path)
            return files.listdir(path)
    except FileNotFoundError:
        return []


def write_new(files: Files, path: str, data: bytes, mode: int | None = None) -> None:
    """Creates a file with this content and syncs it; on an error nothing is left under the name.

    The name itself is durable after ``sync_dir`` of its folder, which is the caller's, who may have more names to sync.
    """
    file = files.create(path, mode)
    try:
        with file:
            file.write(data)
            file.sync()
    except BaseException:
        remove_quietly(files, path)
        raise


def remove_quietly(files: Files, path: str) -> None:
    """Removes a file of our own that nobody else reads; whatever hinders it is a matter for the next collection."""
    try:
        files.unlink(path)
    except OSError:
        return


def remove_tree(files: Files, path: str) -> None:
    """Removes a folder of our own and all that is in it, as well as it can."""
    with contextlib.suppress(OSError):
        for name in files.listdir(path):
            inner = f"{path}/{name}"
            if files.stat(inner).kind == "directory":
                remove_tree(files, inner)
            else:
                remove_quietly(files, inner)
        files.rmdir(path)


def sweep(files: Files, folder: str, before_ms: int) -> int:
    """Removes what in a folder was last changed before a time, Unix milliseconds; returns how much that was."""
    removed = 0
    try:
        names = files.listdir(folder)
    except FileNotFoundError:
        return 0
    for name in names:
        path = f"{folder}/{name}"
        with contextlib.suppress(FileNotFoundError):
            found = files.stat(path)
            if found.mtime_ns // 1_000_000 < before_ms:
                if found.kind == "directory":
                    remove_tree(files, path)
                else:
                    remove_quietly(files, path)
                removed += 1
    return removed
