"""What the simulation has found, made again without it: on real files, each in the order that it takes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import ClaimLost, OperationRejected, StoreUnavailable, Workspace
from coordinator.document import compactor, revision, snapshot, tidy, upkeep
from coordinator.document.view import Refreshed
from coordinator.files import SYSTEM_FILES
from coordinator.log import segments
from coordinator.record.mount import MountStore
from coordinator.testing import Call, FailAt, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator import Document, Event

NAME = "plan.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Workspace.init(tmp_path, agent="start").document(NAME).commit(b'{"tags": []}', if_revision=0)
    return tmp_path


def agent(folder: Path, name: str, hook: Any = None, events: list[Event] | None = None) -> Document:
    files = InterceptedFiles(SYSTEM_FILES, hook) if hook else SYSTEM_FILES
    on_event = events.append if events is not None else None
    return Workspace(folder, agent=name, files=files, on_event=on_event).document(NAME)


def append(document: Document, tag: str) -> None:
    assert document.update([{"op": "add", "path": "/tags/-", "value": tag}]).state == "applied"


def test_a_process_does_not_go_on_in_a_file_of_folds_that_was_tidied_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 11: its lines are no longer needed, so the file goes, and it holds it open: what it folds next is lost."""
    monkeypatch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)
    monkeypatch.setattr(tidy, "FOLD_FILES_MAX", 1)
    one, other = agent(folder, "one"), agent(folder, "other")
    append(one, "1")
    for tag in "234":
        append(other, tag)
    append(one, "5")
    assert agent(folder, "judge").read_json() == {"tags": [*"12345"]}


def test_content_that_was_folded_upon_meanwhile_is_not_collected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 44: what is needed was read before, and the newest record after; the folds rest on what was in between."""
    monkeypatch.setattr(MountStore, "live_keep", 1)
    one, other = agent(folder, "one"), agent(folder, "other")
    append(other, "1")  # a document with folds, committed whole again
    real = snapshot.collect_snapshots

    def stands_still(*given: Any) -> tuple[int, int]:
        frozen.undo()
        append(other, "3")
        append(other, "4")
        other.collect(keep=1)
        return real(*given)

    with monkeypatch.context() as frozen:
        for module in (upkeep, tidy):
            frozen.setattr(module, "collect_snapshots", stands_still)
        one.commit(b'{"tags": ["1", "2"]}', if_revision=one.content().revision)
        one.collect(keep=1)
    assert agent(folder, "judge").read_json() == {"tags": [*"1234"]}


def test_a_plain_file_that_is_ahead_was_not_edited(folder: Path) -> None:
    """Seed 5: between a commit and its refresh of the plain file the first fold is made, and shown there."""
    events: list[Event] = []
    other = agent(folder, "other")

    def hook(call: Call) -> None:
        if call.when == "after" and call.op in {"symlink", "rename"} and "/@/chain/" in call.path:
            one._view._member.files.hook = lambda _call: None  # type: ignore[attr-defined]
            append(other, "2")
            other.refresh_view()

    one = agent(folder, "one", hook, events)
    one.commit(b'{"tags": ["1"]}', if_revision=1)
    assert [event.kind for event in events if event.kind == "view_edited"] == []
    assert one.conflicts() == []
    assert agent(folder, "judge").read_json() == {"tags": ["1", "2"]}


def test_a_reader_is_told_of_a_store_that_does_not_answer_and_of_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 24888: a folder that cannot be listed, while it is looked up for how long the plain file has been behind."""
    fails = FailAt(errno.EIO, "listdir", contains="/@/shown", times=50)
    switched_on: list[bool] = []
    one, other = agent(folder, "one", lambda call: fails(call) if switched_on else None), agent(folder, "other")
    one.read()
    monkeypatch.setattr(other._view, "refresh", lambda *_args, **_how: Refreshed(changed=False, conflicts=()))
    append(other, "1")
    switched_on.append(True)
    try:
        found = one.read_json()
    except StoreUnavailable:
        return
    assert found == {"tags": ["1"]}


def test_a_writer_that_was_retired_and_forgotten_finds_that_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 629: the next segment of its own makes it believe that its log is still there; nobody would fold that."""
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1)  # a segment for each operation,
    monkeypatch.setattr(revision, "FOLD_FILE_BYTES", 1)  # a file for each fold,
    monkeypatch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)  # a checkpoint, too,
    monkeypatch.setattr(tidy, "FOLD_FILES_MAX", 1)  # and only one of them kept
    one, other = agent(folder, "one"), agent(folder, "other")
    append(one, "1")
    (log,) = [path.name.split(".")[1] for path in folder.glob(f".coordinator/resources/{NAME}/@/log/one.*")]
    other._folding.folded(other._folding.compactor.fold_once(retire=[log]))
    other.compact()
    for tag in "23":
        append(other, tag)
    assert list(folder.glob(f".coordinator/resources/{NAME}/@/log/one.*")) == []
    receipt = one.update([{"op": "add", "path": "/tags/-", "value": "4"}], wait=2)
    agent(folder, "judge").compact()
    assert agent(folder, "judge").read_json() == {"tags": [*"1234"]}, receipt


def test_a_completion_that_came_too_late_is_never_told_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 300904: it was refused, and its result kept; asked again when the details are collected, it is applied."""
    monkeypatch.setattr(revision, "FOLD_FILE_BYTES", 1)
    monkeypatch.setattr(compactor, "CHECKPOINT_MIN_BYTES", 1)
    monkeypatch.setattr(tidy, "FOLD_FILES_MAX", 1)
    Workspace.init(tmp_path, agent="start").document("tasks.json").commit(b'{"tasks": [{"id": "1"}]}', if_revision=0)
    slow, quick = (Workspace(tmp_path, agent=name).tasks("tasks.json") for name in ("slow", "quick"))
    late = slow.claim_next(ttl=0.1)
    taken = quick.claim_next(ttl=60, wait=10)
    assert late
    assert taken
    taken.complete("quick")
    assert slow.complete(late.id, late.epoch, "slow", op_id="again", wait=0).state == "durable"
    for _ in range(3):
        quick.add({"title": "another"})
    with pytest.raises((ClaimLost, OperationRejected)):
        slow.complete(late.id, late.epoch, "slow", op_id="again")
    stands = quick.get("1")
    assert stands is not None
    assert stands["result"] == "quick"
