"""An answer that is no success, as the exception it was there: same class, same fields, same hint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordinator import errors
from coordinator.errors import BadRequest, CoordinatorError, StoreUnavailable, WorkspaceError

if TYPE_CHECKING:
    from coordinator.remote.connection import Reply

OK: Final = 200
_FORBIDDEN: Final = (401, 403)
_NOT_FOUND: Final = 404
_TOO_LARGE: Final = 413
_THROTTLED: Final = 429
_SERVERS_FAULT: Final = 500
_TEXT_MAX_CHARS: Final = 300
_NOT_FIELDS: Final = frozenset({"message", "hint", "args", "fields", "default_hint", "with_traceback", "add_note"})


def error_of(reply: Reply, call: str, resource: str, place: str) -> CoordinatorError:
    """The exception for a reply that is not 200.

    Args:
        reply: What came.
        call: What was called.
        resource: What it was about.
        place: Who was asked.
    """
    told = reply.body if isinstance(reply.body, dict) else {}
    kind = _kind_named(told.get("error"))
    if kind is not None:
        return _told_error(kind, told)
    return _other(reply, call, resource, place)


def _kind_named(name: Any) -> type[CoordinatorError] | None:
    kind = getattr(errors, name, None) if isinstance(name, str) else None
    return kind if isinstance(kind, type) and issubclass(kind, CoordinatorError) else None


def _told_error(kind: type[CoordinatorError], told: dict[str, Any]) -> CoordinatorError:
    message, hint, fields = told.get("message"), told.get("hint"), told.get("fields")
    facts = {
        name: value
        for name, value in (fields if isinstance(fields, dict) else {}).items()
        if name.isidentifier() and name[0] != "_" and name not in _NOT_FIELDS
    }
    return kind(str(message or kind.__name__), hint=hint if isinstance(hint, str) else None, **facts)


def _other(reply: Reply, call: str, resource: str, place: str) -> CoordinatorError:
    """Said by something in between, or by a coordinator of another version."""
    said = _said(reply)
    message = f"{call} at {place} was answered {reply.status}: {said}"
    if reply.status in _FORBIDDEN:
        return WorkspaceError(
            message, path=place, hint="may this identity call it, by IAM? is this machine's clock right?"
        )
    if reply.status >= _SERVERS_FAULT or reply.status == _THROTTLED:
        return StoreUnavailable(
            message,
            resource=resource,
            cause=f"{reply.status} {said}"[:_TEXT_MAX_CHARS],
            outcome_unknown=reply.status != _THROTTLED,
            hint="try again; if it stays so, look at the function's log",
        )
    if reply.status == _NOT_FOUND or reply.status < _NOT_FOUND - 4:
        hint = "is this the coordinator's address, and of this version?"
        return WorkspaceError(message, path=place, hint=hint)
    hint = "ask for less at once" if reply.status == _TOO_LARGE else "is the coordinator there of the same version?"
    return BadRequest(message, hint=hint)


def _said(reply: Reply) -> str:
    told = reply.body
    if isinstance(told, dict):
        for name in ("message", "Message", "error"):
            if isinstance(told.get(name), str):
                return str(told[name])[:_TEXT_MAX_CHARS]
    return (reply.text if told is None else str(told))[:_TEXT_MAX_CHARS] or "nothing"
