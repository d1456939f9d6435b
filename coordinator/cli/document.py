"""``coordinator document``: show, edit, history."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.cli import exits
from coordinator.cli.common import (
    AgentOption,
    JsonOption,
    WorkspaceOption,
    age,
    note,
    open_workspace,
    print_error,
    print_json,
    print_table,
)
from coordinator.errors import LeaseLost, MalformedDocument, NoSuchDocument

if TYPE_CHECKING:
    from coordinator.document.lease import DocumentLease

document_app = typer.Typer(no_args_is_help=True, help="Read, edit and trace documents.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A file of the workspace, like tasks.json.")]


@document_app.command()
def show(
    name: NameArgument,
    revision: Annotated[int | None, typer.Option(min=1, help="An earlier revision, while it is kept.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes a document's committed content to stdout, and nothing else.

    JSON: {"resource", "revision", "sha256", "bytes", "text" or "base64", "conflicts"}.
    """
    from coordinator.document.snapshot import sha256_of  # noqa: PLC0415 - not for --help

    document = open_workspace(workspace).document(name)
    if revision is None:
        content = document.content()
        data, shown = content.data, content.revision
    else:
        data, shown = document.at(revision), revision
    conflicts = document.conflicts()
    if as_json:
        facts = {"resource": document.name, "revision": shown, "sha256": sha256_of(data), "bytes": len(data)}
        try:
            body = {"text": data.decode()}
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(data).decode()}
        print_json({**facts, **body, "conflicts": conflicts})
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    for path in conflicts:
        note(f"an edit made to the plain file by hand is kept at {path}")


@document_app.command()
def history(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tells who committed what, when, under which fence.

    JSON: a list of {"revision", "at_ms", "agent", "fence", "why", "sha256", "size_bytes", "available"}.
    """
    opened = open_workspace(workspace)
    revisions = opened.document(name).history()
    if as_json:
        print_json([asdict(each) for each in revisions])
        return
    if not revisions:
        sys.stdout.write(f"nothing was committed to {name} yet\n")
        return
    now_ms = opened.status_of(name).now_ms
    rows = [
        [
            str(each.revision),
            age(each.at_ms, now_ms),
            each.agent,
            str(each.fence or ""),
            str(each.size_bytes),
            each.sha256[:12],
            "yes" if each.available else "",
            each.why,
        ]
        for each in revisions
    ]
    columns = ["REVISION", "WHEN", "BY", "FENCE", "BYTES", "SHA256", "KEPT", "WHY"]
    print_table(columns, rows, right=("REVISION", "FENCE", "BYTES"))


@document_app.command()
def edit(
    name: NameArgument,
    ttl: Annotated[float, typer.Option(metavar="SECONDS")] = 30,
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the lease.")] = 0,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Opens a document in $VISUAL or $EDITOR under its lease, and commits what was saved.

    JSON: {"resource", "revision", "changed"}.
    """
    opened = open_workspace(workspace, agent)
    with opened.lease(name, ttl=ttl, wait=wait, renew_in_background=True) as lease:
        try:
            before = lease.read()
        except NoSuchDocument:
            before = b""
        revision = _edit(lease, before, as_json=as_json)
    if as_json:
        print_json({"resource": lease.resource, "revision": revision, "changed": revision is not None})
    elif revision is None:
        sys.stdout.write("nothing was changed\n")
    else:
        sys.stdout.write(f"committed {name} as revision {revision}\n")


def _edit(lease: DocumentLease, before: bytes, *, as_json: bool) -> int | None:
    """One round through the editor; the copy is kept whenever it was not committed."""
    folder = tempfile.mkdtemp(prefix="coordinator-edit-")
    path = os.path.join(folder, os.path.basename(lease.resource))
    with open(path, "xb") as file:
        file.write(before)
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        ended = subprocess.run([*editor, path], check=False).returncode  # noqa: S603 - the user's own editor
    except OSError as error:
        note(f"the editor {editor[0]!r} cannot be run: {error.strerror} (set VISUAL or EDITOR)")
        ended = exits.COMMAND_NOT_FOUND
    with open(path, "rb") as file:
        after = file.read()
    if ended or after == before:
        if after != before:
            note(f"the editor ended with status {ended}; nothing is committed, what was saved is at {path}")
            raise typer.Exit(exits.UNEXPECTED)
        os.unlink(path)
        os.rmdir(folder)
        if ended:
            raise typer.Exit(ended)
        return None
    try:
        if lease.resource.endswith(".json"):
            from coordinator.document.json_text import parse  # noqa: PLC0415 - not for --help

            parse(after, lease.resource)
        receipt = lease.commit(after)
    except MalformedDocument as error:
        print_error(error, as_json=as_json)
        note(f"nothing is committed; what was saved is at {path}")
        raise typer.Exit(exits.DATA) from None
    except LeaseLost:
        note(f"what was saved is also at {path}")
        raise
    os.unlink(path)
    os.rmdir(folder)
    return receipt.revision
