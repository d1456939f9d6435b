"""The ways to share the tasks of one file; each claims a task, and completes it.

A new way is a class here, a line in ``STRATEGIES`` and an act in ``show.ACTS``. Most of them read the file, change the
value and write it back (``ReadModifyWrite``); over logs, a claim and a completion are operations. ``between`` is called
once for each update, where a process may be stopped or killed: between its read and its write, or, over logs, when it
was given a task and before it says that it is done. What is returned is an acknowledgement: from then on the change has
to be in the file.
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from coordinator.demo.plan import Address, Plan, any_pending, board_options, next_claimable, open_tasks, set_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Receipt, TaskBoard, Workspace
    from coordinator.testing.files import Call

    Change = Callable[[Any], bool]  # alters the value; False when there is nothing to alter
    Between = Callable[[], None]

FILE: Final = "tasks.json"
BROKEN_FOR_S: Final = 0.3  # a file that nobody has written to for so long, and is not whole, stays so
LEASE_WAIT_S: Final = 5
LOOK_PAUSE_S: Final = 0.05


class Torn(Exception):
    """The file was not whole JSON, or not there."""


class Refused(Exception):
    """A stale holder's commit was refused. ``address`` is the task that it was about."""

    def __init__(self, reason: str, fence: int, kept: str, address: Address | None = None) -> None:
        super().__init__(reason)
        self.reason, self.fence, self.kept, self.address = reason, fence, kept, address


class TakenOver(Refused):
    """The same, and the task is another's by now: it is not tried again."""


class Unknown(Exception):
    """Whether the change was made cannot be told."""


class NotNow(Exception):
    """It could not be tried just now; nothing was changed."""


class Ack(NamedTuple):
    """The change was made. ``revision``, ``fence`` and ``op_id`` are empty where there is no such thing."""

    revision: int = 0
    fence: int = 0
    op_id: str = ""


class Update(NamedTuple):
    """A claim or a completion that was made: of which task."""

    address: Address
    ack: Ack


class Strategy(Protocol):
    """One way, in one process."""

    restored: int
    """How often it wrote an old whole copy over a broken file."""
    torn: int
    """How often it found the file not whole while it waited."""

    def claim(self, between: Between) -> Update | None:
        """Claims the next task; None when there is none just now.

        Raises:
            Torn, Refused, Unknown, NotNow: See there; try again.
        """
        ...

    def complete(self, claim: Update, between: Between) -> Update | None:
        """Says that a claimed task is done; None when the file says so already.

        Raises:
            TakenOver: It is another's.
            Others as ``claim``.
        """
        ...

    def more(self, idle_s: float, is_told: Callable[[], bool]) -> bool:
        """After a claim in vain: waits until another may be worth it.

        False when all is claimed, or nothing has moved for ``idle_s``, or it is told to leave.
        """
        ...


class Inside(Protocol):
    """A hook on files that stops the process inside its next commit, once it is armed."""

    armed: bool

    def __call__(self, call: Call) -> None:
        """See ``InterceptedFiles``."""
        ...


# ── read, change, write back ─────────────────────────────────────────────────────────────────────────────────────────


