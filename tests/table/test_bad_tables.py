"""A table that is not there, not ours, not allowed or not whole: each error says what to do, and nothing is changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines.faults import EXPIRED, PASS, Denied, Script, error
from support import a_free_record, wait_until
from table_support import ID, NAME, RESOURCE, Table

from coordinator import Workspace
from coordinator.errors import (
    BadValue,
    CoordinatorError,
    CorruptRecord,
    LeaseLost,
    NewerFormat,
    NotAWorkspace,
    StoreUnavailable,
    TableUnusable,
)
from coordinator.limits import TABLE_BUDGET_MS
from coordinator.record.record import encode
from coordinator.record.table_item import pack
from coordinator.record.table_setup import check_table
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from engines import Engine
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy

ITEM: Final = f"record/{RESOURCE.state_path}"


@pytest.fixture(params=["dynamodb", "moto_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Either engine, empty."""
    chosen: Engine = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def table(dynamodb: Engine) -> Table:
    return Table.made(dynamodb)


@pytest.fixture
def used(table: Table) -> Table:
    """A lease was acquired and released there, and another one is held."""
    workspace = table.open()
    with workspace.lease(NAME):
        pass
    workspace.lease("held", ttl=600)
    return table


@pytest.fixture
def way(table: Table, fault_proxy: ProxyFactory) -> FaultProxy:
    """A proxy, whose plan says what the table answers."""
    return fault_proxy(table.engine)


def answering(fault: Fault) -> Callable[..., Fault]:
    return lambda _number, _operation, _body: fault


def unusable(refused: pytest.ExceptionInfo[TableUnusable], table: str, cause: str, hint: str) -> None:
    """The error names the table, what the service said, and what to do."""
    assert refused.value.table == table
    assert re.search(cause, refused.value.cause), refused.value
    assert re.search(hint, refused.value.hint), refused.value
    assert repr(table) in refused.value.message
    assert refused.value.cause in str(refused.value)


# ── not there, or not ours ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_table(engine: Engine) -> None:
    for attempt in (Workspace, Workspace.init):
        with pytest.raises(TableUnusable) as refused:
            attempt(table="nowhere", workspace=ID)
        unusable(refused, "nowhere", "^ResourceNotFound", "is the region right.*coordinator table create nowhere")
        assert f"in region {engine.region}" in refused.value.message
    assert engine.client().list_tables()["TableNames"] == []


def test_the_wrong_region(engine: Engine) -> None:
    table = Table.made(engine)
    with table.unchanged(), pytest.raises(TableUnusable) as refused:
        Workspace(table=table.name, workspace=ID, region="us-west-2")
    unusable(refused, table.name, "^ResourceNotFound", "is the region right")
    assert "in region us-west-2" in refused.value.message


SHAPES: Final = {
    "one key": [("pk", "HASH", "S")],
    "other names": [("id", "HASH", "S"), ("sk", "RANGE", "S")],
    "numbers": [("pk", "HASH", "S"), ("sk", "RANGE", "N")],
    "bytes": [("pk", "HASH", "B"), ("sk", "RANGE", "S")],
    "the other way round": [("sk", "HASH", "S"), ("pk", "RANGE", "S")],
}


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "the other way round"])
def test_a_table_of_another_shape(engine: Engine, shape: str) -> None:
    if engine.name == "moto" and shape in {"numbers", "bytes"}:
        pytest.skip("moto looks for a key of another type, where AWS and DynamoDB Local refuse it")
    table = make_table(engine, shape)
    for attempt in (Workspace, Workspace.init):
        with table.unchanged(), pytest.raises(TableUnusable) as refused:
            attempt(table=table.name, workspace=ID)
        unusable(refused, table.name, "^ValidationException", f"coordinator table check {table.name}")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_check_says_what_the_shape_is(engine: Engine, shape: str) -> None:
    table = make_table(engine, shape)
    with pytest.raises(TableUnusable) as refused:
        check_table(table.calls())
    shown = ", ".join(f"{name} ({kind}, {role})" for name, role, kind in SHAPES[shape])
    unusable(refused, table.name, re.escape(f"its key is {shown}; it has to be pk (S, HASH), sk (S, RANGE)"), "create")


