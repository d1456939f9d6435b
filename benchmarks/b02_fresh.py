"""B2: a fresh process imports, opens a workspace, takes and releases a lease on a local directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.crew import in_child
from benchmarks.fresh import fresh_seconds
from benchmarks.ours import make_workspace
from benchmarks.peers import library
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Options

PEER_NAME = "filelock + pydantic"
OUR_PROGRAM = """
import sys
from coordinator import Workspace
with Workspace(sys.argv[1], agent="fresh").lease("fresh"):
    pass
"""
PEER_PROGRAM = """
import sys
import filelock, pydantic
class Settings(pydantic.BaseModel):
    path: str
with filelock.FileLock(Settings(path=sys.argv[1]).path + "/peer.lock"):
    pass
"""


def trials(options: Options) -> Sequence[Trial]:
    """One."""
    repeat = 2 if options.quick else 5

    def ours(directory: str) -> dict[str, float]:
        in_child(lambda: make_workspace(directory))
        return {"cpu": min(fresh_seconds(OUR_PROGRAM, directory) for _ in range(repeat)) * 1000}

    def peer(directory: str) -> dict[str, float]:
        for module in ("filelock", "pydantic"):
            library(module)
        return {"cpu": min(fresh_seconds(PEER_PROGRAM, directory) for _ in range(repeat)) * 1000}

    return [
        Trial(
            "b2-fresh",
            "a fresh process takes and releases one lease",
            (Metric("cpu", "CPU of the process", "ms", "less"),),
            [Side(OURS, ours), Side(PEER_NAME, peer)],
            (Target("cpu", 0.6, PEER_NAME, at_most=True),),
        )
    ]


CASE = Case("B2", "fresh process", trials)
