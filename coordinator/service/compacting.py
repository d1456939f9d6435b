"""The compactor function: what Lambda calls, for each of the three kinds of event that it is sent.

    a schedule                                folds everything, collects garbage, counts what happened in the minute
    {"fold": ["tasks.json", …]}               asynchronous: folds these, and what is in the inbox; [] is everything
    {"ask": {"call": …, "body": {…}}}         synchronous: a read, answered with {"status", "body"}

An invocation that could not fold a document, or not look at one, folds the others, publishes its figures, and *fails*
at its end. Lambda then tries an asynchronous one again, and the alarm on errors sounds: a document that cannot be read
has no other figures to tell of it. What has does not fail an invocation: a log that is set aside (QuarantinedLogs), a
lease that is in the way, a time that was too short (both: the lag).

The process may have been frozen since the last event, for minutes or hours. What it has opened is used again, in a
``workspace.invocation`` that tells a thaw; after trouble it is opened anew.
"""

from __future__ import annotations

import calendar
import os
import re
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from coordinator.clock import SYSTEM_CLOCK
from coordinator.errors import BadValue, CoordinatorError, NotAWorkspace, StoreUnavailable, WorkspaceError
from coordinator.files import SYSTEM_FILES
from coordinator.record.format import make_workspace, read_format, renew_id
from coordinator.record.record import TABLE
from coordinator.service import folding
from coordinator.service.answering import answer
from coordinator.service.compacted_metrics import MINUTE_MS, look_back, publish
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.events import Event
    from coordinator.files import Files
    from coordinator.invocation import LambdaContext

AGENT: Final = "compactor"
MARGIN_S: Final = 10.0  # limit: of the time an invocation has, kept for a fold that is under way, and for the end
MARGIN_PART: Final = 4  # of a shorter time: a quarter
END_S: Final = 0.5
UMASK: Final = 0o002  # agents' uid is another, with the same group: they change what is made here
_TIME: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-(\d\d)T(\d\d):(\d\d):\d\d(?:\.\d+)?Z")  # as EventBridge has it
_TROUBLE: Final = frozenset({"inbox_damaged", "inbox_unread", "view_failed"})  # told by events, and by nothing else

logger = Logger()
_opened: list[Workspace] = []
_trouble: list[Event] = []


class CompactionFailed(Exception):
    """Some documents could not be folded. The others were; nothing is lost, and a retry is safe.

    Attributes:
        is_open_anew: Whether the workspace itself may be what is wrong, so that the next event opens it anew.
    """

    def __init__(self, failures: dict[str, Exception]) -> None:
        first = next(folding.told(failures))
        super().__init__(
            f"{len(failures)} could not be folded; the first: {first['document'] or 'the workspace'}: "
            f"{first['error']}: {first['message']}"
        )
        self.is_open_anew = any(isinstance(error, WorkspaceError | StoreUnavailable) for error in failures.values())


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """One event.

    Args:
        event: See the module.
        context: Lambda's.

    Returns:
        What was done; or, to a read, ``{"status", "body"}``.

    Raises:
        CompactionFailed: See the module.
        CoordinatorError: The workspace cannot be opened; or the event is none of these.
    """
    logger.append_keys(request_id=context.aws_request_id)
    kind, names, minute_ms = _kind_of(event)
    total_s = context.get_remaining_time_in_millis() / 1000
    margin_s = min(MARGIN_S, total_s / MARGIN_PART)
    workspace = _workspace()
    _trouble.clear()
    try:
        with workspace.invocation(context, margin=min(END_S, margin_s)) as invocation:
            left = _left(lambda: invocation.remaining, margin_s)
            if kind == "ask":
                return answer(workspace, event["ask"], left)
            return _compact(workspace, names, minute_ms, left)
    except CompactionFailed as failed:
        if failed.is_open_anew:
            _forget()
        raise
    except (WorkspaceError, StoreUnavailable):
        _forget()
        raise


def _left(remaining: Callable[[], float], margin_s: float) -> Callable[[], float]:
    return lambda: remaining() - margin_s