def make_table(engine: Engine, shape: str) -> Table:
    engine.client().create_table(
        TableName="other",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": role} for name, role, _ in SHAPES[shape]],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, _, kind in SHAPES[shape]],
    )
    return Table(engine, "other")


@pytest.mark.parametrize("name", ["", "a b", "ab", "a/b", "x" * 300, "arn:aws:dynamodb", "arn:aws:dynamodb:eu-north-1"])
def test_a_name_that_no_table_has(dynamodb: Engine, name: str) -> None:
    with pytest.raises((TableUnusable, BadValue)) as refused:
        Workspace(table=name, workspace=ID)
    assert name in str(refused.value)
    assert dynamodb.client().list_tables()["TableNames"] == []


def test_a_workspace_that_the_table_does_not_know(table: Table) -> None:
    with table.unchanged(), pytest.raises(NotAWorkspace, match=r"knows no workspace 'flete' .*coordinator status"):
        Workspace(table=table.name, workspace="flete", client=table.engine.client)


# ── not allowed ──────────────────────────────────────────────────────────────────────────────────────────────────────


def without(*variables: str, **others: str) -> dict[str, str]:
    return dict.fromkeys(variables, "") | others


KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    ("variables", "cause", "hint"),
    [
        (without(*KEYS), "^NoCredentialsError", "AWS_PROFILE.*AWS_ACCESS_KEY_ID.*role"),
        (without(KEYS[1]), "^PartialCredentialsError", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"),
        (without(AWS_PROFILE="nobody"), "^ProfileNotFound.*nobody", "AWS_PROFILE names a profile that is not in"),
        (without("AWS_REGION", "AWS_DEFAULT_REGION"), "^NoRegionError", "AWS_REGION=…, or Workspace"),
        (without(AWS_DEFAULT_REGION="eu west"), "^InvalidRegionError", "eu-west-1"),
    ],
)
def test_an_environment_that_lacks_something(
    table: Table, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cause: str, hint: str
) -> None:
    with table.unchanged(), monkeypatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value) if value else patch.delenv(variable)
        with pytest.raises(TableUnusable) as refused:
            Workspace(table=table.name, workspace=ID)
    unusable(refused, table.name, cause, hint)


def of_credentials(code: str, message: str) -> Fault:
    return error(400, code, message, "com.amazon.coral.service")


CREDENTIALS: Final = [
    EXPIRED,
    of_credentials("UnrecognizedClientException", "The security token included in the request is invalid."),
    of_credentials(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
    ),
    of_credentials("MissingAuthenticationTokenException", "Request is missing Authentication Token"),
]


