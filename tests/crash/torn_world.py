"""A document whose every update can be told apart, what was acknowledged of it, and what must hold after a crash.

An update appends its key to two lists at once: so a key that stands in one of them only was half applied, one that
stands there twice was applied twice, and one that was acknowledged and is missing was lost.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator import CoordinatorError, Workspace
from coordinator.document.revision import LineAt, Lines
from coordinator.folders import write_new
from coordinator.limits import ORPHAN_KEEP_MS
from coordinator.log.reader import HOLE_SETTLE_MS
from coordinator.names import Resource, new_id
from coordinator.testing import CrashFiles, ManualClock
from coordinator.testing.crash_points import CrashPoints, is_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from durable_table import DurableTable

    from coordinator import Document
    from coordinator.events import Event
    from coordinator.files import Files
    from coordinator.testing import CrashState
    from coordinator.testing.crash_choices import Tears
    from coordinator.testing.tree import File

ROOT: Final = "/shared"
NAME: Final = "plan.json"
PLAIN: Final = f"{ROOT}/{NAME}"
STATE: Final = f"{ROOT}/.coordinator"
AT: Final = f"{STATE}/resources/{NAME}/@"
BEGUN: Final = b'{"list": [], "again": [], "whole": 0}\n'
TTL: Final = 5
PAUSE_MS: Final = 5000  # between two steps: the plain file is due at once then, and no timer is started
LATER_MS: Final = ORPHAN_KEEP_MS + 24 * 3600 * 1000  # when everything that is kept for a while may go
TABLE: Final = "coordinator"


class Violation(Exception):
    """A promise that a crash broke. Says which, when, and what was lost."""


@dataclass
class Promised:
    """What was asked for, and what was acknowledged."""

    asked: dict[str, str] = field(default_factory=dict)  # the op id of each key
    durable: set[str] = field(default_factory=set)
    applied: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    wholes: list[int] = field(default_factory=list)  # contents that were committed whole
    committing: int = 0  # one whose commit is being made
    kept: tuple[bytes, ...] = ()  # what somebody wrote by hand and made durable: in its place, folded, or kept

    def signature(self) -> Hashable:
        counts = len(self.asked), len(self.durable), len(self.applied), len(self.rejected)
        return (*counts, len(self.wholes), self.committing, self.kept)


def change(key: str) -> dict[str, Any]:
    """The operation that appends a key; one that begins with ``no`` has a test that fails."""
    test = [{"op": "test", "path": "/nowhere", "value": 1}] if key.startswith("no") else []
    return {"do": "patch", "patch": [*test, *({"op": "add", "path": f"/{at}/-", "value": key} for at in AT_BOTH)]}


AT_BOTH: Final = ("list", "again")


class World:
    """One workspace, what was promised in it, and the crash points of what is done there.

    Args:
        primitive: How records are put.
        local: Whether the disk passes for one host's.
        exchanges: Whether it can exchange two names.
        plain: The plain file before anything was committed; empty: none.
        tears: See CrashFiles.every_crash_state.
        table: The table, if there is one.
        aside: See CrashPoints.
        may_quarantine: Logs may be found damaged although no tree has NUL bytes in place of what was written.

    Attributes:
        names_max: See CrashPoints. Tests that are to find something lower it.
        again_every: In one of so many trees the power fails again while it is recovered; 0: in none.
        judged_again: The trees that were judged then.
    """

    names_max = 12
    again_every = 0

    def __init__(
        self,
        *,
        primitive: str = "symlink",
        local: bool = True,
        exchanges: bool = False,
        plain: bytes = BEGUN,
        tears: Tears | None = None,
        table: DurableTable | None = None,
        aside: Callable[[str], bool] = is_aside,
        may_quarantine: bool = False,
    ) -> None:
        self.clock = ManualClock()
        self.disk = CrashFiles(self.clock, local=local, exchanges=exchanges)
        self.promised = Promised()
        self.table = table
        self.judged_again = 0
        self._tears = tears
        self.may_quarantine = may_quarantine
        self.before_read: Callable[[Workspace], None] = lambda _workspace: None
        self.after_fold: Callable[[Workspace], None] = lambda _workspace: None
        self.on_read: Callable[[Workspace], None] = lambda _workspace: None
        self.points = CrashPoints(
            self.disk, self._judge, promised=self._signature, tears=tears, aside=aside, names_max=self.names_max
        )
        if table is not None:
            table.hook = self.points.look
        self.disk.mkdir(ROOT)
        if plain:
            write_new(self.disk, PLAIN, plain)
        Workspace.init(ROOT, agent="founder", primitive=primitive, files=self.disk, clock=self.clock)
        self.disk.sync_all()

    def _signature(self) -> Hashable:
        return self.promised.signature(), self.table.version if self.table else 0

    def open(self, agent: str, files: Files | None = None, **more: Any) -> Workspace:
        """Opens the workspace for an agent whose effects are crash points while they are recorded."""
        files = self.points.files if files is None else files
        if self.table is not None:
            more = {"table": TABLE, "client": self.table, **more}
        return Workspace(ROOT, agent=agent, files=files, clock=self.clock, **more)

    def settle(self) -> None:
        """What is done so far becomes durable by itself, and time passes."""
        self.disk.sync_all()
        self.clock.advance(PAUSE_MS)

    # ── what is done, and promised ───────────────────────────────────────────────────────────────────────────────────

    def update(self, document: Document, *keys: str, wait: float = 0) -> None:
        """Submits one update for each key, in one call."""
        self.clock.advance(PAUSE_MS)
        ids = [new_id() for _ in keys]
        self.promised.asked |= dict(zip(keys, ids, strict=True))
        # As Document.perform does; but there ids that are given say that it may be the second time.
        receipts = document._submissions.submit([*map(change, keys)], ids, wait_ms=int(wait * 1000))
        for key, receipt in zip(keys, receipts, strict=True):
            expected = "rejected" if key.startswith("no") else "applied"
            assert receipt.state == (expected if wait else "durable")
            {"durable": self.promised.durable, "applied": self.promised.applied, "rejected": self.promised.rejected}[
                receipt.state
            ].add(key)
        self.points.look(f"after {keys} were acknowledged")

    def whole(self, value: Any, number: int, commit: Callable[[bytes], object]) -> None:
        """Commits whole content: what was read, with another number in it."""
        self.promised.committing = number
        commit(json.dumps({**value, "whole": number}).encode())
        self.promised.wholes.append(number)
        self.promised.committing = 0
        self.points.look(f"after the commit of {number} was acknowledged")

    def assert_taken(self, points: int, judged: int, *, bounded: int = 0) -> None:
        """That at least so many crash points and trees were judged, at most so many not exhausted; says so."""
        print(f"\n{os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]}: {self.points}")  # noqa: T201 - asked for
        assert self.points.taken >= points, self.points
        assert self.points.judged >= judged, self.points
        assert self.points.bounded <= bounded, self.points

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, state: CrashState, where: str) -> None:
        try:
            if self.again_every and self.points.judged % self.again_every == 0:
                self._fail_again(state)
            else:
                Recovery(self, state).run()
        except (CoordinatorError, OSError, AssertionError, KeyError, ValueError) as error:
            lost = ", ".join(" ".join(effect) for effect in state.lost) or "nothing"
            text = f"{type(error).__name__}: {error}\n  the power failed {where}\n  lost: {lost}\n  {self.promised}"
            raise Violation(text) from error

    def _fail_again(self, state: CrashState) -> None:
        """The first reader and the first compactor after it meet with another one, at each of their effects."""
        first = Recovery(self, state)

        def judge(found: CrashState, _where: str) -> None:
            Recovery(self, found, at_ms=first.clock.wall_ms()).run()

        again = CrashPoints(state.files, judge, tears=self._tears, names_max=self.names_max)
        with again.recording():
            first.files = again.files
            first.read_and_fold()
        self.judged_again += again.judged


class Recovery:
    """Brings one tree back to life as new processes would, and checks what is promised."""

    def __init__(self, world: World, state: CrashState, *, at_ms: int = 0) -> None:
        self.promised, self.world = world.promised, world
        self.files: Files = state.files
        self.clock = ManualClock(at_ms or world.clock.wall_ms())
        state.files._clock = self.clock
        self.may_quarantine = world.may_quarantine or bool(state.holed)
        self.table = world.table.copy() if world.table is not None else None
        self.events: list[Event] = []

    def read_and_fold(self) -> bytes:
        self._check_reader()
        return self._check_folded()

    def run(self) -> None:
        content = self.read_and_fold()
        self._check_again(content)
        self._check_clean(self._check_retried())
        bad = [event for event in self.events if event.kind in {"view_failed", "inbox_unread"}]
        assert not bad, bad
        damaged = [event for event in self.events if event.kind == "log_quarantined"]
        assert self.may_quarantine or not damaged, damaged

    def open(self, agent: str) -> Workspace:
        more: dict[str, Any] = {"table": TABLE, "client": self.table} if self.table is not None else {}
        return Workspace(ROOT, agent=agent, files=self.files, clock=self.clock, on_event=self.events.append, **more)

    def _check_reader(self) -> None:
        """Whoever reads first, before anything is folded: with ``cat``, and through the library."""
        self._check_cat()
        workspace = self.open("reader")
        self.world.before_read(workspace)
        document = workspace.document(NAME)
        self._lawful(document.read_json(), self.promised.applied)
        self.world.on_read(workspace)
        if document.revision:
            assert self.files.read(PLAIN) == document.read(), "the plain file is not what was read"
        document.close()

    def _check_cat(self) -> None:
        """The plain file is whole, whoever reads it, and so is its sidecar."""
        if NAME in self.files.listdir(ROOT):
            data = self.files.read(PLAIN)
            if data not in self.promised.kept:
                value = json.loads(data)
                assert value["list"] == value["again"], f"the plain file is torn: {value}"
        if "view.json" in self._names():
            json.loads(self.files.read(f"{AT}/view.json"))

    def _names(self) -> list[str]:
        try:
            return self.files.listdir(AT)
        except FileNotFoundError:
            return []

    def _check_folded(self) -> bytes:
        """After a fold everything acknowledged is there."""
        self.clock.advance(HOLE_SETTLE_MS + TTL * 1000)  # no lease stands, and no write is in flight
        workspace = self.open("recovery")
        document = workspace.document(NAME)
        while document.compact().revision:
            self.clock.advance(PAUSE_MS)
        self._lawful(document.read_json(), self.promised.applied | self.promised.durable)
        content = document.read()
        self.world.after_fold(workspace)
        self.clock.advance(PAUSE_MS)
        workspace.close()
        return content

    def _check_clean(self, content: bytes) -> None:
        """After collections, when nothing need be kept any more, nothing is left over, and nothing is missing."""
        self.clock.advance(LATER_MS)
        workspace = self.open("cleaner")
        document = workspace.document(NAME)
        document.collect(keep=1)
        assert workspace.collect().trouble == (), "a collection met with trouble"
        assert document.read() == content, "a collection changed the content"
        assert self.files.read(PLAIN) == content, "the plain file is another after it"
        if document.revision:
            assert json.loads(self.files.read(f"{AT}/view.json"))["revision"] == document.revision
        workspace.close()
        there = {
            name: set(self.files.listdir(f"{AT}/{name}")) for name in self.files.listdir(AT) if self._is_folder(name)
        }
        for name in ("log", "kept"):
            assert not there.get(name, set()), f"left in {name}: {there[name]}"
        assert there.get("fold", set()) <= self._reachable(document), "fold files that nothing leads to are left"
        assert not [name for name in there.get("history", ()) if name.endswith(".part")]
        heads = {one.head.snapshot for one in workspace.history(NAME) if one.head and not one.is_folded}
        assert there.get("snap", set()) <= heads | self._bases(document), f"left in snap: {there['snap'] - heads}"
        assert not self.files.listdir(f"{STATE}/scratch"), "scratch names are left"
        kept = [self.files.read(path) for path in document.conflicts()]
        assert set(kept) <= set(self.promised.kept), f"edits were made out of nothing: {kept}"
        assert self.may_quarantine or not there.get("quarantine"), f"in quarantine: {there.get('quarantine')}"

    def _is_folder(self, name: str) -> bool:
        return self.files.stat(f"{AT}/{name}").kind == "directory"

    def _lines(self, document: Document) -> list[Any]:
        record = document._member.store.read(Resource.parse(NAME))
        if record is None or record.fold is None:
            return []
        lines = Lines(document._member, Resource.parse(NAME))
        newest = lines.read(record.fold)
        return list(lines.walk(LineAt(*newest.at)))

    def _reachable(self, document: Document) -> set[str]:
        return {line.at.place.name for line in self._lines(document)}

    def _bases(self, document: Document) -> set[str]:
        from coordinator.document.state import Base

        return {Base(*line.body["base"]).head.snapshot for line in self._lines(document)}

    def _check_again(self, content: bytes) -> None:
        """A recovery of what was recovered finds nothing to do."""
        workspace = self.open("again")
        document = workspace.document(NAME)
        revision = document.revision
        assert document.compact().revision == 0, "a second recovery folded something"
        assert (document.revision, document.read()) == (revision, content), "a second recovery changed something"
        workspace.close()

    def _check_retried(self) -> bytes:
        """Whoever was not answered submits again, under the same ids; and work goes on."""
        workspace = self.open("retry")
        document = workspace.document(NAME)
        if self.promised.asked:
            keys = [*self.promised.asked]
            receipts = document.perform([*map(change, keys)], ids=[*self.promised.asked.values()], wait=TTL)
            for key, receipt in zip(keys, receipts, strict=True):
                assert receipt.state == ("rejected" if key.startswith("no") else "applied"), (key, receipt)
            value = self._lawful(document.read_json(), {*keys})
            assert len(value["list"]) == len([key for key in keys if not key.startswith("no")])
        self.clock.advance(PAUSE_MS)
        with workspace.lease(NAME, ttl=TTL) as lease:
            lease.commit_json({**lease.read_json(), "whole": -1})
        content = document.read()
        assert document.read_json()["whole"] == -1
        workspace.close()
        return content

    def _lawful(self, value: Any, needed: set[str]) -> Any:
        keys = value["list"]
        assert keys == value["again"], f"half of an update: {value}"
        assert len(set(keys)) == len(keys), f"twice: {keys}"
        needed = {key for key in needed if not key.startswith("no")}
        assert needed <= set(keys), f"lost: {needed - set(keys)}, there is {keys}"
        assert not [key for key in keys if key not in self.promised.asked or key.startswith("no")], f"unasked: {keys}"
        last = self.promised.wholes[-1] if self.promised.wholes else 0
        assert value["whole"] in {last, self.promised.committing or last}, f"{value['whole']} is not {last}"
        return value


def found_out(act: Callable[[], World], match: str = ".") -> None:
    """That what was broken on purpose is found, by trees that lack, or have, at most two effects on names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "names_max", 0)
        with pytest.raises(Violation, match=match):
            act()


