"""What of unsynced effects survives a power failure: which names, and how much of which content. For CrashFiles.

Content that was not synced may be cut at any byte. And since a file system may write its pages in any order, and its
size before either, what is there may be NUL bytes: up to the end, or with later bytes behind them that were written.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from coordinator.testing.tree import File, Folder

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from coordinator.testing.tree import Node

_FEW: Final = 2  # effects that are lost, or kept, where there are too many for every subset


class Left(NamedTuple):
    """What is found of a file: so many bytes, and of these some are NUL, though something else was written."""

    size_bytes: int
    nul_from: int = 0
    nul_to: int = 0


class Choice(NamedTuple):
    """Which pending effects survive, and what of each file that was not synced; whole, if that is not told."""

    names: Sequence[bool]
    left: Mapping[File, Left]


ALL_KEPT: Final[Mapping[File, Left]] = {}


def _nowhere(_path: str) -> bool:
    return False


@dataclass(frozen=True)
class Tears:
    """How unsynced content may be found torn.

    Attributes:
        fine: By the path that a file was made under: whether it is cut at many places. Others in the middle only.
        step_bytes: How far these are apart; 1: at every byte.
        page_bytes: NUL bytes begin and end at multiples of this.
        nuls: Whether there are any.
    """

    fine: Callable[[str], bool] = _nowhere
    step_bytes: int = 1
    page_bytes: int = 64
    nuls: bool = False

    def of(self, file: File) -> list[Left]:
        """Everything that may be found of a file, whole first, each once."""
        low, high = file.durable_bytes, len(file.data)
        middles = range(low, high, self.step_bytes) if self.fine(file.made_as) else [(low + high) // 2]
        cuts = sorted({high, *middles, low}, reverse=True)
        found = [Left(size) for size in cuts]
        if self.nuls:
            edges = sorted({low, high, *(at for at in range(0, high, self.page_bytes) if at > low)})
            for start, end in itertools.combinations(edges, 2):
                if end == high or start == low:  # a tail that was not written, or a head before one that was
                    found.append(Left(high, start, end))
        return found

    def combinations(self, files: Sequence[File]) -> Iterator[dict[File, Left]]:
        """What may be found of several files, in any combination."""
        for left in itertools.product(*map(self.of, files)):
            yield dict(zip(files, left, strict=True))


def every_choice(beside: Sequence[bool], names_max: int) -> Iterator[tuple[bool, ...]]:
    """Which effects survive: see CrashFiles.every_crash_state. ``beside``: those that go together."""
    count = beside.count(False)
    for kept in _subsets(count) if count <= names_max else _few_of(count):
        for others in (True, False) if True in beside else (True,):
            rest = iter(kept)
            yield tuple(others if is_beside else next(rest) for is_beside in beside)


def _subsets(count: int) -> Iterator[tuple[bool, ...]]:
    return itertools.product((True, False), repeat=count)


def _few_of(count: int) -> Iterator[tuple[bool, ...]]:
    for exception in (False, True):
        for number in range(_FEW + 1):
            for few in itertools.combinations(range(count), number):
                yield tuple((i in few) is exception for i in range(count))


def some_choices(
    count: int, files: Sequence[File], exhaustive_max: int, samples: int, chance: random.Random
) -> Iterator[Choice]:
    """All combinations if they are few, else some of every kind: see CrashFiles.crash_states."""
    least = [file.durable_bytes for file in files]
    most = [len(file.data) for file in files]
    if 2**count * 3 ** len(files) <= exhaustive_max:
        choices = _all(count, least, most)
    else:
        choices = _from_every_side(count, least, most, samples, chance)
    for names, sizes in choices:
        yield Choice(names, {file: Left(size) for file, size in zip(files, sizes, strict=True)})


def _all(count: int, least: Sequence[int], most: Sequence[int]) -> Iterator[tuple[Sequence[bool], Sequence[int]]]:
    middles = [sorted({low, (low + high) // 2, high}, reverse=True) for low, high in zip(least, most, strict=True)]
    for kept in _subsets(count):
        for sizes in itertools.product(*middles):
            yield kept, sizes


def _from_every_side(
    count: int, least: Sequence[int], most: Sequence[int], samples: int, chance: random.Random
) -> Iterator[tuple[Sequence[bool], Sequence[int]]]:
    dropped, whole = [False] * count, [True] * count
    yield whole, most
    yield dropped, least
    for i in range(count):
        yield _but(whole, i, value=False), most
        yield _but(dropped, i, value=True), least
        yield _but(dropped, i, value=True), most
    for i, (low, high) in enumerate(zip(least, most, strict=True)):
        for size in (low, chance.randint(low, high)):
            yield whole, [*most[:i], size, *most[i + 1 :]]
    for _ in range(samples):
        torn = [chance.choice([low, chance.randint(low, high), high]) for low, high in zip(least, most, strict=True)]
        yield [chance.random() < 0.5 for _ in range(count)], torn  # noqa: PLR2004 - a coin


def _but(flags: list[bool], i: int, *, value: bool) -> list[bool]:
    return [*flags[:i], value, *flags[i + 1 :]]


def blank(root: Node, left: Mapping[File, Left]) -> frozenset[Hashable]:
    """Puts NUL bytes into the files of a copied tree that are to have some; returns a key of what was done."""
    wanted = {file.inode: some for file, some in left.items() if some.nul_to}
    done: set[Hashable] = set()
    for file in _files_below(root) if wanted else ():
        some = wanted.get(file.inode)
        if some is not None:
            file.data[some.nul_from : some.nul_to] = bytes(some.nul_to - some.nul_from)
            done.add((file.inode, some))
    return frozenset(done)


def inodes_below(root: Node) -> frozenset[int]:
    """Of all files in a tree."""
    return frozenset(file.inode for file in _files_below(root))


def _files_below(node: Node) -> Iterator[File]:
    if isinstance(node, File):
        yield node
    elif isinstance(node, Folder):
        for inner in node.names.values():
            yield from _files_below(inner)
