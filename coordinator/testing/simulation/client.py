"""The calls of one process: ``coordinator.files.Files``, each a point where others may act and faults may strike.

A call goes: others act until this one's turn; a fault that is due strikes; the call takes effect at the server, or is
answered from the host's memory; a fault that is due strikes, so that the effect is there and its maker does not know.

What a lost reply may mean, for a call that changes something: it was done, and done again by the retransmission (an
exclusive creation then says that the name is taken, by oneself); it was done, and the caller is told of an error; it
was not done; or it is done later, when nobody expects it any more.
"""

from __future__ import annotations

import errno
from collections.abc import Callable  # noqa: TC003 - a NamedTuple's field
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

from coordinator.testing.simulation.schedule import Killed, Process
from coordinator.testing.simulation.server import FILE, FOLDER, LINK, Extent, Node, refusal

if TYPE_CHECKING:
    from types import TracebackType

    from coordinator.files import FileLock, NewFile, Stat
    from coordinator.testing.simulation.host import Host
    from coordinator.testing.simulation.world import World

T = TypeVar("T")

_TARGET_MAX_BYTES: Final = 4095
# Which errors a call may be told of.
_LOOKS: Final = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
_CHANGES: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ETIMEDOUT})
_LOCKS: Final = frozenset({errno.EIO, errno.ENOLCK, errno.ETIMEDOUT})

DONE_TWICE: Final = "done twice"
DONE: Final = "done"
NOT_DONE: Final = "not done"
DONE_LATE: Final = "done late"
LOST: Final = (DONE_TWICE, DONE, NOT_DONE, DONE_LATE)


class Strike(NamedTuple):
    """Something that is to befall a process, at a call of a kind (empty: of any), before its effect or after it."""

    op: str
    when: str
    happen: Callable[[], None]


class SimProcess(Process):
    """A process as the world has it: with the faults that are to strike it.

    Attributes:
        host: Where it runs.
        strikes: At which of its calls something befalls it, descending, and what.
        armed: What befalls it at the next call of a kind: which, before or after its effect, and what.
        error: An errno that calls are told of, as long as ``errors_left`` says.
        lost: What becomes of the next call that changes something, when its reply is lost.
        table_lost: Likewise, of the next write to the table.
        table_error: A code that requests to the table are refused with, as long as ``table_errors_left`` says.
        table_delay_ms: For how long the next answer of the table is on its way.
    """

    def __init__(self, name: str, host: Host) -> None:
        super().__init__(name)
        self.host = host
        self.strikes: list[tuple[int, Strike]] = []
        self.armed: list[Strike] = []
        self.error = 0
        self.errors_left = 0
        self.lost = ""
        self.table_lost = ""
        self.table_error = ""
        self.table_errors_left = 0
        self.table_delay_ms = 0

    def strike(self, op: str, when: str) -> None:
        """One more call, or one more return from one; has what is due strike."""
        self.calls += 1
        while self.strikes and self.strikes[-1][0] <= self.calls:
            self.armed.append(self.strikes.pop()[1])
        if self.armed:
            for strike in [*self.armed]:
                if strike.op in {"", op} and strike.when in {"", when} and not self.is_dead:
                    self.armed.remove(strike)
                    strike.happen()
            if self.is_frozen or self.is_dead:
                self.host.world.scheduler.give_way(0)


