"""The deployed shape on this machine: a function URL, and the Lambda API, in front of functions in processes.

    POST /v1/<call>, GET /v1/openapi.json, …          as the coordinator's function URL
    POST /2015-03-31/functions/<name>/invocations     as the Lambda API (aws lambda invoke --endpoint-url …)

Who asks is believed: the header ``x-coordinator-identity`` names the identity, and without one it is ``local``. A
deployed function is told by AWS, and reads no such header; so this listens on this machine only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from coordinator.clock import SYSTEM_CLOCK
from coordinator.names import new_id
from coordinator.service.sandbox import Busy, Failed, FunctionSpec, Sandboxes

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST: Final = "127.0.0.1"
ACCOUNT: Final = "000000000000"
IDENTITY_HEADER: Final = "x-coordinator-identity"
IDENTITY_DEFAULT: Final = "local"
BODY_MAX_BYTES: Final = 6 << 20  # AWS: of a function URL's request, and of a synchronous invocation's
_FUNCTIONS: Final = "/2015-03-31/functions/"
_INVOCATIONS: Final = "/invocations"
_LEFT_OPEN_S: Final = 60.0  # limit: a connection that rests so long is closed


def arn_of(identity: str) -> str:
    """What the function is told of a caller: an ARN as it is, another name as that of a user."""
    return identity if identity.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:user/{identity}"


class LocalServer:
    """Functions behind HTTP. ``start`` it, ``close`` it; thread-safe.

    Args:
        functions: The coordinator first: what comes to ``/v1/`` is its.
        port: 0: any that is free.
    """

    def __init__(self, functions: Sequence[FunctionSpec], port: int = 0) -> None:
        self._http = _Listening(self, (HOST, port))
        self.port = int(self._http.server_address[1])
        self.url = f"http://{HOST}:{self.port}/"
        # The functions find each other through the same API that finds them over there.
        found = {"AWS_ENDPOINT_URL_LAMBDA": self.url.rstrip("/")}
        self.functions = {one.name: Sandboxes(one._replace(variables={**found, **one.variables})) for one in functions}
        self._first = functions[0].name
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def start(self) -> None:
        """Starts a process of each function, then answers. Raises Failed when a handler cannot be had."""
        for sandboxes in self.functions.values():
            sandboxes.warm()
        self._thread.start()

    def close(self) -> None:
        """Stops answering, and ends the processes. What was asynchronously invoked and has not begun is lost."""
        if self._thread.is_alive():
            self._http.shutdown()
        self._http.server_close()
        for sandboxes in self.functions.values():
            sandboxes.close()

    # ── invoking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def by_url(self, event: dict[str, Any]) -> dict[str, Any]:
        """Has the coordinator answer a function URL's event: status, headers, body. Busy, Failed: as AWS tells them."""
        try:
            answer = self.functions[self._first].invoke(event, _function_arn(self._first, ""))
        except Busy:
            return _plain(429, "Rate Exceeded.", {"Retry-After": "1"})
        except Failed:
            return _plain(502, "Internal Server Error")
        if isinstance(answer, dict) and isinstance(answer.get("statusCode"), int):
            return answer
        return _plain(200, json.dumps(answer))

    def invoke(self, name: str, qualifier: str, payload: Any) -> Any:
        """Invokes a function and waits. Raises KeyError for one that is not there, Busy, Failed."""
        return self.functions[name].invoke(payload, _function_arn(name, qualifier))

    def invoke_later(self, name: str, qualifier: str, payload: Any) -> None:
        """Invokes a function asynchronously: when it is busy, it is tried again, as the service does."""
        sandboxes, pause = self.functions[name], 50.0

        def run() -> None:
            nonlocal pause
            while True:
                try:
                    sandboxes.invoke(payload, _function_arn(name, qualifier))
                except Busy:
                    if sandboxes.is_closed:
                        return
                    SYSTEM_CLOCK.pause(pause)
                    pause = min(pause * 2, 1000)
                except Failed:
                    return  # its log tells; there is always a next one
                else:
                    return

        threading.Thread(target=run, name=f"{name} later", daemon=True).start()


def _function_arn(name: str, qualifier: str) -> str:
    return f"arn:aws:lambda:local:{ACCOUNT}:function:{name}" + (f":{qualifier}" if qualifier else "")


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    body = text if text.startswith(("{", "[")) else json.dumps({"Message": text})
    return {"statusCode": status, "headers": {"Content-Type": "application/json", **(headers or {})}, "body": body}


class _Listening(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, server: LocalServer, address: tuple[str, int]) -> None:
        self.local = server
        super().__init__(address, _Requests)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


