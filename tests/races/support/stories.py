"""A holder and a contender, each with clocks of its own that stop, jump and run apart, as Hypothesis makes them up.

What is assumed is the least that a lease can rest on (P9, P10):

* of the holder's three clocks *one*, and it is not told which, loses at most 5 % from beginning to end;
* of the contender's monotonic and wall clock *one* at a time, and not always the same, gains at most 5 %;
* two readings of the store's clock are off by its skew at most; or it stands still, so that watching is all there is.

Everything else may do what it likes: stand still, run at double speed, jump by an hour ahead or back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from hypothesis import strategies as st

from coordinator import LeaseLost, Workspace
from coordinator.limits import MOUNT_SKEW_MS
from coordinator.testing import ManualClock, MemoryStore

if TYPE_CHECKING:
    import threading

    from coordinator import DocumentLease

NAME: Final = "tasks.json"
TTL_MS: Final = 10_000
HOUR_MS: Final = 3_600_000
_CLOCKS: Final = 3
_TAIL_STEP_MS: Final = TTL_MS // 32
_TAIL_STEPS: Final = 200  # of a story whose clocks have all come to reason: far more than a takeover takes


class Span(NamedTuple):
    """What one clock makes of a span of real time."""

    factor: float
    jump_ms: int

    def of(self, real_ms: float) -> float:
        return self.factor * real_ms + self.jump_ms


class Step(NamedTuple):
    """What happens between two looks of the contender."""

    real_ms: int
    holder: tuple[Span, Span, Span]
    contender: tuple[Span, Span, Span]
    honest_contender: int
    contender_rate: float
    store_off_ms: int
    holder_acts: bool


@dataclass(frozen=True)
class Story:
    """A lease, and what time does to those who want it.

    Attributes:
        honest_holder: Which of the holder's clocks keeps time.
        holder_rate: How well.
        store_stands: The store's clock stands still.
        ends_in_s: The deadline of the holder's host, if it has one. It is not discounted as the ttl is, so this needs
            a clock that loses nothing.
        steps: Until all clocks come to reason.
    """

    honest_holder: int
    holder_rate: float
    store_stands: bool
    ends_in_s: float | None
    steps: list[Step]


class TakenOver(NamedTuple):
    """How a story ends."""

    trusted_s: float  # for how long the holder still trusts its lease, at the moment of the takeover
    why: str
    found_out: bool  # the holder's next check tells it


class LooseClock(ManualClock):
    """Nothing moves by itself: a pause lets the story go on, and the story says what this clock makes of it."""

    def pause(self, pause_ms: float, wake: threading.Event | None = None) -> bool:
        if self.on_pause:
            self.on_pause(pause_ms)
        return wake is not None and wake.is_set()


class _Telling:
    """A story as it is lived."""

    def __init__(self, root: str, story: Story) -> None:
        self._story = story
        self._left = iter(story.steps)
        self._tail = 0
        self._server = ManualClock()
        self._off_ms = 0
        self._holders = LooseClock()
        self._contenders = LooseClock(on_pause=lambda _pause_ms: self._go_on())
        store = MemoryStore(self._server)
        self._holder = Workspace(root, agent="holder", clock=self._holders, store=store)
        self._contender = Workspace(root, agent="contender", clock=self._contenders, store=store)
        self._lease: DocumentLease | None = None

    def live(self) -> TakenOver:
        lease = self._lease = self._holder.lease(NAME, ttl=TTL_MS / 1000, ends_in=self._story.ends_in_s)
        self._contender.lease(NAME, ttl=TTL_MS / 1000, wait=None)
        trusted_s = lease.remaining
        grants = [record for record in self._contender.history(NAME) if record.kind == "grant"]
        try:
            lease.check()
        except LeaseLost:
            return TakenOver(trusted_s, grants[-1].why, found_out=True)
        return TakenOver(trusted_s, grants[-1].why, found_out=False)

    def _go_on(self) -> None:
        """One step; when there are no more, all clocks tick alike, and the holder is dead."""
        step = next(self._left, None)
        rate = self._story.holder_rate
        if step is None:
            self._tail += 1
            assert self._tail < _TAIL_STEPS, "the contender never gets the lease"
            self._holders.advance(_TAIL_STEP_MS * rate)
            self._contenders.advance(_TAIL_STEP_MS)
            self._move_server(_TAIL_STEP_MS, self._off_ms)
            return
        holder = [span.of(step.real_ms) for span in step.holder]
        holder[self._story.honest_holder] = step.real_ms * rate
        contender = [span.of(step.real_ms) for span in step.contender]
        contender[step.honest_contender] = step.real_ms * step.contender_rate
        for clock, spans in ((self._holders, holder), (self._contenders, contender)):
            clock.advance(monotonic_ms=spans[0], wall_ms=spans[1], boot_ms=spans[2])
        self._move_server(step.real_ms, step.store_off_ms)
        if step.holder_acts and self._lease is not None:
            try:
                self._lease.check()
            except LeaseLost:
                self._lease.release()

    def _move_server(self, real_ms: int, off_ms: int) -> None:
        if not self._story.store_stands:
            self._server.advance(real_ms + off_ms - self._off_ms)
            self._off_ms = off_ms


def live(root: str, story: Story) -> TakenOver:
    """Lives a story in a workspace."""
    return _Telling(root, story).live()


_spans = st.builds(
    Span,
    factor=st.sampled_from([0, 1, 0.5, 2]),
    jump_ms=st.sampled_from([0, 0, 0, -HOUR_MS, HOUR_MS, -TTL_MS // 2, TTL_MS // 2]),
)
_steps = st.builds(
    Step,
    real_ms=st.sampled_from([10, 200, 600, 1500, 4000]),
    holder=st.tuples(_spans, _spans, _spans),
    contender=st.tuples(_spans, _spans, _spans),
    honest_contender=st.integers(0, _CLOCKS - 2),  # boot time is not asked by contenders
    contender_rate=st.sampled_from([1.0, 1.05, 0.95]),
    store_off_ms=st.sampled_from([0, MOUNT_SKEW_MS]),
    holder_acts=st.booleans(),
)
stories = st.builds(
    Story,
    honest_holder=st.integers(0, _CLOCKS - 1),
    holder_rate=st.sampled_from([1.0, 0.95, 1.05]),
    store_stands=st.booleans(),
    ends_in_s=st.none(),
    steps=st.lists(_steps, max_size=12),
)
hosted_stories = st.builds(
    Story,
    honest_holder=st.integers(0, _CLOCKS - 1),
    holder_rate=st.sampled_from([1.0, 1.05]),
    store_stands=st.just(False),
    ends_in_s=st.sampled_from([10.0, 12.5, 20.0]),
    steps=st.lists(_steps, max_size=16),
)
