"""What must hold of the templates in infra/, as functions that return what is wrong, and nothing when all is well.

A template is looked at as it is written, in CloudFormation's long form (``{"Ref": …}``), with both branches of every
``Fn::If``: a rule holds of whatever the parameters are. So a broken copy can be held against the same rules.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml  # type: ignore[import-untyped] # its types are another package; what it gives is Any here as everywhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Template = dict[str, Any]

# Resources that no policy can name, each with the reason; everything else is a finding. (logical id, Sid): why.
WILDCARDS: Final = {
    ("FunctionNetworkPolicy", "Describe"): "EC2's Describe calls know no resources",
    ("FunctionNetworkPolicy", "Interfaces"): "Lambda chooses the interface's id, and checks the role on any; "
    "the function's own code is denied it",
    ("SyncRole", "ReadRules"): "reading rules, in the list of permissions that S3 Files wants of its role",
    ("SyncRole", "Objects"): "actions by prefix, in the list of permissions that S3 Files wants of its role",
}
NFS: Final = 2049
FUNCTION: Final = "AWS::Serverless::Function"
WAYS_OUT: Final = {
    "AWS::EC2::NatGateway",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::EgressOnlyInternetGateway",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EC2::TransitGatewayAttachment",
    "AWS::EC2::VPCPeeringConnection",
    "AWS::EC2::Route",  # of any kind: the endpoint adds its own
    "AWS::EC2::EIP",
}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # Any to mypy, as the import above says
    """YAML with the short forms of intrinsic functions."""


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _long_form)


def parse(text: str) -> Template:
    """A template in long form."""
    found: Template = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, with CloudFormation's tags
    return found


def nodes(value: Any) -> Iterator[Any]:
    """Every value in a value, itself first."""
    yield value
    if isinstance(value, dict):
        for one in value.values():
            yield from nodes(one)
    elif isinstance(value, list):
        for one in value:
            yield from nodes(one)


def listed(value: Any) -> list[Any]:
    """Policies have one or a list."""
    return value if isinstance(value, list) else [value]


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Logical ids and resources of a type."""
    return {name: found for name, found in template["Resources"].items() if found["Type"] == kind}


