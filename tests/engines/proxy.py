"""A proxy in front of an engine that loses, delays, repeats and falsifies what passes, as a plan says (faults.py).

Requests go through byte for byte, one thread for each connection of a client.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import socket
import struct
import threading
import time
import weakref
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urlsplit

from engines import HOST
from engines.faults import Error, pass_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.faults import Fault, Plan

_PATIENCE_SECONDS: Final = 60
# A connection that rested longer is not used again: the engine might be closing it.
_RESTED_SECONDS: Final = 5
# How often a held request looks whether the proxy closes.
_LOOK_UP_SECONDS: Final = 0.1
_HEAD_END: Final = b"\r\n\r\n"
_REASONS: Final = {400: "Bad Request", 500: "Internal Server Error", 503: "Service Unavailable"}


class Entry(NamedTuple):
    """One request in the log, with the statuses of what the engine answered to it before the client was answered."""

    number: int
    operation: str
    fault: str
    statuses: tuple[int, ...]


@dataclass
class _Message:
    """One HTTP message as it came."""

    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.encode():
                return value.strip().decode("latin-1")
        return ""

    @property
    def raw(self) -> bytes:
        return self.head + _HEAD_END + self.body

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def is_last(self) -> bool:
        """Whether its sender closes the connection after it."""
        return self.header("connection").lower() == "close" or not self.header("content-length")


class _Wire:
    """Reads and writes whole messages on a socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._buffer = b""
        self.used_at = time.monotonic()

    def read(self) -> _Message | None:
        """The next message; None when the other side has gone."""
        while _HEAD_END not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(_HEAD_END)
        message = _Message(head, b"")
        size = message.header("content-length")
        if size:
            while len(self._buffer) < int(size):
                if not self._more():
                    return None
            message.body, self._buffer = self._buffer[: int(size)], self._buffer[int(size) :]
        elif head.startswith(b"HTTP/"):
            while self._more():
                pass
            message.body, self._buffer = self._buffer, b""
        self.used_at = time.monotonic()
        return message

    def _more(self) -> bool:
        received = self.sock.recv(1 << 18)
        self._buffer += received
        return bool(received)

    def close(self) -> None:
        self.shut_down()
        self.sock.close()

    def shut_down(self) -> None:
        """Ends the connection at once, for whoever waits on it too."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Closes with RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class _Upstream:
    """The way of one connection to the engine."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._wire: _Wire | None = None

    def ask(self, request: _Message) -> _Message:
        """Sends it once, never twice: a request that may have arrived is not repeated."""
        if self._wire is None or time.monotonic() - self._wire.used_at > _RESTED_SECONDS:
            self.close()
            self._wire = _Wire(socket.create_connection(self._address, _PATIENCE_SECONDS))
        self._wire.sock.sendall(request.raw)
        reply = self._wire.read()
        if reply is None:
            raise ConnectionError("the engine closed the connection")
        if reply.is_last:
            self.close()
        return reply

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class _Late:
    """Sends requests when their time has come, each on a connection of its own."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._queue: list[tuple[float, int, _Message]] = []
        self._change = threading.Condition()
        self._unsent = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(self, number: int, request: _Message, late_ms: float) -> None:
        with self._change:
            heapq.heappush(self._queue, (time.monotonic() + late_ms / 1000, number, request))
            self._unsent += 1
            self._change.notify_all()

    def _run(self) -> None:
        while (request := self._next()) is not None:
            upstream = _Upstream(self._address)
            with contextlib.suppress(OSError):  # an engine that has gone takes nothing
                upstream.ask(request)
            upstream.close()
            with self._change:
                self._unsent -= 1
                self._change.notify_all()

    def _next(self) -> _Message | None:
        with self._change:
            while not self._closed:
                if not self._queue:
                    self._change.wait()
                elif (left := self._queue[0][0] - time.monotonic()) > 0:
                    self._change.wait(left)
                else:
                    return heapq.heappop(self._queue)[2]
            return None

    def drain(self) -> None:
        """Sends all there are now, and waits until they have arrived."""
        with self._change:
            self._queue = sorted((0.0, number, request) for _, number, request in self._queue)
            self._change.notify_all()
            assert self._change.wait_for(lambda: not self._unsent, _PATIENCE_SECONDS), "a late request hangs"

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(_PATIENCE_SECONDS)


class FaultProxy:
    """A running proxy. Close it, or use it in a ``with`` statement; the plan may be replaced at any time.

    Args:
        upstream: The engine's address.
        plan: What is done to each request.
        clock: The service's clock, in seconds since the epoch, which it tells in its Date header. None leaves the
            engine's header as it is, and gives a reply that has none the time of this host.
    """

    def __init__(self, upstream: str, plan: Plan = pass_all, clock: Callable[[], float] | None = None) -> None:
        parts = urlsplit(upstream)
        self.plan = plan
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.log: list[Entry] = []
        self.held = 0
        self._address = (parts.hostname or HOST, parts.port or 80)
        self._lock = threading.Lock()
        self._number = 0
        self._running = threading.Event()
        self._running.set()
        self._closing = threading.Event()
        self._serving: dict[_Wire, threading.Thread] = {}
        self._late = _Late(self._address)
        self._listener = socket.create_server((HOST, 0), backlog=512)
        self.endpoint_url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        _close_in_forks(self)

    def __repr__(self) -> str:
        return f"FaultProxy(plan={self.plan!r}, counts={dict(self.counts)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pause(self) -> None:
        """Lets nothing through, either way. What waits goes on at ``resume``, even if its client has gone by then."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def drain(self) -> None:
        """Lets all late requests reach the engine now."""
        self._late.drain()

    def close(self) -> None:
        self._closing.set()
        self._running.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(_PATIENCE_SECONDS)
        self._late.close()
        with self._lock:
            serving = dict(self._serving)
        for wire in serving:
            wire.shut_down()
        for thread in serving.values():
            thread.join(_PATIENCE_SECONDS)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            client = _Wire(sock)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self._lock:
                self._serving[client] = thread
            thread.start()

    def _serve(self, client: _Wire) -> None:
        upstream = _Upstream(self._address)
        try:
            while (request := client.read()) is not None and self._handle(client, upstream, request):
                pass
        except OSError:
            pass  # either side has gone; the other learns of it by the closed connection
        finally:
            with self._lock:
                del self._serving[client]
            client.close()
            upstream.close()

    def _handle(self, client: _Wire, upstream: _Upstream, request: _Message) -> bool:
        """Does to one request what the plan says; whether the connection goes on."""
        with self._lock:
            self._number += 1
            number = self._number
        operation = request.header("x-amz-target").rpartition(".")[2]
        fault = self.plan(number, operation, json.loads(request.body or b"{}"))
        self._wait(fault.before_ms, fault.hold_before)
        replies = [upstream.ask(request) for _ in range(fault.forwards)]
        self._wait(fault.after_ms, fault.hold_after)
        with self._lock:
            self.counts[fault.name] += 1
            self.log.append(Entry(number, operation, fault.name, tuple(reply.status for reply in replies)))
        goes_on = self._answer(client, fault, replies)
        if fault.late_ms is not None:
            self._late.add(number, request, fault.late_ms)
        return goes_on

    def _wait(self, pause_ms: float, event: threading.Event | None) -> None:
        """Waits for the time, for the test's word, and for the proxy to run."""
        if pause_ms:
            self._closing.wait(pause_ms / 1000)
        for held_by in (event, self._running):
            if held_by is None or held_by.is_set():
                continue
            with self._lock:
                self.held += 1
            while not held_by.wait(_LOOK_UP_SECONDS) and not self._closing.is_set():
                pass
            with self._lock:
                self.held -= 1
        if self._closing.is_set():
            raise ConnectionError("the proxy closes")

    def _answer(self, client: _Wire, fault: Fault, replies: list[_Message]) -> bool:
        if fault.answer == "nothing":
            return False
        if fault.answer == "reset":
            client.reset()
            return False
        reply = self._dated(
            _made_up(fault.answer) if isinstance(fault.answer, Error) else replies[0 if fault.answer == "first" else -1]
        )
        if fault.answer == "half":
            client.sock.sendall(reply.raw[: -(len(reply.body) // 2 + 1)])
            return False
        client.sock.sendall(reply.raw)
        return not reply.is_last

    def _dated(self, reply: _Message) -> _Message:
        if self.clock is None and reply.header("date"):
            return reply
        now = time.time() if self.clock is None else self.clock()
        lines = [line for line in reply.head.split(b"\r\n") if not line.lower().startswith(b"date:")]
        lines.insert(1, b"Date: " + formatdate(now, usegmt=True).encode())
        return replace(reply, head=b"\r\n".join(lines))


def _made_up(answer: Error) -> _Message:
    body = json.dumps({"__type": answer.type, "message": answer.message}).encode()
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Error')}\r\n"
        "x-amzn-RequestId: MADEUPBYTHEFAULTPROXY\r\n"
        f"x-amz-crc32: {zlib.crc32(body)}\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(body)}"
    )
    return _Message(head.encode(), body)


def _close_in_forks(proxy: FaultProxy) -> None:
    """Lets no forked child hold a connection open that the proxy closes."""
    known = weakref.ref(proxy)

    def close() -> None:
        if (forked := known()) is not None:
            forked._listener.close()
            for wire in forked._serving:
                wire.sock.close()

    os.register_at_fork(after_in_child=close)
