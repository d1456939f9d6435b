"""One host: what its NFS client remembers, what of its writes has not reached the server, and its processes' calls.

What a host remembers, as measured on Linux NFSv4.2 clients with default mount options:

* A name that was looked up and absent stays absent, with all that is below it, and a file that was replaced is still
  read in its old version by name, until the folder is opened (``listdir``, ``refresh``, ``sync_dir``), or for 30 s.
* ``stat`` of a file that others append to may tell an old size for seconds. Reading opens the file anew, and asks.
* What is written is here until ``sync`` or ``close``, or is written back some time before, page by page, in any order.
* A flock is the server's: it is lost, without a word, when this host was silent for longer than the server's lease.

Its own changes are known to it at once. Exclusive creation is decided by the server, whatever is remembered.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from coordinator.files import Stat
from coordinator.testing.simulation.server import FILE, Extent, Node, pages_of, parent_of, refusal, ways_down

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from coordinator.testing.simulation.clocks import HostClock
    from coordinator.testing.simulation.schedule import Process, SimThread
    from coordinator.testing.simulation.world import World


class Host:
    """A machine with its client.

    Attributes:
        clock: Its clocks.
        is_cut: Its network is gone: calls wait for it, and what it wrote stays here.
        is_far: The way to the table is gone.
        is_down: It crashed.
        has_mount: The directory is here.
        silent_since_ns: When the server heard of it last, if that is not now; -1 if it is.
        late: What was asked of the server by processes that are dead, and has not been carried out.
    """

    def __init__(self, world: World, name: str, clock: HostClock, rng: random.Random, *, name_keep_ns: int) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.rng = rng
        self.is_cut = False
        self.is_far = False
        self.is_down = False
        self.has_mount = True
        self.silent_since_ns = -1
        self.processes: list[Process] = []
        self.late: list[Callable[[], None]] = []
        self.waiting: list[SimThread] = []
        self.server_skew_ns = rng.randrange(-40_000_000, 40_000_000) if not world.server.is_local else 0
        self._keep_ns = name_keep_ns
        self._names: dict[str, tuple[Node, int, int]] = {}  # path: what is there, opening of its folder, until
        self._absent: dict[str, tuple[int, int]] = {}  # likewise, of those that are not there
        self._opened: dict[str, int] = {}  # folder: how often it was opened
        self._facts: dict[int, tuple[Stat, int]] = {}  # inode: what was told of it, and until when
        self.dirty: dict[Node, list[Extent]] = {}
        self._wrong = ""

    def server_ns(self) -> int:
        """The time of the server behind the mount that this host talks to."""
        return self.world.server_ns() + self.server_skew_ns

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_folder(self, path: str) -> Node:
        """Opens a folder: what was remembered of the names in it is gone."""
        if self.world.server.is_local:
            return self.world.server.folder(path)
        if self._is_absent(path):
            raise refusal(errno.ENOENT, path)
        try:
            folder = self.world.server.folder(path)
        except FileNotFoundError:
            self._note_absent(path)
            raise
        self._opened[path] = self._opened.get(path, 0) + 1
        return folder

    def look_up(self, path: str) -> Node:
        """What is there, as far as this host knows."""
        server = self.world.server
        if server.is_local:
            return server.here(path)
        known = self._names.get(path)
        now_ns = self.world.scheduler.now_ns
        is_known = known is not None and known[2] > now_ns and known[1] == self._opened.get(parent_of(path), 0)
        if known is not None and is_known and (known[0].links or not self._asks_anyway(path)):
            return known[0]
        if self._absent and self._is_absent(path):
            raise refusal(errno.ENOENT, path)
        try:
            node = server.here(path)
        except FileNotFoundError:
            self._note_absent(path)
            raise
        self._names[path] = (node, self._opened.get(parent_of(path), 0), now_ns + self._keep_ns)
        return node

    def _asks_anyway(self, path: str) -> bool:
        """A name that was replaced or removed: read stale, mostly; sometimes the old file is gone from the server."""
        chance = self.rng.random()
        if chance < 0.1:  # noqa: PLR2004 - rarely
            raise refusal(errno.ESTALE, path)
        return chance < 0.2  # noqa: PLR2004 - likewise

    def _is_absent(self, path: str) -> bool:
        """Whether it is remembered to be absent, or a folder above it."""
        absent = self._absent
        if absent:
            for above in ways_down(path):
                known = absent.get(above)
                if known is not None:
                    if known[1] > self.world.scheduler.now_ns and known[0] == self._opened.get(parent_of(above), 0):
                        return True
                    del absent[above]
        return False

    def _note_absent(self, path: str) -> None:
        """Remembers the first part of a path that the server has not."""
        nodes = self.world.server.nodes
        missing = ""
        while path not in nodes:
            missing, path = path, parent_of(path)
        if missing:
            self._absent[missing] = (self._opened.get(path, 0), self.world.scheduler.now_ns + self._keep_ns)

    def ask_parent(self, path: str) -> None:
        """Before a change that the server decides: the folder has to be known."""
        if self._absent and self._is_absent(parent_of(path)):
            raise refusal(errno.ENOENT, path)

    def changed(self, *paths: str) -> None:
        """This host's own change of names: known at once."""
        if self.world.server.is_local:
            return
        nodes = self.world.server.nodes
        for path in paths:
            self._absent.pop(path, None)
            node = nodes.get(path)
            stamp = self._opened.get(parent_of(path), 0), self.world.scheduler.now_ns + self._keep_ns
            if node is None:
                self._names.pop(path, None)
                self._absent[path] = stamp
            else:
                self._names[path] = (node, *stamp)

    def facts_of(self, node: Node) -> Stat:
        """What is told of a file: of one that others change, perhaps what it was some seconds ago."""
        now_ns = self.world.scheduler.now_ns
        known = self._facts.get(node.inode)
        if known is not None and known[1] > now_ns and not self.world.server.is_local:
            return known[0]
        size_bytes = len(self.content(node)) if node.kind == FILE else len(node.target)
        facts = Stat(node.kind, size_bytes, node.mtime_ns, node.inode, node.mode)
        self._facts[node.inode] = (facts, now_ns + self.rng.randrange(3_000_000_000))
        return facts

    def forget_facts(self, node: Node) -> None:
        """It was opened, or changed here."""
        self._facts.pop(node.inode, None)

    # ── content ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def content(self, node: Node) -> bytes | bytearray:
        """What a file holds, with what was written here and has not reached the server."""
        mine = self.dirty.get(node)
        if not mine:
            return node.data
        data = bytearray(node.data)
        for extent in mine:
            if extent.offset > len(data):
                data.extend(b"\0" * (extent.offset - len(data)))
            data[extent.offset : extent.offset + len(extent.data)] = extent.data
        return data

    def write(self, node: Node, extent: Extent) -> None:
        """Writes to a file, in this host's memory."""
        server = self.world.server
        self.forget_facts(node)
        if server.is_local:
            node.put(extent.offset, extent.data)
            node.unsynced.append(extent)
            node.mtime_ns = self.server_ns()
            return
        self.dirty.setdefault(node, []).append(extent)
        if self.rng.random() < 0.15:  # noqa: PLR2004 - the system writes back when it likes
            scheduler = self.world.scheduler
            scheduler.at(scheduler.now_ns + self.rng.randrange(300_000_000), lambda: self._write_back(node))

    def _write_back(self, node: Node) -> None:
        """One page of what was written, any of them."""
        mine = self.dirty.get(node)
        if mine and not self.is_cut and not self.is_down and self.silent_since_ns < 0:
            pages = pages_of(mine, self.world.page_bytes)
            page = pages.pop(self.rng.randrange(len(pages)))
            node.put(page.offset, page.data)
            node.mtime_ns = self.server_ns()
            self.dirty[node] = pages

    def publish(self, node: Node) -> None:
        """What was written to a file here reaches the server, and is durable."""
        self.forget_facts(node)
        if self.world.server.is_local:
            node.unsynced.clear()
            return
        mine = self.dirty.pop(node, None)
        if mine:
            for extent in mine:
                node.put(extent.offset, extent.data)
            node.mtime_ns = self.server_ns()

    def lose_some(self, node: Node) -> None:
        """Of what was written here and has not reached the server, any subset had been on its way; the rest is gone."""
        extents = self.dirty.pop(node, [])
        keep = self.rng.choice((0.0, 0.5, 0.9))
        for page in pages_of(extents, self.world.page_bytes):
            if self.rng.random() < keep:
                node.put(page.offset, page.data)

    # ── what befalls it ──────────────────────────────────────────────────────────────────────────────────────────────

    def crash(self) -> None:
        """The machine dies, with all that it had in memory."""
        self.is_down = True
        for node in list(self.dirty):
            self.lose_some(node)
        self.late.clear()
        self.fall_silent()
        for process in self.processes:
            self.world.scheduler.kill(process)

    def flush(self) -> None:
        """Writes back all that is left of those who ended."""
        if self.is_down:
            return
        if self.is_cut:
            self.late.append(self.flush)
            return
        for node in list(self.dirty):
            self.publish(node)

    def may_go_wrong(self, how: str) -> bool:
        """Whether a clock of this host may be made wrong: in one way only, or all of them might err together (P10)."""
        is_first = not self._wrong
        self._wrong = self._wrong or how
        return self._wrong == how and (is_first or how == "stopped")

    def cut(self) -> None:
        """The network is gone."""
        if not self.is_cut:
            self.is_cut = True
            self.fall_silent()

    def heal(self) -> None:
        """It is back: what waited goes on, and what the dead had asked for is carried out."""
        self.is_cut = False
        self.speak_again()
        late, self.late = self.late, []
        for effect in late:
            effect()
        waiting, self.waiting = self.waiting, []
        for thread in waiting:
            self.world.scheduler.wake(thread)

    def fall_silent(self) -> None:
        """The server hears no more of it."""
        if self.silent_since_ns < 0:
            self.silent_since_ns = self.world.scheduler.now_ns

    def speak_again(self) -> None:
        """The server hears of it: its locks are its own again, unless somebody took them."""
        if not self.is_cut:
            self.silent_since_ns = -1
