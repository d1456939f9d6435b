"""``document show``, ``history`` and ``edit``."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator import DocumentLease, LeaseHeld, StoreUnavailable, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer

BINARY = b"\x00\xff no text \r\n"


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes Python code the editor: ``path`` is the file, ``workspace`` a way to act as somebody else meanwhile."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def make(code: str, variable: str = "EDITOR") -> None:
        script = tmp_path / "editor.py"
        script.write_text(f"import sys\npath = sys.argv[-1]\n{code}\n")
        monkeypatch.setenv(variable, f"'{sys.executable}' '{script}' --wait")

    return make


def left_behind(tmp_path: Path) -> list[Path]:
    """Copies that the editor was given and that are still there."""
    return [path for folder in tmp_path.glob("coordinator-edit-*") for path in folder.iterdir()]


# ── show, history ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show(call: Callable[..., Answer], workspace: Workspace) -> None:
    document = workspace.document("plan.json")
    document.commit(b'{"a": "\xc3\xbc"}', if_revision=0)
    document.commit(b"[]\n", if_revision=1)
    assert call("document", "show", "plan.json") == (0, "[]\n", "")
    assert call("document", "show", "plan.json", "--revision", "1") == (0, '{"a": "ü"}', "")
    assert call("document", "show", "plan.json", "--revision", "1", "--json").value == {
        "resource": "plan.json",
        "revision": 1,
        "sha256": hashlib.sha256(b'{"a": "\xc3\xbc"}').hexdigest(),
        "bytes": 11,
        "text": '{"a": "ü"}',
        "conflicts": [],
    }
    assert call("document", "show", "plan.json", "--revision", "3").status == 2


def test_show_of_what_is_no_text(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("data").commit(BINARY, if_revision=0)
    shown = call("document", "show", "data", "--json").value
    assert base64.b64decode(shown["base64"]) == BINARY
    assert "text" not in shown
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli", "document", "show", "data"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == BINARY


def test_show_of_a_plain_file(call: Callable[..., Answer], workspace: Workspace) -> None:
    Path("notes").write_text("mine\n")
    shown = call("document", "show", "notes", "--json").value
    assert (shown["revision"], shown["text"]) == (0, "mine\n")
    assert workspace.status() == [], "looking adopts nothing"


@pytest.mark.parametrize("command", ["show", "history"])
def test_there_is_no_such_document(call: Callable[..., Answer], command: str) -> None:
    told = call("document", command, "nope", "--json")
    assert (told.status, told.out, told.error["error"]) == (66, "", "NoSuchDocument")


def test_show_tells_of_edits_by_hand(call: Callable[..., Answer], workspace: Workspace) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    Path("plan.json").write_text("by hand")
    shown = call("document", "show", "plan.json")
    (kept,) = document.conflicts()
    assert (shown.status, shown.out) == (0, "{}\n")
    assert kept in shown.err
    assert call("document", "show", "plan.json", "--json").value["conflicts"] == [kept]


def test_history(call: Callable[..., Answer], workspace: Workspace) -> None:
    Path("notes").write_text("mine\n")
    assert call("document", "history", "notes") == (0, "nothing was committed to notes yet\n", "")
    assert call("document", "history", "notes", "--json") == (0, "[]\n", "")
    with workspace.lease("notes") as lease:
        lease.commit(b"ours\n")
    first, second = call("document", "history", "notes", "--json").value
    assert (first["revision"], first["why"], first["available"]) == (1, "adopted", True)
    assert (second["revision"], second["agent"], second["fence"], second["size_bytes"]) == (2, "alice", 1, 5)
    assert set(first) == {"revision", "at_ms", "agent", "fence", "why", "sha256", "size_bytes", "available"}
    head, *lines = call("document", "history", "notes").out.splitlines()
    assert head.split()[0] == "REV"
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert " s ago " in lines[1]


# ── edit ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("variable", ["EDITOR", "VISUAL"])
def test_edit(
    call: Callable[..., Answer],
    workspace: Workspace,
    editor: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    variable: str,
) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    if variable == "VISUAL":
        monkeypatch.setenv("EDITOR", "false")
    editor("assert open(path).read() == '{}\\n'\nopen(path, 'w').write('[1]\\n')\nopen(path + '~', 'w')", variable)
    told = call("document", "edit", "plan.json")
    assert told == (0, "committed plan.json as revision 2\n", "")
    newest = document.history()[-1]
    assert (newest.agent, newest.fence) == ("bob", 2)
    assert document.read() == b"[1]\n"
    assert workspace.status_of("plan.json").state == "free"
    assert left_behind(tmp_path) == [], "not even what the editor left beside it"


def test_edit_with_json(call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None]) -> None:
    editor("print('on stdout', flush=True)\nopen(path, 'w').write('new')")
    told = call("document", "edit", "docs/new.txt", "--json")
    assert told.value == {"resource": "docs/new.txt", "revision": 1, "changed": True}
    assert "on stdout" in told.err
    assert workspace.document("docs/new.txt").read() == b"new"
    editor("")
    assert call("document", "edit", "docs/new.txt", "--json").value == {
        "resource": "docs/new.txt",
        "revision": None,
        "changed": False,
    }


def test_no_change_no_commit(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None], tmp_path: Path
) -> None:
    Path("notes").write_text("mine\n")
    editor("open(path, 'a').close()")
    assert call("document", "edit", "notes") == (0, "nothing was changed\n", "")
    assert workspace.document("notes").revision == 0, "looking adopts nothing"
    assert call("document", "edit", "new.json").status == 0
    assert not Path("new.json").exists()
    assert left_behind(tmp_path) == []


def test_a_json_that_is_none_is_refused_and_kept(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None], tmp_path: Path
) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    editor("open(path, 'w').write('[1')")
    told = call("document", "edit", "plan.json", "--json")
    (saved,) = left_behind(tmp_path)
    assert (told.status, told.out, told.error["error"]) == (65, "", "MalformedDocument")
    assert told.error["fields"]["saved"] == str(saved)
    assert saved.read_text() == "[1"
    assert document.revision == 1
    assert workspace.status_of("plan.json").state == "free"
    told = call("document", "edit", "plan.json")
    assert told.status == 65
    assert any(str(path) in told.err for path in left_behind(tmp_path))


def test_an_editor_that_fails(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None], tmp_path: Path
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    editor("sys.exit(3)")
    assert call("document", "edit", "plan.json").status == 3
    assert left_behind(tmp_path) == []
    editor("open(path, 'w').write('[1]')\nimport os\nos.kill(os.getpid(), 9)")
    told = call("document", "edit", "plan.json")
    (saved,) = left_behind(tmp_path)
    assert told.status == 128 + 9
    assert str(saved) in told.err
    assert saved.read_text() == "[1]"
    assert workspace.document("plan.json").revision == 1


def test_an_editor_that_leaves_no_file(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None]
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    editor("import os\nos.unlink(path)")
    assert call("document", "edit", "plan.json") == (0, "nothing was changed\n", "")
    assert workspace.document("plan.json").read() == b"{}\n"


@pytest.mark.parametrize(("told", "status"), [("/there/is/none", 127), ("/", 126), ("'", 2), (" ", 2)])
def test_no_editor(
    call: Callable[..., Answer],
    workspace: Workspace,
    editor: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    told: str,
    status: int,
) -> None:
    editor("")  # for its temporary folder
    monkeypatch.setenv("EDITOR", told)
    refused = call("document", "edit", "plan.json")
    assert refused.status == status
    assert "set VISUAL or EDITOR" in refused.err
    assert left_behind(tmp_path) == []
    assert workspace.status_of("plan.json").state == "free"


def test_edit_of_what_another_holds(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None], tmp_path: Path
) -> None:
    editor(f"open({str(tmp_path / 'marker')!r}, 'w')")
    with workspace.lease("plan.json"):
        assert call("document", "edit", "plan.json", "--json").error["error"] == "LeaseHeld"
        assert call("document", "edit", "plan.json").status == 75
        assert call("document", "edit", "plan.json", "--wait", "soon").status == 2
    assert not (tmp_path / "marker").exists()


def test_the_lease_is_kept_alive_while_the_editor_is_open(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None]
) -> None:
    editor(
        f"""
