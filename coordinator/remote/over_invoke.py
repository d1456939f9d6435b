"""By direct invocation of the coordinator function: who may, is decided by IAM on the function's alias."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import WorkspaceError
from coordinator.remote.connection import NoReply, Reply, packed, reply_of

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECT_S: Final = 3
_READ_S: Final = 20  # above the function's own time-out, as the template sets it
# Answers of the Lambda service itself, before the function ran: nothing was carried out.
_THROTTLED: Final = {"TooManyRequestsException", "ThrottlingException", "RequestLimitExceeded"}
_NOT_YET: Final = {
    "EC2ThrottledException",
    "ResourceConflictException",
    "ResourceNotReadyException",
    "ServiceException",
    "SnapStartNotReadyException",
}


class InvokeWay:
    """A connection by the Lambda API.

    Args:
        function: The function's name or ARN, with its alias: ``coordinator:agents``.
        region: Of the function; default: the environment's.
        client: A boto3 Lambda client, or a callable that makes one; default: made from the environment. It should not
            try again by itself; should it, that is safe.
    """

    def __init__(self, function: str, *, region: str | None = None, client: Any = None) -> None:
        self._function, self._region = function, region
        self._make: Callable[[], Any] | None = client if callable(client) else None
        self._client = None if callable(client) else client
        self._is_given = self._client is not None
        self._guard = threading.Lock()

    @property
    def place(self) -> str:
        """The function."""
        return self._function

    def send(self, call: str, body: dict[str, Any], timeout_ms: int) -> Reply:  # noqa: ARG002 - the client's own
        """Invokes once; see Connection. How long it waits is the client's own setting."""
        client = self._boto()
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - with the client

        try:
            answer = client.invoke(FunctionName=self._function, Payload=packed({"call": call, "body": body}))
            data = answer["Payload"].read()
        except ClientError as error:
            return self._refused(error)
        except BotoCoreError as error:
            name = type(error).__name__
            if name in {"NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ProfileNotFound"}:
                raise WorkspaceError(f"{self._function} cannot be invoked: {error}", path=self._function) from error
            unsent = name in {"EndpointConnectionError", "ConnectTimeoutError"}
            raise NoReply(f"{name}: {error}", may_stand=not unsent) from error
        except OSError as error:
            raise NoReply(f"{type(error).__name__}: {error}", may_stand=True) from error
        if answer.get("FunctionError"):  # it died or timed out in the middle
            raise NoReply(f"the function failed: {data[:200].decode('utf-8', 'replace')}", may_stand=True)
        return _unwrapped(reply_of(200, data))

    def _refused(self, error: Any) -> Reply:
        told = error.response.get("Error", {})
        code, text = str(told.get("Code", "")), str(told.get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
        if code in _THROTTLED:
            return Reply(429, None, f"{code}: {text}")
        if code in _NOT_YET or status >= 500:  # noqa: PLR2004 - the service's own trouble
            raise NoReply(f"{code}: {text}", may_stand=True)
        return Reply(status, {"Message": f"{code}: {text}"})

    def _boto(self) -> Any:
        with self._guard:
            if self._client is None:
                self._client = (self._make or self._made)()
            return self._client

    def _made(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - only where functions are invoked
            from botocore.config import Config  # noqa: PLC0415 - likewise
        except ImportError:
            raise WorkspaceError(
                f"{self._function} cannot be invoked: boto3 is not installed",
                path=self._function,
                hint="pip install 'agent-coordinator[aws]'",
            ) from None
        once = Config(retries={"total_max_attempts": 1}, connect_timeout=_CONNECT_S, read_timeout=_READ_S)
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - likewise

        try:
            return boto3.session.Session().client("lambda", region_name=self._region, config=once)
        except BotoCoreError as error:
            raise WorkspaceError(f"{self._function} cannot be invoked: {error}", path=self._function) from error

    def close(self) -> None:
        """Closes the client's connections, unless the client was given."""
        with self._guard:
            client = None if self._is_given else self._client
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """A client that was made here is made anew; one that was given is botocore's to look after."""
        self._guard = threading.Lock()
        if not self._is_given:
            self._client = None


def _unwrapped(reply: Reply) -> Reply:
    """The function's answer out of the invocation's: {"status", "body", "headers"?}."""
    told = reply.body
    if not isinstance(told, dict) or not isinstance(told.get("status"), int):
        return Reply(404, None, f"not a coordinator's answer: {str(told)[:150]}")
    headers = told.get("headers") or {}
    found = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    return reply._replace(
        status=told["status"], body=told.get("body"), retry_after_ms=reply_of(0, b"", str(found or 0)).retry_after_ms
    )
