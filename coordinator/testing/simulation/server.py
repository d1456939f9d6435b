"""The file system as the server has it: folders, files and symbolic links, and how much of them is durable.

One tree for two kinds of worlds:

* *NFS*: names are durable when the call returns; what is written to a file is with the host that writes it until it is
  synced, closed or written back, and only then in the file here.
* *a local disk*: everybody sees everything at once; a name is durable after ``sync_dir`` of its folder, and content
  after ``sync`` of its file. A power failure keeps any subset of the rest, at the size of a page: what is kept behind
  what is lost has NUL bytes before it.

Paths are looked up in one table, for speed: symbolic links are never followed, since nothing in a workspace needs that.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

FILE: Final = "file"
FOLDER: Final = "directory"
LINK: Final = "symlink"
ROOT: Final = "/w"  # the workspace


class Extent:
    """Bytes written to a file that are not durable yet, and where."""

    __slots__ = ("data", "offset")

    def __init__(self, offset: int, data: bytes) -> None:
        self.offset, self.data = offset, data


class Node:
    """What stands under a name.

    Attributes:
        data: Of a file: its bytes, as the server has them.
        unsynced: Of a file: what of it is not durable.
        names: Of a folder: what is in it.
        changed: Of a folder on a local disk: names whose durable state is another; None: absent.
        moved: Of a folder on a local disk: renames within it, which are found done or not, and never by halves.
        target: Of a symbolic link.
        links: 0 once it is removed or replaced.
        removed_by: Which host did that, if any.
    """

    __slots__ = (
        "changed",
        "data",
        "inode",
        "kind",
        "links",
        "mode",
        "moved",
        "mtime_ns",
        "names",
        "path",
        "removed_by",
        "target",
        "unsynced",
    )

    def __init__(self, kind: str, inode: int, path: str, now_ns: int, *, target: str = "", mode: int = 0o644) -> None:
        self.kind, self.inode, self.path, self.mtime_ns, self.target = kind, inode, path, now_ns, target
        self.mode = mode
        self.links = 1
        self.removed_by: object = None
        self.data = bytearray()
        self.unsynced: list[Extent] = []
        self.names: dict[str, Node] = {}
        self.changed: dict[str, Node | None] = {}
        self.moved: list[tuple[str, str]] = []

    def put(self, offset: int, data: bytes) -> None:
        """Writes; a hole reads as NUL bytes."""
        if offset > len(self.data):
            self.data.extend(b"\0" * (offset - len(self.data)))
        self.data[offset : offset + len(data)] = data


def refusal(code: int, path: str) -> OSError:
    """The error that the system would give."""
    return OSError(code, os.strerror(code), path)


@lru_cache(maxsize=8192)
def parent_of(path: str) -> str:
    """The folder that a path is in."""
    return path[: path.rfind("/")] or "/"


@lru_cache(maxsize=8192)
def ways_down(path: str) -> tuple[str, ...]:
    """A path, and the folders above it."""
    found = []
    while len(path) > 1:
        found.append(path)
        path = parent_of(path)
    return tuple(found)


def name_of(path: str) -> str:
    """The last name of a path."""
    return path[path.rfind("/") + 1 :]


class Server:
    """The tree. Every method takes effect at once; what comes between a call and its effect is the client's.

    Args:
        is_local: Whether it is a local disk.
    """

    def __init__(self, *, is_local: bool) -> None:
        self.is_local = is_local
        self.free_bytes = 1 << 40
        self._inodes = 0
        self.root = self._node(FOLDER, "/", 0)
        self.nodes: dict[str, Node] = {"/": self.root}
        self.on_name: Callable[[Node], None] | None = None
        self.mkdir(ROOT, 0)
        self.root.changed.clear()

    def _node(self, kind: str, path: str, now_ns: int, *, target: str = "", mode: int = 0o644) -> Node:
        self._inodes += 1
        return Node(kind, self._inodes, path, now_ns, target=target, mode=mode)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def folder(self, path: str) -> Node:
        """A folder that is there."""
        found = self.nodes.get(path)
        if found is None:
            raise refusal(errno.ENOENT, path)
        if found.kind != FOLDER:
            raise refusal(errno.ENOTDIR, path)
        return found

    def here(self, path: str) -> Node:
        """What is there."""
        found = self.nodes.get(path)
        if found is None:
            above = self.nodes.get(parent_of(path))
            raise refusal(errno.ENOTDIR if above is not None and above.kind != FOLDER else errno.ENOENT, path)
        return found

    # ── changing names ───────────────────────────────────────────────────────────────────────────────────────────────

    def _set(self, folder: Node, name: str, node: Node | None, now_ns: int) -> None:
        """Changes one name in a folder, and remembers what a power failure would find."""
        before = folder.names.get(name)
        if self.is_local and name not in folder.changed:
            folder.changed[name] = before
        path = f"{folder.path}/{name}" if folder.path != "/" else f"/{name}"
        if node is None:
            folder.names.pop(name, None)
            self.nodes.pop(path, None)
        else:
            folder.names[name] = node
            self.nodes[path] = node
            node.path = path
            if self.on_name is not None:
                self.on_name(node)
        folder.mtime_ns = now_ns

    def make(self, kind: str, path: str, now_ns: int, *, target: str = "", mode: int = 0o644) -> Node:
        """Makes something under a name that must be absent."""
        folder = self.folder(parent_of(path))
        if name_of(path) in folder.names:
            raise refusal(errno.EEXIST, path)
        node = self._node(kind, path, now_ns, target=target, mode=mode)
        self._set(folder, name_of(path), node, now_ns)
        return node

    def mkdir(self, path: str, now_ns: int) -> None:
        """Makes a folder."""
        self.make(FOLDER, path, now_ns, mode=0o755)

    def unlink(self, path: str, now_ns: int) -> None:
        """Removes a file or link."""
        node = self.here(path)
        if node.kind == FOLDER:
            raise refusal(errno.EISDIR, path)
        node.links = 0
        self._set(self.folder(parent_of(path)), name_of(path), None, now_ns)

    def rmdir(self, path: str, now_ns: int) -> None:
        """Removes an empty folder."""
        node = self.folder(path)
        if node.names:
            raise refusal(errno.ENOTEMPTY, path)
        node.links = 0
        self._set(self.folder(parent_of(path)), name_of(path), None, now_ns)

    def rename(self, old: str, new: str, now_ns: int) -> None:
        """Renames, replacing a file by a file and an empty folder by a folder."""
        node = self.here(old)
        source, target = self.folder(parent_of(old)), self.folder(parent_of(new))
        standing = target.names.get(name_of(new))
        if standing is node:
            return
        if standing is not None:
            if (node.kind == FOLDER) != (standing.kind == FOLDER):
                raise refusal(errno.ENOTDIR if node.kind == FOLDER else errno.EISDIR, new)
            if standing.names:
                raise refusal(errno.ENOTEMPTY, new)
            standing.links = 0
        self._set(source, name_of(old), None, now_ns)
        self._set(target, name_of(new), node, now_ns)
        if source is target and self.is_local:
            source.moved.append((name_of(old), name_of(new)))
        self._move_below(node, old)

    def exchange(self, one: str, other: str, now_ns: int) -> None:
        """Exchanges two files."""
        first, second = self.here(one), self.here(other)
        if FOLDER in {first.kind, second.kind}:
            raise refusal(errno.EINVAL, one)
        self._set(self.folder(parent_of(one)), name_of(one), second, now_ns)
        self._set(self.folder(parent_of(other)), name_of(other), first, now_ns)

    def _move_below(self, node: Node, old: str) -> None:
        if node.kind == FOLDER and node.names:
            for path in [path for path in self.nodes if path.startswith(f"{old}/")]:
                moved = self.nodes.pop(path)
                moved.path = node.path + path[len(old) :]
                self.nodes[moved.path] = moved

    # ── power failures ───────────────────────────────────────────────────────────────────────────────────────────────

    def lose_power(self, rng: random.Random, page_bytes: int) -> list[str]:
        """Of a local disk: keeps what is durable, and any subset of the rest; tells what was lost."""
        lost: list[str] = []
        keep = rng.choice((0.0, 0.5, 0.9))
        self._lose_names(self.root, rng, keep, lost)
        self.nodes = {"/": self.root}
        seen: set[int] = set()
        for path, node in self._walk(self.root, "", seen):
            node.path = path
            node.links = 1
            self.nodes[path] = node
            if node.unsynced:
                lose_pages(node, rng, keep, page_bytes)
                lost.append(f"pages of {path}")
        return lost

    def _lose_names(self, folder: Node, rng: random.Random, keep: float, lost: list[str]) -> None:
        kept = {name: rng.random() < keep for name in folder.changed}
        for old, new in folder.moved:
            kept[old] = kept[new]
        for name, durable in folder.changed.items():
            if not kept[name]:
                if durable is None:
                    folder.names.pop(name, None)
                else:
                    folder.names[name] = durable
                lost.append(f"the name {folder.path}/{name}")
        folder.changed.clear()
        folder.moved.clear()
        for node in folder.names.values():
            if node.kind == FOLDER:
                self._lose_names(node, rng, keep, lost)

    def _walk(self, folder: Node, above: str, seen: set[int]) -> Iterator[tuple[str, Node]]:
        for name, node in list(folder.names.items()):
            if node.kind == FOLDER and node.inode in seen:
                del folder.names[name]  # a folder under two names: the disk's check takes one away
                continue
            seen.add(node.inode)
            path = f"{above}/{name}"
            yield path, node
            if node.kind == FOLDER:
                yield from self._walk(node, path, seen)

    # ── copies ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def copy(self) -> Server:
        """Another server with the same tree, all of it durable."""
        other = Server(is_local=self.is_local)
        other._inodes = self._inodes
        other.root = other._copied(self.root)
        other.nodes = {node.path: node for node in _all(other.root)}
        return other

    def _copied(self, node: Node) -> Node:
        made = Node(node.kind, node.inode, node.path, node.mtime_ns, target=node.target, mode=node.mode)
        made.data[:] = node.data
        made.names = {name: self._copied(inner) for name, inner in node.names.items()}
        return made


def _all(node: Node) -> Iterable[Node]:
    yield node
    for inner in node.names.values():
        yield from _all(inner)


def pages_of(extents: Iterable[Extent], page_bytes: int) -> list[Extent]:
    """The same bytes, cut where pages end."""
    found = []
    for extent in extents:
        start = 0
        while start < len(extent.data):
            size = page_bytes - (extent.offset + start) % page_bytes
            found.append(Extent(extent.offset + start, extent.data[start : start + size]))
            start += size
    return found


def lose_pages(node: Node, rng: random.Random, keep: float, page_bytes: int) -> None:
    """Takes what was not synced out of a file, and puts a subset of it back; a page may be kept in part."""
    extents, node.unsynced = node.unsynced, []
    durable = min(extent.offset for extent in extents)
    del node.data[durable:]
    for page in pages_of(extents, page_bytes):
        if rng.random() < keep:
            cut = rng.randrange(len(page.data)) if rng.random() < 0.2 else len(page.data)  # noqa: PLR2004 - torn
            node.put(page.offset, page.data[:cut])
