"""What a seed decides of a world with a table: a third of the seeds have one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.record.record import MOUNT, TABLE
from coordinator.testing.simulation import table_faults
from coordinator.testing.simulation.table_work import TABLE_WORKS, table_work

if TYPE_CHECKING:
    from coordinator.testing.simulation.faults import Fault
    from coordinator.testing.simulation.work import Work

_SHARE: Final = 1 / 3
_HOUR_NS: Final = 3_600_000_000_000


class Setting(NamedTuple):
    """A world's table.

    Attributes:
        work: Who does what.
        born: Which store rules at first.
        tells_old: Whether a refused write brings what stands, as AWS does, and DynamoDB Local does not.
        page_items: How many items a query answers with at once.
        service_off_ns: How far the service's clock is ahead of the mount's.
        rng: For the faults.
    """

    work: Work
    born: str
    tells_old: bool
    page_items: int
    service_off_ns: int
    rng: random.Random

    @classmethod
    def of(cls, seed: int, work: str | None) -> Setting | None:
        """What a seed decides; None: there is no table. ``work``: see World."""
        rng = random.Random(f"table {seed}")
        has_table, drawn = rng.random() < _SHARE, rng.choice((*TABLE_WORKS, TABLE_WORKS[0]))
        if work not in TABLE_WORKS and (work is not None or not has_table):
            return None
        born = rng.choice((MOUNT, MOUNT, TABLE))
        return cls(
            table_work(work or drawn, rng, born),
            born,
            tells_old=rng.random() < 0.7,  # noqa: PLR2004 - mostly as AWS
            page_items=rng.choice((1, 3, 1000)),
            service_off_ns=rng.choice((0, 0, 400_000_000, -7_000_000_000, _HOUR_NS)),
            rng=rng,
        )

    def faults(self, planned: list[Fault], agents: int) -> list[Fault]:
        """What befalls its agents: what was planned, and more."""
        return planned + table_faults.plan(self.rng, agents, self.rng.choice((10, 40, 120)))
