"""A disk that is full, over quota or read-only, or that loses a call or a reply, at each call of a whole cycle."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING, Final

import pytest
from bad_input_support import MUTATING, Cycle, FailNth

from coordinator.errors import CoordinatorError, NoRoom

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.testing import Call
    from coordinator.testing.files import When

SEED: Final = 20260701
SAMPLE: Final = 15
FRAGILE: Final = frozenset({"symlink", "rename", "sync", "sync_dir", "listdir", "readlink", "read"})


def clean_run(folder: Path, primitive: str, ops: frozenset[str], when: When = "before") -> list[Call]:
    """The calls of a cycle in which nothing fails."""
    folder.mkdir()
    counting = FailNth(0, ops, 0, when=when, onwards=False)
    cycle = Cycle(folder, primitive, counting)
    cycle.run()
    assert cycle.error is None, cycle.error
    assert list(cycle.troubles()) == []
    return counting.seen


def troubles_of(folder: Path, primitive: str, hook: FailNth, *allowed: type[CoordinatorError], label: str) -> list[str]:
    """Runs one cycle with a fault, and says what was wrong with it."""
    folder.mkdir()
    cycle = Cycle(folder, primitive, hook)
    cycle.run()
    found = list(cycle.troubles(*allowed))
    if not hook.failed:
        return [f"{label}: nothing failed"]
    call = hook.failed[0]
    about = f"{label} at {call.op} {call.path.removeprefix(str(folder))} (step {cycle.step!r}, {cycle.error!r})"
    return [f"{about}: {trouble}" for trouble in found]


@pytest.mark.parametrize("onwards", [False, True], ids=["once", "and all later ones"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_no_room_at_any_call_is_told_and_nothing_acknowledged_is_lost(
    tmp_path: Path, primitive: str, code: int, onwards: bool
) -> None:
    calls = clean_run(tmp_path / "clean", primitive, MUTATING)
    numbers = list(range(1, len(calls) + 1))
    if code != errno.ENOSPC:  # the same ways through the code: a sample of them
        numbers = sorted(random.Random(SEED + code).sample(numbers, SAMPLE))
    found = []
    for i in numbers:
        hook = FailNth(code, MUTATING, i, onwards=onwards)
        found += troubles_of(tmp_path / str(i), primitive, hook, NoRoom, label=f"call {i} of {len(calls)}")
    assert not found, f"seed {SEED}:\n" + "\n".join(found)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_a_lost_call_or_a_lost_reply_loses_nothing_acknowledged(tmp_path: Path, primitive: str, when: When) -> None:
    calls = clean_run(tmp_path / "clean", primitive, FRAGILE, when)
    chosen = set(random.Random(SEED).sample(range(1, len(calls) + 1), SAMPLE))
    found = []
    for i in range(1, len(calls) + 1):
        for onwards in (False, True) if i in chosen else (False,):
            hook = FailNth(errno.EIO, FRAGILE, i, when=when, onwards=onwards)
            label = f"EIO {when} call {i} of {len(calls)}{' and all later ones' if onwards else ''}"
            found += troubles_of(tmp_path / f"{i}-{onwards}", primitive, hook, CoordinatorError, label=label)
    assert not found, f"seed {SEED}:\n" + "\n".join(found)


@pytest.mark.parametrize("primitive", ["symlink", "directory"])
def test_the_cycle_passes_every_kind_of_call(tmp_path: Path, primitive: str) -> None:
    made = {call.op for call in clean_run(tmp_path / "clean", primitive, MUTATING | FRAGILE)}
    assert made == (MUTATING | FRAGILE) - ({"symlink", "readlink"} if primitive == "directory" else set())
