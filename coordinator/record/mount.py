"""The store on a directory: a local disk, or one NFS mount shared by many hosts.

Below ``<workspace>/.coordinator``::

    clock/<incarnation>                           a file whose mtime tells the server's time (now_ms)
    resources/<name>/@/queue.lock                 flock: queues appenders (P5); permanent, never renamed
    resources/<name>/@/synced                     how far the chain is durable (one host only); see synced.py
    resources/<name>/@/chain/000000000042         record 42, put if absent (P1); see primitive.py
    resources/<name>/@/history/<first>-<last>-<id>.log   records that were collected (P18); see collect.py
    scratch/                                      names that nobody else knows yet
"""

from __future__ import annotations

import atexit
import errno
import os
import random
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.clock import elapsed_max_ms
from coordinator.errors import CorruptRecord, NewerFormat, StoreUnavailable
from coordinator.folders import list_surely, make_dirs, remove_quietly
from coordinator.limits import (
    APPEND_TRIES,
    CHAIN_KEEP,
    CHAIN_MAX,
    LIST_TRIES,
    MOUNT_SKEW_MS,
    N_DIGITS,
    QUEUE_POLL_MAX_MS,
    QUEUE_POLL_MIN_MS,
    QUEUE_STUCK_WAIT_MAX_MS,
    QUEUE_WAIT_MAX_MS,
)
from coordinator.record.collect import Chain, collect_chain, is_position, known_records
from coordinator.record.life import Lives
from coordinator.record.places import states_below
from coordinator.record.record import MOUNT, Record, decode, encode
from coordinator.record.store import Appended, Beaten
from coordinator.record.synced import is_told_synced, tell_synced
from coordinator.record.unavailable import NO_ROOM, lock_refused, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from coordinator.clock import Clock
    from coordinator.files import FileLock, Files
    from coordinator.names import Resource
    from coordinator.record.decide import Author
    from coordinator.record.places import Places
    from coordinator.record.primitive import Primitive
    from coordinator.record.record import Holding

_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR})
_NOT_DONE: Final = NO_ROOM | {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EMLINK, errno.EINVAL}


def _corrupt(resource: Resource, path: str, where: str, what: str) -> CorruptRecord:
    message = f"the record of {str(resource)!r} at {path} is damaged at {where}: {what}"
    return CorruptRecord(message, resource=str(resource), path=path, where=where)


class _Listing(NamedTuple):
    newest: int  # 0: the chain is empty
    records: int


