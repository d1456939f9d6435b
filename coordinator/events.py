"""What happened, told as it happens (P14): steals, refusals, fenced-out commits, repairs.

An event goes to the workspace's ``on_event`` callable, and to the logger ``coordinator`` when the program logs at all.
It is plain data, so that a program can count it, ship it or assert on it. Grants and commits also stand in the chain
for later (``history``); refusals change nothing, so an event is all there is of them.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# kind -> logging level, by number so that logging (6 ms) is not imported for those who do not use it
LEVELS: Final = {
    "granted": 10,
    "stolen": 30,  # granted over a lease that ran out, fell silent or whose host's deadline passed
    "refused": 20,
    "released": 10,
    "broken": 30,  # freed by force
    "lost": 30,  # a holder found its lease gone
    "fenced_out": 30,  # a commit was refused to a superseded holder; its content is kept
    "committed": 10,
    "folded": 10,
    "log_quarantined": 40,  # an agent's log is damaged; what is left of it is kept, and nothing more of it is folded
    "inbox_damaged": 40,  # an item of the inbox was altered by hand; nothing of it is folded
    "inbox_unread": 30,  # the table did not answer: what waits there is folded later
    "log_retired": 20,  # a log that was silent for long is fenced, read to its end, and deleted
    "resubmitted": 30,  # a log was fenced or set aside under its writer, which went on in a new one
    "edit_absorbed": 20,  # what somebody wrote into the plain file by hand was folded
    "view_repaired": 20,
    "view_edited": 30,  # the plain file was changed by hand; what was there is kept in conflicts/
    "view_failed": 30,  # the plain file could not be refreshed; the commit stands all the same
    "release_failed": 30,
    "invocation_thawed": 20,  # this process stood still, and goes on as another incarnation
    "invocation_ended": 20,  # what was still to be released, synced and shown at the end of an invocation
    "authority_moved": 30,  # another store rules from now on; this process goes on there
    "falling_back": 40,  # flock was refused for too long: the rule is moved to the table
    "collected": 10,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        kind: A key of ``LEVELS``.
        resource: What it happened to.
        agent: Who it happened to, or who did it.
        fence: The fence concerned; 0 when there is none.
        holder: The other one concerned: the holder that refused, was superseded, or took over.
        reason: Why, as one word (``expired``, ``silent``, ``dead``, ``held``, ``taken``, …).
        waited_ms: How long it was waited for.
        detail: More facts, plain values.
    """

    kind: str
    resource: str
    agent: str
    fence: int = 0
    holder: str = ""
    reason: str = ""
    waited_ms: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


class Events:
    """Where a workspace's events go.

    Args:
        listener: Called with each event, in the thread where it happened. What it raises is logged and goes no further:
            a commit that stands must not look as if it had failed.
    """

    def __init__(self, listener: Callable[[Event], None] | None = None) -> None:
        self._listener = listener

    def tell(self, event: Event) -> None:
        """Hands one event on."""
        logging = sys.modules.get("logging")
        if logging is not None:
            logger = logging.getLogger("coordinator")
            if not logger.handlers:  # a library stays silent until its program sets logging up
                logger.addHandler(logging.NullHandler())
            if logger.isEnabledFor(LEVELS[event.kind]):
                facts = {key: value for key, value in asdict(event).items() if value}
                logger.log(LEVELS[event.kind], "%s %s", event.kind, facts, extra={"coordinator": facts})
        if self._listener:
            call_safely(self._listener, event)


def call_safely(callback: Callable[[T], None], argument: T) -> None:
    """Calls a user's callback; what it raises is logged."""
    try:
        callback(argument)
    except Exception:
        import logging  # noqa: PLC0415 - see LEVELS

        logging.getLogger("coordinator").exception("the callback %r failed", callback)
