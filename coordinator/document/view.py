"""The plain file: a view of the committed content, for ``cat``, editors and tools that know nothing of us (P16).

It is replaced whole (scratch + fsync + rename), so it is readable at all times and never torn. It is never believed: a
frozen writer's late rename can set it back, so each commit and each read through the library compares it with the head
and repairs it. A sidecar tells which revision was last shown (sidecar.py).

What somebody wrote into the plain file by hand is neither head nor any earlier revision (P17). If it is JSON, and
nobody holds the lease, folds and reads leave it there until a fold has looked at it (edits.py). What cannot be folded
is copied, whole, before the view is repaired, and reported (conflicts.py).

A revision that was folded is rendered for the plain file at a bounded rate only (P26), and what was rendered is kept
for a while (shown.py).
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from coordinator.clock import elapsed_max_ms
from coordinator.document.conflicts import Became, Conflicts, Edit
from coordinator.document.displaced import SETTLE_MS, put_in_place
from coordinator.document.history import whole_history
from coordinator.document.shown import Renderings
from coordinator.document.sidecar import Sidecar
from coordinator.document.snapshot import sha256_of
from coordinator.errors import BadName
from coordinator.events import Event
from coordinator.folders import make_dirs, refresh_down, remove_quietly
from coordinator.limits import HEADS_KNOWN_MAX, PUBLISH_TRIES
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Stat
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


class Shows(enum.Enum):
    """What the plain file shows."""

    HEAD = "head"
    EARLIER = "earlier"
    EDITED = "edited"
    NOTHING = "nothing"


class Refreshed(NamedTuple):
    """What a refresh did.

    ``conflicts``: where edits by hand are kept. ``behind``: there is a newer revision already, and the file was not
    made to show that (only with ``once``). ``waiting``: it was edited by hand, and a fold looks first (with ``offer``).
    """

    changed: bool
    conflicts: tuple[str, ...]
    behind: bool = False
    waiting: bool = False


class _WaitsError(Exception):
    """The file was edited, and no fold has looked at that yet."""


class View:
    """One resource's plain file.

    Args:
        member: Through whom it is read and written.
        resource: Whose file: ``<workspace>/<resource>``.
        content_of: The newest content: the record, and its bytes.
        became: What became of an edit by hand.
    """

    def __init__(
        self,
        member: Member,
        resource: Resource,
        content_of: Callable[[], tuple[Record | None, bytes]],
        became: Callable[[Record, Edit], Became] = lambda _record, _edit: Became(),
    ) -> None:
        self._member = member
        self._resource = resource
        self.path = f"{member.places.root}/{resource}"
        self._shown: tuple[Stat, str] | None = None  # the file as last looked at, and its sha256
        self._sidecar = Sidecar(member, resource)
        self._content_of = content_of
        self._became = became
        self._looked: Stat | None = None  # the file as it was when it was decided to replace it
        self._foreign = ""  # the sha256 of an edit: saves reading the history to know that it is none of ours
        self._guard = threading.RLock()
        member.also_after_fork(self)
        self.renderings = Renderings(member, resource)
        self._conflicts = Conflicts(member, resource)
        self._heads: dict[str, None] = {}  # sha256 of heads seen lately: saves reading the history to know an old one

    def after_fork(self) -> None:
        """In a forked child: a refresh under way in another thread at the fork is the parent's."""
        self._guard = threading.RLock()

    def read(self) -> bytes | None:
        """What the plain file says now; None when there is none.

        Raises:
            BadName: There is a directory, or something else that is no file, under that name.
            StoreUnavailable: It cannot be read.
        """
        try:
            self._open_folder()
            kind = self._member.files.stat(self.path).kind
            if kind == "symlink" and not self._leads_inside():
                kind = "symbolic link that leads out of it"
            elif kind in {"file", "symlink"}:
                return self._member.files.read(self.path)
            raise BadName(
                f"{str(self._resource)!r} is a {kind} in this workspace, not a file", name=str(self._resource)
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unavailable(error, self._resource, "reading the plain file of") from error

    def shows(self, record: Record, *, sure: bool = False) -> Shows:
        """Compares the plain file with the head. Costs one stat when it has not changed since it was last compared.

        Args:
            record: What it is to show; it has a head.
            sure: Read it in any case: on NFS a stat may tell of an edit on another host only after some seconds, while
                opening asks the server.
        """
        facts = self._looked = self.facts()
        if facts is None:
            return Shows.NOTHING
        head = record.head
        assert head is not None  # noqa: S101 - see above
        is_link = facts.kind == "symlink"  # put there by hand; its facts tell nothing of what it leads to
        if is_link and not self._leads_inside():
            self._know(head.sha256)
            return Shows.EDITED
        if sure or is_link or self._shown is None or self._shown[0] != facts:
            data = self.read()
            if data is None:
                return Shows.NOTHING
            self._shown = (facts, sha256_of(data))
        sha256 = self._shown[1]
        self._know(head.sha256)
        revision = self._revision_of(sha256, record)
        if revision == record.revision and not is_link:
            return Shows.HEAD
        return Shows.EARLIER if revision or self._is_earlier(sha256) else Shows.EDITED

    def edit(self, record: Record) -> Edit | None:
        """What was written into the file by hand; None when it is what we wrote, or is being written just now.

        Raises:
            BadName, StoreUnavailable: As ``read``.
        """
        facts = self.facts()
        if facts is None or facts.kind != "file":
            return None
        data = self.read()
        if data is None or self.facts() != facts:
            return None
        sha256 = sha256_of(data)
        self._shown = (facts, sha256)
        if self._revision_of(sha256, record) or self._is_earlier(sha256):
            return None
        return Edit(facts, data, sha256)

    def _revision_of(self, sha256: str, record: Record) -> int:
        """The revision that the file's bytes are, as far as that is known without reading the history; 0 if not."""
        if record.head and not record.is_folded and sha256 == record.head.sha256:
            return record.revision
        if record.fold is None and self._is_earlier(sha256):
            return 0
        try:
            return self.renderings.revision_of(sha256)
        except OSError as error:
            raise unavailable(error, self._resource, "looking at what was shown of") from error

    def refresh(
        self,
        record: Record,
        data: bytes | None = None,
        *,
        fresh: bool = True,
        leave_edits: bool = False,
        once: bool = False,
        offer: bool = False,
    ) -> Refreshed:
        """Makes the plain file show the newest content (P16).

        Args:
            record: The newest record, as far as the caller knows.
            data: Its content, when the caller has it.
            fresh: The record was read or appended just now; else it is read anew before anything is replaced by it.
            leave_edits: Leave the file alone if it was edited: its lease's holder may be at work in it.
            once: Replace it once only, and tell if the head has moved meanwhile: folds move it all the time (P26).
            offer: Leave an edit that can be folded until it was (P17); else it is kept, and the file replaced.

        Raises:
            StoreUnavailable, NoRoom: It could not be written. The content is committed all the same.
        """
        with self._guard:
            return self._refresh(record, data, fresh=fresh, leave_edits=leave_edits, once=once, offer=offer)

    def _refresh(
        self, record: Record, data: bytes | None, *, fresh: bool, leave_edits: bool, once: bool, offer: bool
    ) -> Refreshed:
        conflicts: list[str] = []
        changed = behind = False
        try:
            for _ in range(PUBLISH_TRIES):
                shows = self._shows_surely(record)
                if shows is Shows.HEAD and self._shown is not None and record.head is not None:
                    self._sidecar.check(record, self._shown[1], self._shown[0].size_bytes)
                if (shows is Shows.HEAD and not changed) or (shows is Shows.EDITED and leave_edits):
                    break
                if not fresh:
                    record, data, fresh = self._member.store.read(self._resource) or record, None, True
                    continue
                if shows is not Shows.HEAD:
                    replaced = self._put_right(record, data, shows, conflicts, offer=offer)
                    if replaced is None:
                        continue
                    record, data, changed = replaced, None, True
                # Listed again: while this one was being written, or its writer frozen, the head may have moved.
                newest = self._member.store.read(self._resource)
                behind = newest is not None and newest.head != record.head
                if newest is None or not behind or once:
                    break
                record, data = newest, None
        except _WaitsError:
            return Refreshed(changed, tuple(conflicts), behind, waiting=True)
        except OSError as error:
            raise unavailable(error, self._resource, "refreshing the plain file of") from error
        return Refreshed(changed, tuple(conflicts), behind)

    def _put_right(
        self, record: Record, data: bytes | None, shows: Shows, conflicts: list[str], *, offer: bool
    ) -> Record | None:
        """Replaces the file, once what was edited in it is folded or kept. None: look again, it has changed."""
        if shows is Shows.EDITED:
            became = self._ask(record) if offer else Became()
            if became is None:
                return None
            if became.is_waiting:
                raise _WaitsError
            if not became.is_absorbed:
                conflicts += self._keep_edit(became.report)
        return self._replace(record, data, conflicts)

    def _ask(self, record: Record) -> Became | None:
        """What became of the edit that the file shows; None when it shows another by now."""
        edit = self.edit(record)
        if edit is None:
            return Became() if self._looked and self._looked.kind == "symlink" else None
        self._looked = edit.facts
        return self._became(record, edit)

    def _shows_surely(self, record: Record) -> Shows:
        """What it shows; the file itself is read before it is called an earlier revision, which may be replaced."""
        if record.head is None:
            return Shows.HEAD  # nothing was committed: the plain file is the user's own
        shows = self.shows(record)
        return self.shows(record, sure=True) if shows is Shows.EARLIER else shows

    def behind_ms(self, record: Record) -> int | None:
        """For how long the file has been behind a record; 0: it is not; None: somebody else changed it.

        One stat, by which an edit on another NFS host may be known some seconds late.
        """
        facts = self.facts()
        if facts is None or self._shown is None or self._shown[0] != facts:
            return None
        if self._revision_of(self._shown[1], record) == record.revision:
            return 0
        return max(record.at_ms - facts.mtime_ns // 1_000_000, 1)

    def edit_since(self, record: Record, since_ms: int) -> bytes | None:
        """What was written into the plain file since a time of the store's clock; None for nothing.

        An earlier revision counts as written only if the file is younger than that: put back as it was by a writer that
        was frozen before its rename, it is older, for it was written before. A later one is a successor's.
        """
        shows = self.shows(record, sure=True)
        if shows is Shows.EARLIER:
            if self._is_later(record):
                return None
            written_ms = self._shown[0].mtime_ns // 1_000_000 if self._shown else 0
            return self.read() if written_ms >= since_ms else None
        return self.read() if shows is Shows.EDITED else None

    def conflicts(self) -> list[str]:
        """Paths of the edits by hand that were kept, oldest first. They stay until somebody removes them."""
        try:
            return self._conflicts.paths()
        except OSError as error:
            raise unavailable(error, self._resource, "listing the conflicts of") from error

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _know(self, sha256: str) -> None:
        self._heads[sha256] = None
        while len(self._heads) > HEADS_KNOWN_MAX:
            del self._heads[next(iter(self._heads))]

    def _is_earlier(self, sha256: str) -> bool:
        if sha256 != self._foreign and not self._was_head(sha256):
            self._foreign = sha256
        return sha256 != self._foreign

    def _was_head(self, sha256: str) -> bool:
        if sha256 in self._heads:
            return True
        history = whole_history(self._member, self._resource)
        return any(record.head is not None and record.head.sha256 == sha256 for record in history)

    def _leads_inside(self) -> bool:
        """Whether a symbolic link in the plain file's place leads to something of the user's in this workspace."""
        real, places = self._member.files.realpath(self.path), self._member.places
        return real.startswith(f"{places.root}/") and not f"{real}/".startswith(f"{places.state}/")

    def _is_later(self, record: Record) -> bool:
        """Whether the file shows a revision that was committed after this one."""
        history = whole_history(self._member, self._resource)
        later = {one.head.sha256 for one in history if one.head and one.head.revision > record.revision}
        shown = self._shown[1] if self._shown else ""
        return shown in later or self.renderings.revision_of(shown) > record.revision

    def _open_folder(self) -> None:
        # A replaced file is read stale by name for up to 30 s on NFS until its directory is opened (P6).
        files, folder = self._member.files, os.path.dirname(self.path)
        try:
            files.refresh(folder)
        except FileNotFoundError:
            refresh_down(files, self._member.places.root, folder)

    def facts(self) -> Stat | None:
        """The file's facts; None when there is none. Raises StoreUnavailable."""
        try:
            self._open_folder()
            return self._member.files.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unavailable(error, self._resource, "looking at the plain file of") from error

    def _replace(self, record: Record, data: bytes | None, conflicts: list[str]) -> Record | None:
        """Renders a record's content, the newest if it is not given.

        Returns:
            The record that was rendered; None if somebody has written to the file since it was looked at.
        """
        if data is None:
            newest, data = self._content_of()
            record = newest or record
        files = self._member.files
        head = record.head
        assert head is not None  # noqa: S101 - refresh looked
        facts = self.facts()
        if facts is None:
            make_dirs(files, self._member.places.root, os.path.dirname(self.path))
        if record.is_folded:
            self.renderings.note(record.revision, data)
        sha256 = sha256_of(data) if record.is_folded else head.sha256
        scratch = self._member.write_scratch(data, facts.mode if facts and facts.kind == "file" else None)
        if self._has_changed():
            remove_quietly(files, scratch)
            return None
        conflicts += put_in_place(self._member, scratch, self.path, self._looked, self._keep_displaced)
        shown = self.facts()
        self._shown = (shown, sha256) if shown and shown.size_bytes == len(data) else None
        self._sidecar.tell(record, sha256, len(data))
        if facts is not None and not record.is_folded:
            self._tell("view_repaired", record)
        return record

    def _has_changed(self) -> bool:
        """Whether the file is another than was looked at: asked as late as can be (what comes later: displaced.py)."""
        if self._looked is not None and self._looked.kind == "file":
            with contextlib.suppress(OSError):  # opening it asks the server: by a stat alone NFS may tell of it later
                self._member.files.read_at(self.path, 0, 1)
        return self.facts() != self._looked

    def _keep_displaced(self, data: bytes) -> list[str]:
        """Keeps what was in the file's place, unless it is ours: somebody else's newer rendering, replaced too late."""
        record, sha256 = self._member.store.read(self._resource), sha256_of(data)
        if record is not None and (self._revision_of(sha256, record) or self._is_earlier(sha256)):
            return []
        return self._conflicts.keep(data)

    def _keep_edit(self, report: bytes = b"") -> list[str]:
        """Copies what somebody wrote into the plain file."""
        if not report:  # else it had settled before it was folded
            self.let_settle()
            self._looked = self.facts()
        if self._member.files.stat(self.path).kind == "symlink" and not self._leads_inside():
            data: bytes | None = f"symbolic link to {self._member.files.readlink(self.path)}\n".encode()
        else:
            data = self.read()
        if data is None:
            return []
        return self._conflicts.keep(data, report)

    def let_settle(self, at_most_ms: int = SETTLE_MS) -> None:
        """Waits until the file has not been written to for SETTLE_MS."""
        began = self._member.clock.now()
        while elapsed_max_ms(began, self._member.clock.now()) < at_most_ms:
            facts = self.facts()
            if facts is None or self._member.store.now_ms() - facts.mtime_ns // 1_000_000 >= SETTLE_MS:
                return
            self._member.clock.pause(SETTLE_MS / 10)

    def _tell(self, kind: str, record: Record) -> None:
        detail = {"revision": record.revision}
        self._member.events.tell(Event(kind, str(self._resource), self._member.agent, detail=detail))
