"""``python -m coordinator.demo``: the demonstration without the rest of the command line."""

from __future__ import annotations

import argparse
import sys

from coordinator.demo import run_demo


def main() -> int:
    """Parses the arguments and runs it."""
    parser = argparse.ArgumentParser(prog="python -m coordinator.demo")
    parser.add_argument(
        "--tasks", metavar="FILE", help="the tasks.json to work on (a copy of it); default: one that ships"
    )
    parser.add_argument("--workers", type=int, default=8, help="worker processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--keep", metavar="DIR", help="leave all files in this directory, which must be absent or empty"
    )
    parser.add_argument("--seed", type=int, help="draws who is killed and frozen")
    options = parser.parse_args()
    try:
        return run_demo(
            tasks_path=options.tasks,
            workers=options.workers,
            as_json=options.json,
            keep=options.keep,
            seed=options.seed,
        )
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
