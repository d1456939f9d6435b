"""The client's parts on their own: answers as errors, addresses, signing, retries; and the local server's edges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import in_thread, wait_until

from coordinator import (
    BadName,
    BadRequest,
    BadValue,
    CorruptSnapshot,
    LeaseHeld,
    NoRoom,
    StoreUnavailable,
    WorkspaceError,
    errors,
)
from coordinator.clock import elapsed_max_ms
from coordinator.remote import RemoteWorkspace
from coordinator.remote.asking import PAUSE_MAX_MS, Asker, Trail
from coordinator.remote.connection import NoReply, Reply, packed, reply_of
from coordinator.remote.over_http import HttpWay
from coordinator.remote.over_invoke import InvokeWay
from coordinator.remote.refusals import error_of
from coordinator.service.local import BODY_MAX_BYTES, LocalServer, arn_of
from coordinator.service.sandbox import Busy, Failed, FunctionSpec, Sandboxes
from coordinator.testing import ManualClock
from remote.faces import FUNCTION, lambda_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ALL: Final = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CoordinatorError)
]
URL: Final = "https://abc123.lambda-url.eu-central-1.on.aws/"


# ── answers as errors ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_the_class_that_it_was_with_its_fields(kind: type[errors.CoordinatorError]) -> None:
    there = kind("what was wrong", hint="do this", resource="a", fence=7, facts={"x": [1]})
    body = {"error": kind.__name__, "message": there.message, "hint": there.hint, "fields": there.fields}
    here = error_of(Reply(500, json.loads(packed(body))), "leases/acquire", "a", "there")
    assert type(here) is kind
    assert (here.message, here.hint, here.fields, str(here)) == (there.message, there.hint, there.fields, str(there))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, {"Message": "Forbidden"}, WorkspaceError),
        (404, None, WorkspaceError),
        (302, None, WorkspaceError),
        (413, None, BadRequest),
        (422, {"detail": []}, BadRequest),
        (429, None, StoreUnavailable),
        (500, {"error": "KeyError"}, StoreUnavailable),
        (502, None, StoreUnavailable),
        (503, {"error": "StoreUnavailable", "message": "m", "fields": {"outcome_unknown": False}}, StoreUnavailable),
        (200, [1], WorkspaceError),
        (409, {"error": "Exception", "message": "m"}, BadRequest),
        (409, {"error": "annotations", "fields": {"__class__": "x", "args": 1}}, BadRequest),
    ],
)
def test_what_is_said_by_others_on_the_way_is_an_error_as_well(status: int, body: Any, kind: type[Exception]) -> None:
    error = error_of(Reply(status, body, "a page"), "leases/acquire", "a", "there")
    assert type(error) is kind
    assert str(error)


def test_fields_that_would_damage_the_error_are_left_out() -> None:
    fields = {"__class__": "x", "_private": 1, "args": [], "message": "other", "a b": 1, "holder": "bob"}
    told = {"error": "LeaseHeld", "message": "held", "hint": 5, "fields": fields}
    error = error_of(Reply(409, told), "leases/acquire", "a", "there")
    assert isinstance(error, LeaseHeld)
    assert (error.message, error.fields) == ("held", {"holder": "bob"})
    assert error.hint == LeaseHeld.default_hint


@pytest.mark.parametrize(
    ("given", "found"), [("2", 2000), ("0.5", 500), (None, 0), ("Mon, 1 Jan", 0), ("-3", 0), ("nan", 0)]
)
def test_how_long_to_wait_is_read_from_the_header(given: str | None, found: int) -> None:
    assert reply_of(429, b"", given).retry_after_ms == found


# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Scripted:
    """A connection that does what it is told to, one after the other; the last for ever."""

    place = "nowhere"

    def __init__(self, clock: ManualClock, *does: Reply | NoReply) -> None:
        self._clock, self._does = clock, list(does)
        self.sent: list[tuple[str, dict[str, Any], int]] = []
        self.at_ms: list[int] = []
        self._began = clock.now()

    def send(self, call: str, body: dict[str, Any], timeout_ms: int) -> Reply:
        self.sent.append((call, body, timeout_ms))
        self.at_ms.append(elapsed_max_ms(self._began, self._clock.now()))
        does = self._does.pop(0) if len(self._does) > 1 else self._does[0]
        if isinstance(does, NoReply):
            raise does
        return does

    def close(self) -> None: ...

    def after_fork(self) -> None: ...


OK: Final = Reply(200, {"fine": True})
CUT: Final = NoReply("cut", may_stand=True)
AWAY: Final = NoReply("refused", may_stand=False)


def asked(*does: Reply | NoReply, within_ms: int | None = None) -> tuple[Scripted, Callable[[], dict[str, Any]], Trail]:
    clock = ManualClock()
    way, trail = Scripted(clock, *does), Trail(clock)
    asker = Asker(way, clock, 15_000)
    return way, lambda: asker.ask("a/b", {"op_id": "x"}, resource="r", trail=trail, within_ms=within_ms), trail


def test_it_is_sent_again_just_as_it_was_until_it_is_answered() -> None:
    way, ask, trail = asked(AWAY, CUT, Reply(503, None), Reply(429, None, "", 700), OK)
    assert ask() == {"fine": True}
    assert [(call, body) for call, body, _ in way.sent] == [("a/b", {"op_id": "x"})] * 5
    assert trail.has_gaps
    assert way.at_ms == sorted(way.at_ms)
    assert way.at_ms[4] - way.at_ms[3] >= 700


@pytest.mark.parametrize(
    ("does", "unknown"), [(AWAY, False), (CUT, True), (Reply(502, None), True), (Reply(429, None), False)]
)
def test_patience_has_an_end_and_it_is_told_whether_it_may_have_been_done(does: Reply | NoReply, unknown: bool) -> None:
    way, ask, _ = asked(does)
    with pytest.raises(StoreUnavailable) as gone:
        ask()
    assert gone.value.outcome_unknown is unknown
    assert way.at_ms[-1] <= 15_000
    assert len(way.sent) >= 15_000 / PAUSE_MAX_MS
    assert all(
        timeout_ms <= 15_000 - at_ms or timeout_ms == 100
        for (_, _, timeout_ms), at_ms in zip(way.sent, way.at_ms, strict=True)
    )


def test_one_that_may_have_been_done_is_not_forgotten_for_one_that_was_not() -> None:
    _, ask, _ = asked(CUT, AWAY, within_ms=500)
    with pytest.raises(StoreUnavailable) as gone:
        ask()
    assert gone.value.outcome_unknown


@pytest.mark.parametrize("name", ["LeaseHeld", "BadName", "NoRoom", "LeaseLost", "TableUnusable"])
def test_what_is_decided_is_not_asked_again(name: str) -> None:
    way, ask, _ = asked(Reply(409, {"error": name, "message": "m", "hint": "", "fields": {}}))
    with pytest.raises(getattr(errors, name)):
        ask()
    assert len(way.sent) == 1
    assert issubclass(NoRoom, StoreUnavailable)


def test_a_grant_that_was_over_before_it_was_heard_of_is_asked_for_anew() -> None:
    clock = ManualClock()
    over = {"error": "LeaseLost", "message": "granted to this request, and over since", "fields": {}}
    told = {"name": "a", "agent": "me", "fence": 3, "ttl_ms": 20_000, "until_ms": 120_000, "now_ms": 100_000}
    granted = Reply(200, {**told, "token": "v1.3.aaaaaaaaaaaaaaaaaaaa.a"})
    way = Scripted(clock, CUT, Reply(410, over), granted)
    lease = RemoteWorkspace(agent="me", clock=clock, connection=way).lease("a", ttl=20)
    ids = [body["request_id"] for _, body, _ in way.sent]
    assert ids[0] == ids[1] != ids[2]
    assert (lease.fence, lease.remaining) == (3, 16)  # from the second request's first sending


@pytest.mark.parametrize("body", [{}, {"token": "v1.1.aaaaaaaaaaaaaaaaaaaa.a"}, {"fence": "x"}])
def test_an_answer_that_lacks_what_it_should_tell_is_no_coordinators(body: dict[str, Any]) -> None:
    clock = ManualClock()
    remote = RemoteWorkspace(agent="a", clock=clock, connection=Scripted(clock, Reply(200, body)))
    for call in (
        lambda: remote.lease("a"),
        lambda: remote.document("a").read(),
        lambda: remote.document("a").changes(),
        lambda: remote.document("a").update({}),
        lambda: remote.tasks("a").stats(),
        lambda: remote.tasks("a").claim_next(),
    ):
        with pytest.raises(WorkspaceError, match="version"):
            call()


def test_an_answer_that_is_cut_is_no_content() -> None:
    clock = ManualClock()
    for body in ({"text": "{}"}, {"base64": "!"}, {"base64": "e30="}):
        told = Reply(200, {"revision": 1, "sha256": "0" * 64, **body})
        remote = RemoteWorkspace(agent="a", clock=clock, connection=Scripted(clock, told))
        with pytest.raises(CorruptSnapshot):
            remote.document("a").read()


# ── addresses and signatures ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "localhost:80", "http://a/?x=1", "http://user@host/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadValue):
        RemoteWorkspace(url, agent="a")


@pytest.mark.parametrize(
    "how",
    [{}, {"url": "http://a", "function": "f"}, {"url": "http://a", "sign": True}, {"url": "https://a", "sign": True}],
)
def test_there_is_one_way_and_signing_wants_https_and_a_region(how: dict[str, Any]) -> None:
    with pytest.raises(BadValue):
        RemoteWorkspace(agent="a", **how)
    with pytest.raises(BadName):
        RemoteWorkspace("http://a", agent="no name")


def test_a_request_to_a_function_url_is_signed_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore", reason="botocore is not installed")
    from botocore.credentials import Credentials

    sent: list[tuple[str, dict[str, str]]] = []

    class Kept:
        sock = None

    def exchange(_self: Any, _connection: Any, path: str, _data: bytes, headers: dict[str, str], _ms: int) -> Reply:
        sent.append((path, headers))
        return Reply(200, {})

    monkeypatch.setattr(HttpWay, "_connect", lambda _self, _timeout_ms: Kept())
    monkeypatch.setattr(HttpWay, "_exchange", exchange)
    way = HttpWay(URL, credentials=Credentials("AKIDEXAMPLE", "secret", "session"))
    way.send("leases/inspect", {"name": "a"}, 1000)
    ((path, headers),) = sent
    assert path == "/v1/leases/inspect"
    assert "/eu-central-1/lambda/aws4_request" in headers["Authorization"]
    assert "host;x-amz-date" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "session"
    way.send("leases/inspect", {"name": "b"}, 1000)
    assert sent[0][1]["Authorization"] != sent[1][1]["Authorization"]


def test_without_credentials_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore", reason="botocore is not installed")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(WorkspaceError, match="credentials"):
        RemoteWorkspace(URL, agent="a").status_of("x")


def test_the_import_loads_no_library() -> None:
    opened = "from coordinator.remote import RemoteWorkspace; RemoteWorkspace('http://a', agent='a').document('b')"
    code = f"import sys; {opened}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"boto3", "botocore", "pydantic", "aws_lambda_powertools", "urllib3", "ssl", "orjson", "typer"}


# ── by invocation ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Functions of every kind (handlers.py)."""
    names = {"echo": 60, "hang": 0.4, "hold": 60, "fall": 60}
    specs = [FunctionSpec(name, f"remote.handlers:{name}", {}, 1, limit_s) for name, limit_s in names.items()]
    running = LocalServer(specs)
    running.start()
    yield running
    running.close()


