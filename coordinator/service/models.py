"""What can be asked of the coordinator function, and what it answers: one model each. Unknown fields are refused.

Names may contain slashes, so they stand in bodies and never in paths. Times are in ms. What a field may hold further is
decided where it is used, by the same code as for a caller with a mount.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from coordinator.limits import AGENT_MAX_BYTES, LEASES_TOGETHER_MAX, RESOURCE_MAX_BYTES, TTL_MIN_MS

TTL_MAX_MS: Final = 3600 * 1000  # limit: of the function; a holder without a mount is not heard of for so long
WAIT_MAX_MS: Final = 5000  # limit: while one waits, an environment is paid for; who waits longer asks again
OPERATIONS_MAX: Final = 100
PAGE_MAX: Final = 1000

Name = Annotated[str, Field(min_length=1, max_length=RESOURCE_MAX_BYTES, examples=["tasks.json"])]
Agent = Annotated[str, Field(min_length=1, max_length=AGENT_MAX_BYTES, examples=["reviewer-1"])]
OpId = Annotated[
    str, Field(min_length=1, max_length=AGENT_MAX_BYTES, description="Chosen by the caller; a retry has the same.")
]
Token = Annotated[str, Field(min_length=1, max_length=RESOURCE_MAX_BYTES + 64, description="Of the grant or renewal.")]
TtlMs = Annotated[int, Field(ge=TTL_MIN_MS, le=TTL_MAX_MS)]
WaitMs = Annotated[int, Field(ge=0, description="Bounded by the function; who waits longer asks again.")]
TaskId = str | int
Board = Annotated[
    dict[str, Any], Field(description="Where the tasks are, and in which format.", examples=[{"format": "default"}])
]


class Asked(BaseModel):
    """Any request."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Told(BaseModel):
    """Any answer."""

    model_config = ConfigDict(extra="allow")


def _board() -> dict[str, Any]:
    return {"format": "default"}


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Acquire(Asked):
    """One lease."""

    name: Name
    agent: Agent
    ttl_ms: TtlMs = 30_000
    request_id: OpId
    wait_ms: WaitMs = 0


class AcquireMany(Asked):
    """Several leases, all or none."""

    names: Annotated[list[Name], Field(min_length=1, max_length=LEASES_TOGETHER_MAX)]
    agent: Agent
    ttl_ms: TtlMs = 30_000
    request_id: OpId
    wait_ms: WaitMs = 0


class Holding(Asked):
    """What a holder asks: to renew, or to release."""

    token: Token
    agent: Agent
    request_id: OpId | None = None


class Inspect(Asked):
    """One resource."""

    name: Name


class ListLeases(Asked):
    """A page of them."""

    after: Annotated[str, Field(max_length=RESOURCE_MAX_BYTES)] = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


class RequestRelease(Asked):
    """Asks the holder to let go."""

    name: Name
    agent: Agent
    grace_ms: WaitMs = 0


class History(Asked):
    """The newest records."""

    name: Name
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


class LeaseTold(Told):
    """A grant, or a renewal."""

    token: str
    name: str
    fence: int
    agent: str
    since_ms: int
    until_ms: int
    ttl_ms: int
    now_ms: int
    waiting: int


class LeasesTold(Told):
    """Several grants."""

    leases: list[LeaseTold]


class ReleasedTold(Told):
    """Whether it is free now."""

    released: bool


class StatusTold(Told):
    """One resource at a glance."""

    resource: str
    state: str
    holder: str
    fence: int
    since_ms: int
    until_ms: int
    waiting: int
    revision: int
    size_bytes: int
    conflicts: int
    now_ms: int
    trouble: str


class StatusesTold(Told):
    """A page; ``next`` is what to go on after, or null."""

    resources: list[StatusTold]
    next: str | None


class HistoryTold(Told):
    """Records, oldest first."""

    records: list[dict[str, Any]]


# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Update(Asked):
    """One operation: a JSON Patch (RFC 6902), or a merge patch (RFC 7396)."""

    op_id: OpId
    change: list[dict[str, Any]] | dict[str, Any]
    if_revision: Annotated[int, Field(ge=0)] | None = None


class Submit(Asked):
    """Operations on one document, in order."""

    document: Name
    agent: Agent
    operations: Annotated[list[Update], Field(min_length=1, max_length=OPERATIONS_MAX)]
    wait_ms: WaitMs = 0


class Receipts(Asked):
    """What became of operations."""

    document: Name
    agent: Agent
    op_ids: Annotated[list[OpId], Field(min_length=1, max_length=OPERATIONS_MAX)]
    wait_ms: WaitMs = 0


class ReceiptTold(Told):
    """What became of one."""

    op_id: str
    state: str
    revision: int
    why: str
    text: str
    winner: str
    again: bool


class ReceiptsTold(Told):
    """What became of each."""

    receipts: list[ReceiptTold]


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class OnBoard(Asked):
    """An operation on a board; ``op_id`` makes it safe to try again."""

    document: Name
    agent: Agent
    op_id: OpId
    wait_ms: WaitMs = 0
    board: Board = Field(default_factory=_board)


class Add(OnBoard):
    """New tasks."""

    tasks: Annotated[list[dict[str, Any]], Field(min_length=1)]


class ClaimNext(OnBoard):
    """A claim on up to ``count`` tasks."""

    count: int | None = None
    needs: list[str] | None = None
    where: dict[str, Any] | None = None
    ids: list[TaskId] | None = None
    ttl_ms: TtlMs = 300_000


class Claimed(OnBoard):
    """What the holder of a claim asks."""

    id: TaskId
    epoch: int


class Heartbeat(Claimed):
    """It is still at work."""

    ttl_ms: TtlMs = 300_000


class Complete(Claimed):
    """It is done."""

    result: Any = None


class Fail(Claimed):
    """It did not work."""

    error: str
    retryable: bool | None = None
    delay_ms: int | None = None


class Cancel(OnBoard):
    """Nobody is to do it."""

    id: TaskId
    reason: str | None = None


class ReceiptOfOne(Told):
    """What became of the operation; of a claim, ``receipt.result.tasks`` are the tasks."""

    receipt: ReceiptTold


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Read(Asked):
    """The newest content."""

    document: Name
    at_least: Annotated[int, Field(ge=0)] = 0
    wait_ms: WaitMs = 0


class Changes(Asked):
    """What came after a revision."""

    document: Name
    since: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100


class GetTask(Asked):
    """One task."""

    document: Name
    board: Board = Field(default_factory=_board)
    id: TaskId


class ListTasks(Asked):
    """Those that fit."""

    document: Name
    board: Board = Field(default_factory=_board)
    status: str | list[str] | None = None
    where: dict[str, Any] | None = None
    holder: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] | None = None
    after: TaskId | None = None


class Stats(Asked):
    """Figures of a board."""

    document: Name
    board: Board = Field(default_factory=_board)


class ReadTold(Told):
    """``text``, or ``base64`` of what is no UTF-8."""

    document: str
    revision: int
    sha256: str


class Refusal(Told):
    """Any answer that is no success: an error of ``coordinator.errors``, with its fields."""

    error: str
    message: str
    hint: str
    fields: dict[str, Any]
