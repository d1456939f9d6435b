"""What a document's methods give and raise: contents, receipts, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.errors import BadValue, OperationRejected, RevisionConflict
from coordinator.limits import DOCUMENT_MAX_BYTES

if TYPE_CHECKING:
    from coordinator.document.receipt import OperationReceipt
    from coordinator.names import Resource
    from coordinator.record.record import Record


@dataclass(frozen=True, slots=True)
class Content:
    """What a document said at one revision. ``revision`` is 0 for a plain file that was never committed."""

    data: bytes
    revision: int
    sha256: str


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


def revision_of(receipt: Receipt | OperationReceipt | int) -> int:
    """The revision that a receipt tells, or a revision itself."""
    return receipt if isinstance(receipt, int) else receipt.revision


def rejection(resource: Resource, receipt: OperationReceipt) -> OperationRejected:
    """The error for an operation whose preconditions do not hold."""
    return OperationRejected(
        f"operation {receipt.op_id} on {str(resource)!r} was rejected at revision {receipt.revision}: {receipt.text}",
        resource=str(resource),
        op_id=receipt.op_id,
        why=receipt.why,
        winner=receipt.winner,
        revision=receipt.revision,
        facts=receipt.facts,
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
