"""``table create`` and ``table check``, on an engine that knows every property, and on one that does not."""

from __future__ import annotations

import importlib
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.record import table_setup
from coordinator.record.table_setup import TableFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine

    from .conftest import Answer, Started

KEY = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ],
}
ELSEWHERE = "eu-north-1"
PROPERTIES = ["key", "billing", "deletion protection", "point-in-time recovery", "TTL"]


def client_in(region: str) -> Any:
    return importlib.import_module("boto3").client("dynamodb", region_name=region)


def properties(told: Answer) -> dict[str, Any]:
    return {each["property"]: each for each in told.value["properties"]}


def is_ok(told: Answer) -> dict[str, bool]:
    return {name: each["ok"] for name, each in properties(told).items()}


def test_create_makes_it_as_it_should_be(moto_engine: Engine, start: Callable[..., Started]) -> None:
    told = start("table", "create", "fleet").end()
    assert (told.status, told.err) == (0, "")
    assert told.out.count(" ok ") == 6, told.out
    assert "to mend" not in told.out
    client = moto_engine.client()
    made = client.describe_table(TableName="fleet")["Table"]
    assert made["DeletionProtectionEnabled"] is True
    assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert {one["AttributeName"]: one["KeyType"] for one in made["KeySchema"]} == {"pk": "HASH", "sk": "RANGE"}
    backups = client.describe_continuous_backups(TableName="fleet")["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert client.describe_time_to_live(TableName="fleet")["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED"


def test_create_again_leaves_it_as_it_is(moto_engine: Engine, call: Callable[..., Answer]) -> None:
    assert call("table", "create", "fleet", "--json").value["fit"] is True
    moto_engine.client().put_item(TableName="fleet", Item={"pk": {"S": "a"}, "sk": {"S": "b"}})
    again = call("table", "create", "fleet", "--json")
    assert again.status == 0
    assert (again.value["table"], again.value["status"], again.value["items"]) == ("fleet", "ACTIVE", 1)
    assert call("table", "check", "fleet", "--json").value == again.value


@pytest.mark.parametrize("region", [None, ELSEWHERE])
def test_the_line_that_mends_does(moto_engine: Engine, call: Callable[..., Answer], region: str | None) -> None:
    where = ["--region", region] if region else []
    assert call("table", "create", "fleet", "--no-protection", *where).status == 0
    told = call(*where, "table", "check", "fleet", "--json")
    assert told.status == 0, "unwise, and usable"
    assert told.value["fit"] is False
    assert is_ok(told) == {name: name != "deletion protection" for name in PROPERTIES}
    mend = properties(told)["deletion protection"]["mend"]
    line = ["aws", "dynamodb", "update-table", "--table-name", "fleet", "--deletion-protection-enabled", *where]
    assert shlex.split(mend) == line
    assert f"to mend deletion protection: {mend}\n" in call("table", "check", "fleet", *where).out
    client_in(region or moto_engine.region).update_table(TableName="fleet", DeletionProtectionEnabled=True)
    assert call("table", "check", "fleet", *where, "--json").value["fit"] is True


def test_check_tells_each_thing_that_is_unwise(moto_engine: Engine, call: Callable[..., Answer]) -> None:
    client = moto_engine.client()
    client.create_table(TableName="old", ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}, **KEY)
    client.update_time_to_live(TableName="old", TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends at"})
    told = call("table", "check", "old", "--json")
    assert told.status == 0
    assert is_ok(told) == {name: name == "key" for name in PROPERTIES}
    mends = {name: shlex.split(each["mend"])[2:] for name, each in properties(told).items() if each["mend"]}
    assert mends == {
        "billing": ["update-table", "--table-name", "old", "--billing-mode", "PAY_PER_REQUEST"],
        "deletion protection": ["update-table", "--table-name", "old", "--deletion-protection-enabled"],
        "point-in-time recovery": [
            "update-continuous-backups",
            "--table-name",
            "old",
            "--point-in-time-recovery-specification",
            "PointInTimeRecoveryEnabled=true",
        ],
        "TTL": [
            "update-time-to-live",
            "--table-name",
            "old",
            "--time-to-live-specification",
            "Enabled=false,AttributeName=ends at",
        ],
    }
    client.update_table(TableName="old", BillingMode="PAY_PER_REQUEST", DeletionProtectionEnabled=True)
    client.update_continuous_backups(
        TableName="old", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    client.update_time_to_live(TableName="old", TimeToLiveSpecification={"Enabled": False, "AttributeName": "ends at"})
    assert call("table", "check", "old", "--json").value["fit"] is True


@pytest.mark.parametrize("command", ["create", "check"])
def test_a_table_of_another_shape(moto_engine: Engine, call: Callable[..., Answer], command: str) -> None:
    shape = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
    }
    moto_engine.client().create_table(TableName="orders", BillingMode="PAY_PER_REQUEST", **shape)
    told = call("table", command, "orders", "--json")
    assert (told.status, told.out, told.error["error"]) == (78, "", "TableUnusable")
    assert "its key is id (N, HASH); it has to be pk (S, HASH), sk (S, RANGE)" in told.error["message"]
    assert "coordinator table create" in told.error["hint"]


@pytest.mark.usefixtures("moto_engine")
def test_a_table_that_is_not_there_or_elsewhere(call: Callable[..., Answer]) -> None:
    told = call("table", "check", "fleet", "--json")
    assert (told.status, told.error["error"]) == (78, "TableUnusable")
    assert "coordinator table create fleet" in told.error["hint"]
    assert call("table", "create", "fleet", "--region", ELSEWHERE).status == 0
    assert call("table", "check", "fleet").status == 78
    assert call("table", "check", "fleet", f"--region={ELSEWHERE}").status == 0
    assert client_in(ELSEWHERE).list_tables()["TableNames"] == ["fleet"]


def test_an_engine_that_cannot_tell(dynamodb: Engine, call: Callable[..., Answer]) -> None:
    told = call("table", "create", "fleet", "--json")
    assert told.status == 0
    assert dynamodb.client().list_tables()["TableNames"] == ["fleet"]
    unknown = properties(told)["point-in-time recovery"]
    assert (unknown["ok"], unknown["mend"]) == (False, "")
    assert "cannot be told (dynamodb:DescribeContinuousBackups)" in unknown["told"]


@pytest.mark.parametrize(("status", "exit_status"), [("UPDATING", 0), ("CREATING", 78), ("DELETING", 78)])
def test_a_table_that_is_not_ready(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, status: str, exit_status: int
) -> None:
    monkeypatch.setattr(table_setup, "check_table", lambda calls: TableFacts(calls.table, status, (), (), 0))
    told = call("table", "check", "fleet")
    assert told.status == exit_status
    assert status in told.out
    assert ("aws dynamodb wait table-exists" in told.err) == (exit_status != 0)
