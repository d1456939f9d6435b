"""Who works, and what goes wrong when: drawn from a seed, told beforehand."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

KILL: Final = "kill"  # SIGKILL, wherever it is; another process takes its place
FREEZE: Final = "freeze"  # SIGSTOP, for some seconds: shorter or longer than leases last
FULL: Final = "full"  # nothing more can be written, for a while
TEAR: Final = "tear"  # the next write ends after some of its bytes, and the process with it
SKEW: Final = "skew"  # its wall clock is off by hours, from the start
EDIT: Final = "edit"  # somebody rewrites a document by hand
MOVE: Final = "move"  # the rule moves to the other store
KINDS: Final = (KILL, FREEZE, FULL, TEAR, SKEW, EDIT, MOVE)

TTL_S: Final = 2.0  # of leases and claims: short, so that takeovers are many
EVERY_S: Final = 0.6  # a fault, about
_FREEZES_S: Final = (0.2, 1.0, 1.5 * TTL_S, 2.5 * TTL_S)
_SKEWS_S: Final = (-7200, -3, 3, 86_400)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user asks for.

    Attributes:
        directory: Where.
        workers: How many agents.
        seconds: For how long.
        seed: Draws everything.
        faults: Which kinds.
        table: A table, for failover; None: none.
        region: Of the table.
    """

    directory: str
    workers: int
    seconds: float
    seed: int
    faults: tuple[str, ...]
    table: str | None = None
    region: str | None = None

    @property
    def command(self) -> str:
        """What runs the same again."""
        parts = ["coordinator stress", self.directory, f"--workers {self.workers} --seconds {self.seconds:g}"]
        parts += [f"--seed {self.seed}", f"--faults {','.join(self.faults) or 'none'}"]
        if self.table:
            parts.append(f"--table {self.table}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to go wrong.

    Attributes:
        kind: See above.
        at_s: When, from the start.
        worker: Which slot it hits; -1: none.
        span_s: How long it lasts.
    """

    kind: str
    at_s: float
    worker: int = -1
    span_s: float = 0.0


def draw(options: Options) -> list[Fault]:
    """The faults of a run, in time. The last fifth of it is quiet, so that everybody can come to an end."""
    rng = random.Random(options.seed)
    aimed = [kind for kind in options.faults if kind in {KILL, FREEZE, FULL, TEAR}]
    end_s = options.seconds * 0.8
    faults, at_s = [], rng.uniform(0.5, 1.0)
    while aimed and at_s < end_s:
        kind = rng.choice(aimed)
        span_s = rng.choice(_FREEZES_S) if kind == FREEZE else rng.uniform(0.2, 1.0)
        faults.append(Fault(kind, round(at_s, 2), rng.randrange(options.workers), round(span_s, 2)))
        at_s += rng.uniform(0.5, 1.5) * EVERY_S
    if MOVE in options.faults and options.table:
        faults += [Fault(MOVE, round(end_s * share, 2)) for share in (0.3, 0.6, 0.9)]
    return sorted(faults, key=lambda fault: fault.at_s)


def skews(options: Options) -> list[float]:
    """By how much each worker's wall clock is off, seconds."""
    rng = random.Random(f"skew {options.seed}")
    if SKEW not in options.faults:
        return [0.0] * options.workers
    return [rng.choice(_SKEWS_S) if rng.random() < 0.5 else 0.0 for _ in range(options.workers)]  # noqa: PLR2004 - half
