"""Errors as the wire has them: a status, and a name with fields that a client makes the same error of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import (
    BadRequest,
    BadValue,
    CoordinatorError,
    LeaseLost,
    NoSuchDocument,
    NotAllowed,
    Refused,
    RevisionConflict,
    StaleFence,
    StoreUnavailable,
)

if TYPE_CHECKING:
    Body = dict[str, Any]


class TooLarge(BadValue):
    """What does not fit. ``value`` is its size, ``most`` what would do."""

    most: int


def told_error(error: CoordinatorError) -> Body:
    """An error as the wire has it."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "coordinator.errors")
    known = json.loads(json.dumps(error.fields, default=str))
    return {"error": kind.__name__, "message": error.message, "hint": error.hint, "fields": known}


# The first that fits; what is not here is for a person to mend.
_STATUS: Final[tuple[tuple[type[CoordinatorError], int], ...]] = (
    (TooLarge, 413),
    (NotAllowed, 403),
    (NoSuchDocument, 404),
    (BadRequest, 422),
    (StaleFence, 412),
    (RevisionConflict, 412),
    (LeaseLost, 410),
    (Refused, 409),
    (StoreUnavailable, 503),
)


_THROTTLED: Final = ("ThrottlingException", "ProvisionedThroughputExceeded", "RequestLimitExceeded")  # of the table


def status_of(error: CoordinatorError) -> int:
    """The HTTP status that an error is told with."""
    if isinstance(error, StoreUnavailable) and any(sign in error.cause for sign in _THROTTLED):
        return 429
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
