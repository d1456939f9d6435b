"""``coordinator tasks``, as shells and agents in any language use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import TaskBoard
from coordinator.cli import exits

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Workspace

    from .conftest import Answer, Started

    Call = Callable[..., Answer]


@pytest.fixture
def board(call: Call) -> None:
    """Two tasks: ``a``, and ``b`` that needs python."""
    call("tasks", "add", '[{"id": "a", "title": "Write"}, {"id": "b", "title": "Test", "needs": ["python"]}]')


def claimed(call: Call, *options: str) -> Any:
    answer = call("tasks", "claim", "--json", *options)
    assert answer.status == 0
    return answer.value


# ── the way of a task ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("board")
def test_the_way_of_a_task(call: Call, workspace: Workspace) -> None:
    task = claimed(call, "--ttl", "60")
    assert set(task) == {"id", "epoch", "attempt", "until_ms", "task"}
    assert (task["id"], task["epoch"], task["task"]["title"]) == ("a", 1, "Write")
    beat = call("tasks", "heartbeat", "a", "--epoch", "1", "--ttl", "600", "--json").value
    assert beat["until_ms"] > task["until_ms"] + 500_000
    done = call("tasks", "complete", "a", "--epoch", "1", "--result", '{"n": [1, 2.5]}', "--json").value
    assert (done["status"], done["revision"] > 0) == ("done", True)
    shown = call("tasks", "show", "a", "--json").value
    assert (shown["result"], shown["by"], shown["late_results"]) == ({"n": [1, 2.5]}, "bob", [])
    assert workspace.tasks("tasks.json").stats()["by_status"] == {"done": 1, "pending": 1}
    assert json.loads(Path("tasks.json").read_text())["tasks"][0]["status"] == "done"


@pytest.mark.usefixtures("board")
def test_what_people_are_told(call: Call) -> None:
    assert call("tasks", "claim") == (0, "a\t1\tWrite\n", "")
    assert call("tasks", "claim", "--needs", "shell") == (exits.NOTHING, "", "")
    listed = call("tasks", "list").out.splitlines()
    assert listed[0].split() == ["ID", "STATUS", "PRIORITY", "HOLDER", "UNTIL", "TRIES", "WAITS", "FOR", "TITLE"]
    assert listed[1].split()[:3] == ["a", "in-progress", "bob"]
    assert call("tasks", "stats").out.splitlines()[:2] == ["1 in-progress", "1 pending"]
    assert call("tasks", "heartbeat", "a", "--epoch", "1").out == "a is yours for 300 s\n"
    assert call("tasks", "release", "a", "--epoch", "1").out == "a is pending again\n"
    assert call("tasks", "cancel", "a", "--reason", "no").out == "a is cancelled\n"
    assert "reason: no\n" in call("tasks", "show", "a").out


@pytest.mark.usefixtures("board")
def test_fail_release_and_cancel(call: Call) -> None:
    claimed(call, "--id", "b")
    failed = call("tasks", "fail", "b", "--epoch", "1", "--error", "no luck", "--delay", "0", "--json").value
    assert (failed["status"], failed["attempts"], failed["max_attempts"]) == ("pending", 1, 3)
    assert claimed(call, "--id", "b")["attempt"] == 2
    final = call("tasks", "fail", "b", "--epoch", "2", "--error", "never", "--final", "--json").value
    assert final["status"] == "failed"
    claimed(call)
    assert call("tasks", "release", "a", "--epoch", "3", "--json").value["status"] == "pending"
    assert call("tasks", "cancel", "a", "--json").value["status"] == "cancelled"
    assert [each["id"] for each in call("tasks", "list", "--status", "failed", "--json").value] == ["b"]


@pytest.mark.usefixtures("board")
def test_nothing_to_claim(call: Call) -> None:
    claimed(call, "--count", "5")
    answer = call("tasks", "claim", "--json")
    assert answer.status == exits.NOTHING == 79
    assert answer.value["id"] is None
    assert answer.value["next_ms"] > 0
    assert call("tasks", "claim", "--count", "2", "--json")[:2] == (79, "[]\n")
    assert call("tasks", "claim", "--wait", "0.1").status == 79
    assert call("tasks", "claim", "--wait", "soon").status == 2


@pytest.mark.usefixtures("board")
def test_filters(call: Call) -> None:
    call("tasks", "add", '{"id": "c", "team": "x", "size": 3}', "A title alone")
    assert claimed(call, "--where", "team=x", "--where", "size=3")["id"] == "c"
    assert claimed(call, "--needs", "java")["id"] == "a"
    assert [each["task"].get("title") for each in claimed(call, "--count", "9", "--needs", "java")] == ["A title alone"]
    assert [each["id"] for each in call("tasks", "list", "--where", "size=3", "--json").value] == ["c"]
    assert [
        each["id"] for each in call("tasks", "list", "--holder", "bob", "--status", "pending", "--json").value
    ] == []
    assert call("tasks", "list", "--where", "size").status == 2


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("board")
def test_a_completion_that_comes_too_late(call: Call, workspace: Workspace) -> None:
    claimed(call, "--ttl", "0.1")
    winner = workspace.tasks("tasks.json").claim_next(ids=["a"], wait=30)
    assert winner
    answer = call("tasks", "complete", "a", "--epoch", "1", "--result", '"mine"', "--json")
    assert answer.status == exits.LOST == 76
    assert answer.error["error"] == "ClaimLost"
    fields = answer.error["fields"]
    assert (fields["task_id"], fields["fence"], fields["successor"]) == ("a", 1, "alice")
    assert fields["kept"]
    late = call("tasks", "show", "a", "--json").value["late_results"]
    assert [(each["agent"], each["result"]) for each in late] == [("bob", "mine")]
    assert "late_results" in call("tasks", "show", "a").out


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("show", "zzz"), 66),
        (("complete", "zzz", "--epoch", "1"), 75),
        (("complete", "a", "--epoch", "0"), 2),
        (("complete", "a"), 2),
        (("complete", "a", "--epoch", "1", "--result", "no JSON"), 2),
        (("add", "{"), 2),
        (("add", "[1]"), 2),
        (("add", '{"id": "a"}'), 75),
        (("add", '{"dependencies": ["zzz"]}'), 75),
        (("claim", "--ttl", "0"), 2),
        (("claim", "--format", "xml"), 2),
        (("claim", "--option", "x"), 2),
        (("claim", "--option", "x=y"), 2),
        (("claim", "--format", "taskmaster"), 65),
        (("claim", "--document", "nowhere.json"), 66),
        (("list", "--document", "nowhere.json"), 66),
        (("import", "nowhere.json"), 66),
    ],
)
def test_refusals(call: Call, arguments: tuple[str, ...], status: int) -> None:
    answer = call("tasks", *arguments, "--json")
    assert (answer.status, answer.out) == (status, "")
    assert answer.error["message"]


@pytest.mark.usefixtures("board")
def test_what_is_not_decided_in_time(call: Call, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is durable; a script is told so by an error with the op_id to ask again."""
    claimed(call)
    with monkeypatch.context() as patch, workspace.lease("tasks.json", ttl=60):
        patch.setattr(TaskBoard.complete, "__kwdefaults__", {"op_id": None, "wait": 0.1})
        answer = call("tasks", "complete", "a", "--epoch", "1", "--json")
    assert answer.status == 75
    assert answer.error["fields"]["holder"] == "alice"
    op_id = answer.error["fields"]["op_id"]
    assert call("tasks", "complete", "a", "--epoch", "1", "--op-id", op_id, "--json").value["status"] == "done"


