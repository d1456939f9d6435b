"""What a connection to the coordinator function is: one request out, one reply back, or word that none came."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, Protocol

REPLY_MAX_BYTES: Final = 128 << 20  # limit: of one reply; the largest document, in base64, is below it


class Reply(NamedTuple):
    """What was answered. ``body`` is None when it was not JSON; ``text`` is then its beginning."""

    status: int
    body: Any
    text: str = ""
    retry_after_ms: int = 0


class NoReply(Exception):  # inside the room only: asking.py tries again, or makes a StoreUnavailable of it
    """There was no reply. ``may_stand``: the request may have been carried out all the same."""

    def __init__(self, cause: str, *, may_stand: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.may_stand = may_stand


class Connection(Protocol):
    """A way to the coordinator function. Thread-safe; usable in a forked child after ``after_fork``."""

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        ...

    def send(self, call: str, body: dict[str, Any], timeout_ms: int) -> Reply:
        """Sends one request, once.

        Raises:
            NoReply: None came in that time.
            WorkspaceError: It cannot be sent from here: credentials or a library are missing.
        """
        ...

    def close(self) -> None:
        """Gives back what is open. The connection can be used on nonetheless."""
        ...

    def after_fork(self) -> None:
        """Called in a forked child: what is open is its parent's."""
        ...


def packed(value: Any) -> bytes:
    """A body as JSON. What JSON has no word for, NaN for one, is refused with ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "strict")


def reply_of(status: int, data: bytes, retry_after: str | None = None) -> Reply:
    """The reply that these bytes are."""
    try:
        body = json.loads(data)
    except ValueError:  # also bytes that are no UTF-8
        body = None
    text = "" if body is not None else data[:200].decode("utf-8", "replace")
    try:
        retry_after_ms = int(min(max(float(retry_after or 0), 0), 3600) * 1000)
    except ValueError:  # a date
        retry_after_ms = 0
    return Reply(status, body, text, retry_after_ms)
