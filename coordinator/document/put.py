"""Committing whole content without a lease, on exactly one revision (P15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.acquire import moved_error
from coordinator.document.content import revision_conflict
from coordinator.document.snapshot import Draft, sha256_of
from coordinator.errors import CoordinatorError, LeaseHeld, RevisionConflict, StoreUnavailable
from coordinator.events import Event
from coordinator.record.agree import Refusal, settle
from coordinator.record.decide import Put, Why

if TYPE_CHECKING:
    from coordinator.document.content import Content
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


def put(
    member: Member,
    resource: Resource,
    data: bytes,
    record: Record | None,
    if_revision: int,
    *,
    why: str = "",
    in_turn: bool = False,
) -> Record:
    """Commits content if the document is at this revision and nobody holds the lease.

    Args:
        member: Who commits.
        resource: What.
        data: The whole content.
        record: The newest record, as far as the caller knows.
        if_revision: The revision that it was made from.
        why: What the record says of it: ``adopted``.
        in_turn: The caller has the turn.

    Returns:
        The record that commits it.

    Raises:
        RevisionConflict, LeaseHeld, AuthorityMoved: Nothing was changed.
        StoreUnavailable: A retry is safe: had it been made, it is refused as RevisionConflict.
    """
    draft = Draft(member, resource, data, record)
    author = member.author()
    try:
        decision = settle(
            member.store,
            resource,
            lambda n, _now_ms: Put(author, draft.aim(n), if_revision, why),
            known=record,
            in_turn=in_turn,
        )
    except StoreUnavailable as error:
        if not error.outcome_unknown:
            draft.drop()
        raise
    if isinstance(decision, Refusal):
        draft.drop()
        raise _refused(member, resource, decision, if_revision)
    return decision.record


def _refused(member: Member, resource: Resource, refusal: Refusal, if_revision: int) -> CoordinatorError:
    record, name = refusal.record, str(resource)
    if refusal.why is Why.REVISION:
        return revision_conflict(resource, if_revision, record)
    if refusal.why is Why.MOVED:
        return moved_error(member, resource, record)
    lease = record.lease
    assert lease is not None  # noqa: S101 - HELD
    member.events.tell(Event("refused", name, member.agent, lease.fence, holder=lease.agent, reason="held"))
    return LeaseHeld(
        f"{name!r} cannot be committed without its lease: {lease.agent} holds it (fence {lease.fence})",
        resource=name,
        holder=lease.agent,
        fence=lease.fence,
        since_ms=lease.granted_ms,
        until_ms=lease.until_ms,
        now_ms=record.at_ms,
        waiting=len(record.waiting),
        waited_ms=0,
        hint="commit under the lease, or wait for its end",
    )


def refuse_unread(found: bytes, last: Content | None, name: str) -> None:
    """Refuses a first commit over a plain file that was never committed, and is not what the caller has read.

    Raises:
        RevisionConflict: See above. Nothing was changed.
    """
    if last is None or last.revision != 0 or last.sha256 != sha256_of(found):
        raise RevisionConflict(
            f"there is a plain file {name!r} that was never committed, and it is not what this change was made from",
            resource=name,
            expected=0,
            current=0,
        )
