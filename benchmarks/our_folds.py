"""Our side of B10: logs written as agents write them, and folded."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchmarks.crew import cpu_seconds, peak_bytes
from benchmarks.ours import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP: Final = 1000
BEGAN_MS: Final = 1_750_000_000_000


def write_logs(directory: str, tasks: list[dict[str, Any]], operations: Iterable[dict[str, Any]], each: int) -> None:
    """Makes a workspace with these tasks, and logs of so many operations each that nobody has folded yet.

    Which of two logs' operations is decided first depends on how the folds cut them: the caller's must not mind.
    """
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import
    from coordinator.log.writer import LogWriter  # noqa: PLC0415 - as above
    from coordinator.names import Resource, new_id  # noqa: PLC0415 - as above

    document = Workspace.init(directory, agent="bench").document(NAME)
    document.commit(orjson.dumps({"tasks": tasks}), if_revision=0)
    left = iter(operations)
    shifts = list(iter(lambda: list(itertools.islice(left, each)), []))
    workspaces = [Workspace(directory, agent=f"agent-{number:03}") for number in range(len(shifts))]
    writers = [LogWriter(workspace._member, Resource(NAME)) for workspace in workspaces]  # noqa: SLF001 - no public face
    at_ms = itertools.count(BEGAN_MS)
    for writer, shift in zip(writers, shifts, strict=True):
        for start in range(0, len(shift), GROUP):
            group = [{"id": new_id(), "at": next(at_ms), "op": op} for op in shift[start : start + GROUP]]
            writer.append([orjson.dumps(frame) for frame in group])
        writer.close()


def log_paths(directory: str) -> list[str]:
    """The logs of a workspace, in the order in which they are decided."""
    folder = f"{directory}/.coordinator/resources/{NAME}/@/log"
    names = sorted(os.listdir(folder), key=lambda name: name.rsplit(".", 3)[1:3])
    return [f"{folder}/{name}" for name in names]


class Rejections(Exception):
    """Operations that ought to be applied were not: what was measured was something else."""


def fold_in_memory(directory: str) -> Any:
    """Reads, orders, checks and decides all that is in the logs, with a receipt for each; the state at the end.

    This is what a compactor does between reading and publishing.
    """
    from coordinator import Workspace  # noqa: PLC0415 - as above
    from coordinator.document.fold import APPLIED, fold, order, parse  # noqa: PLC0415 - as above
    from coordinator.document.state import Loader, trim  # noqa: PLC0415 - as above
    from coordinator.limits import FOLD_BATCH_BYTES  # noqa: PLC0415 - as above
    from coordinator.log.reader import LogReader  # noqa: PLC0415 - as above
    from coordinator.names import Resource  # noqa: PLC0415 - as above

    member, resource = Workspace(directory, agent="bench")._member, Resource(NAME)  # noqa: SLF001 - no public face
    state = Loader(member, resource).up_to(None, member.store.read(resource))
    reader = LogReader(member, resource)
    while (batch := reader.read(state.positions, max_bytes=FOLD_BATCH_BYTES)).logs:
        logs = [parse(new.payloads, new.after.agent, new.after.incarnation) for new in batch.logs]
        now_ms = max((log[-1].at_ms for log in logs if log), default=state.at_ms)
        outcomes = fold(state, order(logs, floor_ms=state.at_ms, now_ms=now_ms), now_ms=now_ms)
        wrong = next((outcome for outcome in outcomes if outcome[4] != APPLIED), None)
        if wrong is not None:
            raise Rejections(str(wrong[:6]))
        state.tree.settle()
        state.revision, state.at_ms = state.revision + 1, now_ms
        state.positions.update({new.after.incarnation: new.after for new in batch.logs})
        state.ids.update({outcome[0]: (state.revision, outcome[4]) for outcome in outcomes})
        trim(state.ids)
    return state


def fold_and_publish(directory: str) -> dict[str, float]:
    """Folds all that is in the logs, and publishes it: CPU, and the most memory above that with the state in it."""
    from coordinator import Workspace  # noqa: PLC0415 - as above

    document = Workspace(directory, agent="bench").document(NAME)
    document.value()
    before, cpu, folded = peak_bytes(), cpu_seconds(), 0
    while (done := document.compact()).revision:
        if done.rejected:
            raise Rejections(f"{done.rejected} in revision {done.revision}")
        folded += done.applied
    return {"growth": (peak_bytes() - before) / 1e6, "rate": folded / (cpu_seconds() - cpu)}
