"""Leases when clocks stop, jump and run apart: a holder believes the longest span, a contender the shortest (P9, P10).

First with clocks that Hypothesis makes up, then with processes that are really stopped and killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample

from coordinator import LeaseLost, Workspace, acquire, lease
from coordinator.clock import CautiousTimer
from coordinator.limits import MOUNT_SKEW_MS
from coordinator.record import decide
from coordinator.testing import ManualClock, MemoryStore

from .support.stories import HOUR_MS, NAME, TTL_MS, LooseClock, Story, hosted_stories, live, stories

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Instant

    from .support.fleet import Fleet
    from .support.processes import Process


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shared")
    Workspace.init(folder, agent="founder")
    return str(folder)


# ── whatever the clocks do ───────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=200)
@given(story=stories)
def test_nobody_takes_a_lease_over_that_its_holder_still_trusts(root: str, story: Story) -> None:
    end = live(root, story)
    assert end.trusted_s == 0
    assert end.found_out


@settings(max_examples=100)
@given(story=hosted_stories)
def test_nor_one_whose_hosts_deadline_has_passed(root: str, story: Story) -> None:
    end = live(root, story)
    assert end.trusted_s == 0
    assert end.found_out


@pytest.mark.parametrize("why", ["expired", "silent", "free", "dead"])
def test_the_stories_end_in_every_way_there_is(root: str, why: str) -> None:
    told = hosted_stories if why == "dead" else stories
    assert _find(told, lambda story: live(root, story).why == why)


def _find(told: Any, holds: Callable[[Story], bool]) -> Story | None:
    """The first story of which it holds."""
    once = settings(max_examples=400, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    try:
        found: Story = find(told, holds, settings=once)
    except NoSuchExample:
        return None
    return found


# ── … and what happens without one of the rules ──────────────────────────────────────────────────────────────────────

Spans = tuple[int, int, int]


def _held_by(choice: Callable[[Spans], int]) -> Callable[[pytest.MonkeyPatch], None]:
    def elapsed_ms(since: Instant, now: Instant) -> int:
        spans = (now.monotonic_ns - since.monotonic_ns, now.wall_ns - since.wall_ns, now.boot_ns - since.boot_ns)
        return max(choice(spans), 0) // 1_000_000

    return lambda patch: patch.setattr(lease, "elapsed_max_ms", elapsed_ms)


def _watched_by(choice: Callable[[tuple[int, int]], int]) -> Callable[[pytest.MonkeyPatch], None]:
    class Timer(CautiousTimer):
        def elapsed_ms(self) -> int:
            now = self._clock.now()
            span_ns = choice((now.monotonic_ns - self._last.monotonic_ns, now.wall_ns - self._last.wall_ns))
            self._last, self._total_ns = now, self._total_ns + max(span_ns, 0)
            return self._total_ns // 1_000_000

    return lambda patch: patch.setattr(acquire, "CautiousTimer", Timer)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the holder believes the shortest span": _held_by(min),
    "… its monotonic clock": _held_by(lambda spans: spans[0]),
    "… its wall clock": _held_by(lambda spans: spans[1]),
    "… its boot time": _held_by(lambda spans: spans[2]),
    "the contender believes the longest span": _watched_by(max),
    "… its monotonic clock only": _watched_by(lambda spans: spans[0]),
    "… its wall clock only": _watched_by(lambda spans: spans[1]),
    "the holder trusts its lease to the end": lambda patch: patch.setattr(lease, "TRUST_PERCENT", 100),
    "the contender watches for less than the trust": lambda patch: patch.setattr(decide, "WATCHED_PERCENT", 80),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_without_it_two_hold_the_lease(root: str, mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    story = _find(stories, lambda story: live(root, story).trusted_s > 0)
    assert story is not None, "no story tells the difference"
    monkeypatch.undo()
    assert live(root, story).trusted_s == 0


def test_the_deadline_of_the_host_counts_for_its_holder_too(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquire.Acquisition, "left_of_host_ms", lambda _self, _mark: 0)
    assert _find(hosted_stories, lambda story: live(root, story).trusted_s > 0)


# ── one clock at a time ──────────────────────────────────────────────────────────────────────────────────────────────

STOPPED = {"monotonic_ms": 0, "wall_ms": 0, "boot_ms": 0}
FREEZES = {
    "the monotonic clock stopped: the wall clock tells": {"wall_ms": 9000},
    "monotonic and wall clock stopped: boot time tells": {"boot_ms": 9000},
    "the wall clock was set back: the monotonic one tells": {"monotonic_ms": 9000, "wall_ms": 9000 - HOUR_MS},
    "the wall clock was set back, and boot time is not kept": {"monotonic_ms": 9000, "wall_ms": -HOUR_MS},
    "monotonic and boot time stopped, the wall clock jumped": {"wall_ms": HOUR_MS},
    "all went on": {"monotonic_ms": 9000, "wall_ms": 9000, "boot_ms": 9000},
}


@pytest.mark.parametrize("freeze", FREEZES)
def test_a_frozen_holder_finds_out(root: str, freeze: str) -> None:
    clock = LooseClock()
    store = MemoryStore(ManualClock())  # stands still: it has nothing to tell
    held = Workspace(root, agent="holder", clock=clock, store=store).lease(NAME, ttl=TTL_MS / 1000)

    clock.advance(**{**STOPPED, **FREEZES[freeze]})

    assert held.remaining == 0
    with pytest.raises(LeaseLost, match="ran out") as caught:
        held.check()
    assert caught.value.reason == "expired"
    with pytest.raises(LeaseLost):
        held.commit(b"too late")


@pytest.mark.parametrize("clock_name", ["monotonic_ms", "wall_ms", "boot_ms"])
def test_a_holder_trusts_its_lease_as_long_as_no_clock_says_otherwise(root: str, clock_name: str) -> None:
    clock, server = LooseClock(), ManualClock()
    held = Workspace(root, agent="holder", clock=clock, store=MemoryStore(server)).lease(NAME, ttl=TTL_MS / 1000)
    clock.advance(**{clock_name: 7999})
    held.check()  # renews: more than half of the trust is used
    clock.advance(**{clock_name: 7999})
    assert held.remaining > 0
    clock.advance(**{clock_name: 1})
    assert held.remaining == 0


JUMPS: dict[str, dict[str, float]] = {
    "the wall clock jumps ahead": {"monotonic_ms": 100, "wall_ms": HOUR_MS},
    "the monotonic clock jumps ahead": {"monotonic_ms": HOUR_MS, "wall_ms": 100},
    "the wall clock is set back": {"monotonic_ms": 100, "wall_ms": -HOUR_MS},
    "the monotonic clock stops": {"monotonic_ms": 0, "wall_ms": 100},
    "both stop": {"boot_ms": HOUR_MS},
}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_watching_contender_counts_a_jump_for_little(root: str, jump: str) -> None:
    """The store's clock stands still. Every 50 ms that it looks, 100 ms pass; once its clocks jump."""
    own, store = LooseClock(), MemoryStore(ManualClock())
    looks: list[dict[str, float]] = [{"every_ms": 100}] * 40
    looks[7] = JUMPS[jump]
    real_ms = 0

    def pause(_pause_ms: float) -> None:
        nonlocal real_ms
        own.advance(**(looks.pop() if looks else {"every_ms": 100}))
        real_ms += 100

    Workspace(root, agent="holder", clock=ManualClock(), store=store).lease(NAME, ttl=TTL_MS / 1000)
    own.on_pause = pause
    contender = Workspace(root, agent="contender", clock=own, store=store)
    contender.lease(NAME, wait=None)

    assert contender.history(NAME)[-1].why == "silent"
    assert 1.1 * TTL_MS <= real_ms <= 1.1 * TTL_MS + 200


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sandbox(fleet: Fleet, agent: str) -> Process:
    process = fleet.launch("invoked.py", agent)
    process.answer("that it is ready")
    return process


