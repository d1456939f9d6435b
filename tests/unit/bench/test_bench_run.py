from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.claiming import WrongAnswer, check, claim_for, claiming_side, figures, make_tasks
from benchmarks.crew import CrewFailed, Job, in_child, run_crew
from benchmarks.peers import FLOCK, SQLITE, SharedLog
from benchmarks.run import CASES, chosen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.claiming import Claiming

ROOT = Path(__file__).resolve().parents[3]


def worker(*claims: str, first: str | None = None, began: float = 0.0, ended: float = 1.0) -> dict[str, Any]:
    return {
        "first": first,
        "ready": 0.03,
        "claims": list(claims),
        "waits": [0.1] * len(claims),
        "began": began,
        "ended": ended,
        "cpu": 0.5,
    }


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def appears(path: Path, seconds: float = 0.3) -> bool:
    """Whether a file that nobody ought to make is made in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not path.exists():
        time.sleep(0.01)
    return path.exists()


def test_nobody_works_before_everybody_is_ready(tmp_path: Path) -> None:
    worked = tmp_path / "worked"

    def start(number: int) -> Job:
        too_early = number == 1 and appears(worked)

        def work() -> bool:
            worked.touch()
            return too_early

        return Job(work)

    assert run_crew(2, start) == [False, False]


def test_nobody_finishes_before_everybody_has_worked(tmp_path: Path) -> None:
    finished = tmp_path / "finished"

    def start(number: int) -> Job:
        return Job(lambda: number == 1 and appears(finished), finished.touch)

    assert run_crew(2, start) == [False, False]
    assert finished.exists()


def test_what_goes_wrong_in_finishing_is_told() -> None:
    with pytest.raises(CrewFailed, match="worker 0: ZeroDivisionError"):
        run_crew(1, lambda number: Job(lambda: None, lambda: 1 // number))


def test_what_a_worker_raises_is_told() -> None:
    def _raise() -> None:
        raise ValueError("no such thing")

    with pytest.raises(CrewFailed, match=r"worker 0: ValueError: no such thing \(test_bench_run\.py:\d+\)"):
        in_child(_raise)


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(CrewFailed, match="worker 0 died"):
        in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_workers_that_do_not_end_are_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def hang() -> None:
        told.write_text(str(os.getpid()))
        signal.pause()

    with pytest.raises(CrewFailed, match=r"1 of 1 workers did not end in 2 s"):
        in_child(hang, patience_seconds=2.0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_was_handed_out_twice_is_a_wrong_answer() -> None:
    with pytest.raises(WrongAnswer, match="a was handed out to agent-000 and to agent-001"):
        check([worker("a"), worker("b", "a")], {"a": "agent-000", "b": "agent-001"})


def test_the_claim_before_the_clock_starts_counts_as_any_other() -> None:
    with pytest.raises(WrongAnswer, match="a was handed out to agent-000 and to agent-001"):
        check([worker(first="a"), worker("a", first="b")], {"a": "agent-000", "b": "agent-001"})


def test_a_claim_that_is_not_there_afterwards_is_a_wrong_answer() -> None:
    with pytest.raises(WrongAnswer, match="b was answered to agent-001, and afterwards belongs to None"):
        check([worker("a"), worker("b")], {"a": "agent-000"})


def test_claims_that_are_there_are_right() -> None:
    check([worker("a"), worker("b")], {"a": "agent-000", "b": "agent-001", "c": "somebody"})


def test_the_figures_of_a_crowd() -> None:
    found = figures([worker("a", "b", "c", began=10, ended=12), worker("d", began=11, ended=14)])
    assert found == {
        "rate": 1.0,
        "cost": 1000.0,
        "cpu": 250.0,
        "share": 0.5,  # one of four, where two were fair
        "p99": 100.0,
        "ready": 30.0,
    }


def test_a_crowd_that_got_nothing_has_no_figures() -> None:
    with pytest.raises(WrongAnswer, match="nobody got any task"):
        figures([worker(), worker()])


def test_claiming_ends_when_nothing_is_left() -> None:
    left = ["a", "b"]
    assert claim_for(lambda: left.pop(0) if left else None, seconds=60)["claims"] == ["a", "b"]


def test_tasks_are_about_250_bytes_each() -> None:
    assert 225 < len(json.dumps(make_tasks(2000), separators=(",", ":"))) / 2000 < 275


@pytest.mark.parametrize("way", [FLOCK, SQLITE, SharedLog()], ids=lambda way: str(way.name))
def test_a_peer_hands_out_every_task_once(way: Claiming, tmp_path: Path) -> None:
    found: Mapping[str, float] = claiming_side(way, agents=3, tasks=40, seconds=60).measure(str(tmp_path))
    assert set(found) == {"rate", "cost", "cpu", "share", "p99", "ready"}
    assert set(way.owners(f"{tmp_path}/0")) == {task["id"] for task in make_tasks(40)}, (
        "the crowd's check was of them all"
    )


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cases_are_chosen_by_their_keys_in_their_own_order() -> None:
    assert [case.key for case in chosen("b9, B6")] == ["B6", "B9"]
    assert chosen("") == list(CASES)
    with pytest.raises(argparse.ArgumentTypeError, match="no case B99; there are B1, "):
        chosen("B6,B99")


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], check=False, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_quick_run_measures_the_log_and_writes_the_report(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    report = tmp_path / "report"
    done = run(
        *("-m", "benchmarks", "--quick", "--only", "B9", "--report", str(report), "--directory", str(made)),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((report / "figures.json").read_text(encoding="utf-8"))
    assert set(told["trials"]) == {"b9-single", "b9-group"}
    for trial in told["trials"].values():
        assert trial["samples"]["coordinator"]["rate"][0] > 0
    assert "durable records a second" in done.stdout
    assert (report / "b9-single.svg").exists()
    assert list(made.iterdir()) == [], "nothing is left behind"


def test_it_runs_as_a_file_too(tmp_path: Path) -> None:
    done = run(str(ROOT / "benchmarks" / "run.py"), "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
