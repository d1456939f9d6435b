"""The benchmarks: each case beside named peers, measured in turns, told as ratios.

    pip install -e '.[bench]'
    python -m benchmarks [--only B6,B7] [--rounds N] [--quick] [--report DIR] [--directory DIR]

Targets are printed beside what was reached, as met or not met; a run fails only when a side gives wrong answers or
cannot be measured. ``--directory`` is where the sides keep their files: name the file system that is to be measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Final

if not __package__:  # run as a file: the modules beside it are found as a package all the same
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks import (
    b01_import,
    b02_fresh,
    b03_table,
    b04_pair,
    b05_contended,
    b06_claims,
    b07_sizes,
    b08_crowds,
    b09_append,
    b10_fold,
    b11_read,
    b12_nfs,
    b13_takeover,
    cold,
)
from benchmarks.report import table, write_report
from benchmarks.runner import Options, run_trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Case, Outcome

CASES: Final[tuple[Case, ...]] = (
    b01_import.CASE,
    b02_fresh.CASE,
    b03_table.CASE,
    b04_pair.CASE,
    b05_contended.CASE,
    b06_claims.CASE,
    b07_sizes.CASE,
    b08_crowds.CASE,
    b09_append.CASE,
    b10_fold.CASE,
    b11_read.CASE,
    b13_takeover.CASE,
    cold.CASE,
)
ASKED_FOR: Final[tuple[Case, ...]] = (b12_nfs.CASE,)  # with --only alone: it needs root, and boots kernels
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 1
LIBRARIES: Final = ("orjson", "portalocker", "filelock", "pydantic", "msgspec")


def chosen(keys: str) -> list[Case]:
    """The cases with these keys, in order; all if there are none.

    Raises:
        argparse.ArgumentTypeError: One is not known.
    """
    asked = {key.strip().upper() for key in keys.split(",") if key.strip()}
    unknown = asked - {case.key for case in (*CASES, *ASKED_FOR)}
    if unknown:
        known = ", ".join(case.key for case in (*CASES, *ASKED_FOR))
        raise argparse.ArgumentTypeError(f"no case {', '.join(sorted(unknown))}; there are {known}")
    return [case for case in (*CASES, *ASKED_FOR) if case.key in asked] if asked else list(CASES)


def positive(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def version(name: str) -> str:
    """An installed distribution's version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def file_system(directory: str) -> str:
    """The type of the file system that a directory is on, where the system tells."""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            rows = [line.split() for line in mounts]
    except FileNotFoundError:
        return "unknown"
    inside = os.path.realpath(directory) + "/"
    under = [(len(row[1]), row[2]) for row in rows if inside.startswith(row[1].rstrip("/") + "/")]
    return max(under, default=(0, "unknown"))[1]


def facts_of(options: Options) -> dict[str, str]:
    """What a reader has to know of the machine and the run."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "file system": file_system(options.directory),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "rounds": f"{options.rounds}{', quick: small sizes and short times' if options.quick else ''}",
    }


def run(cases: Sequence[Case], options: Options, report: str | None) -> list[Outcome]:
    """Runs the cases; prints each trial as it ends, and writes the report after each, so that a long run can be cut."""
    facts = facts_of(options)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    outcomes: list[Outcome] = []
    for case in cases:
        for trial in case.trials(options):
            outcomes.append(run_trial(trial, options, _progress))
            _progress("")
            print(table(outcomes[-1]), flush=True)
            if report:
                write_report(report, outcomes, facts)
    return outcomes


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; 1 if a side failed."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=chosen, default=list(CASES), metavar="B6,B7", help="these cases; default: all")
    parser.add_argument("--rounds", type=positive, help=f"default: {ROUNDS}, with --quick {QUICK_ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="small sizes and short times, in about a minute")
    parser.add_argument("--report", metavar="DIR", help="write report.md, figures.json and plots into this folder")
    parser.add_argument("--directory", metavar="DIR", help="where files are made; default: the temporary folder")
    asked = parser.parse_args(argv)
    directory = tempfile.mkdtemp(prefix="coordinator-bench-", dir=asked.directory)
    try:
        rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
        outcomes = run(asked.only, Options(directory, rounds, asked.quick), asked.report)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if asked.report:
        print(f"\n{asked.report}/report.md")
    failed = [f"{outcome.trial.key}: {side}" for outcome in outcomes for side in outcome.failures]
    if failed:
        print(f"\nfailed: {'; '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
