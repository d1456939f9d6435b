"""The workspace: one shared directory, opened by one process; hands out leases and documents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from coordinator import acquire as acquiring
from coordinator.clock import SYSTEM_CLOCK, millis_of
from coordinator.document.document import Document
from coordinator.document.lease import DocumentLease
from coordinator.errors import BadName, BadValue, Damaged, LeaseHeld, NewerFormat, NotAWorkspace
from coordinator.events import Events
from coordinator.files import SYSTEM_FILES
from coordinator.invocation import TTL_DEFAULT, Invocation, bounds
from coordinator.lease import resume as resume_lease
from coordinator.limits import FORMAT, MARGIN_MS
from coordinator.names import Resource, default_agent, parse_agent
from coordinator.nofiles import NO_FILES
from coordinator.record.choose import TableOptions, open_mounted, open_unmounted, table_of
from coordinator.record.format import Format, make_workspace, read_format, refuse_local_locks
from coordinator.record.member import Member
from coordinator.record.places import Places
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.unavailable import unavailable
from coordinator.status import Collected, ResourceStatus, damaged, resource_at, status_of, sweep_leftovers
from coordinator.together import HeldTogether, acquire_together

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from coordinator.clock import Clock
    from coordinator.events import Event
    from coordinator.files import Files
    from coordinator.invocation import LambdaContext
    from coordinator.lease import LostCallback
    from coordinator.record.authority import Authority
    from coordinator.record.record import Record
    from coordinator.record.ruling import MovedAuthority, Whereabouts
    from coordinator.record.store import Store
    from coordinator.tasks import TaskBoard


class Workspace:
    """A shared directory, as one agent in one process sees it. Thread-safe; a forked child may go on using it.

    Args:
        directory: A directory that ``Workspace.init`` or ``coordinator init`` has made a workspace. None: it is not
            here, and only leases and updates work, through the table.
        agent: Who acts: 1 to 64 ASCII letters, digits, or ``. _ @ + -``. Default: host name and process id.
        on_event: Called with every Event, in the thread where it happens (P14).
        table: Name or ARN of a DynamoDB table (``coordinator table create``): needed where a table rules, or may come
            to rule (P29).
        workspace: Id of a workspace whose directory is not here.
        region: Of the table; default: the environment's.
        client: A boto3 DynamoDB client, or a callable that makes one; default: made from the environment.
        fallback: ``"table"``: move the rule to the table when flock is refused for FLOCK_REFUSED_MS (P29).
        files: The file system; for tests and simulators.
        clock: The clocks; for tests and simulators.
        store: Where records are kept instead of the directory; for tests and simulators.

    Raises:
        NotAWorkspace: The directory is none. A mount that is not there looks like this: nothing is made silently.
        NewerFormat: It was made by a newer version.
        AuthorityMoved: Another store rules than can be reached from here.
        TableUnusable: The table cannot be used; says why, and what to do.
        BadName: The agent's name.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        agent: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        table: str | None = None,
        workspace: str | None = None,
        region: str | None = None,
        client: Any = None,
        fallback: str | None = None,
        files: Files = SYSTEM_FILES,
        clock: Clock = SYSTEM_CLOCK,
        store: Store | None = None,
    ) -> None:
        name = parse_agent(agent) if agent is not None else default_agent()
        if fallback not in {None, "table"} or (fallback and (table is None or directory is None)):
            hint = 'fallback="table" needs a directory and a table'
            raise BadValue(f"fallback={fallback!r} is not to be had", argument="fallback", value=fallback, hint=hint)
        options = TableOptions(table, region, client, workspace, falls_back=fallback is not None)
        events = Events(on_event)
        places = Places(files.realpath(os.fspath(directory)) if directory is not None else "")
        newer = None
        if directory is None:
            files = NO_FILES
            store = store or open_unmounted(options, clock, make=False, agent=name)
            self._format = Format(FORMAT, FORMAT, FORMAT, workspace or "", "", {"mode": TABLE, "epoch": 1}, "", 0)
        else:
            self._format = found = read_format(files, places.root)
            newer = found.newer_for_writers(places.root)
            store = store or open_mounted(
                found, places, options, files=files, clock=clock, agent=name, events=events, newer=newer
            )
        self._member = Member(
            name, store, files=files, clock=clock, places=places, events=events, newer=newer, table=table_of(store)
        )
        self._documents: dict[Resource, Document] = {}

    @classmethod
    def init(
        cls,
        directory: str | os.PathLike[str] | None = None,
        *,
        agent: str | None = None,
        primitive: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        table: str | None = None,
        workspace: str | None = None,
        region: str | None = None,
        client: Any = None,
        fallback: str | None = None,
        single_host: bool = False,
        files: Files = SYSTEM_FILES,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Workspace:
        """Makes a directory a workspace, and opens it. One that is one already is just opened.

        Args:
            directory: Must exist: a mount point that is missing must not become a folder on the local disk. None: the
                workspace has none, and is known to the table only.
            agent: As for ``Workspace``.
            primitive: ``symlink`` or ``directory``: how records are put (docs/formats.md). Default: what works, probed.
            on_event: As for ``Workspace``.
            table: The table that rules it from the beginning. Without, or for a workspace that is there already, its
                directory rules, as long as nobody moves the rule (P28).
            workspace: Its id, without a directory; else a fresh one is made.
            region: As for ``Workspace``.
            client: As for ``Workspace``.
            fallback: As for ``Workspace``; the directory rules until then.
            single_host: No other host will ever use it: the directory may rule although its locks are this host's only.
            files: As for ``Workspace``.
            clock: As for ``Workspace``.

        Raises:
            NotAWorkspace: The directory does not exist.
            Unsuitable: The file system lacks something that the protocol rests on; says what.
            NoRoom, StoreUnavailable: It cannot be written.
        """
        options: dict[str, Any] = {"table": table, "region": region, "client": client, "fallback": fallback}
        if directory is None:
            name = parse_agent(agent) if agent is not None else default_agent()
            open_unmounted(TableOptions(table, region, client, workspace), clock, make=True, agent=name)
            return cls(agent=agent, on_event=on_event, workspace=workspace, clock=clock, **options)
        root = files.realpath(os.fspath(directory))
        if primitive not in {None, "symlink", "directory"}:
            raise BadValue(f"{primitive!r} is no primitive", argument="primitive", value=primitive)
        try:
            files.refresh(root)
        except (FileNotFoundError, NotADirectoryError):
            raise NotAWorkspace(
                f"{root} is not a directory", path=root, hint="make it first; if it is a mount, is it mounted?"
            ) from None
        except OSError as error:
            raise unavailable(error, root, "opening the directory") from error
        mode = TABLE if table is not None and fallback is None else MOUNT
        made = make_workspace(files, root, primitive, mode=mode, single_host=single_host)
        if primitive is not None and made.primitive != primitive:
            raise BadValue(
                f"{root} is a workspace already, with the primitive {made.primitive!r}",
                argument="primitive",
                value=primitive,
            )
        return cls(root, agent=agent, on_event=on_event, files=files, clock=clock, **options)

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def directory(self) -> str:
        """The workspace's directory, with symbolic links resolved."""
        return self._member.places.root

    @property
    def agent(self) -> str:
        """Who acts."""
        return self._member.agent

    @property
    def format(self) -> Format:
        """What kind of workspace it is."""
        return self._format

    def __repr__(self) -> str:
        return f"<Workspace {self.directory!r} agent={self.agent!r}>"

    # ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def lease(
        self,
        name: str,
        *,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        ends_in: float | None = None,
        renew_in_background: bool = False,
        on_lost: LostCallback | None = None,
    ) -> DocumentLease:
        """Acquires the lease on a name. It is held when this returns; use it as a context manager, or release it.

        Args:
            name: A path in the workspace (``tasks.json``), or a path-like name of something outside (``deploy/prod``).
            ttl: Seconds that it lasts without renewal: how long others wait should this process die. The default is
                shortened to what the host or invocation has left; a figure that is given is refused if it is more.
            wait: Seconds to wait for it; 0 tries once, None waits for as long as it takes (and the invocation lasts).
            cancel: An event that ends the waiting when it is set.
            ends_in: Seconds after which this host is dead for certain (a Lambda's remaining time, P13).
            renew_in_background: Renew by a thread. Without it, ``check()`` and ``commit()`` renew.
            on_lost: Called once with the LeaseLost, should it be lost before it is released.

        Raises:
            LeaseHeld: Not to be had in that time; says who holds it, with which fence, since and until when.
            AcquireCancelled: ``cancel`` was set.
            BadName, BadValue: The name, or a figure out of its limits.
            StoreUnavailable: A retry is safe.
        """
        resource = self._resource(name)
        limits = bounds(self._member, ttl, wait, ends_in)
        granted = acquiring.acquire(self._member, resource, **limits, cancel=cancel)
        document = self._document(resource)
        return DocumentLease(
            self._member, resource, granted, document, on_lost=on_lost, renew_in_background=renew_in_background
        )

    def try_lease(self, name: str, *, ttl: float = TTL_DEFAULT, **options: Any) -> DocumentLease | None:
        """``lease`` with ``wait=0`` that returns None instead of raising LeaseHeld."""
        try:
            return self.lease(name, ttl=ttl, wait=0, **options)
        except LeaseHeld:
            return None

    def lease_many(
        self,
        names: Iterable[str],
        *,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        ends_in: float | None = None,
    ) -> HeldTogether[DocumentLease]:
        """Acquires the leases on several names, all or none: ``with ws.lease_many(["a", "b"]) as held: held["a"]…``.

        Two who want the same ones never wait for each other. See ``lease`` for the arguments and errors.
        """
        resources = sorted({self._resource(name) for name in names})
        limits = bounds(self._member, ttl, wait, ends_in)
        granted = acquire_together(self._member, resources, **limits, cancel=cancel)
        pairs = zip(resources, granted, strict=True)
        return HeldTogether([DocumentLease(self._member, one, had, self._document(one)) for one, had in pairs])

    def resume(
        self, token: str, *, renew_in_background: bool = False, on_lost: LostCallback | None = None
    ) -> DocumentLease:
        """Takes up a lease that was detached, here or in another process (P12).

        Raises:
            LeaseLost: It ran out, was taken, or the token was used already.
            BadValue: It is no token.
        """
        resource, granted = resume_lease(self._member, token)
        return DocumentLease(
            self._member,
            resource,
            granted,
            self._document(resource),
            on_lost=on_lost,
            renew_in_background=renew_in_background,
        )

    def request_release(self, name: str, *, grace: float = 10) -> bool:
        """Asks whoever holds a lease to let go (it sees ``lease.wanted``), and waits at most ``grace`` seconds.

        Returns:
            True when that holder no longer holds it, or nobody did; False when the time was over.
        """
        return acquiring.request_release(self._member, self._resource(name), millis_of(grace, "grace"))

    def break_lease(self, name: str, *, fence: int) -> None:
        """Frees a lease by force, if its fence is still this one. Its holder is fenced out: it can commit nothing more.

        Raises:
            LeaseLost: It is not held with that fence (any more).
        """
        acquiring.break_lease(self._member, self._resource(name), fence)

    def invocation(self, context: LambdaContext, *, margin: float = MARGIN_MS / 1000) -> Invocation:
        """Binds leases and logs to one Lambda invocation: ``with workspace.invocation(context):`` around the handler.

        Inside, no lease is granted for longer than the invocation lasts. At its end, leases that are still held are
        released (detached ones stay), logs are ended and synced, and plain files are brought up to date, so that
        nothing is under way when the sandbox is frozen. With less than ``margin`` left, logs are synced and no more.

        Args:
            context: The handler's: ``get_remaining_time_in_millis()`` and ``aws_request_id`` are looked at.
            margin: Seconds at the end that no lease is trusted in: for this, and for the handler's own exit.

        Raises:
            BadValue: It is no such context, or an invocation is under way in this process already.
            LeaseLost: At the end, when the body ended well: a lease still held was another's before.
            StoreUnavailable: Likewise: what was appended without waiting for it may not be durable.
        """
        margin_ms = millis_of(margin, "margin")
        return Invocation(self._member, context, lambda: list(self._documents.values()), margin_ms)

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────

    def document(self, name: str) -> Document:
        """The document behind a path; nothing is read or made yet.

        Raises:
            BadName: The name.
        """
        return self._document(self._resource(name))

    def _document(self, resource: Resource) -> Document:
        return self._documents.setdefault(resource, Document(self._member, resource))

    def tasks(self, name: str, *, format: str = "default", **options: Any) -> TaskBoard:  # noqa: A002 - the users' word
        """The task board in a document: many workers claim and complete, and none waits for a lock.

        Args:
            name: The document: ``tasks.json``.
            format: ``default``, ``taskmaster``, or ``list``: see docs/formats.md.
            options: Of the format: ``tag=…`` and ``subtasks=…`` for taskmaster, names of fields for a list.

        Raises:
            BadName, BadValue: The name, or the format.
        """
        from coordinator.document.board import make_spec  # noqa: PLC0415 - a lease does without
        from coordinator.tasks import TaskBoard  # noqa: PLC0415 - likewise

        return TaskBoard(self._member, self.document(name), make_spec(format, **options))

    def close(self) -> None:
        """Ends this process's logs, and brings plain files up to date. Done at the end of the program by itself."""
        for document in list(self._documents.values()):
            document.close()
        self._member.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── looking after it ─────────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> list[ResourceStatus]:
        """Every resource that was ever leased or committed."""
        return [self._status_or_trouble(name) for name in self._member.store.resources()]

    def _status_or_trouble(self, resource: Resource) -> ResourceStatus:
        """One damaged resource must not hide the others."""
        try:
            return self.status_of(resource)
        except (BadName, Damaged, NewerFormat) as error:
            return damaged(self._member, resource, error)

    def status_of(self, name: str) -> ResourceStatus:
        """One resource; ``free`` with fence 0 if it was never leased."""
        resource = self._resource(name)
        conflicts = len(self._document(resource).conflicts()) if self._member.has_directory else 0
        return status_of(self._member, resource, conflicts)

    def authority(self) -> Authority | None:
        """Who rules, as the table tells now (P28). None: no table was named, or it does not know the workspace yet.

        Raises:
            StoreUnavailable, TableUnusable: It cannot be told.
        """
        from coordinator.record.ruling import authority_of  # noqa: PLC0415 - for people, now and then

        return authority_of(self._member.table)

    def whereabouts(self) -> Whereabouts:
        """How many resources are in which store. Moves nothing."""
        from coordinator.record.ruling import whereabouts  # noqa: PLC0415 - for people, now and then

        return whereabouts(self._member.store)

    def move_authority(
        self, mode: str, *, on_brought: Callable[[str], None] | None = None, single_host: bool = False
    ) -> MovedAuthority:
        """Gives the rule to the ``"table"`` (P29) or back to the ``"mount"`` (P30), and brings every resource there.

        Safe under agents at work, to interrupt and to repeat: what was not brought comes over when it is first used.

        Args:
            mode: Which store is to rule.
            on_brought: Called with the name of each resource that has come over, or was there.
            single_host: As for ``init``.

        Raises:
            NoDirectory: The workspace was opened without it: chains on it have to be sealed, or opened.
            BadValue: No such mode, or no table was named.
            Unsuitable: The mount is to rule, and its locks are one host's only.
            NewerFormat: This version may not write here.
            StoreUnavailable: A retry is safe, and goes on.
        """
        from coordinator.record.ruling import move  # noqa: PLC0415 - for people, now and then

        if self._member.newer:
            raise self._member.newer
        if mode == MOUNT and self._member.has_directory and not single_host:
            refuse_local_locks(self._member.files, self._member.places.root)
        return move(self._member.store, mode, on_brought)

    def history(self, name: str) -> list[Record]:
        """Every record of a resource that is still known, oldest first (P14): who was granted it, when, and why."""
        return self._member.store.history(self._resource(name))

    def collect(self) -> Collected:
        """Archives old records and deletes what nobody can need any more, in all resources (P18). Safe at any time."""
        if self._member.newer:
            raise self._member.newer
        records = files = freed_bytes = 0
        resources = list(self._member.store.resources())
        trouble = []
        for resource in resources:
            try:
                done = self._document(resource).collect()
            except (Damaged, NewerFormat) as error:
                trouble.append(str(error))
                continue
            records, files, freed_bytes = records + done[0], files + done[1], freed_bytes + done[2]
        files += sweep_leftovers(self._member)
        return Collected(len(resources), records, files, freed_bytes, tuple(trouble))

    def _resource(self, name: str) -> Resource:
        """A user's name in canonical form. BadName."""
        return resource_at(self._member, name)
