"""What befalls those who use a table besides: at its calls, on the way to it, and in the middle of a move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordinator.testing.simulation import faults
from coordinator.testing.simulation.client import LOST
from coordinator.testing.simulation.faults import Fault
from coordinator.testing.simulation.table_client import CODES

if TYPE_CHECKING:
    import random

_WEIGHTS: Final = {
    faults.TABLE_LOSE: 6,
    faults.TABLE_FAIL: 3,
    faults.TABLE_SLOW: 2,
    faults.TABLE_FAR: 2,
    faults.NO_LOCKS: 3,
    faults.KILL: 3,
    faults.FREEZE: 3,
}
_OPS: Final = (
    "update_item",
    "update_item",
    "put_item",
    "get_item",
    "query",
    "transact_write_items",
    "symlink",
    "pause",
)
_TIMES: Final = (1, 1, 2, 5, 12)
_LOCKS_TIMES: Final = (3, 30, 300)
_SLOW_MS: Final = (300, 900, 1_900)


def plan(rng: random.Random, agents: int, calls: int) -> list[Fault]:
    """Faults of one run: a few.

    Args:
        rng: Of the seed.
        agents: How many there are.
        calls: About how many calls each makes.
    """
    kinds = rng.choices([*_WEIGHTS], [*_WEIGHTS.values()], k=rng.choice((0, 1, 2, 3, 4, 6)))
    return [_fault(rng, kind, rng.randrange(agents), rng.randrange(1, calls)) for kind in kinds]


def _fault(rng: random.Random, kind: str, agent: int, call: int) -> Fault:
    fault = Fault(kind, agent, call)
    if kind == faults.TABLE_LOSE:
        return fault._replace(detail=rng.choice(LOST))
    if kind == faults.TABLE_FAIL:
        return fault._replace(detail=rng.choice(CODES), span_ms=rng.choice(_TIMES))
    if kind == faults.TABLE_SLOW:
        return fault._replace(span_ms=rng.choice(_SLOW_MS))
    if kind == faults.NO_LOCKS:
        return fault._replace(detail="ENOLCK", span_ms=rng.choice(_LOCKS_TIMES))
    fault = fault._replace(span_ms=round(rng.choice((50, 300, 2_000, 15_000)) * rng.uniform(0.5, 1.5)))
    if kind == faults.TABLE_FAR:
        return fault
    op = rng.choice(_OPS)
    restarts = kind != faults.KILL or rng.randrange(7) > 0
    return fault._replace(op=op, when="before" if op == "pause" else rng.choice(("before", "after")), restarts=restarts)
