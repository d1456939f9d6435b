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
from coordinator.demo.plan import Plan, any_pending, next_claimable, set_status
from coordinator.demo.strategies import NotNow, Refused, Torn, Unknown, make_strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.demo.plan import Address
    from coordinator.demo.strategies import Ack
    from coordinator.testing import PauseAt

BETWEEN = "between read and write"
INSIDE = "inside the commit"
INSIDE_POINT = "after_snapshot_sync"
LOOK_PAUSE_S = 0.05
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
        ttl_s: For leases.
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

    def __init__(self, stops: dict[int, str], inside: PauseAt | None) -> None:
        self._stops, self._inside = stops, inside
        self._updates = 0

    def between(self) -> None:
        """Called once for each update, between its read and its write."""
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
        self._strategy = make_strategy(spec.strategy, spec.directory, spec.name, spec.ttl_s, inside)
        self._random = random.Random(f"{spec.seed} {spec.name} {spec.life}")
        self._torn = self._restored = 0
        self._journal = Journal(os.path.join(spec.run, "journal"), spec.name, spec.life)  # which says: ready

    def run(self) -> None:
        """Until there is nothing left to do, or it is told to leave."""
        if os.read(0, 1):
            self._write("end", reason=self._loop())

    def _loop(self) -> str:
        for claimed in self._of_former_lives():
            self._complete(claimed)
        while not _told_to_leave():
            address = self._claim()
            if address is not None:
                time.sleep(self._random.uniform(*self._spec.work_ms) / 1000)  # the work itself
                self._complete(address)
            elif not self._wait_for_more():
                return "finished"
        return "told"

    def _of_former_lives(self) -> list[Address]:
        lives = range(1, self._spec.life)
        tails = [JournalTail(os.path.join(self._spec.run, "journal"), self._spec.name, life) for life in lives]
        return unfinished([entry for tail in tails for entry in tail.new_entries()])

    def _claim(self) -> Address | None:
        chosen: list[Address] = []

        def change(document: Any) -> bool:
            address = next_claimable(document, self._plan)
            chosen[:] = [address] if address else []
            return address is not None and bool(set_status(document, address, self._plan.in_progress))

        ack = self._update(CLAIM, change, chosen)
        return chosen[0] if ack else None

    def _complete(self, address: Address) -> None:
        def change(document: Any) -> bool:
            before = set_status(document, address, self._plan.done)
            return before not in {"", self._plan.done}

        self._update(COMPLETE, change, [address])

    def _update(self, op: str, change: Callable[[Any], bool], address: list[Address]) -> Ack | None:
        """Tries until it is acknowledged; None when there is nothing to do, or no time left."""
        while not _told_to_leave():
            try:
                ack = self._strategy.update(change, self._stopper.between)
            except Torn:
                self._torn += 1
                time.sleep(RETRY_PAUSE_S)
            except NotNow:
                time.sleep(RETRY_PAUSE_S)
            except Refused as refused:
                self._write("refused", op=op, address=address[0] if address else None, **vars(refused))
            except Unknown:
                self._write("unknown", op=op, address=address[0] if address else None)
            else:
                if ack is not None:
                    self._write("ack", op=op, address=address[0], revision=ack.revision, fence=ack.fence)
                return ack
        return None

    def _wait_for_more(self) -> bool:
        """Whether something became claimable; False when all is claimed, or nothing moved for ``idle_s``."""
        known, since = b"", time.monotonic()
        while time.monotonic() - since < self._spec.idle_s and not _told_to_leave():
            try:
                data = self._strategy.look()
            except Torn:
                self._torn += 1
            else:
                if data != known:
                    known, since = data, time.monotonic()
                    document = json.loads(data)
                    if not any_pending(document, self._plan):
                        return False
                    if next_claimable(document, self._plan):
                        return True
            time.sleep(LOOK_PAUSE_S * self._random.uniform(0.5, 1))
        return False

    def _write(self, kind: str, address: Address | None = None, **fields: Any) -> None:
        for _ in range(self._strategy.restored - self._restored):
            self._journal.write("restored")
        self._restored = self._strategy.restored
        tag, name = address or ("", "")
        self._journal.write(kind, tag=tag, id=name, torn=self._torn, **fields)
        self._torn = 0


def _inside(spec: Spec) -> PauseAt | None:
    if spec.strategy != "lease" or INSIDE not in spec.stops.values():
        return None
    from coordinator.testing import PauseAt  # noqa: PLC0415 - for the one or two workers that are stopped there

    return PauseAt(INSIDE_POINT, armed=False)


def _told_to_leave() -> bool:
    """Whether standard input has ended."""
    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    Worker(Spec.from_argument(sys.argv[1])).run()
