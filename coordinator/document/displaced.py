"""Putting a new plain file in the old one's place, without losing what an editor saves at that moment (P17).

Between the last look at the plain file and its replacement somebody may save it. Where the file system can exchange two
names at once (local Linux disks), what was replaced is still there afterwards, under a name of ours: if it is not what
was looked at, it was written in that moment, and is kept in ``conflicts/``. NFS cannot exchange names: there such a
save is lost. For an editor that puts a new file in place the moment is one round trip long; for one that writes in
place it lasts from opening the file to closing it (three hosts that folded all the time: 5 of 139 saves, in tests/nfs).
A hard link to what is replaced would keep that; S3 Files has none.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from coordinator.clock import elapsed_max_ms
from coordinator.folders import remove_quietly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordinator.files import Files, Stat
    from coordinator.record.member import Member

# An editor may still be writing: what is this young is waited for, once, before it is copied.
SETTLE_MS: Final = 300
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOENT})


def put_in_place(
    member: Member, scratch: str, path: str, looked: Stat | None, keep: Callable[[bytes], list[str]]
) -> list[str]:
    """Renames a file over another.

    Args:
        member: Through whom.
        scratch: The new file, under a name that nobody else knows; gone afterwards, whatever happens.
        path: Whose place it takes.
        looked: What stood there at the last look; None: nothing.
        keep: Keeps what somebody has written since; returns the paths where.

    Returns:
        The paths of what was kept. OSError as the files.
    """
    files = member.files
    with removed_on_error(files, scratch):
        if looked is not None and looked.kind == "file" and _could_exchange(files, scratch, path):
            # Nothing but the name was changed by the exchange, so the facts tell.
            kept = keep(_read_settled(member, scratch)) if files.stat(scratch) != looked else []
            remove_quietly(files, scratch)
            return kept
        files.rename(scratch, path)
        return []


def _could_exchange(files: Files, scratch: str, path: str) -> bool:
    try:
        files.exchange(scratch, path)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _read_settled(member: Member, path: str) -> bytes:
    """What stands there once nobody has written to it for SETTLE_MS."""
    clock, began = member.clock, member.clock.now()
    while elapsed_max_ms(began, clock.now()) < SETTLE_MS:
        if member.store.now_ms() - member.files.stat(path).mtime_ns // 1_000_000 >= SETTLE_MS:
            break
        clock.pause(SETTLE_MS / 10)
    return member.files.read(path)


@contextlib.contextmanager
def removed_on_error(files: Files, scratch: str) -> Iterator[None]:
    """Removes a file of ours when the block fails."""
    try:
        yield
    except BaseException:
        remove_quietly(files, scratch)
        raise
