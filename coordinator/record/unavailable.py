"""What an error of the file system means to the caller."""

from __future__ import annotations

import errno
from typing import Final

from coordinator.errors import NoRoom, StoreUnavailable

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def unavailable(error: OSError, resource: str, doing: str, *, outcome_unknown: bool = False) -> StoreUnavailable:
    """What an OSError means to the caller."""
    kind = NoRoom if error.errno in NO_ROOM else StoreUnavailable
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    where = f" ({error.filename})" if error.filename else ""
    return kind(
        f"{doing} {resource!r} failed: {name}: {error.strerror or error}{where}",
        resource=str(resource),
        cause=f"{name}: {error.strerror or error}",
        outcome_unknown=outcome_unknown,
    )
