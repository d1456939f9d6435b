"""``coordinator tasks``: list, show, stats, watch."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from coordinator.cli.boards import (
    DocumentOption,
    FieldOption,
    FormatOption,
    IdArgument,
    TagOption,
    WhereOption,
    open_board,
    where_of,
)
from coordinator.cli.common import JsonOption, WorkspaceOption, age, print_json, print_table, put
from coordinator.errors import NoSuchDocument

looking_app = typer.Typer()


@looking_app.command("list")
def list_(
    status: Annotated[list[str] | None, typer.Option(help="pending, in-progress, done, failed, … Repeatable.")] = None,
    where: WhereOption = None,
    holder: Annotated[str | None, typer.Option(metavar="AGENT", help="Only what this one holds.")] = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists tasks.

    JSON: a list of {"id", "title", "status", "priority", "dependencies", "blocked_by", "needs", "holder", "epoch",
    "until_ms", "since_ms", "attempts", "max_attempts", "not_before_ms", "by", "error", "reason", "result", "late",
    "parent", "task": the object in the document}.
    """
    with open_board(workspace, None, document, format_, tag, option) as board:
        found = board.list(status=status or None, where=where_of(where), holder=holder)
        now_ms = board.stats()["now_ms"] if found and not as_json else 0
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["id"],
            each["status"],
            str(each["priority"] if each["priority"] is not None else ""),
            each["holder"] or "",
            age(each["until_ms"] or 0, now_ms),
            str(each["attempts"] or ""),
            ", ".join(each["blocked_by"]),
            str(each["title"] or ""),
        ]
        for each in found
    ]
    if rows:
        columns = ["ID", "STATUS", "PRIORITY", "HOLDER", "UNTIL", "TRIES", "WAITS FOR", "TITLE"]
        print_table(columns, rows, right=("TRIES",))


@looking_app.command()
def show(
    task_id: IdArgument,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells all about one task, results that came too late included.

    JSON: as one of ``list``, with "late_results": [{"epoch", "agent", "at_ms", "result"}].
    """
    with open_board(workspace, None, document, format_, tag, option) as board:
        found = board.get(task_id)
    if found is None:
        raise NoSuchDocument(f"there is no task {task_id} in {document!r}", resource=document, hint="")
    if as_json:
        print_json(found)
    else:
        put("".join(f"{name}: {_plain(value)}\n" for name, value in found.items() if value not in (None, [], "", 0)))


@looking_app.command()
def stats(
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts tasks.

    JSON: {"tasks", "by_status", "claimable", "blocked", "held", "overdue", "oldest_claim", "next_ms", "epoch",
    "unreadable", "now_ms"}.
    """
    with open_board(workspace, None, document, format_, tag, option) as board:
        found = board.stats()
    if as_json:
        print_json(found)
        return
    put("".join(f"{count} {status}\n" for status, count in found["by_status"].items()))
    put("".join(f"{found[name]} {name}\n" for name in ("claimable", "blocked", "held", "overdue")))


@looking_app.command()
def watch(
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="End after that. Default: never.")] = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tells what becomes of tasks, as it happens, a line each.

    JSON: one object a line, as of ``list``, with "revision" and "was": the status before, or null for a new task.
    """
    with open_board(workspace, None, document, format_, tag, option) as board:
        for each in board.watch(timeout=timeout):
            if as_json:
                put(json.dumps(each) + "\n")
            else:
                holder = f" ({each['holder']})" if each["holder"] else ""
                put(f"{each['id']}: {each['was'] or 'new'} -> {each['status']}{holder}\n")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
