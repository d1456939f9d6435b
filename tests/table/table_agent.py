"""One agent of the fault rounds: leases by a table only, again and again, and writes down what it was told.

``python table_agent.py TABLE WORKSPACE AGENT SEED ROUNDS``: prints a line when it is ready, begins when it is
given one, and prints its Ledger as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coordinator import LeaseHeld, LeaseLost, StoreUnavailable, Workspace

if TYPE_CHECKING:
    from coordinator.document.lease import DocumentLease

NAMES: Final = ("deploy/prod", "deploy/test", "index", "queue", "report")
TTLS: Final = (0.15, 0.3, 0.6)
WAITS: Final = (0, 0, 0.4)


@dataclass
class Ledger:
    """What one agent was told.

    Attributes:
        agent: Who.
        grants: Acknowledged: name, fence and the request, which is the lease's id.
        held: Name, fence, and from when until when it took itself for the holder, by the monotonic clock.
        perhaps: Names of acquisitions that ended without an answer and may stand: each is allowed one grant.
        left: Ids of leases that were granted and not cleanly released: they run out.
        told: How often each outcome came.
        wrong: What must not be.
    """

    agent: str
    grants: list[tuple[str, int, str]] = field(default_factory=list)
    held: list[tuple[str, int, int, int]] = field(default_factory=list)
    perhaps: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> None:
        self.told[outcome] = self.told.get(outcome, 0) + 1


class Agent:
    """Plays rounds in a workspace."""

    def __init__(self, workspace: Workspace, seed: str) -> None:
        self.workspace = workspace
        self.ledger = Ledger(workspace.agent)
        self._random = random.Random(seed)
        self._loose: set[str] = set()  # names on which a lease of its own may stand that it does not hold

    def play(self, rounds: int) -> Ledger:
        for _ in range(rounds):
            self._round()
        return self.ledger

    def _round(self) -> None:
        """Acquire, use, release: each may fail, and none may lie."""
        name, ttl, wait = (self._random.choice(choices) for choices in (NAMES, TTLS, WAITS))
        try:
            lease = self.workspace.lease(str(name), ttl=float(ttl), wait=float(wait))
        except LeaseHeld as held:
            self.ledger.count("held")
            if held.holder == self.ledger.agent and name not in self._loose:
                self.ledger.wrong.append(f"was kept from {name!r} by its own grant {held.fence}")
            return
        except StoreUnavailable as error:
            self._note(error, "unavailable")
            if error.outcome_unknown:
                self.ledger.perhaps.append(str(name))
                self._loose.add(str(name))
            return
        self._loose.discard(str(name))
        self.ledger.grants.append((lease.resource, lease.fence, lease._held.lease_id))
        self._use(lease)
        self._let_go(lease)

    def _note(self, error: StoreUnavailable, outcome: str) -> None:
        """Nothing here gives reason for any but one trouble: that the table did not answer."""
        self.ledger.count(outcome)
        if "did not answer" not in error.message:
            self.ledger.wrong.append(f"was told: {error}")

    def _use(self, lease: DocumentLease) -> None:
        """Checks and renews, and notes for how long it was trusted: what is noted was trusted at that moment."""
        began = until = time.monotonic_ns()
        try:
            for step in self._random.choices((lease.check, lease.renew), k=self._random.randrange(3)):
                step()
                until = self._trusted(lease, until)
        except LeaseLost:
            self.ledger.count("lost")
        except StoreUnavailable as error:
            self._note(error, "renewal unavailable")
        until = self._trusted(lease, until)
        if until > began:  # else the grant was told of when it was over: nobody took himself for the holder
            self.ledger.held.append((lease.resource, lease.fence, began, until))

    @staticmethod
    def _trusted(lease: DocumentLease, until: int) -> int:
        now = time.monotonic_ns()
        return now if lease.remaining > 0 else until

    def _let_go(self, lease: DocumentLease) -> None:
        try:
            lease.release()
        except LeaseLost:
            self.ledger.count("lost")
            self._loose.add(lease.resource)
            self.ledger.left.append(lease._held.lease_id)
        except StoreUnavailable as error:
            self._note(error, "release unavailable")
            self._loose.add(lease.resource)
            self.ledger.left.append(lease._held.lease_id)
        else:
            self.ledger.count("released")


def read_ledger(text: bytes) -> Ledger:
    """The inverse of what a process prints."""
    told: dict[str, Any] = json.loads(text)
    return Ledger(**{**told, "grants": [tuple(one) for one in told["grants"]]})


def main() -> None:
    """See above."""
    table, workspace, agent, seed, rounds = sys.argv[1:]
    played = Agent(Workspace(table=table, workspace=workspace, agent=agent), seed)
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    sys.stdin.readline()
    print(json.dumps(asdict(played.play(int(rounds)))))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
