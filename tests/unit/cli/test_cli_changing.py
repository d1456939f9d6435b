"""``document update`` and ``document changes``: JSON in, JSON out, and a status for a rejection."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.cli import exits
from coordinator.names import Resource
from coordinator.record.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Workspace

    from .conftest import Answer, Started


@pytest.fixture
def plan(workspace: Workspace) -> Workspace:
    """A document at revision 1, by alice."""
    workspace.document("plan.json").commit(b'{"a": 1, "list": [1]}\n', if_revision=0)
    return workspace


def value(workspace: Workspace) -> Any:
    return workspace.document("plan.json").read_json()


# ── update ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (['{"a": null, "b": 2}'], {"list": [1], "b": 2}),
        (["--merge", '{"a": null, "b": 2}'], {"list": [1], "b": 2}),
        (['[{"op": "add", "path": "/list/-", "value": "ü"}]'], {"a": 1, "list": [1, "ü"]}),
        (['{"a": 2}', "--if-revision", "1"], {"a": 2, "list": [1]}),
        (['{"a": 123456789012345678901234567890}'], {"a": 123456789012345678901234567890, "list": [1]}),
    ],
)
def test_an_update(call: Callable[..., Answer], plan: Workspace, arguments: list[str], after: Any) -> None:
    told = call("document", "update", "plan.json", *arguments, "--json")
    assert (told.status, told.err) == (0, "")
    op_id = told.value["op_id"]
    expected = {"resource": "plan.json", "op_id": op_id, "state": "applied", "revision": 2, "again": False}
    assert told.value == expected
    assert value(plan) == after
    (change,) = plan.document("plan.json").changes(1)
    assert [(each["op_id"], each["agent"]) for each in change.operations] == [(op_id, "bob")]


def test_an_update_for_people(call: Callable[..., Answer], plan: Workspace) -> None:
    assert call("document", "update", "plan.json", '{"b": 2}') == (0, "plan.json is updated in revision 2\n", "")
    assert Path("plan.json").read_text() == '{"a": 1, "list": [1], "b": 2}\n'
    assert value(plan)["b"] == 2


@pytest.mark.parametrize("option", [(), ("--merge",)])
def test_a_patch_from_stdin(start: Callable[..., Started], plan: Workspace, option: tuple[str, ...]) -> None:
    started = start("document", "update", "plan.json", *option, "-", "--json")
    started.write_line('{"b": "ü"}')
    started._process.stdin.close()  # type: ignore[union-attr]
    assert started.end().value["revision"] == 2
    assert value(plan)["b"] == "ü"


def test_an_update_makes_the_document(call: Callable[..., Answer], workspace: Workspace) -> None:
    assert call("document", "update", "new/one.json", '{"a": 1}', "--json").value["state"] == "applied"
    assert workspace.document("new/one.json").read_json() == {"a": 1}


@pytest.mark.parametrize(
    ("arguments", "why", "winner"),
    [
        (['[{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/list"}]'], "test", "kim"),
        (['[{"op": "test", "path": "/list/0", "value": 2}]'], "test", "alice"),
        (['{"a": 9}', "--if-revision", "1"], "revision", "kim"),
        (['{"a": 9}', "--if-revision", "7"], "revision", ""),
    ],
)
def test_a_rejection_has_its_own_status_and_says_why_who_was_first_and_when(
    call: Callable[..., Answer], plan: Workspace, arguments: list[str], why: str, winner: str
) -> None:
    assert call("document", "update", "plan.json", '{"a": 2}', "--agent", "kim").status == 0
    if winner == "alice":  # a commit of the whole content: whoever made it changed everything, as far as is known
        document = plan.document("plan.json")
        document.commit_json({"a": 2, "list": [1]}, if_revision=document.revision)
    told = call("document", "update", "plan.json", *arguments, "--json")
    assert (told.status, told.out) == (exits.REJECTED, "")
    assert exits.REJECTED == 77
    assert told.error["error"] == "OperationRejected"
    fields = told.error["fields"]
    revision = plan.document("plan.json").revision
    # Of a commit under a lease, the changes do not tell the agent.
    assert (fields["why"], fields["winner"], fields["revision"]) == (why, "" if winner == "alice" else winner, revision)
    told = call("document", "update", "plan.json", *arguments)
    assert told.status == 77
    assert f"rejected at revision {revision + 1}" in told.err
    assert ("kim was first" in told.err) is (winner == "kim")
    assert value(plan) == {"a": 2, "list": [1]}


def test_an_update_is_made_once(call: Callable[..., Answer], plan: Workspace) -> None:
    append = '[{"op": "add", "path": "/list/-", "value": 2}]'
    first = call("document", "update", "plan.json", append, "--op-id", "mine-1", "--json").value
    again = call("document", "update", "plan.json", append, "--op-id", "mine-1", "--json").value
    assert (first["again"], again["again"]) == (False, True)
    assert (again["op_id"], again["revision"]) == ("mine-1", first["revision"])
    assert value(plan)["list"] == [1, 2]
    assert "was updated" in call("document", "update", "plan.json", append, "--op-id", "mine-1").out


def test_without_waiting_it_is_durable(call: Callable[..., Answer], plan: Workspace) -> None:
    told = call("document", "update", "plan.json", '{"b": 2}', "--wait", "0", "--op-id", "x", "--json")
    assert (told.status, told.value["state"], told.value["revision"]) == (0, "durable", 0)
    assert "--op-id y" in call("document", "update", "plan.json", '{"c": 3}', "--wait", "0", "--op-id", "y").out
    assert plan.document("plan.json").revision == 1
    assert call("compact", "plan.json").status == 0
    assert value(plan) == {"a": 1, "list": [1], "b": 2, "c": 3}


def test_what_is_not_decided_in_time(
    call: Callable[..., Answer], plan: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is durable; a script is told so by an error, with the op_id to ask again."""
    with plan.lease("plan.json"):
        told = call("document", "update", "plan.json", '{"b": 2}', "--wait", "0.05", "--json")
    assert (told.status, told.out, told.error["error"]) == (75, "", "LeaseHeld")
    assert told.error["fields"]["holder"] == "alice"
    op_id = told.error["fields"]["op_id"]
    assert op_id in told.error["hint"]
    told = call("document", "update", "plan.json", '{"b": 2}', "--op-id", op_id, "--json")
    assert (told.status, told.value["op_id"]) == (0, op_id)
    assert value(plan)["b"] == 2

    from coordinator.document.compactor import Compactor, Folded

    monkeypatch.setattr(Compactor, "fold_once", lambda *_, **__: Folded())
    told = call("document", "update", "plan.json", '{"c": 2}', "--wait", "0.05", "--json")
    assert (told.status, told.error["error"]) == (69, "StoreUnavailable")
    assert (told.error["fields"]["outcome_unknown"], bool(told.error["fields"]["op_id"])) == (True, True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["{}", "--merge", "{}"], 2),
        (["{"], 2),
        (["3"], 2),
        (["--merge", "[]"], 2),
        (['{"a": 1, "a": 2}'], 2),
        (['[{"op": "jump", "path": ""}]'], 2),
        (["{}", "--wait", "nan"], 2),
        (["{}", "--wait", "-1"], 2),
        (["{}", "--wait", "soon"], 2),
        (["{}", "--op-id", "a b"], 2),
        (["{}", "--if-revision", "-1"], 2),
    ],
)
def test_what_is_no_update(call: Callable[..., Answer], plan: Workspace, arguments: list[str], status: int) -> None:
    told = call("document", "update", "plan.json", *arguments, "--json")
    assert (told.status, told.out) == (status, "")
    assert told.error["message"]
    assert plan.document("plan.json").revision == 1


