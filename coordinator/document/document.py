"""A document: one file's content, committed whole, revision by revision (P15, P16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.acquire import moved_error
from coordinator.document.snapshot import Draft, collect_snapshots, read_head, read_snapshot, sha256_of
from coordinator.document.view import Refreshed, View
from coordinator.errors import BadValue, CoordinatorError, LeaseHeld, NoSuchDocument, RevisionConflict, StoreUnavailable
from coordinator.events import Event
from coordinator.files import list_surely
from coordinator.limits import CHAIN_KEEP, DOCUMENT_MAX_BYTES, SNAPSHOT_BYTES_DUE
from coordinator.record.agree import Refusal, settle
from coordinator.record.decide import Put, Why
from coordinator.record.mount import unavailable

if TYPE_CHECKING:
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Head, Record


@dataclass(frozen=True, slots=True)
class Content:
    """What a document said at one revision. ``revision`` is 0 for a plain file that was never committed."""

    data: bytes
    revision: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of a document's history.

    Attributes:
        revision: Counted from 1.
        at_ms: When, by the store's clock, Unix milliseconds.
        agent: Who committed it.
        fence: Under which lease; 0 without one.
        why: ``adopted`` for a plain file taken over as it was found; mostly empty.
        sha256: Of its content.
        size_bytes: Of its content.
        available: Whether its content can still be read (``Document.at``).
    """

    revision: int
    at_ms: int
    agent: str
    fence: int
    why: str
    sha256: str
    size_bytes: int
    available: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """An acknowledged commit: durable, and decided.

    Attributes:
        revision: What the content is now.
        sha256: Of the content.
        fence: Under which lease; 0 without one.
        view: ``fresh`` when the plain file shows it; ``stale`` when it could not be refreshed (the next commit or read
            repairs it).
        conflicts: Where edits that were made to the plain file by hand are kept.
    """

    revision: int
    sha256: str
    fence: int
    view: str
    conflicts: tuple[str, ...]


