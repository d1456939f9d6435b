"""A lease held through the coordinator function: the same class, whose requests go there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from coordinator.acquire import check_bounds
from coordinator.clock import elapsed_max_ms
from coordinator.document.content import parse_json
from coordinator.document.lease import DocumentLease
from coordinator.errors import AcquireCancelled, CoordinatorError, LeaseHeld, LeaseLost
from coordinator.events import Event
from coordinator.lease import Granted, parse_token
from coordinator.limits import RENEW_PERCENT, TRUST_PERCENT
from coordinator.names import Resource, new_id
from coordinator.record.decide import Release, Renew
from coordinator.remote.asking import TRY_MIN_MS, Trail, Waiting, waited
from coordinator.remote.records import LOOK_MS, not_remotely, record_from_status, record_granted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from coordinator.document.content import Receipt
    from coordinator.document.document import Document
    from coordinator.lease import LostCallback
    from coordinator.record.decide import Author, Request
    from coordinator.record.member import Member
    from coordinator.record.record import Record
    from coordinator.remote.asking import Asker, Told
    from coordinator.remote.records import RemoteRecords


class RemoteGrant(NamedTuple):
    """What an acquisition brought: the grant, and the token by which it is spoken of."""

    resource: Resource
    granted: Granted
    token: str


class Leasing:
    """Gets leases for one agent. Thread-safe.

    Args:
        member: Who wants them.
        asker: Asks the function.
        records: Looks at them.
    """

    def __init__(self, member: Member, asker: Asker, records: RemoteRecords) -> None:
        self.member = member
        self.asker = asker
        self.records = records

    def acquire(
        self,
        resources: Sequence[Resource],
        *,
        ttl_ms: int,
        wait_ms: int | None,
        ends_in_ms: int,
        cancel: threading.Event | None,
    ) -> list[RemoteGrant]:
        """Acquires one lease, or several at once. Raises as ``Workspace.lease``."""
        check_bounds(ttl_ms, wait_ms, ends_in_ms)
        began = self.member.clock.now()
        trail, waiting = Trail(self.member.clock), Waiting(self.member.clock, wait_ms, cancel)
        body: dict[str, Any] = {"agent": self.member.agent, "ttl_ms": ttl_ms, "request_id": new_id()}
        together = len(resources) > 1
        body |= {"names": [str(one) for one in resources]} if together else {"name": str(resources[0])}
        call = "leases/acquire_many" if together else "leases/acquire"
        told = self._until_had(call, body, resources[0], trail, waiting)
        left_ms = max(ends_in_ms - elapsed_max_ms(began, trail.since), 1) if ends_in_ms else 0
        rows = told.rows("leases") if together else [told]
        by_name = {row["name"]: row for row in rows}
        grants = [self._grant(one, by_name[str(one)], trail, left_ms, waiting) for one in resources]
        return [self._with_trust(grant) for grant in grants]

    def _until_had(self, call: str, body: dict[str, Any], resource: Resource, trail: Trail, waiting: Waiting) -> Told:
        # One id for all of it: whichever of these sendings is granted, the next one is told so.
        while True:
            if waiting.is_cancelled():
                raise self._cancelled(resource, waiting)
            portion_ms = waiting.portion_ms()
            try:
                return self.asker.ask(
                    call, {**body, "wait_ms": portion_ms}, resource=str(resource), trail=trail, wait_ms=portion_ms
                )
            except LeaseLost:  # it was granted, unheard of, and is over: that request can be granted no more
                body = {**body, "request_id": new_id()}
                trail.anew()
            except LeaseHeld as held:
                if waiting.goes_on():
                    continue
                if waiting.is_cancelled():
                    raise self._cancelled(resource, waiting) from None
                self._tell("refused", held.resource, held.fence, waiting, holder=held.holder, reason="held")
                raise waited(held, waiting) from None

    def _cancelled(self, resource: Resource, waiting: Waiting) -> AcquireCancelled:
        waited_ms = waiting.waited_ms()
        self._tell("refused", str(resource), 0, waiting, reason="cancelled")
        return AcquireCancelled(
            f"waiting for the lease on {str(resource)!r} was cancelled after {waited_ms / 1000:.1f} s",
            resource=str(resource),
            waited_ms=waited_ms,
        )

    def _grant(
        self, resource: Resource, told: dict[str, Any], trail: Trail, left_ms: int, waiting: Waiting
    ) -> RemoteGrant:
        token = told["token"]
        _, fence, lease_id = parse_token(token)
        record = record_granted(told, lease_id)
        self._tell("granted", str(resource), fence, waiting, reason="free")
        return RemoteGrant(resource, Granted(record, trail.since, left_ms, waiting.waited_ms()), token)

    def _with_trust(self, grant: RemoteGrant) -> RemoteGrant:
        """A grant of a request that was sent long ago has little trust left (P10): it is renewed before it is used."""
        granted = grant.granted
        lease = granted.record.lease
        assert lease is not None  # noqa: S101 - it was granted
        used_ms = elapsed_max_ms(granted.mark, self.member.clock.now())
        if used_ms * 10_000 < lease.ttl_ms * TRUST_PERCENT * RENEW_PERCENT:
            return grant
        return self.renewed(grant.token, ends_in_ms=granted.ends_in_ms, before=granted.record)

    def renewed(
        self, token: str, *, ends_in_ms: int = 0, before: Record | None = None, within_ms: int | None = None
    ) -> RemoteGrant:
        """Starts a lease's ttl anew, whoever held it so far. Raises LeaseLost, StoreUnavailable."""
        resource, _, lease_id = parse_token(token)
        trail = Trail(self.member.clock)
        began = self.member.clock.now()
        body = {"token": token, "agent": self.member.agent, "request_id": new_id()}
        told = self.asker.ask("leases/renew", body, resource=str(resource), trail=trail, within_ms=within_ms)
        token = told.get("token") or token
        _, _, lease_id = parse_token(token)
        record = record_granted(told, lease_id, before)
        left_ms = max(ends_in_ms - elapsed_max_ms(began, trail.since), 1) if ends_in_ms else 0
        return RemoteGrant(resource, Granted(record, trail.since, left_ms, 0), token)

    def released(self, token: str, resource: Resource) -> None:
        """Frees a lease. Raises LeaseLost, StoreUnavailable."""
        body = {"token": token, "agent": self.member.agent, "request_id": new_id()}
        self.asker.ask("leases/release", body, resource=str(resource))

    def _tell(
        self, kind: str, resource: str, fence: int, waiting: Waiting, *, holder: str = "", reason: str = ""
    ) -> None:
        event = Event(kind, resource, self.member.agent, fence, holder, reason, waiting.waited_ms())
        self.member.events.tell(event)