def test_an_invocation_that_fails_or_times_out_may_have_been_carried_out(server: LocalServer) -> None:
    for function in ("fall", "hang"):
        with pytest.raises(NoReply) as none:
            InvokeWay(function, client=lambda_client(server.url)).send("a/b", {}, 1000)
        assert none.value.may_stand
    with pytest.raises(WorkspaceError):
        RemoteWorkspace(function="nobody", client=lambda_client(server.url), agent="a").status_of("x")
    assert InvokeWay("echo", client=lambda_client(server.url)).send("a/b", {}, 1000).status == 404


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


def let_go(pipe: str) -> None:
    """Ends a ``hold``; returns when one has begun."""
    with open(pipe, "w", encoding="utf-8"):
        pass


def test_a_busy_function_refuses(server: LocalServer, pipe: str) -> None:
    with in_thread(lambda: server.invoke("hold", "", {"pipe": pipe})) as outcome:
        wait_until(lambda: not server.functions["hold"]._warm, 10)
        with pytest.raises(Busy):
            server.functions["hold"].invoke(None, "arn")
        assert InvokeWay("hold", client=lambda_client(server.url)).send("a/b", {}, 1000).status == 429
        let_go(pipe)
    assert outcome == [None]


def test_one_that_hangs_or_dies_is_told_and_started_anew(server: LocalServer) -> None:
    with pytest.raises(Failed, match="timed out"):
        server.invoke("hang", "", None)
    for event, told in (("exit", "exited"), (1, "a bug"), (2, "a bug")):
        with pytest.raises(Failed, match=told):
            server.invoke("fall", "", event)
    assert server.invoke("echo", "live", [1])["arn"].endswith(":function:echo:live")


