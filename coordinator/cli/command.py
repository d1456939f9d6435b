"""One command in a process of its own: signals are passed on to it, and it is stopped with what it started.

Who gets what:

    stdin is       the command runs in       a signal to us          Ctrl-C, Ctrl-Z     stopping reaches
    a terminal     our process group         goes to the command     the terminal's     the command
    anything else  a group of its own        goes to that group      goes to the group  all that it started

On a terminal it must not have a group of its own: it would be in the background there, and be stopped as soon as it
reads. Handing it the terminal, as a shell does, would take it from the rest of a pipeline (``… | less`` reads keys).

Handlers of signals only take a note. The loop that waits for the command is the only one who sends, and it sends only
while the command was not reaped: so no signal can reach a process that merely has its number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from coordinator.cli import exits

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

# All that would end this process and leave the command behind, without its lease.
FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)  # the terminal has sent these to the whole group
GRACE_SECONDS = 5.0
LOOK_SECONDS: Final = 1.0  # after a freeze, the trust is over before any signal tells of it
GROUP_LOOK_SECONDS: Final = 0.02


class Signals:
    """Signals that this process gets while it waits, for a lease or for a command. A context manager."""

    def __init__(self) -> None:
        self.first = 0
        self.cancel: threading.Event = _Cancel(self)
        self._noted: deque[int] = deque()
        self._before: dict[int, Any] = {}
        self._reader = self._writer = self._wakeup_before = -1

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in FORWARDED:
            self.catch(number)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        os.close(reader)
        os.close(writer)

    def catch(self, number: int) -> None:
        """Notes this one from now on, unless it is ignored: nohup(1) and the like stay in force."""
        if signal.getsignal(number) != signal.SIG_IGN:
            self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        self._noted.append(number)

    def take(self) -> list[int]:
        """The signals noted since the last call, oldest first."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._noted.popleft())
        return taken

    def wait(self, seconds: float | None) -> None:
        """Returns when a signal comes, at once if one came since the last call; by ``wake``; or when time is over."""
        if select.select([self._reader], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 1 << 12)

    def wake(self) -> None:
        """Ends ``wait``, from any thread."""
        with contextlib.suppress(OSError):  # full: it will wake; closed: nobody waits any more
            os.write(self._writer, b"\0")


class _Cancel(threading.Event):
    """Set by the first signal. A real Event may not be set by a handler: it would wait for a lock of its own thread."""

    def __init__(self, signals: Signals) -> None:
        super().__init__()
        self._signals = signals

    def is_set(self) -> bool:
        return self._signals.first != 0

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._signals.wait(timeout)
        return self.is_set()


class Ended(NamedTuple):
    """How a command ended. ``stopped``: it was made to, because the lease was lost."""

    status: int
    stopped: bool


class Command:
    """A command that was started.

    Args:
        arguments: What to run.
        environment: Its environment.
        signals: What is passed on to it.
        tell: Tells a person something.

    Raises:
        OSError: It cannot be run.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], signals: Signals, tell: Callable[[str], None]
    ) -> None:
        self._signals = signals
        self._tell = tell
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._is_paused = False
        if not self._on_terminal:
            signals.catch(signal.SIGTSTP)
        group = None if self._on_terminal else 0
        # It keeps what may be inherited, the sign of life among that (record/life.py): should this runner be killed,
        # the command works on, and nobody may take its lease for that of a dead process.
        self._process = subprocess.Popen(  # noqa: S603 - the user's own
            arguments, env=environment, process_group=group, close_fds=False
        )

    def wait(self, trust: Callable[[], float]) -> Ended:
        """Waits for its end, passing signals on; stops it when the lease can no longer be trusted.

        Args:
            trust: For how many seconds the lease can be; asks nobody.
        """
        kill_at = None
        while (returncode := self._process.poll()) is None:
            for number in self._signals.take():
                self._pass_on(number)
            left = trust()
            now = time.monotonic()
            if kill_at is None and left <= 0:
                self._tell("the lease is lost; stopping the command")
                self._send(signal.SIGTERM)
                self._send(signal.SIGCONT)  # a stopped one could not end
                kill_at = now + GRACE_SECONDS
            elif kill_at is not None and now >= kill_at:
                self._send(signal.SIGKILL)
            elif self._is_paused:
                self._send(signal.SIGCONT)
            self._is_paused = False
            self._signals.wait(min(left, LOOK_SECONDS) if kill_at is None else min(max(kill_at - now, 0.1), 1))
        if kill_at is not None:
            self._stop_the_rest(kill_at)
        return Ended(exits.as_shell_says(returncode), stopped=kill_at is not None)

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGTSTP:  # with us stopped nobody renews, so it must not run on
            self._send(signal.SIGTSTP)
            os.kill(os.getpid(), signal.SIGSTOP)
            self._is_paused = True  # whether it may go on is seen when the trust was looked at
        elif not (self._on_terminal and number in FROM_TERMINAL):
            self._send(number)

    def _send(self, number: int) -> None:
        try:
            if self._on_terminal:
                self._process.send_signal(number)
            else:
                os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:  # sudo(8): it is another user's
            self._tell(f"the command cannot be sent {signal.Signals(number).name}: {error.strerror}")

    def _stop_the_rest(self, kill_at: float) -> None:
        """What the command had started gets the same grace."""
        if self._on_terminal:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM when only zombies are left
            while time.monotonic() < kill_at:
                os.killpg(self._process.pid, 0)
                self._signals.wait(GROUP_LOOK_SECONDS)
            os.killpg(self._process.pid, signal.SIGKILL)
