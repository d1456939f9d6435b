"""What goes wrong in a workspace, as a person or a script meets it: a line, a status, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import Workspace
from coordinator.names import Resource
from coordinator.record.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer, Started

STATE = Path(".coordinator")
FORMAT = STATE / "format.json"

# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────


def edit_format(**changes: Any) -> None:
    FORMAT.write_text(json.dumps(json.loads(FORMAT.read_text()) | changes))


def no_state(_workspace: Workspace) -> None:
    STATE.rename("moved-away")


def no_format(_workspace: Workspace) -> None:
    FORMAT.unlink()


def unreadable_format(_workspace: Workspace) -> None:
    """A read that fails for everybody, for root as well."""
    FORMAT.unlink()
    FORMAT.mkdir()


def cut_format(_workspace: Workspace) -> None:
    FORMAT.write_bytes(FORMAT.read_bytes()[:20])


def newer_format(_workspace: Workspace) -> None:
    edit_format(format=9, min_reader=9, min_writer=9)


def another_authority(_workspace: Workspace) -> None:
    edit_format(authority={"mode": "table", "epoch": 2})


def damaged_record(workspace: Workspace) -> None:
    path = f"{Places(workspace.directory).of(Resource.parse('plan.json'), 'chain')}/{9:012d}"
    if workspace.format.primitive == "symlink":
        os.symlink("v=1/n=9/nonsense", path)
    else:
        os.mkdir(path)
        Path(path, "record").write_text("v=1/n=9/nonsense")


def damaged_snapshot(workspace: Workspace) -> None:
    (path,) = Path(Places(workspace.directory).of(Resource.parse("plan.json"), "snap")).iterdir()
    path.write_bytes(b"[]")


TROUBLE: list[tuple[Callable[[Workspace], None], int, str]] = [
    (no_state, 66, "NotAWorkspace"),
    (unreadable_format, 69, "StoreUnavailable"),
    (cut_format, 65, "Damaged"),
    (newer_format, 78, "NewerFormat"),
    (another_authority, 78, "AuthorityMoved"),
    (damaged_record, 65, "CorruptRecord"),
    (damaged_snapshot, 65, "CorruptSnapshot"),
]


@pytest.mark.parametrize(("spoil", "status", "kind"), TROUBLE, ids=[kind for _, _, kind in TROUBLE])
def test_trouble_is_one_line(
    start: Callable[..., Started],
    call: Callable[..., Answer],
    workspace: Workspace,
    spoil: Callable[[Workspace], None],
    *,
    status: int,
    kind: str,
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    spoil(workspace)
    told = start("document", "show", "plan.json").end()
    assert (told.status, told.out) == (status, "")
    assert told.err.startswith("coordinator: ")
    assert told.err.count("\n") == 1
    told = call("document", "show", "plan.json", "--json")
    assert (told.status, told.out, told.error["error"]) == (status, "", kind)
    told = call("lease", "plan.json", "--json", "--", "echo", "was run")
    assert (told.status, told.out, told.error["error"]) == (status, "", kind), "and no command is run"


def test_a_workspace_of_which_the_format_is_gone_is_not_made_anew(call: Callable[..., Answer]) -> None:
    no_format(Workspace("."))
    assert call("status").status == 66
    told = call("init", "--json")
    assert (told.status, told.error["error"]) == (65, "Damaged")
    assert not FORMAT.exists()


def test_a_workspace_that_may_be_read_but_not_written(
    call: Callable[..., Answer], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    edit_format(format=9, min_writer=9)
    assert call("document", "show", "plan.json") == (0, "{}\n", "")
    assert call("document", "history", "plan.json").status == 0
    assert call("lease", "show", "plan.json").status == 0
    assert call("status").status == 0
    monkeypatch.setenv("EDITOR", "echo was opened:")
    for line in (
        ["lease", "plan.json", "--json", "--", "echo", "was run"],
        ["lease", "release", "plan.json", "--fence", "1", "--json"],
        ["document", "edit", "plan.json", "--json"],
        ["gc", "--json"],
    ):
        told = call(*line)
        assert (told.status, told.out, told.error["error"]) == (78, "", "NewerFormat"), line
        assert "was opened" not in told.err


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "", "a//b", ".coordinator/format.json", "a\udcff", "a\nb"])
@pytest.mark.parametrize(
    "line",
    [
        ["status", "{}", "--json"],
        ["lease", "run", "{}", "--json", "--", "echo", "was run"],
        ["lease", "show", "{}", "--json"],
        ["lease", "release", "{}", "--fence", "1", "--json"],
        ["document", "show", "{}", "--json"],
        ["document", "history", "{}", "--json"],
        ["document", "edit", "{}", "--json"],
    ],
    ids=lambda line: "-".join(line[:2]).removesuffix("-{}"),
)
def test_a_name_that_is_none(
    call: Callable[..., Answer], workspace: Workspace, line: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "echo was opened:")
    told = call(*[word.replace("{}", name) for word in line])
    assert (told.status, told.out, told.error["error"]) == (2, "", "BadName")
    assert "was opened" not in told.err
    assert workspace.status() == []


def test_a_name_of_bytes_that_are_no_text() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli", "status", b"a\xff"], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"not UTF-8" in done.stderr


def test_a_name_that_leads_elsewhere(call: Callable[..., Answer], workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("not ours")
    Path("folder").mkdir()
    Path("leads-out").symlink_to(tmp_path)
    for line in (["show", "leads-out/outside"], ["show", "folder"], ["history", "folder"]):
        told = call("document", *line, "--json")
        assert (told.status, told.out, told.error["error"]) == (2, "", "BadName"), line
    assert call("lease", "leads-out/outside", "--", "echo", "was run").status == 2
    assert workspace.status() == []


def test_two_names_of_one_file_are_one_lease(call: Callable[..., Answer], workspace: Workspace) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    Path("alias.json").symlink_to("plan.json")
    assert call("lease", "alias.json", "--", "sh", "-c", "echo $COORDINATOR_RESOURCE").out == "plan.json\n"
    with workspace.lease("plan.json"):
        told = call("lease", "alias.json", "--json", "--", "true")
    assert (told.status, told.error["fields"]["resource"]) == (75, "plan.json")


def test_a_release_tells_the_resource(call: Callable[..., Answer], workspace: Workspace) -> None:
    """As `lease list --json` and the refusals call it, so that a script can match them."""
    Path("plan.json").write_text("{}")
    Path("alias.json").symlink_to("plan.json")
    lease = workspace.lease("plan.json")
    told = call("lease", "release", "alias.json", "--fence", str(lease.fence), "--json")
    assert told.value == {"resource": "plan.json", "released_fence": lease.fence}


# ── a link in the place of the plain file ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line", [["status"], ["lease", "list"]])
def test_one_link_does_not_hide_the_other_resources(
    call: Callable[..., Answer], workspace: Workspace, tmp_path: Path, line: list[str]
) -> None:
    with workspace.lease("plan.json"), workspace.lease("other"):
        Path("plan.json").symlink_to(tmp_path / "outside")
        told = call(*line, "--json")
        assert told.status == 0
        assert "other" in [each["resource"] for each in told.value]


def test_a_link_that_leads_out_is_not_committed(
    call: Callable[..., Answer], workspace: Workspace, tmp_path: Path
) -> None:
    """A name that leads out is refused; a command must not get there by a link of its own making."""
    outside = tmp_path / "outside"
    outside.write_text("not ours")
    document = workspace.document("notes")
    document.commit(b"mine", if_revision=0)
    call("lease", "notes", "--", "ln", "-sf", str(outside), "notes")
    assert (document.revision, document.read()) == (1, b"mine")


def test_what_was_committed_is_not_kept_as_a_conflict_as_well(
    call: Callable[..., Answer], workspace: Workspace
) -> None:
    document = workspace.document("notes")
    document.commit(b"1", if_revision=0)
    told = call("lease", "notes", "--", "sh", "-c", "printf 2 > new; ln -sf new notes")
    assert (told.status, document.read()) == (0, b"2")
    assert "without its lease" not in told.err
    assert document.conflicts() == []


# ── streams that are closed ──────────────────────────────────────────────────────────────────────────────────────────


def with_closed(what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a shell starts it with ``>&-`` and the like."""
    program = (sys.executable, "-m", "coordinator.cli", *arguments)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {what}', "sh", *program], capture_output=True, text=True, check=False, timeout=60
    )


