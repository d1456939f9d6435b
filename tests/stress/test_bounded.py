"""A state folder stays bounded, in files and in bytes, whatever went through it (P18, P27).

Here with some thousand operations and some hundred short-lived agents; with ``pytest -m slow -s`` with a million and
ten thousand, the figures printed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Workspace
from coordinator.limits import CHAIN_MAX, FOLD_FILES_MAX, FOLD_KEEP_BYTES, HISTORY_MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

GROUP: Final = 1000
# Beside the chain and the fold files: history segments, renderings, snapshots, logs and what else there is of each.
FILES_MAX: Final = CHAIN_MAX + 8 + FOLD_FILES_MAX + 64 + 120
BYTES_MAX: Final = FOLD_KEEP_BYTES + HISTORY_MAX_BYTES + (16 << 20)


def size_of(folder: Path) -> tuple[int, int]:
    """Files, and their bytes, of all that is ours."""
    paths = [os.path.join(place, name) for place, _, names in os.walk(folder / ".coordinator") for name in names]
    return len(paths), sum(os.lstat(path).st_size for path in paths)


def many_agents(folder: Path, count: int) -> None:
    for number in range(count):
        with Workspace(folder, agent=f"agent-{number}") as workspace:
            workspace.document("plan.json").update({"n": number, f"k{number % 50}": number})


def many_operations(folder: Path, count: int) -> None:
    document = Workspace(folder, agent="busy").document("plan.json")
    for start in range(0, count, GROUP):
        operations = [{"do": "merge", "patch": {f"k{n % 50}": n}} for n in range(start, start + GROUP)]
        receipts = document.perform(operations, wait=60)
        assert {receipt.state for receipt in receipts} == {"applied"}
    assert document.read_json()[f"k{(count - 1) % 50}"] == count - 1
    document.close()


def run(folder: Path, agents: int, operations: int) -> None:
    (folder / "plan.json").write_text(json.dumps({"n": 0}))
    Workspace.init(folder, agent="start")
    for what, work, count in (("agents", many_agents, agents), ("operations", many_operations, operations)):
        work(folder, count)
        files, size_bytes = size_of(folder)
        sys.stdout.write(f"\nafter {count:,} {what}: {files} files, {size_bytes:,} bytes\n")
        assert files <= FILES_MAX
        assert size_bytes <= BYTES_MAX


def test_some_agents_and_operations_leave_little_behind(tmp_path: Path) -> None:
    run(tmp_path, agents=400, operations=20_000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_agents_and_a_million_operations_leave_little_behind(tmp_path: Path) -> None:
    run(tmp_path, agents=10_000, operations=1_000_000)
