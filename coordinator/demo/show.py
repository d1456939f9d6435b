"""All acts, one after the other, and what they come to."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from coordinator import MalformedDocument
from coordinator.demo.act import Act, ActSpec, Outcome, Setting
from coordinator.demo.faults import draw_faults
from coordinator.demo.plan import NoTasks, describe, make_plan, prepare
from coordinator.demo.report import Opening, Report, make_report, rate_of
from coordinator.document.json_text import parse, render

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS_MIN: Final = 2
WORKERS_MAX: Final = 32
TASKS_MAX: Final = 120
TASKS_MIN: Final = 24
BYTES_DUE: Final = 64 << 20  # about as much as may be written in an act: large files get fewer tasks
TOTAL_LIMIT_S: Final = 54.0
LEASES_LIMIT_S: Final = 24.0
LOGS_LIMIT_S: Final = 12.0
COORDINATED_LIMIT_S: Final = LEASES_LIMIT_S + LOGS_LIMIT_S  # kept free for these acts, whatever the others take
TRY_AGAIN_S: Final = 4.0  # with less than this for another try, there is none
TRIES: Final = 3
WORK_MS: Final = (5.0, 20.0)
TTL_S: Final = 1.5
SEED_VARIABLE: Final = "COORDINATOR_DEMO_SEED"

_UNCOORDINATED: Final = ActSpec(
    "", "", "", coordinated=False, ttl_s=0, idle_s=0.8, thaw_after_s=0, thaw_after_acks=8, thaw_latest_s=2, limit_s=8
)
ACTS: Final = (
    replace(_UNCOORDINATED, strategy="in-place", title="in place", about="rewriting in place, no lock"),
    replace(_UNCOORDINATED, strategy="rename", title="temp + rename", about="temporary file and rename, no lock"),
    ActSpec(
        "lease",
        "under leases",
        "read, change and commit under a lease",
        coordinated=True,
        ttl_s=TTL_S,
        idle_s=2 * TTL_S + 1,
        thaw_after_s=1.2 * TTL_S,
        thaw_after_acks=1,
        thaw_latest_s=TTL_S + 6,
        limit_s=LEASES_LIMIT_S,
    ),
    ActSpec(
        "logs",
        "over logs",
        "claim and complete over logs",
        coordinated=True,
        ttl_s=TTL_S,
        idle_s=2 * TTL_S + 1,
        thaw_after_s=0,
        thaw_after_acks=1,
        thaw_latest_s=TTL_S + 6,
        limit_s=LOGS_LIMIT_S,
        logs=True,
    ),
)


class CannotStart(Exception):
    """The demonstration cannot be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What all acts come to.

    Attributes:
        opening: What was to be done.
        outcomes: The acts.
        tries: How often the uncoordinated acts were run until they lost something.
        seconds: All in all.
        kept: Where the files are; empty when they were removed.
    """

    opening: Opening
    outcomes: list[Outcome]
    tries: int
    seconds: float
    kept: str

    @property
    def seen(self) -> bool:
        """Whether the uncoordinated acts showed that losses are seen."""
        return sees_losses([outcome for outcome in self.outcomes if not outcome.spec.coordinated])

    @property
    def failures(self) -> list[str]:
        """Everything for which the exit status is not 0."""
        found = [f"{outcome.spec.title}: {text}" for outcome in self.outcomes for text in failures_of(outcome)]
        if not self.seen:
            found.append(
                f"the uncoordinated acts lost nothing in {self.tries} tries, "
                "so this run could not show that the counting sees losses"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        acts = [
            {
                "strategy": outcome.spec.strategy,
                "title": outcome.spec.title,
                "about": outcome.spec.about,
                "coordinated": outcome.spec.coordinated,
                **asdict(outcome.counts),
                "killed": outcome.killed,
                "frozen": outcome.frozen,
                "seconds": round(outcome.seconds, 2),
                "updates_per_second": round(rate_of(outcome), 1),
                "timed_out": outcome.timed_out,
                "revision": outcome.revision,
                "problems": outcome.problems,
                "events": [{"at_seconds": at, "text": text} for at, text in outcome.events],
                "file": outcome.file if self.kept else "",
            }
            for outcome in self.outcomes
        ]
        return {
            "ok": not self.failures,
            "failures": self.failures,
            **self.opening._asdict(),
            "tries": self.tries,
            "seconds": round(self.seconds, 2),
            "kept": self.kept,
            "acts": acts,
        }


def sees_losses(outcomes: list[Outcome]) -> bool:
    """Whether uncoordinated acts lost something that was acknowledged."""
    return any(outcome.counts.lost for outcome in outcomes)


def failures_of(outcome: Outcome) -> list[str]:
    """For what one act fails the whole run."""
    found = list(outcome.problems)
    if outcome.spec.coordinated:
        counts = outcome.counts
        figures = {"lost": counts.lost, "doubled": counts.doubled, "torn": counts.torn}
        found += [f"{number} {name}" for name, number in figures.items() if number]
        if outcome.timed_out:
            found.append(f"not finished after {outcome.seconds:.0f} s")
        elif not counts.acknowledged:
            found.append("no update was acknowledged")
    return found


def run_demo(*, tasks_path: str | None, workers: int, as_json: bool, keep: str | None, seed: int | None) -> int:
    """See ``coordinator.demo.run_demo``."""
    try:
        source, setting = _prepare(tasks_path, workers, seed)
        stage = _open_stage(keep)
    except CannotStart as problem:
        sys.stderr.write(f"coordinator demo: {problem}\n")
        return 2
    faults = [str(fault) for fault in draw_faults(setting.seed, setting.workers)]
    opening = Opening(source, len(setting.initial), describe(setting.plan), workers, setting.seed, faults)
    began = time.monotonic()
    try:
        with _told_of_termination(), make_report(as_json=as_json) as report:
            report.opening(opening)
            outcomes, tries = _run_acts(setting, stage, report)
        result = Result(opening, outcomes, tries, time.monotonic() - began, stage if keep else "")
        report.closing(result)
        return 1 if result.failures else 0
    finally:
        if not keep:
            shutil.rmtree(stage, ignore_errors=True)


def _run_acts(setting: Setting, stage: str, report: Report) -> tuple[list[Outcome], int]:
    """The uncoordinated acts, again with more pressure should they lose nothing; then the coordinated ones."""
    naive = [spec for spec in ACTS if not spec.coordinated]
    outcomes: list[Outcome] = []
    tries = 0
    deadline = setting.deadline - COORDINATED_LIMIT_S
    while tries == 0 or (tries < TRIES and not sees_losses(outcomes) and time.monotonic() + TRY_AGAIN_S < deadline):
        shortest_ms, longest_ms = setting.work_ms
        work_ms = (shortest_ms / 4**tries, longest_ms / 4**tries)
        harder = setting._replace(pressure=tries, work_ms=work_ms, deadline=deadline)
        tries += 1
        outcomes = [_run_act(spec, harder, f"{stage}/try-{tries}-{spec.strategy}", report) for spec in naive]
    for spec in ACTS:
        if spec.coordinated:
            outcomes.append(_run_act(spec, setting, f"{stage}/{spec.strategy}", report))
    return outcomes, tries


def _run_act(spec: ActSpec, setting: Setting, folder: str, report: Report) -> Outcome:
    report.act_begins(spec)
    outcome = Act(spec, setting, folder, report).run()
    report.act_ended(outcome)
    return outcome


# ── before ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _prepare(tasks_path: str | None, workers: int, seed: int | None) -> tuple[str, Setting]:
    if not WORKERS_MIN <= workers <= WORKERS_MAX:
        raise CannotStart(f"{workers} workers: from {WORKERS_MIN} to {WORKERS_MAX} are possible")
    source = tasks_path or os.path.join(os.path.dirname(__file__), "tasks.json")
    try:
        with open(source, "rb") as file:
            original = file.read()
        document = parse(original, source)
        most = max(TASKS_MIN, min(TASKS_MAX, BYTES_DUE // max(len(original), 1)))
        plan = make_plan(document, workers=workers, most=most)
    except OSError as error:
        raise CannotStart(f"{source} cannot be read: {error.strerror}") from error
    except MalformedDocument as error:
        raise CannotStart(error.message) from error
    except NoTasks as error:
        raise CannotStart(f"{source} is not a list of tasks that this demonstration knows: {error}") from error
    prepare(document, plan)
    initial = render(document, original, source) if plan.reset else original
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    deadline = time.monotonic() + TOTAL_LIMIT_S
    return source, Setting(initial, plan, names, _seed(seed), WORK_MS, 0, deadline)


def _seed(seed: int | None) -> int:
    if seed is not None:
        return seed
    text = os.environ.get(SEED_VARIABLE, "")
    try:
        return int(text) if text else random.randrange(1_000_000)
    except ValueError:
        raise CannotStart(f"{SEED_VARIABLE}={text!r} is not a whole number") from None


def _open_stage(keep: str | None) -> str:
    """The directory for all files."""
    if keep is None:
        return tempfile.mkdtemp(prefix="coordinator-demo-")
    path = os.path.abspath(keep)
    try:
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise CannotStart(f"{path} is not empty: nothing of yours is to be written over")
    except OSError as error:
        raise CannotStart(f"{path} cannot be used: {error.strerror}") from error
    return path


@contextmanager
def _told_of_termination() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that processes and files are cleared away then too."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only there can it be done
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
