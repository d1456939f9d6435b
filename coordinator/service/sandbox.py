"""Functions as Lambda runs them, on this machine: each sandbox a process, one event at a time, killed at the time-out.

A resolver keeps the event that it is at in attributes of a class: threads cannot share it. Processes it is, then, as
over there: one is started when all are busy, up to the function's concurrency, and they are used again (warm).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.clock import SYSTEM_CLOCK, elapsed_max_ms
from coordinator.names import new_id

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

START_S: Final = 30.0  # limit: of a cold start
_END_S: Final = 2.0


class FunctionSpec(NamedTuple):
    """One function.

    Attributes:
        name: As it is invoked.
        handler: ``module:attribute``.
        variables: Environment variables of its processes.
        concurrency: How many events at a time; what is more, is refused.
        timeout_s: After this an event's process is killed.
        memory_mb: Told to the handler, and nothing more.
    """

    name: str
    handler: str
    variables: dict[str, str]
    concurrency: int
    timeout_s: float
    memory_mb: int = 512


class Busy(Exception):
    """All that may run at a time do."""


class Failed(Exception):
    """The handler raised, ended its process, or was killed at its time-out. The message is the one of the service."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class LocalContext:
    """What a handler is told of its invocation."""

    def __init__(self, spec: FunctionSpec, request_id: str, arn: str) -> None:
        self.function_name = spec.name
        self.function_version = "$LATEST"
        self.invoked_function_arn = arn
        self.memory_limit_in_mb = str(spec.memory_mb)
        self.aws_request_id = request_id
        self.log_group_name = f"/aws/lambda/{spec.name}"
        self.log_stream_name = f"local/{os.getpid()}"
        self.identity = self.client_context = None
        self._ends_after_ms = round(spec.timeout_s * 1000)
        self._began = SYSTEM_CLOCK.now()

    def get_remaining_time_in_millis(self) -> int:
        """Until it is killed."""
        return max(self._ends_after_ms - elapsed_max_ms(self._began, SYSTEM_CLOCK.now()), 0)


class Sandboxes:
    """The processes of one function. Thread-safe.

    Args:
        spec: The function.
    """

    def __init__(self, spec: FunctionSpec) -> None:
        self.spec = spec
        self._guard = threading.Lock()
        self._warm: list[_Sandbox] = []
        self._all: set[_Sandbox] = set()
        self._closed = False

    def invoke(self, event: Any, arn: str) -> Any:
        """Runs the handler on one event, and gives what it returned.

        Raises:
            Busy: The function is at its concurrency; nothing was run.
            Failed: See there.
        """
        sandbox = self._take()
        try:
            answer = sandbox.run(event, new_id(), arn, self.spec.timeout_s)
        except BaseException:
            self._drop(sandbox)
            raise
        with self._guard:
            if not self._closed:
                self._warm.append(sandbox)
        if self._closed:
            self._drop(sandbox)
        kind, value = answer
        if kind != "returned":
            raise Failed(*value)
        return value

    def warm(self) -> None:
        """Starts one, so that the first event need not wait for it. Raises Failed when the handler cannot be had."""
        sandbox = self._take()
        try:
            sandbox.ready()
        except BaseException:
            self._drop(sandbox)
            raise
        with self._guard:
            self._warm.append(sandbox)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed: nothing is run any more."""
        return self._closed

    def processes(self) -> list[int]:
        """Ids of those that are there."""
        with self._guard:
            return [one.pid for one in self._all]

    def _take(self) -> _Sandbox:
        with self._guard:
            if self._closed:
                raise Busy(self.spec.name)
            if self._warm:
                return self._warm.pop()
            if len(self._all) >= self.spec.concurrency:
                raise Busy(self.spec.name)
            sandbox = _Sandbox(self.spec)
            self._all.add(sandbox)
            return sandbox

    def _drop(self, sandbox: _Sandbox) -> None:
        with self._guard:
            self._all.discard(sandbox)
        sandbox.end()

    def close(self) -> None:
        """Ends them all: those that are idle at once, others as soon as they have answered, or are killed."""
        with self._guard:
            self._closed = True
            there, self._warm = list(self._all), []
            self._all = set()
        for sandbox in there:
            sandbox.end()


class _Sandbox:
    """One process."""

    def __init__(self, spec: FunctionSpec) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        self._pipe: Connection = ours
        self._is_ready = False
        self._process: BaseProcess = spawn.Process(
            target=_serve_events, args=(theirs, spec), name=f"{spec.name} sandbox", daemon=True
        )
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0

    def ready(self) -> None:
        """Waits until the handler is imported."""
        if self._is_ready:
            return
        kind, value = self._receive(START_S, "did not start in time")
        if kind != "ready":
            raise Failed(*value)
        self._is_ready = True

    def run(self, event: Any, request_id: str, arn: str, timeout_s: float) -> tuple[str, Any]:
        """One event. Raises Failed."""
        self.ready()
        try:
            self._pipe.send_bytes(json.dumps([event, request_id, arn]).encode())
        except OSError as error:
            raise Failed("Runtime.ExitError", f"RequestId: {request_id} Error: {error}") from None
        return self._receive(timeout_s, f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds")

    def _receive(self, timeout_s: float, too_late: str) -> tuple[str, Any]:
        try:
            if not self._pipe.poll(timeout_s):
                raise Failed("Sandbox.Timedout", too_late)
            kind, value = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise Failed("Runtime.ExitError", "Runtime exited without providing a reason") from None
        return kind, value

    def end(self) -> None:
        """Kills it: a handler that returned has nothing left to do."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.kill()
        self._process.join(_END_S)


# ── in the process ───────────────────────────────────────────────────────────────────────────────────────────────────


def _serve_events(pipe: Connection, spec: FunctionSpec) -> None:
    """The body of a sandbox's process: one event after the other, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and comes to the whole group
    os.dup2(2, 1)  # what a function prints is its log, and none of what its server answers on stdout
    os.environ.update(spec.variables)
    try:
        module, _, attribute = spec.handler.partition(":")
        handler = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - told to who started it
        _answer(pipe, "failed", ("Runtime.ImportModuleError", f"{spec.handler}: {type(error).__name__}: {error}"))
        return
    _answer(pipe, "ready", None)
    while True:
        try:
            event, request_id, arn = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            returned = json.loads(json.dumps(handler(event, LocalContext(spec, request_id, arn))))
        except Exception as error:  # noqa: BLE001 - as the runtime does: told to who invoked it
            sys.excepthook(type(error), error, error.__traceback__)
            _answer(pipe, "failed", (type(error).__name__, str(error)))
        else:
            _answer(pipe, "returned", returned)


def _answer(pipe: Connection, kind: str, value: Any) -> None:
    with contextlib.suppress(OSError):  # nobody is there to be told
        pipe.send_bytes(json.dumps([kind, value]).encode())