class _Requests(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _LEFT_OPEN_S
    disable_nagle_algorithm = True
    server: _Listening

    def do_GET(self) -> None:
        """A look: openapi.json, health."""
        self._by_url(b"")

    def do_POST(self) -> None:
        """A call, or an invocation."""
        told = self.headers.get("Content-Length", "0")
        if not told.isdecimal() or "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.close_connection = True
            self._answer(_plain(411, "Content-Length is missing"))
            return
        if int(told) > BODY_MAX_BYTES:
            self.close_connection = True
            self._answer(_plain(413, f"more than {BODY_MAX_BYTES} bytes"))
            return
        body = self.rfile.read(int(told))
        if len(body) < int(told):  # it went away in the middle: nothing is carried out
            self.close_connection = True
            return
        path = urlsplit(self.path).path
        if path.startswith(_FUNCTIONS) and path.endswith(_INVOCATIONS):
            self._by_invocation(path[len(_FUNCTIONS) : -len(_INVOCATIONS)], body)
        else:
            self._by_url(body)

    # ── as a function URL ────────────────────────────────────────────────────────────────────────────────────────────

    def _by_url(self, body: bytes) -> None:
        self._answer(self.server.local.by_url(self._event(body)))

    def _event(self, body: bytes) -> dict[str, Any]:
        """The event of a function URL, payload format 2.0."""
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        identity = headers.pop(IDENTITY_HEADER, IDENTITY_DEFAULT)
        now_ms = SYSTEM_CLOCK.now().wall_ns // 1_000_000
        try:
            text, is_base64 = body.decode("utf-8"), False
        except UnicodeDecodeError:
            text, is_base64 = base64.b64encode(body).decode(), True
        iam = {"userArn": arn_of(identity), "accountId": ACCOUNT, "callerId": identity, "userId": identity}
        http = {
            "method": self.command,
            "path": parts.path,
            "protocol": self.request_version,
            "sourceIp": self.client_address[0],
            "userAgent": headers.get("user-agent", ""),
        }
        return {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": unquote(parts.path),
            "rawQueryString": parts.query,
            "headers": headers,
            "requestContext": {
                "accountId": ACCOUNT,
                "apiId": "local",
                "authorizer": {"iam": iam},
                "domainName": headers.get("host", HOST),
                "domainPrefix": "local",
                "http": http,
                "requestId": new_id(),
                "routeKey": "$default",
                "stage": "$default",
                "timeEpoch": now_ms,
            },
            "body": text,
            "isBase64Encoded": is_base64,
        }

    # ── as the Lambda API ────────────────────────────────────────────────────────────────────────────────────────────

    def _by_invocation(self, function: str, body: bytes) -> None:
        name, qualifier = _named(unquote(function), urlsplit(self.path).query)
        if name not in self.server.local.functions:
            text = f"Function not found: {_function_arn(name, qualifier)}"
            self._answer(_api_error(404, "ResourceNotFoundException", text))
            return
        try:
            payload = json.loads(body or b"null")
        except ValueError:
            self._answer(_api_error(400, "InvalidRequestContentException", "Could not parse request body into json"))
            return
        if self.headers.get("X-Amz-Invocation-Type") == "Event":
            self.server.local.invoke_later(name, qualifier, payload)
            self._answer({"statusCode": 202, "headers": {}, "body": ""})
            return
        try:
            returned = self.server.local.invoke(name, qualifier, payload)
        except Busy:
            self._answer(_api_error(429, "TooManyRequestsException", "Rate Exceeded."))
        except Failed as failed:
            told = {"errorType": failed.kind, "errorMessage": str(failed)}
            headers = {"X-Amz-Function-Error": "Unhandled"}
            self._answer({"statusCode": 200, "headers": headers, "body": json.dumps(told)})
        else:
            self._answer({"statusCode": 200, "headers": {}, "body": json.dumps(returned)})

    # ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, answer: dict[str, Any]) -> None:
        text = answer.get("body") or ""
        body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
        with contextlib.suppress(OSError):  # who asked has gone; what was done is done
            self.send_response(answer["statusCode"])
            for name, value in (answer.get("headers") or {}).items():
                for one in value if isinstance(value, list) else [value]:
                    self.send_header(name, str(one))
            for cookie in answer.get("cookies") or []:
                self.send_header("Set-Cookie", cookie)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        """The functions have logs of their own."""


def _named(function: str, query: str) -> tuple[str, str]:
    """Name and alias, out of ``name``, ``name:alias`` or an ARN, and the query."""
    qualifier = next((part.partition("=")[2] for part in query.split("&") if part.startswith("Qualifier=")), "")
    if function.startswith("arn:"):
        function = function.split(":", 6)[-1]
    name, _, alias = function.partition(":")
    return name, alias or unquote(qualifier)


def _api_error(status: int, kind: str, text: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": kind}
    return {"statusCode": status, "headers": headers, "body": json.dumps({"Type": "User", "Message": text})}