from coordinator import LeaseHeld, Workspace
try:
    Workspace({workspace.directory!r}, agent="carol").lease("plan.json", wait=1.5)
except LeaseHeld:
    open(path, "w").write("[1]")
"""
    )
    assert call("document", "edit", "plan.json", "--ttl", "0.5").status == 0
    assert workspace.document("plan.json").read() == b"[1]"
    with pytest.raises(LeaseHeld), workspace.lease("plan.json"):
        workspace.lease("plan.json")


def test_the_lease_is_lost_while_the_editor_is_open(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None], tmp_path: Path
) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    editor(
        f"""
from coordinator import Workspace
carol = Workspace({workspace.directory!r}, agent="carol")
carol.break_lease("plan.json", fence=carol.status_of("plan.json").fence)
with carol.lease("plan.json") as lease:
    lease.commit(b"[3]")
open(path, "w").write("[1]")
"""
    )
    told = call("document", "edit", "plan.json", "--json")
    (saved,) = left_behind(tmp_path)
    assert told.status == 76
    assert told.error["error"] == "StaleFence"
    assert told.error["fields"]["successor"] == "carol"
    assert Path(told.error["fields"]["kept"]).read_bytes() == saved.read_bytes() == b"[1]"
    assert told.error["fields"]["saved"] == str(saved)
    assert document.read() == b"[3]"


def test_a_commit_that_fails_loses_nothing(
    call: Callable[..., Answer], editor: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_lease: DocumentLease, _data: bytes) -> None:
        raise StoreUnavailable("no answer", resource="notes", cause="EIO", outcome_unknown=True)

    monkeypatch.setattr(DocumentLease, "commit", fail)
    editor("open(path, 'w').write('long work')")
    told = call("document", "edit", "notes")
    (saved,) = left_behind(tmp_path)
    assert told.status == 69
    assert f"what was saved is at {saved}" in told.err
    assert saved.read_text() == "long work"


def test_an_edit_made_before_without_the_lease_is_told(
    call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None]
) -> None:
    document = workspace.document("plan.json")
    document.commit(b"{}\n", if_revision=0)
    Path("plan.json").write_text("by hand")
    editor("open(path, 'a').write(' ')")
    told = call("document", "edit", "plan.json")
    (kept,) = document.conflicts()
    assert told.status == 0
    assert kept in told.err
    assert document.read() == b"{}\n "


def test_ctrl_c_is_the_editors(call: Callable[..., Answer], workspace: Workspace, editor: Callable[..., None]) -> None:
    editor("import os, signal\nos.kill(os.getppid(), signal.SIGINT)\nopen(path, 'w').write('saved')")
    assert call("document", "edit", "notes").status == 0
    assert workspace.document("notes").read() == b"saved"
    assert os.path.exists("notes")
