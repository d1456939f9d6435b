"""The example agent of infra/examples/agent, as sandboxes run it: processes that each handle several invocations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT: Final = Path(__file__).resolve().parents[2] / "infra" / "examples" / "agent"
TASKS: Final = 8
GROUP: Final = 61000
COMPACTOR_USER: Final = 61001
AGENT_USER: Final = 61002

# A sandbox: waits for a line, then handles invocations until there is no task left, and prints what each returned.
SANDBOX: Final = """
import json, sys
from handler import handler

class Context:
    def __init__(self, number):
        self.aws_request_id = f"{sys.argv[1]}-{number}"
    def get_remaining_time_in_millis(self):
        return 30_000

print("ready", flush=True)
sys.stdin.readline()
answers = []
while not answers or answers[-1]["task"] is not None:
    answers.append(handler({}, Context(len(answers))))
print(json.dumps(answers))
"""

COMPACTOR: Final = """
import sys
from coordinator import Workspace
if sys.argv[2] == "init":
    Workspace.init(sys.argv[1], agent="compactor").tasks("tasks.json").add([{"title": "one"}, {"title": "two"}])
else:
    workspace = Workspace(sys.argv[1], agent="compactor")
    workspace.document("journal.json").compact()
    workspace.collect()
    print(workspace.document("journal.json").read().decode())
"""


def _environment(directory: str) -> dict[str, str]:
    paths = [str(AGENT), *sys.path]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths), "COORDINATOR_DIRECTORY": directory}


def _sandbox(directory: str, name: str, **user: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SANDBOX, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(directory),
        cwd="/",
        **user,
    )


def test_every_task_is_done_once_by_sandboxes_at_one_time(tmp_path: Path) -> None:
    with Workspace.init(tmp_path, agent="test") as workspace:
        ids = workspace.tasks("tasks.json").add([{"title": "x" * length} for length in range(TASKS)])
        sandboxes = [_sandbox(str(tmp_path), f"sandbox-{number}") for number in range(3)]
        try:
            for one in sandboxes:
                assert one.stdout is not None
                assert one.stdout.readline() == "ready\n", one.communicate()[1]
            outputs = [one.communicate("go\n", timeout=60) for one in sandboxes]
        finally:
            for one in sandboxes:
                one.kill()  # nothing, where it has ended
        assert [one.returncode for one in sandboxes] == [0, 0, 0], outputs
        answers = [answer for out, _ in outputs for answer in json.loads(out) if answer["task"] is not None]

        assert sorted(answer["task"] for answer in answers) == sorted(ids)
        assert sorted(answer["done"] for answer in answers) == list(range(1, TASKS + 1))  # the lease lost no count
        assert workspace.document("report.json").read_json() == {"done": TASKS}
        workspace.document("journal.json").compact()
        journal = workspace.document("journal.json").read_json()
        assert journal == {ids[at]: {"result": {"length": at}, "attempt": 1} for at in range(TASKS)}
        board = workspace.document("tasks.json").read_json()
        assert [one["status"] for one in board["tasks"]] == ["done"] * TASKS


@pytest.fixture
def shared() -> Iterator[str]:
    """A directory as the access points make it: one user's, 0770, of a group that the other user is in."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the compactor and the agents are two users")
    directory = tempfile.mkdtemp()  # not tmp_path, whose parents are closed to other users
    os.chown(directory, COMPACTOR_USER, GROUP)
    os.chmod(directory, 0o770)  # noqa: S103 - the mode that is to be tried
    try:
        probe = _run_as(COMPACTOR_USER, 0o002, "import coordinator, os, sys; os.listdir(sys.argv[1])", directory)
        trouble = probe.stderr[-200:] if probe.returncode else ""
    except PermissionError as error:  # it lies in a folder that is its owner's
        trouble = str(error)
    if trouble:
        shutil.rmtree(directory)
        pytest.skip(f"another user cannot run this Python here: {trouble}")
    yield directory
    shutil.rmtree(directory)


def _run_as(user: int, umask: int, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=_environment(arguments[0]),
        cwd="/",
        user=user,
        group=GROUP,
        extra_groups=[],
        umask=umask,
    )


def _agent_as(user: int, umask: int, directory: str) -> tuple[int, str, str]:
    sandbox = _sandbox(directory, "agent", user=user, group=GROUP, extra_groups=[], umask=umask)
    out, told = sandbox.communicate("go\n", timeout=60)
    return sandbox.returncode, out, told


def test_the_compactor_and_agents_are_two_users_of_one_group(shared: str) -> None:
    """The handler sets its own umask; the compactor's is set here as its handler has to set it."""
    assert _run_as(COMPACTOR_USER, 0o002, COMPACTOR, shared, "init").stderr == ""
    code, out, told = _agent_as(AGENT_USER, 0o022, shared)
    assert code == 0, told
    assert [answer["task"] is None for answer in json.loads(out.splitlines()[1])] == [False, False, True]
    folded = _run_as(COMPACTOR_USER, 0o002, COMPACTOR, shared, "fold")
    assert folded.returncode == 0, folded.stderr
    assert len(json.loads(folded.stdout)) == 2


def test_with_the_usual_umask_the_second_user_is_refused(shared: str) -> None:
    """Why infra/template.yaml and docs/aws.md ask for umask 002."""
    assert _run_as(COMPACTOR_USER, 0o022, COMPACTOR, shared, "init").stderr == ""
    code, _, told = _agent_as(AGENT_USER, 0o022, shared)
    assert code != 0
    assert "EACCES" in told
