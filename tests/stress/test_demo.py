"""The demonstration, for real: processes, kills and freezes, on small made-up files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest

from coordinator import Workspace
from coordinator.demo import show

LIMIT_S = 100
COMMAND = [sys.executable, "-m", "coordinator.demo", "--seed", "7", "--workers", "6"]
TIDY_S = 20


def tagged(path: Path) -> dict[str, Any]:
    """A file as claude-task-master keeps it: lists under tags, ids of both kinds, subtasks, fields of its own."""

    def task(name: int | str, status: str = "pending", *dependencies: int | str) -> dict[str, Any]:
        return {
            "id": name,
            "title": f"Straße {name} prüfen",
            "status": status,
            "dependencies": list(dependencies),
            "priority": "high",
            "details": 'one\ntwo "quoted" \\ three — four',
            "subtasks": [{"id": 1, "title": "first", "status": "pending", "dependencies": [], "parentId": None}],
            "complexity": 7,
        }

    document = {
        "master": {
            "tasks": [task(1, "done"), *(task(n, "pending", 1) for n in range(2, 14)), task(99, "deferred")],
            "metadata": {"created": "2025-06-13T23:52:56.848Z", "weight": 0.1, "tags": []},
        },
        "loop": {"tasks": [task(str(n), "pending", *(["1"] if n > 1 else [])) for n in range(1, 9)], "metadata": {}},
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
    return document


def test_it_loses_without_coordination_and_nothing_with_it(tmp_path: Path) -> None:
    before = tagged(tmp_path / "mine.json")
    original = (tmp_path / "mine.json").read_text(encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "--tasks", str(tmp_path / "mine.json"), "--json", "--keep", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    said = json.loads(done.stdout)
    assert said["ok"] is True
    assert said["seed"] == 7
    assert said["seconds"] < 60
    in_place, rename, leased, logs = said["acts"]
    assert in_place["lost"] + rename["lost"] > 0
    assert rename["frozen"] + in_place["frozen"] > 0
    figures = ("lost", "doubled", "torn", "timed_out", "problems", "unknown")
    for act in (leased, logs):
        assert {key: act[key] for key in figures} == {
            "lost": 0, "doubled": 0, "torn": 0, "timed_out": False, "problems": [], "unknown": 0,
        }  # fmt: skip
        assert act["frozen"] >= 1
        assert act["refused"] >= act["frozen"]
        assert act["killed"] >= 1
        assert act["acknowledged"] >= 40 - 2 * act["killed"]
        assert act["reads"] > 10
        statuses = only_statuses_differ(before, act, Workspace(tmp_path / "kept" / act["strategy"]))
        assert statuses["master", 99] == "deferred"
    assert set(statuses.values()) == {"done", "deferred"}, "over logs, even what a killed worker had is taken up again"
    assert (tmp_path / "mine.json").read_text(encoding="utf-8") == original
    refused = leased["file"].replace("tasks.json", ".coordinator/resources/tasks.json/@/kept")
    assert len(os.listdir(refused)) == leased["refused"]


def only_statuses_differ(before: dict[str, Any], act: dict[str, Any], workspace: Workspace) -> dict[Any, str]:
    """The file that came out is the one that went in, but for the statuses, which are returned."""
    document = workspace.document("tasks.json")
    assert act["file"] == document.path
    assert act["revision"] == document.revision
    after = Path(act["file"]).read_text(encoding="utf-8")
    assert document.read().decode() == after
    statuses = {(tag, task["id"]): task["status"] for tag, it in json.loads(after).items() for task in it["tasks"]}
    expected = json.loads(json.dumps(before))
    for tag, it in expected.items():
        for task in it["tasks"]:
            task["status"] = statuses[tag, task["id"]]
    assert json.dumps(expected, indent=2, ensure_ascii=False) == after
    return statuses


def test_claims_that_do_not_last_are_refused_over_logs_and_nothing_is_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The act over logs alone, with claims so short that live workers lose them as well."""
    tagged(tmp_path / "mine.json")
    monkeypatch.setattr(show, "ACTS", (replace(show.ACTS[-1], ttl_s=0.1, idle_s=1),))
    monkeypatch.setattr(show, "WORK_MS", (20.0, 200.0))
    show.run_demo(tasks_path=str(tmp_path / "mine.json"), workers=6, as_json=True, keep=None, seed=3)
    (act,) = json.loads(capsys.readouterr().out)["acts"]
    assert act["strategy"] == "logs"
    assert act["refused"] > act["frozen"]
    assert (act["lost"], act["doubled"], act["torn"], act["problems"], act["timed_out"]) == (0, 0, 0, [], False)


@pytest.mark.parametrize("logs", [False, True])
def test_a_fleet_without_coordination_does_not_pass_for_a_coordinated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, logs: bool
) -> None:
    tagged(tmp_path / "mine.json")
    rename = show.ACTS[1]
    monkeypatch.setattr(show, "ACTS", (rename, replace(rename, title="with", coordinated=True, logs=logs)))
    status = show.run_demo(tasks_path=str(tmp_path / "mine.json"), workers=6, as_json=True, keep=None, seed=7)
    said = json.loads(capsys.readouterr().out)
    assert status == 1
    assert said["ok"] is False
    assert any(text.endswith((" lost", " doubled")) for text in said["failures"])
    assert any("only 0 commits refused" in text for text in said["failures"])
    assert any("not in the changes" in text if logs else "does not know" in text for text in said["failures"])


def still_there(mark: str) -> list[str]:
    """Processes whose command line holds a text, without this one and ps itself."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "stat=,args="], capture_output=True, text=True, check=True)  # noqa: S607 - where it lies differs
    return [line for line in listed.stdout.splitlines() if mark in line and not line.startswith("Z")]


def wait_until_nobody(mark: str) -> list[str]:
    """What is still there after a while: processes that nobody is the parent of can only be looked for."""
    deadline = time.monotonic() + TIDY_S
    while (found := still_there(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def read_until(stream: IO[str], text: str) -> None:
    for line in stream:
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_left_behind_when_it_is_stopped_midway(number: signal.Signals, tmp_path: Path) -> None:
    tagged(tmp_path / "mine.json")
    kept = str(tmp_path / "kept")
    command = [*COMMAND, "--tasks", str(tmp_path / "mine.json"), "--keep", kept]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            read_until(demo.stdout, "under a lease")
            read_until(demo.stdout, "is frozen in its update")
            assert still_there(kept)  # for nearly 2 s, one of them is stopped, and could be left behind
            demo.send_signal(number)
            status = demo.wait(TIDY_S)
        finally:
            demo.kill()
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    if number is signal.SIGKILL:
        assert wait_until_nobody(kept) == []
    else:
        assert still_there(kept) == []


def test_a_temporary_directory_is_cleared_away(tmp_path: Path) -> None:
    tagged(tmp_path / "mine.json")
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = [*COMMAND, "--tasks", str(tmp_path / "mine.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        try:
            read_until(demo.stdout, "is frozen in its update")
            assert os.listdir(tmp_path / "tmp")
            demo.send_signal(signal.SIGTERM)
            demo.wait(TIDY_S)
        finally:
            demo.kill()
    assert os.listdir(tmp_path / "tmp") == []
