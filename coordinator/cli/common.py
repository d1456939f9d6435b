"""What the commands share: options, opening the workspace, answering in both modes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.errors import CoordinatorError, NotAWorkspace
from coordinator.names import STATE_DIR

if TYPE_CHECKING:
    from coordinator.workspace import Workspace

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        envvar="COORDINATOR_WORKSPACE",
        help="The workspace. Default: the nearest folder above this one that is one.",
    ),
]
AgentOption = Annotated[
    str | None,
    typer.Option("--agent", metavar="NAME", envvar="COORDINATOR_AGENT", help="Who acts. Default: host and process."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")]


def open_workspace(directory: str | None, agent: str | None = None) -> Workspace:
    """The workspace that was named, or the nearest one above the current folder.

    Raises:
        NotAWorkspace: There is none.
    """
    from coordinator.workspace import Workspace  # noqa: PLC0415 - not for --help

    return Workspace(directory or _nearest(), agent=agent)


def _nearest() -> str:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / STATE_DIR).is_dir():
            return str(folder)
    raise NotAWorkspace(f"neither {here} nor any folder above it is a workspace", path=str(here))


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def note(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    sys.stderr.write(f"coordinator: {text}\n")


def print_error(error: CoordinatorError, *, as_json: bool) -> None:
    """An error, on stderr, in the mode that was asked for."""
    if as_json:
        told = {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "fields": error.fields,
        }
        sys.stderr.write(json.dumps(told, ensure_ascii=False, default=str) + "\n")
    else:
        note(str(error))


def print_table(columns: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
    """A table for people; as wide as its content when stdout is no terminal, so that nothing is cut in a pipe."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    wide = None if sys.stdout.isatty() else max(len(line) for line in map("  ".join, [columns, *rows])) + 80
    Console(width=wide).print(table)


def age(from_ms: int, now_ms: int) -> str:
    """A time of the store's clock, for people, reckoned from that clock's now."""
    if not from_ms:
        return ""
    span = abs(now_ms - from_ms) / 1000
    text = f"{span:.1f} s" if span < 120 else f"{span / 60:.0f} min" if span < 7200 else f"{span / 3600:.1f} h"  # noqa: PLR2004
    return f"{text} ago" if now_ms >= from_ms else f"in {text}"


def wants_json(arguments: list[str]) -> bool:
    """Whether ``--json`` was among a command's own options, for errors that come before they are parsed."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


def environment_for(workspace: Workspace, name: str, fence: int) -> dict[str, str]:
    """The environment of a command that runs under a lease."""
    told = {
        "COORDINATOR_WORKSPACE": workspace.directory,
        "COORDINATOR_RESOURCE": name,
        "COORDINATOR_FENCE": str(fence),
    }
    return {**os.environ, **told}
