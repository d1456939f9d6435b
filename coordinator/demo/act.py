"""One act: a fleet of workers and a reader on one file, with faults, from the first process to the last count."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from coordinator.demo.coordinated import Coordinated
from coordinator.demo.faults import FREEZE, draw_faults, stops_of
from coordinator.demo.judge import Counts, judge
from coordinator.demo.ledger import Entry, JournalTail
from coordinator.demo.reader import NAME as READER
from coordinator.demo.strategies import FILE
from coordinator.demo.worker import BETWEEN, Spec
from coordinator.processes import ENDED, RUNNING, STOPPED, Child, Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.demo.plan import Plan

TICK_S = 0.005
START_LIMIT_S = 20


@dataclass(frozen=True, slots=True)
class ActSpec:
    """What tells one act from another.

    Attributes:
        strategy: A key of ``STRATEGIES``.
        title: For the table.
        about: For sentences.
        coordinated: Whether nothing may be lost, doubled or torn, and the chain has to account for every update.
        ttl_s: For leases and claims.
        idle_s: A worker leaves when nothing was claimable, and nothing moved, for so long.
        thaw_after_s: A frozen worker stays frozen at least so long,
        thaw_after_acks: and until others had so many updates acknowledged,
        thaw_latest_s: but no longer than this.
        limit_s: An act that takes longer is ended, and said not to have finished.
        logs: Whether updates go through logs: then what they did is replayed, and a frozen worker stays frozen until
            its task was given to another.
    """

    strategy: str
    title: str
    about: str
    coordinated: bool
    ttl_s: float
    idle_s: float
    thaw_after_s: float
    thaw_after_acks: int
    thaw_latest_s: float
    limit_s: float
    logs: bool = False


class Setting(NamedTuple):
    """What is the same in each act.

    Attributes:
        initial: The file to begin with.
        plan: What is to be done.
        workers: The slots.
        seed: Draws the faults and the lengths of work.
        work_ms: The shortest and the longest work on a task.
        pressure: So many freezes more.
        deadline: When the demonstration as a whole has to be over, by the monotonic clock.
    """

    initial: bytes
    plan: Plan
    workers: list[str]
    seed: int
    work_ms: tuple[float, float]
    pressure: int
    deadline: float

    @property
    def updates(self) -> int:
        """How many updates there are to be: a claim and a completion for each task."""
        return 2 * len(self.plan.chosen)


class Progress(NamedTuple):
    """How far an act is."""

    about: str
    acknowledged: int
    updates: int
    refused: int
    torn: int
    killed: int
    frozen: int
    seconds: float


class Watcher(Protocol):
    """Who is told how an act goes."""

    def progress(self, now: Progress) -> None:
        """Called some times a second."""
        ...

    def event(self, text: str) -> None:
        """Called when something happened to a worker."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended.

    Attributes:
        spec: Which act.
        counts: The figures.
        killed: Workers killed.
        frozen: Workers frozen.
        seconds: From the signal to begin to the end of the last worker.
        timed_out: Whether it was ended by its limit.
        problems: What must not be, in any act that is coordinated; failed processes, in every act.
        file: The file that came out.
        revision: Its revision; 0 without coordination.
        events: What happened to workers, with the second at which it did.
    """

    spec: ActSpec
    counts: Counts
    killed: int
    frozen: int
    seconds: float
    timed_out: bool
    problems: list[str]
    file: str
    revision: int = 0
    events: list[tuple[float, str]] = field(default_factory=list)


class Act:
    """Runs one act; made for one run.

    Args:
        spec: Which act.
        setting: What is the same in each.
        folder: Where the shared file is to be; made here. Journals lie in ``<folder>.run``.
        watcher: Who is told.
    """

    def __init__(self, spec: ActSpec, setting: Setting, folder: str, watcher: Watcher) -> None:
        self._spec, self._setting, self._watcher = spec, setting, watcher
        self._folder, self._run = folder, f"{folder}.run"
        self._file = os.path.join(folder, FILE)
        self._faults = draw_faults(setting.seed, setting.workers, pressure=setting.pressure)
        self._tails: list[JournalTail] = []
        self._entries: list[Entry] = []
        self._acks: Counter[str] = Counter()
        self._ready = 0
        self._acks_at_stop: dict[str, int] = {}
        self._killed = self._frozen = 0
        self._began = 0.0
        self._problems: list[str] = []
        self._events: list[tuple[float, str]] = []
        self._coordinated: Coordinated | None = None

    def run(self) -> Outcome:
        """From the first process to the last count."""
        self._set_up()
        with Fleet(os.path.join(self._run, "errors")) as fleet:
            reader = self._start(fleet, READER, 1)
            for name in self._setting.workers:
                self._start(fleet, name, 1)
            self._await_ready(fleet)
            self._began = time.monotonic()
            for child in fleet.children:
                child.begin()
            timed_out = not self._watch(fleet, reader)
            seconds = time.monotonic() - self._began
            fleet.dismiss_all()
        self._take_in()
        return self._judge(seconds, timed_out)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _set_up(self) -> None:
        for folder in (self._folder, self._run, f"{self._run}/journal", f"{self._run}/errors"):
            os.mkdir(folder)
        for path in (self._file, os.path.join(self._run, "initial.json")):
            with open(path, "wb") as file:
                file.write(self._setting.initial)
        with open(os.path.join(self._run, "plan.json"), "w", encoding="utf-8") as plan:
            json.dump(self._setting.plan.to_json(), plan)
        if self._spec.coordinated:
            self._coordinated = Coordinated(self._folder, self._spec, self._setting)

    def _start(self, fleet: Fleet, name: str, life: int) -> Child:
        self._tails.append(JournalTail(os.path.join(self._run, "journal"), name, life))
        if name == READER:
            return fleet.start("coordinator.demo.reader", name, life, self._file, self._run)
        spec = Spec(
            name=name,
            life=life,
            strategy=self._spec.strategy,
            directory=self._folder,
            run=self._run,
            ttl_s=self._spec.ttl_s,
            idle_s=self._spec.idle_s,
            work_ms=self._setting.work_ms,
            seed=self._setting.seed,
            stops=stops_of(self._faults, name) if life == 1 else {},
        )
        return fleet.start("coordinator.demo.worker", name, life, spec.to_argument())

    def _await_ready(self, fleet: Fleet) -> None:
        """All begin at once: what is timed is the work, not the starting of interpreters."""
        deadline = time.monotonic() + START_LIMIT_S
        while self._ready < len(fleet.children):
            self._take_in()
            fleet.poll()
            broken = next((child for child in fleet.children if child.state == ENDED), None)
            if broken or time.monotonic() > deadline:
                words = broken.last_words() if broken else f"not all ready after {START_LIMIT_S} s"
                raise RuntimeError(f"the demonstration's processes did not start: {words}")
            time.sleep(TICK_S)

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch(self, fleet: Fleet, reader: Child) -> bool:
        """Until all workers have left; False when the limit came first."""
        limit = min(self._began + self._spec.limit_s, self._setting.deadline)
        while any(child is not reader for child in fleet.alive()):
            self._take_in()
            for child in fleet.poll():
                if child.state == STOPPED:
                    self._stopped(child)
                else:
                    self._ended(fleet, child)
            self._thaw_those_due(fleet, reader)
            self._kill_at_large(fleet)
            now = time.monotonic()
            self._watcher.progress(self._progress(now))
            if now > limit:
                return False
            time.sleep(TICK_S)
        return True

    def _take_in(self) -> None:
        for tail in self._tails:
            for entry in tail.new_entries():
                self._entries.append(entry)
                self._acks[entry.worker] += entry.kind == "ack"
                self._ready += entry.kind == "ready"
                if entry.kind == "refused":
                    self._tell(f"{entry.worker}: its late commit was refused ({entry.reason}, fence {entry.fence})")

    def _progress(self, now: float) -> Progress:
        return Progress(
            self._spec.about,
            self._acks.total(),
            self._setting.updates,
            sum(entry.kind == "refused" for entry in self._entries),
            sum(entry.torn for entry in self._entries),
            self._killed,
            self._frozen,
            now - self._began,
        )

    def _tell(self, text: str) -> None:
        self._events.append((round(time.monotonic() - self._began, 2), text))
        self._watcher.event(text)

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stopped(self, child: Child) -> None:
        """A worker stopped itself where the plan says: it is killed there, or stays frozen for a while."""
        fault = next((fault for fault in self._faults if fault.worker == child.name and fault.update), None)
        if fault is None or child.life > 1:
            child.signal(signal.SIGCONT)  # not our doing
            return
        # Without coordination there is no commit to be inside of: it stops before the write.
        place = fault.place if self._spec.coordinated else BETWEEN
        where = f"in its update {fault.update}, {place}"
        if fault.kind == FREEZE:
            self._frozen += 1
            self._acks_at_stop[child.name] = self._acks_of_others(child)
            self._tell(f"{child.name} is frozen {where}")
        else:
            self._kill(child, where)

    def _acks_of_others(self, child: Child) -> int:
        return self._acks.total() - self._acks[child.name]

    def _thaw_those_due(self, fleet: Fleet, reader: Child) -> None:
        spec = self._spec
        for child in self._frozen_children(fleet):
            for_s = time.monotonic() - child.stopped_at
            passed = self._acks_of_others(child) - self._acks_at_stop[child.name]
            alone = not any(other.state == RUNNING and other is not reader for other in fleet.alive())
            enough = for_s >= spec.thaw_after_s and (passed >= spec.thaw_after_acks or alone)
            if enough and spec.logs and self._coordinated:
                enough = alone or self._coordinated.has_passed(child.name)
            if enough or for_s >= spec.thaw_latest_s:
                self._tell(f"{child.name} goes on after {for_s:.2f} s; others had {passed} updates acknowledged")
                child.signal(signal.SIGCONT)

    def _frozen_children(self, fleet: Fleet) -> Iterator[Child]:
        return (child for child in fleet.alive() if child.state == STOPPED and child.name in self._acks_at_stop)

    def _kill_at_large(self, fleet: Fleet) -> None:
        """Kills whom the plan says once its share of the work is done, wherever that worker happens to be."""
        for fault in [fault for fault in self._faults if fault.share and not fault.update]:
            if self._acks.total() >= fault.share * self._setting.updates:
                self._faults.remove(fault)
                for child in fleet.alive():
                    if child.name == fault.worker:
                        self._kill(child, f"after {self._acks.total()} updates, wherever it was")

    def _kill(self, child: Child, where: str) -> None:
        self._killed += 1
        child.signal(signal.SIGKILL)
        self._tell(f"{child.name} is killed {where}")

    def _ended(self, fleet: Fleet, child: Child) -> None:
        if child.status == -signal.SIGKILL:
            self._take_in()  # its successor reads the whole journal, and so must we before it adds to it
            self._start(fleet, child.name, child.life + 1).begin()
        elif child.status:
            self._problems.append(f"{child.name} failed (status {child.status}): {child.last_words()}")

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, seconds: float, timed_out: bool) -> Outcome:
        coordinated = self._coordinated
        final = coordinated.read() if coordinated else self._plain_file()
        counts = judge(self._setting.initial, final, self._entries, self._setting.plan)
        problems = list(self._problems)
        if coordinated:
            problems += coordinated.wrong(self._entries, counts, final, killed=self._killed, frozen=self._frozen)
        return Outcome(
            self._spec,
            counts,
            self._killed,
            self._frozen,
            seconds,
            timed_out,
            problems,
            self._file,
            coordinated.revision if coordinated else 0,
            self._events,
        )

    def _plain_file(self) -> bytes:
        try:
            with open(self._file, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""