def test_a_claim_that_could_not_be_told_is_given_back(call: Call) -> None:
    call("tasks", "add", '{"id": "a"}')
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli", "tasks", "claim"], stdout=writer, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == 0, "as of all commands whose output nobody reads"
    assert claimed(call)["attempt"] == 1


# ── adding and importing ─────────────────────────────────────────────────────────────────────────────────────────────


def test_add_says_the_ids(call: Call) -> None:
    assert call("tasks", "add", '{"id": 7}', '[{"id": "x"}]', "--json").value == {"ids": ["7", "x"]}
    made = call("tasks", "add", "One", "Two", "--op-id", "add-1").out.split()
    assert call("tasks", "add", "One", "Two", "--op-id", "add-1").out.split() == made
    assert [each["title"] for each in call("tasks", "list", "--json").value] == [None, None, "One", "Two"]


def test_add_from_stdin(start: Callable[..., Started], call: Call) -> None:
    adding = start("tasks", "add", "-", "--json")
    adding.write_line('[{"id": "a"}, {"id": "b", "dependencies": ["a"]}]')
    adding._process.stdin.close()  # type: ignore[union-attr]
    assert adding.end().value == {"ids": ["a", "b"]}
    completing = claimed(call)
    done = start("tasks", "complete", completing["id"], "--epoch", str(completing["epoch"]), "--result", "-", "--json")
    done.write_line('{"big": 123456789012345678901234567890}')
    done._process.stdin.close()  # type: ignore[union-attr]
    assert done.end().status == 0
    assert call("tasks", "show", "a", "--json").value["result"] == {"big": 123456789012345678901234567890}


