"""A document that is read and updated through the coordinator function."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, NoReturn

from coordinator.clock import elapsed_max_ms, millis_of
from coordinator.document.content import Content, parse_json, revision_of
from coordinator.document.document import Document
from coordinator.document.snapshot import sha256_of
from coordinator.errors import CorruptSnapshot, RevisionNotReached
from coordinator.limits import UPDATE_WAIT_DEFAULT_MS
from coordinator.remote.asking import ASK_WAIT_CANCEL_MS, Waiting
from coordinator.remote.records import not_remotely

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coordinator.document.content import Receipt
    from coordinator.document.folding import Change
    from coordinator.document.receipt import OperationReceipt
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.remote.asking import Asker
    from coordinator.remote.updates import RemoteSubmissions

CHANGES_PAGE: Final = 100


class RemoteDocument(Document):
    """A document of a workspace that is reached through the coordinator function. Made by ``RemoteWorkspace.document``.

    Args:
        member: Who reads and updates.
        resource: Which file.
        asker: Asks the function.
    """

    def __init__(self, member: Member, resource: Resource, asker: Asker) -> None:
        super().__init__(member, resource)
        self._asker = asker
        self._remote: RemoteSubmissions | None = None
        self._seen = 0  # the newest revision that this process was told of

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def content(self) -> Content:
        """The newest content and its revision: never older than what this process has seen or was acknowledged."""
        return self._content(self._seen, Waiting(self._member.clock, UPDATE_WAIT_DEFAULT_MS))

    def read(
        self, *, at_least: Receipt | OperationReceipt | int = 0, wait: float = UPDATE_WAIT_DEFAULT_MS / 1000
    ) -> bytes:
        """The newest content; see ``Document.read``."""
        if not at_least:
            return self.content().data
        least = max(revision_of(at_least), self._seen)
        if not isinstance(at_least, int) and not revision_of(at_least):  # durable only: it has no revision yet
            least = max(self._revision_of(at_least, wait), self._seen)
        return self._content(least, Waiting(self._member.clock, millis_of(wait, "wait"))).data

    def _revision_of(self, receipt: Receipt | OperationReceipt, wait: float) -> int:
        op_id = getattr(receipt, "op_id", "")
        if not op_id:
            return 0
        waiting = Waiting(self._member.clock, millis_of(wait, "wait"))
        while True:
            portion_ms = waiting.portion_ms()
            body = {"document": self.name, "agent": self._member.agent, "op_ids": [op_id], "wait_ms": portion_ms}
            told = self._asker.ask("operations/receipts", body, resource=self.name, wait_ms=portion_ms)
            found = [int(row["revision"]) for row in told.rows("receipts")]
            if any(found):
                return max(found)
            if not waiting.goes_on():
                raise RevisionNotReached(
                    f"operation {op_id} on {self.name!r} was not decided in time",
                    resource=self.name,
                    expected=0,
                    current=self._seen,
                )

    def _content(self, at_least: int, waiting: Waiting) -> Content:
        while True:
            portion_ms = waiting.portion_ms()
            body: dict[str, Any] = {"document": self.name, "wait_ms": portion_ms}
            if at_least:
                body["at_least"] = at_least
            try:
                told = self._asker.ask("documents/read", body, resource=self.name, wait_ms=portion_ms)
            except RevisionNotReached:
                if waiting.goes_on():
                    continue
                raise
            content = self._checked(told)
            self._seen = max(self._seen, content.revision)
            self._last = content
            return content

    def _checked(self, told: dict[str, Any]) -> Content:
        revision, sha256 = told["revision"], told["sha256"]
        try:
            data = (
                base64.b64decode(told["base64"], validate=True)
                if told.get("text") is None
                else told["text"].encode("utf-8")
            )
        except (binascii.Error, UnicodeError) as error:
            raise self._cut(revision, f"it is no content: {error}") from None
        if sha256_of(data) != sha256:
            raise self._cut(revision, "its sha256 is not that of the committed content")
        return Content(data, revision, sha256)

    def _cut(self, revision: int, why: str) -> CorruptSnapshot:
        return CorruptSnapshot(
            f"revision {revision} of {self.name!r} did not come whole: {why}",
            resource=self.name,
            path=self._asker.connection.place,
            revision=revision,
            hint="read it again",
        )

    def value(self) -> Any:
        """The newest content as a value. Raises: As ``read_json``."""
        return parse_json(self.read(), self.name)

    # ── updating ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def perform(
        self, operations: Sequence[dict[str, Any]], *, ids: Sequence[str] | None = None, wait: float
    ) -> list[OperationReceipt]:
        """Submits checked operations; see ``Document.perform``."""
        receipts = super().perform(operations, ids=ids, wait=wait)
        self._seen = max(self._seen, *(receipt.revision for receipt in receipts if receipt.state != "rejected"), 0)
        return receipts

    @property
    def _submissions(self) -> Any:
        if self._remote is None:
            from coordinator.remote.updates import RemoteSubmissions  # noqa: PLC0415 - 40 ms that a lease does without

            self._remote = RemoteSubmissions(self._member, self._resource, self._asker)
        return self._remote

    def changes(self, since: int | Receipt | OperationReceipt = 0) -> list[Change]:
        """The revisions after one, oldest first; see ``Document.changes``."""
        from coordinator.remote.updates import change_from  # noqa: PLC0415 - see _submissions

        after, found = revision_of(since), []
        while True:
            body = {"document": self.name, "since": after, "limit": CHANGES_PAGE}
            told = self._asker.ask("documents/changes", body, resource=self.name)
            page = [change_from(row) for row in told.rows("changes")]
            found += page
            following = told.get("next")
            if not page or following is None or following <= after:
                return found
            after = following

    def watch(
        self, since: int | Receipt | OperationReceipt | None = None, *, timeout: float | None = None
    ) -> Iterator[Change]:
        """The revisions after one, as they come: looked for up to twice a second; see ``Document.watch``."""
        after = self.revision if since is None else revision_of(since)
        return self._watch(after, None if timeout is None else millis_of(timeout, "timeout"))

    def _watch(self, after: int, timeout_ms: int | None) -> Iterator[Change]:
        clock = self._member.clock
        began = clock.now()
        while True:
            if self.revision > after:
                for change in self.changes(after):
                    after = change.revision
                    yield change
            left_ms = None if timeout_ms is None else timeout_ms - elapsed_max_ms(began, clock.now())
            if left_ms is not None and left_ms <= 0:
                return
            clock.pause(ASK_WAIT_CANCEL_MS if left_ms is None else min(ASK_WAIT_CANCEL_MS, left_ms))

    # ── what is only to be had where the directory is ────────────────────────────────────────────────────────────────

    def commit(self, data: bytes, *, if_revision: int) -> Receipt:  # noqa: ARG002 - the same face
        """Not to be had here.

        Raises:
            NoDirectory: Always; says what to do instead.
        """
        self._refuse("committing whole content")

    def commit_json(self, value: Any, *, if_revision: int) -> Receipt:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        self._refuse("committing whole content")

    def compact(self) -> NoReturn:
        """Not to be had here: the compactor function folds. Raises NoDirectory."""
        self._refuse("folding")

    def at(self, revision: int) -> bytes:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        self._refuse("reading an earlier revision")

    def history(self) -> NoReturn:
        """Not to be had here: ``changes`` tells what was folded. Raises NoDirectory."""
        self._refuse("the list of revisions")

    def conflicts(self) -> NoReturn:
        """Not to be had here. Raises NoDirectory."""
        self._refuse("looking at edits that were kept")

    def collect(self, *, keep: int = 0) -> NoReturn:  # noqa: ARG002 - the same face
        """Not to be had here. Raises NoDirectory."""
        self._refuse("collecting")

    def refresh_view(self) -> NoReturn:
        """Not to be had here. Raises NoDirectory."""
        self._refuse("refreshing the plain file")

    def _refuse(self, what: str) -> NoReturn:
        raise not_remotely(f"{what} of {self.name!r}")

    def close(self) -> None:
        """Nothing is open here."""
