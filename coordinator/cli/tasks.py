"""``coordinator tasks``: add, import, claim, and what a worker says; for people and for agents in any language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.cli import exits
from coordinator.cli.boards import (
    DocumentOption,
    EpochOption,
    FieldOption,
    FormatOption,
    IdArgument,
    OpIdOption,
    TagOption,
    TtlOption,
    WhereOption,
    format_options,
    json_of,
    open_board,
    where_of,
)
from coordinator.cli.common import (
    AgentOption,
    JsonOption,
    WorkspaceOption,
    note,
    parse_wait,
    print_json,
    put,
    read_stdin,
)
from coordinator.cli.looking import looking_app
from coordinator.errors import BadValue

if TYPE_CHECKING:
    from coordinator.document.receipt import OperationReceipt
    from coordinator.tasks import Task, TaskBoard

tasks_app = typer.Typer(
    no_args_is_help=True,
    help="Share out the tasks of a document: many workers claim and complete them, and none waits for a lock.",
    epilog=f"Exit status {exits.NOTHING}: there is no task to claim. {exits.LOST}: the task is another's by now; what "
    "was handed in too late is kept with it (`tasks show`). Set COORDINATOR_AGENT, so that claims tell who has them.",
)
tasks_app.add_typer(looking_app)

# ── adding ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@tasks_app.command()
def add(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK...", help="A title, a JSON object, an array; - is stdin.")
    ],
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds tasks, all of them or none; makes the document if there is none.

    Fields with a meaning: id, title, status, priority (high, medium, low, or a number), dependencies (ids), needs (what
    a worker must be able to do), max_attempts.

    JSON: {"ids": […]}.
    """
    with open_board(workspace, agent, document, format_, tag, option) as board:
        title = format_options(tag, option).get("title", "title")
        found: list[dict[str, Any]] = []
        for text in tasks:
            found += _tasks_in(text, title)
        _tell_added(board.add(found, op_id=op_id), as_json=as_json)


@tasks_app.command("import")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON file with tasks; - is stdin.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="default|taskmaster|list", help="Its format. Default: by its looks.")
    ] = None,
    from_tag: Annotated[str | None, typer.Option(metavar="TAG", help="Of a taskmaster file.")] = None,
    from_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of its format, as --option.")
    ] = None,
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds the tasks of a file, all of them or none; the file is left as it is.

    It may be of another format than the document. What was in progress in it is pending here.

    JSON: {"ids": […]}.
    """
    from coordinator.cli.importing import convert, read_file, spec_of  # noqa: PLC0415 - not for the other commands
    from coordinator.document.board import make_spec  # noqa: PLC0415 - likewise

    value = read_file(file)
    given = format_options(from_tag, from_option)
    if from_ is None and from_tag is not None:
        from_ = "taskmaster"
    source = spec_of(value) if from_ is None else make_spec(from_, **given)
    with open_board(workspace, agent, document, format_, tag, option) as board:
        found = convert(value, source, board.spec)
        ids = board.add(found.tasks, op_id=op_id) if found.tasks else []
    for each in found.notes:
        note(each, as_json=as_json)
    _tell_added(ids, as_json=as_json)


def _tell_added(ids: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"ids": ids})
    else:
        put("".join(f"{each}\n" for each in ids))


def _tasks_in(text: str, title: str) -> list[dict[str, Any]]:
    if text == "-":
        text = read_stdin()
    elif text.lstrip()[:1] not in {"{", "["}:
        return [{title: text}]
    value = json_of(text, "TASK")
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise BadValue("a task is a JSON object, or a title", argument="TASK", value=text[:200])
    return found


# ── claiming ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@tasks_app.command()
def claim(
    needs: Annotated[
        list[str] | None,
        typer.Option(metavar="ABILITY", help="What this worker can do; repeatable. Default: everything."),
    ] = None,
    where: WhereOption = None,
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only this one. Repeatable.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="Up to so many; JSON is then a list.")] = None,
    ttl: TtlOption = 300,
    wait: Annotated[str, typer.Option(metavar="SECONDS|forever", help="How long to wait for a task.")] = "0",
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Claims the next task. Keep its id and epoch: with them, whoever has them says what became of it.

    No two workers are given the same task. It comes back to the board when its time is over (`tasks heartbeat` extends
    it). Exit status 79: there is none to be had. Prints a line for each: id, epoch and title, with tabs between them.

    JSON: {"id", "epoch", "attempt", "until_ms", "task": the object in the document}; without one, {"id": null,
    "next_ms": when time alone may change that, or null}.
    """
    with open_board(workspace, agent, document, format_, tag, option) as board:
        claimed = board.claim_next(
            needs=needs or None,
            where=where_of(where),
            ids=ids or None,
            count=1 if count is None else count,
            ttl=ttl,
            wait=parse_wait(wait),
            op_id=op_id,
        )
        try:
            _tell_claimed(board, claimed, single=count is None, as_json=as_json)
        except BaseException:  # nobody was told, so nobody would work on them
            for task in claimed:
                task.release()
            raise
    if not claimed:
        raise typer.Exit(exits.NOTHING)


