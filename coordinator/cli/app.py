"""The commands, put together."""

from __future__ import annotations

from dataclasses import asdict
from traceback import format_exc
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from coordinator import __version__
from coordinator.cli import exits
from coordinator.cli.authority import authority_app
from coordinator.cli.common import (
    ANYWHERE,
    LEASE_COLUMNS,
    AgentOption,
    FallbackOption,
    JsonOption,
    NobodyReads,
    Reach,
    RegionOption,
    SingleHostOption,
    TableOption,
    WorkspaceIdOption,
    WorkspaceOption,
    lease_cells,
    note,
    open_workspace,
    print_error,
    print_error_object,
    print_json,
    print_table,
    put,
    reached,
    set_reach,
    stdout_failed,
    wants_json,
)
from coordinator.cli.compact import compact
from coordinator.cli.document import document_app
from coordinator.cli.lease import lease_app
from coordinator.cli.package import package
from coordinator.cli.serve import serve
from coordinator.cli.stress import stress
from coordinator.cli.table import table_app
from coordinator.cli.tasks import tasks_app
from coordinator.errors import BadValue, CoordinatorError, StoreUnavailable

if TYPE_CHECKING:
    from coordinator.workspace import Workspace


class _OptionsAnywhere(TyperGroup):
    """How the workspace is reached may be said before the command, or among the command's own options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        own, first = iter(args[:end]), []
        rest = []
        for each in own:
            name, sign, _ = each.partition("=")
            if name not in ANYWHERE:
                rest.append(each)
            elif sign:
                first.append(each)
            else:
                value = next(own, None)
                if value is None:
                    raise BadValue(f"{name} is said without a value", argument=name.removeprefix("--"), value=None)
                first += [name, value]
        return super().parse_args(ctx, [*first, *rest, *args[end:]])


app = typer.Typer(
    name="coordinator",
    cls=_OptionsAnywhere,
    help="Leases and documents for agents that share one workspace directory.",
    epilog=exits.SUMMARY,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.add_typer(lease_app, name="lease")
app.add_typer(document_app, name="document")
app.add_typer(tasks_app, name="tasks")
app.add_typer(authority_app, name="authority")
app.add_typer(table_app, name="table")
app.command()(compact)


def _version(wanted: bool) -> None:
    if wanted:
        put(f"coordinator {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
    table: TableOption = None,
    region: RegionOption = None,
    workspace_id: WorkspaceIdOption = None,
    fallback: FallbackOption = None,
) -> None:
    set_reach(reached()._replace(table=table, region=region, workspace_id=workspace_id, fallback=fallback))


@app.command()
def init(
    directory: Annotated[str | None, typer.Argument(help="An existing directory. Default: this one.")] = None,
    primitive: Annotated[
        str | None, typer.Option(metavar="symlink|directory", help="How records are put. Default: what works.")
    ] = None,
    single_host: SingleHostOption = False,
    as_json: JsonOption = False,
) -> None:
    """Makes a directory a workspace, after trying whether its file system can carry one.

    With --table NAME that table rules it from the beginning; with --fallback table as well, its directory, until flock
    is refused. With --table NAME --workspace-id ID it has no directory: leases and updates only, through the table.

    JSON: {"directory", "workspace_id", "primitive", "format"}; with a table also {"table", "mode", "epoch"}.
    """
    from coordinator.workspace import Workspace  # noqa: PLC0415 - not for --help

    reach = reached()
    if reach.workspace_id is not None and directory is not None:
        hint = "a directory's id is made for it; with --workspace-id it has no directory"
        raise BadValue(
            "there is to be a directory, or --workspace-id", argument="directory", value=directory, hint=hint
        )
    named = directory if reach.workspace_id is not None else directory or "."
    workspace = Workspace.init(
        named,
        primitive=primitive,
        table=reach.table,
        workspace=reach.workspace_id,
        region=reach.region,
        fallback=reach.fallback if named else None,
        single_host=single_host,
    )
    made = workspace.format
    if as_json:
        shown = {"workspace_id": made.workspace_id, "primitive": made.primitive, "format": made.format}
        print_json({"directory": workspace.directory} | shown | _rule(workspace))
        return
    how = f" (records by {made.primitive})" if made.primitive else ""
    put(f"{_place(workspace)} is a workspace{how}\n")
    _tell_rule(workspace)


def _place(workspace: Workspace) -> str:
    return workspace.directory or f"{workspace.format.workspace_id} in the table {reached().table}"


def _rule(workspace: Workspace) -> dict[str, Any]:
    """Who rules, where a table was named. That it does not answer is noted, and no reason to answer nothing."""
    try:
        found = workspace.authority()
    except StoreUnavailable as error:
        note(str(error), as_json=reached().as_json)
        return {}
    return {} if found is None else {"table": reached().table, "mode": found.mode, "epoch": found.epoch}


def _tell_rule(workspace: Workspace) -> None:
    """Tells people who rules, where a table was named."""
    told = _rule(workspace)
    if told:
        rules = f"the table {told['table']} rules" if told["mode"] == "table" else "the mount rules"
        put(f"{rules} the workspace {workspace.format.workspace_id} (epoch {told['epoch']})\n")


@app.command()
def status(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all.")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells who holds what, with which fence, since when and until when, who waits, and what is committed.

    REV and BYTES are the committed content's; EDITS counts edits by hand that were kept (`document show` says where).

    JSON: a list of {"resource", "state", "holder", "fence", "since_ms", "until_ms", "waiting", "revision",
    "size_bytes", "conflicts", "now_ms", "trouble"}; times are the store's clock, Unix milliseconds. Who rules is told
    by `authority show --json`.
    """
    opened = open_workspace(workspace)
    found = [opened.status_of(name) for name in names] if names else opened.status()
    if as_json:
        print_json([asdict(each) for each in found])
        return
    if not found:
        put(f"nothing was leased or committed in {_place(opened)} yet\n")
        _tell_rule(opened)
        return
    rows = [
        [
            *lease_cells(each),
            str(each.revision or ""),
            str(each.size_bytes if each.revision else ""),
            str(each.conflicts or ""),
        ]
        for each in found
    ]
    right = ("FENCE", "WAITING", "REV", "BYTES", "EDITS")
    print_table([*LEASE_COLUMNS, "REV", "BYTES", "EDITS"], rows, right=right)
    _tell_rule(opened)
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
        put(
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
    workers: Annotated[int, typer.Option(min=2, max=32, help="Worker processes.")] = 8,
    keep: Annotated[str | None, typer.Option(metavar="DIR", help="Keep the workspaces there, to look at.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Lets processes share one tasks.json: as people do it, under leases, and over logs, while some are killed.

    Exit status 0 only if the coordinated runs lost, doubled and tore nothing, and the naive ones show that the counting
    can see losses.

    JSON: one object, with what was counted in each act.
    """
    from coordinator.demo import run_demo  # noqa: PLC0415 - not for the other commands

    raise typer.Exit(run_demo(tasks_path=tasks, workers=workers, as_json=as_json, keep=keep))


app.command()(package)
app.command()(serve)
app.command()(stress)


def execute(arguments: list[str]) -> int:  # noqa: PLR0911 - one way out for each kind of end
    """Runs the command line, and turns errors into one line; returns the exit status."""
    as_json = wants_json(arguments)
    set_reach(Reach(as_json=as_json))
    try:
        return app(args=arguments, prog_name="coordinator", standalone_mode=False) or exits.OK
    except CoordinatorError as error:
        print_error(error, as_json=as_json)
        return exits.status_of(error)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except NobodyReads:
        return exits.OK
    except SystemExit as error:  # Typer's completion; or rich, printing help that nobody reads
        if isinstance(error.__context__, BrokenPipeError):
            return exits.OK
        return error.code if isinstance(error.code, int) else exits.OK if error.code is None else exits.UNEXPECTED
    except Exception as error:  # noqa: BLE001 - told there, or raised again
        return _other_end(error, arguments, as_json=as_json)


def _other_end(error: Exception, arguments: list[str], *, as_json: bool) -> int:
    """What Typer raised, or a bug."""
    if isinstance(error, OSError) and "--help" in arguments:  # it goes to stdout by Typer's own way
        stdout_failed(error)
        return exits.UNEXPECTED
    # Typer has its parser's errors at different places in different versions; this tells them in all of them.
    status = getattr(error, "exit_code", None)
    if isinstance(status, int) and hasattr(error, "format_message") and hasattr(error, "show"):
        if as_json:
            print_error_object("UsageError", error.format_message())
        else:
            error.show()
        return status
    if not as_json:
        raise error  # a bug: its traceback is what has to be reported
    print_error_object(type(error).__name__, str(error), "a bug: please report it", {"traceback": format_exc()})
    return exits.UNEXPECTED
