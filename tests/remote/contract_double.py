"""The coordinator function's contract over a plain workspace, small enough to be read: for tests of the client.

One handler, as Lambda runs it; every call is carried out by the same library that agents use. What the deployed
function does besides (who may, models, logs, metrics) is not here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from coordinator import Workspace
from coordinator.acquire import Acquisition
from coordinator.document.operations import as_operation
from coordinator.document.receipt import DURABLE, OperationReceipt
from coordinator.errors import (
    BadRequest,
    CoordinatorError,
    LeaseLost,
    NoSuchDocument,
    Refused,
    StaleFence,
    StoreUnavailable,
)
from coordinator.lease import parse_token
from coordinator.names import Resource, new_id, parse_id
from coordinator.record.agree import Refusal, settle
from coordinator.record.decide import Author, Release, Renew
from coordinator.tasks.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.record.record import Record

WAIT_MAX_MS: Final = 4000
_STATUSES: Final[tuple[tuple[type[CoordinatorError], int], ...]] = (
    (NoSuchDocument, 404),
    (BadRequest, 422),
    (Refused, 409),
    (LeaseLost, 410),
    (StoreUnavailable, 503),
    (CoordinatorError, 500),
)


@cache
def workspace_of(agent: str) -> Workspace:
    table, workspace = os.environ.get("COORDINATOR_TABLE"), os.environ.get("COORDINATOR_WORKSPACE")
    if table is None:
        return Workspace(os.environ["DOUBLE_DIRECTORY"], agent=agent)
    return Workspace(agent=agent, table=table, workspace=workspace)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """A function URL's event, or a direct invocation's."""
    if "call" in event:
        status, body = answer(event["call"], event["body"])
        return {"status": status, "body": body}
    text = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
    status, body = answer(event["rawPath"].removeprefix("/v1/"), json.loads(text or "{}"))
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


def compactor(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """The other function: folds everything once, whatever the event is."""
    directory, table = os.environ["COORDINATOR_DIRECTORY"], os.environ["COORDINATOR_TABLE"]
    with Workspace(directory, agent="compactor", table=table) as ws:
        return {"folded": [one.resource for one in ws.status() if ws.document(one.resource).compact().revision]}


def answer(call: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    carried_out = CALLS.get(call)
    if carried_out is None:
        return 404, {"error": "BadRequest", "message": f"there is no call {call}", "hint": "", "fields": {}}
    wait_ms = min(body.get("wait_ms", 0), WAIT_MAX_MS)
    try:
        return 200, carried_out(workspace_of(body.get("agent", "function")), {**body, "wait_ms": wait_ms})
    except CoordinatorError as error:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint, "fields": error.fields}
        return status, told


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _acquire(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    return _acquired(ws, body["name"], body["request_id"], body)


def _acquired(ws: Workspace, name: str, request_id: str, body: dict[str, Any]) -> dict[str, Any]:
    resource = Resource.parse(name)
    wish = Acquisition(ws._member, resource, body["ttl_ms"], 0, None)
    wish._author = Author(parse_id(request_id), ws.agent, ws._member.incarnation)
    record = _own_grant(ws, resource, request_id) or wish.run(body["wait_ms"]).record
    return _granted(ws, name, record)


def _own_grant(ws: Workspace, resource: Resource, request_id: str) -> Record | None:
    """The newest record, if its lease was granted to this very request."""
    record = ws._member.store.read(resource)
    if record is None or record.lease is None:
        return None
    grants = [one for one in ws._member.store.history(resource) if one.request == request_id and one.kind == "grant"]
    return record if any(one.n == record.lease.fence for one in grants) else None


def _granted(ws: Workspace, name: str, record: Record) -> dict[str, Any]:
    held = record.lease
    assert held is not None
    return {
        "token": f"v1.{held.fence}.{held.lease_id}.{name}",
        "name": name,
        "fence": held.fence,
        "agent": held.agent,
        "until_ms": held.until_ms,
        "ttl_ms": held.ttl_ms,
        "now_ms": ws._member.store.now_ms(),
        "waiting": len(record.waiting),
    }


def _acquire_many(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    had: list[dict[str, Any]] = []
    try:
        for name in body["names"]:
            had.append(_acquired(ws, name, _derived(body["request_id"], name), body))  # noqa: PERF401 - see except
    except CoordinatorError:
        for one in had:
            _release(ws, {"token": one["token"], "request_id": new_id()})
        raise
    return {"leases": had}


def _derived(request_id: str, name: str) -> str:
    digits = hashlib.sha256(f"{request_id} {name}".encode()).digest()
    return base64.b32encode(digits).decode().lower()[:20]


def _renew(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    return _granted(ws, str(parse_token(body["token"])[0]), _held(ws, body, Renew))


def _release(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    resource = parse_token(body["token"])[0]
    if not any(one.request == body["request_id"] for one in ws._member.store.history(resource)):
        _held(ws, body, Release)
    return {"released": True}


def _held(ws: Workspace, body: dict[str, Any], kind: type[Renew | Release]) -> Record:
    resource, fence, lease_id = parse_token(body["token"])
    author = Author(parse_id(body["request_id"]), ws.agent, ws._member.incarnation)
    decision = settle(ws._member.store, resource, lambda _n, _now: kind(author, lease_id, fence))
    if isinstance(decision, Refusal):
        holder = decision.record.lease
        taken = holder is not None and holder.fence != fence
        raise (StaleFence if taken else LeaseLost)(
            f"the lease on {str(resource)!r} with fence {fence} is lost",
            resource=str(resource),
            fence=fence,
            reason="taken" if taken else str(decision.why),
            successor=holder.agent if holder else decision.record.agent,
            successor_fence=holder.fence if holder else 0,
            kept="",
        )
    return decision.record


def _list(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    rows = sorted(ws.status(), key=lambda one: one.resource)
    page = [asdict(one) for one in rows if one.resource > body.get("after", "")][: body["limit"]]
    return {"resources": page, "next": page[-1]["resource"] if len(page) == body["limit"] else None}


# ── documents and boards ─────────────────────────────────────────────────────────────────────────────────────────────


def _submit(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    ops = [as_operation(one["change"], one.get("if_revision")) for one in body["operations"]]
    ids = [one["op_id"] for one in body["operations"]]
    return _told(ws.document(body["document"]).perform(ops, ids=ids, wait=body["wait_ms"] / 1000))


def _receipts(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    """What became of operations, from the folds that decided them."""
    document = ws.document(body["document"])
    document.compact()
    decided = {
        one["op_id"]: OperationReceipt(one["op_id"], one["outcome"], change.revision)
        for change in document.changes()
        for one in change.operations
    }
    return _told([decided.get(op_id) or OperationReceipt(op_id, DURABLE) for op_id in body["op_ids"]])


def _told(receipts: list[OperationReceipt]) -> dict[str, Any]:
    return {"receipts": [asdict(one) for one in receipts]}


def _read(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    document = ws.document(body["document"])
    document.read(at_least=body.get("at_least", 0), wait=body["wait_ms"] / 1000)
    content = document.content()
    text = {"base64": base64.b64encode(content.data).decode()}
    return {"revision": content.revision, "sha256": content.sha256, **text}


def _changes(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    page = ws.document(body["document"]).changes(body["since"])[: body["limit"]]
    return {"changes": [asdict(one) for one in page], "next": page[-1].revision if page else None}


def _access(ws: Workspace, body: dict[str, Any]) -> Access:
    return Access(ws._member, ws.document(body["document"]), body["board"])


def _said(verb: str) -> Callable[[Workspace, dict[str, Any]], dict[str, Any]]:
    """One operation on a board."""
    not_of_the_op = {"document", "agent", "op_id", "wait_ms"}

    def said(ws: Workspace, body: dict[str, Any]) -> dict[str, Any]:
        op = {"do": f"task.{verb}", **{name: value for name, value in body.items() if name not in not_of_the_op}}
        return {"receipt": asdict(_access(ws, body).submit(op, body["op_id"], body["wait_ms"] / 1000))}

    return said


def _board(ws: Workspace, body: dict[str, Any]) -> Any:
    return ws.tasks(body["document"], **body["board"])


CALLS: Final[dict[str, Callable[[Workspace, dict[str, Any]], dict[str, Any]]]] = {
    "leases/acquire": _acquire,
    "leases/acquire_many": _acquire_many,
    "leases/renew": _renew,
    "leases/release": _release,
    "leases/inspect": lambda ws, body: asdict(ws.status_of(body["name"])),
    "leases/list": _list,
    "leases/history": lambda ws, body: {"records": [asdict(one) for one in ws.history(body["name"])[-body["limit"] :]]},
    "leases/request_release": lambda ws, body: {
        "released": ws.request_release(body["name"], grace=body["grace_ms"] / 1000)
    },
    "operations/submit": _submit,
    "operations/receipts": _receipts,
    "documents/read": _read,
    "documents/changes": _changes,
    **{f"tasks/{verb}": _said(verb) for verb in ("heartbeat", "complete", "fail", "release", "cancel", "add")},
    "tasks/claim_next": _said("claim"),
    "tasks/get": lambda ws, body: {"task": _board(ws, body).get(body["id"])},
    "tasks/list": lambda ws, body: {
        "tasks": _board(ws, body).list(status=body.get("status"), where=body.get("where"), holder=body.get("holder"))
    },
    "tasks/stats": lambda ws, body: {"stats": _board(ws, body).stats()},
}
