"""What is seen: live progress on a terminal, plain lines elsewhere, or one JSON object and nothing else."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.table import Table

    from coordinator.demo.act import ActSpec, Outcome, Progress
    from coordinator.demo.show import Result

COLUMNS: Final = (
    "",
    "updates acknow- ledged",  # broken at spaces: the whole table fits a terminal of 80 columns
    "lost",
    "doubled",
    "torn reads",
    "stale holders refused",
    "killed",
    "frozen",
    "seconds",
    "updates per second",
)
REFRESH_S: Final = 0.12
EVENTS_SHOWN: Final = 8


class Opening(NamedTuple):
    """What is going to be done.

    Attributes:
        source: The file whose copy is worked on.
        size_bytes: Its size.
        plan: What is to be done with it, as a sentence.
        workers: How many.
        seed: What drew the faults.
        faults: What is to go wrong, as sentences.
    """

    source: str
    size_bytes: int
    plan: str
    workers: int
    seed: int
    faults: list[str]


class Report:
    """Says nothing until the end, and then prints the result as JSON. The other reports add to this."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def opening(self, what: Opening) -> None:
        """What is going to be done."""

    def act_begins(self, spec: ActSpec) -> None:
        """An act begins."""

    def progress(self, now: Progress) -> None:
        """How far it is."""

    def event(self, text: str) -> None:
        """Something happened to a worker."""

    def act_ended(self, outcome: Outcome) -> None:
        """An act is over."""

    def closing(self, result: Result) -> None:
        """The result."""
        print(json.dumps(result.to_json(), indent=2))  # noqa: T201 - the one thing that is asked for


class PlainReport(Report):
    """Lines on stdout, as they come: for pipes, files and terminals that cannot do more."""

    def opening(self, what: Opening) -> None:
        """See Report."""
        for line in opening_lines(what):
            self.say(line)

    def act_begins(self, spec: ActSpec) -> None:
        """See Report."""
        self.say(f"\n{spec.about}")

    def event(self, text: str) -> None:
        """See Report."""
        self.say(f"  {text}")

    def act_ended(self, outcome: Outcome) -> None:
        """See Report."""
        self.say(f"  {outcome.counts.acknowledged} updates acknowledged in {outcome.seconds:.1f} s")

    def closing(self, result: Result) -> None:
        """See Report."""
        self.say("")
        self.table(result)
        self.say("")
        for line in verdict_lines(result):
            self.say(line)

    def table(self, result: Result) -> None:
        """The table, in columns as wide as they have to be; headings are broken at their spaces."""
        heads = [column.split(" ") for column in COLUMNS]
        height = max(map(len, heads))
        lines = [
            [(head[i - height + len(head) :] or [""])[0] if i >= height - len(head) else "" for head in heads]
            for i in range(height)
        ]
        lines += [row_of(outcome) for outcome in result.outcomes]
        widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
        for line in lines:
            cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            self.say("  ".join([line[0].ljust(widths[0]), *cells]))

    def say(self, line: str) -> None:
        """One line, at once."""
        print(line, flush=True)  # noqa: T201 - what a command says, it prints


