"""What the tests of ``decide`` share: an asker, its request of each verb, and names for the columns."""

from __future__ import annotations

from typing import Any, Final

from support import NOW_MS, a_head, an_author, an_id

from coordinator.limits import MOUNT_SKEW_MS
from coordinator.record.decide import (
    Acquire,
    Ask,
    Break,
    Commit,
    Detach,
    Leave,
    Put,
    Raise,
    Release,
    Renew,
    Resume,
    Standing,
)
from coordinator.record.record import Waiter

FREE, MINE, SPENT = Standing.FREE, Standing.MINE, Standing.SPENT
LIVE, OVER, SEALED = Standing.LIVE, Standing.OVER, Standing.SEALED
SKEW_MS: Final = MOUNT_SKEW_MS
ASKER: Final = an_author(1)
FIRST_IN_LINE: Final = Waiter(an_id(61), NOW_MS - 500)
NEW_HEAD: Final = a_head(revision=0, n=8, incarnation=ASKER.incarnation, sha256="b" * 64, size_bytes=23, fence=0)

# One request of each verb, by the holder of ``a_lease()`` where the verb is a holder's.
REQUESTS: Final[dict[type, Any]] = {
    Acquire: Acquire(ASKER, 20_000, 0, FIRST_IN_LINE.request),
    Ask: Ask(ASKER),
    Leave: Leave(ASKER, FIRST_IN_LINE.request),
    Break: Break(ASKER, 5),
    Put: Put(ASKER, NEW_HEAD, 3),
    Raise: Raise(ASKER, 6),
    Renew: Renew(ASKER, an_id(51), 5),
    Release: Release(ASKER, an_id(51), 5),
    Detach: Detach(ASKER, an_id(51), 5),
    Resume: Resume(ASKER, an_id(51), 5, an_id(99)),
    Commit: Commit(ASKER, an_id(51), 5, NEW_HEAD, 3),
}
