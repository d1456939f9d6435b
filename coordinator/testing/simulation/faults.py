"""What befalls the agents of a run: planned by its seed, one fault after the other, so that any can be left out."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.testing.simulation.client import LOST

if TYPE_CHECKING:
    import random

KILL: Final = "kill"  # the process dies
CRASH: Final = "crash"  # the host dies: on a local disk, the power fails
FREEZE: Final = "freeze"  # the process stands still
SUSPEND: Final = "suspend"  # the host stands still, some of its clocks with it
CUT: Final = "cut"  # the network is gone
LOSE: Final = "lose reply"
FAIL: Final = "fail"  # calls are told of an error
CLOCK: Final = "clock"  # a clock jumps
ROT: Final = "rot"  # a log is altered by nobody's fault, behind everybody's back
RESTART: Final = "server restart"  # all locks are lost
TABLE_LOSE: Final = "table: lose reply"  # or request
TABLE_FAIL: Final = "table: fail"  # requests are refused for a while
TABLE_SLOW: Final = "table: slow"  # an answer takes its time
TABLE_FAR: Final = "table: far"  # the way there is gone
NO_LOCKS: Final = "no locks"  # flock is refused for a while

# How often each is planned, for NFS and for a local disk.
_SHARED: Final = {KILL: 3, FREEZE: 2, SUSPEND: 3, CUT: 3, LOSE: 6, FAIL: 3, CRASH: 1, CLOCK: 3, ROT: 1, RESTART: 1}
_LOCAL: Final = {KILL: 3, FREEZE: 3, FAIL: 2, CRASH: 2, CLOCK: 2, ROT: 1}
_ERRORS: Final = (errno.EIO, errno.EIO, errno.ESTALE, errno.ENOSPC, errno.ENOLCK, errno.ETIMEDOUT)
NO_CLOCK: Final = "no clock"
FLIPPED: Final = "one byte"
REPEATED: Final = "a line repeated"
FOREIGN: Final = "another log's line"
ROTS: Final = (FLIPPED, REPEATED, FOREIGN, FOREIGN)
_OPS: Final = ("symlink", "symlink", "symlink", "rename", "sync", "write", "create", "unlink", "pause", "pause")
_SPANS_MS: Final = (20, 300, 2_000, 15_000, 60_000)


class Fault(NamedTuple):
    """One thing that befalls one agent.

    Attributes:
        kind: What.
        agent: The number of the agent that is struck, or whose host is.
        call: At which of its calls; each call counts twice, before and after its effect.
        span_ms: For how long; by how much a clock jumps; how many calls are told of an error.
        detail: More: how a reply is lost, an errno, which clocks.
        op: At the next call of this kind from then on; empty: at any.
        when: ``before`` or ``after`` its effect.
        restarts: Whether who dies is started anew.
    """

    kind: str
    agent: int
    call: int
    span_ms: int = 0
    detail: str = ""
    op: str = ""
    when: str = ""
    restarts: bool = True

    def __str__(self) -> str:
        more = f" {self.detail}" if self.detail else ""
        unit = "times" if self.kind in {FAIL, TABLE_FAIL, NO_LOCKS} else "ms"
        span = f" {self.span_ms} {unit}" if self.span_ms else ""
        where = f" {self.when} {self.op}" if self.op else ""
        return f"{self.kind} agent {self.agent} at call {self.call}{where}{span}{more}"


def plan(rng: random.Random, agents: int, calls: int, *, is_local: bool) -> list[Fault]:
    """The faults of one run: a few, mostly; of some runs none.

    Args:
        rng: Of the seed.
        agents: How many there are.
        calls: About how many calls each makes.
        is_local: On a local disk there is no network.
    """
    weights = _LOCAL if is_local else _SHARED
    count = rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 10))
    kinds = rng.choices([*weights], [*weights.values()], k=count)
    return [_aimed(rng, _fault(rng, kind, rng.randrange(agents), rng.randrange(1, calls))) for kind in kinds]


def _aimed(rng: random.Random, fault: Fault) -> Fault:
    """Half of the faults strike where something is changed: elsewhere many of them make no difference."""
    if fault.op or (fault.kind != LOSE and rng.random() < 0.5):  # noqa: PLR2004 - the other half may find what nobody thought of
        return fault
    op = rng.choice(_OPS)
    when = "before" if fault.kind == LOSE or op == "pause" else rng.choice(("before", "after"))
    return fault._replace(op=op, when=when)


def _fault(rng: random.Random, kind: str, agent: int, call: int) -> Fault:
    span_ms = round(rng.choice(_SPANS_MS) * rng.uniform(0.5, 1.5))
    fault = Fault(kind, agent, call, span_ms)
    if kind in {KILL, CRASH}:
        fault = fault._replace(span_ms=rng.choice((50, 50, span_ms)), restarts=rng.randrange(7) > 0)
    elif kind == LOSE:
        fault = fault._replace(span_ms=0, detail=rng.choice(LOST))
    elif kind == FAIL:
        fault = fault._replace(span_ms=rng.choice((1, 1, 1, 2, 5)), detail=errno.errorcode[rng.choice(_ERRORS)])
    elif kind == ROT:
        fault = fault._replace(span_ms=0, detail=rng.choice(ROTS), op="sync", when="after")
    elif kind == SUSPEND:
        fault = fault._replace(detail=rng.choice((NO_CLOCK, "monotonic", "monotonic boot", "monotonic boot")))
    elif kind == CLOCK:
        by_ms = rng.choice((-3_600_000, -2_000, 2_000, 60_000, 86_400_000))
        fault = fault._replace(span_ms=by_ms, detail=rng.choice(("wall", "wall again and again", "monotonic")))
    return fault
