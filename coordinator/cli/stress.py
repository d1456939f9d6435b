"""``coordinator stress``."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from coordinator.cli.common import JsonOption, reached
from coordinator.errors import BadValue

FaultsOption = Annotated[
    str, typer.Option(metavar="KINDS", help="Any of kill,freeze,full,tear,skew,edit,move; or all; or none.")
]


def stress(
    directory: Annotated[str, typer.Argument(help="An existing directory: the disk or mount to judge.")],
    seconds: Annotated[float, typer.Option(min=2, max=86_400, help="For how long.")] = 20,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Agents, a process each.")] = 6,
    seed: Annotated[int | None, typer.Option(help="Draws everything; a fresh one is made and told.")] = None,
    faults: FaultsOption = "all",
    report: Annotated[str | None, typer.Option(metavar="DIR", help="Write stress.svg and stress.json there.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the workspace there, to look at.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judges a directory before it is trusted: agents work in it while processes are killed, frozen, cut short.

    It works in a folder of its own there. With --table the rule moves between the directory and the table, too. Exit
    status 0 only if everything that was promised holds; the seed and the command that runs the same again are told.

    JSON: one object, with the figures and every finding.
    """
    from coordinator.stress import run_stress  # noqa: PLC0415 - not for the other commands
    from coordinator.stress.plan import KINDS, Options  # noqa: PLC0415 - likewise

    kinds = KINDS if faults == "all" else () if faults == "none" else tuple(faults.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise BadValue(
            f"{unknown[0]!r} is no kind of fault", argument="faults", value=faults, hint=f"any of {', '.join(KINDS)}"
        )
    reach = reached()
    options = Options(
        directory=directory,
        workers=workers,
        seconds=seconds,
        seed=secrets.randbelow(10**9) if seed is None else seed,
        faults=kinds,
        table=reach.table,
        region=reach.region,
    )
    raise typer.Exit(run_stress(options, as_json=as_json, keep=keep, report=report))
