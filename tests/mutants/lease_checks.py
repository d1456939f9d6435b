"""What the rules of leases promise (P9 to P12), each as a scenario with clocks set by hand."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from coordinator.errors import LeaseHeld, LeaseLost
from coordinator.limits import TURN_MS
from coordinator.testing import ManualClock
from mutants.world import NAME, Violation, World, acquire_from, promise, wait_in_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.document.lease import DocumentLease

# ── P9: who may take over, and when ──────────────────────────────────────────────────────────────────────────────────


def a_clock_that_jumps_steals_nothing(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=30)
    own = ManualClock()
    own.on_pause = lambda _pause_ms: own.advance(wall_ms=3_600_000)  # a suspended sandbox: monotonic time stood still
    with contextlib.suppress(LeaseHeld):
        world.agent("rival", own).lease(NAME, wait=1)
        raise Violation("a live lease was taken over after a jump of the contender's wall clock")


def a_clock_that_is_set_back_delays_little(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=5)
    own, left = ManualClock(), [-3_600_000]
    own.on_pause = lambda _pause_ms: own.advance(wall_ms=left.pop() if left else 0)
    take_over_by_watching(world, own, "a dead holder's lease cannot be had since the contender's clock was set back")


def a_host_that_is_dead_for_certain_gives_way(world: World) -> None:
    lease = world.agent("holder").lease(NAME, ttl=10, ends_in=12)
    world.server.advance(7000)
    lease.renew()
    world.server.advance(4900)
    promise(world.agent("rival").try_lease(NAME) is None, "a lease was taken over before its host's deadline")
    world.server.advance(300)
    promise(world.agent("rival").try_lease(NAME) is not None, "the host's deadline has passed, and its lease stands")


def the_ttl_is_the_holders_own(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=30)
    world.server.advance(5000)
    promise(world.agent("rival").try_lease(NAME, ttl=1) is None, "a lease was taken over by the contender's own ttl")


def servers_that_disagree_a_little_steal_nothing(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=1)
    world.server.advance(1050)
    promise(world.agent("rival").try_lease(NAME) is None, "a lease was taken over within the skew of two servers")
    world.server.advance(100)
    promise(world.agent("rival").try_lease(NAME) is not None, "a lease that ran out cannot be had")


def a_silent_holder_gives_way_though_the_servers_clock_stands_still(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=5)
    take_over_by_watching(world, ManualClock(), "a dead holder's lease cannot be had: the server's clock stands still")


def a_silent_holder_gives_way_though_the_servers_clock_was_set_back(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=5)
    world.server.advance(-3_600_000)
    own = ManualClock(on_pause=world.server.advance)
    take_over_by_watching(world, own, "a dead holder's lease cannot be had: the server's clock was set back")


def a_crowd_in_line_keeps_no_dead_holder_alive(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=5)
    own, passer_by = ManualClock(), world.agent("passer-by")
    due_ms = [own.wall_ms() + 1000 * second for second in range(60, 0, -1)]

    def others_ask(_pause_ms: float) -> None:
        if due_ms and own.wall_ms() >= due_ms[-1]:
            due_ms.pop()
            passer_by.request_release(NAME, grace=0)  # enters the line, and leaves it

    own.on_pause = others_ask
    take_over_by_watching(world, own, "a dead holder's lease cannot be had while others ask for it, too")


def a_holder_that_renews_is_not_silent(world: World) -> None:
    lease = world.agent("holder").lease(NAME, ttl=5)
    own = ManualClock()

    def time_passes(pause_ms: float) -> None:
        world.server.advance(pause_ms)
        lease.check()  # renews when that is due

    own.on_pause = time_passes
    with contextlib.suppress(LeaseHeld):
        world.agent("rival", own).lease(NAME, wait=30)
        raise Violation("a lease was taken over from a holder that renews it in time")


def take_over_by_watching(world: World, own: ManualClock, else_what: str) -> None:
    """A contender waits long enough to be sure that nobody renews."""
    try:
        world.agent("rival", own).lease(NAME, wait=60)
    except LeaseHeld:
        raise Violation(else_what) from None
    promise(world.newest().why == "silent", "it was had by something else than watching")


# ── P10: what a holder believes ──────────────────────────────────────────────────────────────────────────────────────


def a_holder_believes_the_longest_of_its_clocks(world: World) -> None:
    steps: tuple[Callable[[DocumentLease], object], ...] = (
        lambda lease: lease.check(),
        lambda lease: lease.renew(),
        lambda lease: lease.commit(b"late"),
    )
    for i, step in enumerate(steps):
        for jump in ({"wall_ms": 40_000}, {"boot_ms": 40_000}):  # frozen for 40 s; the other clocks stood still
            own = ManualClock()
            lease = world.agent(f"holder-{i}", own).lease(NAME, ttl=30)
            own.advance(100, **jump)
            refused_as_expired(lambda step=step, lease=lease: step(lease))  # type: ignore[misc]
            lease.release()


def trust_ends_before_the_ttl_does(world: World) -> None:
    own = ManualClock()
    lease = world.agent("holder", own).lease(NAME, ttl=30)
    own.advance(26_000)
    promise(lease.remaining == 0, "a holder trusts its lease at 87 % of its ttl")
    refused_as_expired(lease.check)


def a_slow_reply_is_counted_against_the_trust(world: World) -> None:
    own = ManualClock()
    # The server has told its time, and the reply is under way for 20 s.
    world.when("holder", lambda call: call[:2] == ("after", "touch"), lambda: own.advance(20_000))
    lease = world.agent("holder", own).lease(NAME, ttl=30)
    promise(lease.remaining <= 4, f"after 20 s on the way, {lease.remaining} of 24 s of trust are left")


def refused_as_expired(step: Callable[[], object]) -> None:
    """The step must be refused, for this very reason."""
    try:
        step()
    except LeaseLost as lost:
        promise(lost.reason == "expired", f"lost for the wrong reason: {lost.reason}")
    else:
        raise Violation("a holder whose time is over goes on")


# ── P11 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_renews_in_time(world: World) -> None:
    lease = world.agent("holder").lease(NAME, ttl=10)
    for _ in range(10):
        world.server.advance(4100)
        try:
            lease.check()
        except LeaseLost as lost:
            raise Violation(f"a holder that checks in time loses its lease: {lost}") from None
    promise(world.newest().kind == "renew", "nothing was renewed")


def a_late_release_frees_nobody_elses_lease(world: World) -> None:
    late, successor = superseded(world)
    with contextlib.suppress(LeaseLost):
        late.release()
    fence = world.agent("reader").status_of(NAME).fence
    promise(fence == successor.fence, "a late release freed the successor's lease")


def a_late_renewal_renews_nobody_elses_lease(world: World) -> None:
    late, _ = superseded(world)
    before = world.newest()
    with contextlib.suppress(LeaseLost):
        late.renew()
        raise Violation("a superseded holder renewed, and was not told")
    promise(world.newest() == before, "a late renewal changed the successor's lease")


def superseded(world: World) -> tuple[DocumentLease, DocumentLease]:
    """A holder whose clocks stood still while its lease ran out and was taken over; and its successor."""
    late = world.agent("late", ManualClock()).lease(NAME, ttl=5)
    world.server.advance(6000)
    return late, world.agent("successor").lease(NAME, ttl=30)


def the_with_block_swallows_nothing(world: World) -> None:
    try:
        with world.agent("one").lease(NAME):
            raise KeyError("the body's own")
    except KeyError:
        return
    raise Violation("the body's exception was swallowed")


def the_with_block_hides_nothing(world: World) -> None:
    try:
        with superseded(world)[0]:
            raise KeyError("the body's own")
    except KeyError:
        return
    except LeaseLost:
        raise Violation("the body's exception was hidden behind the loss of the lease") from None


# ── P12 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_newcomer_does_not_overtake_the_line(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    wait_in_line(world.agent("first"))
    lease.release()
    promise(world.agent("newcomer").try_lease(NAME) is None, "a newcomer overtook the one who waits in line")


def the_head_of_the_line_goes_first(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    first, second = world.agent("first"), world.agent("second")
    places = wait_in_line(first), wait_in_line(second)
    lease.release()
    promise(not acquire_from(second, places[1]), "the second in line overtook the first")
    promise(acquire_from(first, places[0]), "the head of the line was refused")
    promise(
        [waiter.request for waiter in world.newest().waiting] == [places[1]], "the second in line has lost its place"
    )


def a_dead_head_of_the_line_costs_one_turn(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    wait_in_line(world.agent("dead"))
    lease.release()
    world.server.advance(TURN_MS)
    promise(world.agent("newcomer").try_lease(NAME) is not None, "one that waits no more keeps everybody out")


def a_token_is_good_once(world: World) -> None:
    token = world.agent("one").lease(NAME).detach()
    world.agent("two").resume(token)
    with contextlib.suppress(LeaseLost):
        world.agent("three").resume(token)
        raise Violation("one token gave the lease to two")


def a_holder_sees_that_it_is_wanted(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    wait_in_line(world.agent("first"))
    lease.check()
    promise(lease.wanted, "somebody waits, and the holder does not see it")