@pytest.mark.parametrize("data", [b"\xff", b""])
def test_stdin_that_is_no_json(start: Callable[..., Started], plan: Workspace, data: bytes) -> None:
    started = start("document", "update", "plan.json", "-", "--json")
    started._process.stdin.write(data)  # type: ignore[union-attr]
    started._process.stdin.close()  # type: ignore[union-attr]
    told = started.end()
    assert (told.status, told.out, told.error["error"]) == (2, "", "BadValue")
    assert plan.document("plan.json").revision == 1


def test_an_update_of_what_is_no_json(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("notes").commit(b"text\n", if_revision=0)
    told = call("document", "update", "notes", '{"a": 1}', "--json")
    assert (told.status, told.error["error"]) == (77, "OperationRejected")
    assert workspace.document("notes").read() == b"text\n"


def test_every_update_ends_its_log(call: Callable[..., Answer], plan: Workspace) -> None:
    for i in range(5):
        call("document", "update", "plan.json", f'{{"n": {i}}}')
    call("compact")
    assert list(Path(Places(plan.directory).of(Resource.parse("plan.json"), "log")).iterdir()) == []


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_changes(call: Callable[..., Answer], plan: Workspace) -> None:
    document = plan.document("plan.json")
    document.update({"b": 2}, op_id="one")
    call("document", "update", "plan.json", '{"b": 2}', "--if-revision", "1")
    told = call("document", "changes", "plan.json", "--json")
    assert (told.status, told.err) == (0, "")
    first, second, third = map(json.loads, told.out.splitlines())
    assert (first["revision"], first["whole"], first["operations"]) == (1, True, [])
    assert set(second) == {"revision", "at_ms", "agent", "whole", "operations"}
    assert second["operations"] == [
        {
            "op_id": "one",
            "agent": "alice",
            "outcome": "applied",
            "patch": [{"op": "add", "path": "/b", "value": 2}],
        }
    ]
    assert (second["revision"], second["agent"], second["whole"]) == (2, "alice", False)
    assert [(each["agent"], each["outcome"], each["patch"]) for each in third["operations"]] == [
        ("bob", "rejected", [])
    ]
    since = call("document", "changes", "plan.json", "--since", "2", "--json").out
    assert [json.loads(line)["revision"] for line in since.splitlines()] == [3]
    assert call("document", "changes", "plan.json", "--since", "3") == (0, "", "")
    lines = call("document", "changes", "plan.json").out.splitlines()
    assert lines[0] == "revision 1: committed whole"
    assert lines[1].startswith("revision 2 20")
    assert lines[1].endswith(" by alice")
    assert lines[2] == '  alice one applied [{"op": "add", "path": "/b", "value": 2}]'


def test_changes_of_what_is_not_there(call: Callable[..., Answer], workspace: Workspace) -> None:
    assert call("document", "changes", "nope", "--json").status == 66
    Path("notes").write_text("mine\n")
    assert call("document", "changes", "notes") == (0, "", "")
    assert workspace.status() == [], "looking adopts nothing"


def test_changes_that_are_no_longer_kept(
    call: Callable[..., Answer], plan: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.document import compactor, tidy

    monkeypatch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)
    monkeypatch.setattr(tidy, "FOLD_KEEP_BYTES", 0)
    for i in range(6):  # each with a fold file of its own
        call("document", "update", "plan.json", f'{{"n": {i}}}')
    plan.document("plan.json").collect()
    told = call("document", "changes", "plan.json", "--since", "1", "--json")
    assert (told.status, told.error["error"]) == (2, "BadValue")
    assert "no longer kept" in told.error["message"]
    kept = [json.loads(line) for line in call("document", "changes", "plan.json", "--json").out.splitlines()]
    assert kept[-1]["revision"] == plan.document("plan.json").revision
    assert kept[0]["revision"] > 2
    assert any(each["operations"] for each in kept), "all that is kept is told, without --since"


def test_follow_tells_changes_as_they_come(start: Callable[..., Started], plan: Workspace) -> None:
    document = plan.document("plan.json")
    receipt = document.update({"b": 2})
    following = start("document", "changes", "plan.json", "--follow", "--since", "1", "--json")
    assert json.loads(following.line())["revision"] == receipt.revision == 2
    for i in (3, 4):
        document.update({"b": i})
        told = json.loads(following.line())
        assert (told["revision"], told["operations"][0]["patch"][0]["value"]) == (i, i)
    following.send(signal.SIGINT)
    assert following.end().status == 130


def test_follow_ends_when_its_time_is_over_or_nobody_reads(call: Callable[..., Answer], plan: Workspace) -> None:
    plan.document("plan.json").update({"b": 2})
    assert call("document", "changes", "plan.json", "--follow", "--timeout", "0") == (0, "", ""), "from now on"
    told = call("document", "changes", "plan.json", "-f", "--since", "0", "--timeout", "0.01", "--json")
    assert [json.loads(line)["revision"] for line in told.out.splitlines()] == [1, 2]
    assert call("document", "changes", "not/yet.json", "-f", "--timeout", "0") == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["--timeout", "1"], ["-f", "--timeout", "nan"], ["-f", "--timeout", "-1"], ["--since", "-1"]]
)
def test_what_cannot_be_followed(call: Callable[..., Answer], plan: Workspace, arguments: list[str]) -> None:
    assert call("document", "changes", "plan.json", *arguments, "--json").status == 2
    assert plan.document("plan.json").revision == 1
