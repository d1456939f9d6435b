"""One worker process: claims a task, works on it, completes it, and journals what was acknowledged.

Started as ``python -m coordinator.demo.worker SPEC`` with a JSON object; begins when something comes on standard input,
and leaves when standard input ends, so that it cannot outlive the process that started it.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from coordinator.demo.ledger import CLAIM, COMPLETE, Journal, JournalTail, unfinished
from coordinator.demo.plan import Plan
from coordinator.demo.strategies import Ack, NotNow, Refused, TakenOver, Torn, Unknown, Update, make_strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.demo.plan import Address
    from coordinator.demo.strategies import Inside
    from coordinator.testing.files import Call

BETWEEN = "between read and write"
INSIDE = "inside the commit"
INSIDE_POINT = "after_snapshot_sync"
RETRY_PAUSE_S = 0.002


@dataclass(frozen=True, slots=True)
class Spec:
    """All that a worker is told.

    Attributes:
        name: Its slot.
        life: Which process of that slot it is, from 1.
        strategy: A key of ``STRATEGIES``.
        directory: Where the shared file is.
        run: Where plan and journals are.
        ttl_s: For leases and claims.
        idle_s: It leaves when nothing was claimable, and the file unchanged, for so long.
        work_ms: The shortest and the longest work between claim and completion.
        seed: For the length of its work.
        stops: Update number, from 1, to the place where the process stops itself then (``BETWEEN`` or ``INSIDE``).
    """

    name: str
    life: int
    strategy: str
    directory: str
    run: str
    ttl_s: float
    idle_s: float
    work_ms: tuple[float, float]
    seed: int
    stops: dict[int, str]

    def to_argument(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls, text: str) -> Spec:
        """The inverse of ``to_argument``."""
        value = json.loads(text)
        stops = {int(update): place for update, place in value["stops"].items()}
        return cls(**{**value, "work_ms": tuple(value["work_ms"]), "stops": stops})


class Stopper:
    """Stops its own process, really, at chosen updates, so that a fault hits where it hurts for certain."""

    def __init__(self, stops: dict[int, str], inside: Inside | None) -> None:
        self._stops, self._inside = stops, inside
        self._updates = 0

    def between(self) -> None:
        """Called once for each update; see ``strategies``."""
        self._updates += 1
        place = self._stops.get(self._updates)
        if place is None or _told_to_leave():  # in the latter case, nobody might be left to continue it
            return
        if place == INSIDE and self._inside is not None:
            self._inside.armed = True
        else:
            os.kill(os.getpid(), signal.SIGSTOP)


class Worker:
    """The loop.

    Args:
        spec: What it was told.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        with open(os.path.join(spec.run, "plan.json"), "rb") as file:
            self._plan = Plan.from_json(json.load(file))
        inside = _inside(spec)
        self._stopper = Stopper(spec.stops, inside)
        self._strategy = make_strategy(
            spec.strategy, spec.directory, spec.name, ttl_s=spec.ttl_s, plan=self._plan, inside=inside
        )
        self._random = random.Random(f"{spec.seed} {spec.name} {spec.life}")
        self._restored = 0
        self._journal = Journal(os.path.join(spec.run, "journal"), spec.name, spec.life)  # which says: ready

    def run(self) -> None:
        """Until there is nothing left to do, or it is told to leave."""
        if os.read(0, 1):
            self._write("end", reason=self._loop())

    def _loop(self) -> str:
        for claim in self._of_former_lives():
            self._complete(claim)
        while not _told_to_leave():
            claimed = self._try(CLAIM, None, lambda: self._strategy.claim(self._stopper.between))
            if claimed is not None:
                time.sleep(self._random.uniform(*self._spec.work_ms) / 1000)  # the work itself
                self._complete(claimed)
            elif not self._strategy.more(self._spec.idle_s, _told_to_leave):
                return "finished"
        return "told"

    def _of_former_lives(self) -> list[Update]:
        lives = range(1, self._spec.life)
        tails = [JournalTail(os.path.join(self._spec.run, "journal"), self._spec.name, life) for life in lives]
        claims = unfinished([entry for tail in tails for entry in tail.new_entries()])
        return [Update(claim.address, Ack(fence=claim.fence)) for claim in claims]

    def _complete(self, claim: Update) -> None:
        self._try(COMPLETE, claim.address, lambda: self._strategy.complete(claim, self._stopper.between))

    def _try(self, op: str, address: Address | None, update: Callable[[], Update | None]) -> Update | None:
        """Tries until it is acknowledged; None when there is nothing to do, or no time left."""
        while not _told_to_leave():
            try:
                done = update()
            except Torn:
                self._strategy.torn += 1
                time.sleep(RETRY_PAUSE_S)
            except NotNow:
                time.sleep(RETRY_PAUSE_S)
            except Refused as refused:
                self._write("refused", op=op, **vars(refused))
                if isinstance(refused, TakenOver):
                    return None
            except Unknown:
                self._write("unknown", op=op, address=address)
            else:
                if done is not None:
                    self._write("ack", op=op, address=done.address, **done.ack._asdict())
                return done
        return None

    def _write(self, kind: str, address: Address | None = None, **fields: Any) -> None:
        for _ in range(self._strategy.restored - self._restored):
            self._journal.write("restored")
        self._restored = self._strategy.restored
        tag, name = address or ("", "")
        self._journal.write(kind, tag=tag, id=name, torn=self._strategy.torn, **fields)
        self._strategy.torn = 0


class _InsideAppend:
    """Stops the process just before an operation is written into its log."""

    armed = False

    def __call__(self, call: Call) -> None:
        """See Inside."""
        if self.armed and call[:2] == ("before", "write") and "/@/log/" in call.path:
            self.armed = False
            os.kill(os.getpid(), signal.SIGSTOP)


def _inside(spec: Spec) -> Inside | None:
    """What stops this worker inside a commit; None when it is not to be."""
    if INSIDE not in spec.stops.values():
        return None
    if spec.strategy == "logs":
        return _InsideAppend()
    if spec.strategy == "lease":
        from coordinator.testing import PauseAt  # noqa: PLC0415 - for the one or two workers that are stopped there

        return PauseAt(INSIDE_POINT, armed=False)
    return None


def _told_to_leave() -> bool:
    """Whether standard input has ended."""
    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    Worker(Spec.from_argument(sys.argv[1])).run()