TASKMASTER = {
    "master": {
        "tasks": [
            {"id": 1, "title": "one", "status": "done", "dependencies": [], "priority": "high", "details": "d"},
            {
                "id": 2,
                "title": "two",
                "status": "in-progress",
                "dependencies": [1],
                "subtasks": [
                    {"id": 1, "title": "sub", "status": "review"},
                    {"id": 2, "title": "sub two", "status": "pending", "dependencies": [1]},
                ],
            },
        ]
    }
}


def test_import_of_a_taskmaster_file_into_a_board_of_our_own(call: Call) -> None:
    Path("tm.json").write_text(json.dumps(TASKMASTER))
    answer = call("tasks", "import", "tm.json")
    assert answer.out.split() == ["1", "2", "2.1", "2.2"]
    assert len(answer.err.splitlines()) == 2, "what was in progress, and a state that this board has not"
    assert json.loads(Path("tm.json").read_text()) == TASKMASTER
    told = {each["id"]: each for each in call("tasks", "list", "--json").value}
    assert {one: each["status"] for one, each in told.items()} == {
        "1": "done",
        "2": "pending",
        "2.1": "deferred",
        "2.2": "pending",
    }
    assert told["2"]["dependencies"] == ["1", "2.1", "2.2"]
    assert told["2.2"]["dependencies"] == ["2.1", "1"]
    assert told["1"]["task"]["details"] == "d"
    assert "subtasks" not in told["2"]["task"]
    assert call("tasks", "import", "tm.json").status == 75, "the same ids once more"


def test_import_into_a_taskmaster_document(call: Call, workspace: Workspace) -> None:
    workspace.document("theirs.json").commit(b'{"dev": {"tasks": []}}', if_revision=0)
    Path("tm.json").write_text(json.dumps(TASKMASTER))
    into = ("--document", "theirs.json", "--format", "taskmaster", "--tag", "dev")
    assert call("tasks", "import", "tm.json", *into, "--json").value == {"ids": ["1", "2"]}
    tasks = json.loads(workspace.document("theirs.json").read())["dev"]["tasks"]
    assert tasks[0] == TASKMASTER["master"]["tasks"][0]
    assert tasks[1] == {
        **TASKMASTER["master"]["tasks"][1],
        "status": "pending",
        "subtasks": [
            {"id": 1, "title": "sub", "status": "deferred"},
            {"id": 2, "title": "sub two", "status": "pending", "dependencies": [1]},
        ],
    }
    assert call("tasks", "claim", *into).status == 79, "2.2 waits for 2.1, and that is deferred"


