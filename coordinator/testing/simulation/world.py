"""A world: a server, hosts, agents and what befalls them; all of it made of one seed.

    with simulated():
        done = World(seed=7).run()
    assert not done.failures, done.report()

What a seed decides: whether the workspace lies on an NFS server or on a local disk, which work is done and by how many
agents on how many hosts, how long each call takes, the bounds that are met, and the faults. A run ends when all agents
are done with their work or dead for good; then all that is late arrives, and a judge on a host of its own looks at what
there is (check.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from math import log
from traceback import walk_tb
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.record.record import MOUNT, TABLE
from coordinator.testing.simulation import faults
from coordinator.testing.simulation.chains import Chains
from coordinator.testing.simulation.check import History, Violation
from coordinator.testing.simulation.client import SimFiles, SimProcess, Strike
from coordinator.testing.simulation.clocks import EPOCH_NS, HostClock
from coordinator.testing.simulation.flocks import Locks
from coordinator.testing.simulation.host import Host
from coordinator.testing.simulation.items import Items
from coordinator.testing.simulation.library import ids_from, scale
from coordinator.testing.simulation.schedule import Scheduler
from coordinator.testing.simulation.server import ROOT, Server
from coordinator.testing.simulation.setting import Setting
from coordinator.testing.simulation.striking import Striking
from coordinator.testing.simulation.table_client import SimTable
from coordinator.testing.simulation.table_work import FAR
from coordinator.testing.simulation.work import WORKS, Agent, judge, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.testing.simulation.work import Work

_SLEWED: Final = 1 / 50
LATE_NS: Final = 90_000_000_000  # when whatever is late has arrived


@dataclass(slots=True)
class Result:
    """What came of a run. ``failures`` is empty when nothing was found."""

    seed: int
    options: str  # what the command line has to be told besides
    work: str
    agents: int
    steps: int
    switches: int
    faults: int
    simulated_ns: int
    failures: list[str]
    trace: list[str] = field(default_factory=list)

    def report(self) -> str:
        """What was found, for people, and how to see it again."""
        found = "\n".join(f"  {failure}" for failure in self.failures)
        return f"seed {self.seed} ({self.work}, {self.agents} agents):\n{found}\n{self.command()}"

    def command(self) -> str:
        """What replays it."""
        return f"python -m coordinator.testing.simulation --seed {self.seed}{self.options} --trace"

    def summary(self) -> str:
        """Its figures."""
        return (
            f"seed {self.seed}: {self.work}, {self.agents} agents, {self.steps} steps, {self.switches} switches, "
            f"{self.faults} faults, {self.simulated_ns / 1e9:.1f} simulated seconds"
        )


class World:
    """One run.

    Args:
        seed: Of everything.
        work: A key of ``WORKS``, or one of ``TABLE_WORKS``; None: by the seed, a third of them with a table.
        schedule: Numbers of the faults that strike and of the agents that take part, ``0,2/1,3``; empty: all.
        trace: Whether every call is noted.
    """

    def __init__(
        self,
        seed: int,
        *,
        work: str | None = None,
        schedule: str = "",
        trace: bool = False,
    ) -> None:
        rng = random.Random(f"world {seed}")
        self.seed = seed
        drawn = work if work in WORKS else rng.choice([*WORKS])
        self.setting = Setting.of(seed, work)
        self.work: Work = self.setting.work if self.setting else WORKS[drawn]
        self.scheduler = Scheduler()
        self.trace: list[str] | None = [] if trace else None
        self.is_local = rng.random() < 0.2  # noqa: PLR2004 - mostly NFS, where more goes wrong
        self.page_bytes = rng.choice((64, 512, 4096))
        self.forgets_removed = not self.is_local and rng.random() < 0.7  # noqa: PLR2004 - as Linux' server does
        primitive = "directory" if rng.random() < 0.15 else "symlink"  # noqa: PLR2004 - rarely needed
        born = self.setting.born if self.setting else MOUNT
        self._template = _templates()[self.is_local, primitive, born]
        self.server = self._template.server.copy()
        self.items = self._items()
        self.chains = Chains(self)
        self.locks = Locks(self, rng.choice((1, 10, 90)) * 1_000_000_000)
        self.history = History(self)
        self.desks: dict[int, dict[str, object]] = {}
        self.count = rng.randrange(3, 9)
        if self.setting:
            self.count = len(self.work.roles)
        self._options = f" --work {work}" * bool(work) + f" --schedule {schedule}" * bool(schedule)
        some_faults, _, some_agents = schedule.partition("/")
        self.taking_part = _numbers(some_agents) if schedule else [*range(self.count)]
        self._mean_ns = 20_000 if self.is_local else rng.choice((100_000, 300_000, 1_000_000))
        self._tail = rng.choice((0.0, 0.01, 0.05))
        self._latency = random.Random(f"latency {seed}")
        self._name_keep_ns = rng.choice((3, 30, 30)) * 1_000_000_000
        planned = faults.plan(rng, self.count, rng.choice((30, 100, 300)), is_local=self.is_local)
        if self.setting:
            planned = self.setting.faults(planned, self.count)
        wanted = _numbers(some_faults) if schedule else [*range(len(planned))]
        self.plan = [(number, planned[number]) for number in wanted]
        self.struck = 0
        self.has_torn = False  # what was not synced may have been torn
        self.late: set[str] = set()  # what was done when nobody expected it any more
        self.rotten: set[str] = set()  # incarnations whose logs were altered
        self.rotten_agents: set[str] = set()
        hosts = 1 if self.is_local else rng.randrange(2, self.count + 1)
        machines = [self.boot(f"h{number}", rng) for number in range(hosts)]
        self.host_of = {number: machines[number % hosts] for number in range(self.count)}
        for number in range(self.count) if self.setting else ():
            if self.work.role(number) in FAR:
                machines.append(self.boot(f"far{number}", rng))
                machines[-1].has_mount = False
                self.host_of[number] = machines[-1]
        self._rng = rng
        self._lives: dict[int, int] = {}
        self.busy: set[int] = set()

    # ── what the parts ask for ───────────────────────────────────────────────────────────────────────────────────────

    def server_ns(self) -> int:
        """The server's clock."""
        return EPOCH_NS + self.scheduler.now_ns

    def service_ns(self) -> int:
        """The clock of the table's service."""
        return self.server_ns() + (self.setting.service_off_ns if self.setting else 0)

    @property
    def workspace_id(self) -> str:
        """The workspace's id."""
        return self._template.workspace_id

    def _items(self) -> Items | None:
        """The table, if there is one."""
        if self.setting is None:
            return None
        items = self._template.items.copy()
        items.tells_old, items.page_items = self.setting.tells_old, self.setting.page_items
        return items

    def violated(self, what: str) -> None:
        """Ends the run: something was seen that must not be."""
        self.scheduler.fail(Violation(what))

    def latency_ns(self) -> int:
        """How long the next call takes."""
        chance = self._latency.random()
        if chance < self._tail:
            return int(self._mean_ns * 100 * self._latency.random())
        return int(-log(1.0 - chance) * self._mean_ns) + 1_000

    def note(self, who: str, what: str, about: str) -> None:
        """One line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.scheduler.now_ns / 1e6:12.3f} {who:>6} {what} {about}")

    # ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> Result:
        """Runs it; in a ``simulated`` block."""
        scale(random.Random(f"scale {self.seed}"))
        ids_from(random.Random(f"ids {self.seed}"))
        if self.setting:
            self.chains.begin()
        for number in self.taking_part:
            self.busy.add(number)
            self.start(number, delay_ms=self._rng.randrange(20))
        self.scheduler.run()
        failures = [_told(error) for error in self.scheduler.failures]
        return Result(
            self.seed,
            self._options,
            f"{self.work.name} on {'a local disk' if self.is_local else 'NFS'}",
            len(self.taking_part),
            self.scheduler.steps,
            self.scheduler.switches,
            self.struck,
            self.scheduler.now_ns,
            failures,
            self.trace or [],
        )

    def boot(self, name: str, rng: random.Random) -> Host:
        """A host that was just started."""
        # A service's clock that is told by dates rests on clocks that NTP slews (record/table_time.py).
        scale = _SLEWED if self.setting else 1
        rates = tuple(1 + rng.choice((0, 0, 1e-4, -1e-4, 0.02, -0.02)) * scale for _ in range(3))
        clock = HostClock(self.scheduler, rng.choice((0, 0, -5_000, 3_600_000)) * 1_000_000, rates)  # type: ignore[arg-type]
        return Host(self, name, clock, random.Random(f"{name} {self.seed}"), name_keep_ns=self._name_keep_ns)

    def start(self, number: int, *, delay_ms: int) -> None:
        """One life of an agent."""
        life = self._lives[number] = self._lives.get(number, -1) + 1
        host = self.host_of[number]
        process = SimProcess(f"a{number}.{life}", host)
        host.processes.append(process)
        if life == 0:
            due = sorted((fault for _, fault in self.plan if fault.agent == number), key=lambda fault: -fault.call)
            process.strikes = [
                (fault.call, Strike(fault.op, fault.when, Striking(self, fault, process))) for fault in due
            ]
        agent = Agent(self, process, number, life, random.Random(f"agent {number} {life} {self.seed}"))

        def body() -> None:
            self.work.role(number)(agent)
            self.done(number)
            self.end(process)

        self.scheduler.spawn(process, body, delay_ns=delay_ms * 1_000_000, is_agent=True)

    def done(self, number: int) -> None:
        """An agent has done its work, or is dead for good; after the last one comes the judge."""
        self.busy.discard(number)
        if not self.busy:
            host = self.boot("judge", random.Random(f"judge {self.seed}"))
            process = SimProcess("judge", host)
            agent = Agent(self, process, -1, 0, random.Random(0))
            self.scheduler.spawn(process, lambda: judge(agent), delay_ns=LATE_NS, is_agent=True)

    def end(self, process: SimProcess) -> None:
        """A process is over; what it wrote and did not sync, its host writes back some time."""
        self.scheduler.kill(process)
        host = process.host
        self.after(host.rng.randrange(5_000), host.flush)

    def after(self, span_ms: int, event: Callable[[], None]) -> None:
        """Has something happen after a while."""
        self.scheduler.at(self.scheduler.now_ns + span_ms * 1_000_000, event)


def _told(error: BaseException) -> str:
    """An error, and where in the library it comes from if it is none that was made up here."""
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, Violation):
        places = [f"{frame.f_code.co_filename}:{line}" for frame, line in walk_tb(error.__traceback__)]
        text += "".join(f"\n    {place}" for place in places if "/simulation/" not in place)
    return text


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


class _Template(NamedTuple):
    """What a world begins with."""

    server: Server
    items: Items
    workspace_id: str


class _Quiet:
    """What making a template needs of a world."""

    trace = None

    def __init__(self, *, is_local: bool) -> None:
        self.scheduler = Scheduler()
        self.server = Server(is_local=is_local)
        self.page_bytes = 4096
        self.forgets_removed = False
        self.locks = Locks(self, 1)  # type: ignore[arg-type]

    def server_ns(self) -> int:
        return EPOCH_NS - 3_600_000_000_000 + self.scheduler.now_ns

    service_ns = server_ns

    def latency_ns(self) -> int:
        return 1000

    def note(self, *_: str) -> None:
        pass


@cache
def _templates() -> dict[tuple[bool, str, str], _Template]:
    """Workspaces with the documents that all works begin with. Made once, with the first world."""
    kinds = product((False, True), ("symlink", "directory"), (MOUNT, TABLE))
    return {kind: _template(*kind) for kind in kinds}


def _template(is_local: bool, primitive: str, born: str) -> _Template:
    quiet = _Quiet(is_local=is_local)
    ids_from(random.Random("template"))
    clock = HostClock(quiet.scheduler)
    host = Host(quiet, "setup", clock, random.Random("template"), name_keep_ns=1)  # type: ignore[arg-type]
    process = SimProcess("setup", host)
    files = SimFiles(quiet, process)  # type: ignore[arg-type]
    items = Items()
    table = SimTable(quiet, process, items) if born == TABLE else None  # type: ignore[arg-type]
    made: list[str] = []
    quiet.scheduler.spawn(process, lambda: made.append(prepare(files, clock, primitive, table)), is_agent=True)
    quiet.scheduler.run()
    if quiet.scheduler.failures:
        raise quiet.scheduler.failures[0]
    return _Template(quiet.server, items, made[0])


__all__ = ["ROOT", "Result", "World"]
