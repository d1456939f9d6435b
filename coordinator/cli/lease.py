"""``coordinator lease``: run a command under a lease; list, show, force."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from coordinator.cli import exits
from coordinator.cli.common import (
    LEASE_COLUMNS,
    AgentOption,
    JsonOption,
    TtlOption,
    WaitOption,
    WorkspaceOption,
    age,
    lease_cells,
    note,
    open_workspace,
    parse_wait,
    print_json,
    print_table,
    put,
)
from coordinator.errors import BadValue

if TYPE_CHECKING:
    from coordinator.record.record import Record
    from coordinator.status import ResourceStatus

_HISTORY_SHOWN = 10


class _RunIsDefault(TyperGroup):
    """``lease NAME -- COMMAND`` means ``lease run NAME -- COMMAND``, unless NAME is the name of another command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["run", *args]
        if args and args[0] == "run" and "--" not in args and "--help" not in args:
            # Without it the command's own options would be taken for ours: make --json, or psql -w.
            raise BadValue(
                "there is no `--` before the command", argument="command", value=args[1:], hint=self._usage()
            )
        return super().parse_args(ctx, args)

    def _usage(self) -> str:
        others = ", ".join(sorted(self.commands))
        return f"coordinator lease NAME [OPTIONS] -- COMMAND [ARGUMENTS]…; or one of: {others}"


lease_app = typer.Typer(
    cls=_RunIsDefault,
    no_args_is_help=True,
    help="Run a command under a lease (lease NAME -- COMMAND); list, show and force leases.",
)


@lease_app.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A path in the workspace, or any path-like name.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND [ARGUMENTS]...")],
    ttl: TtlOption = 30,
    wait: WaitOption = "0",
    commit: Annotated[
        bool, typer.Option(help="Commit what the command wrote into NAME, if NAME has committed content.")
    ] = True,
    conflict_exit_code: Annotated[
        int, typer.Option(metavar="N", min=0, max=255, help="Exit status when it could not be had.")
    ] = exits.REFUSED,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a command while holding the lease on NAME, as flock(1) does. Its exit status comes through.

    The lease is kept alive while the command runs. Signals are passed on to it. If the lease is lost, the command is
    stopped, and the exit status is 76. Its environment has COORDINATOR_WORKSPACE, COORDINATOR_RESOURCE and
    COORDINATOR_FENCE, and what --table and the like said. If this process is killed (SIGKILL), the command runs on, and
    the lease ends after its ttl.

    JSON: stdout is the command's; notes and errors are lines of JSON on stderr.
    """
    from coordinator.cli.running import run_under_lease, tell_kept  # noqa: PLC0415 - only this command starts another

    status = run_under_lease(
        open_workspace(workspace, agent, partial(tell_kept, as_json=as_json)),
        name,
        command,
        ttl=ttl,
        wait=parse_wait(wait),
        commit=commit,
        conflict_status=conflict_exit_code,
        as_json=as_json,
    )
    raise typer.Exit(status)


@lease_app.command("list")
def list_(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Lists the leases that are held. JSON: as ``status``."""
    held = [each for each in open_workspace(workspace).status() if each.state != "free"]
    if as_json:
        print_json([asdict(each) for each in held])
    elif held:
        _print_leases(held)
    else:
        put("no lease is held\n")


@lease_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells who holds a lease, and what happened to it lately.

    JSON: as ``status``, with "history": the newest records, oldest first, as in docs/formats.md.
    """
    from coordinator.record.record import as_dict  # noqa: PLC0415 - not for --help

    opened = open_workspace(workspace)
    found, history = opened.status_of(name), opened.history(name)[-_HISTORY_SHOWN:]
    if as_json:
        print_json({**asdict(found), "history": [as_dict(record) for record in history]})
        return
    _print_leases([found])
    if history:
        put("\n")
        rows = [_row(record, found.now_ms) for record in history]
        print_table(["N", "WHEN", "WHAT", "BY", "WHY"], rows, right=("N",))


@lease_app.command()
def release(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    fence: Annotated[int, typer.Option(min=1, help="The holder's fence, from `lease show`.")],
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Frees a lease by force. Safe: its holder is fenced out, and nothing happens if somebody else holds it by now.

    JSON: {"resource", "released_fence"}.
    """
    opened = open_workspace(workspace, agent)
    opened.break_lease(name, fence=fence)
    if as_json:
        print_json({"resource": opened.document(name).name, "released_fence": fence})
    else:
        put(f"the lease on {name} with fence {fence} is free; its holder can commit nothing more\n")


def _print_leases(found: list[ResourceStatus]) -> None:
    print_table(LEASE_COLUMNS, [lease_cells(each) for each in found], right=("FENCE", "WAITING"))
    for each in found:
        if each.trouble:
            note(each.trouble)


def _row(record: Record, now_ms: int) -> list[str]:
    return [str(record.n), age(record.at_ms, now_ms), record.kind, record.agent, record.why]
