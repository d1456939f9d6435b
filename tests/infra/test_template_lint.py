"""The templates in infra/, linted in all their variants; and copies in which cfn-lint must find something."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest
from sam_expand import expand
from template_rules import parse
from template_texts import AGENT, MAIN

# Everything that cfn-lint has, also what only informs, but for these. (--ignore-checks would undo the template's own.)
LINT: Final = ("--regions", "eu-west-1", "--include-checks", "I", "--format", "json")
EXPLAINED: Final = {"I4010": "wants an essay on every resource, for language models; comments here are for people"}


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
