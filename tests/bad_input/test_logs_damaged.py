"""Logs that were cut or altered behind our back, at every byte: what is acknowledged stands, once; others go on."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest
from log_trials import BOBS, FOLDED, LEFT, SEED, Template, check, make_template
from log_world import STATE, WAIT, World, flips, fold_all, of, submit, twice

from coordinator.log import segments as segments_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("logs") / "shared")


# ── one segment ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_template_itself_folds_whole(template: Template, tmp_path: Path) -> None:
    trial = check(template, tmp_path, iter([("unaltered", template.data)]))[0]
    assert of("alice", trial.found) == FOLDED + LEFT
    assert not trial.quarantined


def test_cut_at_every_byte(template: Template, tmp_path: Path) -> None:
    """A cut is no damage: what stands whole before it is folded, and the rest when it is there."""
    places = template.places()
    trials = check(template, tmp_path, ((f"cut at {at}", template.data[:at]) for at in places))
    for at, trial in zip(places, trials, strict=True):
        expected = max(len(template.whole_before(at)), len(FOLDED))
        assert of("alice", trial.found) == (FOLDED + LEFT)[:expected], f"cut at {at}"
        assert not trial.quarantined, f"cut at {at}"


def test_a_bit_flipped_at_every_byte(template: Template, tmp_path: Path) -> None:
    """Nothing that stands behind what is altered is folded; nothing before it is lost."""
    places = template.places()
    flipped = dict(flips(template.data))
    trials = check(template, tmp_path, ((f"flip at {at}", flipped[at]) for at in places))
    start = template.ends[len(FOLDED)]
    for at, trial in zip(places, trials, strict=True):
        # What was folded already is not read again, and neither is the opening.
        whole = template.whole_before(at) if at >= start else FOLDED + LEFT
        assert of("alice", trial.found) == whole, f"flip at {at}"
    # All but those in the last frame, where a line that was never ended may be one in flight, are recognised.
    for at, trial in zip(places, trials, strict=True):
        assert trial.quarantined or not start <= at < template.ends[-2] or b"\0" in trial.data, f"flip at {at}"


def test_every_bit_of_one_frame(template: Template, tmp_path: Path) -> None:
    low, high = template.ends[3], template.ends[4]
    cases = ((f"flip at {at}", data) for at, data in flips(template.data, every_bit=True) if low <= at < high)
    sample = random.Random(SEED).sample(list(cases), 100)
    trials = check(template, tmp_path, iter(sample))
    # A blank that became NUL may be a hole that is still to be filled.
    assert [trial.quarantined for trial in trials] == [b"\0" not in data for _, data in sample]


def test_nul_runs_anywhere(template: Template, tmp_path: Path) -> None:
    """Holes are writes in flight as long as they may be: for ten seconds, if whole frames stand behind them."""
    chance = random.Random(SEED)
    cases = []
    for _ in range(60):
        low = chance.randrange(len(template.data))
        high = min(low + chance.choice([1, 7, 100, 400]), len(template.data))
        cases.append((f"NUL from {low} to {high}", template.data[:low] + bytes(high - low) + template.data[high:]))
    check(template, tmp_path, iter(cases))
    check(template, tmp_path, iter(cases), old=True)


def test_a_hole_that_has_settled_is_damage(template: Template, tmp_path: Path) -> None:
    low, high = template.ends[3] - 10, template.ends[3] + 10
    data = template.data[:low] + bytes(high - low) + template.data[high:]
    fresh, old = [check(template, tmp_path, iter([("hole", data)]), old=old)[0] for old in (False, True)]
    assert (fresh.quarantined, old.quarantined) == (False, True)


def test_nul_bytes_behind_the_end_are_waited_for(template: Template, tmp_path: Path) -> None:
    trial = check(template, tmp_path, iter([("NUL at the end", template.data + bytes(4096))]), old=True)[0]
    assert of("alice", trial.found) == FOLDED + LEFT
    assert not trial.quarantined


def lines_of(template: Template) -> list[bytes]:
    return template.data.splitlines(keepends=True)


def test_lines_swapped(template: Template, tmp_path: Path) -> None:
    """Each pair, whether folded already or not. A log that was folded up to there is not read again."""
    lines = lines_of(template)
    cases = []
    for i, j in itertools.combinations(range(len(lines)), 2):
        swapped = lines.copy()
        swapped[i], swapped[j] = swapped[j], swapped[i]
        cases.append((f"{i} and {j} swapped", b"".join(swapped)))
    trials = check(template, tmp_path, iter(cases))
    for (label, _), trial in zip(cases, trials, strict=True):
        touched = int(label.split()[2]) > len(FOLDED)
        assert trial.quarantined == touched, label


def test_lines_dropped_repeated_or_moved_here_from_elsewhere(template: Template, tmp_path: Path) -> None:
    lines = lines_of(template)
    bobs = template.world.logs("bob")[0].read_bytes().splitlines(keepends=True)
    cases = []
    for i in range(1 + len(FOLDED), len(lines)):
        cases.append((f"{i} repeated", b"".join([*lines[: i + 1], *lines[i:]])))
        cases.append((f"bob's in place of {i}", b"".join([*lines[:i], bobs[1], *lines[i + 1 :]])))
        cases.append((f"bob's before {i}", b"".join([*lines[:i], bobs[2], *lines[i:]])))
        cases.append((f"another opening before {i}", b"".join([*lines[:i], lines[0], *lines[i:]])))
        cases.append((f"an empty line before {i}", b"".join([*lines[:i], b"\n", *lines[i:]])))
        cases.append((f"a carriage return in {i}", b"".join([*lines[:i], lines[i][:-1] + b"\r\n", *lines[i + 1 :]])))
        if i < len(lines) - 1:
            cases.append((f"{i} dropped", b"".join([*lines[:i], *lines[i + 1 :]])))
    assert all(trial.quarantined for trial in check(template, tmp_path, iter(cases)))


def test_a_frame_longer_than_the_limit(template: Template, tmp_path: Path) -> None:
    """Nobody of this version wrote it; it is not read into memory for nothing, and not folded."""
    pad = b"x" * (1 << 20)
    payload = b'{"seq":6,"id":"a","at":1,"op":{"do":"merge","patch":{"pad":"%b"}}}' % pad
    from zlib import crc32

    whole = b"C1 %d %08x %08x %b\n" % (len(payload), crc32(payload), 0, payload)
    cases = [
        ("whole", template.data + whole),
        ("cut", template.data + whole[:-5]),
        ("its head", template.data + b"C1 9999999 01234567 01234567 {"),
    ]
    trials = check(template, tmp_path, iter(cases))
    assert [trial.quarantined for trial in trials] == [True, True, True]
    assert all(of("alice", trial.found) == FOLDED + LEFT for trial in trials)


# ── several segments ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Alice's log in three segments, the first of which is folded in part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "SEGMENT_BYTES", 450)
        world = World.made(tmp_path_factory.mktemp("segments") / "shared")
        alice = world.agent("alice")
        submit(alice, FOLDED[0], wait=WAIT)
        for name in [FOLDED[1], *LEFT]:
            submit(alice, name)
        submit(world.agent("bob"), *BOBS)
    assert len(world.logs("alice")) == 3
    return world


def segment_troubles(
    segmented: World, folder: Path, change: Callable[[list[Path]], None], *, may_be_in_flight: bool
) -> Iterator[str]:
    world = segmented.copied(folder)
    before = {path.name: path.read_bytes() for path in world.logs("alice")}
    change(world.logs("alice"))
    altered = {path.name: path.read_bytes() for path in world.logs("alice")}
    carol = world.agent("carol")
    fold_all(carol)
    submit(carol, "carol-1", wait=WAIT)
    found = world.list()
    alices = of("alice", found)
    if twice(found) or of("bob", found) != BOBS or "carol-1" not in found:
        yield f"the list is {found}"
    if alices != [*FOLDED, *LEFT][: len(alices)] or not alices:
        yield f"alice's are {alices}"
    if "log_quarantined" in world.kinds():
        kept = {name: data for name, data in world.kept().items() if name.endswith(".log")}
        if kept != altered:
            yield f"the evidence is of {sorted(kept)}"
    elif alices != FOLDED + LEFT:
        if not may_be_in_flight:
            yield f"nobody was told that {alices} is all"
        for name, data in before.items():
            (world.folder / STATE / "log" / name).write_bytes(data)
        fold_all(world.agent("dave"))
        if of("alice", world.list()) != FOLDED + LEFT:
            yield f"when the rest was there, alice's were {of('alice', world.list())}"
    carol.close()
    shutil.rmtree(world.folder)


def test_segments_cut(segmented: World, tmp_path: Path) -> None:
    """What a successor says that it holds, and does not, is damage and no write in flight."""
    found = []
    for i, path in enumerate(segmented.logs("alice")):
        is_last = i == len(segmented.logs("alice")) - 1
        data = path.read_bytes()
        ends = [at for at, byte in enumerate(data, 1) if byte == ord("\n")]
        near = {at + by for at in [0, *ends] for by in (-1, 0, 1)} & set(range(len(data)))
        for at in sorted(near | set(range(0, len(data), 19))):

            def cut(paths: list[Path], i: int = i, at: int = at) -> None:
                os.truncate(paths[i], at)

            # A second segment that cannot be read from its beginning, with a third there, is not believed for a while.
            troubles = segment_troubles(segmented, tmp_path / f"{i}-{at}", cut, may_be_in_flight=is_last)
            found += [f"segment {i + 1} cut at {at}: {trouble}" for trouble in troubles]
    assert not found, "\n".join(found[:40])


def test_segments_with_a_bit_flipped(segmented: World, tmp_path: Path) -> None:
    found = []
    for i, path in enumerate(segmented.logs("alice")):
        is_last = i == len(segmented.logs("alice")) - 1
        size = path.stat().st_size
        for at, data in random.Random(SEED + i).sample(list(flips(path.read_bytes())), min(size, 25)):

            def flip(paths: list[Path], i: int = i, data: bytes = data) -> None:
                paths[i].write_bytes(data)

            hole = b"\0" in data  # to be filled still, for all that is known
            troubles = segment_troubles(segmented, tmp_path / f"{i}-{at}", flip, may_be_in_flight=is_last or hole)
            found += [f"segment {i + 1}, bit flipped at {at}: {trouble}" for trouble in troubles]
    assert not found, f"seed {SEED}:\n" + "\n".join(found[:40])


@pytest.mark.parametrize("gone", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_segments_taken_away(segmented: World, tmp_path: Path, gone: tuple[int, ...]) -> None:
    """The last ones leave no trace; one in between is missed by the next."""

    def remove(paths: list[Path]) -> None:
        for i in gone:
            paths[i].unlink()

    def troubles() -> Iterator[str]:
        yield from segment_troubles(segmented, tmp_path / "trial", remove, may_be_in_flight=2 in gone)

    assert list(troubles()) == []


def test_segments_renamed_to_each_other(segmented: World, tmp_path: Path) -> None:
    for i, (one, other) in enumerate(itertools.permutations(range(3), 2)):

        def rename(paths: list[Path], one: int = one, other: int = other) -> None:
            first, second = paths[one].read_bytes(), paths[other].read_bytes()
            paths[one].write_bytes(second)
            paths[other].write_bytes(first)

        assert list(segment_troubles(segmented, tmp_path / f"{i}", rename, may_be_in_flight=False)) == []
