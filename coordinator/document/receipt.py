"""What an agent learns of its operation (P25)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.document.fold import AGAIN, APPLIED, REJECTED

DURABLE: Final = "durable"


@dataclass(frozen=True, slots=True)
class OperationReceipt:
    """What became of one operation (P25).

    Attributes:
        op_id: The operation's id: with it a retry, from whatever process, is recognised.
        state: ``applied``; ``rejected``; or ``durable``: it is in the log and will be decided, but was not in the time
            that was waited.
        revision: The revision that applied or rejected it; 0 while it is durable only.
        result: What an applied operation gave.
        why: Why it was rejected, as one word.
        text: The same as a sentence.
        winner: Who was first, when somebody was.
        facts: More about a rejection.
        again: Whether it had been decided before, and this was a retry.
    """

    op_id: str
    state: str
    revision: int = 0
    result: Any = None
    why: str = ""
    text: str = ""
    winner: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    again: bool = False


def receipt_of(op_id: str, outcome: str, info: Any, revision: int, *, again: bool = False) -> OperationReceipt:
    """The receipt that a fold line's outcome makes; of a retry, one that says when it was decided first."""
    if outcome == APPLIED:
        return OperationReceipt(op_id, APPLIED, revision, info, again=again)
    if outcome == REJECTED:
        facts = {key: value for key, value in info.items() if key not in {"why", "text", "winner"}}
        return OperationReceipt(
            op_id, REJECTED, revision, None, info["why"], info["text"], info.get("winner", ""), facts, again
        )
    return OperationReceipt(op_id, AGAIN, info[0], info[1], again=True)


def receipt_without_details(op_id: str, outcome: str, revision: int) -> OperationReceipt:
    """The receipt of an operation of which only the outcome is still known: its fold line was collected."""
    gone = {"why": "gone", "text": "the details of this outcome were collected"} if outcome == REJECTED else None
    return receipt_of(op_id, outcome, gone, revision, again=True)
