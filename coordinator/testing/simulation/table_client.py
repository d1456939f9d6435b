"""A process's client of the simulated table: what boto3's is to the library, and each call a point like any other.

A request goes there and its answer comes back, and on the way either can be lost, late, or sent twice; the service can
be throttled or fail; a host can be cut off from it. ``TableCalls`` gets the errors that botocore would raise, by name.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from coordinator.limits import TABLE_READ_MS
from coordinator.testing.simulation.client import DONE, DONE_LATE, DONE_TWICE
from coordinator.testing.simulation.expressions import UnknownExpression
from coordinator.testing.simulation.items import ACTIONS, READS, RefusedRequest
from coordinator.testing.simulation.schedule import Killed

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.testing.simulation.client import SimProcess
    from coordinator.testing.simulation.items import Items
    from coordinator.testing.simulation.world import World

    Answer = dict[str, Any]

TABLE_NAME: Final = "records"
THROTTLED: Final = "ThrottlingException"
CONFLICT: Final = "TransactionConflictException"
INTERNAL: Final = "InternalServerError"  # done, for all that anybody knows
CODES: Final = (THROTTLED, THROTTLED, CONFLICT, INTERNAL)
_STATUS: Final = {INTERNAL: 500}
_READ_NS: Final = TABLE_READ_MS * 1_000_000


class ConnectTimeoutError(Exception):
    """As botocore names it: the request was not sent."""


class ReadTimeoutError(Exception):
    """As botocore names it: no answer came."""


class ServiceError(Exception):
    """As botocore's ClientError: an answer that is an error."""

    def __init__(self, response: Answer) -> None:
        super().__init__(response["Error"]["Code"])
        self.response = response


def _nothing(*_args: Any, **_how: Any) -> None:
    """Hooks of botocore are not called."""


class SimTable:
    """A boto3 client, as far as the library uses one.

    Args:
        world: Where it is.
        process: Whose calls they are.
        items: The table.
    """

    meta = SimpleNamespace(
        events=SimpleNamespace(register=_nothing),
        endpoint_url="https://dynamodb.eu-west-1.amazonaws.com",
        region_name="eu-west-1",
    )

    def __init__(self, world: World, process: SimProcess, items: Items) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._process = process
        self._host = process.host
        self._items = items

    def __getattr__(self, action: str) -> Callable[..., Answer]:
        if action not in ACTIONS:
            raise AttributeError(action)
        return partial(self._call, action)

    def _call(self, action: str, **request: Any) -> Answer:
        process, scheduler = self._process, self._scheduler
        if scheduler.is_over or scheduler.running is not scheduler:
            if scheduler.running is scheduler:
                raise Killed
            raise ConnectTimeoutError
        process.strike(action, "before")
        scheduler.give_way(self._world.latency_ns())
        if self._world.trace is not None:
            self._world.note(process.name, action, _about(request))
        if self._host.is_cut or self._host.is_far:
            scheduler.give_way(_READ_NS)
            raise ConnectTimeoutError
        answer, date = self._answered(action, request), self._date()
        process.strike(action, "after")
        if process.table_delay_ms:
            delay_ms, process.table_delay_ms = process.table_delay_ms, 0
            scheduler.give_way(delay_ms * 1_000_000)
        if isinstance(answer, Exception):
            if isinstance(answer, ServiceError):
                answer.response["ResponseMetadata"]["HTTPHeaders"] = {"date": date}
            raise answer
        return answer | {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"date": date}}}

    def _answered(self, action: str, request: Answer) -> Answer | Exception:
        """What the service did and said, unless that is lost."""
        process, world = self._process, self._world

        def effect() -> Answer | Exception:
            return self._effect(action, request)

        if process.table_errors_left:
            process.table_errors_left -= 1
            code = process.table_error
            world.note(process.name, f"{action} fails", code)
            if code == INTERNAL and self._host.rng.random() < 0.5:  # noqa: PLR2004 - half of them were done
                effect()
            return _error(code)
        if not process.table_lost or action in READS:
            return effect()
        lost, process.table_lost = process.table_lost, ""
        world.note(process.name, f"{action}: reply lost", lost)
        if lost == DONE_TWICE:  # a proxy sent it again
            effect()
            return effect()
        if lost == DONE:
            effect()
        elif lost == DONE_LATE:
            world.after(self._host.rng.randrange(20_000), lambda: _nothing(effect()))
        self._scheduler.give_way(_READ_NS)
        return ReadTimeoutError()

    def _effect(self, action: str, request: Answer) -> Answer | Exception:
        try:
            return self._items.perform(action, request)
        except UnknownExpression as error:
            self._scheduler.fail(error)
            return error
        except RefusedRequest as refused:
            if refused.code == "ValidationException":
                self._scheduler.fail(refused)
            return _error(refused.code, str(refused), refused)

    def _date(self) -> str:
        """What an answer says of the time: a whole second, by the service's own clock."""
        return _formatted(self._world.service_ns() // 1_000_000_000)


def _error(code: str, text: str = "", refused: RefusedRequest | None = None) -> ServiceError:
    response: Answer = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": _STATUS.get(code, 400)},
    }
    if refused is not None and refused.item is not None:
        response["Item"] = dict(refused.item)
    if refused is not None and refused.reasons is not None:
        response["CancellationReasons"] = refused.reasons
    return ServiceError(response)


@lru_cache(maxsize=256)
def _formatted(second: int) -> str:
    return formatdate(second, usegmt=True)


def _about(request: Answer) -> str:
    """What a request is for, in a line of the trace."""
    found = request.get("Key") or request.get("Item")
    if found is None:
        return str(request.get("ExpressionAttributeValues", {}).get(":prefix", {}).get("S", ""))
    return str(found["sk"]["S"])
