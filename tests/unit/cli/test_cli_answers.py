"""Exit statuses, both modes of answering, where the workspace is found, and what a start costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

import coordinator
from coordinator import CoordinatorError, NoRoom, StoreUnavailable, Workspace, errors
from coordinator.cli import exits
from coordinator.cli.app import app
from coordinator.cli.common import age

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started

# ── what every status means ──────────────────────────────────────────────────────────────────────────────────────────

STATUS = {
    "CoordinatorError": 1,
    "BadRequest": 2,
    "BadName": 2,
    "BadValue": 2,
    "NoSuchDocument": 66,
    "NotAllowed": 2,
    "MalformedDocument": 65,
    "Refused": 75,
    "LeaseHeld": 75,
    "AcquireCancelled": 75,
    "RevisionConflict": 75,
    "OperationRejected": 75,
    "RevisionNotReached": 75,
    "LeaseLost": 76,
    "StaleFence": 76,
    "ClaimLost": 76,
    "StoreUnavailable": 69,
    "NoRoom": 73,
    "Damaged": 65,
    "CorruptRecord": 65,
    "CorruptSnapshot": 65,
    "WorkspaceError": 78,
    "NotAWorkspace": 66,
    "NewerFormat": 78,
    "Unsuitable": 78,
    "NoDirectory": 78,
    "TableUnusable": 78,
    "AuthorityMoved": 78,
}


def test_every_error_has_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoordinatorError)]
    assert {kind.__name__: exits.status_of(kind("")) for kind in kinds} == STATUS


def test_every_status_is_told_in_the_help() -> None:
    told = {int(figure) for figure in re.findall(r"^ +(\d+)  ", exits.__doc__ or "", re.MULTILINE)}
    own = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert told == own - {exits.NOT_EXECUTABLE, exits.COMMAND_NOT_FOUND, exits.SIGNAL_BASE}
    assert told == {int(figure) for figure in re.findall(r"(\d+) [a-z]", exits.SUMMARY)}
    shown = CliRunner().invoke(app, ["--help"], prog_name="coordinator")
    assert shown.exit_code == 0
    squeezed = re.sub(r"\s+", " ", shown.output)
    assert exits.SUMMARY in squeezed


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_workspace: Workspace) -> None:
        raise error

    monkeypatch.setattr(Workspace, "collect", fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailable("no answer", resource="x", cause="EIO: lost", outcome_unknown=False), 69),
        (NoRoom("full", resource="x", cause="ENOSPC: full", outcome_unknown=False), 73),
    ],
)
def test_an_error_of_the_store(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, error: CoordinatorError, status: int
) -> None:
    fails_with(monkeypatch, error)
    told = call("gc")
    assert (told.status, told.out) == (status, "")
    assert told.err == f"coordinator: {error}\n"
    told = call("gc", "--json")
    assert (told.status, told.out) == (status, "")
    assert told.error == {
        "error": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "fields": error.fields,
    }


def test_a_bug(call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, RuntimeError("this should not be"))
    with pytest.raises(RuntimeError, match="should not be"):
        call("gc")
    told = call("gc", "--json")
    assert (told.status, told.out) == (1, "")
    assert (told.error["error"], told.error["message"]) == ("RuntimeError", "this should not be")
    assert "in fail" in told.error["fields"]["traceback"]


def test_an_interrupt(start: Callable[..., Started]) -> None:
    """Ctrl-C while a command is at work: no traceback."""
    main = """
import os, signal
from coordinator import Workspace
def collect(workspace):
    os.write(1, b"ready\\n")
    signal.pause()
