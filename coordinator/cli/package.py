"""``coordinator package``: the zips of the two deployed functions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli.common import JsonOption, print_json, print_table


class Architecture(StrEnum):
    """Of a function."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


def package(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the zips are made.")] = Path("dist/lambda"),
    arch: Annotated[list[Architecture] | None, typer.Option(help="One or more. Default: both.")] = None,
    python_version: Annotated[str, typer.Option(metavar="X.Y", help="Of the functions' runtime.")] = "3.13",
    as_json: JsonOption = False,
) -> None:
    """Makes coordinator.zip and compactor.zip for Lambda, and tells how large they are.

    Each architecture has its own folder. Beside these, DIR itself has the zips that infra/template.yaml names: those of
    the first architecture (arm64, unless --arch says otherwise), to be deployed with Architecture set to the same.
    Wheels come from the index that pip is set up for. Needs the repository: the entries of the functions are in no
    wheel.

    JSON: {"packages": [{"function", "architecture", "path", "files", "zipped_bytes", "unpacked_bytes"}]}
    """
    from coordinator.cli import packaging  # noqa: PLC0415 - not for the other commands

    wanted = [one.value for one in arch or list(Architecture)]
    made = packaging.package(out, wanted, python=python_version)
    if as_json:
        print_json({"packages": [one._asdict() for one in made]})
        return
    rows = [
        [one.function, one.architecture, str(one.files), _size(one.zipped_bytes), _size(one.unpacked_bytes), one.path]
        for one in made
    ]
    print_table(["FUNCTION", "ARCHITECTURE", "FILES", "ZIPPED", "UNPACKED", "PATH"], rows)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB"
