"""Every error this project raises, in one tree, split by what the caller does next.

    CoordinatorError
    ├── BadRequest            fix the call or the input; trying again changes nothing
    │   ├── BadName           a resource or agent name that cannot be a safe path
    │   ├── BadValue          a ttl, wait or size outside its limits
    │   ├── NoSuchDocument    nothing was committed under that name, and there is no plain file
    │   ├── NotAllowed        the caller's identity may not act as that agent (the coordinator function)
    │   └── MalformedDocument content that is not the JSON it has to be (also: duplicate keys)
    ├── Refused               somebody else came first; wait, or read anew and decide again
    │   ├── LeaseHeld         the lease is another's: who, which fence, since and until when
    │   ├── AcquireCancelled  the caller's own cancel event was set while waiting
    │   ├── RevisionConflict  the document moved past the revision this change was made on
    │   ├── OperationRejected an update's preconditions do not hold: why, and who was first
    │   └── RevisionNotReached the document did not come to a revision in the time that was waited
    ├── LeaseLost             stop: what you held is no longer yours; acquire anew and redo
    │   ├── StaleFence        a successor holds it; what you tried to commit is kept at a path
    │   └── ClaimLost         a task was claimed, finished or cancelled by somebody else
    ├── StoreUnavailable      the store did not answer; a retry is safe (see ``outcome_unknown``)
    │   └── NoRoom            disk full, quota or read-only: make room, then retry
    ├── Damaged               a file was cut or altered behind our back; evidence is kept
    │   ├── CorruptRecord     one record of a chain does not decode
    │   └── CorruptSnapshot   a snapshot is missing or its sha256 does not match
    └── WorkspaceError        how the workspace is set up; a person has to act
        ├── NotAWorkspace     no ``.coordinator`` there: run ``coordinator init``
        ├── NewerFormat       made by a newer version of this library
        ├── Unsuitable        the file system lacks something the protocol rests on; says what
        ├── NoDirectory       it was opened by its table only, and this needs the directory
        ├── TableUnusable     the DynamoDB table: missing, of another shape, no permission, another workspace's
        └── AuthorityMoved    another store rules this workspace now (P28, P29)

Errors carry their facts as fields (all plain values, so that every error pickles across processes) and a ``hint``:
what to do. ``str(error)`` is the sentence, the facts in it, and the hint.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CoordinatorError(Exception):
    """Base of the tree.

    Attributes:
        message: What was wrong and where.
        hint: What to do about it; empty when the message says it all.
    """

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.__dict__.update(fields)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))

    @property
    def fields(self) -> dict[str, Any]:
        """The facts of this error, as plain values, for logs and ``--json``."""
        return {key: value for key, value in self.__dict__.items() if key not in {"message", "hint"} and key[0] != "_"}


def _rebuild(kind: type[CoordinatorError], message: str, state: dict[str, Any]) -> CoordinatorError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


# ── fix the call ─────────────────────────────────────────────────────────────────────────────────────────────────────


class BadRequest(CoordinatorError):
    """The call or its input is wrong. Nothing was changed; a retry of the same call will fail the same way."""


class BadName(BadRequest):
    """A name that cannot be a resource or an agent. ``name`` is what was given."""

    name: str


class BadValue(BadRequest):
    """An argument outside its limits. ``argument`` names it, ``value`` is what was given."""

    argument: str
    value: Any


class NoSuchDocument(BadRequest):
    """Neither a committed revision nor a plain file is there."""

    resource: str
    default_hint = "check the name, or commit a first revision (if_revision=0)"


class MalformedDocument(BadRequest):
    """Content that is not acceptable JSON. ``where`` says line and column, or the path of the duplicate key."""

    resource: str
    where: str
    default_hint = "mend the text or restore an earlier revision; nothing was changed"


# ── somebody else came first ─────────────────────────────────────────────────────────────────────────────────────────


class NotAllowed(BadRequest):
    """The caller may not act as that agent. ``identity`` is who the caller is, as far as AWS tells."""

    identity: str
    agent: str


class Refused(CoordinatorError):
    """The request was understood and somebody else came first. Nothing was changed."""

    resource: str


class LeaseHeld(Refused):
    """The lease belongs to another.

    Attributes:
        holder: Agent that holds it (empty when it is free but others wait in line before the caller).
        fence: The holder's fencing token.
        since_ms: When it was granted, by the store's clock, Unix milliseconds.
        until_ms: When it runs out unless it is renewed, by the store's clock.
        now_ms: The store's clock at the refusal, so that ``until_ms - now_ms`` is the time to wait.
        waiting: How many wait in line.
        waited_ms: How long this caller waited before it was refused.
    """

    holder: str
    fence: int
    since_ms: int
    until_ms: int
    now_ms: int
    waiting: int
    waited_ms: int
    default_hint = "wait for it (wait=…), ask for it (request_release), or work on something else"


class AcquireCancelled(Refused):
    """The caller's cancel event was set before the lease could be had."""

    waited_ms: int


class RevisionConflict(Refused):
    """The document is not at the revision that this change was made on."""

    expected: int
    current: int
    default_hint = "read the document again, apply the change to what it says now, and commit on that revision"


