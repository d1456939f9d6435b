"""The main template in infra/: what its parts, alarms, dashboard and outputs must be."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest
from template_rules import FUNCTION, Template, nodes, of_type, parse, properties, statements
from template_texts import AGENT, MAIN, ROOT

from coordinator.record.table_item import SCHEMA

METRICS: Final = {
    "CompactionLagSeconds",
    "CompactionLagOperations",
    "FoldMilliseconds",
    "QuarantinedLogs",
    "Conflicts",
    "Steals",
    "FencedCommits",
}


@pytest.fixture
def main() -> Template:
    return parse(MAIN)


# ── what the parts must be ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_is_keyed_as_the_store_has_it(main: Template) -> None:
    (table,) = properties(main, "AWS::DynamoDB::Table").values()
    assert [(one["AttributeName"], one["KeyType"]) for one in table["KeySchema"]] == list(SCHEMA)
    assert {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]} == {
        "pk": "S",
        "sk": "S",
    }


def test_policies_allow_the_calls_that_the_library_makes_and_no_others(main: Template) -> None:
    """By the names of calls and of transactions' parts in the sources: TablePolicy is what they need, exactly."""
    needed = set()
    for source in [*(ROOT / "coordinator" / "record").glob("*.py"), *(ROOT / "coordinator" / "log").glob("*.py")]:
        if source.name == "table_setup.py":  # makes tables and looks at them: a person's, with a person's rights
            continue
        text = source.read_text(encoding="utf-8")
        for call in re.findall(r'"((?:get|put|update|delete)_item|query|scan|batch_\w+)"', text):
            needed.add("dynamodb:" + "".join(word.title() for word in call.split("_")))
        for part in re.findall(r'"(Put|Update|Delete|ConditionCheck)": \{', text):
            needed.add(f"dynamodb:{part}Item")
    for resource in ("TablePolicy", "TableEndpoint"):
        ((_, statement),) = [one for one in statements(main) if one[0] == resource]
        assert set(statement["Action"]) == needed


def test_the_coordinator_is_reached_by_signed_requests_and_has_no_mount(main: Template) -> None:
    function = properties(main, FUNCTION)["CoordinatorFunction"]
    assert function["FunctionUrlConfig"]["AuthType"] == "AWS_IAM"
    assert function["Handler"] == "lambdas.coordinator.handler.handler"
    assert not {"VpcConfig", "FileSystemConfigs", "Events"} & function.keys()
    assert {
        "COORDINATOR_TABLE",
        "COORDINATOR_WORKSPACE",
        "COORDINATOR_COMPACTOR_FUNCTION",
        "COORDINATOR_AGENTS",
    } <= function["Environment"]["Variables"].keys()
    kinds = {one["Type"] for one in main["Resources"].values()}
    assert not {"AWS::Lambda::Permission", "AWS::Lambda::Url"} & kinds  # nobody is let in but by their own policies