class LiveReport(PlainReport):
    """A picture that is redrawn while the acts run; the table and the sentences stay."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 40 ms, for terminals only
        from rich.live import Live  # noqa: PLC0415 - as above

        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._outcomes: list[Outcome] = []
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def act_begins(self, spec: ActSpec) -> None:
        """See Report."""
        self._events.append(f"── {spec.about}")

    def event(self, text: str) -> None:
        """See Report."""
        self._events.append(f"   {text}")

    def act_ended(self, outcome: Outcome) -> None:
        """See Report."""
        self._outcomes.append(outcome)

    def progress(self, now: Progress) -> None:
        """See Report."""
        if time.monotonic() - self._drawn < REFRESH_S:
            return
        from rich.console import Group  # noqa: PLC0415 - as above
        from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        self._drawn = time.monotonic()
        figures = (
            f"{now.about}: {now.acknowledged} acknowledged (of {now.updates} to do), {now.torn} torn reads, "
            f"{now.refused} refused, {now.killed} killed, {now.frozen} frozen, {now.seconds:.1f} s"
        )
        bar = ProgressBar(total=now.updates, completed=min(now.acknowledged, now.updates), width=60)
        events = Text("\n".join(self._events), style="dim")
        done = [_rich_table(self._outcomes)] if self._outcomes else []
        self._live.update(Group(*done, Text(figures), bar, events), refresh=True)

    def table(self, result: Result) -> None:
        """See PlainReport."""
        self._console.print(_rich_table(result.outcomes))

    def say(self, line: str) -> None:
        """See PlainReport."""
        self._console.print(line, markup=False)


def _rich_table(outcomes: list[Outcome]) -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for column in COLUMNS:
        table.add_column(column.replace(" ", "\n"), justify="right" if column else "left", no_wrap=True)
    for outcome in outcomes:
        style = "green" if outcome.spec.coordinated and not outcome.problems else ""
        table.add_row(*row_of(outcome), style=style)
    return table


def make_report(*, as_json: bool) -> Report:
    """The report that suits."""
    if as_json:
        return Report()
    return LiveReport() if sys.stdout.isatty() else PlainReport()


# ── words and figures ────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(outcome: Outcome) -> list[str]:
    """One row of the table."""
    counts = outcome.counts
    figures = (counts.acknowledged, counts.lost, counts.doubled, counts.torn, counts.refused)
    row = [outcome.spec.title, *map(str, figures), str(outcome.killed), str(outcome.frozen)]
    return [*row, f"{outcome.seconds:.1f}", f"{rate_of(outcome):.0f}"]


def rate_of(outcome: Outcome) -> float:
    """Acknowledged updates per second, freezes included."""
    return outcome.counts.acknowledged / max(outcome.seconds, 0.001)


def opening_lines(what: Opening) -> list[str]:
    """What is going to be done."""
    return [
        f"{what.source} ({what.size_bytes:,} bytes): {what.plan}.",
        f"{what.workers} worker processes and a reader work on a copy. In each act (seed {what.seed}) we",
        *[f"  {fault}" for fault in what.faults],
    ]


def verdict_lines(result: Result) -> list[str]:
    """What happened, a sentence for each act; then the verdict, and where the files are."""
    lines = []
    if result.tries > 1:
        lines.append(
            f"Without coordination it went well by chance at first; these are the figures of try {result.tries}."
        )
    lines += [_coordinated(act) if act.spec.coordinated else _uncoordinated(act) for act in result.outcomes]
    if result.kept:
        lines += ["The files are kept:", *[f"  {act.spec.title}: {act.file}" for act in result.outcomes]]
    if result.failures:
        lines += ["FAILED:", *[f"  {text}" for text in result.failures]]
    else:
        lines += _compared(result.outcomes)
        ways = " and ".join(act.spec.title for act in result.outcomes if act.spec.coordinated)
        lines.append(f"OK: the counting sees losses, and {ways} there are none ({result.seconds:.0f} s in all).")
    return lines


def _compared(outcomes: list[Outcome]) -> list[str]:
    """How fast the work went over logs, beside leases: with the same kills and freezes, and the same ttl."""
    rates = {act.spec.strategy: rate_of(act) for act in outcomes}
    if "logs" not in rates or not rates.get("lease"):
        return []
    return [
        f"Over logs there were {rates['logs'] / rates['lease']:.1f} times as many updates per second as under leases."
    ]


def _uncoordinated(act: Outcome) -> str:
    counts = act.counts
    text = (
        f"{act.spec.about}: of {counts.acknowledged} acknowledged updates {counts.lost} are not in the file, "
        f"{counts.doubled} claims were of tasks that were claimed already, and {counts.torn} reads were torn"
    )
    if counts.restored:
        text += f"; the file was left broken, and brought back from an old copy {counts.restored} times"
    if not counts.whole:
        text += "; what is left is not JSON"
    if act.timed_out:
        text += f"; not finished after {act.seconds:.0f} s"
    return f"{text}."


def _coordinated(act: Outcome) -> str:
    counts = act.counts
    late = "late commits of stale holders" if not act.spec.logs else "completions by workers whose claim had run out"
    text = (
        f"{act.spec.about}: {counts.acknowledged} updates acknowledged, {counts.lost} of them lost, "
        f"{counts.doubled} doubled, {counts.torn} torn reads in {counts.reads}; {counts.refused} {late} "
        f"were refused and their content is kept"
    )
    if counts.in_flight:
        text += f"; {counts.in_flight} tasks were in flight when their worker was killed (neither lost nor doubled)"
    if not act.problems:
        found = (
            f"revision {act.revision} accounts" if not act.spec.logs else f"{act.revision} revisions, replayed, account"
        )
        text += f"; {found} for every update, and but for the statuses the text is as it was"
    return f"{text}."
