"""``coordinator serve``: real processes, real HTTP, Ctrl-C; the functions behind it are doubles of these tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from remote.faces import lambda_client
from support import readable, wait_until

import coordinator
from coordinator import LeaseHeld, Workspace
from coordinator.cli import exits
from coordinator.cli.app import execute
from coordinator.remote import RemoteWorkspace
from coordinator.service import serving as service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines import Engine

TESTS: Final = Path(__file__).parents[2]
RUN: Final = """
import sys
from coordinator.service import serving
serving.HANDLERS = {
    "coordinator": "remote.contract_double:handler",
    "coordinator-compactor": "remote.contract_double:compactor",
}
from coordinator.cli.app import execute
sys.exit(execute(sys.argv[1:]))
"""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS), str(Path(coordinator.__file__).parent.parent)])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COORDINATOR_"))}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "serve", "--json", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**clean, "PYTHONPATH": path},
        start_new_session=True,
    )


@contextmanager
def serving(
    *arguments: str, end: signal.Signals = signal.SIGINT
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[bytes]]]:
    """What it told when it was ready, and its process; it is ended as Ctrl-C does, which comes to the whole group."""
    process = start(*arguments)
    try:
        assert process.stdout is not None
        assert readable(process.stdout, 60)
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        yield json.loads(line), process
        os.killpg(process.pid, end)
        assert process.wait(20) == exits.OK
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    wait_until(lambda: not _group_lives(process.pid), 10)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs one that cannot start: its exit status, and the error that it told."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        status = execute(["serve", "--json", "--port", "0", *arguments])
        return status, json.loads(capfd.readouterr().err.splitlines()[-1])

    return run


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("moto.server", reason="moto[server] is not installed")


def test_without_anything_it_serves_a_workspace_that_ends_with_it_by_http_and_by_invocation() -> None:
    with serving() as (told, _):
        assert set(told) == {"url", "directory", "table", "workspace_id", "endpoint", "identity"}
        assert told["identity"] == "arn:aws:iam::000000000000:user/local"
        assert os.path.isdir(told["directory"])
        with RemoteWorkspace(told["url"], agent="alice").lease("deploy/prod", ttl=20) as lease:
            with pytest.raises(LeaseHeld):
                RemoteWorkspace(told["url"], agent="bob").lease("deploy/prod")
            lease.check()
        connection = HTTPConnection(urlsplit(told["url"]).netloc, timeout=20)  # as curl does
        connection.request("POST", "/v1/leases/inspect", b'{"name": "deploy/prod"}')
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["state"]) == (200, "free")
        connection.close()
        client = lambda_client(told["url"])
        direct = RemoteWorkspace(function="coordinator", client=client, agent="alice")
        assert direct.status_of("deploy/prod").state == "free"
        wait_until(lambda: _is_idle(client))
    assert not os.path.exists(told["directory"])


def test_with_a_table_that_lasts_it_goes_on_where_it_was(tmp_path: Path, dynamodb: Engine) -> None:
    arguments = ("--directory", str(tmp_path), "--endpoint", dynamodb.endpoint_url, "--table", "fleet")
    with serving(*arguments) as (told, _), RemoteWorkspace(told["url"], agent="alice").lease("a") as first:
        pass
    with serving(*arguments, end=signal.SIGTERM) as (again, _):
        assert again["workspace_id"] == told["workspace_id"]
        assert again["directory"] == os.path.realpath(tmp_path)
        with RemoteWorkspace(again["url"], agent="bob").lease("a") as second:
            assert second.fence > first.fence


def test_a_kill_leaves_no_process_behind() -> None:
    process = start()
    assert process.stdout is not None
    assert readable(process.stdout, 60)
    client = lambda_client(json.loads(process.stdout.readline())["url"])
    wait_until(lambda: _is_idle(client))  # what it is at would be ended first, and that wants the table
    process.kill()
    process.communicate()
    wait_until(lambda: not _group_lives(process.pid), 10)


def _is_idle(client: Any) -> bool:
    """Whether the compactor has done what is done at the start."""
    try:
        answer = client.invoke(FunctionName="coordinator-compactor", Payload=b"{}")
    except client.exceptions.TooManyRequestsException:
        return False
    return bool(json.loads(answer["Payload"].read()) == {"folded": []})


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (["--agents", "{"], "agents"),
        (["--agents", '{"local": "*"}'], "agents"),
        (["--directory", "/nowhere/at/all"], "directory"),
        (["--endpoint", "localhost:8000"], "endpoint"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    fails: Callable[..., tuple[int, dict[str, Any]]], arguments: list[str], argument: str
) -> None:
    status, told = fails(*arguments)
    assert (status, told["error"], told["fields"]["argument"]) == (exits.USAGE, "BadValue", argument)


def test_a_port_that_is_taken_is_told(fails: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, told = fails("--port", str(taken.getsockname()[1]))
    assert (status, told["fields"]["argument"]) == (exits.USAGE, "port")


def test_a_workspace_that_its_directory_rules_is_not_served(
    fails: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path
) -> None:
    Workspace.init(tmp_path, agent="alice")
    status, told = fails("--directory", str(tmp_path))
    assert (status, told["error"]) == (exits.SETUP, "WorkspaceError")
    assert "authority move" in told["hint"]


@pytest.mark.parametrize(("missing", "extra"), [("moto.server", "moto"), ("boto3", "[lambda]")])
def test_what_is_not_installed_is_named_and_how_to_come_by_it(
    fails: Callable[..., tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, missing: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    status, told = fails()
    assert status == exits.SETUP
    assert missing in told["message"]
    assert extra in told["hint"]


def test_a_function_that_does_not_start_is_told(
    fails: Callable[..., tuple[int, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HANDLERS", dict.fromkeys(service.HANDLERS, "no_such_module:handler"))
    status, told = fails()
    assert (status, told["error"]) == (exits.SETUP, "WorkspaceError")
    assert "no_such_module" in told["message"]
    assert "[lambda]" in told["hint"]
