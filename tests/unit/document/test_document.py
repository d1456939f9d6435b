"""Documents: committed whole, revision by revision, in any bytes or as JSON, and what keeps their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from document_support import NAME, document_at_3, names_in, plain, state  # noqa: F401 - fixtures
from support import together

from coordinator import (
    BadValue,
    CorruptSnapshot,
    Document,
    LeaseHeld,
    MalformedDocument,
    NoRoom,
    NoSuchDocument,
    RevisionConflict,
    StoreUnavailable,
    Workspace,
)
from coordinator.document import content as documents
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, FailAt, InterceptedFiles

# ── committing and reading ───────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_there_at_first(workspace: Workspace) -> None:
    document = workspace.document(NAME)
    assert document.revision == 0
    assert document.history() == []
    assert document.conflicts() == []
    with pytest.raises(NoSuchDocument):
        document.read()


def test_a_commit_is_what_everybody_reads(workspace: Workspace) -> None:
    document = workspace.document(NAME)
    receipt = document.commit(b"one", if_revision=0)
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert (receipt.revision, receipt.sha256, receipt.fence, receipt.view, receipt.conflicts) == (
        1,
        sha256,
        0,
        "fresh",
        (),
    )
    for one in (document, Workspace(workspace.directory).document(NAME)):
        content = one.content()
        assert (content.data, content.revision, content.sha256) == (b"one", 1, sha256)
    assert plain(workspace).read_bytes() == b"one"


@pytest.mark.parametrize("name", ["reports/q3.md", "deep/er/and/deeper/file", "@/x", "data.bin"])
@pytest.mark.parametrize("data", [b"", b"\x00\xff not json\r\n", b"x" * 3_000_000], ids=["empty", "binary", "large"])
def test_any_bytes_under_any_name(workspace: Workspace, name: str, data: bytes) -> None:
    with workspace.lease(name) as lease:
        lease.commit(data)
        assert lease.read() == data
    assert Workspace(workspace.directory).document(name).read() == data
    assert plain(workspace, name).read_bytes() == data
    if data:
        with pytest.raises(MalformedDocument):
            workspace.document(name).read_json()


def test_revisions_can_be_read_and_listed(document: Document) -> None:
    assert [document.at(revision) for revision in (1, 2, 3)] == [b"text 1", b"text 2", b"text 3"]
    history = document.history()
    assert [(line.revision, line.agent, line.fence, line.size_bytes, line.available) for line in history] == [
        (1, "alice", 0, 6, True),
        (2, "alice", 0, 6, True),
        (3, "alice", 0, 6, True),
    ]
    assert [line.sha256 for line in history] == [hashlib.sha256(document.at(n)).hexdigest() for n in (1, 2, 3)]
    for revision in (0, 4, -1):
        with pytest.raises(BadValue):
            document.at(revision)


@pytest.mark.parametrize("if_revision", [0, 1, 2, 4])
def test_a_commit_on_another_revision_is_refused_and_changes_nothing(document: Document, if_revision: int) -> None:
    with pytest.raises(RevisionConflict) as caught:
        document.commit(b"blind", if_revision=if_revision)
    assert (caught.value.expected, caught.value.current, caught.value.resource) == (if_revision, 3, NAME)
    assert document.read() == b"text 3"
    snapshots = Path(document.path).parent / ".coordinator" / "resources" / NAME / "@" / "snap"
    assert len(names_in(snapshots)) == 3  # the refused one was dropped


def test_a_commit_without_lease_is_refused_while_one_is_held(workspace: Workspace, document: Document) -> None:
    with workspace.lease(NAME) as lease:
        with pytest.raises(LeaseHeld) as caught:
            document.commit(b"past it", if_revision=3)
        assert (caught.value.holder, caught.value.fence) == ("alice", lease.fence)
        assert lease.commit(b"under it").fence == lease.fence
    assert document.read() == b"under it"
    assert document.history()[-1].fence == lease.fence


def test_a_holder_commits_on_a_revision_if_it_says_so(workspace: Workspace, document: Document) -> None:
    with workspace.lease(NAME) as lease:
        with pytest.raises(RevisionConflict):
            lease.commit(b"x", if_revision=2)
        assert lease.commit(b"y", if_revision=3).revision == 4
        assert lease.read() == b"y"
    assert document.revision == 4


def test_without_lease_one_of_many_wins_each_revision(workspace: Workspace) -> None:
    def run() -> int:
        document, won = Workspace(workspace.directory).document("count"), 0
        while won < 5:
            try:
                content = document.content()
                number, revision = int(content.data), content.revision
            except NoSuchDocument:
                number = revision = 0
            try:
                document.commit(str(number + 1).encode(), if_revision=revision)
                won += 1
            except RevisionConflict:
                continue
        return won

    together(*[run] * 4)
    assert workspace.document("count").content().data == b"20"
    assert workspace.document("count").revision == 20


@pytest.mark.parametrize("under_lease", [True, False])
def test_too_much_is_refused_before_anything_is_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, under_lease: bool
) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_MAX_BYTES", 10)
    document = workspace.document(NAME)
    with workspace.lease("other" if not under_lease else NAME) as lease:
        with pytest.raises(BadValue, match="11 bytes, and 10 is the most"):
            _ = lease.commit(b"x" * 11) if under_lease else document.commit(b"x" * 11, if_revision=0)
        assert not state(workspace, "snap").exists()
        _ = lease.commit(b"x" * 10) if under_lease else document.commit(b"x" * 10, if_revision=0)
    assert document.read() == b"x" * 10


def test_reading_never_goes_back(workspace: Workspace, document: Document) -> None:
    reader = Workspace(workspace.directory).document(NAME)
    seen = []
    for revision in range(3, 10):
        document.commit(str(revision).encode(), if_revision=revision)
        seen.append(reader.content().revision)
        os.replace(_stale_copy(workspace), plain(workspace))  # a frozen writer's late rename
        assert reader.content().revision == revision + 1
    assert seen == list(range(4, 11))


def _stale_copy(workspace: Workspace) -> Path:
    copy = plain(workspace, "stale")
    copy.write_bytes(b"text 1")
    return copy


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "tasks": [\n    1\n  ]\n}\n',
        '{\n    "tasks": [\n        1\n    ]\n}',
        '{\n\t"tasks": [\n\t\t1\n\t]\n}\n',
        '{"tasks":[1]}',
        '{"tasks": [1]}\n',
        '{\r\n  "tasks": [\r\n    1\r\n  ]\r\n}\r\n',
        '\ufeff{\n  "tasks": [\n    1\n  ]\n}\n',
    ],
)
@pytest.mark.parametrize("under_lease", [True, False])
def test_a_change_of_one_value_changes_nothing_else(workspace: Workspace, text: str, under_lease: bool) -> None:
    plain(workspace).write_bytes(text.encode())
    if under_lease:
        with workspace.lease(NAME) as lease:
            value = lease.read_json()
            value["tasks"][0] = 2
            lease.commit_json(value)
    else:
        document = workspace.document(NAME)
        value = document.read_json()
        value["tasks"][0] = 2
        document.commit_json(value, if_revision=0)
    assert plain(workspace).read_bytes() == text.replace("1", "2").encode()


def test_a_value_that_json_cannot_say_is_refused_and_nothing_is_committed(workspace: Workspace) -> None:
    with workspace.lease(NAME) as lease:
        lease.commit_json({"a": 1})
        with pytest.raises(MalformedDocument):
            lease.commit_json({"a": float("nan")})
        assert lease.read_json() == {"a": 1}
    assert workspace.document(NAME).revision == 1


def test_a_task_list_of_some_size_is_carried_exactly(workspace: Workspace) -> None:
    tasks = {"tasks": [{"id": i, "title": f"Aufgabe {i} ü", "sub": [{"done": i % 2 == 0}] * 5} for i in range(3000)]}
    with workspace.lease(NAME) as lease:
        lease.commit_json(tasks)
    assert workspace.document(NAME).read_json() == tasks
    assert json.loads(plain(workspace).read_bytes()) == tasks


# ── snapshots: damage, failure, collection ───────────────────────────────────────────────────────────────────────────


def test_damaged_content_is_refused_and_told_where(workspace: Workspace, document: Document) -> None:
    newest = names_in(state(workspace, "snap"))[-1]
    state(workspace, "snap", newest).write_bytes(b"altered")
    fresh = Workspace(workspace.directory).document(NAME)
    with pytest.raises(CorruptSnapshot) as caught:
        fresh.read()
    assert (caught.value.path, caught.value.revision) == (str(state(workspace, "snap", newest)), 3)
    state(workspace, "snap", newest).unlink()
    with pytest.raises(CorruptSnapshot, match="missing"):
        fresh.read()
    assert fresh.at(2) == b"text 2"
    assert [line.available for line in fresh.history()] == [True, True, False]
    assert document.commit(fresh.at(2), if_revision=3).revision == 4  # the hint's advice
    assert fresh.read() == b"text 2"


@pytest.mark.parametrize("op", ["create", "write", "sync", "rename", "sync_dir", "symlink"])
def test_a_commit_that_fails_for_want_of_room_changes_nothing(workspace: Workspace, op: str) -> None:
    workspace.document(NAME).commit(b"one", if_revision=0)
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.ENOSPC, op, times=1000))
    alice = Workspace(workspace.directory, agent="a", files=files)
    with pytest.raises(NoRoom) as caught:
        alice.document(NAME).commit(b"two", if_revision=1)
    assert not caught.value.outcome_unknown
    other = Workspace(workspace.directory).document(NAME)
    assert (other.read(), other.revision) == (b"one", 1)
    assert other.commit(b"two", if_revision=1).revision == 2
    assert names_in(Path(workspace.directory, ".coordinator", "scratch")) == []


def test_a_snapshot_is_whole_and_durable_before_a_record_names_it(workspace: Workspace) -> None:
    workspace.document(NAME).commit(b"one", if_revision=0)
    calls: list[Call] = []
    files = InterceptedFiles(SYSTEM_FILES, calls.append)
    Workspace(workspace.directory, agent="a", files=files).document(NAME).commit(b"two", if_revision=1)
    done = [(call.op, call.path) for call in calls if call.when == "after"]
    snap = str(state(workspace, "snap"))
    synced = next(i for i, (op, path) in enumerate(done) if op == "sync" and "/scratch/" in path)
    named = next(i for i, (op, path) in enumerate(done) if op == "rename" and path.startswith(snap))
    durable = next(i for i, (op, path) in enumerate(done) if (op, path) == ("sync_dir", snap))
    committed = next(i for i, (op, path) in enumerate(done) if op == "symlink" and "/chain/" in path)
    shown = next(i for i, (op, path) in enumerate(done) if op == "rename" and path == str(plain(workspace)))
    assert synced < named < durable < committed < shown


def test_a_collection_keeps_what_can_be_asked_for(workspace: Workspace, document: Document) -> None:
    for revision in range(3, 60):
        document.commit(f"text {revision + 1}".encode(), if_revision=revision)
    done = workspace.collect()
    assert done.records > 0
    assert done.files > 0
    assert done.bytes_freed > 0
    history = document.history()
    assert [line.revision for line in history] == list(range(1, 61))
    available = [line.revision for line in history if line.available]
    assert available == list(range(available[0], 61))
    assert len(available) >= 30
    assert document.at(available[0]) == f"text {available[0]}".encode()
    with pytest.raises(BadValue):
        document.at(available[0] - 1)
    assert Workspace(workspace.directory).document(NAME).read() == b"text 60"


def test_the_newest_content_outlives_any_number_of_leases(workspace: Workspace, document: Document) -> None:
    for _ in range(70):
        workspace.lease(NAME).release()
    workspace.collect()
    workspace.collect()
    fresh = Workspace(workspace.directory).document(NAME)
    assert fresh.read() == b"text 3"
    assert names_in(state(workspace, "snap"))
    assert document.revision == 3


def test_a_history_that_cannot_be_listed_is_unavailable(workspace: Workspace) -> None:
    workspace.document(NAME).commit(b"one", if_revision=0)
    files = InterceptedFiles(SYSTEM_FILES, FailAt(errno.EIO, "listdir", contains="/snap", times=1000))
    with pytest.raises(StoreUnavailable):
        Workspace(workspace.directory, agent="a", files=files).document(NAME).history()
