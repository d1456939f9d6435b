"""What the compactor function publishes: embedded metrics, through Powertools, under the one dimension ``service``.

Some of it is this invocation's own doing (lag, folds, failures). The rest happens in other processes, which may be
agents with no way to CloudWatch: it is counted by what it leaves in the workspace. Of each scheduled minute that is
counted whose time lies in it, so that nothing has to be remembered from one invocation to the next. What happened in a
minute whose schedule never came is not counted.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.errors import CoordinatorError
from coordinator.names import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aws_lambda_powertools.metrics import Metrics

    from coordinator.record.member import Member
    from coordinator.service.folding import Report
    from coordinator.workspace import Workspace

MINUTE_MS: Final = 60_000
CONFLICTS: Final = "Conflicts"
STEALS: Final = "Steals"
FENCED_COMMITS: Final = "FencedCommits"
QUARANTINED_LOGS: Final = "QuarantinedLogs"
LAG_SECONDS: Final = "CompactionLagSeconds"
LAG_OPERATIONS: Final = "CompactionLagOperations"
FOLD_MILLISECONDS: Final = "FoldMilliseconds"
FAILURES: Final = "Failures"


class Minute(NamedTuple):
    """What happened in one minute, in all documents.

    Attributes:
        conflicts: Edits by hand that were kept because they could not be folded.
        steals: Leases that were granted over one that had run out, or whose holder was gone.
        fenced_commits: Contents that were refused to a superseded holder, and kept.
        quarantined_logs: Logs that are set aside now, whenever that was: it is for a person to end that.
        unseen: Documents that could not be looked at, or for which there was no time.
    """

    conflicts: int = 0
    steals: int = 0
    fenced_commits: int = 0
    quarantined_logs: int = 0
    unseen: int = 0


def look_back(
    workspace: Workspace, names: Iterable[str], from_ms: int, to_ms: int, remaining: Callable[[], float]
) -> Minute:
    """What the minute from ``from_ms`` on left in the workspace. Times are of the store's clock."""
    member: Member = workspace._member  # noqa: SLF001 - the library's own room
    total = Minute()
    for name in names:
        one = Minute(unseen=1)
        if remaining() > 0:
            with contextlib.suppress(CoordinatorError, OSError):
                one = _of_document(member, Resource.parse(name), from_ms, to_ms)
        total = Minute(*(a + b for a, b in zip(total, one, strict=True)))
    return total


def _of_document(member: Member, resource: Resource, from_ms: int, to_ms: int) -> Minute:
    kept = _listed(member, resource, "kept")
    changed = (member.files.stat(member.places.of(resource, "kept", name)).mtime_ns // 1_000_000 for name in kept)
    edits = (name.split("-", 1)[0] for name in _listed(member, resource, "conflicts"))
    return Minute(
        conflicts=sum(time.isdigit() and from_ms <= int(time) < to_ms for time in edits),
        steals=_steals(member, resource, from_ms, to_ms),
        fenced_commits=sum(from_ms <= at_ms < to_ms for at_ms in changed),
        quarantined_logs=sum(name.endswith(".json") for name in _listed(member, resource, "quarantine")),
    )


def _listed(member: Member, resource: Resource, folder: str) -> list[str]:
    try:
        return member.files.listdir(member.places.of(resource, folder))
    except FileNotFoundError:
        return []  # most documents never have one


def _steals(member: Member, resource: Resource, from_ms: int, to_ms: int) -> int:
    record = member.store.read(resource)
    if record is None or record.at_ms < from_ms:
        return 0  # nothing has happened since: its history need not be asked for
    return sum(
        past.kind == "grant" and past.why not in {"", "free"} and from_ms <= past.at_ms < to_ms
        for past in member.store.history(resource)
    )


def publish(metrics: Metrics, report: Report, minute: Minute | None) -> None:
    """Writes it to the log; CloudWatch takes it from there."""
    metrics.add_metric(name=LAG_SECONDS, unit="Seconds", value=report.lag_ms / 1000)
    metrics.add_metric(name=LAG_OPERATIONS, unit="Count", value=report.lag_operations)
    metrics.add_metric(name=FAILURES, unit="Count", value=len(report.failures))
    for took_ms in report.fold_ms:
        metrics.add_metric(name=FOLD_MILLISECONDS, unit="Milliseconds", value=took_ms)
    if minute is not None:
        metrics.add_metric(name=CONFLICTS, unit="Count", value=minute.conflicts)
        metrics.add_metric(name=STEALS, unit="Count", value=minute.steals)
        metrics.add_metric(name=FENCED_COMMITS, unit="Count", value=minute.fenced_commits)
        metrics.add_metric(name=QUARANTINED_LOGS, unit="Count", value=minute.quarantined_logs)
    metrics.flush_metrics()
