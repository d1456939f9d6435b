"""What becomes of an operation, and what it is decided by."""

from __future__ import annotations

from typing import Any, NamedTuple


class Context(NamedTuple):
    """What an operation is decided by, besides the document.

    Attributes:
        now_ms: The store's time at this fold, Unix milliseconds; never before that of the fold before.
        agent: Who asks.
        op_id: The operation.
        revision: The revision that is being made.
    """

    now_ms: int
    agent: str
    op_id: str
    revision: int


class Rejected(Exception):
    """The operation was understood, and does not hold. Nothing of it is kept.

    Args:
        why: One word, for programs: ``test``, ``revision``, ``superseded``, …
        text: A sentence, for people.
        winner: The agent that was first, when there is one.
        facts: More, as plain values.
    """

    def __init__(self, why: str, text: str, *, winner: str = "", **facts: Any) -> None:
        super().__init__(text)
        self.why = why
        self.text = text
        self.winner = winner
        self.facts = facts


class BadOperation(Exception):
    """Not an operation that this version knows: it was written by a newer one, and nobody may skip it silently."""
