"""Folders, files and symbolic links in memory, and how a path leads through them: what CrashFiles is built of.

Each folder has its names twice, as they are and as a power failure would find them; each file knows how much of it
would be found. Refusals are those of Linux, in the order in which it looks.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.limits import COMPONENT_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

_LINKS_MAX: Final = 40  # followed in one path, as Linux has it


@dataclass(eq=False, slots=True)
class Node:
    """What stands under a name."""

    inode: int
    mode: int
    mtime_ns: int


@dataclass(eq=False, slots=True)
class Link(Node):
    """A symbolic link: its target is part of its name."""

    target: str


@dataclass(eq=False, slots=True)
class File(Node):
    """A file, which only ever grows. ``made_as`` is the path it was created under."""

    made_as: str
    data: bytearray = field(default_factory=bytearray)
    durable_bytes: int = 0


@dataclass(eq=False, slots=True)
class Folder(Node):
    """A directory: its names, and those that are durable."""

    names: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


class Found(NamedTuple):
    """Where a path leads: the folder, the last name in it (empty for a folder itself), and what stands there.

    ``above`` are the folders on the way, the last one included.
    """

    folder: Folder
    name: str
    node: Node | None
    above: tuple[Folder, ...]


def refusal(code: int, path: str) -> OSError:
    """The error that the system would give."""
    return OSError(code, os.strerror(code), path)


def find(root: Folder, path: str, *, follow: bool = False) -> Found:
    """Where a path leads; its last name need not be there.

    Args:
        root: Where ``/`` is.
        path: Absolute.
        follow: Whether the last name, too, is followed if it is a symbolic link.
    """
    if "\0" in path:
        raise ValueError("embedded null byte")
    above, left, links = [root], _parts(path), 0
    while left:
        name, folder = left.pop(), above[-1]
        if name == "..":
            above = above[:-1] or above
            continue
        if len(os.fsencode(name)) > COMPONENT_MAX_BYTES:
            raise refusal(errno.ENAMETOOLONG, path)
        node = folder.names.get(name)
        if isinstance(node, Link) and (left or follow):
            links += 1
            if links > _LINKS_MAX:
                raise refusal(errno.ELOOP, path)
            above = [root] if node.target.startswith("/") else above
            left += _parts(node.target)
        elif not left:
            return Found(folder, name, node, tuple(above))
        elif isinstance(node, Folder):
            above = [*above, node]
        else:
            raise refusal(errno.ENOTDIR if node else errno.ENOENT, path)
    return Found(above[-1], "", above[-1], tuple(above))


def refuse_rename(source: Found, target: Found, old: str, new: str) -> None:
    """Raises what Linux would say to a rename that cannot be done."""
    moved, standing = source.node, target.node
    if moved is None:
        raise refusal(errno.ENOENT, old)
    if not source.name or not target.name:
        raise refusal(errno.EBUSY, old)
    if moved in target.above:
        raise refusal(errno.EINVAL, new)
    if standing in source.above:
        raise refusal(errno.ENOTEMPTY, new)
    if standing is None or standing is moved:
        return
    if isinstance(moved, Folder) != isinstance(standing, Folder):
        raise refusal(errno.ENOTDIR if isinstance(moved, Folder) else errno.EISDIR, new)
    if isinstance(standing, Folder) and standing.names:
        raise refusal(errno.ENOTEMPTY, new)


def real_path(root: Folder, path: str) -> str:
    """As ``os.path.realpath``: what is not there is kept; a path that goes in a circle stays as it is from there."""
    return os.path.normpath(_real(root, "/", path, {})[0])


def _real(root: Folder, base: str, rest: str, seen: dict[str, str | None]) -> tuple[str, bool]:
    base = "/" if rest.startswith("/") else base
    left = _parts(rest)
    while left:
        name = left.pop()
        if name == "..":
            base = os.path.dirname(base)
            continue
        path = os.path.join(base, name)
        try:
            node = find(root, path).node
        except OSError:
            node = None
        if not isinstance(node, Link):
            base = path
            continue
        if path not in seen:
            seen[path] = None
            base, whole = _real(root, base, node.target, seen)
            seen[path] = base if whole else None
        elif known := seen[path]:
            base, whole = known, True
        else:
            base, whole = path, False
        if not whole:
            return "/".join([base, *reversed(left)]), False
    return base, True


def _parts(path: str) -> list[str]:
    """The names of a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def apply(names: dict[str, Node], changes: Mapping[str, Node | None]) -> None:
    """Sets names; None removes one."""
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def recovered(
    node: Node,
    names: Mapping[Folder, Mapping[str, Node]],
    sizes: Mapping[File, int],
    above: tuple[Node, ...] = (),
) -> tuple[Node, Hashable]:
    """A copy of a node, all of it durable, and a key that tells it from others.

    Args:
        node: What is copied, with all that is below it.
        names: The names in folders that are to be other than the durable ones.
        sizes: The lengths of files that are to be shorter than they are.
        above: The folders that it lies in.
    """
    if isinstance(node, Folder):
        folder = Folder(node.inode, node.mode, node.mtime_ns)
        keys = []
        for name, inner in names.get(node, node.durable).items():
            if inner is not node and inner not in above:  # folders moved into each other, by halves
                folder.names[name], key = recovered(inner, names, sizes, (*above, node))
                keys.append((name, key))
        folder.durable = dict(folder.names)
        return folder, frozenset(keys)
    if isinstance(node, File):
        size = sizes.get(node, len(node.data))
        return File(node.inode, node.mode, node.mtime_ns, node.made_as, node.data[:size], size), (node.inode, size)
    assert isinstance(node, Link)  # noqa: S101 - there is no fourth kind
    return Link(node.inode, node.mode, node.mtime_ns, node.target), node.target