def frozen_and_superseded(fleet: Fleet, *, stops_monotonic: bool) -> tuple[Process, int]:
    """A sandbox that was frozen inside an invocation until another had taken its lease over and let go."""
    holder = sandbox(fleet, "lambda")
    holder.ask("enter", request="first", remaining=60, margin=0.1)
    fence = holder.ask("acquire", name=NAME, ttl=1.2)["fence"]
    holder.tell("freeze", stops_monotonic=stops_monotonic)
    holder.wait_until_stopped("in its invocation")
    with fleet.test.lease(NAME, ttl=30, wait=30) as rival:
        assert rival.fence > fence
        rival.commit(b"the rival's")
    holder.go_on()
    holder.answer("that it goes on")
    return holder, rival.fence


@pytest.mark.parametrize("stops_monotonic", [False, True])
def test_frozen_past_its_ttl_it_is_fenced_out_and_leaves_in_order(fleet: Fleet, *, stops_monotonic: bool) -> None:
    holder, successor = frozen_and_superseded(fleet, stops_monotonic=stops_monotonic)

    refused = holder.refusal("commit", text="too late")

    assert (refused["error"], refused["successor_fence"]) == ("StaleFence", successor)
    left = holder.ask("leave")  # it knows already
    assert (left["released"], left["kept"], left["trouble"]) == ([], [], [])
    assert fleet.test.document(NAME).read() == fleet.view(NAME) == b"the rival's"
    told = [tuple(event) for event in holder.ask("events")["events"]]
    assert (("invocation_thawed", "clocks") in told) is stops_monotonic


