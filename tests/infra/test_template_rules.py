"""The templates in infra/ held to the rules in template_rules.py, and each rule to a copy that breaks it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import pytest
from template_rules import Template, branches, findings, nodes, parse, wildcards_that_are_gone
from template_texts import AGENT, MAIN

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def main() -> Template:
    return parse(MAIN)


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
