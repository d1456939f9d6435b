"""A stress run, from an empty folder to the last journal."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import CoordinatorError, NotAWorkspace
from coordinator.processes import ENDED, RUNNING, STOPPED, Child, Fleet
from coordinator.record.unavailable import unavailable
from coordinator.stress import plan
from coordinator.stress.journal import read_journal
from coordinator.stress.worker import LEASED, LOGGED, TASKS
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.stress.plan import Fault, Options

_TICK_S: Final = 0.01
_END_S: Final = 60.0  # for coming to an end, after the last fault


@dataclass
class Struck:
    """One fault that struck, and when, by the monotonic clock."""

    kind: str
    slot: str
    at_ns: int
    until_ns: int = 0


@dataclass
class Run:
    """What happened.

    Attributes:
        options: What was asked for.
        directory: The workspace, a folder of its own.
        journals: By process, its lines.
        struck: The faults.
        began_ns: When the workers were let go.
        ended_ns: When the last of them had ended.
        stuck: Processes that did not come to an end.
        fell: Processes that ended by themselves with an error, and their last words.
    """

    options: Options
    directory: str
    journals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    struck: list[Struck] = field(default_factory=list)
    began_ns: int = 0
    ended_ns: int = 0
    stuck: list[str] = field(default_factory=list)
    fell: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> Counter[str]:
        """How many lines of each kind."""
        return Counter(line["what"] for lines in self.journals.values() for line in lines)


def prepare(options: Options) -> Workspace:
    """Makes the workspace, in a folder of its own, with the documents that all work on."""
    try:
        directory = tempfile.mkdtemp(prefix=f"stress-{options.seed}-", dir=options.directory)
    except FileNotFoundError:
        where = options.directory
        raise NotAWorkspace(f"{where} is not there", path=where, hint="name an existing directory") from None
    except OSError as error:
        raise unavailable(error, options.directory, "making a folder in") from error
    workspace = Workspace.init(
        directory,
        agent="stress",
        table=options.table,
        region=options.region,
        fallback="table" if options.table else None,
        single_host=True,  # all of it runs on this one
    )
    workspace.document(LEASED).commit(b'{"tags": []}\n', if_revision=0)
    workspace.document(LOGGED).commit(b'{"tags": {}}\n', if_revision=0)
    workspace.document(TASKS).commit(b'{"tasks": []}\n', if_revision=0)
    return workspace


class Conductor:
    """Runs the plan.

    Args:
        options: What is asked for.
        workspace: See ``prepare``.
        journals: A folder for journals and for what processes write to standard error; not on the mount.
        watch: Called now and then with the run so far and the seconds that are left.
    """

    def __init__(
        self, options: Options, workspace: Workspace, journals: str, watch: Callable[[Run, float], None]
    ) -> None:
        self._options = options
        self._workspace = workspace
        self._folder = journals
        self._watch = watch
        self._run = Run(options, workspace.directory)
        self._skews = plan.skews(options)
        self._slots: dict[str, Child] = {}
        self._lives: Counter[str] = Counter()
        self._thaws: list[tuple[float, str, Struck]] = []

    def run(self) -> Run:
        """Everything, from the first process to the last journal."""
        run = self._run
        with Fleet(self._folder) as fleet:
            for number in range(self._options.workers):
                self._start(fleet, f"worker-{number}")
            self._start(fleet, "reader")
            self._wait_until_ready()
            run.began_ns = time.monotonic_ns()
            self._let_things_go_wrong(fleet)
            self._end(fleet)
            run.ended_ns = time.monotonic_ns()
        self._collect()
        return run

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, fleet: Fleet, slot: str) -> None:
        self._lives[slot] += 1
        life = self._lives[slot]
        facts = {
            "directory": self._workspace.directory,
            "agent": slot,
            "table": self._options.table,
            "region": self._options.region,
            "journal": self._path_of(slot, life),
            "seed": f"{self._options.seed} {slot} {life}",
            "off_s": self._skews[int(slot.partition("-")[2])] if slot != "reader" else 0,
            "edits": plan.EDIT in self._options.faults,
        }
        module = "coordinator.stress.editor" if slot == "reader" else "coordinator.stress.worker"
        self._slots[slot] = fleet.start(module, slot, life, json.dumps(facts))

    def _path_of(self, slot: str, life: int) -> str:
        return os.path.join(self._folder, f"{slot}.{life}.journal")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            paths = [self._path_of(slot, 1) for slot in self._slots]
            if all(os.path.exists(path) and read_journal(path) for path in paths):
                return
            time.sleep(_TICK_S)

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _let_things_go_wrong(self, fleet: Fleet) -> None:
        faults, began, shown = plan.draw(self._options), time.monotonic(), 0.0
        while (passed_s := time.monotonic() - began) < self._options.seconds:
            while faults and faults[0].at_s <= passed_s:
                self._strike(faults.pop(0))
            self._thaw_when_due()
            self._replace_the_fallen(fleet)
            if passed_s - shown > 1:
                shown = passed_s
                self._collect()
                self._watch(self._run, self._options.seconds - passed_s)
            time.sleep(_TICK_S)

    def _strike(self, fault: Fault) -> None:
        struck = Struck(fault.kind, f"worker-{fault.worker}", time.monotonic_ns())
        if fault.kind == plan.MOVE:
            struck.slot = "all"
            self._move()
        else:
            child = self._slots[struck.slot]
            if child.state != RUNNING or not self._is_ready(child):
                return
            if fault.kind == plan.KILL:
                child.signal(signal.SIGKILL)
            elif fault.kind == plan.FREEZE:
                child.signal(signal.SIGSTOP)
                self._thaws.append((time.monotonic() + fault.span_s, struck.slot, struck))
            else:
                child.signal(signal.SIGUSR1 if fault.kind == plan.FULL else signal.SIGUSR2)
        struck.until_ns = time.monotonic_ns()
        self._run.struck.append(struck)

    def _is_ready(self, child: Child) -> bool:
        """Whether it has begun: a signal would end it before it can take it."""
        path = self._path_of(child.name, child.life)
        return os.path.exists(path) and os.path.getsize(path) > 0

    def _move(self) -> None:
        """Moves the rule to the other store. A table that does not answer is a fault like any other."""
        try:
            rules = self._workspace.authority()
            self._workspace.move_authority("mount" if rules is not None and rules.mode == "table" else "table")
        except CoordinatorError as error:
            self._run.fell[f"move at {time.monotonic_ns()}"] = str(error)

    def _thaw_when_due(self) -> None:
        now = time.monotonic()
        for due in [entry for entry in self._thaws if entry[0] <= now]:
            self._thaws.remove(due)
            child = self._slots[due[1]]
            child.signal(signal.SIGCONT)
            due[2].until_ns = time.monotonic_ns()

    def _replace_the_fallen(self, fleet: Fleet) -> None:
        for child in fleet.poll():
            if child.state == ENDED and self._slots.get(child.name) is child:
                if child.status not in {0, -signal.SIGKILL}:
                    self._run.fell[f"{child.name}.{child.life}"] = child.last_words()
                self._start(fleet, child.name)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, fleet: Fleet) -> None:
        for _, slot, struck in self._thaws:
            self._slots[slot].signal(signal.SIGCONT)
            struck.until_ns = time.monotonic_ns()
        for child in fleet.alive():
            child.dismiss()
        deadline = time.monotonic() + _END_S
        while fleet.alive() and time.monotonic() < deadline:
            for child in fleet.poll():
                if child.state == STOPPED:
                    child.signal(signal.SIGCONT)
                elif child.status not in {0, -signal.SIGKILL}:
                    self._run.fell[f"{child.name}.{child.life}"] = child.last_words()
            time.sleep(_TICK_S)
        self._run.stuck = [f"{child.name}.{child.life}" for child in fleet.alive()]

    def _collect(self) -> None:
        for slot, lives in self._lives.items():
            for life in range(1, lives + 1):
                path = self._path_of(slot, life)
                if os.path.exists(path):
                    self._run.journals[f"{slot}.{life}"] = read_journal(path)
