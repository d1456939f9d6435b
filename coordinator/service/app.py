"""The coordinator function: leases, operations and task boards for callers without the mount, as calls over HTTP.

    POST /v1/<call>                       a JSON object in, a JSON object out (models.py); by the function's URL, signed
    {"call": "<call>", "body": {…}}       the same by direct invocation; answered with {"status", "body"}
    GET  /v1/openapi.json, /v1/health     what there is; and that it is there

Every refusal has the name and the fields of an error of ``coordinator.errors``, so that a client raises the same.
Nothing that matters is remembered from one invocation to the next: an environment may have been frozen in between.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Body as JsonBody
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from coordinator.errors import BadRequest, BadValue, CoordinatorError, LeaseHeld, NotAllowed, StoreUnavailable
from coordinator.names import new_id
from coordinator.service import leases, models, updates
from coordinator.service.asking import Compactor
from coordinator.service.identity import LATEST, Identity, alias_of, identity_of
from coordinator.service.settings import settings_from
from coordinator.service.told import status_of, told_error
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.invocation import LambdaContext
    from coordinator.service.settings import Settings

BODY_MAX_BYTES: Final = 1 << 20  # of a request; operations are bounded further (INBOX_FRAME_MAX_BYTES)
END_MS: Final = 1500  # kept of an invocation, for its answer
AGENTS_MAX: Final = 256  # workspaces kept open, one for each agent
_RETRY_AFTER_S: Final = "1"

logger = Logger()
metrics = Metrics()
app = LambdaFunctionUrlResolver(enable_validation=True)
_identity: list[Identity] = []  # whose event is being answered: one at a time in an environment
_contexts: list[LambdaContext] = []


class Call(NamedTuple):
    """One call.

    Attributes:
        asked: Its request.
        told: Its answer.
        does: What it comes to; None: the compactor function is asked.
        about: For people.
    """

    asked: type[models.Asked]
    told: type[models.Told]
    does: Callable[[Workspace, Any], dict[str, Any]] | None
    about: str


def _board(verb: str, asked: type[models.OnBoard], about: str) -> Call:
    return Call(asked, models.ReceiptOfOne, partial(updates.on_board, verb), about)


CALLS: Final[dict[str, Call]] = {
    "leases/acquire": Call(models.Acquire, models.LeaseTold, leases.acquire, "Acquires a lease."),
    "leases/acquire_many": Call(models.AcquireMany, models.LeasesTold, leases.acquire_many, "Several, all or none."),
    "leases/renew": Call(models.Holding, models.LeaseTold, leases.renew, "Starts the ttl anew."),
    "leases/release": Call(models.Holding, models.ReleasedTold, leases.release, "Frees a lease."),
    "leases/inspect": Call(models.Inspect, models.StatusTold, leases.inspect, "One resource at a glance."),
    "leases/list": Call(models.ListLeases, models.StatusesTold, leases.list_leases, "Resources, page by page."),
    "leases/request_release": Call(
        models.RequestRelease, models.ReleasedTold, leases.request_release, "Asks the holder to let go."
    ),
    "leases/history": Call(models.History, models.HistoryTold, leases.history, "Who held it, when, and why."),
    "operations/submit": Call(models.Submit, models.ReceiptsTold, updates.submit, "Updates of a document."),
    "operations/receipts": Call(models.Receipts, models.ReceiptsTold, None, "What became of operations."),
    "tasks/add": _board("add", models.Add, "Adds tasks."),
    "tasks/claim_next": _board("claim", models.ClaimNext, "Claims the next tasks."),
    "tasks/heartbeat": _board("heartbeat", models.Heartbeat, "Keeps a claim."),
    "tasks/complete": _board("complete", models.Complete, "Completes a task."),
    "tasks/fail": _board("fail", models.Fail, "Fails a task."),
    "tasks/release": _board("release", models.Claimed, "Gives a task back."),
    "tasks/cancel": _board("cancel", models.Cancel, "Cancels a task."),
    "tasks/get": Call(models.GetTask, models.Told, None, "One task."),
    "tasks/list": Call(models.ListTasks, models.Told, None, "Tasks."),
    "tasks/stats": Call(models.Stats, models.Told, None, "Figures of a board."),
    "documents/read": Call(models.Read, models.ReadTold, None, "The newest content."),
    "documents/changes": Call(models.Changes, models.Told, None, "What came after a revision."),
}


# ── what there is once in an environment ─────────────────────────────────────────────────────────────────────────────


@cache
def settings() -> Settings:
    """Of this environment."""
    return settings_from(os.environ)


@cache
def compactor() -> Compactor:
    """The other function."""
    return Compactor(settings().compactor)


_open: dict[str, Workspace] = {}


def workspace_of(agent: str) -> Workspace:
    """The workspace as one agent sees it: for its name in records, and a log of its own in the inbox (P19)."""
    found = _open.pop(agent, None)
    if found is None:
        any_other = next(iter(_open.values()), None)
        where = {"store": any_other._member.store} if any_other else {"table": settings().table}  # noqa: SLF001
        found = Workspace(agent=agent, workspace=settings().workspace, **where)
        found._member.tell_compactor = lambda document, fresh: compactor().tell(document, fresh=fresh)  # noqa: SLF001
    _open[agent] = found  # the one that was used last stands last
    while len(_open) > AGENTS_MAX:
        oldest = next(iter(_open))
        _open.pop(oldest).close()
    return found


# ── routes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _carry_out(name: str, call: Call, body: models.Asked) -> Response[Any]:
    agent: str | None = getattr(body, "agent", None)
    settings().agents.check(_identity[-1], agent)
    left_ms = _contexts[-1].get_remaining_time_in_millis() - END_MS
    if hasattr(body, "wait_ms"):
        body.wait_ms = max(min(body.wait_ms, models.WAIT_MAX_MS, left_ms), 0)
    if isinstance(body, models.RequestRelease):
        body.grace_ms = max(min(body.grace_ms, models.WAIT_MAX_MS, left_ms), 0)
    if call.does is None:
        status, told = compactor().ask(name, _asked_of_compactor(body), left_ms)
        return _answer(status, told)
    # After a thaw nothing kept here misleads: leases are looked up in the record, and an append to the inbox says
    # what it follows on, so that a log that was fenced meanwhile refuses it. It is not ended with each invocation:
    # that would be a revision of the document for each request.
    return _answer(200, call.does(workspace_of(agent or "coordinator"), body))


def _asked_of_compactor(body: models.Asked) -> dict[str, Any]:
    asked = body.model_dump(exclude_unset=True)
    asked.pop("agent", None)
    if "wait_ms" in asked:
        asked["wait_ms"] = getattr(body, "wait_ms", 0)
    return asked


def _answer(status: int, told: dict[str, Any]) -> Response[Any]:
    headers = {"Retry-After": _RETRY_AFTER_S} if status in {429, 503} else {}
    if status == 409 and told.get("error") == LeaseHeld.__name__:  # noqa: PLR2004 - the status
        fields = told.get("fields", {})
        left_ms = fields.get("until_ms", 0) - fields.get("now_ms", 0)
        headers["Retry-After"] = str(max(-(-left_ms // 1000), 1))
    return Response(status, content_type="application/json", body=json.dumps(told), headers=dict(headers))


def _route(name: str, call: Call) -> None:
    def handle(body: models.Asked) -> Response[Any]:
        return _carry_out(name, call, body)

    handle.__name__ = name.replace("/", "_")
    # Its parameter is the model of this very call, which no annotation that is read can say.
    handle.__annotations__ = {"body": Annotated[call.asked, JsonBody()]}
    told: dict[int, Any] = {200: _described("Done.", call.told)}
    told |= {status: _described(why, models.Refusal) for status, why in _REFUSALS.items()}
    app.post(
        f"/v1/{name}",
        summary=call.about,
        operation_id=handle.__name__,
        tags=[name.partition("/")[0]],
        responses=told,
    )(handle)


def _described(why: str, model: type[models.Told]) -> dict[str, Any]:
    return {"description": why, "content": {"application/json": {"model": model}}}


_REFUSALS: Final = {
    400: "No JSON object.",
    403: "The caller may not act as that agent.",
    404: "No such document.",
    409: "Somebody else was first: a lease is held, or a precondition does not hold.",
    410: "What was held is lost.",
    412: "A successor holds it, or the revision moved.",
    413: "Too large.",
    422: "A field is missing, unknown, or not as it has to be.",
    500: "Somebody has to look: the workspace, or its table.",
    503: "Not now; a retry is safe.",
}

for _name, _call in CALLS.items():
    _route(_name, _call)


@app.get("/v1/health", summary="Whether the function answers.", tags=["about"])
def health() -> dict[str, str]:
    """Touches nothing."""
    return {"status": "ok"}


def openapi():  # type: ignore[no-untyped-def] # noqa: ANN202 - the resolver would make a schema of an annotation
    """The description of all of this."""
    return Response(200, content_type="application/json", body=description())


app.get("/v1/openapi.json", include_in_schema=False)(openapi)


@cache
def description() -> str:
    """OpenAPI 3."""
    return app.get_openapi_json_schema(title="coordinator", version="1", description=__doc__ or "")


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refuse(error: CoordinatorError) -> Response[Any]:
    """An error of ours: its name and fields."""
    status = status_of(error)
    _note(status, error)
    return _answer(status, told_error(error))


def refuse_invalid(error: RequestValidationError) -> Response[Any]:
    """A body that does not fit its model: the first field that is wrong."""
    first = error.errors()[0] if error.errors() else {}
    where = ".".join(str(part) for part in first.get("loc", ())[1:]) or "body"
    is_json = first.get("type") != "json_invalid"
    why = f"{where}: {first.get('msg', 'not as it has to be')}" if is_json else "the body is no JSON"
    bad = BadValue(why, argument=where, value=repr(first.get("input"))[:80], hint="GET /v1/openapi.json tells")
    status = 422 if is_json else 400
    _note(status, bad)
    return _answer(status, told_error(bad))


def refuse_unknown(_error: Exception) -> Response[Any]:
    """No such call."""
    bad = BadRequest("there is no such call", hint="GET /v1/openapi.json tells what there is")
    _note(404, bad)
    return _answer(404, told_error(bad))


def _note(status: int, error: CoordinatorError) -> None:
    """Every refusal is logged and counted."""
    kind = type(error).__name__
    identity = str(_identity[-1]) if _identity else ""
    log = logger.error if status >= 500 else logger.warning if isinstance(error, NotAllowed) else logger.info  # noqa: PLR2004
    log("refused", extra={"status": status, "error": kind, "said": error.message[:500], "identity": identity})
    metrics.add_metric("Refusals", MetricUnit.Count, 1)
    metrics.add_metric(f"Refused{kind}", MetricUnit.Count, 1)


app.exception_handler(CoordinatorError)(refuse)
app.exception_handler(RequestValidationError)(refuse_invalid)
app.not_found(refuse_unknown)


# ── the entry ────────────────────────────────────────────────────────────────────────────────────────────────────────


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """One event: of the function's URL, or a direct invocation's.

    Returns:
        As a function URL wants it, or ``{"status", "body"}``. Refusals are answers; nothing is raised for them.
    """
    logger.append_keys(request_id=context.aws_request_id)
    _contexts.append(context)
    try:
        if isinstance(event, dict) and "requestContext" in event:
            return _by_url(event, context, lambda: identity_of(event, context))
        told = _by_url(_as_url_event(event), context, lambda: Identity(alias_of(context)))
        return {"status": told["statusCode"], "body": json.loads(told["body"])}
    finally:
        _contexts.clear()
        _identity.clear()
        if metrics.metric_set:
            metrics.flush_metrics()


def _by_url(event: dict[str, Any], context: Any, who: Callable[[], Identity]) -> dict[str, Any]:
    try:
        _identity.append(who())
        _check_body(event)
        logger.append_keys(path=event.get("rawPath"), identity=str(_identity[-1]))
        metrics.add_metric("Requests", MetricUnit.Count, 1)
        return app.resolve(event, context)
    except CoordinatorError as error:
        return _plain(refuse(error))
    except (RecursionError, UnicodeError) as error:
        return _plain(refuse(BadValue(f"the body cannot be read: {error}", argument="body", value="")))
    except Exception:
        logger.exception("failed")
        metrics.add_metric("Failures", MetricUnit.Count, 1)
        trouble = StoreUnavailable(
            "the coordinator failed over this request",
            resource="",
            cause=f"see its log, request {context.aws_request_id}",
            outcome_unknown=True,
            hint="a retry with the same ids is safe",
        )
        return _plain(_answer(500, told_error(trouble)))


def _plain(response: Response[Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **response.headers}
    return {"statusCode": response.status_code, "headers": headers, "body": response.body, "isBase64Encoded": False}


def _check_body(event: dict[str, Any]) -> None:
    """Before it is parsed: its size, and that it is text."""
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise BadValue("the body is no text", argument="body", value=repr(body)[:80])
    if len(body) > BODY_MAX_BYTES * 4 // 3:
        raise _too_large(len(body))
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BadValue(f"the body is not UTF-8: {error}", argument="body", value="") from None
        event["body"], event["isBase64Encoded"] = body, False
    size_bytes = len(body.encode(errors="surrogatepass"))
    if size_bytes > BODY_MAX_BYTES:
        raise _too_large(size_bytes)


def _too_large(size_bytes: int) -> CoordinatorError:
    from coordinator.service.told import TooLarge  # noqa: PLC0415 - hardly ever

    return TooLarge(
        f"the body has {size_bytes:,} bytes, and {BODY_MAX_BYTES:,} is the most",
        argument="body",
        value=size_bytes,
        most=BODY_MAX_BYTES,
        hint="send fewer operations at once",
    )


def _as_url_event(event: Any) -> dict[str, Any]:
    """A direct invocation as the event that the same call by URL would be."""
    if not isinstance(event, dict):
        event = {}
    call, body = event.get("call"), event.get("body", {})
    path = f"/v1/{call}" if isinstance(call, str) else "/v1/"
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}, "stage": "$default", "requestId": new_id()},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


__all__ = ["LATEST", "app", "handler"]