class Document:
    """A document of a workspace. Made by ``Workspace.document``. Thread-safe.

    Args:
        member: Who reads and commits.
        resource: Which file.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._view = View(member, resource)
        self._last: Content | None = None  # the newest content read or committed here: not read twice
        self._collected_floor = 0
        self._uncollected_bytes = 0

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
        return self.content_of(record, fresh=True, leave_edits=record is not None and record.lease is not None)

    def content_of(self, record: Record | None, *, fresh: bool = False, leave_edits: bool = False) -> Content:
        """``content``, for a caller that knows the newest record: a lease's holder, the only one who commits."""
        if record is None or record.head is None:
            data = self._view.read()
            if data is None:
                raise NoSuchDocument(f"there is no document {self.name!r} in this workspace", resource=self.name)
            self._last = Content(data, 0, sha256_of(data))
            return self._last
        last = self._last
        if last is None or (last.revision, last.sha256) != (record.revision, record.head.sha256):
            record, data = read_head(self._member, self._resource)
            assert record is not None  # noqa: S101 - it had a head
            assert record.head is not None  # noqa: S101 - and keeps one
            last = self._last = Content(data, record.revision, record.head.sha256)
        self._refresh_view(record, last.data, fresh=fresh, leave_edits=leave_edits)
        return last

    def read(self) -> bytes:
        """The newest content. Raises as ``content`` does."""
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
        for record in self._member.store.history(self._resource):
            if record.head and record.head.revision == revision and record.kind == "commit":
                data = read_snapshot(self._member, self._resource, record.head)
                if data is not None:
                    return data
        raise BadValue(
            f"the content of revision {revision} of {self.name!r} is not, or no longer, there",
            argument="revision",
            value=revision,
            hint="history() tells which are available",
        )

    def history(self) -> list[Revision]:
        """Every revision that is still known, oldest first."""
        records = [record for record in self._member.store.history(self._resource) if record.kind == "commit"]
        there = self._snapshots()
        return [
            Revision(
                record.head.revision,
                record.at_ms,
                record.agent,
                record.head.fence,
                record.why,
                record.head.sha256,
                record.head.size_bytes,
                record.head.snapshot in there,
            )
            for record in records
            if record.head
        ]

    def _snapshots(self) -> set[str]:
        places = self._member.places
        try:
            return set(list_surely(self._member.files, places.resources, places.of(self._resource, "snap")))
        except OSError as error:
            raise unavailable(error, self._resource, "listing the snapshots of") from error

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

    def _put(self, data: bytes, record: Record | None, if_revision: int, why: str = "") -> Receipt:
        draft = Draft(self._member, self._resource, data, record)
        author = self._member.author()
        try:
            decision = settle(
                self._member.store,
                self._resource,
                lambda n, _now_ms: Put(author, draft.aim(n), if_revision, why),
                known=record,
            )
        except StoreUnavailable as error:
            if not error.outcome_unknown:
                draft.drop()
            raise
        if isinstance(decision, Refusal):
            draft.drop()
            raise self._refused(decision, if_revision)
        return self.committed(decision.record, data)

    def _refused(self, refusal: Refusal, if_revision: int) -> Exception:
        record = refusal.record
        if refusal.why is Why.REVISION:
            return revision_conflict(self._resource, if_revision, record)
        if refusal.why is Why.MOVED:
            return moved_error(self._member, self._resource, record)
        lease = record.lease
        assert lease is not None  # noqa: S101 - HELD
        self._tell("refused", fence=lease.fence, holder=lease.agent, reason="held")
        return LeaseHeld(
            f"{self.name!r} cannot be committed without its lease: {lease.agent} holds it (fence {lease.fence})",
            resource=self.name,
            holder=lease.agent,
            fence=lease.fence,
            since_ms=lease.granted_ms,
            until_ms=lease.until_ms,
            now_ms=record.at_ms,
            waiting=len(record.waiting),
            waited_ms=0,
            hint="commit under the lease, or wait for its end",
        )

    # ── adoption ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _adopt_as_read(self, record: Record | None) -> int:
        """Before a first commit on revision 0: takes a plain file over, if it is what the caller has read."""
        found = self._view.read()
        if found is None:
            return 0
        last = self._last
        if last is None or last.revision != 0 or last.sha256 != sha256_of(found):
            raise RevisionConflict(
                f"there is a plain file {self.name!r} that was never committed, and it is not what this change "
                "was made from",
                resource=self.name,
                expected=0,
                current=0,
            )
        return self._put(found, record, 0, "adopted").revision

    def plain_file(self) -> bytes | None:
        """What the plain file says, for adoption by a lease's holder; None when there is none."""
        return self._view.read()

    def edit_of_view(self, head: Head, since_ms: int) -> bytes | None:
        """What a lease's holder wrote into the plain file itself, since it was granted the lease; None for nothing."""
        return self._view.edit_since(head, since_ms)

    # ── after a commit ───────────────────────────────────────────────────────────────────────────────────────────────

    def committed(self, record: Record, data: bytes) -> Receipt:
        """Everything that follows the commit point. Nothing here can undo it, so nothing here raises for trouble."""
        head = record.head
        assert head is not None  # noqa: S101 - it was committed
        self._last = Content(data, head.revision, head.sha256)
        self._tell("committed", fence=head.fence, revision=head.revision, bytes=head.size_bytes)
        view, conflicts = self._refresh_view(record, data)
        self._uncollected_bytes += len(data)
        if record.floor > self._collected_floor or self._uncollected_bytes > SNAPSHOT_BYTES_DUE:
            self._collect_when_due(record)
        return Receipt(head.revision, head.sha256, head.fence, "fresh" if view else "stale", conflicts)

    def _refresh_view(self, record: Record, data: bytes, **how: bool) -> tuple[bool, tuple[str, ...]]:
        if self._member.newer:
            return False, ()
        try:
            done = self._view.refresh(record, data, **how)
        except CoordinatorError as error:
            self._tell("view_failed", reason=getattr(error, "cause", error.message))
            return False, ()
        return True, done.conflicts

    def _collect_when_due(self, record: Record) -> None:
        try:
            if self._uncollected_bytes > SNAPSHOT_BYTES_DUE:
                self._member.store.collect(self._resource, self._member.author(), keep=CHAIN_KEEP // 8)
            collect_snapshots(self._member, self._resource)
        except CoordinatorError:
            return  # the next commit tries again
        self._collected_floor, self._uncollected_bytes = record.floor, 0

    def collect(self, *, keep: int = CHAIN_KEEP) -> tuple[int, int, int]:
        """Archives old records and deletes snapshots that nobody can need (P18).

        Returns:
            Records archived and deleted, files deleted, bytes freed.
        """
        records = self._member.store.collect(self._resource, self._member.author(), keep=keep)
        files, freed_bytes = collect_snapshots(self._member, self._resource)
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


def parse_json(data: bytes, name: str) -> Any:
    """The value of a JSON text; see ``json_text.parse``."""
    from coordinator.document.json_text import parse  # noqa: PLC0415 - 3 ms that a mere lease does not need

    return parse(data, name)


def revision_conflict(resource: Resource, expected: int, record: Record) -> RevisionConflict:
    """The error for a commit on a revision that is not the newest."""
    return RevisionConflict(
        f"{str(resource)!r} is at revision {record.revision}, and this change was made on {expected}",
        resource=str(resource),
        expected=expected,
        current=record.revision,
    )


def check_size(data: bytes, name: str) -> None:
    """Refuses content above the limit.

    Raises:
        BadValue: With both figures.
    """
    if len(data) > DOCUMENT_MAX_BYTES:
        raise BadValue(
            f"{name!r} would be {len(data)} bytes, and {DOCUMENT_MAX_BYTES} is the most for a document",
            argument="data",
            value=len(data),
            hint="every revision is a whole copy: keep large data in files of their own, and commit what names them",
        )
