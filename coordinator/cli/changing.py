"""``coordinator document``: update, changes. JSON in, JSON out, for agents in any language."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from coordinator.cli import exits
from coordinator.cli.boards import OpIdOption, json_of
from coordinator.cli.common import (
    AgentOption,
    JsonOption,
    NameArgument,
    WorkspaceOption,
    note,
    open_workspace,
    print_error,
    print_json,
    put,
    read_stdin,
)
from coordinator.errors import BadValue, CoordinatorError, LeaseHeld, OperationRejected, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.document.document import Document
    from coordinator.document.folding import Change
    from coordinator.document.receipt import OperationReceipt
    from coordinator.workspace import Workspace

changing_app = typer.Typer()

_LOOKED_THROUGH: Final = 200  # revisions, for who was first

# ── update ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@changing_app.command()
def update(
    name: NameArgument,
    patch: Annotated[
        str | None,
        typer.Argument(metavar="[PATCH]", help="JSON: an array is a JSON Patch, an object a merge patch; - is stdin."),
    ] = None,
    merge: Annotated[
        str | None, typer.Option(metavar="JSON", help="Instead of PATCH: a merge patch; - is stdin.")
    ] = None,
    if_revision: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Reject it unless the document is at this revision.")
    ] = None,
    op_id: OpIdOption = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for the outcome; 0: only until it is durable.")
    ] = 10,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Changes a document without a lease: all of a patch is applied, or nothing. Nobody waits for a lock.

    JSON Patch is RFC 6902 (`test` is a precondition), merge patch RFC 7396. Exit status 77: it was rejected; stderr
    says why, who was first, and at which revision. 75 or 69: it is durable, but was not decided in time (somebody holds
    the lease; nothing was folded): ask again with its --op-id.

    JSON: {"resource", "op_id", "state": "applied" or "durable", "revision", "again": it was decided before}.
    """
    change = _change(patch, merge)
    wait = _seconds(wait, "wait")
    opened = open_workspace(workspace, agent)
    document = opened.document(name)
    try:
        receipt = document.update(change, if_revision=if_revision, op_id=op_id, wait=wait)
    except OperationRejected as error:
        error.winner = error.winner or _who_was_first(document, error)
        print_error(error, as_json=as_json)
        if error.winner and not as_json:
            note(f"{error.winner} was first")
        raise typer.Exit(exits.REJECTED) from None
    finally:
        with contextlib.suppress(CoordinatorError):  # what was answered stands; a log not ended is retired later
            opened.close()
    if receipt.state == "durable" and wait:
        raise _undecided(opened, document, receipt)
    _tell_updated(document.name, receipt, as_json=as_json)


def _change(patch: str | None, merge: str | None) -> Any:
    """The change that was given in one of two ways. Raises BadValue."""
    if (patch is None) == (merge is None):
        raise BadValue("there is to be one change: PATCH, or --merge JSON", argument="PATCH", value=patch)
    argument, text = ("PATCH", patch) if patch is not None else ("merge", merge or "")
    change = json_of(read_stdin() if text == "-" else text or "", argument)
    if merge is not None and not isinstance(change, dict):
        raise BadValue("--merge is a JSON object (RFC 7396)", argument=argument, value=merge[:200])
    return change


def _seconds(given: float, argument: str) -> float:
    if not math.isfinite(given) or given < 0:
        raise BadValue(f"--{argument} {given} is not a number of seconds", argument=argument, value=str(given))
    return given


def _who_was_first(document: Document, error: OperationRejected) -> str:
    """The agent whose change is in the way of one that was rejected, as far as that is still known."""
    expected, path = error.facts.get("expected"), error.facts.get("path")
    if error.why == "revision" and isinstance(expected, int):
        found = _changes_before(document, error, expected)
        return next((agent for each in found for agent in _authors(each, "")), "")
    if not isinstance(path, str):
        return ""
    found = _changes_before(document, error, max(error.revision - _LOOKED_THROUGH, 0))
    return next((agent for each in reversed(found) for agent in reversed(_authors(each, path))), "")


