"""A table that is not there, not ours or out of reach: each error says what to do, and nothing is changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from table_support import ID, NAME, Table, unusable

from coordinator import Workspace
from coordinator.errors import BadValue, CoordinatorError, NotAWorkspace, StoreUnavailable, TableUnusable
from coordinator.limits import TABLE_BUDGET_MS
from coordinator.record.table_setup import check_table
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines import Engine
    from engines.fixtures import ProxyFactory


@pytest.fixture(params=["dynamodb", "moto_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Either engine, empty."""
    chosen: Engine = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def table(dynamodb: Engine) -> Table:
    return Table.made(dynamodb)


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
