"""Updates through logs when the disk is full or a call is lost, at every call."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from bad_input_support import MUTATING, FailNth
from log_world import WAIT, World, fold_all, submit, twice

from coordinator.errors import CoordinatorError, NoRoom, StoreUnavailable
from coordinator.log import segments as segments_module
from coordinator.names import new_id
from coordinator.testing import InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coordinator.document.document import Document
    from coordinator.testing.files import Call, When


SEED: Final = 20260704
FRAGILE: Final = MUTATING - {"mkdir", "touch", "try_lock", "unlink", "rmdir"} | {
    "listdir",
    "readlink",
    "read",
    "read_at",
}


@dataclass
class Day:
    """What one agent does: updates that wait and that do not, folds, rotation of its log, its end."""

    world: World
    hook: FailNth
    closes: bool = True
    done: list[str] = field(default_factory=list)  # acknowledged as applied
    durable: list[str] = field(default_factory=list)  # acknowledged as durable
    refused: list[str] = field(default_factory=list)  # certainly not made
    unknown: dict[str, str] = field(default_factory=dict)  # by name, the id to try again with
    errors: list[tuple[str, Exception]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hook.armed = False
        files = InterceptedFiles(self.world.files, self.hook)
        self.alice = self.world.agent("alice", files=files, clock=ManualClock())
        self.hook.armed = True

    def run(self) -> None:
        self._submit("a1", wait=0)
        self._submit("a2")
        self._submit("a3", "a4")
        self._do("compact", self.alice.compact)
        self._submit("a5", wait=0)
        self._do("read", self.alice.read)
        self._submit("a6")
        self._submit("a7", wait=0)
        if self.closes:
            self._do("close", self.alice.close)

    def _do(self, step: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whether it is one of ours is what is asked
            self.errors.append((step, error))

    def _submit(self, *names: str, wait: float = WAIT) -> None:
        ids = [new_id() for _ in names]
        try:
            receipts = submit(self.alice, *names, wait=wait, ids=ids)
        except StoreUnavailable as error:
            self.errors.append((f"submit {names}", error))
            if error.outcome_unknown:
                self.unknown.update(zip(names, ids, strict=True))
            else:
                self.refused += names
        except Exception as error:  # noqa: BLE001 - as above
            self.errors.append((f"submit {names}", error))
        else:
            for name, receipt in zip(names, receipts, strict=True):
                (self.done if receipt.state == "applied" else self.durable).append(name)

    def troubles(self, allowed: type[CoordinatorError]) -> Iterator[str]:
        """What is not as it must be.

        Whatever fails, what was acknowledged is there, once; what was refused is not there; what is unknown is there
        once after a retry under the same id; and everyone can go on as soon as the fault is gone.
        """
        yield from (f"{step} raised {error!r}" for step, error in self.errors if not isinstance(error, allowed))
        if not self.errors:
            yield from self._troubles_of_list("as applied is told", self.world.list(), self.done, [])
        self.hook.armed = False
        bob = self.world.agent("bob")
        fold_all(bob)
        yield from self._troubles_of_list("bob folded", self.world.list(), self.done + self.durable, self.refused)
        for name, op_id in self.unknown.items():
            receipt = submit(bob, name, ids=[op_id], wait=WAIT)[0]
            if receipt.state != "applied":
                yield f"the retry of {name} is {receipt}"
        everything = [*self.done, *self.durable, *self.unknown]
        yield from self._troubles_of_list("all was tried again", self.world.list(), everything, self.refused)
        yield from self._troubles_afterwards(everything, bob)

    def _troubles_afterwards(self, everything: list[str], bob: Document) -> Iterator[str]:
        late = self.world.agent("alice")
        for whose, document in (("the same process", self.alice), ("another process", late)):
            if submit(document, whose, wait=WAIT)[0].state != "applied":
                yield f"alice cannot go on in {whose}"
            everything.append(whose)
        yield from self._troubles_of_list("alice went on", self.world.list(), everything, self.refused)
        if set(self.world.list()) != {*everything}:
            yield f"at the end: {self.world.list()}"
        if "log_quarantined" in self.world.kinds():
            yield "a log was set aside"
        for document in (late, bob, self.alice):
            document.close()

    def _troubles_of_list(self, when: str, found: list[str], there: list[str], absent: list[str]) -> Iterator[str]:
        if twice(found):
            yield f"when {when}, done twice: {twice(found)}"
        if missing := [name for name in there if name not in found]:
            yield f"when {when}, lost: {missing}"
        if made := [name for name in absent if name in found]:
            yield f"when {when}, made although refused: {made}"


def a_day(
    template: World,
    folder: Path,
    hook: FailNth,
    allowed: type[CoordinatorError] = CoordinatorError,
    *,
    closes: bool = True,
) -> tuple[Day, list[str]]:
    day = Day(template.copied(folder), hook, closes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "SEGMENT_BYTES", 500)
        day.run()
    return day, list(day.troubles(allowed))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.made(tmp_path_factory.mktemp("faults") / "shared")


def troubles_at(
    template: World,
    folder: Path,
    ops: frozenset[str],
    code: int,
    *,
    when: When,
    onwards: bool,
    allowed: type[CoordinatorError],
    sample: int = 0,
) -> list[str]:
    counting = FailNth(0, ops, 0, when=when, onwards=False)
    clean, found = a_day(template, folder / "clean", counting)
    assert found == []
    assert clean.errors == []
    count = len(counting.seen)
    numbers = list(range(1, count + 1))
    if sample and sample < count:
        numbers = sorted(random.Random(SEED + code).sample(numbers, sample))
    failures = 0
    for i in numbers:
        hook = FailNth(code, ops, i, when=when, onwards=onwards)
        day, troubles = a_day(template, folder / f"{i}", hook, allowed, closes=i % 3 > 0)
        if hook.failed:
            failures += 1
            call = hook.failed[0]
            path = call.path.removeprefix(str(folder))
            label = f"{errno.errorcode[code]} {when} call {i} of {count}, {call.op} {path} ({day.errors})"
            found += [f"{label}: {trouble}" for trouble in troubles]
    assert failures > len(numbers) * 2 // 3
    return found


@pytest.mark.parametrize("onwards", [False, True], ids=["once", "and all later ones"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
def test_no_room_at_any_call(template: World, tmp_path: Path, code: int, *, onwards: bool) -> None:
    sample = 10 if code != errno.ENOSPC else 30 if onwards else 0
    allowed = StoreUnavailable if code == errno.EDQUOT else NoRoom  # of flock, it is a quota of locks
    found = troubles_at(
        template, tmp_path, MUTATING, code, when="before", onwards=onwards, allowed=allowed, sample=sample
    )
    assert not found, f"seed {SEED}:\n" + "\n".join(found[:40])


@pytest.mark.parametrize("onwards", [False, True], ids=["once", "and all later ones"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_call_or_a_lost_reply_at_any_call(template: World, tmp_path: Path, when: When, *, onwards: bool) -> None:
    sample = 25 if onwards else 0
    found = troubles_at(
        template, tmp_path, FRAGILE, errno.EIO, when=when, onwards=onwards, allowed=CoordinatorError, sample=sample
    )
    assert not found, f"seed {SEED}:\n" + "\n".join(found[:40])


class WriteHalf:
    """A hook that writes a part of what is to be written to a log, and says that the disk is full.

    The files below it write nothing of that call, so that the part is what stands there: as a real disk leaves it.
    """

    def __init__(self, world: World, part: int, nth: int) -> None:
        self._world, self._part, self._left = world, part, nth

    def __call__(self, call: Call) -> None:
        if call.when == "before" and call.op == "write" and "/@/log/alice" in call.path:
            self._left -= 1
            if self._left == 0:
                with open(call.path, "ab") as file:
                    file.write(TORN[: self._part])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), call.path)


TORN: Final = b'C1 134 5c44ed59 7da0f829 {"seq":1,"id":"4zifvoiq5ebg2llmmzxa","at":1795430493161,"op":'


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("part", [0, 1, 5, 30, len(TORN)])
def test_a_disk_that_is_full_in_the_middle_of_a_frame(tmp_path: Path, part: int, nth: int) -> None:
    """The torn frame stays where it is, is never folded, and hinders nobody; the next append goes elsewhere."""
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice", files=InterceptedFiles(world.files, WriteHalf(world, part, nth)))
    unknown: dict[str, str] = {}
    for i in (1, 2, 3, 4):
        try:
            submit(alice, f"a{i}")
        except NoRoom as error:
            assert error.outcome_unknown  # noqa: PT017 - some of it is in a file
            unknown[f"a{i}"] = error.op_id
    assert list(unknown) == [f"a{nth}"]
    submit(world.agent("bob"), "bob-1", wait=WAIT)
    fold_all(world.agent("carol"))
    assert sorted(world.list()) == ["a1", "a2", "a3", "a4", "bob-1"], "it was repeated with the next"
    receipt = submit(alice, f"a{nth}", ids=[unknown[f"a{nth}"]], wait=WAIT)[0]
    assert receipt.state == "applied"
    assert sorted(world.list()) == ["a1", "a2", "a3", "a4", "bob-1"]
    assert "log_quarantined" not in world.kinds()
