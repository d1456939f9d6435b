"""What somebody wrote into the plain file by hand, folded like an agent's updates, or kept and reported (P17).

    edited file -> which text was loaded (loaded.py) -> differences to it (difference.py) -> operations of the next fold

The operations belong to no log. They are named after the edit's bytes and time, so that whoever sees the same edit,
and sees it again after a crash, finds the same ids. The first of them says that the edit was decided::

    edit-<20 hex>-0       nothing but that
    edit-<20 hex>-<i>     one change each, applied or rejected by itself

The plain file is not replaced before that stands in a fold line. If any change was rejected, the whole text is copied
to conflicts/ first, with a report beside it that says which, and why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from coordinator.document.conflicts import Became
from coordinator.document.difference import difference
from coordinator.document.displaced import SETTLE_MS
from coordinator.document.fold import APPLIED, Operation
from coordinator.document.json_text import parse
from coordinator.document.loaded import Saved, loaded
from coordinator.document.operations import as_patch, validate
from coordinator.document.revision import LineGoneError, Lines, dump_json, load_json
from coordinator.document.snapshot import read_snapshot
from coordinator.document.tree import copy_of
from coordinator.errors import BadValue, CoordinatorError, MalformedDocument
from coordinator.events import Event
from coordinator.folders import list_surely, make_dirs, remove_quietly
from coordinator.limits import DOCUMENT_MAX_BYTES, MILLIS_DIGITS, SHOWN_KEEP

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from coordinator.document.conflicts import Edit
    from coordinator.document.folding import Folding
    from coordinator.document.state import State
    from coordinator.document.view import View
    from coordinator.files import Stat
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record

    Op = dict[str, Any]

AGENT: Final = "edit"  # by whom is not known
# In no incarnation's alphabet, and before it: an edit is decided before what the logs hold, of the same fold, so that
# the indices it was given by the document as it is are right.
INCARNATION: Final = "-edit"
_ID_DIGITS: Final = 20
_SAVE: Final = "edit-"
_UNKNOWN_BASE: Final = 0  # revisions that no document is at when an edit is decided
_DOUBT: Final = 1
_UNKNOWN: Final = "which text was edited cannot be told: it is older than those that are known, or may be"
_DOUBTFUL: Final = "it may not have been edited, but have stood there when the file was loaded: others changed it since"
_LONG_NUMBER: Final = re.compile(rb"[0-9]{16}")  # what a fast reader may not carry exactly is read by ours


class _Found(NamedTuple):
    """An edit that is to be folded now."""

    edit: Edit
    key: str
    value: Any


class _Saves:
    """The latest edits, decided or not: what is made of one of them, before the file is replaced, is made from that.

    Below a resource's state folder: ``shown/edit-<written_ms>-<20 hex of its ids>``. Raises OSError as the files do.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._folder = member.places.of(resource, "shown")

    def note(self, found: _Found, base: Any) -> None:
        """Keeps an edit that is about to be decided, and what it was made from."""
        files, written_ms = self._member.files, found.edit.facts.mtime_ns // 1_000_000
        text, is_exact = dump_json([base, found.value])
        make_dirs(files, self._member.places.resources, self._folder)
        scratch = self._member.write_scratch((b"+" if is_exact else b" ") + text)
        files.rename(scratch, f"{self._folder}/{_SAVE}{written_ms:0{MILLIS_DIGITS}}-{found.key[-_ID_DIGITS:]}")
        for name in self._names()[:-SHOWN_KEEP]:
            remove_quietly(files, f"{self._folder}/{name}")

    def decided(self, ids: Container[str]) -> list[Saved]:
        """Those that were decided."""
        found = []
        for name in self._names():
            if _id_of(f"edit-{name[-_ID_DIGITS:]}", 0) in ids:
                with contextlib.suppress(FileNotFoundError, ValueError):
                    text = self._member.files.read(f"{self._folder}/{name}")
                    found.append(Saved(*load_json(text[1:], exact=text[:1] == b"+")))
        return found

    def _names(self) -> list[str]:
        names = list_surely(self._member.files, self._member.places.resources, self._folder)
        return sorted(name for name in names if name.startswith(_SAVE))