class OperationRejected(Refused):
    """An operation was decided, and its preconditions did not hold. Nothing of it was applied.

    Attributes:
        op_id: Which operation.
        why: One word: ``test``, ``path``, ``revision``, ``superseded``, ``duplicate``, ``dependency``, ``cycle``, …
        winner: The agent that was first, when there is one.
        revision: The revision that rejected it.
        facts: More, as plain values.
    """

    op_id: str
    why: str
    winner: str
    revision: int
    facts: dict[str, Any]
    default_hint = "read the document again and decide anew"


class RevisionNotReached(Refused):
    """The document did not come to a revision in the time that was waited."""

    expected: int
    current: int
    default_hint = "wait longer; if somebody holds its lease, nothing is folded until that ends"


# ── stop: it is no longer yours ──────────────────────────────────────────────────────────────────────────────────────


class LeaseLost(CoordinatorError):
    """The lease is gone (P10). Commits acknowledged before stand; nothing may be done under it any more.

    Attributes:
        resource: What was leased.
        fence: The fence that was held.
        reason: One of ``expired``, ``taken``, ``released``, ``sealed``, ``ended``, ``forked``.
        successor: The agent that holds it now, or held it next; empty when nobody did.
        successor_fence: That one's fence, or 0.
        kept: Path of the content whose commit was refused; empty when there was none.
    """

    resource: str
    fence: int
    reason: str
    successor: str
    successor_fence: int
    kept: str
    default_hint = "stop, acquire the lease anew, read again and redo the change"


class StaleFence(LeaseLost):
    """Somebody was granted the lease after this holder (P1, P3). The refused content, if any, lies at ``kept``."""


class ClaimLost(LeaseLost):
    """A task is no longer this worker's: another claimed or finished it, or it was cancelled.

    ``fence`` is the epoch that was held, ``successor`` the winner; what the worker wanted to hand in is kept beside the
    task. ``task_id`` names it.
    """

    task_id: str
    default_hint = "stop working on it; what you made of it is kept with the task, and the winner's counts"


# ── the store did not answer ─────────────────────────────────────────────────────────────────────────────────────────


class StoreUnavailable(CoordinatorError):
    """The store failed or timed out. A retry is safe.

    Attributes:
        resource: What was being read or changed.
        cause: The error underneath, as text (``ENOLCK: No locks available``).
        outcome_unknown: True when the change may or may not have been made; False when it was certainly not made.
        op_id: Only for operations: submit it again under this id, and it is applied once.
    """

    resource: str
    cause: str
    outcome_unknown: bool
    op_id: str = ""
    default_hint = "look at the mount, then try again"


class NoRoom(StoreUnavailable):
    """The file system is full, over quota or read-only. What was committed stands; nothing is half-done."""

    default_hint = "make room (coordinator gc helps) or remount it writable, then try again"


# ── altered behind our back ──────────────────────────────────────────────────────────────────────────────────────────


class Damaged(CoordinatorError):
    """A file of the workspace was cut or altered. ``path`` is the file; it is left as it is, as evidence."""

    resource: str
    path: str


class CorruptRecord(Damaged):
    """A record of a chain does not decode. ``where`` names the field."""

    where: str
    default_hint = (
        "records are never edited in place: move the named one aside; the one before it is then the newest, "
        "and what the lost one committed is still in snap/ and in `coordinator document history`"
    )


class CorruptSnapshot(Damaged):
    """The committed content is missing or is not what was committed (its sha256 differs)."""

    revision: int
    default_hint = "restore that file from a backup, or commit an earlier revision (coordinator document history)"


# ── how the workspace is set up ──────────────────────────────────────────────────────────────────────────────────────


class WorkspaceError(CoordinatorError):
    """The workspace cannot be used as it is set up. ``path`` is its directory."""

    path: str


class NotAWorkspace(WorkspaceError):
    """The directory has no ``.coordinator``."""

    default_hint = "is the mount there? If so: coordinator init DIRECTORY, or Workspace.init(DIRECTORY)"


class NewerFormat(WorkspaceError):
    """The workspace, or a record in it, was made by a newer version. ``needs`` and ``have`` are format numbers."""

    needs: int
    have: int
    default_hint = "upgrade agent-coordinator on this host; nothing was changed"


class Unsuitable(WorkspaceError):
    """The file system lacks what the protocol rests on. ``missing`` names each thing that does not work, and how."""

    missing: list[str]


class NoDirectory(WorkspaceError):
    """Content lies in the directory, and this workspace was opened without it (by its table only)."""

    default_hint = "open it where the directory is mounted, or ask an agent that has it"


class TableUnusable(WorkspaceError):
    """The table cannot be used as it is set up. ``table`` names it, ``cause`` is what the service said."""

    table: str
    cause: str
    path: str = ""


class AuthorityMoved(WorkspaceError):
    """Another store rules this workspace (P28). ``mode`` and ``epoch`` say which, as far as the chain tells."""

    mode: str
    epoch: int
    default_hint = "open the workspace anew; the record of the authority says where to go on"
