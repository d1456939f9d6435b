"""The ways to change the file: what each of them loses, keeps and refuses, with the interleaving forced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from coordinator import Workspace
from coordinator.demo import strategies
from coordinator.demo.plan import Plan, make_plan, set_status
from coordinator.demo.reader import is_whole
from coordinator.demo.strategies import (
    FILE,
    STRATEGIES,
    Ack,
    InPlace,
    NotNow,
    OverLogs,
    ReadModifyWrite,
    Refused,
    TakenOver,
    TempRename,
    Torn,
    UnderLease,
    Unknown,
    make_strategy,
)

BEFORE = b'{\n "a": 0,\n "b": 0\n}'
PLAN = Plan("plain", ())
REWRITING = [name for name in STRATEGIES if name != "logs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Workspace.init(tmp_path)
    (tmp_path / FILE).write_bytes(BEFORE)
    return tmp_path


def made(name: str, folder: Path, agent: str = "one", ttl_s: float = 30) -> ReadModifyWrite:
    strategy = make_strategy(name, str(folder), agent, ttl_s=ttl_s, plan=PLAN)
    assert isinstance(strategy, ReadModifyWrite)
    return strategy


def setting(key: str) -> strategies.Change:
    def change(value: Any) -> bool:
        value[key] += 1
        return True

    return change


def nothing() -> None:
    """Between read and write."""


@pytest.mark.parametrize("name", REWRITING)
def test_each_way_changes_the_file(name: str, folder: Path) -> None:
    strategy = made(name, folder)
    assert strategy.update(setting("a"), nothing) is not None
    assert strategy.update(setting("a"), nothing) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 2, "b": 0}
    assert json.loads(strategy.look()) == {"a": 2, "b": 0}
    assert [path for path in os.listdir(folder) if path.endswith(".tmp")] == []


@pytest.mark.parametrize("name", REWRITING)
def test_no_change_is_no_update(name: str, folder: Path) -> None:
    assert made(name, folder).update(lambda _value: False, nothing) is None
    assert (folder / FILE).read_bytes() == BEFORE


def test_an_update_under_a_lease_says_its_revision_and_keeps_the_layout(folder: Path) -> None:
    strategy = made("lease", folder)
    first = strategy.update(setting("a"), nothing)
    second = strategy.update(setting("a"), nothing)
    assert first is not None
    assert second is not None
    assert (first.revision, second.revision) == (2, 3)  # 1 is the file as it was found
    assert first.fence < second.fence
    assert (folder / FILE).read_bytes() == BEFORE.replace(b'"a": 0', b'"a": 2')


@pytest.mark.parametrize("name", ["in-place", "rename"])
def test_without_a_lock_an_update_in_between_is_lost(name: str, folder: Path) -> None:
    one, two = made(name, folder), made(name, folder, "two")
    assert one.update(setting("a"), lambda: acknowledged(two.update(setting("b"), nothing))) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 1, "b": 0}


def acknowledged(ack: Ack | None) -> None:
    assert ack is not None


def test_under_a_lease_an_update_in_between_has_to_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "LEASE_WAIT_S", 0.05)
    one, two = made("lease", folder), made("lease", folder, "two")

    def other() -> None:
        with pytest.raises(NotNow):
            two.update(setting("b"), nothing)

    assert one.update(setting("a"), other) is not None
    assert two.update(setting("b"), nothing) is not None
    assert json.loads((folder / FILE).read_bytes()) == {"a": 1, "b": 1}


def test_a_holder_that_slept_past_its_ttl_is_refused_and_its_content_kept(folder: Path) -> None:
    one, two = made("lease", folder, ttl_s=0.2), made("lease", folder, "two")
    with pytest.raises(Refused) as refused:
        one.update(setting("a"), lambda: acknowledged(two.update(setting("b"), nothing)))
    assert refused.value.reason == "taken"
    assert json.loads(Path(refused.value.kept).read_bytes()) == {"a": 1, "b": 0}
    assert json.loads((folder / FILE).read_bytes()) == {"a": 0, "b": 1}


def test_a_lease_lost_with_nothing_to_commit_is_no_refusal(folder: Path) -> None:
    made("lease", folder).update(setting("a"), nothing)
    one, two = made("lease", folder, ttl_s=0.2), made("lease", folder, "two")

    def change(_value: Any) -> bool:
        acknowledged(two.update(setting("b"), nothing))
        return False

    with pytest.raises(NotNow):
        one.update(change, nothing)


def test_a_commit_that_was_made_is_acknowledged_though_the_release_finds_the_lease_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator import DocumentLease

    commit = DocumentLease.commit_json

    def commit_and_lose(lease: DocumentLease, value: Any) -> Any:
        receipt = commit(lease, value)
        Workspace(folder, agent="operator").break_lease(FILE, fence=lease.fence)
        return receipt

    monkeypatch.setattr(DocumentLease, "commit_json", commit_and_lose)
    ack = made("lease", folder).update(setting("a"), nothing)
    assert ack is not None
    assert ack.revision == 2


@pytest.mark.parametrize("kind", [InPlace, TempRename])
def test_a_torn_file_is_told_and_stays_as_it_is_while_somebody_may_be_writing(
    kind: type[InPlace | TempRename], folder: Path
) -> None:
    strategy = kind(str(folder), PLAN)
    strategy.look()
    for torn in (b"", b'{"a":', BEFORE + b"}"):
        (folder / FILE).write_bytes(torn)
        with pytest.raises(Torn):
            strategy.update(setting("a"), nothing)
        assert (folder / FILE).read_bytes() == torn
    (folder / FILE).unlink()
    with pytest.raises(Torn):
        strategy.look()
    assert strategy.restored == 0


def test_a_file_that_stays_broken_is_brought_back_from_the_last_whole_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    strategy, newcomer = InPlace(str(folder), PLAN), InPlace(str(folder), PLAN)
    strategy.look()
    (folder / FILE).write_bytes(b"{")
    for now in (100.0, 100.0 + strategies.BROKEN_FOR_S + 0.01):
        clock[0] = now
        for reader in (newcomer, strategy):  # the newcomer has no copy to bring back
            with pytest.raises(Torn):
                reader.look()
    assert (strategy.restored, newcomer.restored) == (1, 0)
    assert json.loads(newcomer.look()) == json.loads(BEFORE)


def test_the_reader_tells_whole_from_torn(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert not is_whole(str(path))
    for content, whole in ((BEFORE, True), (b"", False), (BEFORE[:-1], False), (BEFORE * 2, False), (b"\xff", False)):
        path.write_bytes(content)
        assert is_whole(str(path)) is whole


def test_workers_load_nothing_that_they_do_not_need() -> None:
    code = (
        "import sys, coordinator.demo.worker; print([m for m in sys.modules if m.split('.')[0] in set(sys.argv[1:])])"
    )
    banned = ["rich", "typer", "portalocker", "asyncio"]
    done = subprocess.run([sys.executable, "-c", code, *banned], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("left_alone", [False, True])
def test_a_worker_is_stopped_inside_its_second_commit_but_not_when_nobody_is_left_to_continue_it(
    left_alone: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.demo import worker
    from coordinator.demo.worker import INSIDE, INSIDE_POINT, Stopper
    from coordinator.testing import Call, PauseAt

    monkeypatch.setattr(worker, "_told_to_leave", lambda: left_alone)

    class Recorder(PauseAt):
        passed = 0

        def __call__(self, call: Call) -> None:
            self.passed += self.armed and self._matches(call)

    inside = Recorder(INSIDE_POINT, armed=False)
    strategy = UnderLease(str(folder), "one", 30, PLAN, inside)
    stopper = Stopper({2: INSIDE}, inside)
    strategy.update(setting("a"), stopper.between)
    assert not inside.armed
    strategy.update(setting("a"), stopper.between)
    assert (inside.passed > 0) is not left_alone


# ── claims and completions ───────────────────────────────────────────────────────────────────────────────────────────

TASKS = {
    "tasks": [
        {"id": 1, "status": "todo", "needs": "no list", "max_attempts": 1},
        {"id": "b", "status": "todo", "dependencies": [1]},
        {"id": 3, "status": "completed"},
    ],
}
TAGGED = {
    "a/b~c": {"tasks": [{"id": 7, "status": "pending", "subtasks": [{"id": 1, "status": "pending"}]}]},
    "x": {
        "tasks": [{"id": 7, "status": "completed"}, {"id": 8, "status": "pending"}, {"id": 9, "status": "in_progress"}]
    },
}
LIST = [{"id": "1", "status": "pending"}, {"id": 2, "status": "pending", "dependencies": ["1"]}]


def is_told() -> bool:
    return False


def put(folder: Path, document: Any) -> Plan:
    (folder / FILE).write_text(json.dumps(document, indent=4))
    plan = make_plan(document, workers=1, most=2)
    assert plan.honours_dependencies
    return plan


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("document", [TASKS, TAGGED, LIST], ids=["plain", "tagged", "list"])
def test_each_way_claims_and_completes_every_task_in_the_words_of_the_file(
    name: str, document: Any, folder: Path
) -> None:
    plan = put(folder, document)
    strategy = make_strategy(name, str(folder), "one", ttl_s=30, plan=plan)
    done: list[Any] = []
    while (claim := strategy.claim(nothing)) is not None:
        assert strategy.complete(claim, nothing) is not None
        done.append(claim.address)
    assert sorted(done) == sorted(plan.chosen)
    assert not strategy.more(9, is_told)
    expected = json.loads(json.dumps(document))
    for address in plan.chosen:
        set_status(expected, address, plan.done)
    assert json.loads(Workspace(folder).document(FILE).read()) == expected


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_task_waits_for_its_dependencies(name: str, folder: Path) -> None:
    plan = put(folder, LIST)
    one, two = (make_strategy(name, str(folder), agent, ttl_s=30, plan=plan) for agent in ("one", "two"))
    first = one.claim(nothing)
    assert first is not None
    assert first.address == ("", "1")
    assert two.claim(nothing) is None
    if name != "logs":  # there, it says so at once, and the next claim waits
        assert not two.more(0.01, is_told), "nothing moves"
    one.complete(first, nothing)
    assert two.more(20, is_told)
    second = two.claim(nothing)
    assert second is not None
    assert second.address == ("", "2")


def test_over_logs_every_update_can_be_traced_and_the_layout_stays(folder: Path) -> None:
    plan = put(folder, TASKS)
    strategy = make_strategy("logs", str(folder), "one", ttl_s=30, plan=plan)
    calls: list[str] = []
    claim = strategy.claim(lambda: calls.append("claim"))
    assert claim is not None
    done = strategy.complete(claim, lambda: calls.append("complete"))
    assert done is not None
    assert calls == ["claim", "complete"]
    assert (claim.ack.fence, done.ack.fence) == (1, 1)
    document = Workspace(folder).document(FILE)
    change = document.changes(done.ack.revision - 1)[0]
    assert [operation["op_id"] for operation in change.operations] == [done.ack.op_id]
    first = json.dumps(TASKS, indent=4).replace('"todo"', '"completed"', 1)
    assert document.read().decode() == first


def test_over_logs_a_worker_that_slept_past_its_claim_is_refused_and_its_result_kept(folder: Path) -> None:
    plan = put(folder, LIST)
    one = make_strategy("logs", str(folder), "one", ttl_s=0.1, plan=plan)
    two = make_strategy("logs", str(folder), "two", ttl_s=30, plan=plan)
    claim = one.claim(nothing)
    assert claim is not None

    def take_over() -> None:
        while (taken := two.claim(nothing)) is None:
            assert two.more(20, is_told)
        assert taken.address == claim.address

    with pytest.raises(TakenOver) as refused:
        one.complete(claim, take_over)
    assert (refused.value.fence, refused.value.address, refused.value.reason) == (1, ("", "1"), "superseded")
    board = Workspace(folder).tasks(FILE, format="list")
    told = board.get("1")
    assert told is not None
    assert told["holder"] == "two"
    assert [(late["agent"], late["epoch"], late["result"]) for late in told["late_results"]] == [
        ("one", 1, {"by": "one"})
    ]


def test_over_logs_one_waits_for_a_claim_that_may_run_out_but_not_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = put(folder, LIST)
    one, two = (make_strategy("logs", str(folder), agent, ttl_s=30, plan=plan) for agent in ("one", "two"))
    assert one.claim(nothing) is not None
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert two.more(3, is_told)
    clock[0] = 102.9
    assert two.more(3, is_told)
    assert not two.more(3, lambda: True)
    clock[0] = 103.1
    assert not two.more(3, is_told)


@pytest.mark.parametrize(("unknown", "kind"), [(True, Unknown), (False, NotNow)])
def test_over_logs_trouble_is_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, unknown: bool, kind: type[Exception]
) -> None:
    from coordinator import StoreUnavailable, TaskBoard

    strategy = make_strategy("logs", str(folder), "one", ttl_s=30, plan=put(folder, LIST))
    claim = strategy.claim(nothing)
    assert claim is not None

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("no answer", resource=FILE, cause="EIO", outcome_unknown=unknown)

    monkeypatch.setattr(TaskBoard, "complete", fail)
    monkeypatch.setattr(TaskBoard, "claim_next", fail)
    with pytest.raises(kind):
        strategy.complete(claim, nothing)
    with pytest.raises(kind):
        strategy.claim(nothing)


def test_over_logs_under_a_lease_nothing_is_decided_and_nothing_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator import TaskBoard

    strategy = make_strategy("logs", str(folder), "one", ttl_s=30, plan=put(folder, LIST))
    claim = strategy.claim(nothing)
    assert claim is not None
    monkeypatch.setattr(TaskBoard.complete, "__kwdefaults__", {"op_id": None, "wait": 0.05})
    with Workspace(folder).lease(FILE), pytest.raises(NotNow):
        strategy.complete(claim, nothing)
    done = strategy.complete(claim, nothing)
    assert done is not None
    assert json.loads(Workspace(folder).document(FILE).read())[0]["status"] == "done"


def test_a_worker_is_stopped_inside_its_second_update_before_that_is_in_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.demo import worker
    from coordinator.demo.worker import INSIDE, Spec, Stopper, _inside

    monkeypatch.setattr(worker, "_told_to_leave", lambda: False)
    seen: list[tuple[int, list[Any]]] = []
    other = Workspace(folder).document(FILE)

    def stop(_pid: int, number: int) -> None:
        seen.append((number, [task["status"] for task in other.read_json()]))
        other.compact()
        seen.append((number, [task["status"] for task in other.read_json()]))

    monkeypatch.setattr(os, "kill", stop)
    spec = Spec("one", 1, "logs", str(folder), "", 30, 2, (5, 20), 9, {2: INSIDE})
    inside = _inside(spec)
    assert inside is not None
    stopper = Stopper(spec.stops, inside)
    strategy = OverLogs(str(folder), "one", 30, put(folder, LIST), inside)
    claim = strategy.claim(stopper.between)
    assert claim is not None
    assert seen == []
    assert strategy.complete(claim, stopper.between) is not None
    assert seen == [(signal.SIGSTOP, ["in-progress", "pending"])] * 2, "and whoever folds then finds nothing of it"


@pytest.mark.parametrize("kind", ["in-place", "rename", "lease", "logs"])
def test_only_ways_with_a_commit_can_be_stopped_inside_it(kind: str) -> None:
    from coordinator.demo.worker import BETWEEN, INSIDE, Spec, _inside

    spec = Spec("one", 1, kind, "", "", 30, 2, (5, 20), 9, {2: INSIDE})
    assert (_inside(spec) is not None) is (kind in {"lease", "logs"})
    assert _inside(Spec("one", 1, kind, "", "", 30, 2, (5, 20), 9, {2: BETWEEN})) is None
