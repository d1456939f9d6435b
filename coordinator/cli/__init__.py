"""The command line: how people and shell scripts come in."""

from __future__ import annotations


def main() -> None:
    """The console script ``coordinator``."""
    from coordinator.cli.app import run  # noqa: PLC0415 - Typer takes 49 ms, and nothing else here needs it

    run()
