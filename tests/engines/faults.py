"""What can be done to a request on its way to an engine, and plans that choose it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple


class Error(NamedTuple):
    """An answer that the proxy makes up, in the service's own form."""

    status: int
    type: str
    message: str


@dataclass(frozen=True)
class Fault:
    """What is done to one request.

    Attributes:
        name: For counts and the log.
        forwards: How often the engine gets it before it is answered.
        answer: Which of the engine's replies the client gets, or what else. ``nothing`` closes the connection,
            ``reset`` does so with RST, ``half`` after half of the reply's body.
        before_ms: Waited before it is forwarded.
        after_ms: Waited after it was forwarded, before it is answered.
        late_ms: The engine gets it once more, that long after the answer, or when drained.
        hold_before: Waited for before it is forwarded.
        hold_after: Waited for before it is answered.
    """

    name: str
    forwards: int = 1
    answer: Literal["first", "last", "nothing", "reset", "half"] | Error = "last"
    before_ms: float = 0
    after_ms: float = 0
    late_ms: float | None = None
    hold_before: threading.Event | None = None
    hold_after: threading.Event | None = None

    def after_write(self) -> Fault:
        """The same, though the engine does get the request."""
        return replace(self, name=f"{self.name}-after-write", forwards=1)


PASS: Final = Fault("pass")
DROP_REQUEST: Final = Fault("drop-request", forwards=0, answer="nothing")
DROP_REPLY: Final = Fault("drop-reply", answer="nothing")
DUPLICATE_FIRST: Final = Fault("duplicate-first", forwards=2, answer="first")
DUPLICATE_LAST: Final = Fault("duplicate-last", forwards=2, answer="last")
RESET: Final = Fault("reset", forwards=0, answer="reset")
RESET_AFTER_WRITE: Final = RESET.after_write()
TRUNCATED_REPLY: Final = Fault("truncated-reply", answer="half")


def late_request(late_ms: float) -> Fault:
    """The client sees the connection close; the request still arrives, after what the client did next."""
    return Fault("late-request", forwards=0, answer="nothing", late_ms=late_ms)


def late_duplicate(late_ms: float) -> Fault:
    """All is well, and then the same request arrives a second time."""
    return Fault("late-duplicate", late_ms=late_ms)


def delay(before_ms: float = 0, after_ms: float = 0) -> Fault:
    return Fault("delay", before_ms=before_ms, after_ms=after_ms)


def held(before: threading.Event | None = None, after: threading.Event | None = None) -> Fault:
    """Waits for the test's word before the engine gets the request, or before the client gets the reply."""
    return Fault("held", hold_before=before, hold_after=after)


def error(status: int, code: str, message: str, namespace: str = "com.amazonaws.dynamodb.v20120810") -> Fault:
    """Any error of the service, without forwarding."""
    return Fault(code, forwards=0, answer=Error(status, f"{namespace}#{code}", message))


INTERNAL_ERROR: Final = error(500, "InternalServerError", "Internal server error")
UNAVAILABLE: Final = error(503, "ServiceUnavailable", "Service is temporarily unavailable")
THROUGHPUT_EXCEEDED: Final = error(
    400,
    "ProvisionedThroughputExceededException",
    "The level of configured provisioned throughput for the table was exceeded.",
)
THROTTLED: Final = error(
    400, "ThrottlingException", "Rate of requests exceeds the allowed throughput.", "com.amazon.coral.availability"
)
EXPIRED: Final = error(
    400, "ExpiredTokenException", "The security token included in the request is expired", "com.amazon.coral.service"
)

Plan = Callable[[int, str, dict[str, Any]], Fault]


def pass_all(_number: int, _operation: str, _body: dict[str, Any]) -> Fault:
    """The plan of a proxy that does nothing."""
    return PASS


@dataclass(frozen=True)
class RandomPlan:
    """Faults at random: the same for the same seed and request number, whatever order threads come in.

    Attributes:
        seed: Printed with the plan, so that a failure tells how to repeat it.
        rates: The share of requests that each fault gets, of 1; the rest pass.
        operations: The only ones that faults are for; None means all.
    """

    seed: int
    rates: Mapping[Fault, float]
    operations: frozenset[str] | None = None

    def __call__(self, number: int, operation: str, _body: dict[str, Any]) -> Fault:
        if self.operations is not None and operation not in self.operations:
            return PASS
        point = random.Random(f"{self.seed}/{number}").random()
        for fault, rate in self.rates.items():
            point -= rate
            if point < 0:
                return fault
        return PASS

    def __repr__(self) -> str:
        rates = {fault.name: rate for fault, rate in self.rates.items()}
        return f"RandomPlan(seed={self.seed}, rates={rates}, operations={sorted(self.operations or ())})"


@dataclass
class Script:
    """Faults in turn for the requests of one operation; then, and for all others, none."""

    operation: str
    faults: list[Fault]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, _number: int, operation: str, _body: dict[str, Any]) -> Fault:
        with self._lock:
            return self.faults.pop(0) if operation == self.operation and self.faults else PASS


@dataclass(frozen=True)
class Denied:
    """Refuses actions as AWS does when no policy allows them; a transaction needs those of its members."""

    actions: frozenset[str]

    def __call__(self, _number: int, operation: str, body: dict[str, Any]) -> Fault:
        for action, table in _actions(operation, body):
            if action in self.actions:
                return error(400, "AccessDeniedException", _refusal(action, table), "com.amazon.coral.service")
        return PASS


def _actions(operation: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a request needs permission for."""
    if operation != "TransactWriteItems":
        return [(operation, body.get("TableName", "*"))]
    return [
        ("ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item", item["TableName"])
        for member in body["TransactItems"]
        for kind, item in member.items()
    ]


def _refusal(action: str, table: str) -> str:
    return (
        "User: arn:aws:sts::123456789012:assumed-role/agent/session is not authorized to perform: "
        f"dynamodb:{action} on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/{table} "
        f"because no identity-based policy allows the dynamodb:{action} action"
    )