@pytest.mark.parametrize("fault", CREDENTIALS, ids=lambda fault: fault.name)
def test_credentials_that_are_refused(table: Table, way: FaultProxy, fault: Fault) -> None:
    workspace = table.open(through=table.engine.at(way.endpoint_url))
    lease = workspace.lease(NAME)
    way.plan = answering(fault)
    attempts: list[Callable[[], Any]] = [
        lambda: table.open(through=table.engine.at(way.endpoint_url)),
        lambda: workspace.lease("another"),
        lease.check,
        lease.renew,
        lease.release,
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(TableUnusable) as refused:
                attempt()
            unusable(refused, table.name, f"^{fault.name}: ", "credentials are wrong or have expired")
    way.plan = answering(PASS)
    lease.release()


def test_a_host_whose_clock_is_wrong_is_told_so(table: Table, way: FaultProxy) -> None:
    way.plan = answering(
        of_credentials(
            "InvalidSignatureException",
            "Signature expired: 20261123T120000Z is now earlier than 20261123T123500Z (20261123T124000Z - 5 min.)",
        )
    )
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    unusable(refused, table.name, "Signature expired", "clock")


def test_the_bodys_own_error_comes_out_when_the_lease_cannot_be_released(table: Table, way: FaultProxy) -> None:
    workspace = table.open(through=table.engine.at(way.endpoint_url))

    def fail_under(held: AbstractContextManager[object]) -> None:
        with held:
            way.plan = answering(EXPIRED)
            raise ZeroDivisionError

    for acquire in (lambda: workspace.lease(NAME), lambda: workspace.lease_many(["a", "b"])):
        way.plan = answering(PASS)
        held = acquire()
        with pytest.raises(ZeroDivisionError):
            fail_under(held)


def test_of_several_leases_each_is_tried_to_be_released(table: Table, way: FaultProxy) -> None:
    held = table.open(through=table.engine.at(way.endpoint_url)).lease_many(["a", "b", "c"])
    way.plan = Script("UpdateItem", [EXPIRED])

    def leave() -> None:
        with held:
            pass

    with pytest.raises(TableUnusable):
        leave()
    assert [status.resource for status in table.open().status() if status.holder] == ["c"]


def test_renewing_in_the_background_outlives_credentials_that_come_back(table: Table, way: FaultProxy) -> None:
    """They are rotated: what one request was refused for, a later one has."""
    workspace = table.open(through=table.engine.at(way.endpoint_url))
    lost: list[LeaseLost] = []
    with workspace.lease(NAME, ttl=2, renew_in_background=True, on_lost=lost.append) as lease:
        before = lease._record.n
        way.plan = answering(EXPIRED)
        wait_until(lambda: way.counts[EXPIRED.name] >= 1)
        way.plan = answering(PASS)
        wait_until(lambda: lease._record.n > before or bool(lost), 5)
        assert lost == []


def policy_line(refused: TableUnusable) -> dict[str, str]:
    prefix, _, line = refused.hint.partition(": ")
    assert prefix == "add to the policy"
    parsed: dict[str, str] = json.loads(line)
    return parsed


ALLOWED_BUT: Final[dict[str, list[tuple[str, Callable[[Table, Engine], object]]]]] = {
    "GetItem": [
        ("opening it", lambda table, by: table.open(through=by)),
        ("reading", lambda table, by: table.store(through=by).read(RESOURCE)),
    ],
    "PutItem": [
        ("making a workspace", lambda table, by: init(table, by, "another")),
        ("archiving", lambda table, by: table.store(through=by).archive.put(RESOURCE, 0, ["a"], 1)),
    ],
    "UpdateItem": [
        ("leasing", lambda table, by: table.open(through=by).lease(NAME)),
        ("leasing what is new", lambda table, by: table.open(through=by).lease("new")),
        ("leasing several", lambda table, by: table.open(through=by).lease_many([NAME, "new"])),
    ],
    "ConditionCheckItem": [("leasing what is new", lambda table, by: table.open(through=by).lease("new"))],
    "Query": [
        ("history", lambda table, by: table.open(through=by).history(NAME)),
        ("status", lambda table, by: table.open(through=by).status()),
    ],
    "DescribeTable": [("table check", lambda table, by: check_table(table.calls(by)))],
}


def init(table: Table, by: Engine, workspace: str) -> Workspace:
    return Workspace.init(table=table.name, workspace=workspace, client=by.client)


@pytest.mark.parametrize(
    ("action", "attempt"),
    [(action, attempt) for action, attempts in ALLOWED_BUT.items() for _, attempt in attempts],
    ids=[f"{action}-{about}" for action, attempts in ALLOWED_BUT.items() for about, _ in attempts],
)
def test_one_action_that_is_not_allowed(
    used: Table, way: FaultProxy, action: str, attempt: Callable[[Table, Engine], object]
) -> None:
    way.plan = Denied(frozenset({action}))
    with used.unchanged(), pytest.raises(TableUnusable) as refused:
        attempt(used, used.engine.at(way.endpoint_url))
    unusable(refused, used.name, "^AccessDeniedException: User: arn:aws:sts::.* is not authorized", "add to the policy")
    assert policy_line(refused.value) == {
        "Effect": "Allow",
        "Action": f"dynamodb:{action}",
        "Resource": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{used.name}",
    }


WHO: Final = "User: arn:aws:sts::123456789012:assumed-role/agent/session is not authorized to perform: "
WHAT: Final = "dynamodb:GetItem on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/fleet "


@pytest.mark.parametrize(
    "because",
    [
        "with an explicit deny in an identity-based policy",
        "with an explicit deny in a service control policy",
        "because no service control policy allows the dynamodb:GetItem action",
        "because no VPC endpoint policy allows the dynamodb:GetItem action",
        "because no permissions boundary allows the dynamodb:GetItem action",
    ],
)
def test_a_line_in_the_roles_policy_is_not_advised_where_it_does_not_help(
    table: Table, way: FaultProxy, because: str
) -> None:
    way.plan = answering(error(400, "AccessDeniedException", WHO + WHAT + because, "com.amazon.coral.service"))
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    unusable(refused, table.name, because, re.search(r"(\S+ \S+) policy|boundary", because)[0])  # type: ignore[index]
    assert not refused.value.hint.startswith("add to the policy: ")


def test_a_key_that_may_not_be_used_is_what_is_advised(table: Table, way: FaultProxy) -> None:
    key = "kms:Decrypt on resource: arn:aws:kms:eu-central-1:123456789012:key/1234abcd "
    because = "because no identity-based policy allows the kms:Decrypt action"
    way.plan = answering(error(400, "AccessDeniedException", WHO + key + because, "com.amazon.coral.service"))
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    assert policy_line(refused.value) == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd",
    }


