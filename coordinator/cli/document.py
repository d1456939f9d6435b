"""``coordinator document``: show, edit, history; update, changes."""

from __future__ import annotations

import base64
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from coordinator.cli.changing import changing_app
from coordinator.cli.common import (
    AgentOption,
    JsonOption,
    NameArgument,
    TtlOption,
    WaitOption,
    WorkspaceOption,
    age,
    note,
    open_workspace,
    parse_wait,
    print_json,
    print_table,
    put,
    put_bytes,
)

document_app = typer.Typer(no_args_is_help=True, help="Read, edit, update and trace documents.")
document_app.add_typer(changing_app)


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
    put_bytes(data)
    for path in conflicts:
        note(f"an edit made to the plain file by hand is kept at {path}")


@document_app.command()
def history(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tells who committed what, when, under which fence.

    JSON: a list of {"revision", "at_ms", "agent", "fence", "why", "sha256", "size_bytes", "available"}.
    """
    opened = open_workspace(workspace)
    document = opened.document(name)
    revisions = document.history()
    if not revisions:
        document.content()  # there is no such document, or a plain file that was never committed
    if as_json:
        print_json([asdict(each) for each in revisions])
        return
    if not revisions:
        put(f"nothing was committed to {name} yet\n")
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
    columns = ["REV", "WHEN", "BY", "FENCE", "BYTES", "SHA256", "KEPT", "WHY"]
    print_table(columns, rows, right=("REV", "FENCE", "BYTES"))


@document_app.command()
def edit(
    name: NameArgument,
    ttl: TtlOption = 30,
    wait: WaitOption = "0",
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Opens a document in $VISUAL or $EDITOR under its lease, and commits what was saved.

    What is not committed (the lease was lost, the editor failed, a .json that is not JSON) stays in a file of its own,
    which is told. If the editor fails, its status is the exit status.

    JSON: {"resource", "revision" or null, "changed"}; the editor's output goes to stderr.
    """
    from coordinator.cli.editing import edit_under_lease  # noqa: PLC0415 - only this command starts an editor
    from coordinator.cli.running import tell_kept  # noqa: PLC0415 - likewise

    opened = open_workspace(workspace, agent, partial(tell_kept, as_json=as_json))
    with opened.lease(name, ttl=ttl, wait=parse_wait(wait), renew_in_background=True) as lease:
        revision = edit_under_lease(opened.document(name), lease, as_json=as_json)
    if as_json:
        print_json({"resource": lease.resource, "revision": revision, "changed": revision is not None})
    elif revision is None:
        put("nothing was changed\n")
    else:
        put(f"committed {lease.resource} as revision {revision}\n")