def test_what_is_invoked_asynchronously_waits_until_the_function_is_free(server: LocalServer, pipe: str) -> None:
    client = lambda_client(server.url)
    with in_thread(lambda: server.invoke("hold", "", {"pipe": pipe})):
        wait_until(lambda: not server.functions["hold"]._warm, 10)
        payload = json.dumps({"pipe": f"{pipe}-2"}).encode()
        os.mkfifo(f"{pipe}-2")
        assert client.invoke(FunctionName="hold", InvocationType="Event", Payload=payload)["StatusCode"] == 202
        let_go(pipe)
    let_go(f"{pipe}-2")


def test_a_handler_that_cannot_be_had_is_told() -> None:
    sandboxes = Sandboxes(FunctionSpec("none", "no_such_module:handler", {}, 1, 1.0))
    with pytest.raises(Failed, match="no_such_module"):
        sandboxes.warm()
    sandboxes.close()


def test_the_local_server_takes_http_as_a_function_url_does(server: LocalServer) -> None:
    def post(path: str, body: bytes, method: str = "POST", **headers: str) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        told = answer.status, json.loads(answer.read() or b"null")
        connection.close()
        return told

    status, told = post("/v1/a%20b?x=1", b'{"\xc3\xa4": 1}', x_coordinator_identity="arn:aws:iam::1:role/r")
    event = told["event"]
    assert (status, event["rawPath"], event["rawQueryString"], event["body"]) == (200, "/v1/a b", "x=1", '{"ä": 1}')
    assert event["requestContext"]["authorizer"]["iam"]["userArn"] == "arn:aws:iam::1:role/r"
    assert "x-coordinator-identity" not in event["headers"]
    assert event["requestContext"]["http"]["method"] == "POST"
    _, told = post("/v1/x", b"\xff")
    assert (told["event"]["body"], told["event"]["isBase64Encoded"]) == ("/w==", True)
    assert told["event"]["requestContext"]["authorizer"]["iam"]["userArn"] == arn_of("local")
    assert post("/v1/x", b"", "GET")[1]["event"]["requestContext"]["http"]["method"] == "GET"
    assert post("/v1/x", b"", Content_Length="x")[0] == 411
    assert post("/v1/x", b"", Content_Length=str(BODY_MAX_BYTES + 1))[0] == 413
    assert post("/2015-03-31/functions/echo/invocations", b"{")[0] == 400
    assert post("/2015-03-31/functions/nobody/invocations", b"{}")[0] == 404
    status, told = post("/2015-03-31/functions/arn:aws:lambda:eu-west-1:1:function:echo:live/invocations", b"7")
    assert (status, told["event"], told["arn"][-9:]) == (200, 7, "echo:live")
    assert FUNCTION.startswith("coordinator:")