Workspace.collect = collect
from coordinator.cli import main
main()
"""
    running = start("gc", program=("-c", main))
    assert running.line() == "ready"
    running.send(signal.SIGINT)
    assert running.end() == (130, "", "")


def test_an_interrupt_while_the_modules_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator import cli

    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("coordinator.cli.app.execute", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


@pytest.mark.parametrize("line", [["bogus"], ["lease", "release", "x"], ["gc", "--bogus"], ["document", "show"]])
def test_wrong_usage(call: Callable[..., Answer], line: list[str]) -> None:
    told = call(*line)
    assert (told.status, told.out) == (2, "")
    assert "Usage: coordinator" in told.err
    told = call(*line, "--json")
    assert (told.status, told.out) == (2, "")
    assert told.error["error"] == "UsageError"


@pytest.mark.parametrize("line", [[], ["lease"], ["document"]])
def test_nothing_to_do_is_helped(call: Callable[..., Answer], line: list[str]) -> None:
    told = call(*line)
    assert told.status in {0, 2}, "which of the two, depends on the version of click"
    assert "Usage: coordinator" in told.out + told.err
    assert "Commands" in told.out + told.err


def test_a_wrong_name(call: Callable[..., Answer]) -> None:
    assert call("status", "../x").status == 2
    told = call("status", "../x", "--json")
    assert (told.status, told.error["error"], told.error["fields"]) == (2, "BadName", {"name": "../x"})
    assert call("gc", "--agent", "no spaces").status == 2


def test_a_damaged_workspace(call: Callable[..., Answer], workspace: Workspace) -> None:
    path = Path(workspace.directory, ".coordinator", "format.json")
    made = json.loads(path.read_text())
    path.write_text(json.dumps({**made, "format": 99, "min_reader": 99}))
    told = call("status", "--json")
    assert (told.status, told.error["error"], told.error["fields"]["needs"]) == (78, "NewerFormat", 99)
    path.write_text("{")
    assert call("status").status == 65


# ── where the workspace is ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_nearest_folder_above(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = Path(workspace.directory, "a", "b")
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert call("status").out == f"nothing was leased or committed in {workspace.directory} yet\n"
    Workspace.init(deep.parent)
    assert call("status").out == f"nothing was leased or committed in {deep.parent} yet\n"


def test_named_by_option_or_environment(
    call: Callable[..., Answer], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = call("status", "--json")
    assert (told.status, told.error["error"]) == (66, "NotAWorkspace")
    for option in ("-w", "--workspace"):
        assert call("status", option, workspace.directory, "--json") == (0, "[]\n", "")
    monkeypatch.setenv("COORDINATOR_WORKSPACE", workspace.directory)
    assert call("status").status == 0
    assert call("status", "-w", str(tmp_path)).status == 66


def test_a_current_folder_that_is_gone(
    call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert call("status").status == 66
    finally:
        os.chdir(tmp_path)


# ── stdout ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def buffered() -> dict[str, str]:
    """As at home: what could not be written stays in a buffer, and is tried again at the end."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.parametrize("mode", [[], ["--json"]])
def test_nobody_reads_any_more(workspace: Workspace, mode: list[str]) -> None:
    workspace.lease("x").release()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "coordinator.cli", "status", *mode],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=buffered(),
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_name_that_stdout_has_no_letters_for(workspace: Workspace, call: Callable[..., Answer]) -> None:
    workspace.lease("bücher/😀").release()
    (found,) = call("status", "--json").value
    assert found["resource"] == "bücher/😀"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for mode in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "coordinator.cli", "status", *mode],
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        if mode:
            assert json.loads(done.stdout)[0]["resource"] == "bücher/😀"
        else:
            assert b"b\\xfccher" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_stdout_is_full() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "coordinator.cli", "status"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=buffered(),
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


def test_a_table_in_a_pipe_is_not_cut(call: Callable[..., Answer], workspace: Workspace) -> None:
    name = "/".join(["a-long-folder-name"] * 20) + "/日本語.json"
    workspace.lease(name).release()
    assert name in call("status").out


@pytest.mark.parametrize(
    ("from_ms", "now_ms", "text"),
    [
        (0, 5000, ""),
        (1000, 13_300, "12.3 s ago"),
        (18_000, 1000, "in 17.0 s"),
        (1000, 1000, "0.0 s ago"),
        (1000, 301_000, "5 min ago"),
        (1000, 9_001_000, "2.5 h ago"),
    ],
)
def test_times_are_told_as_ages(from_ms: int, now_ms: int, text: str) -> None:
    assert age(from_ms, now_ms) == text


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_start_loads_little() -> None:
    code = "import sys, typer; before = set(sys.modules); import coordinator.cli.app; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "'coordinator.cli.lease'" in done.stdout
    for module in (
        "rich",
        "portalocker",
        "orjson",
        "coordinator.workspace",
        "coordinator.document",
        "coordinator.demo",
    ):
        assert f"'{module}'" not in done.stdout


def test_the_version(start: Callable[..., Started]) -> None:
    assert start("--version").end() == (0, f"coordinator {coordinator.__version__}\n", "")


@pytest.mark.parametrize("group", [[], ["lease"], ["lease", "run"], ["lease", "release"], ["document", "edit"], ["gc"]])
def test_help(call: Callable[..., Answer], group: list[str]) -> None:
    told = call(*group, "--help")
    assert told.status == 0
    assert f"Usage: {' '.join(['coordinator', *group])}" in told.out


def test_every_command_has_both_modes() -> None:
    command = typer.main.get_command(app)
    leaves = []
    todo = [command]
    while todo:
        each = todo.pop()
        below = list(getattr(each, "commands", {}).values())
        todo += below
        if not below:
            leaves.append(each)
    assert len(leaves) == 34
    for leaf in leaves:
        assert any("--json" in parameter.opts for parameter in leaf.params), leaf.name
        assert leaf.help
        assert "JSON" in leaf.help, f"{leaf.name} does not say what its JSON is"
