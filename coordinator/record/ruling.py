"""Who rules a workspace, for people: where its resources are, moving all of them, adopting a directory (P28 to P30).

Nothing here is needed for work: agents bring each resource over when they first use it (failover.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.clock import SYSTEM_CLOCK
from coordinator.errors import AuthorityMoved, BadValue, Damaged, NewerFormat, NoDirectory, StoreUnavailable
from coordinator.names import new_id
from coordinator.record import authority as authorities
from coordinator.record.authority import Authority, read_authority, register
from coordinator.record.choose import directory_mark
from coordinator.record.failover import FailoverStore
from coordinator.record.format import read_format, renew_id
from coordinator.record.mount import MountStore
from coordinator.record.moving import Step, next_step
from coordinator.record.places import Places
from coordinator.record.primitive import primitive_named
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.table import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordinator.files import Files
    from coordinator.names import Resource
    from coordinator.record.format import Format
    from coordinator.record.record import Record
    from coordinator.record.store import Store
    from coordinator.record.table_calls import TableCalls

_NAMED_MAX: Final = 5  # resources, in a message


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """How many resources are where.

    Attributes:
        on_mount: These are on the mount, as far as the stores that were looked at tell.
        in_table: These are in the table, likewise.
        to_come: Names of those which are not in the store that rules yet: they come over when they are first used.
        trouble: What could not be read, and why.
    """

    on_mount: int
    in_table: int
    to_come: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MovedAuthority:
    """What a move came to: who rules now, what is there by now, and what could not be brought, with the reason."""

    authority: Authority
    brought: tuple[str, ...]
    trouble: tuple[str, ...]


class Adopted(NamedTuple):
    """What an adoption came to: the directory's id, the one that it had before, and who rules."""

    workspace_id: str
    id_before: str
    authority: Authority


def authority_of(table: TableStore | None) -> Authority | None:
    """Who rules, as the table tells now. None: no table was named, or it does not know the workspace yet."""
    return None if table is None else read_authority(table.calls, table.workspace)


# ── where resources are ──────────────────────────────────────────────────────────────────────────────────────────────


def whereabouts(store: Store) -> Whereabouts:
    """How many resources are in which store. Moves nothing.

    With one store only, what it has closed is counted for the other. Where the mount does not answer, the table alone
    is looked at, and that is told as trouble.
    """
    if not isinstance(store, FailoverStore):
        return _in_one(store)
    try:
        return _in_both(store)
    except StoreUnavailable as error:
        alone = _in_one(store.table)
        return Whereabouts(alone.on_mount, alone.in_table, alone.to_come, (*alone.trouble, str(error)))


def _in_one(store: Store) -> Whereabouts:
    trouble: list[str] = []
    closed = [record is not None and record.is_closed for _, record in _records(store, trouble)]
    here, elsewhere = closed.count(False), closed.count(True)
    on_mount, in_table = (here, elsewhere) if store.mode == MOUNT else (elsewhere, here)
    return Whereabouts(on_mount, in_table, (), tuple(trouble))


def _records(store: Store, trouble: list[str]) -> Iterator[tuple[Resource, Record | None]]:
    for resource in store.resources():
        try:
            record = store.read(resource)
        except (Damaged, NewerFormat) as error:
            trouble.append(str(error))
        else:
            yield resource, record


def _in_both(store: FailoverStore) -> Whereabouts:
    authority = store.learn()
    trouble: list[str] = []
    steps: dict[str, Step] = {}
    for resource in sorted({*store.mount.resources(), *store.table.resources()}):
        try:
            steps[str(resource)] = next_step(authority, store.mount.read(resource), store.table.read(resource))
        except (Damaged, NewerFormat) as error:
            trouble.append(str(error))
    on_mount = sum(step in {Step.USE_MOUNT, Step.SEAL} for step in steps.values())
    to_come = tuple(name for name, step in steps.items() if step not in {Step.USE_MOUNT, Step.USE_TABLE})
    return Whereabouts(on_mount, len(steps) - on_mount, to_come, tuple(trouble))


# ── moving all of them ───────────────────────────────────────────────────────────────────────────────────────────────


def move(store: Store, mode: str, on_brought: Callable[[str], None] | None = None) -> MovedAuthority:
    """Gives the rule to a store, and brings every resource there. See ``Workspace.move_authority``."""
    if mode not in {MOUNT, TABLE}:
        raise BadValue(f"{mode!r} is no store", argument="mode", value=mode, hint='"table", or "mount"')
    if isinstance(store, TableStore):
        raise NoDirectory(
            "the rule moves where the workspace's directory and the table are both there: chains in the directory are "
            "sealed, or opened",
            path="",
        )
    if not isinstance(store, FailoverStore):
        hint = "name it: Workspace(…, table=…), or coordinator --table NAME"
        raise BadValue(
            "the rule moves between a directory and a table, and no table was named",
            argument="table",
            value=None,
            hint=hint,
        )
    store.move(mode)
    brought: list[str] = []
    trouble: list[str] = []
    for resource in store.resources():
        try:
            store.read(resource)  # takes every step that is due
        except (Damaged, NewerFormat) as error:  # one that cannot be read must not hold the others back
            trouble.append(str(error))
            continue
        brought.append(str(resource))
        if on_brought:
            on_brought(str(resource))
    return MovedAuthority(store.authority, tuple(brought), tuple(trouble))