_open: weakref.WeakSet[MountStore] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Thousands of short-lived processes an hour must not fill ``clock/`` (P27)."""
    for store in list(_open):
        store.close()


class MountStore:
    """Records as exclusive names in a directory. See Store for the contract.

    Args:
        places: The workspace's paths.
        files: The seam.
        clock: This machine's clocks, for waiting only.
        primitive: What the workspace was made with.
        clock_name: Name of this process's own clock file.
        newer: Raised at every write, when the workspace may be read by this version but not written.
    """

    mode = MOUNT
    skew_ms = MOUNT_SKEW_MS
    live_keep = CHAIN_KEEP
    live_max = CHAIN_MAX

    def __init__(
        self,
        places: Places,
        files: Files,
        clock: Clock,
        primitive: Primitive,
        clock_name: str,
        *,
        newer: NewerFormat | None = None,
    ) -> None:
        self._places = places
        self._files = files
        self._clock = clock
        self._primitive = primitive
        self._newer = newer
        self._clock_path = f"{places.clocks}/{clock_name}"
        self._pid = os.getpid()
        _open.add(self)
        self._is_local = files.is_local(places.root)
        self._lives = Lives(places, files) if self._is_local and newer is None else None
        self._seen: dict[Resource, Record] = {}
        self._guard = threading.Lock()
        self._turns: dict[Resource, threading.Lock] = {}
        self._stuck: set[Resource] = set()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, resource: Resource) -> Record | None:
        """See Store."""
        seen = self._seen.get(resource)
        missing: list[int] = []
        listing = self._list(resource)
        for _ in range(LIST_TRIES):
            if seen and listing.newest == seen.n:
                return seen
            if listing.newest == 0 and not seen:
                return None
            record, looked = None, listing.newest
            if not seen or looked > seen.n:
                record = self._get(resource, looked)
                if record is None:
                    missing.append(looked)
            # Listed again: while this process stood still between list and look, the number may have been collected,
            # and a late writer's record put where it was (P18).
            listing = self._list(resource)
            if record is not None and listing.newest == record.n:
                return self._remember(resource, record)
        if len(missing) == LIST_TRIES and len({*missing}) == 1:
            path = self._places.of(resource, "chain", f"{missing[0]:0{N_DIGITS}}")
            raise _corrupt(resource, path, "its file", "it is listed, and not there")
        raise StoreUnavailable(
            f"the chain of {resource!r} cannot be read: it shows record {listing.newest}, and "
            f"{seen.n if seen else 'a newer one'} was there before",
            resource=resource,
            cause="the chain went back, or changed at every look",
            outcome_unknown=False,
            hint="was the workspace restored from a backup under running agents? Stop them and start them anew",
        )

    def remembered(self, resource: Resource) -> Record | None:  # noqa: ARG002 - a seam like any other
        """See Store: a look is cheap."""
        return None

    def _list(self, resource: Resource) -> _Listing:
        """The newest position, from the directory itself (P6): a name is never probed to see whether it is there."""
        chain = self._places.of(resource, "chain")
        try:
            names = list_surely(self._files, self._places.resources, chain)
        except OSError as error:
            raise unavailable(error, resource, "listing the chain of") from error
        newest = max(names, default="0")
        if not is_position(newest):  # a stranger's file among ours
            names = [name for name in names if is_position(name)]
            newest = max(names, default="0")
        return _Listing(int(newest), len(names))

    def _get(self, resource: Resource, n: int) -> Record | None:
        """Record n; None when it is not there (any more)."""
        path = self._places.of(resource, "chain", f"{n:0{N_DIGITS}}")
        try:
            text = self._primitive.get(path)
        except OSError as error:
            if error.errno in _GONE:
                return None
            if error.errno in {errno.EINVAL, errno.EISDIR}:
                what = "it is not a symbolic link" if error.errno == errno.EINVAL else "it is a folder"
                raise _corrupt(resource, path, "the file itself", what) from error
            raise unavailable(error, resource, "reading the record of") from error
        record = decode(text, resource=resource, path=path)
        if record.n != n:
            raise _corrupt(resource, path, "n", f"it says that it is number {record.n}: it was copied or renamed")
        return record

    def _remember(self, resource: Resource, record: Record) -> Record:
        with self._guard:
            seen = self._seen.get(resource)
            if seen is None or seen.n < record.n:
                self._seen[resource] = record
                return record
            return seen

    # ── appending ────────────────────────────────────────────────────────────────────────────────────────────────────

    def append(self, resource: Resource, record: Record, *, durable: bool) -> Appended | Beaten:
        """See Store."""
        if self._newer:
            raise self._newer
        chain = self._places.of(resource, "chain")
        if record.n == 1:  # whoever put a later one has read this one, so its folders were durable before it was
            self._make_folders(resource)
        mine = self._put(resource, record, f"{chain}/{record.n:0{N_DIGITS}}")
        try:
            if not mine:
                return self._beaten(resource, record)
            if durable:
                self._files.sync_dir(chain)
                if self._is_local:  # on NFS the server has made the name durable when the append returned
                    tell_synced(self._files, self._places.of(resource, "synced"), record.n)
            return self._confirm(resource, record)
        except OSError as error:
            raise unavailable(error, resource, "syncing the chain of", outcome_unknown=True) from error
        except StoreUnavailable as error:
            # The record may stand, whatever went wrong after it: its snapshot, say, must not be taken away.
            error.outcome_unknown = True
            raise

    def _put(self, resource: Resource, record: Record, path: str) -> bool:
        """Whether the record stands at its n; every error is looked into, never guessed about (P7)."""
        text = encode(record)
        failure: OSError | None = None
        unknown = False  # one try whose reply was lost may still arrive, whatever the next ones say
        for _ in range(APPEND_TRIES):
            try:
                self._primitive.put(path, text)
            except FileNotFoundError as error:
                failure = error
                self._make_folders(resource)
            except OSError as error:
                mine = self._look(resource, record)
                if mine is not None:
                    return mine
                failure = error
                if error.errno in _NOT_DONE:
                    break
                unknown = True
            else:
                return True
        assert failure is not None  # noqa: S101 - every try failed
        raise unavailable(failure, resource, "appending to the chain of", outcome_unknown=unknown) from failure

    def _make_folders(self, resource: Resource) -> None:
        try:
            # Whoever ran init may have been killed before it made the name of the whole state folder durable.
            self._files.sync_dir(self._places.root)
            make_dirs(self._files, self._places.resources, self._places.of(resource, "chain"))
            make_dirs(self._files, self._places.state, self._places.scratch)
        except OSError as error:
            raise unavailable(error, resource, "making the state folder of") from error

    def _look(self, resource: Resource, record: Record) -> bool | None:
        """After a failed append, what stands at its n (P7): True mine, False another's, None nothing or unreadable."""
        try:
            self._files.refresh(self._places.of(resource, "chain"))
            found = self._get(resource, record.n)
            if found is None and self._list(resource).newest > record.n:
                # Collected already; or it has landed since the first look, and others went on from it.
                found = self._get(resource, record.n)
                if found is None:
                    return False
            if found is None:  # never there
                return None
        except (OSError, StoreUnavailable):
            return None
        return found.request == record.request

    def _confirm(self, resource: Resource, record: Record) -> Appended | Beaten:
        """Lists again after an append (P18): below the floor, it was put where a record had been deleted."""
        listing = self._list(resource)
        if listing.newest == record.n:
            return Appended(self._remember(resource, record), listing.records)
        current = self.read(resource)
        if current is None or record.n >= current.floor:
            return Appended(record, listing.records)  # somebody has built on it already
        return self._beaten(resource, record)

    def _beaten(self, resource: Resource, record: Record) -> Appended | Beaten:
        """The newest record, unless the archive says that this one had won after all and was collected since."""
        current = self.read(resource)
        if current is None:
            raise StoreUnavailable(
                f"the chain of {resource!r} vanished", resource=resource, cause="no records", outcome_unknown=True
            )
        if record.n < current.floor:
            found = next((old for old in self.history(resource) if old.n == record.n), None)
            if found is None:
                raise StoreUnavailable(
                    f"whether record {record.n} of {resource!r} was accepted can no longer be told: "
                    "it was collected while this process stood still",
                    resource=resource,
                    cause="below the floor, and not in the archive",
                    outcome_unknown=True,
                    hint="read the resource anew and see whether the change is there",
                )
            if found.request == record.request:
                return Appended(record, 0)
        return Beaten(current)

    def append_together(self, appends: Sequence[tuple[Resource, Record]]) -> None:
        """See Store: one at a time here."""

    # ── durable ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def make_durable(self, resource: Resource, n: int) -> None:
        """See Store. On a local disk, whose syncs are dear, each author leaves word of how far it has synced."""
        try:
            path = self._places.of(resource, "synced")
            if not (self._is_local and is_told_synced(self._files, self._clock, path, n)):
                self._files.sync_dir(self._places.of(resource, "chain"))
        except OSError as error:
            raise unavailable(error, resource, "syncing the chain of", outcome_unknown=True) from error

    # ── the rest of the contract ─────────────────────────────────────────────────────────────────────────────────────

    def now_ms(self) -> int:
        """The mtime that the server gives to a file of this process's own."""
        try:
            try:
                return self._files.touch(self._clock_path) // 1_000_000
            except FileNotFoundError:  # a restore may leave empty folders out
                make_dirs(self._files, self._places.state, self._places.clocks)
                return self._files.touch(self._clock_path) // 1_000_000
        except OSError as error:
            raise unavailable(error, self._clock_path, "asking the server's time of") from error

    @contextmanager
    def turn(self, resource: Resource, *, wait_ms: int | None = None) -> Iterator[bool]:
        """See Store. Waits at most QUEUE_WAIT_MAX_MS, then goes on without: the lock saves work, P1 keeps the truth.

        A process frozen while it holds the lock would otherwise stop everyone for as long as it is frozen. Once waited
        for in vain, it is waited for only QUEUE_STUCK_WAIT_MAX_MS, until it could be had again.
        """
        if self._newer:
            raise self._newer
        with self._guard:
            own = self._turns.setdefault(resource, threading.Lock())
        # Threads of this process first.
        has_own = own.acquire(timeout=(QUEUE_WAIT_MAX_MS if wait_ms is None else wait_ms) / 1000)
        lock = None
        try:
            if has_own or wait_ms is None:
                lock = self._queue(resource, wait_ms)
            yield lock is not None
        finally:
            if lock:
                lock.unlock()
            if has_own:
                own.release()

    def _queue(self, resource: Resource, asked_ms: int | None) -> FileLock | None:
        path = self._places.of(resource, "queue.lock")
        pause_ms = QUEUE_POLL_MIN_MS
        wait_ms = QUEUE_STUCK_WAIT_MAX_MS if resource in self._stuck else QUEUE_WAIT_MAX_MS
        if asked_ms is not None:
            wait_ms = asked_ms
        began = self._clock.now()
        while True:
            try:
                lock = self._files.try_lock(path)
            except FileNotFoundError:
                self._make_folders(resource)
                lock = None
            except OSError as error:
                # P31: flock that is refused (ENOLCK, EOPNOTSUPP, quota) is told, and nothing falls back by itself.
                raise lock_refused(error, resource) from error
            if lock:
                self._stuck.discard(resource)
                return lock
            if elapsed_max_ms(began, self._clock.now()) >= wait_ms:
                if asked_ms is None:
                    self._stuck.add(resource)
                return None
            self._clock.pause(pause_ms * random.uniform(0.5, 1.5))
            pause_ms = min(pause_ms * 1.5, QUEUE_POLL_MAX_MS)

    def history(self, resource: Resource) -> list[Record]:
        """See Store."""
        try:
            return known_records(self, self._chain(resource))
        except OSError as error:
            raise unavailable(error, resource, "reading the history of") from error

    def collect(self, resource: Resource, author: Author, *, keep: int) -> int:
        """See Store."""
        if self._newer:
            raise self._newer
        try:
            return collect_chain(self, self._chain(resource), author, keep=keep)
        except OSError as error:
            raise unavailable(error, resource, "collecting the chain of") from error

    def _chain(self, resource: Resource) -> Chain:
        places = self._places
        return Chain(resource, places.resources, places.of(resource), self._files, self._primitive)

    def resources(self) -> Iterable[Resource]:
        """See Store."""
        try:
            found = sorted(states_below(self._files, self._places.resources))
        except OSError as error:
            raise unavailable(error, self._places.resources, "listing the resources of") from error
        return [resource for resource in found if self._list(resource).newest or self._has_logs(resource)]

    def _has_logs(self, resource: Resource) -> bool:
        """Whether something was appended that nobody has folded yet: there may be no record before it is."""
        try:
            return bool(list_surely(self._files, self._places.resources, self._places.of(resource, "log")))
        except OSError as error:
            raise unavailable(error, resource, "listing the logs of") from error

    def show_life(self, incarnation: str) -> None:
        """See Store."""
        if self._lives:
            self._lives.show(incarnation)

    def is_gone(self, lease: Holding) -> bool:
        """See Store."""
        return self._lives is not None and self._lives.is_gone(lease)

    def close(self) -> None:
        """See Store."""
        if self._lives:
            self._lives.end()
        if self._pid == os.getpid():  # a forked child shares the file with its parent
            remove_quietly(self._files, self._clock_path)

    def after_fork(self) -> None:
        """In a forked child: locks that another thread held at the fork would never be released here."""
        self._guard = threading.Lock()
        self._turns = {}