class Edits:
    """The edits by hand of one plain file.

    Args:
        member: Who looks.
        resource: Whose plain file.
        view: The plain file.
        folding: What is known of the document's folds; asked for only when somebody has edited the file.
    """

    def __init__(self, member: Member, resource: Resource, view: View, folding: Callable[[], Folding]) -> None:
        self._member = member
        self._resource = resource
        self._view = view
        self._folding = folding
        self._saves = _Saves(member, resource)
        self._passed: Stat | None = None  # the file as it was when it was found not to be edited
        self._planned: tuple[str, int, list[Op]] = ("", 0, [])  # the last edit offered here, what it was made from
        self._told = ""

    # ── before a fold ────────────────────────────────────────────────────────────────────────────────────────────────

    def operations(self, state: State, record: Record) -> Sequence[Operation]:
        """What is to be folded of an edit. To be called under the turn; one stat when nobody has touched the file.

        Args:
            state: The document as it is; what comes of this is to be decided on it before anything else.
            record: The newest record.

        Returns:
            Operations; none when there is no edit, it is being written yet, was decided already, or cannot be had.
        """
        if record.head is None or record.lease is not None or state.malformed:
            return ()
        try:
            found = self._look(state, record)
            changes = self._changes(state, found, record) if found else []
        except (CoordinatorError, OSError):
            return ()  # the file stays as it is: the next fold, or the next read, tries again
        return [Operation(0, INCARNATION, i, AGENT, _id_of(found.key, i), op) for i, op in enumerate(changes) if found]

    def _look(self, state: State, record: Record) -> _Found | None:
        """The key and the value of an edit that is to be folded now."""
        facts = self._view.facts()
        if facts is None or facts == self._passed or not self._has_settled(facts, state.at_ms):
            return None
        edit = self._view.edit(record)
        if edit is None:
            self._passed = facts
            return None
        key, edited = _key_of(edit), self._value_of(edit)
        return None if edited is None or _id_of(key, 0) in state.ids else _Found(edit, key, edited[0])

    def _has_settled(self, facts: Stat, known_ms: int) -> bool:
        """Whether nobody has written to the file for a while, or it bears a time of some other clock."""
        written_ms = facts.mtime_ns // 1_000_000
        return written_ms + SETTLE_MS <= known_ms or abs(self._member.store.now_ms() - written_ms) >= SETTLE_MS

    def _value_of(self, edit: Edit) -> tuple[Any] | None:
        """What was written, as a value; None when it is none that could be folded."""
        try:
            return (parse(edit.data, str(self._resource)),) if len(edit.data) <= DOCUMENT_MAX_BYTES else None
        except MalformedDocument:
            return None

    def _changes(self, state: State, edit: _Found, record: Record) -> list[Op]:
        """The mark that the edit was decided, and its changes. What cannot be applied is in it, to be rejected."""
        found = loaded(self._texts(record), edit.value, self._saves.decided(state.ids))
        if found is None:
            changes = [_refused([], _UNKNOWN_BASE)]
        else:
            changes = difference(found.base, edit.value, state.value)
            if found.is_doubtful:
                places = {_place(op) for op in changes}
                doubtful = [op for op in difference(found.newest, edit.value, state.value) if _place(op) not in places]
                changes += [_refused(op["patch"], _DOUBT) for op in doubtful]
            self._saves.note(edit, found.base)
        try:
            for op in changes:
                validate(op, str(self._resource))
        except (BadValue, MalformedDocument):
            changes = [_refused([], _UNKNOWN_BASE)]
        changes = [_mark(), *(copy_of(op) for op in changes)]
        self._planned = (edit.key, found.revision if found else 0, changes)
        return changes

    def _texts(self, record: Record) -> Iterator[tuple[int, Any]]:
        """What the file may have shown, newest first and nothing left out: renderings, and what was committed whole."""
        rendered = self._view.renderings.contents()
        texts: dict[int, bytes] = dict(rendered)
        whole = {}
        for each in [*self._member.store.history(self._resource), record]:
            if each.head is not None and not each.is_folded:
                whole[each.head.revision] = each.head
        # With so many kept, older ones are not: what is older than they are has a gap after it.
        oldest = rendered[0][0] if len(rendered) >= SHOWN_KEEP else 0
        for revision in sorted({*texts, *whole}, reverse=True):
            data = texts.get(revision)
            if data is None:
                data = read_snapshot(self._member, self._resource, whole[revision])
            if data is None or revision < oldest:
                return
            try:
                value = _read(data, str(self._resource))
            except (MalformedDocument, orjson.JSONDecodeError):
                return
            yield revision, value

    # ── after it ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def became(self, record: Record, edit: Edit) -> Became:
        """What became of an edit, before the file is replaced.

        Args:
            record: The newest record.
            edit: What the file says.
        """
        if record.head is None or record.lease is not None or self._value_of(edit) is None:
            return Became()
        folding = self._folding()
        if folding.value(record)[1]:
            return Became()  # the document itself is no JSON
        key = _key_of(edit)
        revision = folding.revision_of(_id_of(key, 0), record)
        if not revision:
            return Became(is_waiting=True)
        outcomes = self._outcomes(key, revision, record)
        rejected = [outcome for outcome in outcomes if outcome[4] != APPLIED]
        if outcomes and not rejected:
            if self._told != key:
                self._tell(key, revision, len(outcomes) - 1)
            return Became(is_absorbed=True)
        return Became(report=self._report(key, edit, revision, outcomes, record))

    def _outcomes(self, key: str, revision: int, record: Record) -> list[list[Any]]:
        """The line's entries for an edit, the mark first; none when the line is no longer kept."""
        lines = Lines(self._member, self._resource)
        try:
            place = record.fold
            line = lines.read(place) if place is not None else None
            for each in lines.walk(line.at) if line else ():
                if each.at.revision <= revision:
                    found = each.body["ops"] if each.at.revision == revision else []
                    return [outcome for outcome in found if outcome[0].startswith(f"{key}-")]
        except LineGoneError:
            pass
        return []

    def _since(self, made_from: int, revision: int, record: Record) -> list[tuple[str, dict[str, Any]]]:
        """Who changed what since a revision and before another, newest first: agent, and one step of a patch."""
        try:
            changes = self._folding().changes(made_from, record)
        except CoordinatorError:
            return []
        steps = [
            (operation["agent"], step)
            for change in changes
            if change.revision < revision
            for operation in change.operations
            for step in operation["patch"]
        ]
        return steps[::-1]

    def _report(self, key: str, edit: Edit, revision: int, outcomes: list[list[Any]], record: Record) -> bytes:
        """What stands beside the text that is kept."""
        known, made_from, planned = self._planned
        if known != key:  # somebody else folded it
            made_from, planned = 0, []
        since = self._since(made_from, revision, record) if made_from else []
        changes = []
        for op_id, _, _, seq, outcome, info, edits in outcomes[1:]:
            change = {"op_id": op_id, "outcome": outcome}
            if outcome == APPLIED:
                change["patch"] = as_patch(edits or [])
            else:
                change |= info
                change["by"] = _who(info.get("path", ""), since)
                if info["why"] == "revision":
                    change["text"] = _DOUBTFUL if info["expected"] == _DOUBT else _UNKNOWN
                if seq < len(planned):
                    change["patch"] = planned[seq]["patch"]
            changes.append(change)
        about: dict[str, Any] = {
            "resource": str(self._resource),
            "sha256": edit.sha256,
            "written_ms": edit.facts.mtime_ns // 1_000_000,
            "decided_in": revision,
            "made_from": made_from or None,
            "changes": changes,
        }
        return json.dumps(about, indent=2, ensure_ascii=False).encode() + b"\n"

    def _tell(self, key: str, revision: int, changes: int) -> None:
        self._told = key
        detail: dict[str, Any] = {"revision": revision, "changes": changes}
        if self._planned[0] == key:
            detail["made_from"] = self._planned[1]
        event = Event("edit_absorbed", str(self._resource), self._member.agent, detail=detail)
        self._member.events.tell(event)


