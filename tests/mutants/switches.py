"""How the rules are switched off: each patches one function of the code, in the way its description says."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import acquire, lease
from coordinator.clock import CautiousTimer, Instant, elapsed_max_ms, elapsed_min_ms
from coordinator.document import snapshot, view
from coordinator.document.document import Document
from coordinator.names import new_id
from coordinator.record import agree, collect, decide, member, mount
from coordinator.record.decide import Acquire, Decision, Readings, Resume, Standing, Transition
from coordinator.record.mount import MountStore
from coordinator.record.primitive import SymlinkPrimitive
from coordinator.record.store import Appended
from coordinator.record.unavailable import unavailable
from coordinator.testing import InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Files
    from coordinator.lease import Dating
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Holding, Record

Patch = pytest.MonkeyPatch


def figure(module: object, name: str, value: object) -> Callable[[Patch], None]:
    """Gives a bound another value."""
    return lambda patch: patch.setattr(module, name, value)


def cell(verb: type, standing: Standing, action: Callable[..., Decision]) -> Callable[[Patch], None]:
    """Puts another action into one cell of the table of decisions."""
    return lambda patch: patch.setitem(decide.TABLE, (verb, standing), action)


# ── P1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def overwriting_put(patch: Patch, *, look_first: bool = False) -> None:
    def put(self: SymlinkPrimitive, path: str, text: str) -> None:
        if look_first and os.path.lexists(path):
            raise FileExistsError(path)
        aside = f"{path}.{new_id()}"
        self._files.symlink(text, aside)
        self._files.rename(aside, path)

    patch.setattr(SymlinkPrimitive, "put", put)


def look_then_put(patch: Patch) -> None:
    overwriting_put(patch, look_first=True)


# ── P5 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def no_queue(patch: Patch) -> None:
    patch.setattr(MountStore, "_queue", lambda _self, _resource, _asked_ms: None)


def queue_kept(patch: Patch) -> None:
    kept: list[Any] = []
    real = MountStore._queue

    class Kept:
        def unlock(self) -> None:
            """Never."""

    def queue(self: MountStore, resource: Resource, asked_ms: int | None) -> Any:
        kept.append(real(self, resource, asked_ms))
        return Kept()

    patch.setattr(MountStore, "_queue", queue)


# ── P6 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def probed_numbers(patch: Patch) -> None:
    def probe(self: MountStore, resource: Resource) -> Any:
        newest = 0
        while True:
            try:
                self._files.stat(self._places.of(resource, "chain", f"{newest + 1:012d}"))
            except FileNotFoundError:
                return mount._Listing(newest, newest)
            newest += 1

    patch.setattr(MountStore, "_list", probe)


def folders_not_opened(module: object) -> Callable[[Patch], None]:
    """On the way down to a name that was not found."""
    return lambda patch: patch.setattr(module, "refresh_down", lambda _files, _top, _path: None)


def views_folder_not_opened(patch: Patch) -> None:
    patch.setattr(view.View, "_open_folder", lambda _self: None)


def new_folder_not_opened(patch: Patch) -> None:
    def make_dirs(seam: Files, top: str, path: str) -> None:
        if path != top:
            make_dirs(seam, top, os.path.dirname(path))
            try:
                seam.mkdir(path)
            except FileExistsError:
                seam.refresh(path)

    patch.setattr(mount, "make_dirs", make_dirs)


# ── P7 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def own_request_unknown(patch: Patch) -> None:
    real = MountStore._look
    patch.setattr(
        MountStore, "_look", lambda self, resource, record: None if real(self, resource, record) is None else False
    )


def outcome_never_unknown(patch: Patch) -> None:
    real = unavailable
    patch.setattr(
        mount, "unavailable", lambda error, resource, doing, **_how: real(error, resource, doing, outcome_unknown=False)
    )


# ── P9 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def watched_by(span_ms: Callable[[Instant, Instant], int]) -> Callable[[Patch], None]:
    """A contender's timer that compares its last look with its first."""

    def elapsed_ms(self: CautiousTimer) -> int:
        return span_ms(self._last, self._clock.now())

    return lambda patch: patch.setattr(CautiousTimer, "elapsed_ms", elapsed_ms)


longest_watch = watched_by(elapsed_max_ms)
first_and_last_look = watched_by(elapsed_min_ms)


def over_reason(patch: Patch, seen_as: Callable[[Holding], Holding], *, without: str = "") -> None:
    real = decide.over_reason

    def mutated(held: Holding, readings: Readings) -> str:
        reason = real(seen_as(held), readings)
        return "" if reason == without else reason

    patch.setattr(decide, "over_reason", mutated)


def no_deadline(patch: Patch) -> None:
    over_reason(patch, lambda held: replace(held, dead_by_ms=0))


def contenders_ttl(patch: Patch) -> None:
    over_reason(patch, lambda held: replace(held, ttl_ms=1000))


def no_watching(patch: Patch) -> None:
    over_reason(patch, lambda held: held, without="silent")


def watch(key: Callable[[Record | None], object]) -> Callable[[Patch], None]:
    """A contender's watch that takes something else for a sign of life."""

    def see(self: acquire._Watch, record: Record | None) -> None:
        if key(record) != self._key:
            self._key = key(record)
            self._unchanged.restart()

    return lambda patch: patch.setattr(acquire._Watch, "see", see)


