"""Did it behave as if it did one thing at a time? A checker for what clients were told by a system of the user's own.

    operations = [Operation("a", Write(1), None, 10, 40), Operation("b", Read(), 1, 20, 30)]
    report = check_linearizable(Register(), operations)
    assert report.ok, report

A history is linearizable when for each operation an instant between its invocation and its return can be named, so that
all answers are those that a system would give which carries out everything at its instant, one after the other. Keys
are checked one by one: what is linearizable for each is so as a whole (Herlihy and Wing, 1990). To tell is NP-complete:
a history with many clients at once on one key, or with many outcomes unknown, can take longer than anybody waits; then
the verdict is ``unknown``. How the search goes: ``linearizable_search``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import SYSTEM_CLOCK, millis_of
from coordinator.errors import BadValue
from coordinator.testing.history import UNKNOWN, Operation, Recorder, check_times
from coordinator.testing.linearizable_models import Model
from coordinator.testing.linearizable_search import Verdict, search
from coordinator.testing.timeline import Bar, drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from coordinator.clock import Clock

__all__ = ["UNKNOWN", "KeyReport", "LinearizabilityReport", "Model", "Operation", "Recorder", "check_linearizable"]

_TOLD_MAX: Final = 5  # keys of a report that are told in full; the rest is counted
_BEFORE: Final = 6  # operations of the prefix that are told and drawn
_BARS_MAX: Final = 24
_STATES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class KeyReport:
    """One key's history. ``str(report)`` is for people.

    Attributes:
        key: Which.
        verdict: ``linearizable``; ``not linearizable``; ``unknown``: the time or the memory for it was used up.
        operations: How many there are, and of these
        unknown: those whose outcome nobody was told.
        order: One order that explains all answers; or, when there is none, the longest prefix of the history: all that
            had returned before ``blocked`` did, and what else had to take effect.
        blocked: The operation that no order has a place for; or with which the search was still busy.
        is_exact: False when something before ``blocked`` may have no place either: to tell would have taken too long.
            ``order`` then takes what nobody was told of to have happened as often as it was of use.
        states: The states that were possible when ``blocked`` returned, by all of the orders for the prefix.
        near: What was under way with ``blocked``, and the last of ``order``: what the timeline shows.
        configurations: How much was tried.
        elapsed_ms: How long it took.
        model: What it was checked against.
    """

    key: Hashable
    verdict: Verdict
    operations: int
    unknown: int
    order: tuple[Operation, ...]
    blocked: Operation | None
    is_exact: bool
    states: tuple[Any, ...]
    near: tuple[Operation, ...]
    configurations: int
    elapsed_ms: int
    model: Model[Any]

    @property
    def ok(self) -> bool:
        """Whether it is linearizable for certain."""
        return self.verdict == "linearizable"

    def __str__(self) -> str:
        key = "" if self.key is None else f"key {self.key!r}: "
        summary = (
            f"{key}{self.verdict}: {self.operations} operations, {self.unknown} of unknown outcome; "
            f"{self.configurations} configurations in {self.elapsed_ms / 1000:.2f} s"
        )
        if self.blocked is None:
            return summary
        told = "no place for" if self.verdict == "not linearizable" else "stopped at"
        returned = sum(operation.returned is not None for operation in self.order)
        states = [f"{state!r}" for state in self.states[:_STATES_MAX]]
        more = [f"and {len(self.states) - _STATES_MAX} more"] if len(self.states) > _STATES_MAX else []
        explained = "can be explained" if self.is_exact else "could, if the unknown ones took effect more than once"
        lines = [
            summary,
            f"  {told}: {self._told(self.blocked)}",
            f"  possible states when it returned: {', '.join(states + more)}",
            f"  all that returned before {explained}, by {len(self.order)} ({returned} answered), the last of them:",
            *(f"    {self._told(operation)}" for operation in self.order[-_BEFORE:]),
            *(f"  {line}" for line in self.timeline()),
        ]
        return "\n".join(lines)

    def timeline(self) -> list[str]:
        """The blocked operation and those about it, drawn: one line each, from invocation to return."""
        place = {id(operation): number for number, operation in enumerate(self.order, 1)}
        bars = []
        for operation in self.near:
            note = "<- no place" if operation is self.blocked else ""
            if not note and id(operation) in place:
                note = f"#{place[id(operation)]}"
            label = f"{operation.process} {self.model.told(operation.asked, operation.answer)}"
            bars.append(Bar(label, operation.invoked, operation.returned, note))
        return drawn(bars)

    def _told(self, operation: Operation) -> str:
        until = "never returned" if operation.returned is None else f"returned {operation.returned}"
        what = self.model.told(operation.asked, operation.answer)
        return f"{operation.process}: {what}, invoked {operation.invoked}, {until}"


@dataclass(frozen=True, slots=True)
class LinearizabilityReport:
    """What was found. ``str(report)`` is for people.

    Attributes:
        keys: One report for each key, in the order in which the keys come in the history.
    """

    keys: tuple[KeyReport, ...]

    @property
    def verdict(self) -> Verdict:
        """``not linearizable`` when one key is; else ``unknown`` when one key is."""
        verdicts = {report.verdict for report in self.keys}
        if "not linearizable" in verdicts:
            return "not linearizable"
        return "unknown" if "unknown" in verdicts else "linearizable"

    @property
    def ok(self) -> bool:
        """Whether all keys are linearizable for certain: false when it is not known."""
        return self.verdict == "linearizable"

    def __str__(self) -> str:
        total = sum(report.operations for report in self.keys)
        wrong = sorted((report for report in self.keys if not report.ok), key=lambda r: r.verdict)
        lines = [f"{self.verdict}: {total} operations, {len(self.keys)} keys, {len(wrong)} of them not so or unknown"]
        lines += [str(report) for report in wrong[:_TOLD_MAX]]
        if len(wrong) > _TOLD_MAX:
            lines.append(f"and {len(wrong) - _TOLD_MAX} more keys")
        return "\n".join(lines)


def check_linearizable(
    model: Model[Any],
    operations: Iterable[Operation],
    *,
    budget: float = 60,
    remembered_max: int = 4_000_000,
    clock: Clock = SYSTEM_CLOCK,
) -> LinearizabilityReport:
    """Says whether a history is linearizable, key by key.

    Where an operation returned at the same time as another was invoked, they count as being under way at once.

    Args:
        model: What each key is checked against (``linearizable_models`` has some).
        operations: In any order, by one clock.
        budget: Seconds for all keys together. The shortest histories are checked first.
        remembered_max: Configurations for one key, beyond which it is ``unknown``: some 200 bytes each, and the states.
        clock: For tests.

    Raises:
        BadValue: An operation that returned before it was invoked, or one that cannot be hashed.
    """
    budget_ns = millis_of(budget, "budget") * 1_000_000
    if remembered_max < 1:
        raise BadValue(
            f"remembered_max={remembered_max} is less than 1", argument="remembered_max", value=remembered_max
        )
    all_of_them = list(operations)
    check_times(all_of_them)
    by_key: dict[Hashable, list[Operation]] = {}
    for operation in all_of_them:
        by_key.setdefault(operation.key, []).append(operation)
    start_ns = clock.now().monotonic_ns

    def is_over() -> bool:
        return clock.now().monotonic_ns - start_ns > budget_ns

    reports = {
        key: _check_key(model, by_key[key], is_over, remembered_max, clock)
        for key in sorted(by_key, key=lambda key: len(by_key[key]))
    }
    return LinearizabilityReport(tuple(reports[key] for key in by_key))


def _check_key(
    model: Model[Any], operations: list[Operation], is_over: Callable[[], bool], most: int, clock: Clock
) -> KeyReport:
    start_ns = clock.now().monotonic_ns
    found = search(model, operations, is_over, most)
    order = tuple(operations[number] for number in found.order)
    blocked = None if found.blocked is None else operations[found.blocked]
    return KeyReport(
        key=operations[0].key,
        verdict=found.verdict,
        operations=len(operations),
        unknown=sum(operation.returned is None for operation in operations),
        order=order,
        blocked=blocked,
        is_exact=found.is_exact,
        states=tuple(found.states),
        near=() if blocked is None else _near(operations, order, blocked),
        configurations=found.configurations,
        elapsed_ms=(clock.now().monotonic_ns - start_ns) // 1_000_000,
        model=model,
    )


def _near(operations: list[Operation], order: tuple[Operation, ...], blocked: Operation) -> tuple[Operation, ...]:
    """The blocked one, the last of those that were put in order, and then what else was under way with it."""
    assert blocked.returned is not None  # noqa: S101 - only what returned has to have a place
    chosen = {id(operation): operation for operation in (blocked, *order[-_BEFORE:])}
    for operation in operations:
        ended_before = operation.returned is not None and operation.returned < blocked.invoked
        if not ended_before and operation.invoked <= blocked.returned and len(chosen) < _BARS_MAX:
            chosen.setdefault(id(operation), operation)
    return tuple(sorted(chosen.values(), key=lambda operation: operation.invoked))