# ── not whole ────────────────────────────────────────────────────────────────────────────────────────────────────────

RECORD: Final = a_free_record(9, 9)
PAST: Final = [encode(a_free_record(n, n)) for n in range(1, 9)]
WHOLE: Final = pack(PAST)

ALTERED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "n is missing": ({"n": None}, "n"),
    "record is missing": ({"record": None}, "record"),
    "past is missing": ({"past": None}, "past"),
    "n is a text": ({"n": {"S": "9"}}, "n"),
    "n is null": ({"n": {"NULL": True}}, "n"),
    "record is a number": ({"record": {"N": "9"}}, "record"),
    "record is bytes": ({"record": {"B": b"v=1"}}, "record"),
    "past is a text": ({"past": {"S": "v=1"}}, "past"),
    "past is a list": ({"past": {"L": []}}, "past"),
    "past is cut": ({"past": {"B": WHOLE[:-9]}}, "past"),
    "past is not packed": ({"past": {"B": "\n".join(PAST).encode()}}, "past"),
    "past is no text": ({"past": {"B": zlib.compress(b"\xff\xfe")}}, "past"),
    "past unpacks to more than there is": ({"past": {"B": zlib.compress(b"x" * (5 << 20))}}, "past"),
    "past holds too many": ({"past": {"B": pack([*PAST, PAST[0]])}}, "past"),
    "n is ahead": ({"n": {"N": "10"}}, "n"),
    "n is behind": ({"n": {"N": "8"}}, "n"),
    "record is empty of sense": ({"record": {"S": "hello"}}, "crc"),
    "record was edited": ({"record": {"S": encode(RECORD).replace("kind=release", "kind=renew")}}, "crc"),
}


