"""Did any two hold it at once? A checker for what users' own processes saw of a lease.

    seen = [Held("a", 1, 100, 200), Held("b", 5, 150, 300)]     # each process: fence, and its clock before and after
    report = check_intervals(seen)
    assert report.ok, report

A process reads ``time.monotonic_ns()`` after it was granted the lease and again before it lets go, so that what it
tells lies inside the time for which it really held it: an overlap that is found is a real one. The monotonic clock is
one clock for all processes of a host, and not across hosts: observations of several hosts are checked one host at a
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOLD_MAX: Final = 20  # lines of a report; the rest is counted


class Held(NamedTuple):
    """One stretch of time in which somebody took itself for the holder.

    Attributes:
        holder: Who.
        fence: Under which fence. One grant may be told of in several stretches, by the same holder.
        from_ns: After the grant, by the host's monotonic clock.
        until_ns: Before the release, by the same clock. The stretch ends just before it.
    """

    holder: str
    fence: int
    from_ns: int
    until_ns: int


class Overlap(NamedTuple):
    """Two stretches that share some time; ``first`` began first."""

    first: Held
    second: Held

    @property
    def shared_ns(self) -> int:
        """For how long both took themselves for the holder."""
        return min(self.first.until_ns, self.second.until_ns) - self.second.from_ns


class Disorder(NamedTuple):
    """Two stretches, one after the other, whose fences did not grow: a lower one, or one fence for two holders."""

    earlier: Held
    later: Held


@dataclass(frozen=True, slots=True)
class IntervalReport:
    """What was found. ``str(report)`` is for people.

    Attributes:
        observations: How many stretches were looked at.
        holders: How many different holders they were of.
        overlaps: Every two that overlap, in the order of time.
        disorders: Every stretch whose fence is not above the greatest before it, with the one that had that.
    """

    observations: int
    holders: int
    overlaps: tuple[Overlap, ...]
    disorders: tuple[Disorder, ...]

    @property
    def ok(self) -> bool:
        """Whether the lease was exclusive, and its fences only grew."""
        return not self.overlaps and not self.disorders

    def __str__(self) -> str:
        summary = (
            f"{self.observations} stretches of {self.holders} holders: {len(self.overlaps)} overlaps, "
            f"{len(self.disorders)} fences out of order"
        )
        lines = [
            f"  overlap of {_millis(overlap.shared_ns)}: {_told(overlap.first)}, and {_told(overlap.second)}"
            for overlap in self.overlaps
        ]
        lines += [
            f"  fence {disorder.later.fence} came after {disorder.earlier.fence}: "
            f"{_told(disorder.earlier)}, then {_told(disorder.later)}"
            for disorder in self.disorders
        ]
        if len(lines) > _TOLD_MAX:
            lines[_TOLD_MAX:] = [f"  and {len(lines) - _TOLD_MAX} more"]
        return "\n".join([summary, *lines])


def check_intervals(observations: Iterable[Held]) -> IntervalReport:
    """Says whether any two held it at once, and whether the fences only grew in the order of the grants.

    Args:
        observations: In any order, from any number of processes of one host.

    Raises:
        BadValue: A stretch that ends before it begins: two clocks were mixed up.
    """
    # Where two begin at the same instant, the one that ends first is the earlier: it may have ended just then.
    seen = sorted(observations, key=lambda held: (held.from_ns, held.until_ns, held.fence))
    for held in seen:
        if held.until_ns < held.from_ns:
            raise BadValue(f"{_told(held)} ends before it begins", argument="observations", value=tuple(held))
    return IntervalReport(len(seen), len({held.holder for held in seen}), _overlaps(seen), _disorders(seen))


def _overlaps(seen: list[Held]) -> tuple[Overlap, ...]:
    found: list[Overlap] = []
    running: list[Held] = []
    for held in seen:
        running = [before for before in running if before.until_ns > held.from_ns]
        found += [Overlap(before, held) for before in running]
        running.append(held)
    return tuple(found)


def _disorders(seen: list[Held]) -> tuple[Disorder, ...]:
    """Compared with the greatest fence so far: one that went back is told of once, and not all that follow it."""
    found: list[Disorder] = []
    highest: Held | None = None
    for held in seen:
        again = highest is not None and (held.fence, held.holder) == (highest.fence, highest.holder)
        if highest is not None and held.fence <= highest.fence and not again:
            found.append(Disorder(highest, held))
        else:
            highest = held
    return tuple(found)


def _told(held: Held) -> str:
    return f"{held.holder} (fence {held.fence}) from {_millis(held.from_ns)} to {_millis(held.until_ns)}"


def _millis(span_ns: int) -> str:
    return f"{span_ns / 1e6:.3f} ms"
