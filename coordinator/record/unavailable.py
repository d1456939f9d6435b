"""What an error of the file system means to the caller."""

from __future__ import annotations

import errno
from typing import Final

from coordinator.errors import NoRoom, StoreUnavailable

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def lock_refused(error: OSError, resource: str) -> StoreUnavailable:
    """What an OSError of flock, or of opening what is to be locked, means to the caller (P31).

    EDQUOT is a quota of locks there: no room that is made would help.
    """
    is_room = error.errno in NO_ROOM - {errno.EDQUOT}
    told = unavailable(error, resource, "queueing (flock) for", kind=NoRoom if is_room else StoreUnavailable)
    if not is_room:
        told.hint = (
            "is flock to be had on this mount, and its quota of locks not used up? Fewer processes a mount, or a table "
            '(fallback="table") to go on at'
        )
    return told


def unavailable(
    error: OSError,
    resource: str,
    doing: str,
    *,
    outcome_unknown: bool = False,
    kind: type[StoreUnavailable] | None = None,
) -> StoreUnavailable:
    """What an OSError means to the caller: ``kind``, or what its number says."""
    kind = kind or (NoRoom if error.errno in NO_ROOM else StoreUnavailable)
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    where = f" ({error.filename})" if error.filename else ""
    return kind(
        f"{doing} {resource!r} failed: {name}: {error.strerror or error}{where}",
        resource=str(resource),
        cause=f"{name}: {error.strerror or error}",
        outcome_unknown=outcome_unknown,
    )
