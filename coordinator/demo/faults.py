"""Who is killed and who is frozen, and when: drawn from a seed, told beforehand, the same in each act.

Half of it is aimed: a worker stops itself (SIGSTOP) between the read and the write of a certain update, or inside the
commit, and is then killed there or left frozen. One worker is killed at a moment that nobody chose. A worker's updates
are a claim, a completion, a claim, …: frozen inside a completion, it has something to lose in every act.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from coordinator.demo.worker import BETWEEN, INSIDE

FREEZE = "freeze"
KILL = "kill"
# Early enough for each worker to come to them; in the midst of others' work.
UPDATES = {(FREEZE, BETWEEN): (3, 4), (FREEZE, INSIDE): (4, 4), (KILL, BETWEEN): (2, 3)}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to go wrong.

    Attributes:
        kind: ``freeze`` or ``kill``.
        worker: The slot that it hits.
        update: At that worker's which update; 0 for a kill that is not aimed.
        place: Where in that update.
        share: For a kill that is not aimed: when this share of all updates was acknowledged.
    """

    kind: str
    worker: str
    update: int = 0
    place: str = ""
    share: float = 0.0

    def __str__(self) -> str:
        if not self.update:
            return f"kill {self.worker} after {self.share:.0%} of the updates, wherever it is"
        return f"{self.kind} {self.worker} in its update {self.update}, {self.place}"


def draw_faults(seed: int, workers: list[str], *, pressure: int = 0) -> list[Fault]:
    """Two freezes, one aimed kill and one that is not; as many as there are workers to spare, when these are few.

    Args:
        seed: The same seed draws the same faults.
        workers: The slots; one of them is always spared.
        pressure: So many freezes more.
    """
    draw = random.Random(seed)
    slots = draw.sample(workers, len(workers))[1:]
    kinds = [(FREEZE, BETWEEN), (KILL, BETWEEN), (FREEZE, INSIDE), (KILL, ""), *[(FREEZE, BETWEEN)] * pressure]
    return [_fault(draw, kind, place, slot) for (kind, place), slot in zip(kinds, slots, strict=False)]


def _fault(draw: random.Random, kind: str, place: str, slot: str) -> Fault:
    if place:
        return Fault(kind, slot, draw.randint(*UPDATES[kind, place]), place)
    return Fault(kind, slot, share=round(draw.uniform(0.3, 0.6), 2))


def stops_of(faults: list[Fault], worker: str) -> dict[int, str]:
    """Where a slot's first process has to stop itself."""
    return {fault.update: fault.place for fault in faults if fault.worker == worker and fault.update}