def test_import_of_a_list_with_names_of_its_own(call: Call) -> None:
    Path("list.json").write_text(json.dumps({"work": [{"key": "K-1", "name": "x", "state": "todo", "after": []}]}))
    answer = call(
        "tasks",
        "import",
        "list.json",
        *("--from", "list"),
        *(
            part
            for option in ("at=/work", "id=key", "title=name", "status=state", "dependencies=after")
            for part in ("--from-option", option)
        ),
        *("--from-option", "states.pending=todo"),
        "--json",
    )
    assert answer.value == {"ids": ["K-1"]}
    assert claimed(call)["task"] == {"id": "K-1", "title": "x", "status": "in-progress"}


def test_import_that_needs_to_be_told_more(call: Call) -> None:
    Path("tags.json").write_text('{"a": {"tasks": []}, "b": {"tasks": [{"id": 1}]}}')
    assert "several tags: a, b" in call("tasks", "import", "tags.json").err
    assert call("tasks", "import", "tags.json", "--from-tag", "b", "--json").value == {"ids": ["1"]}
    Path("none.json").write_text('{"a": 1}')
    assert call("tasks", "import", "none.json").status == 2
    Path("bad.json").write_text('[{"title": "no id"}]')
    assert call("tasks", "import", "bad.json").status == 65
    Path("broken.json").write_text("[")
    assert call("tasks", "import", "broken.json").status == 65


def test_a_foreign_document_named_by_the_environment(
    call: Call, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{\n  "master": {"tasks": [ {"id": 1,  "status": "pending"} ]}\n}\n'
    workspace.document("tm.json").commit(text, if_revision=0)
    monkeypatch.setenv("COORDINATOR_TASKS", "tm.json")
    monkeypatch.setenv("COORDINATOR_TASKS_FORMAT", "taskmaster")
    assert claimed(call)["task"] == {"id": 1, "status": "in-progress"}
    assert call("tasks", "complete", "1", "--epoch", "1").status == 0
    assert Path("tm.json").read_bytes() == text.replace(b"pending", b"done")


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

LOOP = """
while :; do
    claimed=$("$PYTHON" -m coordinator.cli tasks claim) || exit $?
    set -- $claimed
    echo "$1"
    result="\\"$COORDINATOR_AGENT\\""
    "$PYTHON" -m coordinator.cli tasks complete "$1" --epoch "$2" --result "$result" > /dev/null || exit 1
done
"""


def test_two_shells_never_claim_the_same_task(call: Call) -> None:
    call("tasks", "add", json.dumps([{"id": f"t{i}"} for i in range(5)]))
    shells = [
        subprocess.Popen(
            ["/bin/sh", "-c", LOOP],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHON": sys.executable, "COORDINATOR_AGENT": agent},
            text=True,
        )
        for agent in ("one", "two")
    ]
    had = {
        agent: shell.communicate(timeout=100)[0].split() for agent, shell in zip(("one", "two"), shells, strict=True)
    }
    assert [shell.returncode for shell in shells] == [exits.NOTHING, exits.NOTHING]
    assert sorted(had["one"] + had["two"]) == [f"t{i}" for i in range(5)]
    for each in call("tasks", "list", "--json").value:
        assert (each["status"], each["attempts"]) == ("done", 1)
        assert each["id"] in had[each["result"]]


def test_a_claim_that_waits_and_a_watch(start: Callable[..., Started], call: Call, workspace: Workspace) -> None:
    board = workspace.tasks("tasks.json")
    board.add({"id": "a", "needs": ["nobody"]})
    watching = start("tasks", "watch", "--timeout", "60", "--json")
    waiting = start("tasks", "claim", "--needs", "x", "--wait", "forever", "--json", "--agent", "shell")
    board.add({"id": "b"})
    answer = waiting.end()
    assert (answer.status, answer.value["id"]) == (0, "b")
    board.cancel("a")
    told = json.loads(watching.line())
    while told["id"] != "a":
        told = json.loads(watching.line())
    assert (told["was"], told["status"]) == ("pending", "cancelled")
    assert call("tasks", "watch", "--timeout", "0") == (0, "", "")