any_record_is_a_sign = watch(lambda record: record.n if record else 0)
nothing_is_a_sign = watch(lambda _record: "anything")


# ── P10 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def shortest_trust(patch: Patch) -> None:
    def shortest_ms(since: Instant, now: Instant) -> int:
        return max(min(a - b for a, b in zip(now, since, strict=True)), 0) // 1_000_000

    patch.setattr(lease, "elapsed_max_ms", shortest_ms)


def endless_trust(patch: Patch) -> None:
    patch.setattr(lease, "TRUST_PERCENT", 100)
    patch.setattr(decide, "TRUST_PERCENT", 100)


def dated_by_the_reply(patch: Patch) -> None:
    def now_ms(self: Dating) -> int:
        told_ms = self._member.store.now_ms()
        self.mark = self._member.clock.now()
        return told_ms

    patch.setattr(lease.Dating, "now_ms", now_ms)


# ── P11 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def no_renewal(patch: Patch) -> None:
    patch.setattr(lease.Lease, "_is_half_used", lambda _self: False)


def leaving(*, swallows: bool) -> Callable[[Patch], None]:
    """A ``with`` block that ends so."""
    return lambda patch: patch.setattr(lease.Lease, "__exit__", lambda self, *_error: (self.release(), swallows)[1])


# ── P12 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def turns(*, come: bool) -> Callable[[Patch], None]:
    """Everybody's turn has come, or nobody's ever does."""
    return lambda patch: patch.setattr(decide, "_turn_came", lambda *_args: come)


def without_place(record: Record, request: Acquire, readings: Readings) -> Decision:
    return decide._grant(record, replace(request, place=""), readings)


def same_token_again(record: Record, request: Resume, readings: Readings) -> Decision:
    assert record.lease is not None
    done = decide._resume(replace(record, lease=replace(record.lease, detached=True)), request, readings)
    if isinstance(done, Transition) and done.record.lease:
        return Transition(replace(done.record, lease=replace(done.record.lease, lease_id=request.lease_id)))
    return done


def blind_check(patch: Patch) -> None:
    patch.setattr(lease.Lease, "check", lambda self: self._refuse_when_over())


# ── P15 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unsynced_files(patch: Patch) -> None:
    """Neither content nor a plain file is synced before it is renamed to its name."""

    def write(seam: Files, path: str, data: bytes, mode: int | None = None) -> None:
        with seam.create(path, mode) as file:
            file.write(data)

    patch.setattr(member, "write_new", write)


def unsynced_names_of_content(patch: Patch) -> None:
    real = InterceptedFiles.sync_dir
    patch.setattr(InterceptedFiles, "sync_dir", lambda self, path: None if path.endswith("/snap") else real(self, path))


def unsynced_commits(patch: Patch) -> None:
    patch.setattr(agree, "_NEED_NOT_BE_DURABLE", frozenset({"commit"}))


def unverified_content(patch: Patch) -> None:
    def read(reader: Any, resource: Resource, head: Any) -> bytes:
        data: bytes = reader.files.read(reader.places.of(resource, "snap", head.snapshot))
        return data

    patch.setattr(snapshot, "read_snapshot", read)


# ── P16 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rewritten_in_place(patch: Patch) -> None:
    def put(member: Member, scratch: str, path: str, *_: Any) -> list[str]:
        seam = member.files
        data = seam.read(scratch)
        with open(path, "wb", buffering=0) as file:
            for part in (data[:1], data[1:]):
                file.write(part)
                seam.stat(path)  # the moment between two writes
        seam.unlink(scratch)
        return []

    patch.setattr(view, "put_in_place", put)


def unlinked_first(patch: Patch) -> None:
    def put(member: Member, scratch: str, path: str, *_: Any) -> list[str]:
        if os.path.exists(path):
            member.files.unlink(path)
        member.files.rename(scratch, path)
        return []

    patch.setattr(view, "put_in_place", put)


def no_repair(patch: Patch) -> None:
    patch.setattr(Document, "_refresh_view", lambda *_args, **_how: view.Refreshed(changed=False, conflicts=()))


# ── P18 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def no_look_after_the_append(patch: Patch) -> None:
    patch.setattr(MountStore, "_confirm", lambda _self, _resource, record: Appended(record, 1))


def floor_unknown_to_history(patch: Patch) -> None:
    real = collect.known_records

    class Floorless:
        def __init__(self, store: MountStore) -> None:
            self._store = store

        def read(self, resource: Resource) -> Record | None:
            record = self._store.read(resource)
            return replace(record, floor=0) if record else None

    patch.setattr(mount, "known_records", lambda store, chain: real(Floorless(store), chain))  # type: ignore[arg-type]


def deleted_before_the_floor(patch: Patch) -> None:
    real = collect.collect_chain

    def mutated(store: Any, chain: Any, author: Any, *, keep: int) -> int:
        below = chain.positions()[:-keep]
        for n in below:
            chain.primitive.remove(chain.path(n))
        return len(below) + real(store, chain, author, keep=keep)

    patch.setattr(mount, "collect_chain", mutated)


def no_archive(patch: Patch) -> None:
    patch.setattr(collect, "_write_segment", lambda *_args: None)
