"""``compact``: once, and in a loop that a signal ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import wait_until

from coordinator import Workspace
from coordinator.cli import compact as module
from coordinator.names import Resource
from coordinator.record.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started

NOTHING = {"revision": 0, "applied": 0, "rejected": 0, "quarantined": 0, "waiting_for": ""}


def submit(workspace: Workspace, name: str, count: int, first: int = 0) -> None:
    """Puts updates into this process's log, and leaves them there."""
    document = workspace.document(name)
    for i in range(first, first + count):
        document.update({f"n{i}": i}, wait=0)


@pytest.fixture
def two(workspace: Workspace) -> Workspace:
    """Two documents at revision 1."""
    for name in ("a.json", "b/b.json"):
        workspace.document(name).commit(b"{}\n", if_revision=0)
    return workspace


def log_of(workspace: Workspace, name: str) -> Path:
    return Path(Places(workspace.directory).of(Resource.parse(name), "log"))


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_documents_are_folded(call: Callable[..., Answer], two: Workspace) -> None:
    submit(two, "a.json", 3)
    submit(two, "b/b.json", 1)
    two.document("b/b.json").update([{"op": "test", "path": "", "value": 1}], wait=0)
    told = call("compact", "--json")
    assert (told.status, told.err) == (0, "")
    assert told.value == {
        "documents": [
            NOTHING | {"resource": "a.json", "revision": 2, "applied": 3},
            NOTHING | {"resource": "b/b.json", "revision": 2, "applied": 1, "rejected": 1},
        ],
        "trouble": [],
    }
    assert two.document("a.json").read_json() == {"n0": 0, "n1": 1, "n2": 2}
    assert json.loads(Path("b/b.json").read_text()) == {"n0": 0}, "the plain file as well"
    assert call("compact", "--json").value["documents"] == [
        NOTHING | {"resource": name} for name in ("a.json", "b/b.json")
    ]
    assert call("compact").out == "a.json: nothing is new\nb/b.json: nothing is new\n"


def test_only_those_that_are_named_are(call: Callable[..., Answer], two: Workspace) -> None:
    for name in ("a.json", "b/b.json"):
        submit(two, name, 1)
    assert call("compact", "b/b.json").out == "b/b.json: folded as revision 2: 1 applied\n"
    assert (two.document("a.json").revision, two.document("b/b.json").revision) == (1, 2)
    assert call("compact", "../outside").status == 2


def test_a_document_that_is_leased_has_to_wait(call: Callable[..., Answer], two: Workspace) -> None:
    submit(two, "a.json", 1)
    with two.lease("a.json"):
        assert call("compact", "a.json").out == "a.json: it has to wait for alice's lease\n"
        told = call("compact", "--json")
    assert told.status == 0
    assert told.value["documents"][0] == NOTHING | {"resource": "a.json", "waiting_for": "alice"}
    assert call("compact", "a.json").out == "a.json: folded as revision 2: 1 applied\n"


