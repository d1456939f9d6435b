"""Journals, faults, processes, the result and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.demo import show
from coordinator.demo.act import Outcome
from coordinator.demo.faults import FREEZE, KILL, draw_faults, stops_of
from coordinator.demo.judge import Counts
from coordinator.demo.ledger import CLAIM, COMPLETE, Entry, Journal, JournalTail, unfinished
from coordinator.demo.report import COLUMNS, Opening, PlainReport, Report, row_of, verdict_lines
from coordinator.demo.show import ACTS, Result, failures_of, run_demo
from coordinator.demo.worker import INSIDE, Spec
from coordinator.processes import ENDED, STOPPED, Child, Fleet

if TYPE_CHECKING:
    from pathlib import Path

# ── journals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_journal_is_read_as_it_grows_and_an_unended_line_is_left_for_later(tmp_path: Path) -> None:
    journal, tail = Journal(str(tmp_path), "worker-1", 2), JournalTail(str(tmp_path), "worker-1", 2)
    journal.write("ack", op=CLAIM, tag="ä", id="7", revision=3, fence=2, torn=0)
    assert tail.new_entries() == [
        Entry("worker-1", 2, "ready", pid=os.getpid()),
        Entry("worker-1", 2, "ack", CLAIM, "ä", "7", revision=3, fence=2),
    ]
    assert tail.new_entries() == []
    with open(tmp_path / "worker-1.2.jsonl", "ab") as file:
        file.write(b'{"kind": "e')
        file.flush()
        assert tail.new_entries() == []
        file.write(b'nd"}\n')
    assert tail.new_entries() == [Entry("worker-1", 2, "end")]


def test_a_journal_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert JournalTail(str(tmp_path), "worker-1", 1).new_entries() == []


def test_a_journal_belongs_to_one_life(tmp_path: Path) -> None:
    Journal(str(tmp_path), "worker-1", 1)
    with pytest.raises(FileExistsError):
        Journal(str(tmp_path), "worker-1", 1)


def test_what_a_former_life_claimed_and_did_not_complete_is_unfinished() -> None:
    def ack(op: str, name: str, kind: str = "ack") -> Entry:
        return Entry("worker-1", 1, kind, op, "", name)

    entries = [
        ack(CLAIM, "1"),
        ack(COMPLETE, "1"),
        ack(CLAIM, "2"),
        ack(COMPLETE, "2", "refused"),
        ack(CLAIM, "3", "x"),
    ]
    assert unfinished(entries) == [entries[2]]


def test_a_claim_whose_holder_was_refused_under_its_fence_is_not_taken_up_again() -> None:
    claims = [Entry("worker-1", 1, "ack", CLAIM, "", name, fence=fence) for name, fence in (("1", 4), ("2", 5))]
    refused = Entry("worker-1", 1, "refused", COMPLETE, "", "1", fence=4)
    assert unfinished([*claims, refused]) == [claims[1]]
    assert unfinished([*claims, replace(refused, fence=9)]) == claims, "a lease's: that update had a fence of its own"


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SLOTS = [f"worker-{n}" for n in range(8)]


def test_the_seed_draws_the_faults() -> None:
    assert draw_faults(5, SLOTS) == draw_faults(5, SLOTS)
    assert len({str(draw_faults(seed, SLOTS)) for seed in range(20)}) > 10


@pytest.mark.parametrize("seed", range(20))
def test_two_are_frozen_two_are_killed_and_each_slot_is_hit_once(seed: int) -> None:
    faults = draw_faults(seed, SLOTS)
    assert sorted(fault.kind for fault in faults) == [FREEZE, FREEZE, KILL, KILL]
    assert len({fault.worker for fault in faults}) == 4
    assert len(draw_faults(seed, SLOTS, pressure=2)) == 6


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_frozen_inside_its_commit_has_something_to_lose_over_logs_too(seed: int) -> None:
    (inside,) = [fault for fault in draw_faults(seed, SLOTS) if fault.place == INSIDE]
    assert inside.update % 2 == 0, "a completion: a claim that is not in the log yet holds nothing"


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_one_worker_is_always_spared(workers: int) -> None:
    assert len(draw_faults(1, SLOTS[:workers])) == workers - 1


def test_a_worker_is_told_its_own_stops_only() -> None:
    faults = draw_faults(5, SLOTS)
    for fault in faults:
        assert stops_of(faults, fault.worker) == ({fault.update: fault.place} if fault.update else {})


def test_a_worker_is_told_all_in_one_argument() -> None:
    spec = Spec("worker-1", 2, "lease", "/d", "/r", 1.5, 2, (5, 20), 9, {2: "between read and write"})
    assert Spec.from_argument(spec.to_argument()) == spec


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def start(fleet: Fleet, code: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Child:
    (folder / "made_up_worker.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return fleet.start("made_up_worker", "worker-1", 1)


def is_there(child: Child) -> bool:
    try:
        os.kill(child.process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_stopped_process_is_not_left_behind(
    error: type[BaseException] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP); os.read(0, 1)"

    def run() -> Child:
        with Fleet(str(tmp_path)) as fleet:
            child = start(fleet, code, monkeypatch, tmp_path)
            _, status = os.waitpid(child.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            found.append(child)
            if error:
                raise error
        return child

    found: list[Child] = []
    if error:
        with pytest.raises(error):
            run()
    else:
        run()
    assert not is_there(found[0])
    assert (found[0].state, found[0].status) == (ENDED, -signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGCONT])
def test_one_that_ends_just_before_it_is_signalled_is_still_seen_to_end(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Fleet(str(tmp_path)) as fleet:
        child = start(fleet, "import sys; sys.exit(7)", monkeypatch, tmp_path)
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody took its end
        child.signal(number)
        assert fleet.poll() == [child]
        assert (child.state, child.status) == (ENDED, 7)


def test_one_that_is_being_started_when_the_signal_comes_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    really = subprocess.Popen

    def start_and_be_told_to_end(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        started.append(really(*arguments, **more))
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, end)
    try:
        monkeypatch.setattr("coordinator.processes.subprocess.Popen", start_and_be_told_to_end)
        with pytest.raises(SystemExit), Fleet(str(tmp_path)) as fleet:
            start(fleet, "import os; os.read(0, 1)", monkeypatch, tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
        is_left = started[0].poll() is None
        started[0].kill()
        started[0].wait()
    assert not is_left
    assert fleet.children[0].state == ENDED


def test_a_stop_is_seen_and_those_who_are_dismissed_leave_of_their_own_accord(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, signal, sys; os.read(0, 1); os.kill(os.getpid(), signal.SIGSTOP); os.read(0, 1); sys.exit('bye')"
    with Fleet(str(tmp_path)) as fleet:
        child = start(fleet, code, monkeypatch, tmp_path)
        child.begin()
        deadline = time.monotonic() + 20
        while not fleet.poll() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert child.state == STOPPED
        fleet.dismiss_all()
        assert (child.state, child.status) == (ENDED, 1)
    assert child.last_words() == "bye"


def test_the_reader_continues_those_who_are_frozen_when_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal").mkdir()
    code = f"""