def _kind_of(event: Any) -> tuple[str, list[str], int]:
    """What it is, the documents that it names, and the minute of a schedule."""
    if isinstance(event, dict):
        if "ask" in event:
            return "ask", [], 0
        names = event.get("fold")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return "fold", names, 0
        if event.get("source") == "aws.events" or event.get("detail-type") == "Scheduled Event":
            return "schedule", [], _minute_ms(event.get("time"))
    raise BadValue(
        "the event is neither a schedule, nor a fold, nor a question",
        argument="event",
        value=repr(event)[:200],
        hint='{"fold": []} folds everything',
    )


def _minute_ms(time: Any) -> int:
    """The end of the minute that is counted: the schedule's own time, so that each is counted once, however late."""
    found = _TIME.fullmatch(str(time))
    if found:
        at_ms = calendar.timegm((*map(int, found.groups()), 0, 0, 0)) * 1000  # a date that is none is one nearby
    else:
        at_ms = SYSTEM_CLOCK.now().wall_ns // 1_000_000
    return at_ms // MINUTE_MS * MINUTE_MS


# ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _compact(workspace: Workspace, names: list[str], minute_ms: int, left: Callable[[], float]) -> dict[str, Any]:
    report = folding.Report()
    folding.Rounds(workspace, left, report).run(names)
    minute = None
    if minute_ms:
        folding.collect(workspace, minute_ms // MINUTE_MS, left, report)
        minute = look_back(workspace, sorted(report.looked_at), minute_ms - MINUTE_MS, minute_ms, left)
    for event in _trouble:
        report.failures.setdefault(event.resource, RuntimeError(f"{event.kind}: {event.reason}"))
    told = {
        "documents": len(report.looked_at),
        "folds": len(report.fold_ms),
        "applied": report.applied,
        "rejected": report.rejected,
        "held": report.held,
        "idle": report.is_idle,
        "lag_ms": report.lag_ms,
        "lag_operations": report.lag_operations,
        "failures": sorted(report.failures),
        "collected": report.collected,
    }
    publish(Metrics(), report, minute)
    logger.info("compacted", extra={"compacted": told, "minute": minute._asdict() if minute else None})
    if report.failures:
        for failure in folding.told(report.failures):
            logger.error("a document was left alone", extra={"failure": failure})
        raise CompactionFailed(report.failures)
    return told


# ── the workspace ────────────────────────────────────────────────────────────────────────────────────────────────────


def _workspace() -> Workspace:
    """That of this environment; opened once in a process, as long as there is no trouble."""
    if not _opened:
        os.umask(UMASK)
        directory, table = _setting("COORDINATOR_DIRECTORY"), _setting("COORDINATOR_TABLE")
        make_if_mounted(SYSTEM_FILES, directory, _setting("COORDINATOR_WORKSPACE"))
        _opened.append(Workspace(directory, agent=AGENT, table=table, on_event=_note))
    return _opened[0]


def _forget() -> None:
    """The next event opens the workspace anew: what was opened may be what is wrong."""
    while _opened:
        try:
            _opened.pop().close()
        except (CoordinatorError, OSError) as error:
            logger.warning("closing", extra={"error": str(error)})


def _note(event: Event) -> None:
    if event.kind in _TROUBLE:
        _trouble.append(event)


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise WorkspaceError(f"the environment variable {name} is not set", path="", hint="see infra/template.yaml")
    return value


def make_if_mounted(files: Files, directory: str, workspace: str) -> None:
    """Makes the file system's folder a workspace, ruled by the table, the first time: nobody else may have a way to it.

    A mount that is not there must not become a folder on the local disk, so only a mount point itself is made one.

    Raises:
        NotAWorkspace: It is none, and no mount point.
        WorkspaceError: It is another workspace than this stack's.
    """
    root = files.realpath(directory)
    try:
        found = read_format(files, root)
    except NotAWorkspace:
        mount = files.mount_of(root)
        if mount is None or mount.point != root:
            raise
        make_workspace(files, root, mode=TABLE)
        found = renew_id(files, root, workspace)
        logger.info("made a workspace", extra={"directory": root, "workspace": found.workspace_id})
    if found.workspace_id != workspace:
        raise WorkspaceError(
            f"the directory {root} is the workspace {found.workspace_id!r}, and this function is {workspace!r}'s",
            path=root,
            hint=f"deploy with Workspace={found.workspace_id}; or, if it was made by mistake and is empty, remove its "
            ".coordinator folder",
        )