# ── a directory that was moved, restored or copied ───────────────────────────────────────────────────────────────────


def adopt(files: Files, root: str, calls: TableCalls, agent: str) -> Adopted:
    """Makes the table know a workspace as this directory's, which was moved or restored; the other one has to be gone.

    If chains in the directory tell of a later move than the table does, which was restored to a point before it, or is
    a new one, the table is told that, too: else nobody could come by those resources.

    Of two directories with one id that both live, each would take the other's records in the table for its own: a copy
    gets an id of its own (``adopt_as_copy``).

    Raises:
        TableUnusable: The table cannot be used.
        StoreUnavailable: A retry is safe.
    """
    found = _writable(files, root)
    at_ms = TableStore(calls, found.workspace_id, SYSTEM_CLOCK).now_ms()
    fresh = _told_by_chains(_mount_of(files, root, found), found, directory_mark(files, Places(root)), agent)
    stands = authorities.adopt(calls, found.workspace_id, fresh, at_ms)
    return Adopted(found.workspace_id, found.workspace_id, stands)


def adopt_as_copy(files: Files, root: str, calls: TableCalls, agent: str) -> Adopted:
    """Gives a copy of a workspace's directory an id of its own, and makes it known to the table.

    It goes on with what stood in its own folder when it was copied: leases end with their ttl, updates that were in
    its logs are folded here too. What is in the table under the old id stays with the first directory. So it is
    refused where some of this directory's resources were moved there: their newest records would be lost.

    Raises:
        AuthorityMoved: Records of this workspace are in the table.
        BadValue: The table knows this very directory under its id: the other one is the copy.
        TableUnusable: The table cannot be used.
        StoreUnavailable: A retry is safe.
    """
    found = _writable(files, root)
    known = read_authority(calls, found.workspace_id)
    mark = directory_mark(files, Places(root))
    if known is not None and known.directory == mark:
        raise BadValue(
            f"{root} is the directory that the table {calls.table!r} knows as the workspace {found.workspace_id!r}",
            argument="new-id",
            value=True,
            hint="the other one is the copy: give that one an id of its own",
        )
    mount = _mount_of(files, root, found)
    _refuse_if_moved(mount, found, root, calls)
    # The table first: opened under an id that it does not know, a workspace would begin at epoch 1 again.
    fresh = new_id()
    stands = register(calls, fresh, _told_by_chains(mount, found, mark, agent))
    return Adopted(renew_id(files, root, fresh).workspace_id, found.workspace_id, stands)


def _writable(files: Files, root: str) -> Format:
    found = read_format(files, root)
    newer = found.newer_for_writers(root)
    if newer:
        raise newer
    return found


def _mount_of(files: Files, root: str, found: Format) -> MountStore:
    places = Places(root)
    primitive = primitive_named(found.primitive, files, places.scratch)
    assert primitive is not None  # noqa: S101 - read_format refused an unknown one
    return MountStore(places, files, SYSTEM_CLOCK, primitive, new_id())


def _told_by_chains(mount: MountStore, found: Format, mark: str, agent: str) -> Authority:
    """Who rules as far as the directory tells: by the record of the latest move, if there was one."""
    fresh = Authority.first(found.authority["mode"], mark, agent)
    latest = max(
        (record for _, record in _records(mount, []) if record is not None),
        key=lambda record: record.epoch,
        default=None,
    )
    if latest is None or latest.epoch == fresh.epoch:
        return fresh
    return replace(fresh, mode=latest.mode, epoch=latest.epoch)


def _refuse_if_moved(mount: MountStore, found: Format, root: str, calls: TableCalls) -> None:
    if found.authority["mode"] == TABLE:  # born there: what stands in the folder is content, without a word on which
        lost = [*mount.resources(), *TableStore(calls, found.workspace_id, SYSTEM_CLOCK).resources()]
    else:
        lost = [resource for resource in mount.resources() if _is_closed(mount.read(resource))]
    if lost:
        names = sorted({str(resource) for resource in lost})
        shown = ", ".join(names[:_NAMED_MAX]) + (", …" if len(names) > _NAMED_MAX else "")
        raise AuthorityMoved(
            f"{len(names)} resources of {root} were moved to the table under the id {found.workspace_id!r} ({shown}): "
            "under another id they would be lost",
            path=root,
            mode=TABLE,
            epoch=found.authority["epoch"],
            hint="give the rule back to the first directory (coordinator authority move mount), and copy it again; "
            "or make a new workspace, and commit into it what you want of the plain files",
        )


def _is_closed(record: Record | None) -> bool:
    return record is not None and record.is_closed
