"""A lease on a document: what is read and committed under it (P15)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from coordinator.document.content import Receipt, check_size, parse_json, revision_conflict
from coordinator.document.snapshot import Draft
from coordinator.errors import LeaseLost, StoreUnavailable
from coordinator.lease import Granted, Lease, RevisionMoved
from coordinator.record.decide import Author, Commit, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.document.document import Document
    from coordinator.lease import LostCallback
    from coordinator.names import Resource
    from coordinator.record.member import Member


class DocumentLease(Lease):
    """A lease that was granted on a path of the workspace. Made by ``Workspace.lease``.

    Args:
        member: Who holds it.
        resource: What it is on.
        granted: The grant.
        document: The document behind the path; whether there is one shows when it is read or committed.
        on_lost: See Lease.
        renew_in_background: See Lease.
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        granted: Granted,
        document: Document,
        *,
        on_lost: LostCallback | None = None,
        renew_in_background: bool = False,
    ) -> None:
        super().__init__(member, resource, granted, on_lost=on_lost, renew_in_background=renew_in_background)
        self._document = document
        self._has_read = False

    def read(self) -> bytes:
        """The newest content; nobody else can commit while the lease is held.

        A plain file that was never committed is adopted first, as revision 1, so that an edit made to it from now on
        is seen as one.

        It does not ask whether the lease is still held: what is made of it is refused at ``commit``, if it is not.

        Raises:
            NoSuchDocument, CorruptSnapshot, StoreUnavailable: As ``Document.read``.
            LeaseLost: A plain file was to be adopted, and the lease is over.
        """
        self._adopt()
        # An edit found at the first look was made by somebody without the lease; later ones may be this holder's own,
        # on their way to commit_view.
        first, self._has_read = not self._has_read, True
        return self._document.content_of(self._record, leave_edits=not first).data

    def read_json(self) -> Any:
        """The newest content as a value. Raises MalformedDocument besides."""
        return parse_json(self.read(), self.resource)

    def commit(self, data: bytes, *, if_revision: int | None = None) -> Receipt:
        """Commits new content; when it returns, that is durable and decided. Renews the lease first when that is due.

        Args:
            data: The whole content.
            if_revision: Refuse unless the document is at this revision; None: whatever it is at.

        Raises:
            StaleFence: A successor was granted the lease. The content lies at ``error.kept``.
            LeaseLost: The lease is over for another reason. The content lies at ``error.kept``.
            RevisionConflict: Only with ``if_revision``.
            BadValue: Too large.
            StoreUnavailable: If ``outcome_unknown``, read before committing again; otherwise nothing was changed.
        """
        check_size(data, self.resource)
        self._adopt_before_commit()
        return self._commit(data, if_revision)

    def commit_json(self, value: Any, *, if_revision: int | None = None) -> Receipt:
        """``commit`` of a value, laid out like the text that it replaces. Raises MalformedDocument besides."""
        return self.commit(self._document.render(value), if_revision=if_revision)

    def commit_view(self, *, check: Callable[[bytes, str], object] | None = None) -> Receipt | None:
        """Commits what this holder, or a program it ran, wrote into the plain file itself (P17).

        For tools that know only the file: under the lease nobody else could commit, so what the file shows was made
        from the newest revision. A file that was never committed stays the user's own.

        Args:
            check: Called with the content and the resource's name; what it raises, keeps it from being committed.

        Returns:
            The receipt; None when there was nothing to commit. Raises as ``commit`` does.
        """
        head = self._record.head
        if head is None:
            return None
        data = self._document.edit_of_view(self._record, self._held.granted_ms)
        if data is None:
            return None
        check_size(data, self.resource)
        if check:
            check(data, self.resource)
        return self._commit(data, None)

    def _adopt(self) -> None:
        if self._record.head is not None:
            return
        found = self._document.plain_file()
        if found is not None:
            check_size(found, self.resource)
            self._commit(found, None, why="adopted")

    def _adopt_before_commit(self) -> None:
        """As ``_adopt``; but a lease that is over must not stop the content that is to come from being kept."""
        if not self._lost and not self._closed and self.remaining > 0:
            with contextlib.suppress(LeaseLost):  # the commit finds out, too
                self._adopt()

    def _commit(self, data: bytes, if_revision: int | None, why: str = "") -> Receipt:
        self._refuse_child()
        with self._lock:
            draft = Draft(self._member, self._resource, data, self._record)
            try:
                record = self._act_on(draft, if_revision, why)
            except LeaseLost as lost:
                if why:
                    draft.drop()  # what was to be adopted is still the plain file
                    raise
                raise self._fenced_out(lost, draft.keep()) from None
            except RevisionMoved as moved:
                draft.drop()
                raise revision_conflict(self._resource, if_revision or 0, moved.args[0]) from None
            except StoreUnavailable as error:
                if not error.outcome_unknown:
                    draft.drop()
                raise
        return self._document.committed(record, data)

    def _act_on(self, draft: Draft, if_revision: int | None, why: str) -> Any:
        def request_for(author: Author, n: int) -> Request:
            return Commit(author, self._held.lease_id, self.fence, draft.aim(n), if_revision, why)

        if self._is_half_used() and not self._closed and not self._lost and self.remaining > 0:
            self.renew()
        return self._act(request_for, renews=False)

    def _fenced_out(self, lost: LeaseLost, kept: str) -> LeaseLost:
        """The error again, telling where the refused content lies."""
        self._tell("fenced_out", reason=lost.reason, holder=lost.successor, kept=kept)
        fields = {**lost.fields, "kept": kept}
        return type(lost)(f"{lost.message}; the content that was refused is kept at {kept}", **fields)
