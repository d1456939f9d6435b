"""B1: CPU of ``import coordinator`` in a fresh process, above that of bare Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fresh import bare_seconds, fresh_seconds
from benchmarks.peers import library
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Options


def importing(module: str, name: str, repeat: int) -> Side:
    """CPU of importing a module; the least of some processes, less that of a bare one measured beside them."""

    def measure(_directory: str) -> dict[str, float]:
        library(module)
        above = min(fresh_seconds(f"import {module}") for _ in range(repeat)) - min(
            bare_seconds() for _ in range(repeat)
        )
        return {"cpu": max(above, 1e-4) * 1000}

    return Side(name, measure)


def trials(options: Options) -> Sequence[Trial]:
    """One."""
    repeat = 2 if options.quick else 5
    return [
        Trial(
            "b1-import",
            "import in a fresh process",
            (Metric("cpu", "CPU above bare Python", "ms", "less"),),
            [importing("coordinator", OURS, repeat), importing("filelock", "filelock", repeat)],
            (Target("cpu", 15, at_most=True, text="≤ 15 ms"),),
        )
    ]


CASE = Case("B1", "import", trials)