def test_more_than_one_fold_reads_is_folded(
    call: Callable[..., Answer], two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.document.compactor.FOLD_BATCH_BYTES", 300)
    for i in range(4):
        other = Workspace(two.directory, agent=f"agent-{i}")
        submit(other, "a.json", 5, first=10 * i)
    (told, _) = call("compact", "--json").value["documents"]
    assert told["applied"] == 20
    assert told["revision"] > 2, "in several folds"


def newer(workspace: Workspace) -> None:
    """A log with an operation that this version does not know."""
    workspace.document("a.json").perform([{"do": "patch.next", "patch": []}], wait=0)


def damaged(workspace: Workspace) -> None:
    path = f"{Places(workspace.directory).of(Resource.parse('a.json'), 'chain')}/{9:012d}"
    os.symlink("v=1/n=9/nonsense", path)


def test_one_that_is_not_understood_does_not_hold_up_the_others(call: Callable[..., Answer], two: Workspace) -> None:
    newer(two)
    submit(two, "b/b.json", 1)
    told = call("compact", "--json")
    assert told.status == 65
    assert [each["resource"] for each in told.value["documents"]] == ["b/b.json"]
    assert len(told.value["trouble"]) == 1
    assert "alice" in told.value["trouble"][0], "whose log it is"
    told = call("compact")
    assert told.status == 65
    assert told.err.startswith("coordinator: left alone: ")


def test_one_that_is_damaged_does_not_hold_up_the_others(call: Callable[..., Answer], two: Workspace) -> None:
    submit(two, "b/b.json", 1)
    damaged(two)
    assert call("compact", "a.json").status == 65
    told = call("compact", "--json")
    assert told.status == 65
    assert [each["applied"] for each in told.value["documents"]] == [1]
    assert "a.json" in told.value["trouble"][0]


def test_what_was_never_folded_is_found_by_its_log(call: Callable[..., Answer], workspace: Workspace) -> None:
    """Its writer died, or did not wait: nobody else would ever ask for this document by name."""
    submit(workspace, "new.json", 1)
    assert [each["resource"] for each in call("compact", "--json").value["documents"]] == ["new.json"]
    assert workspace.document("new.json").read_json() == {"n0": 0}


def test_a_file_that_was_only_leased_is_not_taken_over(call: Callable[..., Answer], workspace: Workspace) -> None:
    Path("build.log").write_text("not ours\n")
    with workspace.lease("build.log"):
        pass
    assert call("compact").status == 0
    assert workspace.document("build.log").revision == 0


# ── in a loop ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_cleanly(start: Callable[..., Started], two: Workspace, number: int) -> None:
    looping = start("compact", "--loop", "--json")
    submit(two, "a.json", 1)
    told = json.loads(looping.line())
    assert told == NOTHING | {"resource": "a.json", "revision": 2, "applied": 1}
    submit(two, "b/b.json", 2)
    told, applied = json.loads(looping.line()), 0
    while applied + told["applied"] < 2:
        applied, told = applied + told["applied"], json.loads(looping.line())
    assert told["resource"] == "b/b.json"
    looping.send(number)
    assert looping.end() == (0, "", "")
    assert json.loads(Path("b/b.json").read_text()) == {"n0": 0, "n1": 1}, "the plain file is brought up to date"


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc(5))."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_two_loops_at_once_fold_everything_once(start: Callable[..., Started], two: Workspace) -> None:
    loops = [start("compact", "--loop", "--json") for _ in range(2)]
    document = two.document("a.json")
    for i in range(30):
        submit(two, "a.json", 2, first=2 * i)
        if i % 10 == 0:
            document.compact()  # a third one, in between
    wait_until(lambda: len(document.read_json()) == 60)
    wait_until(lambda: all(catches(each.pid, signal.SIGTERM) for each in loops))  # both are up
    told: list[dict[str, Any]] = []
    for each in loops:
        each.send(signal.SIGTERM)
        answer = each.end()
        assert (answer.status, answer.err) == (0, "")
        told += [json.loads(line) for line in answer.out.splitlines()]
    changes = {change.revision: change for change in document.changes(1)}
    revisions = [each["revision"] for each in told]
    assert len(set(revisions)) == len(revisions), "none was made by both"
    ids = [operation["op_id"] for change in changes.values() for operation in change.operations]
    assert len(ids) == len(set(ids)) == 60
    folded_here = sum(len(change.operations) for change in changes.values() if change.agent == "alice")
    assert sum(each["applied"] for each in told) + folded_here == 60


def test_waiting_agents_and_a_loop(start: Callable[..., Started], two: Workspace) -> None:
    looping = start("compact", "--loop", "--json", "--agent", "compactor")
    submit(two, "a.json", 1)
    looping.line()
    document = two.document("a.json")
    for i in range(20):
        assert document.update({"i": i}).state == "applied"
    assert document.read_json()["i"] == 19
    looping.send(signal.SIGTERM)
    assert looping.end().status == 0


def test_it_ends_by_itself_when_nothing_happens(start: Callable[..., Started], two: Workspace) -> None:
    submit(two, "a.json", 1)
    told = start("compact", "--loop", "--idle-exit", "0.2").end()
    assert told == (0, "a.json: folded as revision 2: 1 applied\n", "")