def test_frozen_past_its_ttl_it_hears_of_it_when_it_leaves(fleet: Fleet) -> None:
    holder, successor = frozen_and_superseded(fleet, stops_monotonic=True)
    refused = holder.refusal("leave")
    assert (refused["error"], refused["successor_fence"]) == ("StaleFence", successor)
    assert holder.ask("acquire", name=NAME, ttl=10)["fence"] > successor  # the block is left all the same


def test_frozen_between_two_invocations_it_goes_on_as_another(fleet: Fleet) -> None:
    lambdas = sandbox(fleet, "lambda")
    lambdas.ask("enter", request="first", remaining=60, margin=0.1)
    assert lambdas.ask("update", name="plan.json", key="one")["state"] == "applied"
    before = lambdas.ask("acquire", name=NAME, ttl=10)["incarnation"]
    assert lambdas.ask("leave")["released"] == [NAME]
    lambdas.tell("freeze", stops_monotonic=True)
    lambdas.wait_until_stopped("between two invocations")
    fleet.test.document("plan.json").update({"two": True})
    assert fleet.queue_is_free(NAME)
    assert fleet.queue_is_free("plan.json")
    lambdas.go_on()
    lambdas.answer("that it goes on")

    lambdas.ask("enter", request="second", remaining=60, margin=0.1)

    assert lambdas.ask("update", name="plan.json", key="three")["state"] == "applied"
    assert lambdas.ask("acquire", name=NAME, ttl=10)["incarnation"] != before
    lambdas.ask("leave")
    assert fleet.test.document("plan.json").read_json() == {"one": True, "two": True, "three": True}
    assert fleet.newest(NAME).kind == "release"


def test_killed_at_its_deadline_it_holds_others_up_no_longer_than_that(fleet: Fleet) -> None:
    """By its ttl alone the lease would last until a second later."""
    victim = sandbox(fleet, "lambda")
    victim.ask("enter", request="first", remaining=2.0, margin=0.2, dies=True)
    victim.ask("acquire", name=NAME, ttl=1.7)
    granted_ms = fleet.newest(NAME).at_ms
    while fleet.test.status_of(NAME).now_ms < granted_ms + 1000:  # by the store's clock; nothing else moves here
        pass
    victim.ask("renew")
    held = fleet.newest(NAME).lease
    assert held is not None
    runs_out_ms = held.renewed_ms + held.ttl_ms
    assert runs_out_ms > held.dead_by_ms + 500

    with fleet.test.lease(NAME, ttl=10, wait=30):
        grant = fleet.newest(NAME)

    assert grant.why == "dead"
    assert held.dead_by_ms + MOUNT_SKEW_MS < grant.at_ms < runs_out_ms
    assert victim.rest() == []  # it is dead by now, or soon: its margin is no time to trust a lease in
