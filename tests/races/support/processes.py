"""Processes that a test starts, waits for, lets go on and kills. Every wait has a deadline and says what it was for."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import coordinator

DEADLINE_S = 40.0  # generous: a wait that is never over on a loaded machine, and soon enough for a person
_HERE = os.path.dirname(os.path.abspath(__file__))
_SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(coordinator.__file__)))


class Process:
    """A script of this folder, in a process of its own, with lines of JSON both ways.

    It leads a process group, so that what it forks ends with the test too.
    """

    def __init__(self, script: str, *arguments: str, errors: str) -> None:
        self.name = " ".join([script, *arguments[1:]])
        self._forks = script == "family.py"
        self._errors = errors
        self._text = b""
        with open(errors, "wb") as stderr:
            self._started = subprocess.Popen(
                [sys.executable, f"{_HERE}/{script}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": _SOURCES},
                start_new_session=True,
            )
        self.pid = self._started.pid

    # ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, do: str, **arguments: Any) -> None:
        """Sends a command, and does not wait for its answer."""
        assert self._started.stdin is not None
        self._started.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._started.stdin.flush()

    def send_line(self) -> None:
        """Lets a script go on that waits for the test."""
        assert self._started.stdin is not None
        self._started.stdin.write(b"\n")
        self._started.stdin.flush()

    def rest(self) -> list[dict[str, Any]]:
        """What a dead process had said that was not read yet."""
        assert self._started.stdout is not None
        while data := os.read(self._started.stdout.fileno(), 1 << 16):
            self._text += data
        lines = self._text.split(b"\n")[:-1]
        self._text = b""
        return [json.loads(line) for line in lines]

    def answer(self, what: str = "its answer") -> dict[str, Any]:
        """The next line."""
        assert self._started.stdout is not None
        readable = select.poll()  # not select(), which knows only the first 1,024 descriptors
        readable.register(self._started.stdout, select.POLLIN)
        end = time.monotonic() + DEADLINE_S
        while b"\n" not in self._text:
            left_s = end - time.monotonic()
            if left_s <= 0 or not readable.poll(left_s * 1000):
                raise AssertionError(self._trouble(f"did not give {what} within {DEADLINE_S:g} s"))
            data = os.read(self._started.stdout.fileno(), 1 << 16)
            if not data:
                raise AssertionError(self._trouble(f"ended before it gave {what}"))
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return told

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and returns its answer, which must be no error."""
        answer = self.refusal(do, **arguments)
        assert "error" not in answer, self._trouble(f"could not {do}: {answer}")
        return answer

    def refusal(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and returns its answer, whatever it is."""
        self.tell(do, **arguments)
        return self.answer(f"the answer to {do}")

    # ── stopping, going on, ending ───────────────────────────────────────────────────────────────────────────────────

    def wait_until_stopped(self, where: str) -> None:
        """Returns when the process has stopped itself; waitpid tells, nobody guesses."""
        watchdog = threading.Timer(DEADLINE_S, lambda: os.kill(self.pid, signal.SIGKILL))
        watchdog.start()
        try:
            _, status = os.waitpid(self.pid, os.WUNTRACED)
        finally:
            watchdog.cancel()
        if not os.WIFSTOPPED(status):
            self._started.returncode = os.waitstatus_to_exitcode(status)  # reaped here, so Popen must not wait for it
            raise AssertionError(self._trouble(f"ended instead of stopping {where}"))

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, stopped or not; returns when it is dead."""
        self._started.kill()
        self._started.wait(DEADLINE_S)

    def end(self) -> None:
        """For the teardown: ends the process and all that it forked."""
        if self._forks or self._started.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # its own group: start_new_session
        if self._started.returncode is None:
            self._started.wait(DEADLINE_S)
        for pipe in (self._started.stdin, self._started.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _trouble(self, what: str) -> str:
        with open(self._errors, "rb") as errors:
            said = errors.read().decode(errors="replace")[-4000:]
        return f"{self.name} (pid {self.pid}) {what}; it had said {self._text!r}, and on stderr: {said or 'nothing'}"
