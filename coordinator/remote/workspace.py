"""The workspace as an agent sees it that has neither its directory nor its table, but the coordinator function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from coordinator.clock import SYSTEM_CLOCK, millis_of
from coordinator.errors import BadValue
from coordinator.events import Events
from coordinator.invocation import TTL_DEFAULT, bounds
from coordinator.limits import FORMAT
from coordinator.names import Resource, default_agent, parse_agent
from coordinator.nofiles import NO_FILES
from coordinator.record.format import Format
from coordinator.record.member import Member
from coordinator.record.places import Places
from coordinator.record.record import TABLE
from coordinator.remote.asking import PATIENCE_MS, Asker, Waiting
from coordinator.remote.document import RemoteDocument
from coordinator.remote.lease import Leasing, RemoteLease
from coordinator.remote.over_http import HttpWay
from coordinator.remote.over_invoke import InvokeWay
from coordinator.remote.records import RemoteRecords, as_store, not_remotely
from coordinator.together import HeldTogether
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from coordinator.clock import Clock
    from coordinator.document.lease import DocumentLease
    from coordinator.events import Event
    from coordinator.lease import LostCallback
    from coordinator.record.record import Record
    from coordinator.remote.board import RemoteBoard
    from coordinator.remote.connection import Connection
    from coordinator.remote.lease import RemoteGrant
    from coordinator.status import ResourceStatus


class RemoteWorkspace(Workspace):
    """A workspace behind a coordinator function. Thread-safe; a forked child may go on using it.

    What needs the directory raises NoDirectory: whole content is committed where the directory is; updates and tasks go
    through the function.

    Args:
        url: The function's URL, an API in front of it, or a ``coordinator serve``. Requests to AWS are signed.
        agent: Who acts; the function decides by the caller's identity whether it may. Default: host name and process.
        function: Instead of a URL, the function's name or ARN, with its alias, to be invoked directly.
        region: Of the function; default: what the URL or the environment says.
        client: A boto3 Lambda client, or a callable that makes one, for ``function``.
        credentials: botocore credentials to sign with; default: the environment's.
        sign: Sign, or do not, whatever the host is.
        identity: What a ``coordinator serve`` is to take the caller for; a deployed function never believes it.
        patience: Seconds for which one request is tried, when it is not answered.
        on_event: As for ``Workspace``.
        clock: The clocks; for tests and simulators.
        connection: The way; for tests and simulators.

    Raises:
        BadName, BadValue: An argument.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        agent: str | None = None,
        function: str | None = None,
        region: str | None = None,
        client: Any = None,
        credentials: Any = None,
        sign: bool | None = None,
        identity: str | None = None,
        patience: float = PATIENCE_MS / 1000,
        on_event: Callable[[Event], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        connection: Connection | None = None,
    ) -> None:
        name = parse_agent(agent) if agent is not None else default_agent()
        if [url, function, connection].count(None) != 2:  # noqa: PLR2004 - exactly one of the three
            hint = "RemoteWorkspace(url) or RemoteWorkspace(function=…)"
            raise BadValue("the coordinator is reached by a URL or by invocation", argument="url", value=url, hint=hint)
        if function is not None:
            connection = InvokeWay(function, region=region, client=client)
        elif url is not None:
            connection = HttpWay(url, sign=sign, region=region, identity=identity, credentials=credentials)
        assert connection is not None  # noqa: S101 - one of the three
        self._connection = connection
        self._asker = Asker(connection, clock, millis_of(patience, "patience"))
        self._records = RemoteRecords(self._asker)
        self._format = Format(FORMAT, FORMAT, FORMAT, "", "", {"mode": TABLE, "epoch": 1}, "", 0)
        self._member = Member(
            name,
            as_store(self._records),
            files=NO_FILES,
            clock=clock,
            places=Places(""),
            events=Events(on_event),
        )
        self._leasing = Leasing(self._member, self._asker, self._records)
        self._documents = {}

    @property
    def directory(self) -> str:
        """None is here: empty."""
        return ""

    def __repr__(self) -> str:
        return f"<RemoteWorkspace {self._connection.place!r} agent={self.agent!r}>"

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
        """Acquires the lease on a name; see ``Workspace.lease``.

        Who waits asks again every few seconds, and stands at the end of the line each time.
        """
        resource = self._resource(name)
        limits = bounds(self._member, ttl, wait, ends_in)
        grant = self._leasing.acquire([resource], **limits, cancel=cancel)[0]
        return self._held(grant, on_lost=on_lost, renew_in_background=renew_in_background)

    def lease_many(
        self,
        names: Iterable[str],
        *,
        ttl: float = TTL_DEFAULT,
        wait: float | None = 0,
        cancel: threading.Event | None = None,
        ends_in: float | None = None,
    ) -> HeldTogether[DocumentLease]:
        """Acquires the leases on several names, all or none; see ``Workspace.lease_many``."""
        resources = sorted({self._resource(name) for name in names})
        if not resources:
            raise BadValue("no leases cannot be had at once", argument="names", value=0)
        limits = bounds(self._member, ttl, wait, ends_in)
        return HeldTogether([self._held(one) for one in self._leasing.acquire(resources, **limits, cancel=cancel)])

    def resume(
        self, token: str, *, renew_in_background: bool = False, on_lost: LostCallback | None = None
    ) -> DocumentLease:
        """Takes up a lease that was detached, here or in another process (P12); see ``Workspace.resume``."""
        host = self._member.host
        grant = self._leasing.renewed(token, ends_in_ms=host.left_ms() if host is not None else 0)
        return self._held(grant, on_lost=on_lost, renew_in_background=renew_in_background)

    def _held(self, grant: RemoteGrant, **how: Any) -> DocumentLease:
        return RemoteLease(self._leasing, grant, self._document(grant.resource), **how)

    def request_release(self, name: str, *, grace: float = 10) -> bool:
        """Asks whoever holds a lease to let go; see ``Workspace.request_release``."""
        resource = str(self._resource(name))
        waiting = Waiting(self._member.clock, millis_of(grace, "grace"))
        while True:
            portion_ms = waiting.portion_ms()
            body = {"name": resource, "agent": self.agent, "grace_ms": portion_ms}
            told = self._asker.ask("leases/request_release", body, resource=resource, wait_ms=portion_ms)
            if told["released"] or not waiting.goes_on():
                return bool(told["released"])

    def break_lease(self, name: str, *, fence: int) -> NoReturn:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        raise not_remotely(f"freeing the lease on {name!r} by force")

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _document(self, resource: Resource) -> RemoteDocument:
        found = self._documents.get(resource)
        if not isinstance(found, RemoteDocument):
            found = self._documents.setdefault(resource, RemoteDocument(self._member, resource, self._asker))
            assert isinstance(found, RemoteDocument)  # noqa: S101 - nothing else is put there
        return found

    def tasks(self, name: str, *, format: str = "default", **options: Any) -> RemoteBoard:  # noqa: A002 - the users' word
        """The task board in a document; see ``Workspace.tasks``."""
        from coordinator.document.board import make_spec  # noqa: PLC0415 - a lease does without
        from coordinator.remote.board import RemoteBoard  # noqa: PLC0415 - likewise

        document = self._document(self._resource(name))
        return RemoteBoard(self._member, document, make_spec(format, **options), self._asker)

    # ── looking after it ─────────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> list[ResourceStatus]:
        """Every resource that was ever leased or committed."""
        return list(self._records.statuses())

    def status_of(self, name: str) -> ResourceStatus:
        """One resource; ``free`` with fence 0 if it was never leased."""
        return self._records.status(self._resource(name))

    def history(self, name: str) -> list[Record]:
        """The newest records of a resource, oldest first (P14): who was granted it, when, and why."""
        return self._records.history(self._resource(name), None)

    def authority(self) -> NoReturn:
        """Not to be had here. Raises NoDirectory."""
        raise not_remotely("looking at who rules")

    def whereabouts(self) -> NoReturn:
        """Not to be had here. Raises NoDirectory."""
        raise not_remotely("counting what is in which store")

    def move_authority(self, mode: str, **_how: Any) -> NoReturn:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        raise not_remotely("moving the rule")

    def collect(self) -> NoReturn:
        """Not to be had here: the compactor function collects. Raises NoDirectory."""
        raise not_remotely("collecting")

    @classmethod
    def init(cls, *_arguments: Any, **_how: Any) -> NoReturn:
        """Not to be had here. Raises NoDirectory."""
        raise not_remotely("making a workspace")
