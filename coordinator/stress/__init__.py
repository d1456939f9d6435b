"""The stress run: how a user judges a directory, mount or table before it is trusted with work.

    plan.py      who works, and what goes wrong when: drawn from a seed
    seams.py     faults inside a process: a disk that is full, writes that tear, a clock that is off
    worker.py    one agent: leases and commits, updates, tasks; keeps a journal
    editor.py    somebody who rewrites a document by hand, and a reader who looks at it all the time
    journal.py   what was tried and acknowledged, one file a process
    conduct.py   starts everybody, lets things go wrong, waits for the end
    verdict.py   what was promised, and whether it holds: pure
    picture.py   who held what, and when faults struck, as an SVG
    report.py    the live line, the figures, or one JSON object

It works in a folder of its own inside the directory, with ordinary calls, as a user's program does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.stress.plan import Options


def run_stress(options: Options, *, as_json: bool, keep: bool, report: str | None) -> int:
    """Runs one stress, and tells.

    Args:
        options: What is asked for.
        as_json: Print one JSON object on stdout, and nothing else.
        keep: Leave the workspace and the journals there; they are left anyway when something does not hold.
        report: A folder for ``stress.svg`` and ``stress.json``.

    Returns:
        The exit status: 0 when everything that was promised holds, 1 when not.

    Raises:
        CoordinatorError: It could not be begun.
    """
    from coordinator.stress.report import run  # noqa: PLC0415 - workers are started as submodules, and need no rich

    return run(options, as_json=as_json, keep=keep, report=report)


__all__ = ["run_stress"]
