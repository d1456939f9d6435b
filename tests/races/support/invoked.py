"""A Lambda's sandbox, as a process that is told what to do: ``invoked.py DIRECTORY AGENT``.

Like worker.py, but what it does it does inside an invocation. The time that is left is reckoned by the wall clock, as
Lambda's own runtime does; when it is over the process dies at once, without a ``finally``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from coordinator import CoordinatorError, DocumentLease, Event, Workspace
from coordinator.clock import Instant, SystemClock

if TYPE_CHECKING:
    from coordinator.invocation import Invocation


def say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


class StoppedMonotonic(SystemClock):
    """The machine's clocks, but that monotonic and boot time do not count the spans that the process stood still."""

    def __init__(self) -> None:
        self.stood_ns = 0

    def now(self) -> Instant:
        now = super().now()
        return Instant(now.monotonic_ns - self.stood_ns, now.wall_ns, now.boot_ns - self.stood_ns)


class Context:
    """What the handler is given."""

    def __init__(self, request: str, remaining_ms: int) -> None:
        self.aws_request_id = request
        self._deadline_ms = time.time() * 1000 + remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return max(int(self._deadline_ms - time.time() * 1000), 0)


class Sandbox:
    """Every ``do_…`` is a command; what it returns is the answer."""

    def __init__(self, directory: str, agent: str) -> None:
        self._clock = StoppedMonotonic()
        self._events: list[Event] = []
        self._workspace = Workspace(directory, agent=agent, clock=self._clock, on_event=self._events.append)
        self._invocation: Invocation | None = None
        self._held: DocumentLease | None = None

    def run(self) -> None:
        say({"ready": os.getpid()})
        for line in sys.stdin:
            command = json.loads(line)
            action = getattr(self, "do_" + command.pop("do"))
            try:
                say(action(**command))
            except CoordinatorError as error:
                say({"error": type(error).__name__, "text": str(error), **error.fields})

    def do_enter(self, request: str, remaining: float, margin: float, *, dies: bool = False) -> dict[str, Any]:
        if dies:  # as the service ends a sandbox whose time is over
            signal.signal(signal.SIGALRM, lambda _number, _frame: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, remaining)
        context = Context(request, round(remaining * 1000))
        self._invocation = self._workspace.invocation(context, margin=margin)
        self._invocation.__enter__()
        return {}

    def do_leave(self) -> dict[str, Any]:
        assert self._invocation is not None, "the test has not made this sandbox enter"
        self._invocation.__exit__(None, None, None)
        return self._events[-1].detail

    def do_acquire(self, name: str, ttl: float) -> dict[str, Any]:
        self._held = self._workspace.lease(name, ttl=ttl)
        return {"fence": self._held.fence, "incarnation": self._incarnation(name)}

    def _incarnation(self, name: str) -> str:
        return self._workspace.history(name)[-1].incarnation

    @property
    def _lease(self) -> DocumentLease:
        assert self._held is not None, "the test has not made this sandbox acquire a lease"
        return self._held

    def do_check(self) -> dict[str, Any]:
        self._lease.check()
        return {}

    def do_renew(self) -> dict[str, Any]:
        self._lease.renew()
        return {}

    def do_commit(self, text: str) -> dict[str, Any]:
        return {"revision": self._lease.commit(text.encode()).revision}

    def do_update(self, name: str, key: str) -> dict[str, Any]:
        return {"state": self._workspace.document(name).update({key: True}).state}

    def do_freeze(self, *, stops_monotonic: bool) -> dict[str, Any]:
        """Stops this process until the test lets it go on."""
        before = super(StoppedMonotonic, self._clock).now()
        os.kill(os.getpid(), signal.SIGSTOP)
        after = super(StoppedMonotonic, self._clock).now()
        if stops_monotonic:
            self._clock.stood_ns += after.monotonic_ns - before.monotonic_ns
        return {}

    def do_events(self) -> dict[str, Any]:
        return {"events": [[event.kind, event.reason] for event in self._events]}


if __name__ == "__main__":
    Sandbox(sys.argv[1], sys.argv[2]).run()
