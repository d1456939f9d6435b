"""A life of a document, cut off by a power failure at every call; and what must hold after each.

The tree is taken down inside the hook, where the call is made, and the scenario goes on untouched: raising there
would let clean-up code run that no power failure runs. States that were judged before, with the same things
acknowledged, are not judged again: most calls only read.
"""

from __future__ import annotations

import hashlib
import json
import random
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from coordinator import CoordinatorError, Workspace
from coordinator.folders import write_new
from coordinator.testing import InterceptedFiles, ManualClock
from coordinator.testing.crash import CrashFiles

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from coordinator import Content
    from coordinator.testing import Call
    from coordinator.testing.crash import CrashState

ROOT: Final = "/shared"
NAME: Final = "plan.json"
PLAIN: Final = b'{"n": 0}\n'
TTL_MS: Final = 5000
RECOVERED: Final = b'{"n": "after the failure"}'


class Violation(Exception):
    """A promise that a power failure broke. Says which, when, what was lost, and the seed."""


@dataclass(frozen=True)
class Promised:
    """What was acknowledged when the power failed, and what was on its way."""

    has_init: bool = False
    revisions: tuple[bytes, ...] = ()  # contents of revisions 1, 2, …
    fences: tuple[int, ...] = ()
    in_flight: bytes | None = None  # the content of the revision after those, if its commit was being made
    has_collected: bool = False  # or has begun to: older content need no longer be there

    @property
    def lawful(self) -> set[tuple[int, bytes]]:
        """Every revision and content that may be the newest."""
        count = len(self.revisions)
        lawful = {(count, self.revisions[-1] if count else PLAIN)}
        return lawful if self.in_flight is None else lawful | {(count + 1, self.in_flight)}