def test_without_stdin(workspace: Workspace) -> None:
    done = with_closed("<&-", "lease", "x", "--", "sh", "-c", "exit 3")
    assert (done.returncode, done.stderr) == (3, "")
    assert workspace.status_of("x").state == "free"


def test_without_stderr(workspace: Workspace) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    done = with_closed("2>&-", "lease", "plan.json", "--", "sh", "-c", "echo '[1]' > plan.json; exit 3")
    assert done.returncode == 3, "that nobody can be told must not undo the commit"
    assert workspace.document("plan.json").read() == b"[1]\n"
    assert with_closed("2>&-", "status", "../x").returncode == 2


@pytest.mark.parametrize("line", [["status"], ["status", "--json"], ["document", "show", "plan.json"], ["--version"]])
def test_without_stdout(workspace: Workspace, line: list[str]) -> None:
    workspace.document("plan.json").commit(b"{}\n", if_revision=0)
    done = with_closed(">&-", *line)
    assert "Traceback" not in done.stderr
    assert "AttributeError" not in done.stderr


def test_a_command_without_stdout(workspace: Workspace) -> None:
    assert with_closed(">&-", "lease", "x", "--", "sh", "-c", "exit 3").returncode == 3
    assert workspace.status_of("x").state == "free"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_help_that_finds_no_room() -> None:
    done = with_closed(">/dev/full", "--help")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_help_that_nobody_reads() -> None:
    """`coordinator --help | head -1` under `set -o pipefail`; every other command ends with 0 there."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "coordinator.cli", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# Gives itself a limit for files, as a disk that is nearly full, and becomes the command line.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
os.execv(sys.executable, [sys.executable, "-m", "coordinator.cli", *sys.argv[1:]])
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("mode", [[], ["--json"]])
def test_a_result_that_was_cut_is_no_success(
    workspace: Workspace, tmp_path: Path, unbuffered: str, mode: list[str]
) -> None:
    """`coordinator document show big > copy`; PYTHONUNBUFFERED is usual in containers."""
    workspace.document("big").commit(b"x" * 1_000_000, if_revision=0)
    copy = tmp_path / "copy"
    with copy.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, "document", "show", "big", *mode],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert copy.stat().st_size == 100_000, "it was cut"
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
