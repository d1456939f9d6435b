"""What was promised, and whether it holds. Pure: journals and the end state in, findings out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from coordinator.testing.exactly_once import APPLIED, REJECTED, UNHEARD, Decided, Told, check_exactly_once
from coordinator.testing.intervals import Held, check_intervals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coordinator.testing.exactly_once import ExactlyOnceReport

    Lines = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class EndState:
    """What is there when everybody has ended.

    Attributes:
        leased: The tags in the document that was committed under leases.
        logged: The tags in the document that was updated.
        applied: How often the changes say that an update was applied, by op id.
        kept: The texts of edits by hand that were kept in conflicts.
        tasks: Every task, as the board tells it.
        fences: Of every grant that is still known, in order.
        view: What the plain file of the updated document says, parsed; None: it is no JSON.
        damage: What could not be read, as errors tell it.
    """

    leased: list[str]
    logged: Mapping[str, Any]
    applied: Mapping[str, int]
    kept: list[bytes]
    tasks: list[dict[str, Any]]
    fences: list[int]
    view: Any
    damage: list[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise: how much it was tried, and what speaks against it."""

    promise: str
    tried: int
    against: tuple[str, ...]


def judge(journals: Lines, end: EndState) -> list[Finding]:
    """Every promise, with what speaks against it."""
    told = _Told(journals)
    acked = told.acked
    commits = check_exactly_once(told.of("commit"), [Decided(tag) for tag in end.leased])
    updates = check_exactly_once(told.of("update"), [Decided(tag) for tag in end.logged], others=told.saved)
    undone = [*commits.of("undone"), *updates.of("undone")]
    repeated = [tag for tag, times in end.applied.items() if times > 1]
    by_two = [tag for tag, times in acked["complete"].items() if times > 1]
    unlike = [] if end.view == {"tags": dict(end.logged)} else ["it does not"]
    fallen = [str(two) for one, two in pairwise(end.fences) if two <= one]
    rows: list[tuple[str, Iterable[Any], Iterable[str]]] = [
        ("no acknowledged commit is lost", acked["commit"], commits.of("lost")),
        ("no commit is made twice, or without being asked for", end.leased, _more_than_asked(commits)),
        ("no acknowledged update is lost", acked["update"], updates.of("lost")),
        ("no update is applied twice, or without being asked for", end.applied, [*repeated, *updates.of("invented")]),
        ("what was refused was not done", told.refused, undone),
        ("no edit by hand is dropped", told.saved, _dropped(told, end)),
        ("no acknowledged completion is lost", acked["complete"], _undone(told, end)),
        ("no task is completed by two", acked["complete"], by_two),
        ("no two hold a lease at once", told.held, _overlaps(told)),
        ("fences only grow", end.fences, fallen),
        ("what is read never goes back, and is never torn", range(told.reads), told.bad_reads),
        ("the plain file is whole, and shows the end", ["it"], unlike),
        ("everything can be read", ["it"], end.damage),
    ]
    return [_finding(*row) for row in rows]


class _Told:
    """The journals, sorted by what they tell."""

    def __init__(self, journals: Lines) -> None:
        self.tried: dict[str, Counter[str]] = {}
        self.acked: dict[str, Counter[str]] = {}
        self.refused: Counter[str] = Counter()
        self.held: list[Held] = []
        self.saved: list[str] = []
        self.bad_reads: list[str] = []
        self.reads = 0
        for kind in ("commit", "update", "add", "complete"):
            self.tried[kind], self.acked[kind] = Counter(), Counter()
        for name, lines in journals.items():
            for line in lines:
                self._take(name, line)
        for kind in ("commit", "update"):
            self.refused -= Counter(dict.fromkeys(self.acked[kind], 10**9))

    def of(self, kind: str) -> list[Told]:
        """What was tried, and what came of it. A refusal counts where nothing else was told of that tag."""
        outcomes = ((self.tried, UNHEARD), (self.acked, APPLIED))
        told = [Told(tag, outcome) for lines, outcome in outcomes for tag in lines[kind]]
        return told + [Told(tag, REJECTED) for tag in self.refused if tag in self.tried[kind]]

    def _take(self, name: str, line: Mapping[str, Any]) -> None:
        what, kind, tag = line["what"], line.get("kind", ""), line.get("tag", "")
        if what in {"try", "ack"}:
            (self.tried if what == "try" else self.acked)[kind][tag] += 1
        elif what == "no" and kind in {"commit", "update"}:
            self.refused[tag] += 1
        elif what == "unknown":
            self.refused.pop(tag, None)
        elif what == "held":
            self.held.append(Held(name, line["fence"], line["since"], line["until"]))
        elif what == "saved":
            self.saved.append(tag)
        elif what in {"went_back", "unreadable"}:
            self.bad_reads.append(f"{name}: {line}")
        elif what == "done":
            self.reads += line.get("reads", 0)


def _finding(promise: str, tried: Iterable[Any], against: Iterable[str]) -> Finding:
    return Finding(promise, sum(1 for _ in tried), tuple(sorted(map(str, against))))


def _more_than_asked(report: ExactlyOnceReport) -> list[str]:
    return [*report.of("doubled"), *report.of("invented")]


def _dropped(told: _Told, end: EndState) -> list[str]:
    kept = b"\n".join(end.kept)
    return [tag for tag in told.saved if tag not in end.logged and tag.encode() not in kept]


def _undone(told: _Told, end: EndState) -> list[str]:
    done = {str(task["id"]) for task in end.tasks if task.get("status") == "done"}
    return [tag for tag in told.acked["complete"] if tag not in done]


def _overlaps(told: _Told) -> list[str]:
    report = check_intervals(told.held)
    return [] if report.ok else str(report).splitlines()
