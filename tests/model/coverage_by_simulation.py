"""How much of the core the simulation alone reaches: ``python tests/model/coverage_by_simulation.py --runs 300``.

Counted are the lines inside functions (what an import runs by itself says nothing), by room: ``record/``, ``log/``,
``document/`` and ``lease.py``. Which seeds, and so which figures, is settled by the command line.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import coordinator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

ROOMS: Final = ("record", "log", "document", "lease.py")
_HOME: Final = Path(coordinator.__file__).parent


def sources(room: str) -> list[Path]:
    """The modules of a room, or the one that it is."""
    return sorted((_HOME / room).rglob("*.py")) if (_HOME / room).is_dir() else [_HOME / room]


def functions(code: CodeType) -> Iterator[CodeType]:
    """Every function in a module or a function, however deep."""
    for constant in code.co_consts:
        if inspect.iscode(constant):
            if constant.co_flags & inspect.CO_OPTIMIZED:  # a function: not the body of a class or a module
                yield constant
            yield from functions(constant)


def lines_of(code: CodeType) -> set[int]:
    """The lines of one function that do something; the ``def`` is none."""
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}


class Reached:
    """Collects the lines that are reached, in every thread that is started while it is in use."""

    def __init__(self) -> None:
        self.lines: dict[str, set[int]] = defaultdict(set)
        self._whole: set[CodeType] = set()
        self._files = {str(path) for room in ROOMS for path in sources(room)}

    def __enter__(self) -> Reached:  # noqa: PYI034 - nobody inherits from it
        threading.settrace(self._call)
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self._files or code in self._whole:
            return None
        if lines_of(code) <= self.lines[code.co_filename]:
            self._whole.add(code)
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self.lines[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line


class Figures:
    """Of one room: its lines, those that were reached, and the functions with the most lines that were not."""

    def __init__(self, room: str, reached: dict[str, set[int]]) -> None:
        self.room = room
        self.lines = self.reached = 0
        self.missing: list[tuple[int, int, str]] = []  # lines missing, lines, where
        for path in sources(room):
            seen = reached.get(str(path), set())
            own: set[int] = set()
            for function in functions(compile(path.read_text(encoding="utf-8"), str(path), "exec")):
                lines = lines_of(function)
                own |= lines
                if lines - seen and not function.co_name.startswith("<"):  # a comprehension's are its function's too
                    where = f"{path.relative_to(_HOME)}:{function.co_firstlineno} {function.co_qualname}"
                    self.missing.append((len(lines - seen), len(lines), where))
            self.lines += len(own)
            self.reached += len(own & seen)
        self.missing.sort(reverse=True)

    def __str__(self) -> str:
        return f"{self.room:<10} {self.reached:>5} of {self.lines:>5} lines  {100 * self.reached / self.lines:5.1f} %"


def main() -> int:
    """Runs the seeds, and prints the figures; 1 when a run found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--runs", type=int, default=300, help="how many, one after the other")
    parser.add_argument("--missing", type=int, default=10, help="how many functions to name in each room")
    asked = parser.parse_args()
    from coordinator.testing.simulation.campaign import run_many
    from coordinator.testing.simulation.library import simulated

    with Reached() as reached, simulated():
        report = run_many(range(asked.seed, asked.seed + asked.runs))
    out = [str(report), ""]
    for room in ROOMS:
        figures = Figures(room, reached.lines)
        out.append(str(figures))
        out += [
            f"    {missing:>3} of {lines:>3}  {where}" for missing, lines, where in figures.missing[: asked.missing]
        ]
    sys.stdout.write("\n".join([*out, ""]))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
