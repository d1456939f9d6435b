r"""Keeping a chain short (P18): archive, raise the floor in the chain, then delete; in this order, whatever is killed.

``history/<first>-<last>-<id>.log``, one archived record a line, the text that stood in the chain::

    000000000007 v=1/n=7/kind=release/…/crc=1b2c3d4e\n

Several collectors may run at once: each writes its own segment (under a name that ends in .part, then renamed), and
records that stand in two are the same records.
A number below the floor that appears again (a frozen writer thawed, P18) is no record; it is deleted with the rest.
Segments are merged when there are many, and dropped when they are older than HISTORY_KEEP_MS, or when all of them
together are larger than HISTORY_MAX_BYTES, the oldest first.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, NamedTuple

from coordinator.errors import CorruptRecord, NewerFormat
from coordinator.folders import list_surely, make_dirs, remove_quietly, write_new
from coordinator.limits import (
    HISTORY_KEEP_MS,
    HISTORY_MAX_BYTES,
    HISTORY_SEGMENT_BYTES,
    HISTORY_SEGMENTS_MAX,
    LIST_TRIES,
    N_DIGITS,
    SCRATCH_KEEP_MS,
)
from coordinator.names import new_id
from coordinator.record.agree import settle
from coordinator.record.decide import Raise
from coordinator.record.record import Record, decode, is_whole

if TYPE_CHECKING:
    from coordinator.files import Files
    from coordinator.names import Resource
    from coordinator.record.decide import Author
    from coordinator.record.primitive import Primitive
    from coordinator.record.store import Store

_SEGMENT = ".log"
_PART = ".part"
_GONE = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR})


class Chain(NamedTuple):
    """One resource's records on a mount, and how to reach them."""

    resource: Resource
    top: str  # the folder of all resources
    folder: str
    files: Files
    primitive: Primitive

    def positions(self) -> list[int]:
        """The numbers in the chain's folder, ascending; those below the floor are no records."""
        names = list_surely(self.files, self.top, f"{self.folder}/chain")
        return sorted(int(name) for name in names if is_position(name))

    def path(self, n: int) -> str:
        """Where record n stands."""
        return f"{self.folder}/chain/{n:0{N_DIGITS}}"

    def text(self, n: int) -> str | None:
        """Record n as written; None when it is gone."""
        try:
            return self.primitive.get(self.path(n))
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise


def is_position(name: str) -> bool:
    """Whether a name in a chain's folder is a record's number."""
    return len(name) == N_DIGITS and name.isdecimal() and name.isascii()


def collect_chain(store: Store, chain: Chain, author: Author, *, keep: int) -> int:
    """Archives and deletes all records but the newest ``keep``. See the module.

    A crash anywhere leaves either records that are archived and still there, or numbers below the floor: both are dealt
    with by the next collection.
    """
    newest = store.read(chain.resource)
    if newest is None:
        return 0
    floor = max(newest.floor, newest.n - keep + 1)
    if floor > newest.floor:
        lines = _read_between(chain, newest.floor, floor)
        again = store.read(chain.resource)
        # Another collector may have deleted some of these meanwhile, and a late writer put others in their places: as
        # long as the floor is what it was when the reading began, none was deleted.
        if again is not None and again.floor == newest.floor:
            if lines:
                _write_segment(chain, lines)
            settle(store, chain.resource, lambda _n, _now_ms: Raise(author, floor), known=again)
    newest = store.read(chain.resource)
    floor = newest.floor if newest else floor
    deleted = 0
    for n in chain.positions():
        if n < floor:
            chain.primitive.remove(chain.path(n))
            deleted += 1
    now_ms = store.now_ms()
    _merge(chain)
    _drop_old(chain, now_ms)
    return deleted


def known_records(store: Store, chain: Chain) -> list[Record]:
    """Every record that the archive and the chain still tell of, oldest first."""
    # The chain is read first: what is collected from it meanwhile stands in a segment by then. What stands below the
    # floor, as it is after that, may have been put where a record was deleted: there only the archive is believed.
    live = [(n, text) for n in chain.positions() if (text := chain.text(n)) is not None]
    newest = store.read(chain.resource)
    archived = _archived(chain)
    floor = newest.floor if newest else 0
    found = {n: decode(text, resource=chain.resource, path=chain.path(n)) for n, text in live if n >= floor}
    for n, text in archived.items():
        if n not in found:
            with contextlib.suppress(CorruptRecord, NewerFormat):  # whole, and of a kind that is not known here
                found[n] = decode(text, resource=chain.resource, path=f"{chain.folder}/history")
    return [found[n] for n in sorted(found)]


