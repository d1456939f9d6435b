"""``coordinator table``: make the table, check that it is fit."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from coordinator.cli.common import JsonOption, print_json, print_table, put, reached
from coordinator.errors import TableUnusable

if TYPE_CHECKING:
    from coordinator.record.table_calls import TableCalls
    from coordinator.record.table_setup import TableFacts

table_app = typer.Typer(no_args_is_help=True, help="Make and check the DynamoDB table of a fleet of workspaces.")

TableArgument = Annotated[str, typer.Argument(metavar="NAME", help="The table's name, or its ARN.")]


class _Property(NamedTuple):
    """What a table has to be like."""

    name: str
    good: str
    mark: str  # in what check_table says when it is not so
    mend: tuple[str, ...]  # arguments of the AWS CLI


_PROPERTIES: Final = (
    _Property("key", "pk (S, HASH), sk (S, RANGE)", "its key", ()),
    _Property("billing", "by request", "BillingMode", ("update-table", "--billing-mode", "PAY_PER_REQUEST")),
    _Property(
        "deletion protection", "on", "DeletionProtectionEnabled", ("update-table", "--deletion-protection-enabled")
    ),
    _Property(
        "point-in-time recovery",
        "on",
        "point-in-time recovery",
        (
            "update-continuous-backups",
            "--point-in-time-recovery-specification",
            "PointInTimeRecoveryEnabled=true",
        ),
    ),
    _Property(
        "TTL",
        "none",
        "TTL",
        ("update-time-to-live", "--time-to-live-specification", "Enabled=false,AttributeName=NAME"),
    ),
)
_USABLE: Final = ("ACTIVE", "UPDATING")


@table_app.command()
def create(
    name: TableArgument,
    protect: Annotated[bool, typer.Option("--protection/--no-protection", help="Protect it from deletion.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Makes the table as it should be, waits until it can be used, and checks it. One that is there is only checked.

    Billed by request, with point-in-time recovery, protected from deletion, without a TTL. --region says where.

    JSON: as of `table check`.
    """
    from coordinator.clock import SYSTEM_CLOCK  # noqa: PLC0415 - not for --help
    from coordinator.record.table_setup import create_table  # noqa: PLC0415 - likewise

    calls = _calls(name)
    _tell(calls, create_table(calls, SYSTEM_CLOCK, protect=protect), as_json=as_json)


@table_app.command()
def check(name: TableArgument, as_json: JsonOption = False) -> None:
    """Tells what the table is like: of each property that it is fine, or what is unwise about it and how to mend it.

    Exit status 78: it cannot be used at all. What is merely unwise is told with exit status 0. --region says where.

    JSON: {"table", "status", "items": about how many, "fit": all is fine, "properties": [{"property", "ok", "told",
    "mend": a command line, or empty}]}.
    """
    from coordinator.record.table_setup import check_table  # noqa: PLC0415 - not for --help

    calls = _calls(name)
    _tell(calls, check_table(calls), as_json=as_json)


def _calls(name: str) -> TableCalls:
    from coordinator.clock import SYSTEM_CLOCK  # noqa: PLC0415 - not for --help
    from coordinator.record.table_calls import TableCalls  # noqa: PLC0415 - likewise

    return TableCalls(name, SYSTEM_CLOCK, region=reached().region)


def _tell(calls: TableCalls, facts: TableFacts, *, as_json: bool) -> None:
    """Tells what was found. Raises TableUnusable when it is not ready for use."""
    found = [_told(facts, each) for each in _PROPERTIES]
    if as_json:
        fit = facts.status in _USABLE and all(each["ok"] for each in found)
        shown = {"table": facts.table, "status": facts.status, "items": facts.items, "fit": fit, "properties": found}
        print_json(shown)
    else:
        rows = [[each["property"], "ok" if each["ok"] else "unwise", each["told"]] for each in found]
        status = ["status", "ok" if facts.status in _USABLE else "unusable", facts.status]
        print_table(["PROPERTY", "", f"of {facts.table}"], [status, *rows])
        for each in found:
            if each["mend"]:
                put(f"to mend {each['property']}: {each['mend']}\n")
    if facts.status not in _USABLE:
        raise TableUnusable(
            f"the table {facts.table!r} is {facts.status}",
            table=facts.table,
            cause=facts.status,
            hint=f"wait until it is ACTIVE: aws dynamodb wait table-exists --table-name {calls.table}",
        )


def _told(facts: TableFacts, wanted: _Property) -> dict[str, Any]:
    """One property, as it is."""
    unwise = next((text for text in facts.unwise if wanted.mark in text), "")
    mend = ""
    if unwise and "cannot be told" not in unwise:
        arguments = [each.replace("NAME", _attribute_in(unwise)) for each in wanted.mend]
        region = reached().region
        where = ["--region", region] if region else []
        mend = shlex.join(["aws", "dynamodb", arguments[0], "--table-name", facts.table, *arguments[1:], *where])
    return {"property": wanted.name, "ok": not unwise, "told": unwise or wanted.good, "mend": mend}


def _attribute_in(text: str) -> str:
    """The attribute that a TTL is on, as it is told; it is named in quotes."""
    return text.partition("'")[2].partition("'")[0]
