"""Pieces of worlds, for tests of the simulation itself: hosts on one server, and processes that do what a test says."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from coordinator.testing.simulation.client import SimFiles, SimProcess
from coordinator.testing.simulation.schedule import STEPS_MAX, Scheduler
from coordinator.testing.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.testing.simulation.host import Host


class Bench:
    """A world without agents: a test starts processes of its own on its hosts."""

    def __init__(self, *, is_local: bool = False) -> None:
        self.world = World(next(seed for seed in range(1000) if World(seed).is_local == is_local))
        self.world.scheduler = Scheduler(steps_max=STEPS_MAX)
        self.world.forgets_removed = True
        self.hosts = [self.host(f"h{number}") for number in range(3)]

    def host(self, name: str) -> Host:
        host = self.world.boot(name, random.Random(name))
        host.clock = type(host.clock)(self.world.scheduler)
        return host

    def process(self, host: int) -> SimProcess:
        process = SimProcess(f"p{host}", self.hosts[host])
        self.hosts[host].processes.append(process)
        return process

    def start(self, process: SimProcess, body: Callable[[SimFiles], Any], *, delay_ms: int = 0) -> None:
        files = SimFiles(self.world, process)
        self.world.scheduler.spawn(process, lambda: body(files), delay_ns=delay_ms * 1_000_000, is_agent=True)

    def run(self) -> None:
        """Until all that was started has ended; then more can be started."""
        scheduler = self.world.scheduler
        scheduler.run()
        scheduler._is_over = False
        failures, scheduler.failures = scheduler.failures, []
        for failure in failures:
            raise failure

    def does(self, host: int, body: Callable[[SimFiles], Any]) -> Any:
        """One process on one host, from its beginning to its end."""
        found: list[Any] = []
        self.start(self.process(host), lambda files: found.append(body(files)))
        self.run()
        return found[0]

    def wait(self, span_ms: int) -> None:
        self.does(0, lambda _files: self.hosts[0].clock.pause(span_ms))
