"""What the commands of ``coordinator tasks`` share: which board, and values on the command line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli.common import open_workspace
from coordinator.errors import BadValue, CoordinatorError, MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.tasks import TaskBoard

DocumentOption = Annotated[
    str,
    typer.Option("--document", "-d", metavar="NAME", envvar="COORDINATOR_TASKS", help="The document with the tasks."),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format", metavar="default|taskmaster|list", envvar="COORDINATOR_TASKS_FORMAT", help="What it looks like."
    ),
]
TagOption = Annotated[str | None, typer.Option(metavar="TAG", help="Of a taskmaster document. Default: master.")]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="NAME=VALUE",
        help="Of a format: at=/items, id=key, status=state, states.done=closed, subtasks=parent. Repeatable.",
    ),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID")]
EpochOption = Annotated[int, typer.Option(min=1, help="The claim's epoch.")]
TtlOption = Annotated[float, typer.Option(metavar="SECONDS", help="How long the claim lasts from now.")]
OpIdOption = Annotated[
    str | None, typer.Option(metavar="ID", help="An id of your own: a retry with the same one is done once.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=VALUE", help="Only tasks with this value; JSON, or else text. Repeatable."),
]


@contextlib.contextmanager
def open_board(
    workspace: str | None,
    agent: str | None,
    document: str,
    format_: str,
    tag: str | None,
    options: list[str] | None,
) -> Iterator[TaskBoard]:
    """The board that the options name; its log is ended after the block."""
    opened = open_workspace(workspace, agent)
    try:
        yield opened.tasks(document, format=format_, **format_options(tag, options))
    finally:
        with contextlib.suppress(CoordinatorError):  # what was answered stands; a log not ended is retired later
            opened.close()


def format_options(tag: str | None, given: list[str] | None) -> dict[str, Any]:
    """The options of a format, as ``make_spec`` takes them.

    Raises:
        BadValue: One is not NAME=VALUE.
    """
    options: dict[str, Any] = {} if tag is None else {"tag": tag}
    for each in given or ():
        name, value = pair(each, "option")
        if name.startswith("states."):
            options.setdefault("states", {}).setdefault(name.removeprefix("states."), []).append(value)
        else:
            options[name] = value
    return options


def pair(text: str, argument: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``. Raises BadValue."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadValue(f"--{argument} {text!r} is not of the form NAME=VALUE", argument=argument, value=text)
    return name, value


def where_of(given: list[str] | None) -> dict[str, Any] | None:
    """The filter that ``--where`` options make. Raises BadValue."""
    found: dict[str, Any] = {}
    for each in given or ():
        field, text = pair(each, "where")
        try:
            found[field] = json_of(text, "where")
        except BadValue:
            found[field] = text
    return found or None


def json_of(text: str, argument: str) -> Any:
    """The value of a JSON text on the command line. Raises BadValue."""
    from coordinator.document.content import parse_json  # noqa: PLC0415 - not for --help

    try:
        return parse_json(text.encode("utf-8", "surrogateescape"), argument)
    except MalformedDocument as error:
        raise BadValue(
            f"{argument} {text[:80]!r}: {error.message}", argument=argument, value=text[:200], hint="a text is quoted"
        ) from None
