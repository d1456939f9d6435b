"""What kind of workspace this is: probed once, at init, and stored (P28).

``.coordinator/format.json``::

    {
      "format": 1,             what this folder is laid out as
      "min_reader": 1,         a library that knows less must not read
      "min_writer": 1,         … must not write
      "workspace_id": "…",     fresh per init
      "primitive": "symlink",  or "directory": how a record is put if absent (primitive.py)
      "authority": {"mode": "mount", "epoch": 1},
      "made_by": "agent-coordinator 0.1.0",
      "made_ms": 1790000000000
    }

The whole folder is prepared aside and renamed into place: of any number of inits at once one wins, and nobody ever sees
half a workspace.
"""

from __future__ import annotations

import contextlib
import errno
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from coordinator import __version__
from coordinator.errors import Damaged, NewerFormat, NotAWorkspace, Unsuitable
from coordinator.folders import remove_quietly, remove_tree, write_new
from coordinator.limits import FORMAT, RECORD_MAX_BYTES
from coordinator.names import STATE_DIR, new_id
from coordinator.record.places import Places
from coordinator.record.primitive import DirectoryPrimitive, SymlinkPrimitive, primitive_named
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Files
    from coordinator.record.primitive import Primitive


@dataclass(frozen=True, slots=True)
class Format:
    """The content of ``format.json``."""

    format: int
    min_reader: int
    min_writer: int
    workspace_id: str
    primitive: str
    authority: dict[str, Any]
    made_by: str
    made_ms: int

    def newer_for_writers(self, root: str) -> NewerFormat | None:
        """The error for every write, when this version may read the workspace but not write it."""
        if self.min_writer <= FORMAT:
            return None
        return _newer(root, self.min_writer, self.made_by, "to be written")


def read_format(files: Files, root: str) -> Format:
    """What kind of workspace ``root`` is.

    Raises:
        NotAWorkspace: None.
        NewerFormat: One that this version must not use.
        Damaged: Its ``format.json`` is not what any version writes.
        StoreUnavailable: It cannot be read.
    """
    path = f"{Places(root).state}/format.json"
    try:
        with contextlib.suppress(FileNotFoundError):
            files.refresh(root)
        raw = files.read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotAWorkspace(f"{root} is not a workspace: it has no {STATE_DIR}/format.json", path=root) from None
    except OSError as error:
        raise unavailable(error, root, "opening the workspace") from error
    try:
        told = json.loads(raw)
        if told["min_reader"] > FORMAT:
            raise _newer(root, told["min_reader"], told.get("made_by", "an unknown version"), "to be read")
        found = Format(**{name: told[name] for name in Format.__dataclass_fields__})
        _refuse_wrong_types(found)
        if primitive_named(found.primitive, files, "") is None:
            raise ValueError(f"unknown primitive {found.primitive!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(
            f"{path} is damaged: {error!r}",
            resource="",
            path=path,
            hint="restore that one file: docs/formats.md shows every field; the resources beside it are untouched",
        ) from None
    return found


def _refuse_wrong_types(found: Format) -> None:
    for name in ("format", "min_reader", "min_writer", "made_ms"):
        if type(getattr(found, name)) is not int:
            raise TypeError(f"{name} is no whole number")
    for name in ("workspace_id", "primitive", "made_by"):
        if not isinstance(getattr(found, name), str) or not getattr(found, name):
            raise TypeError(f"{name} is no text")
    authority: Any = found.authority
    if not isinstance(authority, dict) or type(authority["epoch"]) is not int or not isinstance(authority["mode"], str):
        raise TypeError("authority is not a mode and an epoch")


def _newer(root: str, needs: int, made_by: object, what: str) -> NewerFormat:
    return NewerFormat(
        f"the workspace {root} needs format {needs} {what}; this library knows {FORMAT} (it was made by {made_by})",
        path=root,
        needs=needs,
        have=FORMAT,
    )