def test_the_url_policy_does_not_let_a_caller_write_its_own_identity(main: Template) -> None:
    """Direct invocation takes any event, and with it any signer: CallerPolicy must not allow it."""
    allowed = [statement for name, statement in statements(main) if name == "CallerPolicy"]
    (direct,) = [one for one in allowed if one["Action"] == "lambda:InvokeFunction"]
    assert direct["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    (by_url,) = [one for one in allowed if one["Action"] == "lambda:InvokeFunctionUrl"]
    assert by_url["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}


def test_the_compactor_is_one_on_schedule_with_a_place_for_failures(main: Template) -> None:
    function = properties(main, FUNCTION)["CompactorFunction"]
    assert function["ReservedConcurrentExecutions"] == 1
    assert function["Handler"] == "lambdas.compactor.handler.handler"
    assert "FunctionUrlConfig" not in function
    assert [one["Properties"]["Schedule"] for one in function["Events"].values()] == ["rate(1 minute)"]
    assert function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
    assert function["Environment"]["Variables"]["COORDINATOR_DIRECTORY"] == "/mnt/workspace"


def test_the_compactor_comes_after_its_mount_targets(main: Template) -> None:
    """Lambda refuses a mount whose targets are not there yet."""
    named = json.dumps(properties(main, FUNCTION)["CompactorFunction"]["Tags"])
    targets = [*of_type(main, "AWS::S3Files::MountTarget"), *of_type(main, "AWS::EFS::MountTarget")]
    assert len(targets) == 4
    assert all(one in named for one in targets)


@pytest.mark.parametrize("kind", ["AWS::S3Files::MountTarget", "AWS::EFS::MountTarget"])
def test_mount_targets_are_in_two_subnets_in_two_zones(main: Template, kind: str) -> None:
    subnets = [one["SubnetId"] for one in properties(main, kind).values()]
    assert len(subnets) == len({json.dumps(one) for one in subnets}) == 2
    zones = [one["AvailabilityZone"] for one in properties(main, "AWS::EC2::Subnet").values()]
    assert len({json.dumps(one) for one in zones}) == 2


def test_functions_have_the_architecture_of_the_parameter(main: Template) -> None:
    for function in properties(main, FUNCTION).values():
        assert function["Architectures"] == [{"Ref": "Architecture"}]
    assert main["Parameters"]["Architecture"] == main["Parameters"]["Architecture"] | {
        "Default": "arm64",
        "AllowedValues": ["arm64", "x86_64"],
    }


# ── alarms, dashboard, outputs ───────────────────────────────────────────────────────────────────────────────────────


def test_alarms_watch_what_has_to_be_watched(main: Template) -> None:
    watched = set()
    for alarm in properties(main, "AWS::CloudWatch::Alarm").values():
        for metric in [
            alarm,
            *(one["MetricStat"]["Metric"] for one in alarm.get("Metrics", []) if "MetricStat" in one),
        ]:
            if "MetricName" in metric:
                where = json.dumps([one["Value"] for one in metric["Dimensions"]])
                watched.add(
                    (metric["Namespace"], metric["MetricName"], *re.findall(r"(?i)coordinator|compactor", where))
                )
        assert alarm["AlarmActions"]["Fn::If"][0] == "HasAlarmTopic"
        assert alarm["TreatMissingData"] in {"breaching", "notBreaching"}
    assert watched >= {
        ("coordinator", "CompactionLagSeconds", "compactor"),
        ("coordinator", "QuarantinedLogs", "compactor"),
        ("AWS/Lambda", "Errors", "Coordinator"),
        ("AWS/Lambda", "Errors", "Compactor"),
        ("AWS/Lambda", "Throttles", "Coordinator"),
        ("AWS/Lambda", "Throttles", "Compactor"),
        ("AWS/DynamoDB", "ReadThrottleEvents"),
        ("AWS/DynamoDB", "WriteThrottleEvents"),
        ("AWS/S3/Files", "LostAndFoundFiles"),
        ("AWS/S3/Files", "ExportFailures"),
    }
    assert properties(main, "AWS::CloudWatch::Alarm")["CompactionLagAlarm"]["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("branch", [1, 2], ids=["S3Files", "EFS"])
def test_the_dashboard_is_json_and_shows_every_metric(main: Template, branch: int) -> None:
    body, inner = properties(main, "AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]
    file_system = inner["FileSystemMetrics"]["Fn::If"][branch]["Fn::Sub"][0]
    shown = json.loads(re.sub(r"\$\{[^}]*\}", "x", body.replace("${FileSystemMetrics}", file_system)))
    rows = [row for widget in shown["widgets"] for row in widget["properties"]["metrics"]]
    assert {row[1] for row in rows if row[0] == "coordinator"} == METRICS
    assert all(row[2] == "service" for row in rows if row[0] == "coordinator")  # as alarms, and as Powertools publishes
    assert any(row[0] == ("AWS/S3/Files", "AWS/EFS")[branch - 1] for row in rows)


def test_metrics_have_the_dimension_that_alarms_look_for(main: Template) -> None:
    functions = properties(main, FUNCTION)
    service = functions["CompactorFunction"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
    namespaces = {one["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"] for one in functions.values()}
    own = [one for one in properties(main, "AWS::CloudWatch::Alarm").values() if one.get("Namespace") == "coordinator"]
    assert namespaces == {"coordinator"}
    assert own
    assert all(one["Dimensions"] == [{"Name": "service", "Value": service}] for one in own)


def test_what_the_example_imports_is_exported(main: Template) -> None:
    exported = {one["Export"]["Name"]["Fn::Sub"].split("}-")[1] for one in main["Outputs"].values() if "Export" in one}
    imported = [
        node["Fn::ImportValue"]["Fn::Sub"].split("}-")[1]
        for node in nodes(parse(AGENT))
        if isinstance(node, dict) and "Fn::ImportValue" in node
    ]
    assert set(imported) <= exported
    assert {"CoordinatorUrl", "CoordinatorFunctionArn", "CallerPolicyArn", "TableArn"} <= exported
