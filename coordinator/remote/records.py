"""The records behind the face, as far as the coordinator function tells of them: looked at, and never appended to.

What is decided is decided over there (decide.py runs in the function); here records are only looked at, by the same
classes that look at a mount's or a table's.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from coordinator.errors import NoDirectory
from coordinator.names import Resource
from coordinator.record.record import BLANK, MOUNT, TABLE, FoldAt, Head, Holding, Record, Waiter
from coordinator.status import ResourceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.record.store import Store
    from coordinator.remote.asking import Asker

LOOK_MS: Final = 2000  # limit: for what only makes an error more telling
PAGE: Final = 100

_RECORD: Final = frozenset(field.name for field in fields(Record))
_HOLDING: Final = frozenset(field.name for field in fields(Holding))
_STATUS: Final = tuple(field.name for field in fields(ResourceStatus) if field.name != "trouble")


class RemoteRecords:
    """What ``Store`` is to the classes of the face; what would change anything is refused.

    Args:
        asker: Asks the function.
    """

    mode = TABLE
    skew_ms = 0

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def status(self, resource: Resource, within_ms: int | None = None) -> ResourceStatus:
        """One resource at a glance."""
        told = self._asker.ask("leases/inspect", {"name": str(resource)}, resource=str(resource), within_ms=within_ms)
        return status_from(told)

    def read(self, resource: Resource) -> Record | None:
        """The newest record, as far as it is told."""
        return record_from_status(self.status(resource))

    def remembered(self, _resource: Resource) -> None:
        """Nothing is: what this process knew may be old, and a look costs one request either way."""

    def history(self, resource: Resource, within_ms: int | None = LOOK_MS) -> list[Record]:
        """The records that are still known, oldest first; of a lease that was lost, they name the successor."""
        body = {"name": str(resource), "limit": PAGE}
        told = self._asker.ask("leases/history", body, resource=str(resource), within_ms=within_ms)
        return [record_from(row) for row in told.rows("records")]

    def statuses(self) -> Iterator[ResourceStatus]:
        """Every resource, page by page."""
        after: str | None = None
        while True:
            body = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
            told = self._asker.ask("leases/list", body, resource="")
            for row in told.rows("resources"):
                yield status_from(row)
            before, after = after, told.get("next")
            if after is None or after == before:
                return

    def resources(self) -> list[Resource]:
        """Every resource that was ever leased or committed."""
        return [Resource.parse(status.resource) for status in self.statuses()]

    def show_life(self, _incarnation: str) -> None:
        """Nobody can tell from over there when this process ends: its leases run out by their ttl."""

    def close(self) -> None:
        """Gives the connection back."""
        self._asker.connection.close()

    def after_fork(self) -> None:
        """Connections are made anew."""
        self._asker.connection.after_fork()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _refuse


def _refuse(*_args: Any, **_how: Any) -> NoReturn:
    raise not_remotely("this")


def not_remotely(what: str) -> NoDirectory:
    """The error for what is only to be had where the directory or the table is."""
    return NoDirectory(
        f"{what} cannot be done through the coordinator function",
        path="",
        hint="update() and the task board go through it; for this, open the workspace where its directory is mounted",
    )


def as_store(records: RemoteRecords) -> Store:
    """For ``Member``, whose other users never ask it for more."""
    return cast("Store", records)


# ── records out of what is told ──────────────────────────────────────────────────────────────────────────────────────


def status_from(told: dict[str, Any]) -> ResourceStatus:
    """A ResourceStatus from its fields; those of a newer version are left out."""
    return ResourceStatus(**{name: told[name] for name in _STATUS}, trouble=told.get("trouble", ""))


def record_from_status(status: ResourceStatus) -> Record | None:
    """The newest record, as far as a status tells: enough to see whose the lease is, and the revision."""
    if not status.fence and not status.revision and not status.waiting and not status.since_ms:
        return None
    lease = None
    if status.holder:
        span_ms = max(status.until_ms - status.since_ms, 0)
        lease = Holding(status.fence, "", status.holder, "", span_ms, status.since_ms, status.since_ms)
    head = Head(status.revision, 0, "", "", status.size_bytes, 0) if status.revision else None
    return Record(
        n=status.fence,
        kind="told",
        request="",
        agent=status.holder,
        incarnation="",
        at_ms=status.now_ms,
        lease=lease,
        freed_ms=0 if lease else status.since_ms,
        waiting=tuple(Waiter("", 0) for _ in range(status.waiting)),
        head=head,
        mode=TABLE,
    )


def record_granted(told: dict[str, Any], lease_id: str, before: Record | None = None) -> Record:
    """The record of a grant or renewal, from its answer."""
    until_ms, ttl_ms = told["until_ms"], told["ttl_ms"]
    dated_ms = until_ms - ttl_ms
    lease = Holding(
        fence=told["fence"],
        lease_id=lease_id,
        agent=told["agent"],
        incarnation="",
        ttl_ms=ttl_ms,
        granted_ms=told.get("since_ms", before.lease.granted_ms if before and before.lease else dated_ms),
        renewed_ms=dated_ms,
    )
    waiting = told.get("waiting", 0)
    count = waiting if isinstance(waiting, int) else len(waiting)
    return Record(
        n=told["fence"],
        kind="grant" if before is None else "renew",
        request="",
        agent=told["agent"],
        incarnation="",
        at_ms=dated_ms,
        lease=lease,
        waiting=tuple(Waiter("", 0) for _ in range(count)),
        head=before.head if before else None,
        mode=TABLE,
    )


def record_from(row: dict[str, Any]) -> Record:
    """A record of a history, from its fields as told; those of a newer version are left out."""
    given = {name: value for name, value in row.items() if name in _RECORD}
    given["lease"] = _part(Holding, row.get("lease"), _HOLDING)
    given["head"] = _part(Head, row.get("head"), frozenset(field.name for field in fields(Head)))
    given["fold"] = _part(FoldAt, row.get("fold"), frozenset(field.name for field in fields(FoldAt)))
    given["waiting"] = tuple(
        Waiter(one["request"], one["since_ms"]) if isinstance(one, dict) else Waiter(*one)
        for one in row.get("waiting") or ()
    )
    given["extra"] = tuple((str(name), str(value)) for name, value in row.get("extra") or ())
    given["mode"] = row.get("mode") or MOUNT
    blank = {name: getattr(BLANK, name) for name in _RECORD}
    return Record(**{**blank, **given})


def _part(kind: type[Any], told: Any, names: frozenset[str]) -> Any:
    if not isinstance(told, dict):
        return None
    missing = {name: "" for name in names if name in {"lease_id", "incarnation", "sha256"} and name not in told}
    return kind(**{**missing, **{name: value for name, value in told.items() if name in names}})