class ReadModifyWrite:
    """What these ways share.

    Args:
        plan: What is to be done.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.restored = self.torn = 0

    def look(self) -> bytes:
        """What the file says now; raises Torn. Changes nothing."""
        raise NotImplementedError

    def update(self, change: Change, between: Between) -> Ack | None:
        """One read-modify-write; None when ``change`` said that there is nothing to do. Raises as ``claim``."""
        raise NotImplementedError

    def claim(self, between: Between) -> Update | None:
        """See Strategy."""
        chosen: list[Address] = []

        def change(document: Any) -> bool:
            address = next_claimable(document, self._plan)
            chosen[:] = [address] if address else []
            return address is not None and bool(set_status(document, address, self._plan.in_progress))

        try:
            ack = self.update(change, between)
        except Refused as refused:
            refused.address = chosen[0] if chosen else None
            raise
        return None if ack is None else Update(chosen[0], ack)

    def complete(self, claim: Update, between: Between) -> Update | None:
        """See Strategy."""

        def change(document: Any) -> bool:
            before = set_status(document, claim.address, self._plan.done)
            return before not in {"", self._plan.done}

        ack = self.update(change, between)
        return None if ack is None else Update(claim.address, ack)

    def more(self, idle_s: float, is_told: Callable[[], bool]) -> bool:
        """See Strategy."""
        known, since = b"", time.monotonic()
        while time.monotonic() - since < idle_s and not is_told():
            try:
                data = self.look()
            except Torn:
                self.torn += 1
            else:
                if data != known:
                    known, since = data, time.monotonic()
                    document = json.loads(data)
                    if not any_pending(document, self._plan):
                        return False
                    if next_claimable(document, self._plan):
                        return True
            time.sleep(LOOK_PAUSE_S * random.uniform(0.5, 1))
        return False


class _Unlocked(ReadModifyWrite):
    """What people write first: json.load, change, json.dump. Ordinary file calls on purpose: nothing is coordinated.

    A file that stays broken is brought back from the last whole copy that this process has seen, as people do with the
    copy in their editor: else the first torn write would be the end of the run.
    """

    def __init__(self, directory: str, plan: Plan) -> None:
        super().__init__(plan)
        self._path = os.path.join(directory, FILE)
        self._whole: Any = None
        self._broken: tuple[bytes, float] | None = None

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


class UnderLease(ReadModifyWrite):
    """The same read-modify-write, under a lease.

    Args:
        directory: The workspace.
        agent: Who acts.
        ttl_s: The lease's ttl.
        plan: What is to be done.
        inside: Where to stop inside a commit, when the worker is to be stopped there.
    """

    def __init__(self, directory: str, agent: str, ttl_s: float, plan: Plan, inside: Inside | None) -> None:
        super().__init__(plan)
        self._ttl_s = ttl_s
        self._workspace = _open(directory, agent, inside)

    def look(self) -> bytes:
        """See ReadModifyWrite."""
        return self._workspace.document(FILE).read()

    def update(self, change: Change, between: Between) -> Ack | None:
        """See ReadModifyWrite."""
        from coordinator import (  # noqa: PLC0415 - the other ways' processes have no use for it
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


def _open(directory: str, agent: str, inside: Inside | None) -> Workspace:
    from coordinator import Workspace  # noqa: PLC0415 - as above

    if inside is None:
        return Workspace(directory, agent=agent)
    from coordinator.files import SYSTEM_FILES  # noqa: PLC0415 - as above
    from coordinator.testing import InterceptedFiles  # noqa: PLC0415 - as above

    return Workspace(directory, agent=agent, files=InterceptedFiles(SYSTEM_FILES, inside))


# ── over logs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class OverLogs:
    """Claims and completions as operations in this process's own log, folded by whoever has the turn.

    Which tasks may be claimed now, the plan says, as in every act; who is given them is decided in the fold.

    Args:
        directory: The workspace.
        agent: Who acts.
        ttl_s: How long a claim lasts.
        plan: What is to be done.
        inside: As ``UnderLease``.
    """

    def __init__(self, directory: str, agent: str, ttl_s: float, plan: Plan, inside: Inside | None) -> None:
        self._agent, self._ttl_s, self._plan = agent, ttl_s, plan
        self._workspace = _open(directory, agent, inside)
        self._document = self._workspace.document(FILE)
        self._boards: dict[str, TaskBoard] = {
            tag: self._workspace.tasks(FILE, **board_options(plan, tag)) for tag, _ in plan.chosen
        }
        self.restored = self.torn = 0
        self._seen, self._since = 0, time.monotonic()

    def claim(self, between: Between) -> Update | None:
        """See Strategy."""
        from coordinator import LeaseHeld, StoreUnavailable  # noqa: PLC0415 - as above

        try:
            for tag, names in open_tasks(self._document.value(), self._plan).items():
                task = self._boards[tag].claim_next(ids=names, ttl=self._ttl_s, wait=LOOK_PAUSE_S)
                if task:
                    between()
                    return Update((tag, task.id), Ack(fence=task.epoch))
        except LeaseHeld:
            raise NotNow from None
        except StoreUnavailable as error:
            raise (Unknown if error.outcome_unknown else NotNow) from None
        return None

    def complete(self, claim: Update, between: Between) -> Update | None:
        """See Strategy."""
        from coordinator import ClaimLost, StoreUnavailable  # noqa: PLC0415 - as above

        (tag, name), epoch = claim.address, claim.ack.fence
        between()
        try:
            receipt = self._boards[tag].complete(name, epoch, {"by": self._agent})
        except ClaimLost as lost:
            raise TakenOver(lost.reason, lost.fence, lost.kept, claim.address) from None
        except StoreUnavailable as error:
            raise (Unknown if error.outcome_unknown else NotNow) from None
        if receipt.state != "applied":
            raise NotNow  # it is in the log, and to say so again does no harm
        return Update(claim.address, Ack(receipt.revision, epoch, receipt.op_id))

    def more(self, idle_s: float, is_told: Callable[[], bool]) -> bool:
        """See Strategy. Here it is over when all tasks are done: a claim can run out."""
        revision = self._document.revision
        if revision != self._seen:
            self._seen, self._since = revision, time.monotonic()
        left = open_tasks(self._document.value(), self._plan, ready=False)
        time.sleep(LOOK_PAUSE_S * random.uniform(0, 0.5))
        return bool(left) and time.monotonic() - self._since < idle_s and not is_told()


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def make_strategy(
    name: str, directory: str, agent: str, *, ttl_s: float, plan: Plan, inside: Inside | None = None
) -> Strategy:
    """The named way, for one process."""
    return STRATEGIES[name](directory, agent, ttl_s, plan, inside)


STRATEGIES: Final[dict[str, Callable[[str, str, float, Plan, Inside | None], Strategy]]] = {
    "in-place": lambda directory, _agent, _ttl_s, plan, _inside: InPlace(directory, plan),
    "rename": lambda directory, _agent, _ttl_s, plan, _inside: TempRename(directory, plan),
    "lease": UnderLease,
    "logs": OverLogs,
}