def _key_of(edit: Edit) -> str:
    """One save of one text: the same text saved again, after others have changed it back, is another edit."""
    digest = hashlib.sha256(f"{edit.sha256} {edit.facts.mtime_ns}".encode()).hexdigest()
    return f"edit-{digest[:_ID_DIGITS]}"


def _id_of(key: str, number: int) -> str:
    return f"{key}-{number}"


def _mark() -> Op:
    return {"do": "patch", "patch": []}


def _refused(patch: list[Op], revision: int) -> Op:
    """A change that is told and not made: it holds for a revision that is not the newest."""
    return {"do": "patch", "patch": patch, "if": revision}


def _place(op: Op) -> tuple[str, str]:
    """What an operation changes, whatever it tests."""
    return op["patch"][-1]["op"], op["patch"][-1]["path"]


def _who(path: str, steps: list[tuple[str, dict[str, Any]]]) -> str:
    """Who changed a place last; empty when that cannot be told."""
    for agent, step in steps:
        changed = step["path"]
        holder, _, last = changed.rpartition("/")
        if f"{path}/".startswith(f"{changed}/") and step["op"] in {"replace", "add"}:
            return agent
        if f"{changed}/".startswith(f"{path}/"):
            return agent
        is_shifting = step["op"] != "replace" and (last.isdecimal() or last == "-")
        if is_shifting and path.startswith(f"{holder}/"):
            return ""  # before it, the place had another index, perhaps
    return ""


def _read(data: bytes, name: str) -> Any:
    if _LONG_NUMBER.search(data) is None:
        return orjson.loads(data)
    return parse(data, name)


__all__ = ["AGENT", "INCARNATION", "Edits"]
