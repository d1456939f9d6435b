"""Edits of the plain file by hand, while agents update the document through their logs (P17)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import together

from coordinator import Workspace
from coordinator.document.edits import INCARNATION
from coordinator.document.fold import Operation, order
from coordinator.files import SYSTEM_FILES
from coordinator.limits import SHOWN_KEEP
from coordinator.testing import InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordinator.document.document import Document
    from coordinator.events import Event
    from coordinator.testing import Call

NAME: Final = "tasks.json"
TASKS: Final = {"tasks": [{"id": i, "title": f"task {i}", "status": "pending", "by": None} for i in range(1, 5)]}


class Desk:
    """A workspace, agents in it, and somebody who edits the plain file."""

    def __init__(self, folder: Path) -> None:
        Workspace.init(folder, agent="founder")
        self.folder = folder
        self.path = folder / NAME
        self.events: list[Event] = []
        self._saves = 0
        self._open: list[Document] = []

    def agent(self, name: str, hook: Callable[[Call], None] | None = None) -> Document:
        """The document as another process has it."""
        files = InterceptedFiles(SYSTEM_FILES, hook) if hook else SYSTEM_FILES
        workspace = Workspace(self.folder, agent=name, files=files, on_event=self.events.append)
        self._open.append(workspace.document(NAME))
        return self._open[-1]

    def close(self) -> None:
        for document in self._open:
            document.close()

    def save(self, text: bytes, *, seconds_ago: float = 5) -> None:
        """As an editor does it, some time ago: nobody is writing any more."""
        new = self.path.with_name(".new")
        new.write_bytes(text)
        self._saves += 1
        written = os.stat(self.folder).st_mtime - seconds_ago + self._saves / 1000
        os.utime(new, (written, written))
        new.replace(self.path)

    def edit(self, change: Callable[[Any], None], text: bytes | None = None) -> bytes:
        """Loads the plain file, or a text of it that was loaded before, changes it and saves it."""
        value = json.loads(self.path.read_bytes() if text is None else text)
        change(value)
        saved = json.dumps(value, indent=2).encode() + b"\n"
        self.save(saved)
        return saved

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "shared"
    folder.mkdir()
    desk = Desk(folder)
    desk.path.write_text(json.dumps(TASKS, indent=2) + "\n")
    yield desk
    desk.close()


def set_status(number: int, status: Any) -> Callable[[Any], None]:
    """The change of one task's status, wherever it stands."""

    def change(value: Any) -> None:
        for task in value["tasks"]:
            if task["id"] == number:
                task["status"] = status

    return change


def update(document: Document, number: int, status: Any) -> None:
    """An agent's update of the task at that place."""
    document.update([{"op": "replace", "path": f"/tasks/{number - 1}/status", "value": status}])


def statuses(value: Any) -> dict[int, Any]:
    return {task["id"]: task["status"] for task in value["tasks"]}


def report_of(kept: str) -> Any:
    return json.loads(Path(kept).parent.joinpath(f"{kept.rsplit('-', 1)[1]}.json").read_bytes())


# ── absorbed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_read_finds_the_edit_and_every_update(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    desk.edit(set_status(2, "by hand"))
    update(document, 3, "done")
    expected = {1: "done", 2: "by hand", 3: "done", 4: "pending"}
    assert statuses(document.read_json()) == expected
    assert statuses(json.loads(desk.path.read_bytes())) == expected
    assert statuses(desk.agent("b").read_json()) == expected
    assert document.conflicts() == []
    assert desk.kinds().count("edit_absorbed") == 1
    assert "view_edited" not in desk.kinds()


