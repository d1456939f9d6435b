"""The plain file of a document: adopted, replaced and never rewritten, repaired, and edits by hand kept (P16, P17)."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from document_support import NAME, document_at_3, edit, names_in, plain, state  # noqa: F401 - fixtures

from coordinator import BadName, Document, RevisionConflict, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, InterceptedFiles

# ── adoption ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plain_file_is_revision_0_until_somebody_commits(workspace: Workspace) -> None:
    plain(workspace).write_bytes(b"found")
    content = workspace.document(NAME).content()
    assert (content.data, content.revision) == (b"found", 0)
    assert workspace.document(NAME).revision == 0
    assert not state(workspace).exists()  # looking leaves nothing behind


def test_a_holder_that_reads_adopts_the_plain_file(workspace: Workspace) -> None:
    plain(workspace).write_bytes(b"found")
    with workspace.lease(NAME) as lease:
        assert lease.read() == b"found"
        assert lease.commit(b"changed").revision == 2
    history = workspace.document(NAME).history()
    assert [(line.revision, line.why) for line in history] == [(1, "adopted"), (2, "")]
    assert workspace.document(NAME).at(1) == b"found"


def test_a_holder_that_commits_blindly_keeps_what_was_there_as_revision_1(workspace: Workspace) -> None:
    plain(workspace).write_bytes(b"found")
    with workspace.lease(NAME) as lease:
        assert lease.commit(b"changed").revision == 2
    assert workspace.document(NAME).at(1) == b"found"
    assert workspace.document(NAME).conflicts() == []


def test_a_first_commit_without_lease_wants_to_have_read_the_plain_file(workspace: Workspace) -> None:
    plain(workspace).write_bytes(b"found")
    document = workspace.document(NAME)
    with pytest.raises(RevisionConflict, match="plain file"):
        document.commit(b"blind", if_revision=0)
    assert plain(workspace).read_bytes() == b"found"
    document.read()
    assert document.commit(b"seen", if_revision=0).revision == 2
    assert document.at(1) == b"found"


def test_a_plain_file_that_changed_since_it_was_read_is_not_overwritten(workspace: Workspace) -> None:
    plain(workspace).write_bytes(b"found")
    document = workspace.document(NAME)
    document.read()
    plain(workspace).write_bytes(b"changed by another")
    with pytest.raises(RevisionConflict):
        document.commit(b"made from the older", if_revision=0)
    assert plain(workspace).read_bytes() == b"changed by another"


# ── the plain file (P16, P17) ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("repairer", ["read", "commit"])
def test_a_plain_file_set_back_to_an_earlier_revision_is_repaired_and_no_conflict(
    workspace: Workspace, document: Document, repairer: str
) -> None:
    edit(workspace, b"text 1")
    other = Workspace(workspace.directory).document(NAME)
    if repairer == "read":
        assert other.read() == b"text 3"
        assert plain(workspace).read_bytes() == b"text 3"
    else:
        assert other.commit(b"text 4", if_revision=3).view == "fresh"
        assert plain(workspace).read_bytes() == b"text 4"
    assert other.conflicts() == document.conflicts() == []


@pytest.mark.parametrize("repairer", ["read", "commit", "lease"])
def test_an_edit_by_hand_is_kept_and_the_file_repaired(workspace: Workspace, document: Document, repairer: str) -> None:
    edit(workspace, b"by hand")
    events: list[Any] = []
    other = Workspace(workspace.directory, agent="bob", on_event=events.append)
    if repairer == "read":
        assert other.document(NAME).read() == b"text 3"
    elif repairer == "commit":
        receipt = other.document(NAME).commit(b"text 4", if_revision=3)
        assert list(receipt.conflicts) == document.conflicts()
    else:
        with other.lease(NAME) as lease:
            assert lease.read() == b"text 3"
    (kept,) = document.conflicts()
    assert Path(kept).read_bytes() == b"by hand"
    assert plain(workspace).read_bytes() == document.read()
    assert [event.detail["kept"] for event in events if event.kind == "view_edited"] == [kept]
    assert "view_repaired" in [event.kind for event in events]


def test_the_same_edit_is_kept_once(workspace: Workspace, document: Document) -> None:
    for _ in range(3):
        edit(workspace, b"by hand")
        document.read()
    assert len(document.conflicts()) == 1
    edit(workspace, b"by hand, again")
    document.read()
    assert len(document.conflicts()) == 2


def test_a_plain_file_that_was_removed_comes_back(workspace: Workspace, document: Document) -> None:
    plain(workspace).unlink()
    assert document.read() == b"text 3"
    assert plain(workspace).read_bytes() == b"text 3"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755])
def test_the_plain_files_mode_is_kept(workspace: Workspace, document: Document, mode: int) -> None:
    plain(workspace).chmod(mode)
    document.commit(b"text 4", if_revision=3)
    assert plain(workspace).stat().st_mode & 0o7777 == mode


def test_readers_of_the_plain_file_keep_what_they_opened(workspace: Workspace, document: Document) -> None:
    """It is replaced, never rewritten: nobody reads half of it."""
    with plain(workspace).open("rb", buffering=0) as file:
        document.commit(b"text 4, and longer", if_revision=3)
        assert file.read() == b"text 3"


def test_a_folder_in_the_place_of_the_plain_file_does_not_stop_a_commit(workspace: Workspace) -> None:
    plain(workspace).mkdir()
    with workspace.lease("other"):
        pass
    document = workspace.document(NAME)
    with pytest.raises(BadName):
        document.read()
    (Path(workspace.directory) / "x.json").write_bytes(b"0")
    other = workspace.document("x.json")
    other.read()
    other.commit(b"1", if_revision=0)
    plain(workspace, "x.json").unlink()
    plain(workspace, "x.json").mkdir()
    assert other.commit(b"2", if_revision=2).view == "stale"
    assert other.read() == b"2"


def test_a_plain_file_that_cannot_be_written_does_not_undo_a_commit(workspace: Workspace) -> None:
    events: list[Any] = []

    def hook(call: Call) -> None:
        if call.when == "before" and call.op == "rename" and call.path == str(plain(workspace)):
            raise OSError(errno.EACCES, "not yours", call.path)

    files = InterceptedFiles(SYSTEM_FILES, hook)
    alice = Workspace(workspace.directory, agent="a", files=files, on_event=events.append)
    receipt = alice.document(NAME).commit(b"one", if_revision=0)
    assert (receipt.revision, receipt.view) == (1, "stale")
    assert "view_failed" in [event.kind for event in events]
    assert workspace.document(NAME).read() == b"one"
    assert plain(workspace).read_bytes() == b"one"  # repaired by who can
    assert names_in(Path(workspace.directory, ".coordinator", "scratch")) == []


def test_a_program_that_knows_only_the_file_commits_through_it(workspace: Workspace, document: Document) -> None:
    with workspace.lease(NAME) as lease:
        assert lease.commit_view() is None
        lease.read()
        plain(workspace).write_bytes(b"by a tool")
        receipt = lease.commit_view()
        assert receipt is not None
        assert (receipt.revision, receipt.view, receipt.conflicts) == (4, "fresh", ())
        assert lease.commit_view() is None
    assert document.read() == b"by a tool"
