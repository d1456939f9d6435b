"""How each fault takes place."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from coordinator.testing.simulation import faults
from coordinator.testing.simulation.rot import rot

if TYPE_CHECKING:
    from coordinator.testing.simulation.client import SimProcess
    from coordinator.testing.simulation.clocks import Hand
    from coordinator.testing.simulation.faults import Fault
    from coordinator.testing.simulation.host import Host
    from coordinator.testing.simulation.world import World

JUMPY_NS: Final = 20_000_000_000  # for how long a clock jumps again and again


class Striking:
    """A fault that is due. Called, it befalls a process, or its host."""

    def __init__(self, world: World, fault: Fault, process: SimProcess) -> None:
        self._world, self._fault, self._process = world, fault, process

    def __call__(self) -> None:
        """Strikes."""
        self._world.struck += 1
        self._world.note(self._process.name, "STRUCK BY", str(self._fault))
        _STRIKES[self._fault.kind](self._world, self._fault, self._process)


def _kill(world: World, fault: Fault, process: SimProcess) -> None:
    world.end(process)
    _bury(world, fault, fault.agent)


def _crash(world: World, fault: Fault, process: SimProcess) -> None:
    """The host dies; on a local disk that is everybody's, and the disk keeps what is durable and some of the rest."""
    world.has_torn = True
    before = process.host
    on_it = [number for number, host in world.host_of.items() if host is before]
    before.crash()
    if world.is_local and before.has_mount:
        world.history.lose_power()
        for lost in world.server.lose_power(before.rng, world.page_bytes):
            world.note(before.name, "LOST", lost)
        if world.items is not None:
            world.chains.recount()
    booted = world.boot(f"{before.name}'", before.rng)
    booted.has_mount = before.has_mount
    for number in on_it:
        world.host_of[number] = booted
        if number in world.busy:
            _bury(world, fault._replace(restarts=fault.restarts or number != fault.agent), number)


def _bury(world: World, fault: Fault, number: int) -> None:
    """Of an agent that died: another life, or none."""
    if fault.restarts:
        world.start(number, delay_ms=fault.span_ms)
    else:
        world.done(number)


def _freeze(world: World, fault: Fault, process: SimProcess) -> None:
    process.is_frozen = True
    world.after(fault.span_ms, lambda: world.scheduler.thaw(process))


def _suspend(world: World, fault: Fault, process: SimProcess) -> None:
    host, began_ns = process.host, world.scheduler.now_ns
    host.fall_silent()
    frozen = [one for one in host.processes if not one.is_dead and not one.is_frozen]
    for one in frozen:
        one.is_frozen = True

    def resume() -> None:
        if host.is_down:
            return
        now_ns = world.scheduler.now_ns
        if fault.detail != faults.NO_CLOCK and host.may_go_wrong("stopped"):
            for name in fault.detail.split():
                getattr(host.clock, name).set_back(now_ns, now_ns - began_ns)
        host.speak_again()
        for one in frozen:
            world.scheduler.thaw(one)

    world.after(fault.span_ms, resume)


def _cut(world: World, fault: Fault, process: SimProcess) -> None:
    process.host.cut()
    world.after(fault.span_ms, process.host.heal)


def _lose_reply(_world: World, fault: Fault, process: SimProcess) -> None:
    process.lost = fault.detail


def _fail(_world: World, fault: Fault, process: SimProcess) -> None:
    process.error, process.errors_left = getattr(errno, fault.detail), fault.span_ms


def _turn_clock(world: World, fault: Fault, process: SimProcess) -> None:
    host = process.host
    if not host.may_go_wrong("jumped"):
        return
    clock, _, again = fault.detail.partition(" ")
    hand = getattr(host.clock, clock)
    hand.set_back(world.scheduler.now_ns, -fault.span_ms * 1_000_000)
    if again:
        _turn_again(world, hand, host)


def _turn_again(world: World, hand: Hand, host: Host) -> None:
    """A clock that somebody sets every moment."""
    if world.scheduler.now_ns < JUMPY_NS:
        hand.set_back(world.scheduler.now_ns, host.rng.randrange(-10_000_000_000, 10_000_000_000))
        world.after(host.rng.randrange(1, 500), lambda: _turn_again(world, hand, host))


def _restart_server(world: World, _fault: Fault, _process: SimProcess) -> None:
    world.locks.forget()


def _lose_at_table(_world: World, fault: Fault, process: SimProcess) -> None:
    process.table_lost = fault.detail


def _fail_at_table(_world: World, fault: Fault, process: SimProcess) -> None:
    process.table_error, process.table_errors_left = fault.detail, fault.span_ms


def _slow_table(_world: World, fault: Fault, process: SimProcess) -> None:
    process.table_delay_ms = fault.span_ms


def _cut_from_table(world: World, fault: Fault, process: SimProcess) -> None:
    host = process.host
    host.is_far = True

    def heal() -> None:
        host.is_far = False

    world.after(fault.span_ms, heal)


def _rot(world: World, fault: Fault, process: SimProcess) -> None:
    path = rot(world.server, fault.detail, process.host.rng, process.host.server_ns())
    world.note("", "ROTTEN", path)
    if path:
        agent, incarnation, *_ = path.rpartition("/")[2].split(".")
        world.rotten.add(incarnation)
        world.rotten_agents.add(agent)


_STRIKES: Final = {
    faults.KILL: _kill,
    faults.CRASH: _crash,
    faults.FREEZE: _freeze,
    faults.SUSPEND: _suspend,
    faults.CUT: _cut,
    faults.LOSE: _lose_reply,
    faults.FAIL: _fail,
    faults.CLOCK: _turn_clock,
    faults.ROT: _rot,
    faults.RESTART: _restart_server,
    faults.TABLE_LOSE: _lose_at_table,
    faults.TABLE_FAIL: _fail_at_table,
    faults.TABLE_SLOW: _slow_table,
    faults.TABLE_FAR: _cut_from_table,
    faults.NO_LOCKS: _fail,
}