import os, signal
from coordinator.demo.ledger import Journal
Journal({str(tmp_path / "journal")!r}, "worker-1", 1)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    with Fleet(str(tmp_path)) as fleet:
        child = start(fleet, code, monkeypatch, tmp_path)
        _, status = os.waitpid(child.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        command = [sys.executable, "-m", "coordinator.demo.reader", str(tmp_path / "absent"), str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as reader:
            assert child.process.wait(20) == 0
            assert reader.wait(20) == 0
        child.state = ENDED


# ── the result ───────────────────────────────────────────────────────────────────────────────────────────────────────

COUNTS = Counts(
    acknowledged=20, lost=0, doubled=0, torn=0, refused=2, in_flight=0, reads=9, restored=0, unknown=0, done=10,
    whole=True, fields_kept=True, layout_kept=True,
)  # fmt: skip
NAIVE, _, LEASED, LOGS = ACTS


def outcome(spec: Any = LEASED, *, timed_out: bool = False, problems: tuple[str, ...] = (), **counts: Any) -> Outcome:
    return Outcome(spec, replace(COUNTS, **counts), 2, 2, 4.0, timed_out, list(problems), "/kept/tasks.json", 21)


def result(*outcomes: Outcome, kept: str = "") -> Result:
    return Result(Opening("tasks.json", 99, "a plan", 8, 5, ["a fault"]), list(outcomes), 1, 12.0, kept)


def test_losses_without_coordination_and_none_with_it_succeed() -> None:
    assert result(outcome(NAIVE, lost=3), outcome()).failures == []


@pytest.mark.parametrize(
    ("coordinated", "text"),
    [
        (outcome(lost=1), "1 lost"),
        (outcome(doubled=2), "2 doubled"),
        (outcome(torn=3), "3 torn"),
        (outcome(timed_out=True), "not finished after 4 s"),
        (outcome(acknowledged=0), "no update was acknowledged"),
        (outcome(problems=("broken",)), "broken"),
    ],
)
def test_whatever_is_wrong_under_leases_fails_and_is_named(coordinated: Outcome, text: str) -> None:
    found = result(outcome(NAIVE, lost=3), coordinated)
    assert found.failures == [f"under leases: {text}"]
    assert found.to_json()["ok"] is False
    assert f"  under leases: {text}" in verdict_lines(found)


def test_uncoordinated_acts_may_be_as_bad_as_they_are() -> None:
    assert failures_of(outcome(NAIVE, lost=3, doubled=4, torn=5, whole=False, timed_out=True)) == []


def test_counting_that_saw_no_loss_fails_the_run() -> None:
    found = result(outcome(NAIVE, doubled=4, torn=5), outcome())
    assert len(found.failures) == 1
    assert "could not show that the counting sees losses" in found.failures[0]


def test_a_process_that_failed_fails_the_run_in_any_act() -> None:
    found = result(outcome(NAIVE, lost=3, problems=("worker-1 failed",)), outcome())
    assert found.failures == ["in place: worker-1 failed"]


def test_the_acts_without_coordination_are_tried_again_with_more_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, float]] = []
    losses = iter([0, 0, 0, 5, 0, 0])

    def run_act(spec: Any, setting: Any, _folder: str, _report: Report) -> Outcome:
        seen.append((spec.strategy, setting.pressure, setting.work_ms[1]))
        return outcome(spec, lost=next(losses))

    monkeypatch.setattr(show, "_run_act", run_act)
    setting = show._prepare(None, 8, 1)[1]
    outcomes, tries = show._run_acts(setting, "/none", Report())
    assert tries == 2
    assert [(o.spec.strategy, o.counts.lost) for o in outcomes] == [
        ("in-place", 0), ("rename", 5), ("lease", 0), ("logs", 0),
    ]  # fmt: skip
    assert seen == [
        ("in-place", 0, 20), ("rename", 0, 20), ("in-place", 1, 5), ("rename", 1, 5), ("lease", 0, 20), ("logs", 0, 20),
    ]  # fmt: skip