def make_workspace(
    files: Files, root: str, primitive: str | None = None, *, mode: str = MOUNT, single_host: bool = False
) -> Format:
    """Probes the file system and makes ``root`` a workspace; one that is one already is left as it is.

    Args:
        files: The seam.
        root: An existing directory.
        primitive: ``symlink`` or ``directory``; None: the first of the two that works.
        mode: Which store rules: where it is the table, neither a primitive nor flock has to work here.
        single_host: No other host will ever use it, so locks that keep only this host's processes out will do.

    Raises:
        Unsuitable: The file system lacks something; says what, and nothing is left behind.
        NoRoom, StoreUnavailable: It cannot be written.
    """
    with contextlib.suppress(NotAWorkspace):
        found = read_format(files, root)
        _sync_root(files, root)  # whoever made it may have been killed before
        return found
    if mode == MOUNT and not single_host:
        refuse_local_locks(files, root)
    prepared = f"{root}/{STATE_DIR}.init-{new_id()}"
    try:
        files.mkdir(prepared)
    except OSError as error:
        raise unavailable(error, root, "making the workspace") from error
    try:
        chosen = _probe(files, prepared, primitive, mode)
        made = Format(
            format=FORMAT,
            min_reader=FORMAT,
            min_writer=FORMAT,
            workspace_id=new_id(),
            primitive=chosen,
            authority={"mode": mode, "epoch": 1},
            made_by=f"agent-coordinator {__version__}",
            made_ms=files.touch(f"{prepared}/clock-probe") // 1_000_000,
        )
        files.unlink(f"{prepared}/clock-probe")
        for folder in ("resources", "clock", "scratch"):
            files.mkdir(f"{prepared}/{folder}")
        write_new(files, f"{prepared}/format.json", json.dumps(asdict(made), indent=2).encode() + b"\n")
        files.sync_dir(prepared)
        files.rename(prepared, Places(root).state)
        files.sync_dir(root)
    except OSError as error:
        remove_tree(files, prepared)
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return _won_by_another(files, root)
        raise unavailable(error, root, "making the workspace") from error
    except Unsuitable:
        remove_tree(files, prepared)
        raise
    return made


def refuse_local_locks(files: Files, root: str) -> None:
    """The mount may rule only where its locks keep every host out (P28); a probe on one host cannot tell.

    Raises:
        Unsuitable: They do not, or that is not known.
    """
    mount = files.mount_of(root)
    trouble = mount.local_locks() if mount else ""
    if mount and trouble:
        raise Unsuitable(
            f"the file system of {root} (mounted at {mount.point}) cannot be what several hosts agree by: {trouble}",
            path=root,
            missing=[trouble],
            hint="if no other host ever works there, say so (--single-host); else let a table rule "
            "(init --table NAME); or mount it with locks for all hosts (NFSv4 without nolock and local_lock)",
        )


def renew_id(files: Files, root: str, fresh: str) -> Format:
    """Gives a workspace another id: a copy of a directory must not go by the name of the first (authority.py).

    Written aside and renamed into place: at any time there is the one file or the other. What a newer version has
    written into it stays.

    Args:
        files: The seam.
        root: The workspace.
        fresh: The other id.

    Returns:
        What stands: of several at once, one wins.

    Raises:
        NotAWorkspace, NewerFormat, Damaged: As ``read_format``.
        NoRoom, StoreUnavailable: It cannot be written; the one before stands.
    """
    newer = read_format(files, root).newer_for_writers(root)
    if newer:
        raise newer
    places = Places(root)
    path, aside = f"{places.state}/format.json", f"{places.state}/format.json.{fresh}"
    try:
        told = json.loads(files.read(path)) | {"workspace_id": fresh}
        write_new(files, aside, json.dumps(told, indent=2).encode() + b"\n")
        files.rename(aside, path)
        files.sync_dir(places.state)
    except OSError as error:
        remove_quietly(files, aside)
        raise unavailable(error, root, "giving another id to") from error
    return read_format(files, root)