@dataclass
class Judge:
    """Brings every tree that a power failure may leave back to life, and checks that nothing promised is missing.

    Attributes:
        primitive: Of the workspace.
        seed: Of the choice of trees, and of those in which the power fails a second time.
        exhaustive_max: See CrashFiles.crash_states.
        samples: Likewise.
        again: How often, of all trees, the power fails again while it is read for the first time.
    """

    primitive: str
    seed: int = 1
    exhaustive_max: int = 16
    samples: int = 6
    again: float = 0.05
    promised: Promised = field(default_factory=Promised)
    clock: ManualClock = field(default_factory=ManualClock)
    stops: int = 0
    judged: int = 0
    judged_again: int = 0

    def __post_init__(self) -> None:
        self.disk = CrashFiles(self.clock)
        self.files = InterceptedFiles(self.disk, self._at_call)
        self._armed = False
        self._seen: set[Hashable] = set()
        self._looked_at: Hashable = None
        self._chance = random.Random(self.seed)

    # ── the scenario ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """The whole life, the power failing at every call."""
        self.disk.mkdir(ROOT)
        write_new(self.disk, f"{ROOT}/{NAME}", PLAIN)
        self.disk.sync_all()
        self._armed = True
        workspace = Workspace.init(ROOT, agent="alice", primitive=self.primitive, files=self.files, clock=self.clock)
        self.promised = replace(self.promised, has_init=True)
        document = workspace.document(NAME)
        with workspace.lease(NAME, ttl=TTL_MS / 1000) as lease:
            self.promised = replace(self.promised, fences=(lease.fence,))
            with self._committing(PLAIN):  # it is adopted
                lease.read()
            for data in (b'{"n": 1}', b'{"n": 2}'):
                with self._committing(data):
                    lease.commit(data)
        with self._committing(b'{"n": 3}'):
            document.commit(b'{"n": 3}', if_revision=3)
        with workspace.lease(NAME, ttl=TTL_MS / 1000) as lease:
            self.promised = replace(self.promised, fences=(*self.promised.fences, lease.fence))
        self.promised = replace(self.promised, has_collected=True)
        document.collect(keep=2)
        with self._committing(b'{"n": 4}'):
            document.commit(b'{"n": 4}', if_revision=4)
        document.collect(keep=1)
        self._look(self.disk, "the end")

    @contextmanager
    def _committing(self, data: bytes) -> Iterator[None]:
        self.promised = replace(self.promised, in_flight=data)
        yield
        self.promised = replace(self.promised, in_flight=None, revisions=(*self.promised.revisions, data))
        # As the system does by itself in time. Otherwise most trees would differ in some old scratch name only.
        for folder in ("scratch", "clock"):
            self.disk.sync_dir(f"{ROOT}/.coordinator/{folder}")

    def _at_call(self, call: Call) -> None:
        if self._armed:
            self.stops += 1
            self._look(self.disk, " ".join(call))

    # ── the failures ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _states(self, disk: CrashFiles, exhaustive_max: int, samples: int) -> Iterator[CrashState]:
        for state in disk.crash_states(
            exhaustive_max=exhaustive_max, samples=samples, seed=self._chance.randrange(1 << 30)
        ):
            state.files._clock = ManualClock(self.clock.wall_ms())
            yield state

    def _look(self, disk: CrashFiles, where: str) -> None:
        """The power fails now."""
        if (len(disk.effects), self.promised) == self._looked_at:
            return  # that call changed nothing, and promised nothing
        self._looked_at = (len(disk.effects), self.promised)
        for state in self._states(disk, self.exhaustive_max, self.samples):
            if (state.key, self.promised) in self._seen:
                continue
            self._seen.add((state.key, self.promised))
            if self.promised.has_init and self._chance.random() < self.again:
                with self._judging(state, where):
                    self._fail_again(state.files, f"{where} (lost: {_told(state)}), then during the first read")
            else:
                with self._judging(state, where):
                    self._recover(state.files)
            self.judged += 1

    def _fail_again(self, disk: CrashFiles, where: str) -> None:
        """The power fails at every call of the first read after a failure, too."""
        seen: set[Hashable] = set()
        effects = -1

        def at_call(call: Call) -> None:
            nonlocal effects
            if len(disk.effects) == effects:
                return
            effects = len(disk.effects)
            for state in self._states(disk, 4, 1):
                if state.key not in seen:
                    seen.add(state.key)
                    with self._judging(state, f"{where}, at {' '.join(call)}"):
                        self._recover(state.files)
                    self.judged_again += 1

        clock = disk._clock
        Workspace(ROOT, agent="carol", files=InterceptedFiles(disk, at_call), clock=clock).document(NAME).content()

    # ── the judgement ────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _judging(self, state: CrashState, where: str) -> Iterator[None]:
        """Tells of anything that goes wrong as a Violation."""
        try:
            yield
        except (_BrokenError, CoordinatorError, OSError, AssertionError) as error:
            raise Violation(
                f"{type(error).__name__}: {error}\n  the power failed {where} (stop {self.stops})\n"
                f"  lost: {_told(state)}\n  promised: {self.promised}\n"
                f"  primitive {self.primitive}, seed {self.seed}"
            ) from error

    def _recover(self, disk: CrashFiles) -> None:
        promised, clock = self.promised, disk._clock
        assert isinstance(clock, ManualClock)
        if not promised.has_init:
            Workspace.init(ROOT, agent="bob", primitive=self.primitive, files=disk, clock=clock)
        document = Workspace(ROOT, agent="bob", files=disk, clock=clock).document(NAME)
        found = document.content()
        _expect((found.revision, found.data) in promised.lawful, f"the newest content is {found}")
        _check_view(disk, found)
        _expect(document.conflicts() == [], f"edits were made out of nothing: {document.conflicts()}")
        self._check_history(disk)
        clock.advance(TTL_MS * 2)
        with Workspace(ROOT, agent="bob", files=disk, clock=clock).lease(NAME, ttl=TTL_MS / 1000) as lease:
            _expect(lease.fence > max(promised.fences, default=0), f"fence {lease.fence} was given again")
            read = lease.read()
            _expect(read == found.data, f"the lease read {read!r}, and before it {found.data!r}")
            receipt = lease.commit(RECOVERED)
        _expect(receipt.revision == max(found.revision, 1) + 1, f"it went on at revision {receipt.revision}")
        other = Workspace(ROOT, agent="dave", files=disk, clock=clock).document(NAME)
        _expect(other.content() == document.content(), "two readers differ after the recovery")
        _expect(other.read() == RECOVERED, "what was committed after the recovery is not read back")
        _check_view(disk, other.content())
        other.collect(keep=1)
        self._check_history(disk, collected=True)
        _expect(other.read() == RECOVERED, "a collection took the newest content")

    def _check_history(self, disk: CrashFiles, *, collected: bool = False) -> None:
        """Every acknowledged revision is known; and readable, unless content was collected."""
        document = Workspace(ROOT, agent="erin", files=disk, clock=disk._clock).document(NAME)
        known = {revision.revision: revision for revision in document.history()}
        for number, data in enumerate(self.promised.revisions, start=1):
            _expect(number in known, f"revision {number} is not in the history, which has {sorted(known)}")
            revision = known[number]
            _expect(revision.sha256 == hashlib.sha256(data).hexdigest(), f"revision {number} is another one")
            if not (collected or self.promised.has_collected):
                _expect(revision.available, f"the content of revision {number} is gone")
            if revision.available:
                _expect(document.at(number) == data, f"the content of revision {number} is another one")


class _BrokenError(Exception):
    """What does not hold."""


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _BrokenError(otherwise)


def _check_view(disk: CrashFiles, content: Content) -> None:
    """After a read through the library the plain file shows it, and the sidecar tells the same."""
    shown = disk.read(f"{ROOT}/{NAME}")
    _expect(shown == content.data, f"the plain file shows {shown!r} after {content.data!r} was read")
    if content.revision:
        sidecar = json.loads(disk.read(f"{ROOT}/.coordinator/resources/{NAME}/@/view.json"))
        _expect(sidecar["sha256"] == content.sha256, f"the sidecar tells of {sidecar}, the plain file is {content}")


def _told(state: CrashState) -> str:
    return ", ".join(" ".join(effect) for effect in state.lost) or "nothing"
