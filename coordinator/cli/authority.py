"""``coordinator authority``: which store rules, moving the rule, adopting a directory."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import exits
from coordinator.cli.common import (
    AgentOption,
    JsonOption,
    SingleHostOption,
    WorkspaceOption,
    nearest,
    note,
    open_workspace,
    print_json,
    put,
    reached,
)
from coordinator.errors import (
    AuthorityMoved,
    BadValue,
    NoDirectory,
    NotAWorkspace,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from coordinator.record.authority import Authority
    from coordinator.record.ruling import Whereabouts
    from coordinator.record.table_calls import TableCalls

authority_app = typer.Typer(
    no_args_is_help=True, help="Which store rules a workspace: its mount or a table; move the rule; adopt a directory."
)


class Mode(Enum):
    """A store that can rule."""

    TABLE = "table"
    MOUNT = "mount"


@dataclass(frozen=True)
class _Seen:
    """What was found out about who rules."""

    workspace_id: str
    directory: str
    authority: Authority | None
    where: Whereabouts | None
    trouble: tuple[str, ...] = ()


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@authority_app.command()
def show(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tells which store rules, in which epoch, since when and by whom, and how many resources are where.

    Works without the directory, if the table answers: with --workspace-id ID, and --workspace, too, if it should be
    tried first.

    JSON: {"workspace_id", "directory", "table", "mode", "epoch", "born": which store ruled first, "registered": the
    mark of the directory that the table knows, "by": who changed this last, "at_ms", "on_mount", "in_table",
    "to_come": names of those which come over when they are first used, "trouble"}; null is what cannot be told.
    """
    seen = _look(workspace)
    found, where = seen.authority, seen.where
    if as_json:
        print_json(
            {
                "workspace_id": seen.workspace_id,
                "directory": seen.directory,
                "table": reached().table,
                "mode": found.mode if found else "mount",
                "epoch": found.epoch if found else 1,
                "born": found.born if found else None,
                "registered": found.directory if found else None,
                "by": found.by if found else None,
                "at_ms": found.at_ms if found else None,
                "on_mount": where.on_mount if where else None,
                "in_table": where.in_table if where else None,
                "to_come": list(where.to_come) if where else None,
                "trouble": list(seen.trouble),
            }
        )
    else:
        put("".join(f"{line}\n" for line in _lines(seen)))
        for each in seen.trouble:
            note(each)


def _look(directory: str | None) -> _Seen:
    """By the directory and the table; by the table alone, if the directory cannot be had and the id was told."""
    reach = reached()
    try:
        opened = open_workspace(directory)
        found, where = opened.authority(), opened.whereabouts()
    except (NotAWorkspace, StoreUnavailable, AuthorityMoved, NoDirectory) as error:
        if reach.table is None or reach.workspace_id is None:
            raise
        return _look_at_table(error, is_asked_for=directory is not None)
    return _Seen(opened.format.workspace_id, opened.directory, found, where, where.trouble)


def _look_at_table(error: Exception, *, is_asked_for: bool) -> _Seen:
    """What the table alone tells. Raises the error if it does not know the workspace."""
    from coordinator.clock import SYSTEM_CLOCK  # noqa: PLC0415 - not for --help
    from coordinator.record.authority import read_authority  # noqa: PLC0415 - likewise
    from coordinator.record.ruling import whereabouts  # noqa: PLC0415 - likewise
    from coordinator.record.table import TableStore  # noqa: PLC0415 - likewise

    workspace_id, calls = reached().workspace_id or "", _calls()
    found = read_authority(calls, workspace_id)
    if found is None:
        raise error
    where = whereabouts(TableStore(calls, workspace_id, SYSTEM_CLOCK))
    trouble = (f"the directory cannot be had: {error}",) if is_asked_for else ()
    return _Seen(workspace_id, "", found, where, (*trouble, *where.trouble))


def _lines(seen: _Seen) -> list[str]:
    reach, found, where = reached(), seen.authority, seen.where
    lines = [f"workspace {seen.workspace_id}" + (f" in {seen.directory}" if seen.directory else "")]
    if found is None:
        table = f"the table {reach.table} does not know it yet" if reach.table else "no table was named"
        lines.append(f"the mount rules; {table}")
    else:
        which = f"the table {reach.table} rules" if found.mode == "table" else f"the mount rules, not {reach.table}"
        at = f" since {_time(found.at_ms)}, by {found.by}" if found.at_ms else f"; registered by {found.by}"
        lines.append(f"{which} (epoch {found.epoch}){at}")
        of = f"directory: {found.directory}" if found.directory else "without a directory"
        lines.append(f"it ruled first: the {found.born}; {of}")
    if where is not None:
        lines.append(f"{where.on_mount} resources on the mount, {where.in_table} in the table")
        if where.to_come:
            names = ", ".join(where.to_come)
            lines.append(f"{len(where.to_come)} come over when they are first used, or now: authority move: {names}")
        if reach.table is None and where.in_table:
            lines.append(f"{where.in_table} have been moved to a table: name it with --table")
    return lines