def properties(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Logical ids and properties of a type."""
    return {name: found.get("Properties", {}) for name, found in of_type(template, kind).items()}


def branches(value: Any) -> list[Any]:
    """What an ``Fn::If`` can come to, or the value itself."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return [end for branch in value["Fn::If"][1:] for end in branches(branch)]
    return [value]


def statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy, with the logical id of the resource it stands in."""
    for name, resource in template["Resources"].items():
        for node in nodes(resource.get("Properties", {})):
            if isinstance(node, dict) and "Statement" in node:
                for one in listed(node["Statement"]):
                    for statement in branches(one):
                        yield name, statement


# ── the network ──────────────────────────────────────────────────────────────────────────────────────────────────────


def ways_out(template: Template) -> Iterator[str]:
    """No NAT, no internet gateway, no route; no subnet that gives public addresses."""
    for name, resource in template["Resources"].items():
        if resource["Type"] in WAYS_OUT:
            yield f"{name} is a way out: {resource['Type']}"
        if resource.get("Properties", {}).get("MapPublicIpOnLaunch"):
            yield f"{name} gives public addresses"


def security_groups(template: Template) -> Iterator[str]:
    """In: 2049, from a group. Out: 2049 to a group, 443 to a prefix list, or nothing (the loopback rule)."""
    for name, group in properties(template, "AWS::EC2::SecurityGroup").items():
        for rule in group.get("SecurityGroupIngress", []):
            yield from _wrong_with_rule(name, rule, "SourceSecurityGroupId")
        if not group.get("SecurityGroupEgress"):
            yield f"{name} has no egress rule: EC2 adds one that allows everything"
        for rule in group.get("SecurityGroupEgress", []):
            yield from _wrong_with_rule(name, rule, "DestinationSecurityGroupId")
    for name, rule in properties(template, "AWS::EC2::SecurityGroupIngress").items():
        yield from _wrong_with_rule(name, rule, "SourceSecurityGroupId")
    for name, rule in properties(template, "AWS::EC2::SecurityGroupEgress").items():
        yield from _wrong_with_rule(name, rule, "DestinationSecurityGroupId")


def _wrong_with_rule(name: str, rule: dict[str, Any], peer: str) -> Iterator[str]:
    says = {key: value for key, value in rule.items() if key not in {"Description", "GroupId"}}
    ports = (says.get("IpProtocol"), says.get("FromPort"), says.get("ToPort"))
    is_nfs = ports == ("tcp", NFS, NFS) and peer in says and "CidrIp" not in says
    is_table = ports == ("tcp", 443, 443) and set(says) == {
        "IpProtocol",
        "FromPort",
        "ToPort",
        "DestinationPrefixListId",
    }
    is_nothing = peer.startswith("Destination") and says == {"IpProtocol": "-1", "CidrIp": "127.0.0.1/32"}
    if not (is_nfs or is_table or is_nothing):
        yield f"{name} lets through {json.dumps(rule)}"


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def wildcards(template: Template) -> Iterator[str]:
    """Nothing is allowed on resources, or by actions, that are not named; WILDCARDS are the exceptions."""
    for name, statement in statements(template):
        if statement["Effect"] == "Deny" or (name, statement.get("Sid")) in WILDCARDS:
            continue
        for resource in listed(statement.get("Resource", [])):
            if _names_everything(resource):
                yield f"{name}/{statement.get('Sid')} allows on {json.dumps(resource)}"
        for action in listed(statement.get("Action", [])):
            if "*" in action:
                yield f"{name}/{statement.get('Sid')} allows {action}"
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            yield f"{name}/{statement.get('Sid')} allows all but something"


def _names_everything(resource: Any) -> bool:
    """A star, or an ARN whose name is one. A star below something that is named (``${Bucket.Arn}/*``) is not."""
    text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else resource
    if isinstance(text, list):
        text = text[0]
    return re.search(r"^\*$|[:/*]\*", re.sub(r"^\$\{[^}]*Arn\}/\*$", "", text)) is not None


def wildcards_that_are_gone(template: Template) -> Iterator[str]:
    """The list of exceptions holds no more than there are."""
    there = {(name, statement.get("Sid")) for name, statement in statements(template)}
    yield from (f"WILDCARDS: {one} is not in the template" for one in WILDCARDS.keys() - there)


def managed_by_aws(template: Template) -> Iterator[str]:
    """Policies of AWS's own are broader than what is needed here, and SAM's templates stand on them."""
    for name, resource in template["Resources"].items():
        for arn in resource.get("Properties", {}).get("ManagedPolicyArns", []):
            if not isinstance(arn, dict) or not set(arn) <= {"Ref", "Fn::ImportValue"}:
                yield f"{name} has the policy {arn}"
    for name, function in properties(template, FUNCTION).items():
        if "Role" not in function or "Policies" in function:
            yield f"{name}: SAM makes its role"


def keys_of_the_table(template: Template) -> Iterator[str]:
    """A role's access to the table is bound to the workspace's partition. (The endpoint's policy is no grant.)"""
    for name, statement in statements(template):
        actions = listed(statement.get("Action", []))
        if statement["Effect"] == "Deny" or not any(action.startswith("dynamodb:") for action in actions):
            continue
        kind = template["Resources"][name]["Type"]
        if kind != "AWS::EC2::VPCEndpoint" and "dynamodb:LeadingKeys" not in json.dumps(statement.get("Condition", {})):
            yield f"{name}/{statement.get('Sid')} is not bound to a partition"
        if {"dynamodb:Scan", "dynamodb:DeleteTable", "dynamodb:UpdateTable"} & set(actions):
            yield f"{name}/{statement.get('Sid')} allows more than items"


def access_points(template: Template) -> Iterator[str]:
    """Mounting is allowed by one access point only; the file system's own policy denies others, and root to all."""
    denied: dict[str, set[str]] = {}
    for name, statement in statements(template):
        actions = {action.split(":", 1)[1] for action in listed(statement.get("Action", [])) if ":Client" in action}
        if statement["Effect"] == "Allow" and actions:
            keys = statement.get("Condition", {}).get("StringEquals", {})
            if not any(key.endswith(":AccessPointArn") for key in keys) or actions - {"ClientMount", "ClientWrite"}:
                yield f"{name}/{statement.get('Sid')} lets mount by any access point, or as root"
        elif actions:
            denied.setdefault(name, set()).add(statement["Sid"])
    efs = of_type(template, "AWS::EFS::FileSystem")
    policed = [*of_type(template, "AWS::S3Files::FileSystemPolicy"), *efs]
    for name in policed:
        missing = {"NoOtherAccessPoint", "TheCompactorsIsTheCompactors", "NobodyIsRoot"} - denied.get(name, set())
        yield from (f"{name} lacks {sid}" for sid in sorted(missing))
    if len(policed) != len([*of_type(template, "AWS::S3Files::FileSystem"), *efs]):
        yield "a file system has no policy"


def users(template: Template) -> Iterator[str]:
    """Each access point of a file system has a user of its own; all have the group and the root folder in common."""
    for kind, made in (("AWS::S3Files::AccessPoint", "CreationPermissions"), ("AWS::EFS::AccessPoint", "CreationInfo")):
        points = properties(template, kind)
        uids = [one["PosixUser"]["Uid"] for one in points.values()]
        if len(set(uids)) != len(uids) or "0" in uids:
            yield f"{kind}: users {uids}"
        if len({one["PosixUser"]["Gid"] for one in points.values()}) > 1:
            yield f"{kind}: groups differ"
        if len({json.dumps(one["RootDirectory"], sort_keys=True) for one in points.values()}) > 1:
            yield f"{kind}: root folders differ"
        for name, one in points.items():
            if one["RootDirectory"]["Path"] == "/" or one["RootDirectory"][made]["Permissions"] != "0770":
                yield f"{name}: {one['RootDirectory']}"


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def logs(template: Template) -> Iterator[str]:
    """Every function writes to a log group that is in the template and is kept for a stated time, and no longer."""
    groups = properties(template, "AWS::Logs::LogGroup")
    for name, function in properties(template, FUNCTION).items():
        group = function.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        if group not in groups:
            yield f"{name} has no log group of its own"
        elif "RetentionInDays" not in groups[group]:
            yield f"{name}: {group} keeps logs for ever"


def mounts(template: Template) -> Iterator[str]:
    """What is mounted is in the subnets, reads by the mount only, and is never restored from a snapshot."""
    for name, function in properties(template, FUNCTION).items():
        if "FileSystemConfigs" not in function:
            continue
        if "SnapStart" in function:
            yield f"{name} has a mount, and SnapStart"
        if "VpcConfig" not in function:
            yield f"{name} has a mount, and no VPC"
        ends = [end for one in function["FileSystemConfigs"] for end in branches(one)]
        if len(function["FileSystemConfigs"]) != 1:
            yield f"{name} has more than one mount"
        direct = [end.get("S3FilesConfig", {}).get("DirectS3Read") for end in ends]
        if direct.count("DISABLED") != 1 or len(ends) != 2:  # S3 Files, and EFS, which knows no such thing
            yield f"{name}: DirectS3Read is {direct}"
        if {end["LocalMountPath"] for end in ends} != {"/mnt/workspace"}:
            yield f"{name} is mounted elsewhere"


def globals_of_sam(template: Template) -> Iterator[str]:
    """SAM's Globals could give a function what its own properties do not show."""
    if "Globals" in template:
        yield "Globals: state it in each function, where the rules see it"


# ── what outlives the stack ──────────────────────────────────────────────────────────────────────────────────────────


def retained(template: Template) -> Iterator[str]:
    """Tables, buckets and file systems stay when the stack goes, or wants to replace them."""
    kinds = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::S3Files::FileSystem", "AWS::EFS::FileSystem"}
    for name, resource in template["Resources"].items():
        if resource["Type"] in kinds:
            for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                if resource.get(policy) != "Retain":
                    yield f"{name}: {policy} is {resource.get(policy)}"


def tables(template: Template) -> Iterator[str]:
    """On demand, recoverable, protected, without TTL, keyed as the store has it."""
    for name, table in properties(template, "AWS::DynamoDB::Table").items():
        if table.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{name} is not on demand"
        if table.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            yield f"{name} has no point-in-time recovery"
        if table.get("DeletionProtectionEnabled") is not True:
            yield f"{name} has no deletion protection"
        if "TimeToLiveSpecification" in table:
            yield f"{name} has a TTL"


def buckets(template: Template) -> Iterator[str]:
    """Versioned, with old versions expiring, encrypted, closed, TLS only, written by the file system only."""
    for name, bucket in properties(template, "AWS::S3::Bucket").items():
        if bucket.get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{name} is not versioned"
        if not any("NoncurrentVersionExpiration" in rule for rule in bucket["LifecycleConfiguration"]["Rules"]):
            yield f"{name} keeps old versions for ever"
        if "BucketEncryption" not in bucket:
            yield f"{name} is not encrypted"
        if set(bucket.get("PublicAccessBlockConfiguration", {}).values()) != {True}:
            yield f"{name} is not closed"
        sids = {
            statement["Sid"]
            for policy in properties(template, "AWS::S3::BucketPolicy").values()
            if policy["Bucket"] == {"Ref": name}
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny"
        }
        yield from (f"{name} lacks {sid}" for sid in sorted({"TlsOnly", "WrittenByTheFileSystemOnly"} - sids))


# ── the template itself ──────────────────────────────────────────────────────────────────────────────────────────────


def unused(template: Template) -> Iterator[str]:
    """Every parameter and every condition has a use."""
    used = {key: set[str]() for key in ("Ref", "Condition", "Fn::If", "Fn::Sub")}
    for part in ("Resources", "Conditions", "Outputs", "Rules"):
        for node in nodes(template.get(part, {})):
            for key, value in node.items() if isinstance(node, dict) else ():
                if key == "Fn::If":
                    used[key].add(value[0])
                elif key == "Fn::Sub":
                    used[key] |= set(re.findall(r"\$\{([^}!]+)\}", value if isinstance(value, str) else value[0]))
                elif key in used and isinstance(value, str):
                    used[key].add(value)
    yield from (f"parameter {one}" for one in template["Parameters"].keys() - used["Ref"] - used["Fn::Sub"])
    yield from (f"condition {one}" for one in template["Conditions"].keys() - used["Condition"] - used["Fn::If"])


RULES: Final[tuple[Callable[[Template], Iterator[str]], ...]] = (
    ways_out,
    security_groups,
    wildcards,
    managed_by_aws,
    keys_of_the_table,
    access_points,
    users,
    logs,
    mounts,
    globals_of_sam,
    retained,
    tables,
    buckets,
    unused,
)


def findings(template: Template) -> list[str]:
    """What is wrong, by all rules."""
    return [f"{rule.__name__}: {text}" for rule in RULES for text in rule(template)]
