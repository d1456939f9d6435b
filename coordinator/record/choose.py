"""Which store a workspace is opened with: its directory's, a table's, or both with one that rules (P28)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.errors import AuthorityMoved, BadValue, NotAWorkspace, StoreUnavailable
from coordinator.names import COMPONENT_NAME, new_id
from coordinator.record.mount import MountStore
from coordinator.record.primitive import primitive_named
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from coordinator.clock import Clock
    from coordinator.errors import NewerFormat
    from coordinator.events import Events
    from coordinator.files import Files
    from coordinator.record.failover import FailoverStore
    from coordinator.record.format import Format
    from coordinator.record.places import Places
    from coordinator.record.store import Store
    from coordinator.record.table import TableStore
    from coordinator.record.table_calls import TableCalls


class TableOptions(NamedTuple):
    """What a user says of a table.

    Attributes:
        table: Its name or ARN; None: no table.
        region: Default: the environment's.
        client: A boto3 client, or a callable that makes one; default: made from the environment.
        workspace: The id of a workspace whose directory is not here.
        falls_back: Move the rule to the table when flock is refused for too long (P29).
    """

    table: str | None = None
    region: str | None = None
    client: Any = None
    workspace: str | None = None
    falls_back: bool = False

    def calls(self, clock: Clock) -> TableCalls:
        """The table."""
        from coordinator.record.table_calls import TableCalls  # noqa: PLC0415 - only with a table

        assert self.table is not None  # noqa: S101 - the caller looked
        return TableCalls(self.table, clock, region=self.region, client=self.client)


def directory_mark(files: Files, places: Places) -> str:
    """What tells one directory from a copy of it: the number that its file system gave the state folder.

    Raises:
        StoreUnavailable: The file system does not tell.
    """
    try:
        return f"inode {files.stat(places.state).inode}"
    except OSError as error:
        raise unavailable(error, places.root, "opening the directory") from error


def open_mounted(
    found: Format,
    places: Places,
    options: TableOptions,
    *,
    files: Files,
    clock: Clock,
    agent: str,
    events: Events,
    newer: NewerFormat | None,
) -> Store:
    """The store of a workspace whose directory is here.

    Raises:
        AuthorityMoved: A table rules it, and none was named.
        TableUnusable: The table that was named cannot be used; says why, and what to do.
    """
    primitive = primitive_named(found.primitive, files, places.scratch)
    assert primitive is not None  # noqa: S101 - read_format refused an unknown one
    mount = MountStore(places, files, clock, primitive, new_id(), newer=newer)
    mode = found.authority["mode"]
    if options.table is None:
        if mode == MOUNT:
            return mount
        raise AuthorityMoved(
            f"the workspace {places.root} is ruled by a table, and none was named",
            path=places.root,
            mode=mode,
            epoch=found.authority["epoch"],
            hint="name it: Workspace(…, table=…), or coordinator --table NAME",
        )
    from coordinator.record.authority import Authority  # noqa: PLC0415 - only with a table
    from coordinator.record.failover import FailoverStore  # noqa: PLC0415 - likewise
    from coordinator.record.table import TableStore  # noqa: PLC0415 - likewise

    table = TableStore(options.calls(clock), found.workspace_id, clock)
    fresh = Authority.first(mode, directory_mark(files, places), agent)
    store = FailoverStore(mount, table, fresh, agent=agent, clock=clock, events=events, falls_back=options.falls_back)
    _learn_if_it_can(store)
    return store


def table_of(store: Store) -> TableStore | None:
    """The table that a store is, or has."""
    found: Any = getattr(store, "table", store)
    return found if hasattr(found, "calls") else None


def _learn_if_it_can(store: FailoverStore) -> None:
    """Asks who rules. A table that does not answer is no reason to refuse a mount that works: the chains tell (P29)."""
    try:
        store.learn()
    except StoreUnavailable:
        if store.mode == TABLE:
            raise


def open_unmounted(options: TableOptions, clock: Clock, *, make: bool, agent: str) -> Store:
    """The store of a workspace whose directory is elsewhere, or that has none.

    Args:
        options: The table, and the workspace's id.
        clock: This machine's clocks.
        make: Make the workspace known to the table, without a directory, if it is not.
        agent: Who opens it.

    Raises:
        NotAWorkspace: The table does not know it.
        AuthorityMoved: Its directory rules: it has to be mounted here, or the rule moved to the table.
    """
    if options.table is None or options.workspace is None:
        raise BadValue(
            "a workspace without a directory is told by a table and an id",
            argument="workspace",
            value=options.workspace,
            hint="Workspace(table=…, workspace=…); a directory's id is shown by coordinator status",
        )
    if not COMPONENT_NAME.fullmatch(options.workspace):
        raise BadValue(
            f"{options.workspace[:80]!r} is no id of a workspace",
            argument="workspace",
            value=options.workspace,
            hint="1 to 64 ASCII letters, digits, or . _ @ + - inside",
        )
    from coordinator.record.authority import Authority, read_authority, register  # noqa: PLC0415 - only with a table
    from coordinator.record.table import TableStore  # noqa: PLC0415 - likewise

    calls = options.calls(clock)
    if make:
        found: Authority | None = register(calls, options.workspace, Authority.first(TABLE, "", agent))
    else:
        found = read_authority(calls, options.workspace)
    if found is None:
        raise NotAWorkspace(
            f"the table {options.table!r} knows no workspace {options.workspace!r}",
            path=options.workspace,
            hint="is the id right (coordinator status, where its directory is)? To make one without a directory: "
            "Workspace.init(table=…, workspace=…), or coordinator init --table NAME --workspace-id ID",
        )
    if found.mode == MOUNT:
        raise AuthorityMoved(
            f"the workspace {options.workspace!r} is ruled by its directory, not by the table",
            path=options.workspace,
            mode=MOUNT,
            epoch=found.epoch,
            hint="mount the directory here, or move the rule: coordinator authority move table",
        )
    return TableStore(calls, options.workspace, clock, guarded=True)
