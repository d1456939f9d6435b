"""Over HTTP: to ``coordinator serve`` as it is, to a function URL or an API signed with the caller's credentials."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from coordinator.clock import SYSTEM_CLOCK, elapsed_max_ms
from coordinator.errors import BadValue, WorkspaceError
from coordinator.remote.connection import REPLY_MAX_BYTES, NoReply, packed, reply_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPConnection

    from coordinator.remote.connection import Reply

    Signer = Callable[[str, bytes, dict[str, str]], dict[str, str]]

IDENTITY_HEADER: Final = "x-coordinator-identity"
_CONNECT_MAX_MS: Final = 3000
_RESTED_MAX_MS: Final = 20_000  # limit: a connection that rested longer is not used again; its other end may have gone
_CHUNK: Final = 1 << 16
_POOL_MAX: Final = 16
_AWS_HOST: Final = re.compile(
    r"[a-z0-9-]+\.(?P<kind>lambda-url|execute-api)\.(?P<region>[a-z0-9-]+)\.(?:on\.aws|amazonaws\.com(?:\.cn)?)"
)
_SERVICES: Final = {"lambda-url": "lambda", "execute-api": "execute-api"}


class HttpWay:
    """A connection over HTTP, kept alive between requests.

    Args:
        url: Where the function listens; ``/v1/…`` is added.
        sign: Sign requests with the AWS credentials of the environment; None: when the host is AWS's.
        region: To sign for; default: what the host's name says.
        identity: What a server on this machine is to take the caller for; nothing deployed believes it.
        credentials: botocore credentials, or None: those of the environment.

    Raises:
        BadValue: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        sign: bool | None = None,
        region: str | None = None,
        identity: str | None = None,
        credentials: Any = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            hint = "give it as https://host/ or http://host:port"
            raise BadValue(f"{url!r} is not the address of a coordinator", argument="url", value=url, hint=hint)
        aws = _AWS_HOST.fullmatch(parts.hostname)
        signs = bool(aws) if sign is None else sign
        if signs and not (region or aws):
            raise BadValue(f"no region to sign for {url!r}", argument="region", value=region, hint="say region=…")
        if signs and parts.scheme != "https":
            raise BadValue(f"{url!r} is to be signed, and is not https", argument="url", value=url)
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/v1/"
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if identity is not None:
            self._headers[IDENTITY_HEADER] = identity
        self._sign: Signer | None = None
        if signs:
            service = _SERVICES[aws["kind"]] if aws else "lambda"
            self._sign = _Signing(region or (aws["region"] if aws else ""), service, credentials).sign
        self._guard = threading.Lock()
        self._rested: list[tuple[HTTPConnection, Any]] = []

    @property
    def place(self) -> str:
        """The address."""
        return self._root + self._path.removesuffix("v1/")

    def send(self, call: str, body: dict[str, Any], timeout_ms: int) -> Reply:
        """Sends one request, once; see Connection."""
        data, headers = packed(body), self._headers
        if self._sign is not None:
            headers = self._sign(f"{self._root}{self._path}{call}", data, headers)
        began = SYSTEM_CLOCK.now()
        connection = self._connect(timeout_ms)
        try:
            reply = self._exchange(connection, self._path + call, data, headers, timeout_ms)
        except _broken() as error:
            connection.close()
            took_ms = elapsed_max_ms(began, SYSTEM_CLOCK.now())
            raise NoReply(f"{type(error).__name__}: {error} after {took_ms} ms", may_stand=True) from error
        except BaseException:
            connection.close()
            raise
        return reply

    def _connect(self, timeout_ms: int) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415 - ssl comes with it, 15 ms

        now = SYSTEM_CLOCK.now()
        with self._guard:
            while self._rested:
                kept, since = self._rested.pop()
                if elapsed_max_ms(since, now) <= _RESTED_MAX_MS:
                    kept.timeout = timeout_ms / 1000
                    if kept.sock is not None:
                        kept.sock.settimeout(timeout_ms / 1000)
                        return kept
                kept.close()
        kind = HTTPSConnection if self._https else HTTPConnection
        connection = kind(self._host, self._port, timeout=min(timeout_ms, _CONNECT_MAX_MS) / 1000)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NoReply(f"{type(error).__name__}: {error}", may_stand=False) from error
        connection.sock.settimeout(timeout_ms / 1000)
        return connection

    def _exchange(
        self, connection: HTTPConnection, path: str, data: bytes, headers: dict[str, str], timeout_ms: int
    ) -> Reply:
        began = SYSTEM_CLOCK.now()
        connection.request("POST", path, data, headers)
        answer = connection.getresponse()
        chunks: list[bytes] = []
        size = 0
        while chunk := answer.read1(_CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > REPLY_MAX_BYTES:
                raise OSError(f"a reply of more than {REPLY_MAX_BYTES} bytes")
            if elapsed_max_ms(began, SYSTEM_CLOCK.now()) > timeout_ms:  # each chunk on its own was in time
                raise TimeoutError("timed out within the reply")
        told = answer.headers.get("Content-Length")
        if told is not None and told.isdecimal() and int(told) != size:
            raise OSError(f"the reply was cut after {size} of {told} bytes")
        answer.close()  # read1 alone leaves it open, and the connection unfit for the next request
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        return reply_of(answer.status, b"".join(chunks), answer.headers.get("Retry-After"))

    def _keep(self, connection: HTTPConnection) -> None:
        with self._guard:
            if len(self._rested) < _POOL_MAX:
                self._rested.append((connection, SYSTEM_CLOCK.now()))
                return
        connection.close()

    def close(self) -> None:
        """Closes what rests."""
        with self._guard:
            rested, self._rested = self._rested, []
        for connection, _ in rested:
            connection.close()

    def after_fork(self) -> None:
        """The parent's connections are the parent's."""
        self._guard = threading.Lock()
        self.close()  # this process's descriptors only: nothing is said to the other end by that


def _broken() -> tuple[type[Exception], ...]:
    """What a connection raises that ended too early."""
    from http.client import HTTPException  # noqa: PLC0415 - see _connect

    return (OSError, HTTPException)


class _Signing:
    """Signature Version 4, by botocore's own signer."""

    def __init__(self, region: str, service: str, credentials: Any) -> None:
        self._region, self._service = region, service
        self._credentials = credentials
        self._guard = threading.Lock()

    def sign(self, url: str, data: bytes, headers: dict[str, str]) -> dict[str, str]:
        """The headers of one request, signed as of now."""
        try:
            from botocore.auth import SigV4Auth  # noqa: PLC0415 - only where requests are signed
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - likewise
        except ImportError:
            raise WorkspaceError(
                f"{url} wants signed requests, and botocore, which signs them, is not installed",
                path=url,
                hint="pip install 'agent-coordinator[aws]'",
            ) from None
        request = AWSRequest(method="POST", url=url, data=data, headers=dict(headers))
        SigV4Auth(self._frozen(url), self._service, self._region).add_auth(request)
        return dict(request.headers.items())

    def _frozen(self, url: str) -> Any:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - see sign
        from botocore.session import Session  # noqa: PLC0415 - likewise

        try:
            with self._guard:
                if self._credentials is None:
                    self._credentials = Session().get_credentials()
                found = self._credentials and self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise WorkspaceError(f"the AWS credentials for {url} cannot be had: {error}", path=url) from error
        if not found or not found.access_key:
            raise WorkspaceError(
                f"{url} wants signed requests, and there are no AWS credentials here",
                path=url,
                hint="set AWS_PROFILE, or run it under a role",
            )
        return found
