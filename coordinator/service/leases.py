"""Leases for callers that hold them from afar: granted, renewed and freed by requests that are safe to try again.

A request's id makes the id of its record (P7): the grant, the renewal and the release carry it, so that a retry, in
whatever environment of the function, finds in the record itself what became of the first try. Nothing is remembered
in between, and no answer is kept for a repetition. The record of a resource and the newest ones before it lie in one
item: one read tells.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from coordinator.acquire import Acquisition, check_bounds
from coordinator.errors import LeaseHeld, LeaseLost, NotAllowed, StaleFence, StoreUnavailable
from coordinator.lease import parse_token
from coordinator.names import Resource
from coordinator.record.agree import Refusal, settle
from coordinator.record.decide import Author, Release, Renew
from coordinator.record.table import TableStore

if TYPE_CHECKING:
    from coordinator.record.record import Record
    from coordinator.service import models
    from coordinator.workspace import Workspace

    Body = dict[str, Any]

_ID_CHARS: Final = 20
_GRANTS: Final = frozenset({"grant", "resume"})


def record_id(*parts: str) -> str:
    """The id of the record that a request writes: a digest (100 bits) of what it does, as whom, on what, and its id.

    The agent is a part of it, so that nobody is granted what another's request was by guessing that request's id; and
    the verb, so that a release is not taken for done because an acquire had the same id.
    """
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return base64.b32encode(digest).decode().lower()[:_ID_CHARS]


# ── acquiring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def acquire(workspace: Workspace, body: models.Acquire) -> Body:
    """One lease. Raises LeaseHeld; LeaseLost when this very request was granted it, and it is over since."""
    return _acquired(workspace, body.name, body.request_id, body.ttl_ms, body.wait_ms)


def acquire_many(workspace: Workspace, body: models.AcquireMany) -> Body:
    """Several, in the order of their names, all or none: what was had already is freed when one is not to be had.

    One after the other, each with an id of its own that follows from the request's, rather than in one transaction: a
    retry after half of them were granted then finds its own, and goes on with the rest.
    """
    had: list[Body] = []
    try:
        for name in sorted({str(Resource.parse(name)) for name in body.names}):
            wait_ms = 0 if had else body.wait_ms
            had.append(_acquired(workspace, name, body.request_id, body.ttl_ms, wait_ms))
    except StoreUnavailable:
        raise  # a retry finds what was granted
    except Exception:
        for one in reversed(had):
            _free(workspace, one["token"])
        raise
    return {"leases": had}


def _acquired(workspace: Workspace, name: str, request_id: str, ttl_ms: int, wait_ms: int) -> Body:
    member, resource = workspace._member, Resource.parse(name)  # noqa: SLF001 - the function is its other half
    request = record_id("acquire", workspace.agent, str(resource), request_id)
    check_bounds(ttl_ms, wait_ms, 0)
    recent = _recent(workspace, resource)
    newest = recent[-1] if recent else None
    if newest is not None and newest.lease is not None and newest.lease.lease_id == request:
        return _granted(workspace, resource, newest)
    if any(one.request == request and one.kind in _GRANTS for one in recent):
        _refuse_replay(resource, request, recent)
    author = Author(request, workspace.agent, member.incarnation)
    wish = Acquisition(member, resource, ttl_ms, 0, None, author=author, known=newest)
    try:
        return _granted(workspace, resource, wish.run(wait_ms).record)
    except LeaseHeld as held:
        if newest is not None and newest.lease is not None and newest.lease.fence == held.fence and not wait_ms:
            raise  # decided by that very read
        again = _recent(workspace, resource)  # another try of the same request may have been granted meanwhile
        if again and again[-1].lease is not None and again[-1].lease.lease_id == request:
            return _granted(workspace, resource, again[-1])
        raise


def _refuse_replay(resource: Resource, request: str, recent: list[Record]) -> None:
    grant = next(one for one in recent if one.request == request and one.kind in _GRANTS)
    newest = recent[-1]
    holder = newest.lease
    raise LeaseLost(
        f"the lease on {str(resource)!r} was granted to this request, with fence {grant.n}, and is over since",
        resource=str(resource),
        fence=grant.n,
        reason="taken" if holder else "released",
        successor=holder.agent if holder else "",
        successor_fence=holder.fence if holder else 0,
        kept="",
        hint="ask with a fresh request_id",
    )


def _granted(workspace: Workspace, resource: Resource, record: Record) -> Body:
    held = record.lease
    assert held is not None  # noqa: S101 - it was granted, or renewed
    return {
        "token": f"v1.{held.fence}.{held.lease_id}.{resource}",
        "name": str(resource),
        "fence": held.fence,
        "agent": held.agent,
        "since_ms": held.granted_ms,
        "until_ms": held.until_ms,
        "ttl_ms": held.ttl_ms,
        "now_ms": workspace._member.store.now_ms(),  # noqa: SLF001 - likewise
        "waiting": len(record.waiting),
    }


# ── holding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def renew(workspace: Workspace, body: models.Holding) -> Body:
    """Starts the ttl anew. Raises LeaseLost."""
    return _granted(workspace, parse_token(body.token)[0], _settled(workspace, Renew, body))


def release(workspace: Workspace, body: models.Holding) -> Body:
    """Frees a lease; again, when it was this very request that freed it. Raises LeaseLost."""
    _settled(workspace, Release, body)
    return {"released": True}


def _settled(workspace: Workspace, kind: type[Renew | Release], body: models.Holding) -> Record:
    resource, fence, lease_id = parse_token(body.token)
    member = workspace._member  # noqa: SLF001 - likewise
    author = member.author()
    if body.request_id is not None:
        ours = record_id(kind.__name__, author.agent, body.token, body.request_id)
        author = Author(ours, author.agent, author.incarnation)
    known = _recent(workspace, resource)
    if kind is Release and any(one.request == author.request for one in known):
        return known[-1]
    held = known[-1].lease if known else None
    if held is not None and held.fence == fence and held.agent != author.agent:
        raise NotAllowed(
            f"the lease on {str(resource)!r} with fence {fence} is not of {author.agent!r}",
            identity="",
            agent=author.agent,
            hint="a token is used as the agent it was granted to",
        )
    decision = settle(
        member.store,
        resource,
        lambda _n, _now_ms: kind(author, lease_id, fence),
        known=known[-1] if known else None,
        queued=False,
    )
    if isinstance(decision, Refusal):
        raise _lost(resource, fence, decision.record)
    return decision.record


def _lost(resource: Resource, fence: int, record: Record) -> LeaseLost:
    holder = record.lease
    taken = holder is not None and holder.fence != fence
    kind = StaleFence if taken else LeaseLost
    return kind(
        f"the lease on {str(resource)!r} with fence {fence} is lost",
        resource=str(resource),
        fence=fence,
        reason="taken" if taken else "released",
        successor=holder.agent if holder and taken else "",
        successor_fence=holder.fence if holder and taken else 0,
        kept="",
    )


def _free(workspace: Workspace, token: str) -> None:
    """As well as it can be: what cannot be freed runs out by its ttl."""
    resource, fence, lease_id = parse_token(token)
    member = workspace._member  # noqa: SLF001 - likewise
    try:
        settle(member.store, resource, lambda _n, _now_ms: Release(member.author(), lease_id, fence), queued=False)
    except StoreUnavailable:
        return


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def inspect(workspace: Workspace, body: models.Inspect) -> Body:
    """One resource at a glance: one read."""
    return asdict(workspace.status_of(body.name))


def list_leases(workspace: Workspace, body: models.ListLeases) -> Body:
    """A page of resources; each is one read. ``next`` is what to go on after; the last page may be empty."""
    page = _store(workspace).page(body.after, body.limit)
    return {
        "resources": [asdict(workspace.status_of(str(one))) for one in page],
        "next": str(page[-1]) if len(page) == body.limit else None,
    }


def request_release(workspace: Workspace, body: models.RequestRelease) -> Body:
    """Asks the holder to let go, and waits for it for a while."""
    return {"released": workspace.request_release(body.name, grace=body.grace_ms / 1000)}


def history(workspace: Workspace, body: models.History) -> Body:
    """The newest records that are still kept, oldest first; without the ids that tokens are made of."""
    resource = Resource.parse(body.name)
    return {"records": [_row(record) for record in _store(workspace).newest(resource, body.limit)]}


def _row(record: Record) -> Body:
    row = asdict(record)
    row.pop("request")
    if row["lease"] is not None:
        row["lease"].pop("lease_id")
    row["waiting"] = [{"request": "", "since_ms": waiter.since_ms} for waiter in record.waiting]
    return row


def _store(workspace: Workspace) -> TableStore:
    store = workspace._member.store  # noqa: SLF001 - likewise
    assert isinstance(store, TableStore)  # noqa: S101 - there is no mount here
    return store


def _recent(workspace: Workspace, resource: Resource) -> list[Record]:
    return _store(workspace).recent(resource)