def _time(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))


# ── move ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@authority_app.command()
def move(
    mode: Annotated[Mode, typer.Argument(metavar="table|mount", help="Which store is to rule.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Move back to the mount without being asked.")] = False,
    single_host: SingleHostOption = False,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gives the rule to the table, or back to the mount, and brings every resource over.

    Agents go on working meanwhile; whoever has opened the workspace with --table goes on where the rule went. Those who
    named no table, and after a move to the mount those who have no directory, are refused from then on. Nothing that
    was acknowledged is lost. Safe to interrupt, and to repeat: what has not come over does so when it is first used.
    It needs the directory, and --table.

    JSON: {"mode", "epoch", "brought": names, "trouble"}. Exit status 65: a resource could not be read; the others are
    there.
    """
    if mode is Mode.MOUNT and not yes and not _is_sure():
        note("nothing was changed", as_json=as_json)
        raise typer.Exit(exits.INTERRUPTED)
    try:
        opened = open_workspace(workspace, agent)
    except AuthorityMoved as error:
        if workspace is None and reached().workspace_id is not None:
            raise NoDirectory(f"the rule moves where the directory is: {error.message}", path=error.path) from None
        raise
    tell = None if as_json else partial(_tell_brought, mode.value)
    try:
        done = opened.move_authority(mode.value, on_brought=tell, single_host=single_host)
    except StoreUnavailable:
        hint = "what was not brought over comes when it is first used; or say the same command again"
        note(f"interrupted: {hint}", as_json=as_json)
        raise
    if as_json:
        shown = {"mode": done.authority.mode, "epoch": done.authority.epoch}
        print_json({**shown, "brought": list(done.brought), "trouble": list(done.trouble)})
    else:
        put(f"the {done.authority.mode} rules (epoch {done.authority.epoch}): {len(done.brought)} resources\n")
        for each in done.trouble:
            note(f"left alone: {each}")
    if done.trouble:
        raise typer.Exit(exits.DATA)


def _tell_brought(mode: str, name: str) -> None:
    put(f"{name}: {'in the table' if mode == 'table' else 'on the mount'}\n")


def _is_sure() -> bool:
    """Asks the person at the terminal. Raises BadValue where there is none."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadValue(
            "the rule goes back to the mount only when somebody says so",
            argument="yes",
            value=False,
            hint="say --yes; agents that have no mount, or one that refuses flock, can then work no longer",
        )
    sys.stderr.write("Agents that have no mount, or one that refuses flock, can then work no longer. Move? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


# ── adopt ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@authority_app.command()
def adopt(
    new_id: Annotated[bool, typer.Option("--new-id", help="This is a copy: give it an id of its own.")] = False,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes the table know a directory that was moved, restored or copied. Until then it is refused with that table.

    Moved or restored, and the first one is gone: adopt. The rule stays where it is; but a table that was restored to a
    point before the rule last moved, or that is a new one, is told of that move. If the first one lives on, the two
    share one id, and where the table rules, each takes the other's records for its own. A backup brings back only what
    lay in the directory: content that was committed after it is missing, though the table may still tell of it.

    A copy beside the first one: adopt --new-id. It goes on by itself with what was in it when it was copied: leases in
    it end with their ttl, and updates that were not folded are folded in both. What agents without the mount had sent
    to the table stays with the first one. Refused if resources of it were moved to the table: their newest records are
    there, under the old id, and would be lost; so would be all of a workspace that was born in the table.

    It needs the directory, and --table. JSON: {"workspace_id", "id_before", "mode", "epoch", "registered"}.
    """
    from coordinator.files import SYSTEM_FILES  # noqa: PLC0415 - not for --help
    from coordinator.names import default_agent, parse_agent  # noqa: PLC0415 - likewise
    from coordinator.record import ruling  # noqa: PLC0415 - likewise

    root = os.path.realpath(workspace or nearest())
    who = parse_agent(agent) if agent is not None else default_agent()
    adopt_it = ruling.adopt_as_copy if new_id else ruling.adopt
    done = adopt_it(SYSTEM_FILES, root, _calls(), who)
    if as_json:
        shown: dict[str, Any] = {"workspace_id": done.workspace_id, "id_before": done.id_before}
        shown |= {name: value for name, value in asdict(done.authority).items() if name in {"mode", "epoch"}}
        print_json({**shown, "registered": done.authority.directory})
    else:
        was = f" (it was {done.id_before})" if done.id_before != done.workspace_id else ""
        put(f"the table {reached().table} knows {root} as the workspace {done.workspace_id}{was}\n")


def _calls() -> TableCalls:
    """The table that was named. Raises BadValue if none was."""
    from coordinator.clock import SYSTEM_CLOCK  # noqa: PLC0415 - not for --help
    from coordinator.record.table_calls import TableCalls  # noqa: PLC0415 - likewise

    reach = reached()
    if reach.table is None:
        raise BadValue("no table was named", argument="table", value=None, hint="coordinator --table NAME …")
    return TableCalls(reach.table, SYSTEM_CLOCK, region=reach.region)
