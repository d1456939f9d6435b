"""What the commands share: options, opening the workspace, answering in both modes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import typer

from coordinator.errors import BadValue, CoordinatorError, NotAWorkspace
from coordinator.names import STATE_DIR

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.events import Event
    from coordinator.status import ResourceStatus
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
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A file of the workspace, like tasks.json.")]
SingleHostOption = Annotated[
    bool, typer.Option("--single-host", help="No other host ever works there: locks of this host alone will do.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; errors as JSON on stderr.")]
WaitOption = Annotated[str, typer.Option(metavar="SECONDS|forever", help="How long to wait for the lease.")]
TtlOption = Annotated[float, typer.Option(metavar="SECONDS", help="How long the lease outlives this process.")]

# For the whole command line: they may stand before the command or among its own options (app.py).
TableOption = Annotated[
    str | None,
    typer.Option(
        "--table",
        metavar="NAME",
        envvar="COORDINATOR_TABLE",
        help="The DynamoDB table that rules the workspace, or may come to rule it: name or ARN.",
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="REGION", envvar="COORDINATOR_REGION", help="Of the table. Default: the environment's."
    ),
]
WorkspaceIdOption = Annotated[
    str | None,
    typer.Option(
        "--workspace-id",
        metavar="ID",
        envvar="COORDINATOR_WORKSPACE_ID",
        help="The workspace, without its directory: by the table only. With --workspace: it has to be that one.",
    ),
]
FallbackOption = Annotated[
    str | None,
    typer.Option(
        "--fallback",
        metavar="table",
        envvar="COORDINATOR_FALLBACK",
        help="Move the rule to the table when the mount refuses flock for too long. Without a directory: nothing.",
    ),
]
ANYWHERE: Final = ("--table", "--region", "--workspace-id", "--fallback")

_MINUTES_ABOVE_S = 120
_HOURS_ABOVE_S = 7200


class NobodyReads(Exception):
    """Stdout is a pipe that nobody reads any more, as in ``coordinator status | head``: no error."""


class Reach(NamedTuple):
    """How the workspace is reached, as far as it is not its directory: the options for the whole command line."""

    table: str | None = None
    region: str | None = None
    workspace_id: str | None = None
    fallback: str | None = None
    as_json: bool = False

    def environment(self) -> dict[str, str]:
        """The variables that say it to a command that is started."""
        told = {
            "COORDINATOR_TABLE": self.table,
            "COORDINATOR_REGION": self.region,
            "COORDINATOR_WORKSPACE_ID": self.workspace_id,
            "COORDINATOR_FALLBACK": self.fallback,
        }
        return {name: value for name, value in told.items() if value is not None}


_reach: ContextVar[Reach | None] = ContextVar("reach", default=None)


def set_reach(reach: Reach) -> None:
    """Says it for the command that follows."""
    _reach.set(reach)


def reached() -> Reach:
    """What was said of it."""
    return _reach.get() or Reach()


# ── coming in ────────────────────────────────────────────────────────────────────────────────────────────────────────


def open_workspace(
    directory: str | None, agent: str | None = None, on_event: Callable[[Event], None] | None = None
) -> Workspace:
    """The workspace that was named, or the nearest one above the current folder, or one that only a table knows.

    Raises:
        NotAWorkspace: There is none.
        BadValue: The directory is not that of the workspace id that was given with it.
    """
    from coordinator.workspace import Workspace  # noqa: PLC0415 - not for --help

    reach = reached()
    on_event = partial(_tell_falling_back, on_event, as_json=reach.as_json)
    if reach.workspace_id is not None and not directory:
        return Workspace(
            agent=agent, on_event=on_event, table=reach.table, region=reach.region, workspace=reach.workspace_id
        )
    directory = directory or nearest()
    if reach.workspace_id is not None:
        _refuse_another(directory, reach.workspace_id)
    return Workspace(
        directory, agent=agent, on_event=on_event, table=reach.table, region=reach.region, fallback=reach.fallback
    )


def _refuse_another(directory: str, workspace_id: str) -> None:
    from coordinator.files import SYSTEM_FILES  # noqa: PLC0415 - not for --help
    from coordinator.record.format import read_format  # noqa: PLC0415 - likewise

    found = read_format(SYSTEM_FILES, os.path.realpath(directory)).workspace_id
    if found != workspace_id:
        raise BadValue(
            f"the workspace in {directory} has the id {found!r}, not {workspace_id!r}",
            argument="workspace-id",
            value=workspace_id,
            hint="name one of the two: --workspace DIR, or --workspace-id ID for what has no directory here",
        )


def _tell_falling_back(also: Callable[[Event], None] | None, event: Event, *, as_json: bool) -> None:
    """Notes what nobody asked for, and everybody should know."""
    if event.kind == "falling_back":
        note(f"flock is refused ({event.reason}): the rule is moved to the table", as_json=as_json)
    if also:
        also(event)


def nearest() -> str:
    """The nearest folder, from the current one upwards, that is a workspace. Raises NotAWorkspace."""
    try:
        here = folder = os.getcwd()
    except OSError as error:
        raise NotAWorkspace(f"the current folder is gone ({error.strerror})", path="", hint="cd to another") from None
    while not os.path.isdir(os.path.join(folder, STATE_DIR)):
        if folder == os.path.dirname(folder):
            by_id = None if reached().table is None else "name it: --workspace DIR, or --workspace-id ID"
            raise NotAWorkspace(f"neither {here} nor any folder above it is a workspace", path=here, hint=by_id)
        folder = os.path.dirname(folder)
    return folder


def parse_wait(text: str) -> float | None:
    """The value of ``--wait``: seconds, or None for ``forever``.

    Raises:
        BadValue: It is neither.
    """
    if text == "forever":
        return None
    try:
        return float(text)
    except ValueError:
        raise BadValue(
            f"--wait {text!r} is neither a number of seconds nor 'forever'", argument="wait", value=text
        ) from None


def wants_json(arguments: list[str]) -> bool:
    """Whether ``--json`` was among a command's own options, for errors that come before they are parsed."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


# ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def put(text: str) -> None:
    """A result, on stdout.

    Raises:
        NobodyReads: Nobody does.
        Exit: It cannot be written.
    """
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
    put_bytes(text.encode(encoding, "backslashreplace"))


def put_bytes(data: bytes) -> None:
    """A result as bytes, on stdout, all of it. Raises as ``put`` does."""
    if sys.stdout is None:  # closed by whoever started us (>&-)
        return
    try:
        sys.stdout.flush()
        rest = memoryview(data)
        while rest:  # unbuffered (python -u), a stream may take less than all of it
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except OSError as error:
        raise stdout_failed(error) from None


def stdout_failed(error: OSError) -> Exception:
    """What to raise when a result could not be written."""
    # The interpreter would try again at its end, complain, and end with a status of its own.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return NobodyReads()
    note(f"stdout: {error.strerror}")
    return typer.Exit(1)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode((sys.stdout and sys.stdout.encoding) or "utf-8")
    except UnicodeEncodeError:  # a terminal of another alphabet, or a path that is not UTF-8
        text = json.dumps(value, indent=2)
    put(text + "\n")


def note(text: str, *, as_json: bool = False) -> None:
    """A line on stderr: stdout is for results. That nobody reads it must not undo what was done."""
    line = json.dumps({"note": text}) if as_json else f"coordinator: {text}"
    _tell(line)


def print_error(error: CoordinatorError, *, as_json: bool) -> None:
    """An error, on stderr, in the mode that was asked for."""
    if as_json:
        print_error_object(type(error).__name__, error.message, error.hint, error.fields)
    else:
        note(str(error))


def print_error_object(kind: str, message: str, hint: str = "", fields: dict[str, Any] | None = None) -> None:
    """An error as one JSON object on one line of stderr."""
    told = {"error": kind, "message": message, "hint": hint, "fields": fields or {}}
    _tell(json.dumps(told, default=str))


def _tell(line: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # gone, closed, or never there (2>&-)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def print_table(columns: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
    """A table for people; as wide as its content when stdout is no terminal, so that nothing is cut in a pipe."""
    from rich.cells import cell_len  # noqa: PLC0415 - only for people
    from rich.console import Console  # noqa: PLC0415 - likewise
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for column in columns:  # on a narrow terminal, names are folded and figures are not
        justify: Literal["right", "left"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in right)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    wide = sum(max(cell_len(row[i]) for row in [columns, *rows]) + 2 for i in range(len(columns)))
    on_terminal, drawn = sys.stdout is not None and sys.stdout.isatty(), io.StringIO()
    Console(file=drawn, force_terminal=on_terminal, width=None if on_terminal else wide).print(table)
    put("".join(line.rstrip() + "\n" for line in drawn.getvalue().splitlines()))


LEASE_COLUMNS = ["RESOURCE", "STATE", "HOLDER", "FENCE", "SINCE", "UNTIL", "WAITING"]


def lease_cells(status: ResourceStatus) -> list[str]:
    """The cells of ``LEASE_COLUMNS`` for one resource."""
    return [
        status.resource,
        status.state,
        status.holder,
        str(status.fence or ""),
        age(status.since_ms, status.now_ms),
        age(status.until_ms, status.now_ms),
        str(status.waiting or ""),
    ]


def age(from_ms: int, now_ms: int) -> str:
    """A time of the store's clock, for people, reckoned from that clock's now."""
    if not from_ms:
        return ""
    span = abs(now_ms - from_ms) / 1000
    if span < _MINUTES_ABOVE_S:
        text = f"{span:.1f} s"
    elif span < _HOURS_ABOVE_S:
        text = f"{span / 60:.0f} min"
    else:
        text = f"{span / 3600:.1f} h"
    return f"{text} ago" if now_ms >= from_ms else f"in {text}"


def read_stdin() -> str:
    """All of stdin; bytes that are no text are refused with the JSON that they are not."""
    if sys.stdin is None:  # closed by whoever started us (<&-)
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
