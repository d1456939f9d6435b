"""A workspace at a glance: each resource's state, where a user's path leads, and what killed processes left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordinator.errors import BadName
from coordinator.folders import sweep
from coordinator.limits import CLOCK_FILE_KEEP_MS, SCRATCH_KEEP_MS
from coordinator.names import STATE_DIR, Resource
from coordinator.record.life import Lives
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from coordinator.record.member import Member


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource at a glance. Times are the store's clock, Unix milliseconds; ``now_ms`` is when it was looked at.

    ``state`` is ``free``, ``held``, ``detached``, ``over`` (held by one whose time has passed, so that anybody may take
    it) or ``damaged`` (its newest record cannot be read; ``trouble`` says what and where).
    """

    resource: str
    state: str
    holder: str
    fence: int
    since_ms: int
    until_ms: int
    waiting: int
    revision: int
    size_bytes: int
    conflicts: int
    now_ms: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed. ``trouble`` names the resources that it left alone, with the reason."""

    resources: int
    records: int
    files: int
    bytes_freed: int
    trouble: tuple[str, ...] = ()


def status_of(member: Member, resource: Resource, conflicts: int) -> ResourceStatus:
    """One resource, of which so many edits by hand are kept."""
    record = member.store.read(resource)
    now_ms = member.store.now_ms()
    lease, head = (record.lease, record.head) if record else (None, None)
    over = lease is not None and now_ms > lease.until_ms + member.store.skew_ms
    state = "free" if lease is None else "over" if over else "detached" if lease.detached else "held"
    return ResourceStatus(
        resource=str(resource),
        state=state,
        holder=lease.agent if lease else "",
        fence=lease.fence if lease else 0,
        since_ms=lease.granted_ms if lease else record.freed_ms if record else 0,
        until_ms=lease.until_ms if lease else 0,
        waiting=len(record.waiting) if record else 0,
        revision=record.revision if record else 0,
        size_bytes=head.size_bytes if head else 0,
        conflicts=conflicts,
        now_ms=now_ms,
    )


def damaged(member: Member, resource: Resource, error: Exception) -> ResourceStatus:
    """One whose newest record cannot be read."""
    return ResourceStatus(str(resource), "damaged", "", 0, 0, 0, 0, 0, 0, 0, member.store.now_ms(), str(error))


def sweep_leftovers(member: Member) -> int:
    """Removes what killed processes left: scratch, and clock files (a live process makes its own anew)."""
    now_ms = member.store.now_ms()
    try:
        scratch = sweep(member.files, member.places.scratch, now_ms - SCRATCH_KEEP_MS)
        Lives(member.places, member.files).sweep()
        return scratch + sweep(member.files, member.places.clocks, now_ms - CLOCK_FILE_KEEP_MS)
    except OSError as error:
        raise unavailable(error, member.places.state, "sweeping") from error


def resource_at(member: Member, name: str) -> Resource:
    """A user's name in canonical form: two paths to one file must be one lease.

    Raises:
        BadName: Also when it leads out of the workspace through a symbolic link.
    """
    resource = Resource.parse(name)
    root = member.places.root
    try:
        real = member.files.realpath(f"{root}/{resource}")
    except OSError as error:
        raise unavailable(error, resource, "resolving") from error
    if real == f"{root}/{resource}":
        return resource
    if not real.startswith(f"{root}/"):
        raise BadName(
            f"{name!r} leads out of the workspace, to {real}, through a symbolic link",
            name=name,
            hint="lease a path inside the workspace",
        )
    if real.startswith(f"{root}/{STATE_DIR}/") or real == f"{root}/{STATE_DIR}":
        raise BadName(f"{name!r} leads into the coordinator's own folder, through a symbolic link", name=name)
    return Resource.parse(real.removeprefix(f"{root}/"))