def test_there_are_three_tries_at_most_and_none_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_run_act", lambda spec, *_: outcome(spec))
    setting = show._prepare(None, 8, 1)[1]
    assert show._run_acts(setting, "/none", Report())[1] == 3
    late = setting._replace(deadline=setting.deadline - show.TOTAL_LIMIT_S + show.COORDINATED_LIMIT_S)
    assert show._run_acts(late, "/none", Report())[1] == 1


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_a_row_an_act_under_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    acts = (outcome(NAIVE, lost=13, doubled=4, torn=77, refused=0), outcome(), outcome(LOGS))
    PlainReport().table(result(*acts))
    lines = capsys.readouterr().out.splitlines()
    assert len(COLUMNS) == len(row_of(outcome()))
    assert [line.split() for line in lines[-3:]] == [
        ["in", "place", "20", "13", "4", "77", "0", "2", "2", "4.0", "5"],
        ["under", "leases", "20", "0", "0", "0", "2", "2", "2", "4.0", "5"],
        ["over", "logs", "20", "0", "0", "0", "2", "2", "2", "4.0", "5"],
    ]
    assert "lost" in lines[-4]
    assert max(map(len, lines)) <= 90


def test_the_sentences_say_where_the_files_are_only_if_they_are_kept() -> None:
    acts = (outcome(NAIVE, lost=3), outcome())
    assert not any("/kept" in line for line in verdict_lines(result(*acts)))
    assert any(line.endswith("/kept/tasks.json") for line in verdict_lines(result(*acts, kept="/kept")))
    assert [act["file"] for act in result(*acts).to_json()["acts"]] == ["", ""]


