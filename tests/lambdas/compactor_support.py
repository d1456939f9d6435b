"""A deployed shape in small: a directory and a table of DynamoDB Local, compactors that are processes, writers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import coordinator
from coordinator import Workspace
from coordinator.clock import SYSTEM_CLOCK
from coordinator.record.table_calls import TableCalls
from coordinator.record.table_setup import create_table

if TYPE_CHECKING:
    from engines import Engine

PROGRAM = Path(__file__).with_name("compactor_sandbox.py")
SOURCES = Path(coordinator.__file__).parents[1]
TABLE = "coordination"
_OURS = {"POWERTOOLS_METRICS_NAMESPACE": "coordinator", "POWERTOOLS_SERVICE_NAME": "stack-compactor"}
SCHEDULED = {
    "source": "aws.events",
    "detail-type": "Scheduled Event",
    "time": "2026-03-01T12:34:00Z",
    "detail": {},
}


class Sandbox:
    """One environment of the function."""

    def __init__(self, variables: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES), **(variables or _OURS)},
            text=True,
        )
        self.pid = self._process.pid
        assert self._read() == {"pid": self.pid}

    def send(self, event: Any, **how: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"event": event, **how}) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        return self._read()

    def invoke(self, event: Any, **how: Any) -> dict[str, Any]:
        self.send(event, **how)
        return self._read()

    def run(self, event: Any, **how: Any) -> dict[str, Any]:
        """What the handler returned; fails the test if it raised."""
        told = self.invoke(event, **how)
        assert "returned" in told, told
        returned: dict[str, Any] = told["returned"]
        return returned

    def ask(self, call: str, **body: Any) -> tuple[int, dict[str, Any]]:
        told = self.run({"ask": {"call": call, "body": body}})
        return told["status"], told["body"]

    def become(self, variables: dict[str, str]) -> None:
        """The process goes on as an environment of another stack that has just started."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"variables": variables}) + "\n")
        self._process.stdin.flush()
        assert self._read() == {"pid": self.pid}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the sandbox has ended"
        told: dict[str, Any] = json.loads(line)
        return told

    def wait_stopped(self) -> None:
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it did not come to that point"

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_stopped()

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self.wait_ended()

    def wait_ended(self) -> int:
        status = self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Stack:
    """A workspace that the table rules, mounted here."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        folder.mkdir()
        self.directory = str(folder)
        create_table(TableCalls(TABLE, SYSTEM_CLOCK, client=engine.client()), SYSTEM_CLOCK, protect=False)
        self.mounted = Workspace.init(folder, agent="mounted", table=TABLE)
        self.id = self.mounted.format.workspace_id
        self.distant = Workspace(agent="distant", table=TABLE, workspace=self.id)
        self.acknowledged: list[str] = []

    def variables(self) -> dict[str, str]:
        """Of the function's environment, as infra/template.yaml has them; and where the engine is."""
        engine = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        places = {"COORDINATOR_WORKSPACE": self.id, "COORDINATOR_DIRECTORY": self.directory}
        return {**engine, **_OURS, **places, "COORDINATOR_TABLE": TABLE}

    def sandbox(self) -> Sandbox:
        return Sandbox(self.variables())

    def append(self, name: str, *keys: str, distant: bool = True) -> None:
        """Durable, and undecided: an operation for each key, acknowledged."""
        document = (self.distant if distant else self.mounted).document(name)
        for key in keys:
            document.update([{"op": "add", "path": "/done/-", "value": key}], wait=0)
            self.acknowledged.append(key)

    def told(self, name: str) -> dict[str, Any]:
        """The document as anybody with the mount reads it."""
        with Workspace(self.directory, agent="judge", table=TABLE) as judge:
            value: dict[str, Any] = judge.document(name).read_json()
            return value

    def judge(self, name: str) -> None:
        """Every acknowledged operation counts exactly once, and there is nothing else."""
        with Workspace(self.directory, agent="judge", table=TABLE) as judge:
            document = judge.document(name)
            assert sorted(document.read_json()["done"]) == sorted(self.acknowledged)
            folded = Counter(
                one["op_id"]
                for change in document.changes()
                for one in change.operations
                if one["outcome"] == "applied" and one["agent"] != "setup"
            )
            assert set(folded.values()) <= {1}

    def close(self) -> None:
        self.mounted.close()
        self.distant.close()


def metrics_of(told: dict[str, Any]) -> dict[str, Any]:
    """Values by name, of the one embedded metric object that an invocation printed."""
    found = [row for line in told["printed"] if "_aws" in (row := json.loads(line))]
    assert len(found) == 1, told["printed"]
    names = [one["Name"] for one in found[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert found[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "coordinator"
    assert found[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert found[0]["service"] == "stack-compactor"
    return {name: found[0][name] for name in names}