def test_the_next_fold_takes_it_along(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    desk.edit(set_status(2, "by hand"))
    done = document.compact()
    assert (done.applied, done.rejected) == (2, 0), "the mark, and the change"
    (change,) = document.changes(since=done.revision - 1)
    assert [operation["agent"] for operation in change.operations] == ["edit", "edit"]
    assert change.patch == [{"op": "replace", "path": "/tasks/1/status", "value": "by hand"}]
    assert document.compact().revision == 0, "it is folded once"


def test_an_edit_of_content_that_was_committed_whole_is_folded_by_a_read(desk: Desk) -> None:
    document = desk.agent("a")
    document.read()
    document.commit_json({**TASKS, "name": "demo"}, if_revision=0)
    revision = document.revision
    desk.edit(set_status(4, "by hand"))
    assert statuses(document.read_json())[4] == "by hand"
    assert document.read_json()["name"] == "demo"
    assert document.revision == revision + 1
    assert document.conflicts() == []


def test_an_edit_of_a_text_that_was_loaded_long_before_takes_nothing_back(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    document.refresh_view()
    loaded = desk.path.read_bytes()
    for number, status in [(2, "held"), (3, "held"), (2, "done")]:
        update(document, number, status)
        document.close()  # brings the plain file up to date: a rendering each
        document = desk.agent("a")
    assert statuses(json.loads(desk.path.read_bytes())) == {1: "done", 2: "done", 3: "held", 4: "pending"}
    desk.edit(set_status(4, "by hand"), loaded)
    assert statuses(document.read_json()) == {1: "done", 2: "done", 3: "held", 4: "by hand"}
    assert document.conflicts() == []


def test_elements_are_found_wherever_others_have_moved_them(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    desk.edit(set_status(4, "by hand"))
    document.update([{"op": "remove", "path": "/tasks/0"}])
    assert statuses(document.read_json()) == {2: "pending", 3: "pending", 4: "by hand"}


def test_an_edit_is_decided_before_the_updates_of_the_same_fold() -> None:
    """Its indices are those of the document as the fold finds it."""
    patch: dict[str, Any] = {"do": "patch", "patch": []}
    by_hand = Operation(0, INCARNATION, 1, "edit", "edit-1", patch)
    for incarnation in ("2" * 20, "a" * 20):
        update = Operation(5, incarnation, 1, "a", "a-1", patch)
        assert order([[update], [by_hand]], floor_ms=5, now_ms=9) == [by_hand, update]


def test_layout_alone_is_no_change(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    before = desk.path.read_bytes()
    desk.save(json.dumps(json.loads(before)).encode())
    document.read()
    assert desk.path.read_bytes() == before
    assert document.conflicts() == []


def test_the_same_text_saved_again_after_it_was_decided_is_another_edit(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    loaded = desk.path.read_bytes()
    update(document, 2, "theirs")
    edited = desk.edit(set_status(2, "mine"), loaded)
    assert statuses(document.read_json())[2] == "theirs"
    update(document, 2, "pending")  # as it was loaded
    desk.save(edited)
    assert statuses(document.read_json())[2] == "mine"


def test_a_text_that_the_file_showed_before_is_a_late_writers_and_no_edit(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    shown = desk.path.read_bytes()
    update(document, 2, "done")
    now = document.read()
    desk.save(shown)
    assert document.compact().revision == 0
    assert document.read() == desk.path.read_bytes() == now
    assert document.conflicts() == []


# ── kept ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_others_changed_too_is_rejected_and_the_whole_text_kept(desk: Desk) -> None:
    document, other = desk.agent("a"), desk.agent("other")
    update(document, 1, "done")
    loaded = desk.path.read_bytes()
    update(other, 2, "theirs")

    def change(value: Any) -> None:
        set_status(2, "mine")(value)
        set_status(3, "mine")(value)

    edited = desk.edit(change, loaded)
    assert statuses(document.read_json()) == {1: "done", 2: "theirs", 3: "mine", 4: "pending"}
    assert statuses(json.loads(desk.path.read_bytes()))[2] == "theirs"
    (kept,) = document.conflicts()
    assert Path(kept).read_bytes() == edited
    report = report_of(kept)
    (rejected,) = [change for change in report["changes"] if change["outcome"] == "rejected"]
    (applied,) = [change for change in report["changes"] if change["outcome"] == "applied"]
    assert (rejected["why"], rejected["path"], rejected["by"]) == ("test", "/tasks/1/status", "other")
    assert rejected["patch"][-1] == {"op": "replace", "path": "/tasks/1/status", "value": "mine"}
    assert applied["patch"] == [{"op": "replace", "path": "/tasks/2/status", "value": "mine"}]
    assert [event.detail["kept"] for event in desk.events if event.kind == "view_edited"] == [kept]
    assert "edit_absorbed" not in desk.kinds()


@pytest.mark.parametrize("text", [b"{", b"", b"by hand", b'{"a": 1, "a": 2}', b'{"tasks": NaN}', b"\xff"])
def test_what_is_no_json_is_kept_and_the_file_repaired(desk: Desk, text: bytes) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    before = desk.path.read_bytes()
    desk.save(text)
    assert document.compact().revision == 0
    assert document.read() == desk.path.read_bytes() == before
    (kept,) = document.conflicts()
    assert Path(kept).read_bytes() == text


def test_an_edit_of_a_text_that_is_no_longer_known_is_kept_and_nothing_of_it_applied(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    document.read()
    loaded = desk.path.read_bytes()
    for i in range(SHOWN_KEEP + 1):
        update(document, 1 + i % 3, f"status {i}")
        document._folding.refresh_now()
    now = document.read()
    edited = desk.edit(set_status(4, "by hand"), loaded)
    assert document.read() == desk.path.read_bytes() == now
    (kept,) = document.conflicts()
    assert Path(kept).read_bytes() == edited
    assert "cannot be told" in report_of(kept)["changes"][0]["text"]


def test_while_somebody_holds_the_lease_nothing_is_folded(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    with Workspace(desk.folder, agent="holder").lease(NAME) as lease:
        lease.read()
        edited = desk.edit(set_status(2, "by hand"))
        assert statuses(document.read_json())[2] == "pending"
        assert document.compact().revision == 0
        assert desk.path.read_bytes() == edited, "the holder may be at work in it"
        receipt = lease.commit_view()
        assert receipt is not None
    assert statuses(document.read_json())[2] == "by hand"
    assert document.conflicts() == []


def test_a_commit_of_whole_content_keeps_an_edit_beside(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    edited = desk.edit(set_status(2, "by hand"))
    receipt = document.commit_json(TASKS, if_revision=document.revision)
    assert receipt.view == "fresh"
    (kept,) = receipt.conflicts
    assert Path(kept).read_bytes() == edited
    assert document.read_json() == TASKS


def test_a_text_that_is_no_json_document_is_kept_as_ever(desk: Desk) -> None:
    desk.path.write_bytes(b"# notes\n")
    document = desk.agent("a")
    document.read()
    document.commit(b"# notes, more\n", if_revision=0)
    desk.save(b"[]")
    assert document.read() == desk.path.read_bytes() == b"# notes, more\n"
    assert [Path(kept).read_bytes() for kept in document.conflicts()] == [b"[]"]


def test_a_file_that_was_never_committed_stays_the_users_own(desk: Desk) -> None:
    document = desk.agent("a")
    desk.edit(set_status(2, "by hand"))
    assert statuses(document.read_json())[2] == "by hand"
    assert document.revision == 0


# ── in time ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_being_written_is_not_looked_into_by_a_fold(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    desk.edit(set_status(2, "by hand"))
    os.utime(desk.path)  # written to just now
    update(document, 3, "done")
    assert "by hand" in desk.path.read_text(), "it is left as it is"
    assert statuses(document.value())[2] == "pending"
    os.utime(desk.path, (1.7e9, 1.7e9))
    assert document.compact().applied == 2
    assert statuses(document.value())[2] == "by hand"


def test_a_read_waits_until_it_is_written(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    desk.edit(set_status(2, "by hand"))
    os.utime(desk.path)
    assert statuses(document.read_json())[2] == "by hand"


def test_a_file_that_nobody_touched_costs_one_stat(desk: Desk) -> None:
    calls: list[str] = []
    document = desk.agent("a", lambda call: calls.append(call.op) if call.path == str(desk.path) else None)
    update(document, 1, "done")
    document._folding.refresh_now()
    os.utime(desk.path, (1.7e9, 1.7e9))
    document.compact()
    calls.clear()
    document.compact()
    assert calls == ["stat", "stat"], "before it, and after it"


def test_what_an_editor_saves_while_the_file_is_being_replaced_is_not_lost(desk: Desk) -> None:
    def editor(call: Call) -> None:
        if armed and call[:2] == ("after", "sync") and "/scratch/" in call.path:  # written, and not yet in its place
            armed.pop()
            desk.edit(set_status(3, "saved again"), edited)

    armed: list[int] = []
    document = desk.agent("a", editor)
    update(document, 1, "done")
    edited = desk.edit(set_status(2, "by hand"))
    armed.append(1)
    document.compact()
    document.read()
    assert not armed, "what this test is about has really happened"
    assert statuses(desk.agent("b").read_json()) == {1: "done", 2: "by hand", 3: "saved again", 4: "pending"}
    assert document.conflicts() == []


def test_killed_between_the_fold_and_the_plain_file_it_is_applied_once_and_kept_once(desk: Desk) -> None:
    def fails(call: Call) -> None:
        if armed and call[:2] == ("before", "rename") and call.path == str(desk.path):
            raise OSError(5, "as if killed here", call.path)

    armed: list[int] = []
    document, other = desk.agent("a", fails), desk.agent("other")
    update(document, 1, "done")
    loaded = desk.path.read_bytes()
    update(other, 2, "theirs")

    def change(value: Any) -> None:
        set_status(2, "mine")(value)
        value["tasks"].append({"id": 9, "status": "mine"})

    edited = desk.edit(change, loaded)
    armed.append(1)
    document.read()
    assert desk.path.read_bytes() == edited, "what this test is about has really happened"
    revision = other.revision
    for agent in (other, desk.agent("third"), other):
        expected = {1: "done", 2: "theirs", 3: "pending", 4: "pending", 9: "mine"}
        assert statuses(agent.read_json()) == statuses(json.loads(desk.path.read_bytes())) == expected
    assert other.revision == revision
    (kept,) = other.conflicts()
    assert Path(kept).read_bytes() == edited


def test_any_number_who_see_it_fold_it_once(desk: Desk) -> None:
    first = desk.agent("a")
    update(first, 1, "done")

    def append(value: Any) -> None:
        value["tasks"].append({"id": 9, "status": "by hand"})
        value["log"] = ["by hand"]

    desk.edit(append)
    crowd = [desk.agent(f"agent-{i}") for i in range(4)]
    together(*(document.compact for document in crowd))
    changes = [change for change in first.changes() if any(each["agent"] == "edit" for each in change.operations)]
    assert len(changes) == 1
    assert [operation["outcome"] for operation in changes[0].operations] == ["applied"] * 3
    value = first.read_json()
    assert (len(value["tasks"]), value["log"]) == (5, ["by hand"])


def test_a_tool_that_edits_again_and_again_loses_nothing(desk: Desk) -> None:
    document = desk.agent("a")
    update(document, 1, "done")
    for i in range(5):
        desk.edit(lambda value, i=i: value["tasks"].append({"id": 10 + i, "status": "by hand"}))  # type: ignore[misc]
        update(document, 2, f"status {i}")
    assert sorted(statuses(document.read_json())) == [1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert statuses(document.read_json())[2] == "status 4"
    assert document.conflicts() == []
