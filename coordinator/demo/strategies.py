"""The ways to change one shared file; each is a whole read-modify-write.

A new way is a class here, a line in ``STRATEGIES`` and an act in ``show.ACTS``. ``update`` reads the file, lets
``change`` alter the value, calls ``between`` (where a process may be stopped or killed), and writes it back. What it
returns is an acknowledgement: from then on the change has to be in the file.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Receipt
    from coordinator.testing import PauseAt

    Change = Callable[[Any], bool]  # alters the value; False when there is nothing to alter
    Between = Callable[[], None]

FILE: Final = "tasks.json"
BROKEN_FOR_S: Final = 0.3  # a file that nobody has written to for so long, and is not whole, stays so
LEASE_WAIT_S: Final = 5


class Torn(Exception):
    """The file was not whole JSON, or not there."""


class Refused(Exception):
    """A stale holder's commit was refused."""

    def __init__(self, reason: str, fence: int, kept: str) -> None:
        super().__init__(reason)
        self.reason, self.fence, self.kept = reason, fence, kept


class Unknown(Exception):
    """Whether the change was made cannot be told."""


class NotNow(Exception):
    """It could not be tried just now; nothing was changed."""


class Ack(NamedTuple):
    """The change was made. ``revision`` and ``fence`` are 0 where there is no such thing."""

    revision: int = 0
    fence: int = 0


class Strategy(Protocol):
    """One way, in one process."""

    restored: int
    """How often it wrote an old whole copy over a broken file."""

    def look(self) -> bytes:
        """What the file says now; raises Torn. Changes nothing."""
        ...

    def update(self, change: Change, between: Between) -> Ack | None:
        """One read-modify-write; None when ``change`` said that there is nothing to do.

        Raises:
            Torn, Refused, Unknown, NotNow: See there; try again.
        """
        ...


class _Unlocked:
    """What people write first: json.load, change, json.dump. Ordinary file calls on purpose: nothing is coordinated.

    A file that stays broken is brought back from the last whole copy that this process has seen, as people do with the
    copy in their editor: else the first torn write would be the end of the run.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, FILE)
        self._whole: Any = None
        self._broken: tuple[bytes, float] | None = None
        self.restored = 0

    def look(self) -> bytes:
        return self._load()[0]

    def update(self, change: Change, between: Between) -> Ack | None:
        value = self._load()[1]
        if not change(value):
            return None
        between()
        self._write(value)
        return Ack()

    def _load(self) -> tuple[bytes, Any]:
        data = b""
        try:
            with open(self._path, "rb") as file:
                data = file.read()
            value = json.loads(data)
        except (FileNotFoundError, ValueError):
            self._restore_if_broken(data)
            raise Torn from None
        self._whole, self._broken = data, None
        return data, value

    def _restore_if_broken(self, data: bytes) -> None:
        now = time.monotonic()
        if self._broken is None or self._broken[0] != data:
            self._broken = (data, now)
        elif self._whole is not None and now - self._broken[1] > BROKEN_FOR_S:
            self.restored += 1
            self._write(json.loads(self._whole))

    def _write(self, value: Any) -> None:
        raise NotImplementedError


class InPlace(_Unlocked):
    """Opens the file for writing, which empties it, and writes."""

    def _write(self, value: Any) -> None:
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)


class TempRename(_Unlocked):
    """Writes a file of its own and renames it over: always whole, and still last writer wins."""

    def _write(self, value: Any) -> None:
        temporary = f"{self._path}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
        os.replace(temporary, self._path)


class UnderLease:
    """The same read-modify-write, under a lease.

    Args:
        directory: The workspace.
        agent: Who acts.
        ttl_s: The lease's ttl.
        inside: Where to stop inside a commit, when the worker is to be stopped there.
    """

    def __init__(self, directory: str, agent: str, ttl_s: float, inside: PauseAt | None) -> None:
        from coordinator import Workspace  # noqa: PLC0415 - the other ways' processes have no use for it

        self._ttl_s = ttl_s
        if inside is None:
            self._workspace = Workspace(directory, agent=agent)
        else:
            from coordinator.files import SYSTEM_FILES  # noqa: PLC0415 - as above
            from coordinator.testing import InterceptedFiles  # noqa: PLC0415 - as above

            self._workspace = Workspace(directory, agent=agent, files=InterceptedFiles(SYSTEM_FILES, inside))
        self.restored = 0

    def look(self) -> bytes:
        """See Strategy."""
        return self._workspace.document(FILE).read()

    def update(self, change: Change, between: Between) -> Ack | None:
        """See Strategy."""
        from coordinator import (  # noqa: PLC0415 - as above
            Damaged,
            LeaseHeld,
            LeaseLost,
            MalformedDocument,
            StoreUnavailable,
        )

        receipt: Receipt | None = None
        try:
            with self._workspace.lease(FILE, ttl=self._ttl_s, wait=LEASE_WAIT_S) as lease:
                value = lease.read_json()
                if not change(value):
                    return None
                between()
                receipt = lease.commit_json(value)
        except LeaseHeld:
            raise NotNow from None
        except (Damaged, MalformedDocument):
            raise Torn from None
        except LeaseLost as lost:
            if receipt is None:
                # Without kept content no commit was refused: it was lost before one, or there was nothing to do.
                raise (Refused(lost.reason, lost.fence, lost.kept) if lost.kept else NotNow()) from None
            # Else it was lost between the commit, which stands, and the release.
        except StoreUnavailable as error:
            if error.outcome_unknown:
                raise Unknown from None
            raise NotNow from None
        return Ack(receipt.revision, receipt.fence)


def make_strategy(name: str, directory: str, agent: str, ttl_s: float, inside: PauseAt | None) -> Strategy:
    """The named way, for one process."""
    return STRATEGIES[name](directory, agent, ttl_s, inside)


STRATEGIES: Final[dict[str, Callable[[str, str, float, PauseAt | None], Strategy]]] = {
    "in-place": lambda directory, _agent, _ttl_s, _inside: InPlace(directory),
    "rename": lambda directory, _agent, _ttl_s, _inside: TempRename(directory),
    "lease": UnderLease,
}
