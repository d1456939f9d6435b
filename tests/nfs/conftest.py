"""The lab as a fixture, agents on its clients, and the figures of a run."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nfs.lab import SHARE, SOURCE, Job, Lab
from nfs.packages import NotToBeHad
from nfs.report import write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nfs.lab import Guest

REPORT = "COORDINATOR_NFS_REPORT"
FIGURES: dict[str, Any] = {}


class Field:
    """A folder on the share, with a workspace in it, and agents that work there."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.path = f"{SHARE}/{name}"
        self._count = itertools.count(1)

    def make(self, files: dict[str, Any]) -> None:
        """Makes the workspace, with documents in it."""
        self.python(self.lab.clients[0], _MAKE, self.path, json.dumps(files))

    def python(self, guest: Guest, program: str, *arguments: str) -> str:
        """Runs a program on a host."""
        return guest.run(_command("-c", program, *arguments), 240)

    def agent(self, guest: Guest, act: str, *arguments: str) -> Job:
        """Starts an agent on a host."""
        return self.module(guest, "nfs.agent", act, *arguments)

    def module(self, guest: Guest, name: str, *arguments: str) -> Job:
        """Starts a module on a host."""
        return guest.start(_command("-m", name, *arguments))

    def result(self, job: Job, seconds: float = 240) -> dict[str, Any]:
        """What an agent told at its end. AssertionError if it failed."""
        done = job.wait(seconds)
        assert done.status == 0, done.out[-4000:]
        told: dict[str, Any] = json.loads(done.out.splitlines()[-1])
        return told

    def sign(self) -> str:
        """A name in the lab's folder, as guests see it, that nobody has made yet."""
        return f"/mnt/lab/{self.name}.{next(self._count)}"

    def give(self, sign: str) -> None:
        """Makes such a file."""
        Path(self.lab.folder, Path(sign).name).touch()

    def content(self, name: str) -> Any:
        """A document as a fresh process on the last client reads it."""
        return json.loads(self.python(self.lab.clients[-1], _READ, self.path, name))


_MAKE = """
import json, os, sys
from coordinator import Workspace
os.makedirs(sys.argv[1])
ws = Workspace.init(sys.argv[1], agent="founder")
for name, value in json.loads(sys.argv[2]).items():
    ws.document(name).commit_json(value, if_revision=0)
ws.close()
"""
_READ = """
import json, sys
from coordinator import Workspace
with Workspace(sys.argv[1], agent="judge") as ws:
    document = ws.document(sys.argv[2])
    document.compact()
    print(json.dumps(document.read_json()))
"""


def _command(*arguments: str) -> str:
    return f"PYTHONPATH={SOURCE} {shlex.join([sys.executable, *arguments])}"


def make_lab(**options: Any) -> Lab:
    """A lab, or a skip that says why there is none."""
    try:
        return Lab(**options)
    except NotToBeHad as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Without delegations, as EFS and S3 Files have it: three clients."""
    with make_lab() as running:
        yield running


@pytest.fixture(scope="module")
def delegating() -> Iterator[Lab]:
    """With delegations."""
    with make_lab(delegations=True) as running:
        yield running


@pytest.fixture
def field(lab: Lab, request: pytest.FixtureRequest) -> Field:
    """A fresh folder on the share."""
    return Field(lab, request.node.name.partition("[")[0].removeprefix("test_") + f"-{os.urandom(3).hex()}")


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was counted. With COORDINATOR_NFS_REPORT=PATH, the report is written there at the end."""
    yield FIGURES
    if os.environ.get(REPORT) and FIGURES:
        write_report(Path(os.environ[REPORT]), FIGURES)
