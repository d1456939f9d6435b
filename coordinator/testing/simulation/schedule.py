"""The scheduler: many agents in turns, one at a time, and time that passes only when all of them wait.

Every agent is ordinary code in a thread of its own, and exactly one of these threads runs: it has the baton. At each
call of the file system and each pause of a clock the thread says until when it is busy (``give_way``), and whoever is
due first goes on. So the order of everything is decided by simulated time alone, which the seed decides; nothing is
left to the machine, and nothing sleeps.

Threads are kept for the next run: handing the baton on costs some ten microseconds, and only when another is due first.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Event = Callable[[], None]

STEPS_MAX: Final = 60_000  # of one run: more means that nobody gets on


class Killed(BaseException):
    """Unwinds a thread whose process is dead. No ``except Exception`` stops it, and no call of the dead has effects."""


class StuckError(Exception):
    """The run does not come to its end."""


@dataclass(eq=False, slots=True)
class Process:
    """What dies and is frozen as one: an agent's threads, and all that it has in memory.

    Attributes:
        name: The agent's, and which life of it.
        is_dead: Nothing that it does has an effect any more.
        is_frozen: Its threads stand still, until it is thawed or killed.
        calls: How many calls of the file system it has made.
    """

    name: str
    is_dead: bool = False
    is_frozen: bool = False
    calls: int = 0
    standing: list[SimThread] = field(default_factory=list)  # threads that were due while it was frozen


class SimThread:
    """A thread of a process, as the scheduler has it."""

    __slots__ = ("body", "gate", "is_agent", "is_over", "process", "ticket")

    def __init__(self, process: Process, body: Callable[[], None], gate: Any, *, is_agent: bool) -> None:
        self.process = process
        self.body = body
        self.gate = gate
        self.is_agent = is_agent
        self.is_over = False
        self.ticket = 0  # what is in the heap under an older one counts no more


class _Worker:
    """A thread of the machine, kept for the next run."""

    idle: Final[list[_Worker]] = []

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.job: tuple[Scheduler, SimThread] | None = None
        threading.Thread(target=self._work, name="simulated", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.gate.acquire()
            job, self.job = self.job, None
            assert job is not None  # noqa: S101 - the gate is opened for one
            scheduler, thread = job
            try:
                scheduler.start(thread)
            finally:
                del job, thread
                self.idle.append(self)
            scheduler.finish()
            del scheduler

    @classmethod
    def take(cls) -> _Worker:
        return cls.idle.pop() if cls.idle else cls()


class Scheduler:
    """Runs threads in turns.

    Attributes:
        now_ns: True time since the start of the run.
        steps: How many calls and pauses there were.
        switches: How often the baton went to another thread.
    """

    running: Scheduler | None = None  # the one of this process; locks and timers of the library find it here

    def __init__(self, *, steps_max: int = STEPS_MAX) -> None:
        self.now_ns = 0
        self.steps = 0
        self.switches = 0
        self._steps_max = steps_max
        self._heap: list[tuple[int, int, SimThread | Event, int]] = []
        self._order = 0
        self._agents = 0
        self._threads: list[SimThread] = []
        self._main = SimThread(Process("main"), lambda: None, threading.Lock(), is_agent=False)
        self._main.gate.acquire()
        self._is_over = False
        self.current = self._main
        self.failures: list[BaseException] = []

    # ── what is going to happen ──────────────────────────────────────────────────────────────────────────────────────

    def at(self, when_ns: int, event: Event) -> None:
        """Has something done at a time, by nobody's thread."""
        self._order += 1
        heappush(self._heap, (max(when_ns, self.now_ns), self._order, event, 0))

    def spawn(
        self, process: Process, body: Callable[[], None], *, delay_ns: int = 0, is_agent: bool = False
    ) -> SimThread:
        """Starts a thread of a process. The run ends when all agents have ended; other threads are stopped then."""
        worker = _Worker.take()
        thread = SimThread(process, body, worker.gate, is_agent=is_agent)
        worker.job = (self, thread)
        self._threads.append(thread)
        self._agents += is_agent
        self._due(thread, self.now_ns + delay_ns)
        return thread

    def _due(self, thread: SimThread, when_ns: int) -> None:
        self._order += 1
        thread.ticket += 1
        heappush(self._heap, (when_ns, self._order, thread, thread.ticket))

    # ── called by the thread that has the baton ──────────────────────────────────────────────────────────────────────

    def give_way(self, span_ns: int) -> None:
        """Lets everybody else act who is due before this span is over.

        Raises:
            Killed: The thread's process died meanwhile.
        """
        me = self.current
        if me.process.is_dead:
            raise Killed
        self.steps += 1
        if self.steps > self._steps_max and not self._is_over:
            self.fail(StuckError(f"more than {self._steps_max} steps, and {me.process.name} is still at it"))
        when_ns = self.now_ns + span_ns
        heap = self._heap
        if me.process.is_frozen or self._is_over or (heap and heap[0][0] <= when_ns):
            self._due(me, when_ns)
            self._hand_on()
        else:
            self.now_ns = when_ns
        if me.process.is_dead:
            raise Killed

    def park(self, span_ns: int = -1) -> None:
        """Waits until ``wake`` is called with this thread, at most for a span.

        Raises:
            Killed: The thread's process died meanwhile.
        """
        me = self.current
        if me.process.is_dead:
            raise Killed
        me.ticket += 1
        if span_ns >= 0:
            self._due(me, self.now_ns + span_ns)
        self._hand_on()
        if me.process.is_dead:
            raise Killed

    def wake(self, thread: SimThread) -> None:
        """Makes a thread that waits due now."""
        if not thread.is_over:
            self._due(thread, self.now_ns)

    def _hand_on(self) -> None:
        me, following = self.current, self._next()
        if following is not me:
            self.current = following
            self.switches += 1
            following.gate.release()
            me.gate.acquire()

    def _next(self) -> SimThread:
        """Who is due first; what happens before that happens now, in whosever thread."""
        heap = self._heap
        while heap and not self._is_over:
            when_ns, _, item, ticket = heappop(heap)
            self.now_ns = max(self.now_ns, when_ns)
            if not isinstance(item, SimThread):
                try:
                    item()
                except Exception as error:  # noqa: BLE001 - a mistake of the simulation's own, told at the end
                    self.fail(error)
            elif item.ticket == ticket and not item.is_over:
                process = item.process
                if not process.is_frozen or process.is_dead:
                    return item
                process.standing.append(item)
        return self._main

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def kill(self, process: Process) -> None:
        """Ends a process, wherever its threads are: each is unwound without any effect, at once."""
        process.is_dead = True
        for thread in self._threads:
            if thread.process is process and not thread.is_over and thread is not self.current:
                self._due(thread, self.now_ns)
        process.standing.clear()

    def thaw(self, process: Process) -> None:
        """Lets the threads of a frozen process go on."""
        process.is_frozen = False
        standing, process.standing = process.standing, []
        for thread in standing:
            self._due(thread, self.now_ns)

    # ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def fail(self, error: BaseException) -> None:
        """Ends the run with an error."""
        self.failures.append(error)
        self._is_over = True

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, so that no call has an effect any more."""
        return self._is_over

    def run(self) -> None:
        """Runs until every agent has ended, or one has failed; then stops all other threads. See ``failures``."""
        Scheduler.running = self
        try:
            self._hand_on()
            if self._agents and not self.failures:
                self.failures.append(StuckError("everybody waits for something that nobody will do"))
            self._is_over = True
            for thread in self._threads:
                if not thread.is_over:
                    thread.process.is_dead = True
                    self.current = thread
                    thread.gate.release()
                    self._main.gate.acquire()
        finally:
            self.current = self._main
            Scheduler.running = None

    def start(self, thread: SimThread) -> None:
        """In a worker: the whole life of a thread."""
        try:
            if not thread.process.is_dead:
                thread.body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the run has failed by it
            if not self._is_over:
                self.fail(error)
        thread.is_over = True
        thread.body = lambda: None  # what it holds can go
        if thread.is_agent:
            self._agents -= 1
            self._is_over = self._is_over or self._agents == 0

    def finish(self) -> None:
        """In a worker: hands the baton on for good."""
        following = self._next()
        self.current = following
        following.gate.release()
