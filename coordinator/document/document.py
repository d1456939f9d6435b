"""A document: one file's content, committed whole, revision by revision (P15, P16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator.clock import millis_of
from coordinator.document.content import Content, Receipt, check_size, parse_json, rejection, revision_of
from coordinator.document.displaced import SETTLE_MS
from coordinator.document.put import put, refuse_unread
from coordinator.document.snapshot import read_head, sha256_of
from coordinator.document.upkeep import Upkeep
from coordinator.document.view import Refreshed, View
from coordinator.errors import CoordinatorError, NoSuchDocument, RevisionConflict, StoreUnavailable
from coordinator.events import Event
from coordinator.limits import CHAIN_KEEP, UPDATE_WAIT_DEFAULT_MS
from coordinator.names import new_id, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coordinator.document.compactor import Folded
    from coordinator.document.conflicts import Became, Edit
    from coordinator.document.distant import DistantSubmissions
    from coordinator.document.edits import Edits
    from coordinator.document.folding import Change, Folding
    from coordinator.document.history import Revision
    from coordinator.document.receipt import OperationReceipt
    from coordinator.document.submit import Submissions
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


class Document:
    """A document of a workspace. Made by ``Workspace.document``. Thread-safe.

    Args:
        member: Who reads and commits.
        resource: Which file.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._view = View(member, resource, self._newest, self._became)
        self._edits_by_hand: Edits | None = None
        self._edit_waits = False  # the plain file was found edited, and is to be folded first
        self._last: Content | None = None  # the newest content read or committed here: not read twice
        self._upkeep = Upkeep(member, resource)
        self._logs: Folding | None = None
        self._distant: DistantSubmissions | None = None

    @property
    def name(self) -> str:
        """The resource's name."""
        return str(self._resource)

    @property
    def path(self) -> str:
        """Where the plain file is."""
        return self._view.path

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def content(self) -> Content:
        """The newest content and its revision; repairs the plain file if it shows anything else (P16).

        A plain file that was edited is left alone while anybody holds the lease: the holder may be at work in it.

        Never older than what this process has seen. A file that was never committed is revision 0.

        Raises:
            NoSuchDocument: There is nothing under that name.
            CorruptSnapshot, CorruptRecord: The committed content cannot be had; the error says which file.
            StoreUnavailable: A retry is safe.
        """
        record = self._member.store.read(self._resource)
        content = self.content_of(record, fresh=True, leave_edits=record is not None and record.lease is not None)
        if not self._edit_waits:
            return content
        self._edit_waits = False
        try:
            self._view.let_settle(2 * SETTLE_MS)
            self.compact()
        except CoordinatorError as error:  # the edit stays in the plain file until the next read
            self._tell("view_failed", reason=getattr(error, "cause", error.message))
            return content
        record = self._member.store.read(self._resource)
        return self.content_of(record, fresh=True, leave_edits=record is not None and record.lease is not None)

    def content_of(self, record: Record | None, *, fresh: bool = False, leave_edits: bool = False) -> Content:
        """``content``, for a caller that knows the newest record: a lease's holder, the only one who commits."""
        if record is None or record.head is None:
            data = self._view.read()
            if data is None:
                raise NoSuchDocument(f"there is no document {self.name!r} in this workspace", resource=self.name)
            self._last = Content(data, 0, sha256_of(data))
            return self._last
        if record.is_folded:
            return self._folded_content(record, fresh=fresh, leave_edits=leave_edits)
        last = self._last
        if last is None or (last.revision, last.sha256) != (record.revision, record.head.sha256):
            record, data = read_head(self._member, self._resource)
            assert record is not None  # noqa: S101 - it had a head
            if record.is_folded:
                return self._folded_content(record, fresh=True, leave_edits=leave_edits)
            assert record.head is not None  # noqa: S101 - and keeps one
            last = self._last = Content(data, record.revision, record.head.sha256)
        self._refresh_view(record, last.data, fresh=fresh, leave_edits=leave_edits, offer=True)
        return last

    def _folded_content(self, record: Record, **how: bool) -> Content:
        """The content of a folded revision, rendered; the plain file is repaired when it is behind for long (P26)."""
        revision, data = self._folding.text(record)
        if self._last is None or self._last.revision != revision or self._last.data is not data:
            self._last = Content(data, revision, sha256_of(data))
        if revision == record.revision and self._folding.is_view_due(record):
            self._refresh_view(record, data, offer=True, **how)
        return self._last

    def _newest(self) -> tuple[Record | None, bytes]:
        """The newest record and its content."""
        while True:
            record, data = read_head(self._member, self._resource)
            if record is None or not record.is_folded:
                return record, data
            revision, data = self._folding.text(record)
            if revision == record.revision:
                return record, data

    def read(
        self, *, at_least: Receipt | OperationReceipt | int = 0, wait: float = UPDATE_WAIT_DEFAULT_MS / 1000
    ) -> bytes:
        """The newest content: never older than what this process has seen or was acknowledged.

        Args:
            at_least: A revision, or the receipt of a commit or update, that the content is to contain; it is waited
                for, since somebody else may have to fold it.
            wait: Seconds to wait for it at most.

        Raises:
            RevisionNotReached: The document did not come to that revision in time.
            Others as ``content``.
        """
        if at_least:
            op_id = "" if isinstance(at_least, int) else getattr(at_least, "op_id", "")
            self._folding.wait_for(revision_of(at_least), op_id, millis_of(wait, "wait"))
        return self.content().data

    def read_json(self) -> Any:
        """The newest content as a value.

        Raises:
            MalformedDocument: It is not acceptable JSON (also: duplicate keys, numbers that cannot be carried).
        """
        return parse_json(self.read(), self.name)

    @property
    def revision(self) -> int:
        """The newest revision; 0 when nothing was committed."""
        record = self._member.store.read(self._resource)
        return record.revision if record else 0

    def at(self, revision: int) -> bytes:
        """The content at an earlier revision.

        Raises:
            BadValue: There was no such revision, or its content was collected.
        """
        from coordinator.document.history import content_at  # noqa: PLC0415 - looked at by people

        return content_at(self._member, self._resource, revision, self._folding.at)

    def history(self) -> list[Revision]:
        """Every revision that is still known, oldest first."""
        from coordinator.document.history import revisions  # noqa: PLC0415 - likewise

        return revisions(self._member, self._resource)

    def conflicts(self) -> list[str]:
        """Paths of edits by hand that were kept, oldest first."""
        return self._view.conflicts()

    # ── committing without a lease ───────────────────────────────────────────────────────────────────────────────────

    def commit(self, data: bytes, *, if_revision: int) -> Receipt:
        """Commits new content on exactly this revision, if nobody holds the lease.

        Args:
            data: The whole content.
            if_revision: The revision that ``data`` was made from; 0 for a file that was never committed. There is no
                commit without it: a blind one would overwrite what it has not seen.

        Raises:
            RevisionConflict: The document is at another revision. Nothing was changed.
            LeaseHeld: Somebody holds the lease. Nothing was changed.
            BadValue: Too large.
            StoreUnavailable: A retry is safe: had it been made, it is refused as RevisionConflict.
        """
        check_size(data, self.name)
        record = self._member.store.read(self._resource)
        if if_revision == 0 and (record is None or record.head is None):
            if_revision = self._adopt_as_read(record)
            record = self._member.store.read(self._resource)
        return self._put(data, record, if_revision)

    def commit_json(self, value: Any, *, if_revision: int) -> Receipt:
        """``commit`` of a value, laid out like the text that it replaces."""
        return self.commit(self.render(value), if_revision=if_revision)

    def render(self, value: Any) -> bytes:
        """A value as JSON text, laid out like the newest content.

        Raises:
            MalformedDocument: It holds something JSON has no exact word for.
        """
        try:
            like = (self._last or self.content()).data
        except NoSuchDocument:
            like = None
        from coordinator.document.json_text import render  # noqa: PLC0415 - see parse_json

        return render(value, like, self.name)

    def _put(
        self, data: bytes, record: Record | None, if_revision: int, why: str = "", *, in_turn: bool = False
    ) -> Receipt:
        done = put(self._member, self._resource, data, record, if_revision, why=why, in_turn=in_turn)
        return self.committed(done, data)

    # ── updating through logs (P19 to P27) ───────────────────────────────────────────────────────────────────────────

    def update(
        self,
        change: list[dict[str, Any]] | dict[str, Any],
        *,
        if_revision: int | None = None,
        op_id: str | None = None,
        wait: float = UPDATE_WAIT_DEFAULT_MS / 1000,
    ) -> OperationReceipt:
        """Changes the document without a lease: the change goes into this process's own log, and is folded.

        Args:
            change: A list: a JSON Patch (RFC 6902; ``test`` is a precondition). A dict: a merge patch (RFC 7396).
                All of it is applied, or nothing.
            if_revision: Reject it unless the document is still at this revision.
            op_id: The id of an update that may have been submitted before, from whatever process: it is applied once.
            wait: Seconds to wait until it is decided. 0: return as soon as it is durable.

        Returns:
            Its receipt: ``applied``, or ``durable`` when the time was over first.

        Raises:
            OperationRejected: Its preconditions do not hold; says why, and who was first.
            BadValue: It is malformed or too large; nothing was submitted.
            StoreUnavailable: With ``outcome_unknown``, update again with ``op_id=error.op_id``.
        """
        from coordinator.document.operations import as_operation, validate  # noqa: PLC0415 - not for mere leases

        operation = as_operation(change, if_revision)
        validate(operation, self.name)
        receipt = self.perform([operation], ids=[op_id] if op_id else None, wait=wait)[0]
        if receipt.state == "rejected":
            raise rejection(self._resource, receipt)
        return receipt

    def perform(
        self, operations: Sequence[dict[str, Any]], *, ids: Sequence[str] | None = None, wait: float
    ) -> list[OperationReceipt]:
        """Submits checked operations; a receipt for each, rejections included. Raises StoreUnavailable, NewerFormat."""
        if self._member.newer:
            raise self._member.newer
        fresh = [new_id() for _ in operations]
        wanted = [parse_id(op_id) for op_id in ids] if ids else fresh
        try:
            return self._submissions.submit(operations, wanted, wait_ms=millis_of(wait, "wait"), again=bool(ids))
        except StoreUnavailable as error:
            error.op_id = wanted[0]
            raise

    def compact(self) -> Folded:
        """Folds what is new in all logs, once. Needed by nobody who waits: for a process that only compacts."""
        done = self._folding.compactor.fold_once()
        if done.revision:
            self._folding.folded(done)
        return done

    def value(self) -> Any:
        """The newest content as a value, without parsing it anew: shared with later calls, so look and do not touch.

        Raises: As ``read_json``.
        """
        record = self._member.store.read(self._resource)
        if record is None or record.head is None:
            return self.read_json()
        value, malformed = self._folding.value(record)
        return parse_json(self.content_of(record).data, self.name) if malformed or value is None else value

    def changes(self, since: int | Receipt | OperationReceipt = 0) -> list[Change]:
        """The revisions after one, oldest first: a cursor is the ``revision`` of the last one seen.

        Raises:
            BadValue: They are no longer kept: read the document, and go on from its revision.
        """
        record = self._member.store.read(self._resource)
        return self._folding.changes(revision_of(since), record) if record else []

    def watch(
        self, since: int | Receipt | OperationReceipt | None = None, *, timeout: float | None = None
    ) -> Iterator[Change]:
        """The revisions after one, as they come; from now on, without ``since``. Ends after ``timeout`` seconds."""
        after = self.revision if since is None else revision_of(since)
        return self._folding.watch(after, None if timeout is None else millis_of(timeout, "timeout"))

    def close(self) -> None:
        """Ends this process's log, and brings the plain file up to date. Safe to call twice."""
        ways, self._logs, self._distant = (self._logs, self._distant), None, None
        for way in ways:
            if way is not None:
                way.close()

    def open_parts(self) -> tuple[Folding | None, DistantSubmissions | None]:
        """What this process has open, for an invocation that ends (invocation.py); the second is the caller's now."""
        distant, self._distant = self._distant, None
        return self._logs, distant

    @property
    def _submissions(self) -> Submissions | DistantSubmissions:
        """This process's own log; or the inbox, where the directory is not here."""
        if self._member.has_directory:
            return self._folding.submissions
        if self._distant is None:
            from coordinator.document.distant import DistantSubmissions  # noqa: PLC0415 - only without a directory

            self._distant = DistantSubmissions(self._member, self._resource)
        return self._distant

    @property
    def _folding(self) -> Folding:
        logs = self._logs
        if logs is None:
            from coordinator.document.folding import Folding  # noqa: PLC0415 - a lease does without

            logs = Folding(
                self._member,
                self._resource,
                adopt=self._adopt_in_turn,
                edits=self._edits.operations,
                view=self._view,
                refresh=lambda record, data: self._refresh_view(
                    record, data, once=True, offer=True, leave_edits=record.lease is not None
                ),
                tidy=self._upkeep.try_to_remove,
            )
            with self._member.guard:  # two threads: one of them made it in vain
                logs = self._logs = self._logs or logs
        return logs

    def _adopt_in_turn(self, record: Record | None) -> Record | None:
        """For a fold: takes over a plain file that was never committed."""
        found = self._view.read()
        if found is None:
            return record
        try:
            check_size(found, self.name)
            self._put(found, record, 0, "adopted", in_turn=True)
        except RevisionConflict:
            pass  # somebody else was first
        return self._member.store.read(self._resource)

    @property
    def _edits(self) -> Edits:
        if self._edits_by_hand is None:
            from coordinator.document.edits import Edits  # noqa: PLC0415 - a lease does without

            self._edits_by_hand = Edits(self._member, self._resource, self._view, lambda: self._folding)
        return self._edits_by_hand

    def _became(self, record: Record, edit: Edit) -> Became:
        return self._edits.became(record, edit)

    # ── adoption ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _adopt_as_read(self, record: Record | None) -> int:
        """Before a first commit on revision 0: takes a plain file over, if it is what the caller has read."""
        found = self._view.read()
        if found is None:
            return 0
        refuse_unread(found, self._last, self.name)
        return self._put(found, record, 0, "adopted").revision

    def plain_file(self) -> bytes | None:
        """What the plain file says, for adoption by a lease's holder; None when there is none."""
        return self._view.read()

    def edit_of_view(self, record: Record, since_ms: int) -> bytes | None:
        """What a lease's holder wrote into the plain file itself, since it was granted the lease; None for nothing."""
        return self._view.edit_since(record, since_ms)

    # ── after a commit ───────────────────────────────────────────────────────────────────────────────────────────────

    def committed(self, record: Record, data: bytes) -> Receipt:
        """Everything that follows the commit point. Nothing here can undo it, so nothing here raises for trouble."""
        head = record.head
        assert head is not None  # noqa: S101 - it was committed
        self._last = Content(data, head.revision, head.sha256)
        self._tell("committed", fence=head.fence, revision=head.revision, bytes=head.size_bytes)
        shown = self._refresh_view(record, data)
        self._upkeep.after_commit(record, len(data))
        conflicts = shown.conflicts if shown else ()
        return Receipt(head.revision, head.sha256, head.fence, "fresh" if shown else "stale", conflicts)

    def _refresh_view(self, record: Record, data: bytes, **how: bool) -> Refreshed | None:
        """Makes the plain file show a revision; None when that could not be done."""
        if self._member.newer:
            return None
        try:
            shown = self._view.refresh(record, data, **how)
        except CoordinatorError as error:
            self._tell("view_failed", reason=getattr(error, "cause", error.message))
            return None
        self._edit_waits = shown.waiting
        return shown

    def collect(self, *, keep: int = CHAIN_KEEP) -> tuple[int, int, int]:
        """Archives old records and deletes snapshots that nobody can need (P18).

        Returns:
            Records archived and deleted, files deleted, bytes freed.
        """
        record = self._member.store.read(self._resource)
        if record is not None and record.fold is not None:
            self._folding.compactor.retire_silent()
        records = self._member.store.collect(self._resource, self._member.author(), keep=keep)
        files, freed_bytes = self._upkeep.remove_unneeded()
        self._tell("collected", records=records, files=files, bytes=freed_bytes)
        return records, files, freed_bytes

    def refresh_view(self) -> Refreshed:
        """Makes the plain file show the newest content; tells of edits that were kept."""
        record = self._member.store.read(self._resource)
        return self._view.refresh(record) if record else Refreshed(changed=False, conflicts=())

    def _tell(self, kind: str, *, fence: int = 0, holder: str = "", reason: str = "", **detail: Any) -> None:
        self._member.events.tell(
            Event(kind, self.name, self._member.agent, fence, holder=holder, reason=reason, detail=detail)
        )