def _tell_claimed(board: TaskBoard, claimed: list[Task], *, single: bool, as_json: bool) -> None:
    told = [
        {"id": task.id, "epoch": task.epoch, "attempt": task.attempt, "until_ms": task.until_ms, "task": task.task}
        for task in claimed
    ]
    if not as_json:  # in one piece: what was told in part could be neither kept nor given back
        put("".join(f"{task.id}\t{task.epoch}\t{task.task.get(board.title_field) or ''}\n" for task in claimed))
    elif not single:
        print_json(told)
    else:
        print_json(told[0] if told else {"id": None, "next_ms": board.stats()["next_ms"]})


@tasks_app.command()
def heartbeat(
    task_id: IdArgument,
    epoch: EpochOption,
    ttl: TtlOption = 300,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keeps a claim. JSON: {"id", "epoch", "until_ms", "revision", "op_id"}."""
    with open_board(workspace, agent, document, format_, tag, option) as board:
        _tell(board, board.heartbeat(task_id, epoch, ttl=ttl), f"{task_id} is yours for {ttl:g} s\n", as_json=as_json)


@tasks_app.command()
def complete(
    task_id: IdArgument,
    epoch: EpochOption,
    result: Annotated[str | None, typer.Option(metavar="JSON", help="What came of it; - is stdin.")] = None,
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Marks a task as done. JSON: {"id", "epoch", "status", "revision", "op_id"}."""
    value = None if result is None else json_of(read_stdin() if result == "-" else result, "result")
    with open_board(workspace, agent, document, format_, tag, option) as board:
        _tell(board, board.complete(task_id, epoch, value, op_id=op_id), f"{task_id} is done\n", as_json=as_json)


@tasks_app.command()
def fail(
    task_id: IdArgument,
    epoch: EpochOption,
    error: Annotated[str, typer.Option(metavar="TEXT", help="What went wrong.")],
    final: Annotated[bool, typer.Option("--final", help="Another attempt would be futile.")] = False,
    delay: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Until it may be claimed again. Default: doubles from 1.")
    ] = None,
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gives a task up: it is tried again after a pause, unless --final, or it was tried often enough.

    JSON: {"id", "epoch", "status", "attempts", "max_attempts", "not_before_ms", "revision", "op_id"}.
    """
    with open_board(workspace, agent, document, format_, tag, option) as board:
        receipt = board.fail(task_id, epoch, error, retryable=not final, delay=delay, op_id=op_id)
        status = (receipt.result or {}).get("status")
        _tell(board, receipt, f"{task_id} is {status}\n", as_json=as_json)


@tasks_app.command()
def release(
    task_id: IdArgument,
    epoch: EpochOption,
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Gives a task back untried: the attempt does not count. JSON: {"id", "epoch", "status", "revision", "op_id"}."""
    with open_board(workspace, agent, document, format_, tag, option) as board:
        _tell(board, board.release(task_id, epoch, op_id=op_id), f"{task_id} is pending again\n", as_json=as_json)


@tasks_app.command()
def cancel(
    task_id: IdArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT")] = "",
    op_id: OpIdOption = None,
    document: DocumentOption = "tasks.json",
    format_: FormatOption = "default",
    tag: TagOption = None,
    option: FieldOption = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancels a task, whoever holds it. JSON: {"id", "status", "holder": who held it, "revision", "op_id"}."""
    with open_board(workspace, agent, document, format_, tag, option) as board:
        _tell(board, board.cancel(task_id, reason, op_id=op_id), f"{task_id} is cancelled\n", as_json=as_json)


def _tell(board: TaskBoard, receipt: OperationReceipt, text: str, *, as_json: bool) -> None:
    if receipt.state == "durable":  # a script has no second look: it is told now, with the op_id to ask again
        raise board.undecided(receipt)
    if as_json:
        print_json({**(receipt.result or {}), "revision": receipt.revision, "op_id": receipt.op_id})
    else:
        put(text)
