"""What tests share: records built by hand, stores of every kind, and crowds that start together."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from engines import fresh_table_name

from coordinator.clock import SYSTEM_CLOCK
from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource, new_id
from coordinator.record.decide import Author
from coordinator.record.format import make_workspace
from coordinator.record.mount import MountStore
from coordinator.record.places import Places
from coordinator.record.primitive import primitive_named
from coordinator.record.record import Head, Holding, Record
from coordinator.record.store import Appended
from coordinator.record.table import TableStore
from coordinator.record.table_calls import TableCalls
from coordinator.record.table_setup import create_table
from coordinator.testing import ManualClock, MemoryStore
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from engines import Engine

    from coordinator.clock import Clock
    from coordinator.events import Event
    from coordinator.files import Files
    from coordinator.record.store import Store

NOW_MS: Final = 1_790_000_000_000
SHA256: Final = "a" * 64
_BASE_32: Final = "abcdefghijklmnopqrstuvwxyz234567"


def readable(source: Any, seconds: float) -> bool:
    """Whether there is something to read, or the end. (Not select(), which knows only the first 1,024 descriptors.)"""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def an_id(number: int) -> str:
    """A well-formed id, the same for the same number."""
    digits = ""
    for _ in range(20):
        number, digit = divmod(number, 32)
        digits = _BASE_32[digit] + digits
    return digits


def an_author(number: int, agent: str = "asker") -> Author:
    return Author(an_id(number), agent, an_id(900 + number))


def a_lease(**changes: Any) -> Holding:
    lease = Holding(
        fence=5,
        lease_id=an_id(51),
        agent="holder",
        incarnation=an_id(52),
        ttl_ms=10_000,
        granted_ms=NOW_MS - 3000,
        renewed_ms=NOW_MS - 1000,
    )
    return replace(lease, **changes)


def a_head(**changes: Any) -> Head:
    return replace(Head(revision=3, n=4, incarnation=an_id(41), sha256=SHA256, size_bytes=17, fence=2), **changes)


def a_record(**changes: Any) -> Record:
    record = Record(
        n=7,
        kind="renew",
        request=an_id(71),
        agent="holder",
        incarnation=an_id(52),
        at_ms=NOW_MS - 1000,
        lease=a_lease(),
        head=a_head(),
        floor=2,
    )
    return replace(record, **changes)


def a_free_record(n: int, number: int | None = None, **changes: Any) -> Record:
    """A record that any store takes as its nth, told apart by ``number``."""
    request = new_id() if number is None else an_id(number)
    blank = Record(n=n, kind="release", request=request, agent="a", incarnation=an_id(1), at_ms=NOW_MS)
    return replace(blank, **changes)


def fill(store: Store, resource: Resource, count: int) -> list[Record]:
    """Appends records 1 … count to an empty chain."""
    records = [a_free_record(n, n) for n in range(1, count + 1)]
    for record in records:
        store.append(resource, record, durable=False)
    return records


@dataclass
class StoreKind:
    """One store under the contract. ``open`` opens it anew, as another process would see it."""

    name: str
    open: Callable[[], Store]
    root: str = ""

    @property
    def on_mount(self) -> bool:
        return bool(self.root)

    def chain(self, resource: Resource) -> str:
        """The folder of a chain, of stores on a mount."""
        return Places(self.root).of(resource, "chain")


def open_mount(root: str, primitive: str, *, files: Files = SYSTEM_FILES, clock: Clock = SYSTEM_CLOCK) -> MountStore:
    places = Places(root)
    chosen = primitive_named(primitive, files, places.scratch)
    assert chosen is not None
    return MountStore(places, files, clock, chosen, new_id())


def mount_kind(folder: Path, primitive: str) -> StoreKind:
    root = os.path.realpath(folder)
    make_workspace(SYSTEM_FILES, root, primitive)
    return StoreKind(f"mount-{primitive}", lambda: open_mount(root, primitive), root)


def memory_kind() -> StoreKind:
    store = MemoryStore()
    return StoreKind("memory", lambda: store)


def table_named(engine: Engine) -> str:
    """The name of a fresh table."""
    table = fresh_table_name()
    create_table(TableCalls(table, SYSTEM_CLOCK, client=engine.client()), SYSTEM_CLOCK, protect=False)
    return table


def table_kind(engine: Engine) -> StoreKind:
    """A table of its own, with every store on a client of its own."""
    table = table_named(engine)

    def opened() -> TableStore:
        return TableStore(TableCalls(table, SYSTEM_CLOCK, client=engine.client), "workspace", SYSTEM_CLOCK)

    return StoreKind(f"table-{engine.name}", opened)


def together(*bodies: Callable[[], Any], timeout_seconds: float = 60) -> list[Any]:
    """Runs each body in a thread of its own, all started at once; returns what they returned.

    Raises:
        BaseException: The first one that a body raised.
    """
    barrier = threading.Barrier(len(bodies))
    results: list[Any] = [None] * len(bodies)
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            barrier.wait(timeout_seconds)
            results[i] = bodies[i]()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_seconds)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return results


@contextmanager
def in_thread(body: Callable[[], Any], timeout_seconds: float = 60) -> Iterator[list[Any]]:
    """Runs a body beside the ``with`` block and joins it at the end; the list then holds what it returned or raised."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(body())
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcome
    thread.join(timeout_seconds)
    assert not thread.is_alive(), "a thread hangs"


def put_by_hand(kind: StoreKind, resource: Resource, n: int, text: str) -> str:
    """Puts a text as record n behind the store's back; returns its path."""
    path = f"{kind.chain(resource)}/{n:012d}"
    if kind.name == "mount-symlink":
        os.symlink(text, path)
    else:
        os.mkdir(path)
        with open(f"{path}/record", "w", encoding="utf-8") as file:
            file.write(text)
    return path


def remove_by_hand(kind: StoreKind, resource: Resource, n: int) -> None:
    path = f"{kind.chain(resource)}/{n:012d}"
    if kind.name == "mount-symlink":
        os.unlink(path)
    else:
        os.unlink(f"{path}/record")
        os.rmdir(path)


def race_for_positions(root: str, primitive: str, count: int, barrier: Any, told: Any) -> None:
    """One process of several: tries for each position in turn, with all others, and tells which ones it won."""
    store, resource, won = open_mount(root, primitive), Resource.parse("race"), []
    for n in range(1, count + 1):
        record = a_free_record(n)
        barrier.wait(60)
        if isinstance(store.append(resource, record, durable=False), Appended):
            won.append((n, record.request))
    told.put(won)


@dataclass
class Party:
    """Agents of one workspace in one process, with a store in memory and a clock that is set by hand."""

    root: str
    clock: ManualClock
    store: MemoryStore
    events: list[Event] = field(default_factory=list)

    def agent(self, name: str, clock: Clock | None = None) -> Workspace:
        """Opens the workspace anew, as another process would."""
        return Workspace(
            self.root, agent=name, on_event=self.events.append, clock=clock or self.clock, store=self.store
        )

    def kinds(self) -> list[str]:
        """Of the events so far."""
        return [event.kind for event in self.events]


def make_party(folder: Path) -> Party:
    clock = ManualClock()
    Workspace.init(folder, agent="founder")
    return Party(str(folder), clock, MemoryStore(clock))


def wait_until(holds: Callable[[], bool], timeout_seconds: float = 30) -> None:
    """Polls, for what no event tells of; fails when it does not come to be."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        pause.wait(0.002)