@pytest.mark.parametrize(("attributes", "where"), ALTERED.values(), ids=ALTERED)
def test_an_item_altered_by_hand(table: Table, attributes: dict[str, Any], where: str) -> None:
    table.put(RECORD, PAST)
    table.alter(ITEM, **attributes)
    workspace = table.open()
    attempts: list[Callable[[], Any]] = [
        lambda: workspace.lease(NAME),
        lambda: workspace.lease_many([NAME, "other"]),
        lambda: workspace.status_of(NAME),
        lambda: workspace.history(NAME),
        lambda: workspace.request_release(NAME),
        lambda: workspace.break_lease(NAME, fence=9),
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(CorruptRecord) as damage:
                attempt()
            assert (damage.value.resource, damage.value.where) == (NAME, where)
            assert ITEM in damage.value.path
            assert ITEM in damage.value.message
            assert "point-in-time recovery" in damage.value.hint
        (shown,) = workspace.status()
        assert "damaged" in str(shown), shown


@pytest.mark.parametrize("n", [None, {"S": "2"}, {"N": "1"}, {"N": "3"}])
def test_an_altered_n_is_noticed_by_who_remembers_the_record(table: Table, n: Any) -> None:
    workspace = table.open()
    with workspace.lease(NAME):
        pass
    table.alter(ITEM, n=n)
    with table.unchanged(), pytest.raises(CorruptRecord):
        workspace.lease(NAME)


def test_one_altered_record_of_the_past(table: Table) -> None:
    lines = [*PAST]
    lines[3] = lines[3].replace("agent", "egant").replace("by=a", "by=b")
    table.put(RECORD, lines)
    workspace = table.open()
    with table.unchanged(), pytest.raises(CorruptRecord) as damage:
        workspace.history(NAME)
    assert damage.value.where == "crc"
    with workspace.lease(NAME) as lease:  # the newest is whole: nobody has to stop for history's sake
        assert lease.fence == 10


def newer(record: str) -> str:
    """The same record as a version would write it that has one more field."""
    body = record.rpartition("/crc=")[0].replace("v=1/", "v=2/")
    return f"{body}/crc={zlib.crc32(body.encode()):08x}"


def test_an_item_of_a_newer_version(table: Table) -> None:
    table.put(RECORD, PAST)
    table.alter(ITEM, record={"S": newer(encode(RECORD))})
    workspace = table.open()
    attempts: list[Callable[[], Any]] = [
        lambda: workspace.lease(NAME),
        lambda: workspace.lease_many([NAME, "other"]),
        lambda: workspace.history(NAME),
        lambda: workspace.break_lease(NAME, fence=9),
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(NewerFormat, match="upgrade agent-coordinator") as refused:
                attempt()
            assert (refused.value.needs, refused.value.have) == (2, 1)
            assert ITEM in str(refused.value)


def test_a_newer_version_came_while_the_lease_was_held(table: Table) -> None:
    workspace = table.open()
    lease = workspace.lease(NAME, ttl=60)
    item = table.items()[ITEM]
    record = newer(item["record"]["S"].replace("/n=1/", "/n=2/"))
    table.alter(ITEM, n={"N": "2"}, record={"S": record})
    with table.unchanged():
        for attempt in (lease.check, lease.renew, lease.release):
            with pytest.raises(NewerFormat):
                attempt()


def test_an_item_that_has_no_room_left(table: Table) -> None:
    """Its past was not archived for thousands of records, say because that was not allowed."""
    table.put(RECORD, PAST)
    item = table.items()[ITEM]
    used = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
    table.alter(ITEM, filling={"S": "x" * (400 * 1024 - used - len("filling") - 20)})
    workspace = table.open()
    with table.unchanged():
        for attempt in (lambda: workspace.lease(NAME), lambda: workspace.lease_many([NAME, "other"])):
            with pytest.raises(BadValue, match=r"Item size.*nothing was changed"):
                attempt()


AUTHORITY: Final[dict[str, dict[str, Any]]] = {
    **{f"{name} is missing": {name: None} for name in ("mode", "epoch", "born", "directory", "by", "at_ms")},
    "mode is unknown": {"mode": {"S": "moon"}},
    "born is unknown": {"born": {"S": "moon"}},
    "mode is a number": {"mode": {"N": "1"}},
    "epoch is a text": {"epoch": {"S": "1"}},
    "epoch is 0": {"epoch": {"N": "0"}},
    "epoch is half": {"epoch": {"N": "1.5"}},
}


@pytest.mark.parametrize("attributes", AUTHORITY.values(), ids=AUTHORITY)
def test_the_item_that_tells_who_rules_was_altered(table: Table, attributes: dict[str, Any]) -> None:
    table.alter("workspace", **attributes)
    attempts: list[Callable[[], Any]] = [table.open, lambda: init(table, table.engine, ID)]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(CorruptRecord, match="restore it from a backup") as damage:
                attempt()
            assert damage.value.path == "item workspace"


# ── another's ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fallback", [None, "table"])
def test_a_copied_directory_is_refused_by_the_firsts_table(dynamodb: Engine, tmp_path: Path, fallback: Any) -> None:
    table = Table.made(dynamodb)
    first, copy, moved = (str(tmp_path / name) for name in ("first", "copy", "moved"))
    os.mkdir(first)
    original = Workspace.init(first, table=table.name, fallback=fallback, agent="alice")
    with original.lease(NAME):
        pass
    shutil.copytree(first, copy, symlinks=True)
    with table.unchanged(), pytest.raises(TableUnusable) as refused:
        Workspace(copy, table=table.name, fallback=fallback)
    assert "coordinator authority adopt --new-id" in refused.value.hint
    assert f"this one is inode {os.stat(f'{copy}/.coordinator').st_ino}" in refused.value.message
    assert original.format.workspace_id in refused.value.message
    assert "registered by alice" in refused.value.message
    os.rename(first, moved)
    with Workspace(moved, table=table.name, fallback=fallback).lease(NAME):
        pass  # a directory that was only moved is the same one


# ── out of reach ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_boto3_it_says_what_to_install(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["botocore"] = None
from coordinator import Workspace
from coordinator.errors import TableUnusable
try:
    Workspace(table="t", workspace="w")
except TableUnusable as error:
    print(error.table, "|", error.cause, "|", error)
with Workspace.init(sys.argv[1]).lease("a"):
    print("the mount needs none of it")
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, mount = done.stdout.splitlines()
    assert told.startswith("t | No module named 'botocore.config'")
    assert told.endswith("(pip install 'agent-coordinator[aws]')")
    assert mount == "the mount needs none of it"


@pytest.fixture
def nowhere(dynamodb: Engine) -> Iterator[Engine]:
    """An address at which nobody listens."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield dynamodb.at(f"http://127.0.0.1:{kept.getsockname()[1]}")


def test_an_endpoint_that_cannot_be_reached(nowhere: Engine) -> None:
    clock = ManualClock()
    began = clock.wall_ms()
    with pytest.raises(StoreUnavailable) as refused:
        Workspace(table="fleet", workspace=ID, client=nowhere.client, clock=clock)
    assert refused.value.cause.startswith("EndpointConnectionError: ")
    assert refused.value.outcome_unknown is False
    assert "'eu-central-1' the right region" in refused.value.hint
    assert "VPC" in refused.value.hint
    assert TABLE_BUDGET_MS / 2 < clock.wall_ms() - began <= TABLE_BUDGET_MS


def test_it_goes_out_of_reach_under_a_lease(table: Table, fault_proxy: ProxyFactory) -> None:
    proxy, clock = fault_proxy(table.engine), ManualClock()
    workspace = table.open(through=table.engine.at(proxy.endpoint_url), clock=clock)
    lease = workspace.lease(NAME, ttl=20)
    proxy.close()
    for attempt in (lease.check, lease.renew):
        with table.unchanged(), pytest.raises(StoreUnavailable, match="right region"):
            attempt()
        clock.advance(-TABLE_BUDGET_MS)
    with pytest.raises(CoordinatorError) as refused:
        table.open(through=table.engine.at(proxy.endpoint_url), clock=clock)
    assert isinstance(refused.value, StoreUnavailable)
