"""Reads that the compactor function serves to the coordinator function, which has no mount.

An answer may be 6 MB at the most: it is what a synchronous invocation returns, and the coordinator's own answer, which
holds it once more as a text inside a text, is under the same limit. What would be more is refused (413), never cut: a
list that ends early looks like one that is whole. Who asks with a ``limit`` is given pages.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.board.spec import make_spec
from coordinator.errors import BadValue, CoordinatorError
from coordinator.service.receipts import receipts
from coordinator.service.told import TooLarge, status_of, told_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordinator.document.folding import Change
    from coordinator.tasks import TaskBoard
    from coordinator.workspace import Workspace

    Body = dict[str, Any]

ANSWER_MAX_BYTES: Final = (6 << 20) - (64 << 10)  # AWS: 6 MB of a synchronous invocation, less what is around it
WAIT_MAX_MS: Final = 2000  # limit: while one waits here, nobody else is served
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
_SURELY_FITS: Final = ANSWER_MAX_BYTES // 12  # no character becomes more than \\\\u0000 in a text inside a text


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def answer(workspace: Workspace, asked: Any, remaining: Callable[[], float]) -> Body:
    """What one request comes to: ``{"status", "body"}``. Refusals are answers; only what nobody thought of is raised.

    Args:
        workspace: Where.
        asked: ``{"call": "documents/read", "body": {…}}``.
        remaining: Tells the seconds that are left.
    """
    try:
        call, body = _parts(asked)
        told = CALLS[call](workspace, body, remaining)
        _check_size(told, call)
    except CoordinatorError as error:
        return {"status": status_of(error), "body": told_error(error)}
    return {"status": 200, "body": told}


def _parts(asked: Any) -> tuple[str, Body]:
    call = asked.get("call") if isinstance(asked, dict) else None
    if not isinstance(call, str) or call not in CALLS:
        raise BadValue(
            f"there is no call {call!r:.80}", argument="call", value=repr(call)[:80], hint=f"one of {', '.join(CALLS)}"
        )
    body = asked.get("body", {})
    if not isinstance(body, dict):
        raise BadValue("the body is not an object", argument="body", value=repr(body)[:80])
    return call, body


def _check_size(told: Body, call: str) -> None:
    text = json.dumps(told)
    if len(text) <= _SURELY_FITS:
        return
    size_bytes = len(json.dumps(text))
    if size_bytes > ANSWER_MAX_BYTES:
        raise TooLarge(
            f"the answer to {call} would have {size_bytes:,} bytes, and {ANSWER_MAX_BYTES:,} is the most",
            argument="answer",
            value=size_bytes,
            most=ANSWER_MAX_BYTES,
            hint="ask for less (limit, status, where); or read it where the workspace is mounted",
        )


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _checked(body: Mapping[str, Any], *, known: tuple[str, ...]) -> None:
    unknown = sorted(body.keys() - set(known) - {"document"})
    if unknown:
        raise BadValue(f"unknown fields: {', '.join(unknown)[:200]}", argument=unknown[0][:80], value=None)


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise BadValue(f"{field} is not a text", argument=field, value=repr(value)[:80])
    return value


def _whole(body: Mapping[str, Any], field: str, default: int, most: int) -> int:
    value = body.get(field)
    if value is None:
        return default
    if type(value) is not int or not 0 <= value <= most:
        raise BadValue(
            f"{field}={value!r:.80} is not a whole number from 0 to {most}", argument=field, value=repr(value)[:80]
        )
    return value


# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(workspace: Workspace, body: Body, remaining: Callable[[], float]) -> Body:
    _checked(body, known=("at_least", "wait_ms"))
    document = workspace.document(_text(body, "document"))
    at_least = _whole(body, "at_least", 0, 10**12)
    wait_ms = min(_whole(body, "wait_ms", 0, 10**9), WAIT_MAX_MS, max(round(remaining() * 1000), 0))
    if at_least:
        document.read(at_least=at_least, wait=wait_ms / 1000)
    content = document.content()
    told: Body = {"document": document.name, "revision": content.revision, "sha256": content.sha256}
    try:
        return {**told, "text": content.data.decode()}
    except UnicodeDecodeError:
        return {**told, "base64": base64.b64encode(content.data).decode()}


def _changes(workspace: Workspace, body: Body, _remaining: Callable[[], float]) -> Body:
    """Changes after a revision, oldest first, as many as fit; ``next`` is the cursor for the next page."""
    _checked(body, known=("since", "limit"))
    document = workspace.document(_text(body, "document"))
    since = _whole(body, "since", 0, 10**12)
    limit = max(_whole(body, "limit", LIMIT_DEFAULT, LIMIT_MAX), 1)
    rows: list[Body] = []
    size = 0
    for change in document.changes(since)[:limit]:
        row, length = _row(change)
        if rows and size + length > ANSWER_MAX_BYTES // 2:
            break
        rows.append(row)
        size += length
    return {"document": document.name, "changes": rows, "next": rows[-1]["revision"] if rows else since}


def _row(change: Change) -> tuple[Body, int]:
    """One change, and how long it is in an answer. What fits into none says so: read the document instead."""
    row = _plain(change)
    length = len(json.dumps(json.dumps(row)))
    if length > ANSWER_MAX_BYTES // 2:
        row = _plain(replace(change, whole=True, operations=()))
        length = len(json.dumps(json.dumps(row)))
    return row, length


def _plain(change: Change) -> Body:
    return {one.name: getattr(change, one.name) for one in fields(change)}


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _board(workspace: Workspace, body: Body) -> TaskBoard:
    spec = body.get("board") or {"format": "default"}
    if not isinstance(spec, dict) or not all(isinstance(option, str) for option in spec):
        raise BadValue("the board is not told by an object", argument="board", value=repr(spec)[:80])
    options = dict(spec)
    kind = options.pop("format", "default")
    make_spec(kind, **options)  # before a document is looked for: it says which option is wrong
    return workspace.tasks(_text(body, "document"), format=kind, **options)


def _get(workspace: Workspace, body: Body, _remaining: Callable[[], float]) -> Body:
    _checked(body, known=("board", "id"))
    task_id = body.get("id")
    if not isinstance(task_id, str | int) or isinstance(task_id, bool):
        raise BadValue("id is neither a text nor a whole number", argument="id", value=repr(task_id)[:80])
    return {"task": _board(workspace, body).get(task_id)}


def _list(workspace: Workspace, body: Body, _remaining: Callable[[], float]) -> Body:
    """All that are asked for; with a ``limit``, pages: ``next`` is the id to go on ``after``, or null."""
    _checked(body, known=("board", "status", "where", "holder", "limit", "after"))
    status, where, holder = body.get("status"), body.get("where"), body.get("holder")
    if not (status is None or isinstance(status, str) or (isinstance(status, list) and _are_texts(status))):
        raise BadValue("status is neither a text nor a list of texts", argument="status", value=repr(status)[:80])
    if not (where is None or isinstance(where, dict)) or not (holder is None or isinstance(holder, str)):
        raise BadValue("where is an object, and holder a text", argument="where", value=repr((where, holder))[:80])
    limit = _whole(body, "limit", 0, LIMIT_MAX)
    found = _board(workspace, body).list(status=status, where=where, holder=holder)
    after = body.get("after")
    if after is not None:
        places = [place for place, task in enumerate(found) if str(task["id"]) == str(after)]
        if not places:
            raise BadValue(
                f"there is no task {after!r:.80} among them any more", argument="after", value=repr(after)[:80]
            )
        found = found[places[0] + 1 :]
    page = found[:limit] if limit else found
    return {"tasks": page, "next": page[-1]["id"] if page and len(page) < len(found) else None}


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _stats(workspace: Workspace, body: Body, _remaining: Callable[[], float]) -> Body:
    _checked(body, known=("board",))
    return {"stats": _board(workspace, body).stats()}


CALLS: Final[Mapping[str, Callable[[Workspace, Body, Callable[[], float]], Body]]] = {
    "documents/read": _read,
    "documents/changes": _changes,
    "operations/receipts": receipts,
    "tasks/get": _get,
    "tasks/list": _list,
    "tasks/stats": _stats,
}