def _archived(chain: Chain) -> dict[int, str]:
    """The texts of all segments. One that goes while they are read was merged into another: list again (P6)."""
    for _ in range(LIST_TRIES):
        found: dict[int, str] = {}
        parts = [_lines(chain, name) for name, _ in _segments(chain)]
        if all(part is not None for part in parts):
            for part in parts:
                found.update(part or {})
            return found
    raise OSError(errno.ESTALE, "the history changes at every look", f"{chain.folder}/history")


def _read_between(chain: Chain, first: int, end: int) -> list[str]:
    """Records first … end - 1, as lines of a segment."""
    lines = []
    for n in chain.positions():
        if first <= n < end and (text := chain.text(n)) is not None:
            if not is_whole(text):
                decode(text, resource=chain.resource, path=chain.path(n))  # says what is wrong; nothing is deleted
            lines.append(f"{n:0{N_DIGITS}} {text}\n")
    return lines


def _write_segment(chain: Chain, lines: list[str]) -> None:
    """Puts a segment into the history, whole: another collector may merge it, and delete it, as soon as it is there."""
    folder = f"{chain.folder}/history"
    make_dirs(chain.files, chain.folder, folder)
    path = f"{folder}/{lines[0][:N_DIGITS]}-{lines[-1][:N_DIGITS]}-{new_id()}{_SEGMENT}"
    write_new(chain.files, path + _PART, "".join(lines).encode())
    chain.files.rename(path + _PART, path)
    chain.files.sync_dir(folder)


def _segments(chain: Chain) -> list[tuple[str, int]]:
    """Names and sizes of the segments, oldest first."""
    folder = f"{chain.folder}/history"
    names = sorted(name for name in list_surely(chain.files, chain.top, folder) if name.endswith(_SEGMENT))
    found = []
    for name in names:
        try:
            found.append((name, chain.files.stat(f"{folder}/{name}").size_bytes))
        except OSError as error:
            if error.errno not in _GONE:
                raise
    return found


def _lines(chain: Chain, name: str) -> dict[int, str] | None:
    """The numbers and texts of one segment; None when it is gone. What in it cannot be read is not known."""
    try:
        data = chain.files.read(f"{chain.folder}/history/{name}")
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    found = {}
    for line in data.decode(errors="surrogateescape").splitlines():
        number, _, text = line.partition(" ")
        if is_position(number) and is_whole(text):
            found[int(number)] = text
    return found


def _merge(chain: Chain) -> None:
    """Makes one segment of many small ones; each is deleted only after the one that holds its records is durable."""
    small = [name for name, size_bytes in _segments(chain) if size_bytes < HISTORY_SEGMENT_BYTES]
    if len(small) <= HISTORY_SEGMENTS_MAX:
        return
    texts: dict[int, str] = {}
    for name in small:
        texts.update(_lines(chain, name) or {})  # gone: merged by another collector
    if texts:
        _write_segment(chain, [f"{n:0{N_DIGITS}} {texts[n]}\n" for n in sorted(texts)])
    for name in small:
        remove_quietly(chain.files, f"{chain.folder}/history/{name}")


def _drop_old(chain: Chain, now_ms: int) -> None:
    segments = _segments(chain)
    total_bytes = sum(size_bytes for _, size_bytes in segments)
    for name, size_bytes in segments:
        path = f"{chain.folder}/history/{name}"
        try:
            age_ms = now_ms - chain.files.stat(path).mtime_ns // 1_000_000
        except FileNotFoundError:
            continue
        if age_ms > HISTORY_KEEP_MS or total_bytes > HISTORY_MAX_BYTES:
            remove_quietly(chain.files, path)
            total_bytes -= size_bytes
    with contextlib.suppress(FileNotFoundError):
        for name in chain.files.listdir(f"{chain.folder}/history"):
            path = f"{chain.folder}/history/{name}"
            if name.endswith(_PART) and now_ms - chain.files.stat(path).mtime_ns // 1_000_000 > SCRATCH_KEEP_MS:
                remove_quietly(chain.files, path)