class RemoteLease(DocumentLease):
    """A lease that was granted through the coordinator function. Made by ``RemoteWorkspace.lease``.

    It is checked, renewed and released there; its trust is counted here, by this process's own clocks.

    Args:
        leasing: Renews and releases it.
        grant: The grant.
        document: The document behind the name.
        on_lost: See Lease.
        renew_in_background: See Lease.
    """

    def __init__(
        self,
        leasing: Leasing,
        grant: RemoteGrant,
        document: Document,
        *,
        on_lost: LostCallback | None = None,
        renew_in_background: bool = False,
    ) -> None:
        self._leasing = leasing
        self._token = grant.token
        super().__init__(
            leasing.member,
            grant.resource,
            grant.granted,
            document,
            on_lost=on_lost,
            renew_in_background=renew_in_background,
        )

    def detach(self) -> str:
        """Gives the lease up without freeing it; the token is good for ``resume`` here, and over a directory or table.

        Raises as ``check`` does.
        """
        self._refuse_child()
        with self._lock:
            self.renew()
            self._close()
            return self._token

    # ── content ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self) -> bytes:
        """The newest content; nobody else can commit while the lease is held. Raises as ``Document.read``."""
        return self._document.content().data

    def read_json(self) -> Any:
        """The newest content as a value. Raises MalformedDocument besides."""
        return parse_json(self.read(), self.resource)

    def commit(self, data: bytes, *, if_revision: int | None = None) -> Receipt:  # noqa: ARG002 - the same face
        """Not to be had here.

        Raises:
            NoDirectory: Always; says what to do instead.
        """
        self._refuse()

    def commit_json(self, value: Any, *, if_revision: int | None = None) -> Receipt:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        self._refuse()

    def commit_view(self, *, check: Callable[[bytes, str], object] | None = None) -> Receipt | None:  # noqa: ARG002
        """Not to be had here. Raises NoDirectory."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise not_remotely(f"committing whole content to {self.resource!r}")

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, request_for: Callable[[Author, int], Request], *, renews: bool) -> Record:
        """Has the request decided over there; trust begins anew at the moment before it was sent."""
        request = request_for(self._member.author(), 0)
        try:
            if isinstance(request, Release):
                self._leasing.released(self._token, self._resource)
                return self._record
            assert isinstance(request, Renew)  # noqa: S101 - a holder asks for nothing else here
            within_ms = max(round(self.remaining * 1000), TRY_MIN_MS)
            done = self._leasing.renewed(self._token, before=self._record, within_ms=within_ms)
        except LeaseLost as lost:
            raise self._note_lost(lost) from None
        self._token, self._record = done.token, done.granted.record
        if renews and done.granted.record.lease:
            self._held, self._mark, self._told = (
                done.granted.record.lease,
                done.granted.mark,
                self._member.clock.now(),
            )
        return self._record

    def _is_mine(self, record: Record) -> bool:
        """By fence and holder: what is told of a lease to everybody has no id of it."""
        held = record.lease
        return held is not None and (held.agent, held.fence) == (self.agent, self.fence)

    def _newest(self) -> Record:
        """For an error: what can be had at once."""
        try:
            return record_from_status(self._leasing.records.status(self._resource, LOOK_MS)) or self._record
        except CoordinatorError:
            return self._record
