"""A world with logs that are folded in part, and trials of copies of it in which one log was altered."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from log_world import STATE, WAIT, World, fold_all, of, submit, twice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


FOLDED: Final = ["alice-1", "alice-2"]
LEFT: Final = ["alice-3", "alice-4", "alice-5"]
BOBS: Final = ["bob-1", "bob-2"]
SEED: Final = 20260703
LONG_AGO: Final = 1_000_000_000


@dataclass
class Template:
    """A world to be copied: alice's log has two operations that are folded and three that are only durable."""

    world: World
    log: Path
    data: bytes
    ends: list[int]  # of the frames, the opening included

    def whole_before(self, offset: int) -> list[str]:
        """Alice's operations that end at or before an offset."""
        return [*FOLDED, *LEFT][: max(sum(end <= offset for end in self.ends) - 1, 0)]

    def places(self) -> list[int]:
        """Every byte of the last two frames, and some of those before, which are like them."""
        start = self.ends[-3]
        near = {end + by for end in self.ends[:-2] for by in (-1, 0, 1)}
        return sorted({*near, *range(0, start, 11), *range(start, len(self.data))})


def make_template(folder: Path) -> Template:
    world = World.made(folder)
    alice = world.agent("alice")
    submit(alice, *FOLDED, wait=WAIT)
    for name in LEFT:
        submit(alice, name)
    submit(world.agent("bob"), *BOBS)
    log = world.logs("alice")[0]
    data = log.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == 1 + len(FOLDED) + len(LEFT)
    return Template(world, log, data, ends)


class Trial:
    """One copy of the world with one log altered, folded by an agent who has work of her own.

    There are two answers. What stands before the damage is folded, and the rest is taken for a write in flight:
    nothing of it is folded until it is whole, and when it is, everything is. Or the log is set aside: an event says
    whose, where and what is wrong, and the log is kept as it was found.
    """

    numbers = itertools.count()

    def __init__(self, template: Template, folder: Path, data: bytes, *, old: bool = False) -> None:
        self.template, self.data = template, data
        self.world = template.world.copied(folder / f"trial-{next(self.numbers)}")
        self.log = self.world.folder / STATE / "log" / template.log.name
        self.log.write_bytes(data)
        if old:
            os.utime(self.log, (LONG_AGO, LONG_AGO))
        self.carol = self.world.agent("carol")
        fold_all(self.carol)
        self.receipt = submit(self.carol, "carol-1", wait=WAIT)[0]
        self.found = self.world.list()
        self.quarantined = "log_quarantined" in self.world.kinds()

    def discard(self) -> None:
        self.carol.close()
        shutil.rmtree(self.world.folder, ignore_errors=True)  # a view may be on its way yet

    def troubles(self) -> Iterator[str]:
        """What must never be."""
        if twice(self.found):
            yield f"done twice: {twice(self.found)}"
        if self.receipt.state != "applied" or "carol-1" not in self.found:
            yield f"carol does not go on: {self.receipt}"
        if of("bob", self.found) != BOBS:
            yield f"bob's are {of('bob', self.found)}"
        alices = of("alice", self.found)
        if [*FOLDED, *LEFT][: len(alices)] != alices or len(alices) < len(FOLDED):
            yield f"alice's are {alices}"
        if self.quarantined:
            yield from self.troubles_of_quarantine()
        elif len(alices) < len(FOLDED + LEFT):
            yield from self.troubles_of_flight()

    def troubles_of_quarantine(self) -> Iterator[str]:
        """The evidence is what was found, a report says what is wrong, and an event tells of it."""
        kept = self.world.kept()
        if kept.pop(self.log.name, None) != self.data:
            yield "the evidence is not what was found"
        reports = [json.loads(data) for data in kept.values()]
        if [(report["agent"], report["path"]) for report in reports] != [("alice", str(self.log))]:
            yield f"the reports are {reports}"
        events = [event for event in self.world.events if event.kind == "log_quarantined"]
        if [(event.holder, bool(event.reason)) for event in events] != [("alice", True)]:
            yield f"told as {events}"

    def troubles_of_flight(self) -> Iterator[str]:
        """As long as it is taken for a write in flight nothing is touched, so that it can still come to its end."""
        if self.log.read_bytes() != self.data:
            yield "the log was changed"
        self.log.write_bytes(self.template.data)
        fold_all(self.world.agent("dave"))
        found = self.world.list()
        if twice(found) or of("alice", found) != FOLDED + LEFT:
            yield f"when the rest was there, alice's were {of('alice', found)}"


def check(template: Template, folder: Path, cases: Iterator[tuple[str, bytes]], *, old: bool = False) -> list[Trial]:
    trials, found = [], []
    for label, data in cases:
        trial = Trial(template, folder, data, old=old)
        found += [f"{label}: {trouble}" for trouble in trial.troubles()]
        trial.discard()
        trials.append(trial)
    assert not found, f"seed {SEED}, of {len(trials)}:\n" + "\n".join(found[:40])
    return trials