class SimFiles:
    """Implements Files for one process.

    Args:
        world: Where it is.
        process: Whose calls they are.
    """

    def __init__(self, world: World, process: SimProcess) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._server = world.server
        self._process = process
        self._host = process.host

    # ── around every call ────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, op: str, path: str, codes: frozenset[int]) -> None:
        """Before the call: others act, and what is due strikes."""
        process, scheduler = self._process, self._scheduler
        if scheduler.is_over or scheduler.running is not scheduler:
            if scheduler.running is scheduler:
                raise Killed
            raise refusal(errno.EIO, path)  # the run is over: whatever is left of it is told so, and changes nothing
        self._strike(op, "before")
        scheduler.give_way(self._world.latency_ns())
        host = self._host
        while host.is_cut:
            host.waiting.append(scheduler.current)
            scheduler.park()
        if self._world.trace is not None:
            self._world.note(process.name, op, path)
        if process.errors_left and process.error in codes:
            process.errors_left -= 1
            self._world.note(process.name, f"{op} fails", errno.errorcode[process.error])
            raise refusal(process.error, path)

    def pause(self, pause_ms: float) -> None:
        """Its agent thinks: a moment like any other for what is due."""
        self._strike("pause", "before")
        self._host.clock.pause(pause_ms)

    def _strike(self, op: str, when: str) -> None:
        self._process.strike(op, when)

    def _change(self, op: str, path: str, effect: Callable[[], T], codes: frozenset[int] = _CHANGES) -> T:
        """A call that changes something."""
        host = self._host
        try:
            self._enter(op, path, codes)
        except Killed:
            if host.is_cut and not host.is_down and not self._scheduler.is_over:
                host.late.append(lambda: _try(effect))  # its host goes on asking for it
            raise
        if self._process.lost:
            return self._lose_reply(op, path, effect)
        result = effect()
        self._strike(op, "after")
        return result

    def _lose_reply(self, op: str, path: str, effect: Callable[[], T]) -> T:
        lost, self._process.lost = self._process.lost, ""
        self._world.note(self._process.name, f"{op}: reply lost", lost)
        if lost == DONE_TWICE:
            effect()
            return effect()
        if lost == DONE:
            effect()
        elif lost == DONE_LATE:
            scheduler = self._scheduler
            scheduler.at(scheduler.now_ns + self._host.rng.randrange(30_000_000_000), lambda: _try(effect))
            self._world.late.add(path)
        raise refusal(self._host.rng.choice((errno.EIO, errno.ETIMEDOUT)), path)

    def _look(self, op: str, path: str) -> Node:
        self._enter(op, path, _LOOKS)
        return self._host.look_up(path)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def listdir(self, path: str) -> list[str]:
        """See Files."""
        self._enter("listdir", path, _LOOKS)
        return list(self._host.open_folder(path).names)

    def refresh(self, path: str) -> None:
        """See Files."""
        self._enter("refresh", path, _LOOKS)
        self._host.open_folder(path)

    def readlink(self, path: str) -> str:
        """See Files."""
        node = self._look("readlink", path)
        if node.kind != LINK:
            raise refusal(errno.EINVAL, path)
        return node.target

    def read(self, path: str) -> bytes:
        """See Files."""
        return bytes(self._open("read", path))

    def read_at(self, path: str, offset: int, max_bytes: int) -> bytes:
        """See Files."""
        return bytes(self._open("read_at", path)[offset : offset + max_bytes])

    def _open(self, op: str, path: str) -> bytes | bytearray:
        node = self._look(op, path)
        if node.kind == FOLDER:
            raise refusal(errno.EISDIR, path)
        if node.kind == LINK:
            raise refusal(errno.ELOOP, path)
        self._host.forget_facts(node)
        return self._host.content(node)

    def stat(self, path: str) -> Stat:
        """See Files."""
        return self._host.facts_of(self._look("stat", path))

    def realpath(self, path: str) -> str:
        """See Files. There are no links to follow."""
        return path

    def is_local(self, path: str) -> bool:  # noqa: ARG002 - it is all of one kind
        """See Files."""
        return self._server.is_local

    def mount_of(self, path: str) -> None:
        """See Files."""

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def mkdir(self, path: str) -> None:
        """See Files."""
        self._change("mkdir", path, lambda: self._named(path, lambda now_ns: self._server.mkdir(path, now_ns)))

    def _named(self, path: str, effect: Callable[[int], T]) -> T:
        """A change of names that the server decides; of them this host knows at once."""
        host = self._host
        host.ask_parent(path)
        result = effect(host.server_ns())
        host.changed(path)
        return result

    def create(self, path: str, mode: int | None = None) -> NewFile:
        """See Files."""
        bits = 0o644 if mode is None else mode

        def effect() -> Node:
            return self._named(path, lambda now_ns: self._server.make(FILE, path, now_ns, mode=bits))

        return SimNewFile(self, path, self._change("create", path, effect))

    def symlink(self, target: str, path: str) -> None:
        """See Files."""
        if len(target.encode()) > _TARGET_MAX_BYTES:
            raise refusal(errno.ENAMETOOLONG, path)

        def effect() -> None:
            self._named(path, lambda now_ns: self._server.make(LINK, path, now_ns, target=target, mode=0o777))

        self._change("symlink", path, effect)

    def rename(self, old: str, new: str) -> None:
        """See Files."""

        def effect() -> None:
            self._host.ask_parent(old)
            replaced = self._server.nodes.get(new)
            if replaced is not None:
                replaced.removed_by = self._host
            self._named(new, lambda now_ns: self._server.rename(old, new, now_ns))
            self._host.changed(old)

        self._change("rename", new, effect)

    def exchange(self, one: str, other: str) -> None:
        """See Files. NFS has no such call (measured)."""
        if not self._server.is_local:
            raise refusal(errno.EINVAL, one)
        self._change("exchange", other, lambda: self._server.exchange(one, other, self._host.server_ns()))

    def unlink(self, path: str) -> None:
        """See Files."""
        self._change("unlink", path, lambda: self._removed(path, self._server.unlink))

    def rmdir(self, path: str) -> None:
        """See Files."""
        self._change("rmdir", path, lambda: self._removed(path, self._server.rmdir))

    def _removed(self, path: str, remove: Callable[[str, int], None]) -> None:
        host = self._host
        if not self._server.is_local:
            host.ask_parent(path)
        node = self._server.nodes.get(path)
        if node is not None:
            node.removed_by = host
        remove(path, host.server_ns())
        host.changed(path)

    def sync_dir(self, path: str) -> None:
        """See Files."""
        self._enter("sync_dir", path, _CHANGES)
        folder = self._host.open_folder(path)
        folder.changed.clear()
        folder.moved.clear()
        self._strike("sync_dir", "after")

    # ── locks and times ──────────────────────────────────────────────────────────────────────────────────────────────

    def try_lock(self, path: str) -> FileLock | None:
        """See Files."""

        def effect() -> FileLock | None:
            if path not in self._server.nodes:
                self._named(path, lambda now_ns: self._server.make(FILE, path, now_ns))
            self._host.ask_parent(path)
            return self._world.locks.take(path, self._process, self)

        return self._change("try_lock", path, effect, _LOCKS)

    def stamp(self, path: str, number: int) -> None:
        """See Files."""
        self._change("stamp", path, lambda: self._set_time(path, number))

    def touch(self, path: str) -> int:
        """See Files."""
        return self._change("touch", path, lambda: self._set_time(path, -1))

    def _set_time(self, path: str, number: int) -> int:
        if path not in self._server.nodes:
            self._named(path, lambda now_ns: self._server.make(FILE, path, now_ns))
        self._host.ask_parent(path)
        node = self._server.here(path)
        node.mtime_ns = self._host.server_ns() if number < 0 else number
        self._host.forget_facts(node)
        return node.mtime_ns

    # ── for files and locks ──────────────────────────────────────────────────────────────────────────────────────────

    def write(self, node: Node, path: str, offset: int, data: bytes) -> None:
        """Of a new file. What fails for want of room may have written a part."""
        try:
            self._enter("write", path, _CHANGES)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                part = data[: self._host.rng.randrange(len(data) + 1)]
                if part:
                    self._host.write(node, Extent(offset, part))
            raise
        if data:
            self._host.write(node, Extent(offset, data))
        self._strike("write", "after")

    def sync(self, node: Node, path: str) -> None:
        """Of a new file. After one that failed nobody knows what the file holds."""
        try:
            self._enter("sync", path, _CHANGES)
        except OSError:
            self._host.lose_some(node)
            self._world.has_torn = True
            raise
        if not node.links and node.removed_by is not self._host and self._world.forgets_removed:
            raise refusal(errno.ESTALE, path)  # NFS: a file that another host has removed is gone, open or not
        self._host.publish(node)
        self._strike("sync", "after")

    def close(self, node: Node, path: str) -> None:
        """Of a new file: on NFS what was written is published, and an error may show here first."""
        if self._server.is_local or not self._host.dirty.get(node):
            return
        self.sync(node, path)

    def unlock(self) -> None:
        """Of a lock."""
        self._enter("unlock", "", frozenset())


class SimNewFile:
    """Implements NewFile."""

    def __init__(self, files: SimFiles, path: str, node: Node) -> None:
        self._files, self._path, self._node = files, path, node
        self._size_bytes = 0
        self._is_open = True

    def write(self, data: bytes) -> None:
        """See NewFile."""
        self._files.write(self._node, self._path, self._size_bytes, bytes(data))
        self._size_bytes += len(data)

    def sync(self) -> None:
        """See NewFile."""
        self._files.sync(self._node, self._path)

    def close(self) -> None:
        """See NewFile."""
        if self._is_open:
            self._is_open = False
            self._files.close(self._node, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:
                raise


def _try(effect: Callable[[], object]) -> None:
    try:
        effect()
    except OSError:
        return