def test_the_sentences_tell_the_acts_apart_and_compare_their_speed() -> None:
    lines = verdict_lines(result(outcome(NAIVE, lost=3), outcome(), replace(outcome(LOGS), seconds=0.5)))
    assert any("late commits of stale holders" in line for line in lines)
    assert any("claim had run out" in line and "21 revisions, replayed" in line for line in lines)
    assert any("8.0 times as many updates per second as under leases" in line for line in lines)
    assert lines[-1] == "OK: the counting sees losses, and under leases and over logs there are none (12 s in all)."
    broken = verdict_lines(result(outcome(NAIVE, lost=3), outcome(), outcome(LOGS, problems=("broken",))))
    assert not any("replayed" in line or "times as many" in line for line in broken)


# ── what cannot be started ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"{", "not acceptable JSON"), (b"{}", "neither a list"), (b"[]", "no task with an id")],
)
def test_a_file_that_will_not_do_is_refused_before_anything_starts(
    content: bytes | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.json"
    if content is not None:
        path.write_bytes(content)
    assert run_demo(tasks_path=str(path), workers=4, as_json=True, keep=None, seed=None) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err


@pytest.mark.parametrize("workers", [-1, 0, 1, 33])
def test_the_number_of_workers_has_limits(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(tasks_path=None, workers=workers, as_json=False, keep=None, seed=1) == 2
    assert "from 2 to 32" in capsys.readouterr().err


def test_a_directory_with_something_in_it_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").touch()
    assert run_demo(tasks_path=None, workers=4, as_json=False, keep=str(tmp_path), seed=1) == 2
    assert "not empty" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["mine"]


def test_the_seed_comes_from_the_call_the_environment_or_chance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(show.SEED_VARIABLE, "77")
    assert (show._prepare(None, 8, 5)[1].seed, show._prepare(None, 8, None)[1].seed) == (5, 77)
    monkeypatch.setenv(show.SEED_VARIABLE, "seven")
    assert run_demo(tasks_path=None, workers=4, as_json=False, keep=None, seed=None) == 2
    assert "not a whole number" in capsys.readouterr().err
    monkeypatch.delenv(show.SEED_VARIABLE)
    assert len({show._prepare(None, 8, None)[1].seed for _ in range(10)}) > 1


def test_large_files_get_fewer_tasks(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    tasks = [{"id": n, "status": "pending", "text": "x" * 20_000} for n in range(150)]
    for count, most in ((150, show.TASKS_MIN), (40, 40)):
        path.write_text(json.dumps(tasks[:count]))
        assert len(show._prepare(str(path), 8, 1)[1].plan.chosen) == most


def test_it_runs_without_a_terminal_and_json_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = iter([3, 0, 0, 0])
    monkeypatch.setattr(show, "_run_act", lambda spec, *_: outcome(spec, lost=next(losses)))
    assert run_demo(tasks_path=None, workers=4, as_json=True, keep=None, seed=1) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert [act["lost"] for act in said["acts"]] == [3, 0, 0, 0]
