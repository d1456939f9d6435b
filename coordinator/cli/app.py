"""The commands, put together."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from coordinator import __version__
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
    wants_json,
)
from coordinator.cli.document import document_app
from coordinator.cli.lease import lease_app
from coordinator.errors import CoordinatorError

_EPILOG = """Exit status: 0 done · 2 wrong usage or name · 65 damaged or malformed data · 66 not found · 69 store
unavailable · 73 no room · 75 somebody else was first · 76 lease lost · 78 workspace set-up · 130 interrupted ·
1 a bug. A command run under a lease passes its own status through."""

app = typer.Typer(
    name="coordinator",
    help="Leases and documents for agents that share one workspace directory.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.add_typer(lease_app, name="lease")
app.add_typer(document_app, name="document")


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"coordinator {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    pass


@app.command()
def init(
    directory: Annotated[str, typer.Argument(help="An existing directory.")] = ".",
    primitive: Annotated[
        str | None, typer.Option(metavar="symlink|directory", help="How records are put. Default: what works.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Makes a directory a workspace, after trying whether its file system can carry one.

    JSON: {"directory", "workspace_id", "primitive", "format"}.
    """
    from coordinator.workspace import Workspace  # noqa: PLC0415 - not for --help

    workspace = Workspace.init(directory, primitive=primitive)
    made = workspace.format
    if as_json:
        shown = {"workspace_id": made.workspace_id, "primitive": made.primitive, "format": made.format}
        print_json({"directory": workspace.directory} | shown)
    else:
        sys.stdout.write(f"{workspace.directory} is a workspace (records by {made.primitive})\n")


@app.command()
def status(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells who holds what, with which fence, since when and until when, who waits, and what is committed.

    JSON: a list of {"resource", "state", "holder", "fence", "since_ms", "until_ms", "waiting", "revision",
    "size_bytes", "conflicts", "now_ms", "trouble"}; times are the store's clock, Unix milliseconds.
    """
    opened = open_workspace(workspace)
    found = [opened.status_of(name) for name in names] if names else opened.status()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        sys.stdout.write(f"nothing was leased or committed in {opened.directory} yet\n")
        return
    columns = ["RESOURCE", "STATE", "HOLDER", "FENCE", "SINCE", "UNTIL", "WAITING", "REVISION", "BYTES", "CONFLICTS"]
    rows = [
        [
            each.resource,
            each.state,
            each.holder,
            str(each.fence or ""),
            age(each.since_ms, each.now_ms) if each.holder else "",
            age(each.until_ms, each.now_ms),
            str(each.waiting or ""),
            str(each.revision or ""),
            str(each.size_bytes if each.revision else ""),
            str(each.conflicts or ""),
        ]
        for each in found
    ]
    print_table(columns, rows, right=("FENCE", "WAITING", "REVISION", "BYTES", "CONFLICTS"))
    for each in found:
        if each.trouble:
            note(each.trouble)


@app.command()
def gc(workspace: WorkspaceOption = None, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """Archives old records, and deletes snapshots and scratch that nobody can need any more. Safe at any time.

    JSON: {"resources", "records", "files", "bytes_freed", "trouble"}.
    """
    done = open_workspace(workspace, agent).collect()
    if as_json:
        print_json(asdict(done))
    else:
        sys.stdout.write(
            f"{done.resources} resources: {done.records} records archived, {done.files} files removed, "
            f"{done.bytes_freed} bytes freed\n"
        )
        for each in done.trouble:
            note(f"left alone: {each}")
    if done.trouble:
        raise typer.Exit(exits.DATA)


@app.command()
def demo(
    tasks: Annotated[
        str | None, typer.Option(metavar="FILE", help="A tasks.json of yours; a copy is worked on.")
    ] = None,
    workers: Annotated[int, typer.Option(min=2, max=64, help="Worker processes.")] = 8,
    keep: Annotated[str | None, typer.Option(metavar="DIR", help="Keep the workspaces there, to look at.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Lets processes share one tasks.json, first the way people do it, then under leases, while some are killed.

    Exit status 0 only if the coordinated run lost, doubled and tore nothing, and the naive runs show that the counting
    can see losses.
    """
    from coordinator.demo import run_demo  # noqa: PLC0415 - not for the other commands

    raise typer.Exit(run_demo(tasks_path=tasks, workers=workers, as_json=as_json, keep=keep))


def run() -> None:
    """Runs the command line, and turns errors into one line and an exit status."""
    try:
        app()
    except CoordinatorError as error:
        print_error(error, as_json=wants_json(sys.argv[1:]))
        sys.exit(exits.status_of(error))
    except BrokenPipeError:
        sys.stderr.close()  # `coordinator status | head`: nobody is left to be told
        sys.exit(exits.OK)
