"""The processes of a demonstration or a stress run. However it ends, none is left behind, stopped ones least of all.

Each process is the only one of its own process group, so that Ctrl-C at the terminal reaches the parent alone, which
then clears up. Should the parent itself be killed, their standard input ends, and they leave; the reader continues
those that are stopped, so that they can.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

RUNNING = "running"
STOPPED = "stopped"
ENDED = "ended"
_INTERRUPTING = (signal.SIGINT, signal.SIGTERM)
LEAVE_S = 3.0  # for leaving of their own accord, before they are killed


@dataclass(eq=False, slots=True)
class Child:
    """One process.

    Attributes:
        name: The slot that it fills.
        life: Which process of that slot, from 1.
        process: The process.
        errors_path: Where its standard error goes.
        state: ``running``, ``stopped`` or ``ended``.
        status: How it ended: exit code, or minus the signal's number.
        stopped_at: When it was seen to stop, by the monotonic clock.
    """

    name: str
    life: int
    process: subprocess.Popen[bytes]
    errors_path: str
    state: str = RUNNING
    status: int = 0
    stopped_at: float = field(default=0.0)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; one that has ended gets none."""
        if self.state != ENDED:
            # Not Popen.send_signal, which looks first and takes the end of one that has just ended: `_look_at` would
            # then wait for a process that is nobody's. Until `_look_at` saw the end, the number is still this child's.
            os.kill(self.process.pid, number)
            if number is signal.SIGCONT:
                self.state = RUNNING

    def begin(self) -> None:
        """Lets it begin."""
        self._input(b"\n")

    def dismiss(self) -> None:
        """Asks it to leave."""
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def _input(self, data: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def last_words(self) -> str:
        """The last line of its standard error; empty when it wrote none."""
        with open(self.errors_path, encoding="utf-8", errors="replace") as file:
            lines = file.read().strip().splitlines()
        return lines[-1] if lines else ""


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait for a process that is being started: nobody would know of it, and end it."""
    if threading.current_thread() is not threading.main_thread():  # they interrupt that one only
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _INTERRUPTING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in came:
            signal.raise_signal(late)


class Fleet:
    """A context manager: on leaving it, all processes have ended.

    Args:
        errors: A folder for what they write to standard error.
    """

    def __init__(self, errors: str) -> None:
        self._errors = errors
        self.children: list[Child] = []

    def start(self, module: str, name: str, life: int, *arguments: str) -> Child:
        """Starts ``python -m module arguments``."""
        path = os.path.join(self._errors, f"{name}.{life}.txt")
        with open(path, "wb") as errors, _undisturbed():
            process = subprocess.Popen(  # noqa: S603 - this very interpreter, on a module of this package
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,
            )
            child = Child(name, life, process, path)
            self.children.append(child)
        return child

    def poll(self) -> list[Child]:
        """Looks once for those that stopped or ended since the last look."""
        return [child for child in self.children if child.state != ENDED and self._look_at(child)]

    @staticmethod
    def _look_at(child: Child) -> bool:
        # waitpid, not Popen.poll, which cannot see a stop.
        pid, status = os.waitpid(child.process.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return False
        if os.WIFSTOPPED(status):
            child.state, child.stopped_at = STOPPED, time.monotonic()
        else:
            child.status = child.process.returncode = os.waitstatus_to_exitcode(status)
            child.state = ENDED
            child.dismiss()
        return True

    def alive(self) -> list[Child]:
        """Those that have not ended."""
        return [child for child in self.children if child.state != ENDED]

    def dismiss_all(self) -> None:
        """Asks everybody to leave, and waits, but not for ever."""
        for child in self.alive():
            child.dismiss()
            child.signal(signal.SIGCONT)
        deadline = time.monotonic() + LEAVE_S
        while self.alive() and time.monotonic() < deadline:
            if not self.poll():
                time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.alive():
            child.signal(signal.SIGKILL)  # reaches stopped ones too
        for child in self.alive():
            child.status = child.process.returncode = os.waitstatus_to_exitcode(os.waitpid(child.process.pid, 0)[1])
            child.state = ENDED
        for child in self.children:
            child.dismiss()