def _changes_before(document: Document, error: OperationRejected, since: int) -> list[Change]:
    try:
        return [each for each in document.changes(since) if each.revision < error.revision]
    except CoordinatorError:
        return []  # no longer kept


def _authors(change: Change, path: str) -> list[str]:
    """Who changed something at a place, above it or below it."""
    if change.whole:
        return [change.agent] if change.agent else []
    return [each["agent"] for each in change.operations if any(_meets(step["path"], path) for step in each["patch"])]


def _meets(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _undecided(workspace: Workspace, document: Document, receipt: OperationReceipt) -> CoordinatorError:
    """The error for an update that is durable, and was to be decided by now."""
    name, op_id = document.name, receipt.op_id
    text = f"update {op_id} of {name!r} is durable, but was not decided in time"
    hint = f"it will be decided; ask what became of it with --op-id {op_id}"
    now = workspace.status_of(name)
    if now.state in {"held", "detached"}:
        return LeaseHeld(
            f"{text}: {now.holder} holds the lease (fence {now.fence})",
            hint=hint,
            resource=name,
            holder=now.holder,
            fence=now.fence,
            since_ms=now.since_ms,
            until_ms=now.until_ms,
            now_ms=now.now_ms,
            waiting=now.waiting,
            waited_ms=0,
            op_id=op_id,
        )
    cause = "nothing was folded"
    return StoreUnavailable(text, hint=hint, resource=name, cause=cause, outcome_unknown=True, op_id=op_id)


def _tell_updated(name: str, receipt: OperationReceipt, *, as_json: bool) -> None:
    if as_json:
        facts = {"op_id": receipt.op_id, "state": receipt.state, "revision": receipt.revision, "again": receipt.again}
        print_json({"resource": name, **facts})
    elif receipt.state == "durable":
        put(f"durable, and not decided yet: ask what became of it with --op-id {receipt.op_id}\n")
    else:
        put(f"{name} {'was' if receipt.again else 'is'} updated in revision {receipt.revision}\n")


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@changing_app.command()
def changes(
    name: NameArgument,
    since: Annotated[
        int | None, typer.Option(metavar="REV", min=0, help="After this revision. Default: all that are kept.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they come; without --since, from now on.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Of --follow: end after that. Default: never.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells what was changed in a document, revision by revision, oldest first.

    The revision of the last one seen is the cursor for the next call (--since). Of a commit under a lease only that it
    was made is told ("whole"): read the document.

    JSON: one object a line: {"revision", "at_ms", "agent": who folded or committed it, "whole", "operations":
    [{"op_id", "agent", "outcome", "patch": RFC 6902}]}.
    """
    document = open_workspace(workspace).document(name)
    if timeout is not None:
        timeout = _seconds(timeout, "timeout")
        if not follow:
            raise BadValue("--timeout is for --follow", argument="timeout", value=timeout)
    for change in document.watch(since, timeout=timeout) if follow else _kept(document, since):
        put(json.dumps(asdict(change)) + "\n" if as_json else _line(change))


def _kept(document: Document, since: int | None) -> Iterator[Change]:
    if not document.revision:
        document.content()  # there is no such document, or a plain file that was never committed
    try:
        yield from document.changes(since or 0)
    except BadValue:
        if since is not None:
            raise
        kept = takewhile(lambda each: each.available, reversed(document.history()))
        yield from document.changes(min((each.revision for each in kept), default=document.revision + 1) - 1)


def _line(change: Change) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at_ms / 1000)) if change.at_ms else ""
    head = " ".join(filter(None, (f"revision {change.revision}", at, change.agent and f"by {change.agent}")))
    if change.whole:
        return f"{head}: committed whole\n"
    told = [
        f"  {each['agent']} {each['op_id']} {each['outcome']} {json.dumps(each['patch'], ensure_ascii=False)}\n"
        for each in change.operations
    ]
    return "".join([f"{head}\n", *told])