# ── broken on purpose ────────────────────────────────────────────────────────────────────────────────────────────────


def skipping_syncs(monkeypatch: pytest.MonkeyPatch, where: Callable[[str], bool]) -> None:
    """Leaves out syncs of files, by the path that they were made under."""
    really = CrashFiles._sync

    def sync(files: CrashFiles, file: File, path: str) -> None:
        if not where(path):
            really(files, file, path)

    monkeypatch.setattr(CrashFiles, "_sync", sync)


def skipping_sync_dirs(monkeypatch: pytest.MonkeyPatch, where: Callable[[str], bool]) -> None:
    """Leaves out syncs of folders."""
    really = CrashFiles.sync_dir

    def sync_dir(files: CrashFiles, path: str) -> None:
        if not where(path):
            really(files, path)

    monkeypatch.setattr(CrashFiles, "sync_dir", sync_dir)


def skipping_syncs_in(monkeypatch: pytest.MonkeyPatch, home: object, name: str) -> None:
    """Leaves out every sync of a file in one step of the library: most are made under a scratch name."""
    really = getattr(home, name)

    def step(*arguments: Any, **more: Any) -> Any:
        with monkeypatch.context() as within:
            within.setattr(CrashFiles, "_sync", lambda *_: None)
            return really(*arguments, **more)

    monkeypatch.setattr(home, name, step)
