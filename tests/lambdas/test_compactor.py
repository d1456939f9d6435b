"""The compactor function by its real handler: what each event does, what it tells, what it refuses."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from compactor_support import SCHEDULED, TABLE, Sandbox, Stack, metrics_of

from coordinator import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines import Engine

pytest.importorskip("aws_lambda_powertools", reason="the functions need the extra `lambda`")
START: dict[str, list[str]] = {"done": []}


@pytest.fixture
def stack(tmp_path: Path, dynamodb: Engine) -> Iterator[Stack]:
    made = Stack(tmp_path / "shared", dynamodb)
    made.mounted.document("a.json").commit_json(START, if_revision=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def environment() -> Iterator[Sandbox]:
    """One process for all: it is a matter of time."""
    with Sandbox() as made:
        yield made


@pytest.fixture
def sandbox(stack: Stack, environment: Sandbox) -> Sandbox:
    environment.become(stack.variables())
    return environment


def scheduled_now(minutes: int = 1) -> dict[str, Any]:
    """The schedule that counts the minute that is on."""
    at = datetime.now(UTC).timestamp() // 60 * 60 + 60 * minutes
    return {**SCHEDULED, "time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


# ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_folds_logs_and_inbox_of_all_documents(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one", "two")
    stack.append("a.json", "three", distant=False)
    told = sandbox.run(SCHEDULED)
    assert (told["applied"], told["idle"], told["failures"]) == (3, True, [])
    stack.judge("a.json")


def test_an_operation_on_a_document_that_nobody_has_folded_yet_is_found(stack: Stack, sandbox: Sandbox) -> None:
    stack.distant.document("new/b.json").update({"made": True}, wait=0)
    assert sandbox.run({"fold": []})["applied"] == 1
    assert stack.told("new/b.json") == {"made": True}


def test_fold_of_named_documents_leaves_other_logs_to_the_schedule(stack: Stack, sandbox: Sandbox) -> None:
    stack.mounted.document("b.json").commit_json(START, if_revision=0)
    stack.append("a.json", "here", distant=False)
    stack.mounted.document("b.json").update({"later": 1}, wait=0)
    assert sandbox.run({"fold": ["a.json"]})["applied"] == 1
    stack.judge("a.json")
    assert sandbox.run(SCHEDULED)["applied"] == 1


def test_a_second_event_at_once_leaves_nothing_out(stack: Stack, sandbox: Sandbox) -> None:
    """The library looks at an inbox five times a second at most; a warm environment is asked again sooner."""
    for key in ("one", "two", "three"):
        stack.append("a.json", key)
        assert sandbox.run({"fold": ["a.json"]})["applied"] == 1


def test_what_is_written_while_it_folds_is_folded_too(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one")
    sandbox.send({"fold": ["a.json"]}, stop_at="committed")
    sandbox.wait_stopped()
    stack.append("a.json", "two")
    sandbox.thaw()
    assert sandbox.receive()["returned"]["applied"] == 2
    stack.judge("a.json")


def test_a_document_that_is_damaged_holds_up_no_other_and_is_told(
    stack: Stack, sandbox: Sandbox, dynamodb: Engine
) -> None:
    stack.mounted.document("0-bad.json").update({"x": 1}, wait=5)
    client = dynamodb.client()
    key = {"pk": {"S": stack.id}, "sk": {"S": "record/0-bad.json/@"}}
    client.update_item(
        TableName=TABLE,
        Key=key,
        UpdateExpression="SET #record = :cut",
        ExpressionAttributeNames={"#record": "record"},
        ExpressionAttributeValues={":cut": {"S": "v=1/n=3"}},
        ConditionExpression="attribute_exists(pk)",
    )
    stack.append("a.json", "one")
    told = sandbox.invoke(SCHEDULED)
    assert told["raised"] == "CompactionFailed"
    assert "0-bad.json" in told["text"]
    assert "CorruptRecord" in told["text"]
    assert metrics_of(told)["Failures"] == [1.0]
    stack.judge("a.json")


def test_a_log_that_is_set_aside_fails_no_invocation_but_has_its_figure(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one", "two", distant=False)
    logs = next(folder for folder, _, files in os.walk(stack.directory) if folder.endswith("/log") and files)
    path = f"{logs}/{os.listdir(logs)[0]}"
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        data[len(data) // 3] ^= 0xFF
        file.seek(0)
        file.write(data)
    told = sandbox.invoke(SCHEDULED)
    assert told["returned"]["failures"] == []
    assert metrics_of(told)["QuarantinedLogs"] == [1.0]


def test_a_lease_that_is_in_the_way_is_no_failure_and_shows_as_lag(stack: Stack, sandbox: Sandbox) -> None:
    with stack.mounted.lease("a.json", ttl=60):
        stack.append("a.json", "one", "two")
        stack.append("a.json", "three", distant=False)
        told = sandbox.invoke(SCHEDULED)
    assert told["returned"]["held"] == {"a.json": "mounted"}
    figures = metrics_of(told)
    assert figures["CompactionLagOperations"] == [3.0]
    assert 0 < figures["CompactionLagSeconds"][0] < 60


def test_an_event_of_another_kind_is_refused(sandbox: Sandbox) -> None:
    events: list[Any] = [{}, [], None, {"fold": "a.json"}, {"fold": [1]}, {"source": "aws.s3"}]
    for event in events:
        assert sandbox.invoke(event)["raised"] == "BadValue"


def test_a_bad_name_in_a_fold_holds_up_no_other(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one", distant=False)
    told = sandbox.invoke({"fold": ["../etc/passwd", "a.json"]})
    assert told["raised"] == "CompactionFailed"
    stack.judge("a.json")


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_figures_have_the_names_of_the_alarms_and_the_dashboard(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one", "two")
    figures = metrics_of(sandbox.invoke(SCHEDULED))
    assert set(figures) == {
        "CompactionLagSeconds",
        "CompactionLagOperations",
        "FoldMilliseconds",
        "Conflicts",
        "Steals",
        "FencedCommits",
        "QuarantinedLogs",
        "Failures",
    }
    assert figures["CompactionLagOperations"] == [2.0]
    assert len(figures["FoldMilliseconds"]) == 1


def test_the_lag_is_published_when_there_is_none(sandbox: Sandbox) -> None:
    """Silence is the worst lag, to the alarm."""
    figures = metrics_of(sandbox.invoke(SCHEDULED))
    assert figures["CompactionLagSeconds"] == figures["CompactionLagOperations"] == [0.0]


def test_steals_and_fenced_commits_of_others_are_counted_in_their_minute_only(stack: Stack, sandbox: Sandbox) -> None:
    from coordinator import LeaseLost

    with Workspace(stack.directory, agent="slow", table=TABLE) as slow:
        held = slow.lease("a.json", ttl=0.3)
        with stack.mounted.lease("a.json", ttl=5, wait=5), pytest.raises(LeaseLost):
            held.commit(b'{"done": ["late"]}')
    figures = [metrics_of(sandbox.invoke(scheduled_now(minutes))) for minutes in (0, 1, 2)]
    assert sum(one["Steals"][0] for one in figures) == 1
    assert sum(one["FencedCommits"][0] for one in figures) == 1


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reads(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one")
    sandbox.run({"fold": ["a.json"]})
    status, told = sandbox.ask("documents/read", document="a.json")
    assert status == 200
    assert json.loads(told["text"]) == {"done": ["one"]}
    assert told["revision"] == 2
    status, told = sandbox.ask("documents/changes", document="a.json", since=0, limit=1)
    assert (status, [row["revision"] for row in told["changes"]], told["next"]) == (200, [1], 1)
    _, told = sandbox.ask("documents/changes", document="a.json", since=told["next"])
    assert [row["whole"] for row in told["changes"]] == [False]
    _, told = sandbox.ask("documents/changes", document="a.json", since=2)
    assert (told["changes"], told["next"]) == ([], 2)


def test_a_read_folds_what_it_is_to_contain(stack: Stack, sandbox: Sandbox) -> None:
    stack.append("a.json", "one", distant=False)
    status, told = sandbox.ask("documents/read", document="a.json", at_least=2, wait_ms=1500)
    assert (status, told["revision"]) == (200, 2)
    status, told = sandbox.ask("documents/read", document="a.json", at_least=99, wait_ms=50)
    assert (status, told["error"]) == (409, "RevisionNotReached")


def test_content_that_is_no_text(stack: Stack, sandbox: Sandbox) -> None:
    import base64

    stack.mounted.document("image").commit(b"\xff\x00\xfe", if_revision=0)
    _, told = sandbox.ask("documents/read", document="image")
    assert base64.b64decode(told["base64"]) == b"\xff\x00\xfe"


def test_tasks(stack: Stack, sandbox: Sandbox) -> None:
    board = stack.mounted.tasks("tasks.json")
    board.add([{"id": str(number), "title": f"t{number}"} for number in range(5)])
    status, told = sandbox.ask("tasks/list", document="tasks.json", board={"format": "default"})
    assert (status, [task["id"] for task in told["tasks"]], told["next"]) == (200, ["0", "1", "2", "3", "4"], None)
    _, told = sandbox.ask("tasks/list", document="tasks.json", limit=2)
    assert ([task["id"] for task in told["tasks"]], told["next"]) == (["0", "1"], "1")
    _, told = sandbox.ask("tasks/list", document="tasks.json", limit=2, after="3")
    assert ([task["id"] for task in told["tasks"]], told["next"]) == (["4"], None)
    assert sandbox.ask("tasks/get", document="tasks.json", id="3")[1]["task"]["title"] == "t3"
    assert sandbox.ask("tasks/get", document="tasks.json", id="9")[1] == {"task": None}
    assert sandbox.ask("tasks/stats", document="tasks.json")[1]["stats"]["tasks"] == 5


@pytest.mark.parametrize(
    ("call", "body", "status", "error"),
    [
        ("documents/read", {"document": "none.json"}, 404, "NoSuchDocument"),
        ("documents/read", {"document": "../etc/passwd"}, 422, "BadName"),
        ("documents/read", {}, 422, "BadValue"),
        ("documents/read", {"document": "a.json", "at_least": -1}, 422, "BadValue"),
        ("documents/read", {"document": "a.json", "unknown": 1}, 422, "BadValue"),
        ("documents/changes", {"document": "a.json", "limit": True}, 422, "BadValue"),
        ("documents/commit", {"document": "a.json"}, 422, "BadValue"),
        ("tasks/list", {"document": "a.json", "board": {"format": "none"}}, 422, "BadValue"),
        ("tasks/list", {"document": "a.json", "board": {"format": "default", "x": 1}}, 422, "BadValue"),
        ("tasks/list", {"document": "a.json", "status": [1]}, 422, "BadValue"),
        ("tasks/get", {"document": "a.json", "id": None}, 422, "BadValue"),
        (None, {}, 422, "BadValue"),
        ("documents/read", [], 422, "BadValue"),
    ],
)
def test_refusals_are_answers(sandbox: Sandbox, call: Any, body: Any, status: int, error: str) -> None:
    told = sandbox.run({"ask": {"call": call, "body": body}})
    assert (told["status"], told["body"]["error"]) == (status, error)
    assert set(told["body"]) == {"error", "message", "hint", "fields"}


def test_an_answer_that_does_not_fit_is_refused_and_never_cut(stack: Stack, sandbox: Sandbox) -> None:
    stack.mounted.document("large").commit(b'"' * (3 << 20), if_revision=0)  # 4 bytes each, in a text inside a text
    status, told = sandbox.ask("documents/read", document="large")
    assert (status, told["error"]) == (413, "BadValue")
    assert told["fields"]["most"] < 6 << 20 < told["fields"]["value"]
    stack.mounted.document("fits").commit(b"x" * (5 << 20), if_revision=0)
    assert sandbox.ask("documents/read", document="fits")[0] == 200


def test_a_directory_of_another_workspace_is_refused(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.become({**stack.variables(), "COORDINATOR_WORKSPACE": "another"})
    assert sandbox.invoke(SCHEDULED)["raised"] == "WorkspaceError"


def test_a_mount_that_is_not_there_is_not_made_a_workspace(stack: Stack, sandbox: Sandbox, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    sandbox.become({**stack.variables(), "COORDINATOR_DIRECTORY": str(empty)})
    assert sandbox.invoke(SCHEDULED)["raised"] == "NotAWorkspace"
    assert list(empty.iterdir()) == []


def test_a_mount_that_is_new_is_made_the_workspace_of_the_stack(tmp_path: Path) -> None:
    """The file system that a deployment has made is empty, and in its subnets nobody else may have a way to it."""
    from coordinator.errors import WorkspaceError
    from coordinator.files import SYSTEM_FILES
    from coordinator.mounts import Mounted
    from coordinator.record.format import read_format
    from coordinator.service.compacting import make_if_mounted
    from coordinator.testing import InterceptedFiles

    root = str(tmp_path)

    class MountedHere(InterceptedFiles):
        def mount_of(self, path: str) -> Mounted | None:
            assert path == root
            return Mounted(root, "nfs4", frozenset())

    files = MountedHere(SYSTEM_FILES, lambda _call: None)
    make_if_mounted(files, root, "main")
    assert (found := read_format(SYSTEM_FILES, root)).workspace_id == "main"
    assert found.authority["mode"] == "table"
    make_if_mounted(SYSTEM_FILES, root, "main")  # from then on it is looked at only
    with pytest.raises(WorkspaceError, match="'main'"):
        make_if_mounted(files, root, "other")