def test_the_loop_finds_documents_that_are_new(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: a document comes between two looks around."""
    monkeypatch.setattr(module, "LOOK_AROUND_S", 0.01)
    workspace.document("a.json").commit(b"{}\n", if_revision=0)
    seen = iter(range(2))
    documents = module._documents

    def with_another(opened: Workspace, names: list[str]) -> list[Any]:
        if next(seen, None) == 1:
            workspace.document("later.json").commit(b"{}\n", if_revision=0)
            submit(workspace, "later.json", 1)
        return documents(opened, names)

    monkeypatch.setattr(module, "_documents", with_another)
    told = call("compact", "--loop", "--idle-exit", "0.3")
    assert told == (0, "later.json: folded as revision 2: 1 applied\n", "")


def test_the_loop_collects_and_retires(
    call: Callable[..., Answer], two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(two, "a.json", 1)
    call("compact")
    log = log_of(two, "a.json")
    assert len(list(log.iterdir())) == 1, "alice's, which she goes on with"
    monkeypatch.setattr("coordinator.document.retire.RETIRE_AFTER_MS", -1000)
    told = call("compact", "a.json", "--loop", "--collect-every", "0.05", "--idle-exit", "0.4", "--json")
    assert told.status == 0
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert lines
    assert all(set(line) == {"collected"} for line in lines)
    assert set(lines[0]["collected"]) == {"records", "files", "bytes_freed"}
    assert list(log.iterdir()) == []
    text = call("compact", "a.json", "--loop", "--collect-every", "0.05", "--idle-exit", "0.2").out
    assert "bytes freed" in text
    assert two.document("a.json").update({"again": 1}).state == "applied", "under the same ids, in a new log"


def test_the_loop_tells_trouble_once_and_goes_on(
    call: Callable[..., Answer], two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_MAX_S", 0.01)
    newer(two)
    submit(two, "b/b.json", 1)
    told = call("compact", "--loop", "--idle-exit", "0.3")
    assert (told.status, told.out) == (0, "b/b.json: folded as revision 2: 1 applied\n")
    assert told.err.count("\n") == 1, "many looks, and told once"
    assert "alice" in told.err


def test_the_loop_says_once_whom_it_waits_for(
    call: Callable[..., Answer], two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_MAX_S", 0.01)
    submit(two, "a.json", 1)
    with two.lease("a.json"):
        told = call("compact", "--loop", "--idle-exit", "0.3")
    assert told == (0, "a.json: it has to wait for alice's lease\n", "")


def test_pauses_grow_while_nothing_happens_and_are_never_twice_the_same(
    two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    watched = module._Watched(two.document("a.json"))
    pauses = []
    for _ in range(40):
        watched.put_off(module.PAUSE_MAX_S, folded=False)
        pauses.append(watched.due)
    assert all(module.PAUSE_MIN_S / 2 <= pause <= module.PAUSE_MAX_S for pause in pauses)
    assert max(pauses[:5]) < 0.05
    assert min(pauses[-10:]) >= module.PAUSE_MAX_S / 2
    assert len(set(pauses)) == len(pauses)
    watched.put_off(module.PAUSE_MAX_S, folded=True)
    assert watched.due <= module.PAUSE_MIN_S


def test_nobody_reads_what_the_loop_says(start: Callable[..., Started], two: Workspace) -> None:
    looping = start("compact", "--loop", "--json")
    submit(two, "a.json", 1)
    looping.line()
    looping._process.stdout.close()  # type: ignore[union-attr]
    submit(two, "a.json", 1, first=1)
    assert looping._process.wait(40) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--idle-exit", "1"],
        ["--loop", "--idle-exit", "0"],
        ["--loop", "--idle-exit", "nan"],
        ["--loop", "--collect-every", "0"],
        ["--loop", "../outside"],
    ],
)
def test_what_is_no_way_to_compact(call: Callable[..., Answer], two: Workspace, arguments: list[str]) -> None:
    told = call("compact", *arguments, "--json")
    assert (told.status, told.out) == (2, "")
    assert two.document("a.json").revision == 1


def test_no_workspace(call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("compact", "--loop").status == 66
