"""The coordinator function's environments as processes, the events that they are sent, and a compactor to ask."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import coordinator
from coordinator.service.answering import answer

if TYPE_CHECKING:
    from coordinator import Workspace

PROGRAM = Path(__file__).with_name("coordinator_sandbox.py")
SOURCES = Path(coordinator.__file__).parents[1]
ROLE = "arn:aws:iam::111122223333:role/reviewers"
SESSION = "arn:aws:sts::111122223333:assumed-role/reviewers/reviewer-1"
AGENTS = {ROLE: ["reviewer-*", "{session}"], "alias:agents": ["a-*"], "arn:aws:iam::111122223333:user/idle": []}


def url_event(call: str, body: Any, *, arn: str | None = SESSION, method: str = "POST") -> dict[str, Any]:
    """As a function URL with AWS_IAM sends it (payload format 2.0). A body that is a text is sent as it is."""
    path = f"/v1/{call}"
    context: dict[str, Any] = {
        "accountId": "111122223333",
        "apiId": "abcdefghij",
        "domainName": "abcdefghij.lambda-url.eu-west-1.on.aws",
        "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl"},
        "requestId": "4f5e7f2a",
        "routeKey": "$default",
        "stage": "$default",
        "timeEpoch": 1790000000000,
    }
    if arn is not None:
        context["authorizer"] = {"iam": {"accountId": "111122223333", "userArn": arn, "userId": "AIDA:x"}}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": context,
        "body": body if isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def wish(request_id: str, agent: str = "reviewer-1", **more: Any) -> dict[str, Any]:
    """What acquiring a lease is asked with."""
    return {"name": "tasks.json", "agent": agent, "ttl_ms": 30_000, "request_id": request_id, **more}


def of(told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of what a sandbox said."""
    assert "returned" in told, told
    return told["returned"]["statusCode"], json.loads(told["returned"]["body"])


def counted(told: dict[str, Any], name: str) -> float:
    """A metric's value in what was printed; 0 where there is none."""
    rows = [json.loads(line) for line in told["printed"] if line.startswith("{")]
    return sum(sum(value if isinstance(value := row[name], list) else [value]) for row in rows if name in row)


class Environment:
    """One environment of the function, warm from one event to the next."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(SOURCES), **variables},
            text=True,
        )
        self.pid = self._process.pid
        self.receive()

    def send(self, event: Any, **how: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"event": event, **how}) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the environment has ended"
        told: dict[str, Any] = json.loads(line)
        return told

    def invoke(self, event: Any, **how: Any) -> dict[str, Any]:
        self.send(event, **how)
        return self.receive()

    def call(self, call: str, **body: Any) -> tuple[int, dict[str, Any]]:
        return of(self.invoke(url_event(call, body)))

    def wait_stopped(self) -> None:
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it did not come to that point"

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_stopped()

    def wait_ended(self) -> int:
        return self._process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()


class Compactor:
    """Lambda's Invoke API, with the compactor behind it; counts what it is asked, and may be busy for a while."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folds: list[list[str]] = []
        self.asks = 0
        self.busy = 0  # so many invocations are refused
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert "/functions/compactor/" in unquote(self.path)
                status, body = outer.answer(event)
                self.send_response(status)
                if status == 429:
                    self.send_header("x-amzn-errortype", "TooManyRequestsException")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._guard = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, event: dict[str, Any]) -> tuple[int, bytes]:
        with self._guard:
            if self.busy:
                self.busy -= 1
                return 429, b'{"Type": "User", "message": "Rate Exceeded."}'
            if "fold" in event:
                self.folds.append(event["fold"])
                for name in event["fold"]:
                    self.workspace.document(name).compact()
                return 202, b""
            self.asks += 1
            return 200, json.dumps(answer(self.workspace, event["ask"], lambda: 5.0)).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