def _sync_root(files: Files, root: str) -> None:
    try:
        files.sync_dir(root)
    except OSError as error:
        raise unavailable(error, root, "making durable the workspace") from error


def _won_by_another(files: Files, root: str) -> Format:
    try:
        found = read_format(files, root)
        _sync_root(files, root)
    except NotAWorkspace:
        path = Places(root).state
        raise Damaged(
            f"{path} is there, but has no format.json",
            resource="",
            path=path,
            hint="restore format.json from a backup (docs/formats.md), or move the folder away and run init again",
        ) from None
    return found


def _probe(files: Files, folder: str, wanted: str | None, mode: str) -> str:
    """Tries each thing that the protocol rests on; returns the primitive."""
    missing: list[str] = []
    notes: list[str] = []
    candidates: list[Primitive] = [SymlinkPrimitive(files), DirectoryPrimitive(files, folder)]
    chosen = ""
    for candidate in candidates:
        if wanted in {None, candidate.name} and not chosen:
            trouble = _try(lambda candidate=candidate: _try_primitive(folder, candidate))  # type: ignore[misc]
            if trouble:
                notes.append(f"exclusive creation by {candidate.name}: {trouble}")
            else:
                chosen = candidate.name
    if not chosen:
        missing += notes
    if mode == TABLE:
        chosen, missing = chosen or SymlinkPrimitive.name, []
    trials = {"flock": lambda: _try_lock(files, f"{folder}/lock-probe")} if mode == MOUNT else {}
    for what, trial in (
        *trials.items(),
        ("fsync of a file and of a directory", lambda: _try_sync(files, folder)),
        ("setting a file's time to the server's now", lambda: _try_touch(files, f"{folder}/touch-probe")),
    ):
        trouble = _try(trial)
        if trouble:
            missing.append(f"{what}: {trouble}")
    if missing:
        raise Unsuitable(
            f"the file system of {folder.rpartition('/')[0]} cannot carry a workspace: {'; '.join(missing)}",
            path=folder.rpartition("/")[0],
            missing=missing,
            hint="use a local disk, EFS, S3 Files or another NFSv4 mount with locking (no nolock, no local_lock)",
        )
    return chosen


def _try(trial: Callable[[], str]) -> str:
    """What is wrong; empty when nothing is. Being full or read-only is no fault of the file system's kind."""
    try:
        return trial()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise
        return f"{errno.errorcode.get(error.errno or 0, '?')}: {error.strerror}"


def _try_primitive(folder: str, primitive: Primitive) -> str:
    path = f"{folder}/{1:012d}"
    text = ("v=1/n=1/" + "probe=" + "x" * 200 + "/" + ("y" * 200 + "/") * 5)[: RECORD_MAX_BYTES - 1] + "z"
    primitive.put(path, text)
    try:
        if primitive.get(path) != text:
            return "what was put is not what is read"
        try:
            primitive.put(path, "v=1/n=1/second")
        except FileExistsError:
            return "" if primitive.get(path) == text else "a second put changed the first"
        return "a name can be taken twice"
    finally:
        primitive.remove(path)


def _try_lock(files: Files, path: str) -> str:
    first = files.try_lock(path)
    if first is None:
        return "a fresh lock file is locked"
    try:
        second = files.try_lock(path)
        if second is not None:
            second.unlock()
            return "two descriptors hold one exclusive lock"
    finally:
        first.unlock()
        remove_quietly(files, path)
    return ""


def _try_sync(files: Files, folder: str) -> str:
    path = f"{folder}/sync-probe"
    write_new(files, path, b"probe")
    files.sync_dir(folder)
    files.rename(path, path + "-2")
    files.unlink(path + "-2")
    return ""


def _try_touch(files: Files, path: str) -> str:
    first = files.touch(path)
    second = files.touch(path)
    files.unlink(path)
    return "" if 0 < first <= second else f"it went from {first} to {second}"
