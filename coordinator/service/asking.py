"""The compactor function, as the coordinator function calls it: asked, for reads; told, of what waits to be folded.

It runs once at a time (reserved concurrency 1), so it may be busy: a question is asked again for a while. Being told is
asynchronous and coalesced: one invocation covers whatever was appended before it begins. What nobody was told of is
found by its schedule.
"""

from __future__ import annotations

import json
import random
import threading
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import SYSTEM_CLOCK, elapsed_max_ms
from coordinator.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.clock import Clock, Instant

TELL_EVERY_MS: Final = 250  # of one document
ASK_MS: Final = 8000  # limit: a question is tried for so long
_PAUSE_MIN_MS: Final = 20
_PAUSE_MAX_MS: Final = 500
_BUSY: Final = frozenset({"TooManyRequestsException", "ServiceException", "EC2ThrottledException"})
_DOCUMENTS_MAX: Final = 1000


def lambda_client() -> Any:
    """A client for invocations, with time-outs of our own. Credentials and endpoint are the environment's."""
    from botocore.config import Config  # noqa: PLC0415 - not before something is asked
    from botocore.session import Session  # noqa: PLC0415 - likewise

    config = Config(connect_timeout=2, read_timeout=ASK_MS / 1000, retries={"total_max_attempts": 1})
    return Session().create_client("lambda", config=config)


class Compactor:
    """Thread-safe.

    Args:
        function: Its name or ARN.
        client: Makes a boto3 Lambda client.
        clock: The clocks.
    """

    def __init__(self, function: str, client: Callable[[], Any] = lambda_client, clock: Clock = SYSTEM_CLOCK) -> None:
        self._function = function
        self._make = client
        self._client: Any = None
        self._clock = clock
        self._guard = threading.Lock()
        self._told: dict[str, Instant] = {}
        self._wanted: set[str] = set()

    def ask(self, call: str, body: dict[str, Any], left_ms: int) -> tuple[int, dict[str, Any]]:
        """Asks; returns status and body.

        Raises:
            StoreUnavailable: Busy, or broken, for all of the time. Nothing was changed: a retry is safe.
        """
        began, pause_ms = self._clock.now(), float(_PAUSE_MIN_MS)
        budget_ms = min(ASK_MS, left_ms)
        payload = json.dumps({"ask": {"call": call, "body": body}}).encode()
        while True:
            try:
                return self._asked(payload)
            except _NotNowError as error:
                cause = str(error)
            if elapsed_max_ms(began, self._clock.now()) + pause_ms >= budget_ms:
                raise StoreUnavailable(
                    f"{call} was not answered by the compactor function: {cause}",
                    resource=str(body.get("document", "")),
                    cause=cause,
                    outcome_unknown=False,
                    hint="try again; if it stays so, look at its log",
                )
            self._clock.pause(pause_ms * random.uniform(0.5, 1.0))
            pause_ms = min(pause_ms * 2, _PAUSE_MAX_MS)

    def _asked(self, payload: bytes) -> tuple[int, dict[str, Any]]:
        answer = self._invoke("RequestResponse", payload)
        text = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise _NotNowError(f"it failed: {text[:200].decode(errors='replace')}")
        told = json.loads(text)
        return int(told["status"]), told["body"]

    def _invoke(self, kind: str, payload: bytes) -> Any:
        with self._guard:
            if self._client is None:
                self._client = self._make()
        try:
            return self._client.invoke(FunctionName=self._function, InvocationType=kind, Payload=payload)
        except Exception as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if code in _BUSY:
                raise _NotNowError(f"it is busy ({code})") from None
            raise _NotNowError(f"{type(error).__name__}: {error}") from error

    def tell(self, document: str, *, fresh: bool) -> None:
        """Says that something waits to be folded; at most every TELL_EVERY_MS, and never fails.

        Args:
            document: Where.
            fresh: Something was appended just now; else, what was appended before may not have been told of yet.
        """
        now = self._clock.now()
        with self._guard:
            if fresh:
                self._wanted.add(document)
            last = self._told.get(document)
            if document not in self._wanted or (last and elapsed_max_ms(last, now) < TELL_EVERY_MS):
                return
            self._wanted.discard(document)
            self._told[document] = now
            if len(self._told) > _DOCUMENTS_MAX:
                del self._told[next(iter(self._told))]
        try:
            self._invoke("Event", json.dumps({"fold": [document]}).encode())
        except _NotNowError:
            return  # its schedule comes round


class _NotNowError(Exception):
    """No answer, this time."""
