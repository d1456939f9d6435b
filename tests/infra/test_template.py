"""The templates in infra/: linted in all their variants, and held to the rules in template_rules.py.

Every rule is also held against a copy that breaks it: a rule that finds nothing there is none.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sam_expand import expand
from template_rules import (
    FUNCTION,
    Template,
    branches,
    findings,
    nodes,
    of_type,
    parse,
    properties,
    statements,
    wildcards_that_are_gone,
)

from coordinator.record.table_item import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parents[2]
MAIN: Final = (ROOT / "infra" / "template.yaml").read_text(encoding="utf-8")
AGENT: Final = (ROOT / "infra" / "examples" / "agent" / "template.yaml").read_text(encoding="utf-8")
METRICS: Final = {
    "CompactionLagSeconds",
    "CompactionLagOperations",
    "FoldMilliseconds",
    "QuarantinedLogs",
    "Conflicts",
    "Steals",
    "FencedCommits",
}
# Everything that cfn-lint has, also what only informs, but for these. (--ignore-checks would undo the template's own.)
LINT: Final = ("--regions", "eu-west-1", "--include-checks", "I", "--format", "json")
EXPLAINED: Final = {"I4010": "wants an essay on every resource, for language models; comments here are for people"}


@pytest.fixture
def main() -> Template:
    return parse(MAIN)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", [MAIN, AGENT], ids=["main", "agent"])
def test_the_templates_keep_all_rules(text: str) -> None:
    assert findings(parse(text)) == []


def test_every_exception_from_the_rules_is_needed(main: Template) -> None:
    assert list(wildcards_that_are_gone(main)) == []


def _add(kind: str, **given: Any) -> Callable[[Template], None]:
    def change(template: Template) -> None:
        template["Resources"]["Added"] = {"Type": kind, "Properties": given}

    return change


def _set(path: str, value: Any) -> Callable[[Template], None]:
    """Sets what stands at ``A/b/0/c`` in Resources; None takes it away."""

    def change(template: Template) -> None:
        at: Any = template["Resources"]
        *way, last = path.split("/")
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        if value is None:
            at.pop(int(last) if isinstance(at, list) else last)
        else:
            at[last] = value

    return change


def _allow(*actions: str, resource: Any = "*", **condition: Any) -> Callable[[Template], None]:
    statement = {"Sid": "Added", "Effect": "Allow", "Action": list(actions), "Resource": resource}
    if condition:
        statement["Condition"] = condition["condition"]

    def change(template: Template) -> None:
        role = template["Resources"]["CoordinatorRole"]["Properties"]
        role["Policies"][0]["PolicyDocument"]["Statement"].append(statement)

    return change


def _without_sid(path: str, sid: str) -> Callable[[Template], None]:
    """Takes a statement away from a policy document at a path."""

    def change(template: Template) -> None:
        at: Any = template["Resources"]
        for step in path.split("/"):
            at = at[step]
        kept = [one for one in at["Statement"] if sid not in {end["Sid"] for end in branches(one)}]
        assert len(kept) < len(at["Statement"])
        at["Statement"] = kept

    return change


TABLE: Final = "arn:aws:dynamodb:eu-west-1:111122223333:table/t"
BROKEN: Final[list[tuple[str, Callable[[Template], None]]]] = [
    ("ways_out: Added is a way out", _add("AWS::EC2::NatGateway", SubnetId={"Ref": "IsolatedSubnetA"})),
    ("ways_out: Added is a way out", _add("AWS::EC2::InternetGateway")),
    ("ways_out: Added is a way out", _add("AWS::EC2::Route", DestinationCidrBlock="0.0.0.0/0")),
    ("ways_out: IsolatedSubnetA gives", _set("IsolatedSubnetA/Properties/MapPublicIpOnLaunch", True)),
    ("security_groups: ClientsToMount", _set("ClientsToMount/Properties/FromPort", 0)),
    ("security_groups: ClientSecurityGroup has no", _set("ClientSecurityGroup/Properties/SecurityGroupEgress", None)),
    (
        "security_groups: MountSecurityGroup lets through",
        _set("MountSecurityGroup/Properties/SecurityGroupIngress/0/SourceSecurityGroupId", None),
    ),
    (
        "security_groups: MountSecurityGroup lets through",
        _set("MountSecurityGroup/Properties/SecurityGroupEgress/0/CidrIp", "0.0.0.0/0"),
    ),
    ("wildcards: CoordinatorRole/Added allows on", _allow("s3:GetObject")),
    (
        "wildcards: CoordinatorRole/Added allows on",
        _allow("s3:GetObject", resource={"Fn::Sub": "arn:${AWS::Partition}:s3:::*"}),
    ),
    ("wildcards: CoordinatorRole/Added allows lambda:*", _allow("lambda:*", resource={"Ref": "CompactorFunction"})),
    (
        "managed_by_aws: CompactorRole has the policy",
        _set("CompactorRole/Properties/ManagedPolicyArns", ["arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccess"]),
    ),
    ("managed_by_aws: CoordinatorFunction: SAM", _set("CoordinatorFunction/Properties/Role", None)),
    ("keys_of_the_table: CoordinatorRole/Added is not", _allow("dynamodb:GetItem", resource=TABLE)),
    (
        "keys_of_the_table: CoordinatorRole/Added allows more",
        _allow(
            "dynamodb:Scan",
            resource=TABLE,
            condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["main"]}},
        ),
    ),
    (
        "access_points: CoordinatorRole/Added lets mount by any",
        _allow("s3files:ClientMount", resource={"Fn::GetAtt": ["S3FileSystem", "FileSystemArn"]}),
    ),
    (
        "access_points: S3FileSystemPolicy lacks NoOtherAccessPoint",
        _without_sid("S3FileSystemPolicy/Properties/Policy", "NoOtherAccessPoint"),
    ),
    (
        "access_points: EfsFileSystem lacks NobodyIsRoot",
        _without_sid("EfsFileSystem/Properties/FileSystemPolicy", "NobodyIsRoot"),
    ),
    ("access_points: a file system has no policy", _set("S3FileSystemPolicy", None)),
    ("users: AWS::S3Files::AccessPoint: users", _set("S3AgentAccessPoint/Properties/PosixUser/Uid", "1001")),
    ("users: AWS::EFS::AccessPoint: groups", _set("EfsAgentAccessPoint/Properties/PosixUser/Gid", "1002")),
    ("users: S3AgentAccessPoint", _set("S3AgentAccessPoint/Properties/RootDirectory/Path", "/")),
    ("logs: CoordinatorFunction has no", _set("CoordinatorFunction/Properties/LoggingConfig", None)),
    ("logs: CompactorFunction: CompactorLogs keeps", _set("CompactorLogs/Properties/RetentionInDays", None)),
    (
        "mounts: CompactorFunction has a mount, and Snap",
        _set("CompactorFunction/Properties/SnapStart", {"ApplyOn": "x"}),
    ),
    ("mounts: CompactorFunction has a mount, and no VPC", _set("CompactorFunction/Properties/VpcConfig", None)),
    (
        "mounts: CompactorFunction: DirectS3Read",
        _set("CompactorFunction/Properties/FileSystemConfigs/0/Fn::If/1/S3FilesConfig", None),
    ),
    ("retained: Table: DeletionPolicy", _set("Table/DeletionPolicy", None)),
    ("retained: S3FileSystem: UpdateReplacePolicy", _set("S3FileSystem/UpdateReplacePolicy", "Delete")),
    ("tables: Table has no point", _set("Table/Properties/PointInTimeRecoverySpecification", None)),
    ("tables: Table has no deletion", _set("Table/Properties/DeletionProtectionEnabled", False)),
    (
        "tables: Table has a TTL",
        _set("Table/Properties/TimeToLiveSpecification", {"AttributeName": "until", "Enabled": True}),
    ),
    ("buckets: Bucket is not versioned", _set("Bucket/Properties/VersioningConfiguration", None)),
    (
        "buckets: Bucket keeps",
        _set("Bucket/Properties/LifecycleConfiguration/Rules/0/NoncurrentVersionExpiration", None),
    ),
    (
        "buckets: Bucket is not closed",
        _set("Bucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy", False),
    ),
    ("buckets: Bucket lacks TlsOnly", _without_sid("BucketPolicy/Properties/PolicyDocument", "TlsOnly")),
    ("unused: condition UseEfs", lambda template: _forget(template, "UseEfs")),
    ("unused: parameter AlarmTopicArn", lambda template: _forget(template, "AlarmTopicArn")),
    ("globals_of_sam", lambda template: template.update(Globals={"Function": {"SnapStart": {"ApplyOn": "x"}}})),
]


def _forget(template: Template, name: str) -> None:
    """Whatever refers to a name refers to another."""
    for part in ("Resources", "Conditions", "Outputs"):
        for node in nodes(template[part]):
            if isinstance(node, dict):
                for key, value in node.items():
                    if value == name and key in {"Ref", "Condition"}:
                        node[key] = "Other"
                    if key == "Fn::If" and value[0] == name:
                        value[0] = "Other"


@pytest.mark.parametrize(("finding", "change"), BROKEN, ids=[f"{at:02}-{one[0][:40]}" for at, one in enumerate(BROKEN)])
def test_a_broken_copy_is_found_out(main: Template, finding: str, change: Callable[[Template], None]) -> None:
    broken = copy.deepcopy(main)
    change(broken)
    assert any(one.startswith(finding) for one in findings(broken)), findings(broken)


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


# ── cfn-lint ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _variant(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _broken_and_expanded(old: str, new: str) -> str:
    return json.dumps(expand(parse(_variant(MAIN, (old, new)))))


NOTHING_IGNORED: Final = ("ignore_checks: [W1035]", "ignore_checks: []")
EFS: Final = ("    Default: S3Files\n", "    Default: EFS\n")
SUBNETS: Final = "subnet-0123456789abcdef0,subnet-0123456789abcdef1"
EXISTING_SUBNETS: Final = (
    '    Type: CommaDelimitedList\n    Default: ""\n    Description: Two subnets',
    f"    Type: CommaDelimitedList\n    Default: {SUBNETS}\n    Description: Two subnets",
)
EXISTING_VPC: Final = (
    'Default: ""\n    AllowedPattern: ^(vpc-',
    "Default: vpc-0123456789abcdef0\n    AllowedPattern: ^(vpc-",
)
CLEAN: Final = {
    "s3files": MAIN,
    "efs": _variant(MAIN, EFS),
    "s3files-in-an-existing-vpc": _variant(MAIN, NOTHING_IGNORED, EXISTING_SUBNETS, EXISTING_VPC),
    "efs-in-an-existing-vpc": _variant(MAIN, NOTHING_IGNORED, EXISTING_SUBNETS, EXISTING_VPC, EFS),
    "s3files-expanded": json.dumps(expand(parse(MAIN))),
    "efs-expanded": json.dumps(expand(parse(_variant(MAIN, EFS)))),
    "agent": AGENT,
    "agent-efs": _variant(AGENT, EFS),
    "agent-expanded": json.dumps(expand(parse(AGENT))),
}
LINTED_BROKEN: Final = {
    "E3002": _variant(MAIN, ("      Bucket: !GetAtt Bucket.Arn\n", "      Buckets: !GetAtt Bucket.Arn\n")),
    "E3012": _variant(MAIN, ("ReservedConcurrentExecutions: 1", "ReservedConcurrentExecutions: one")),
    "E3030": _broken_and_expanded("DirectS3Read: DISABLED", "DirectS3Read: NEVER"),
    "W2001": _broken_and_expanded("\nParameters:\n", "\nParameters:\n  Idle:\n    Type: String\n"),
    "E3004": _broken_and_expanded("DependsOn: BucketPolicy", "DependsOn: S3MountTargetA"),
    "E6101": _broken_and_expanded("Value: !Ref Table\n", "Value: !GetAtt Table.TableId\n"),
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What cfn-lint says of every variant, by its name: one run for all."""
    folder = tmp_path_factory.mktemp("templates")
    for name, text in (CLEAN | LINTED_BROKEN).items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    paths = [str(one) for one in sorted(folder.iterdir())]
    command = [sys.executable, "-c", "from cfnlint.runner import main; main()", *LINT, "--template", *paths]
    # Somewhere without a .cfnlintrc of the user's own.
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ | {"HOME": str(folder)}
    )
    assert ran.stdout, ran.stderr
    found: dict[str, list[str]] = {name: [] for name in CLEAN | LINTED_BROKEN}
    for one in json.loads(ran.stdout):
        if one["Rule"]["Id"] in EXPLAINED:
            continue
        found[Path(one["Filename"]).stem].append(f"{one['Rule']['Id']} {one['Message']}")
    return found


def test_cfn_lint_knows_s3_files() -> None:
    assert tuple(int(part) for part in version("cfn-lint").split(".")[:2]) >= (1, 58)


@pytest.mark.parametrize("name", CLEAN)
def test_cfn_lint_finds_nothing(linted: dict[str, list[str]], name: str) -> None:
    assert linted[name] == []


@pytest.mark.parametrize("rule", LINTED_BROKEN)
def test_cfn_lint_does_look(linted: dict[str, list[str]], rule: str) -> None:
    assert any(one.startswith(rule) for one in linted[rule]), linted[rule]


def test_only_the_explained_check_is_ignored() -> None:
    assert re.findall(r"ignore_checks: (.*)", MAIN + AGENT) == ["[W1035]"]
