"""The rules of logs and folds (P19 to P22, P25, P27) switched off in turn: the check that holds each must fail.

A check passes on the code as it is, and fails on the mutant; both are asserted.
"""

from __future__ import annotations

import contextlib
import errno
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coordinator import StoreUnavailable, Workspace
from coordinator.document import compactor, state, submit
from coordinator.files import SYSTEM_FILES
from coordinator.log import frame, reader, segments, walk
from coordinator.log.frame import Frames
from coordinator.names import new_id
from coordinator.testing import FailAt, InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator import Document, Event

NAME = "plan.json"
Patch = pytest.MonkeyPatch


class Desk:
    """A workspace with one document, and agents on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []
        (folder / NAME).write_text('{"n": 0}')
        Workspace.init(folder, agent="start")

    def agent(self, name: str, hook: Any = None) -> Document:
        files = InterceptedFiles(SYSTEM_FILES, hook) if hook else SYSTEM_FILES
        return Workspace(self.folder, agent=name, files=files, on_event=self.events.append).document(NAME)

    def log(self, agent: str) -> Path:
        (path,) = (self.folder / f".coordinator/resources/{NAME}/@/log").glob(f"{agent}.*")
        return path

    def quarantined(self) -> bool:
        return any(event.kind == "log_quarantined" for event in self.events)

    def settled(self) -> Any:
        judge = self.agent("judge")
        while judge.compact().revision:
            pass
        return judge.read_json()


def writes(document: Document, *keys: str, wait: float = 0) -> None:
    for key in keys:
        document.update({key: 1}, wait=wait)


# ── the checks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def two_writers_share_no_path(desk: Desk) -> None:
    first, second = desk.agent("one"), desk.agent("one")
    writes(first, "a")
    writes(second, "b")
    assert {"a", "b"} <= set(desk.settled())


def a_line_of_another_log_is_noticed(desk: Desk) -> None:
    one, two = desk.agent("one"), desk.agent("two")
    writes(one, "a1", "a2", "a3")
    writes(two, "b1", "b2", "b3")
    lines = desk.log("one").read_bytes().splitlines(keepends=True)
    lines[2] = desk.log("two").read_bytes().splitlines(keepends=True)[2]
    desk.log("one").write_bytes(b"".join(lines))
    found = desk.settled()
    assert desk.quarantined()
    assert "a1" in found
    assert "a3" not in found


def an_altered_byte_is_noticed(desk: Desk) -> None:
    writes(desk.agent("one"), "alpha", "beta", "gamma")
    data = desk.log("one").read_bytes()
    desk.log("one").write_bytes(data.replace(b'"beta"', b'"bets"'))
    found = desk.settled()
    assert desk.quarantined()
    assert "bets" not in found


def a_failed_write_is_repeated_in_another_segment(desk: Desk) -> None:
    document = desk.agent("one", FailAt(errno.EIO, "write", contains="/log/", nth=2))
    writes(document, "a", "b", "c")
    assert {"a", "b", "c"} <= set(desk.settled())


def a_torn_tail_is_no_damage(desk: Desk) -> None:
    writes(desk.agent("one"), "a", "b")
    data = desk.log("one").read_bytes()
    desk.log("one").write_bytes(data[:-10])
    assert "a" in desk.settled()
    assert not desk.quarantined()
    desk.log("one").write_bytes(data)  # the rest of it arrives
    assert "b" in desk.settled()


def a_bad_frame_before_good_ones_is_damage(desk: Desk) -> None:
    writes(desk.agent("one"), "a", "b", "c")
    data = desk.log("one").read_bytes()
    at = data.rindex(b"C1 ")
    desk.log("one").write_bytes(data[:at][:-10] + b"\n" + data[at:])
    desk.settled()
    assert desk.quarantined()


def a_retry_from_another_process_is_applied_once(desk: Desk) -> None:
    one, two = desk.agent("one"), desk.agent("two")
    patch = [{"op": "add", "path": "/list", "value": []}]
    one.update(patch, wait=10)
    op_id = new_id()
    for document in (one, two):
        assert document.update([{"op": "add", "path": "/list/-", "value": 1}], op_id=op_id, wait=10).state == "applied"
    assert desk.settled()["list"] == [1]


def what_a_log_held_when_it_was_fenced_is_folded(desk: Desk) -> None:
    one, other = desk.agent("one"), desk.agent("other")
    writes(one, "a")
    other.compact()
    writer = one._folding.submissions._writer
    other._folding.compactor.fold_once(retire=[writer.incarnation])
    writer.append([b'{"id":"late","at":1,"op":{"do":"merge","patch":{"b":1}}}'])  # synced before it could look
    assert {"a", "b"} <= set(desk.settled())


def a_fenced_writer_submits_again(desk: Desk) -> None:
    one, other = desk.agent("one"), desk.agent("other")
    writes(one, "a")
    other.compact()
    incarnation = one._folding.submissions._writer.incarnation
    other._folding.compactor.fold_once(retire=[incarnation])
    other.compact()
    writes(one, "b")
    assert {"a", "b"} <= set(desk.settled())


# ── the mutants ──────────────────────────────────────────────────────────────────────────────────────────────────────


def same_incarnation(patch: Patch) -> None:
    patch.setattr(segments, "new_id", lambda: "a" * 20)


def shared_path(patch: Patch) -> None:
    """Whoever finds the name taken goes on in that file."""
    same_incarnation(patch)
    real = SYSTEM_FILES.create

    def create(path: str, mode: int | None = None) -> Any:
        if "/log/" in path:
            with contextlib.suppress(FileNotFoundError):
                SYSTEM_FILES.unlink(path)
        return real(path, mode)

    patch.setattr(SYSTEM_FILES, "create", create)


def scan_without_chain(*, crc: bool) -> Callable[[Patch], None]:
    def scan(data: bytes, _chain: int) -> Frames:
        *lines, rest = data.split(b"\n")
        payloads: list[bytes] = []
        ends: list[int] = []
        chain = end = 0
        for line in lines:
            head, payload = line[: line.find(b"{")], line[line.find(b"{") :]
            if crc and head.split(b" ")[2] != b"%08x" % zlib.crc32(payload):
                return Frames(payloads, ends, chain, "crc")
            end, chain = end + len(line) + 1, int(head.split(b" ")[3], 16)
            payloads.append(payload)
            ends.append(end)
        return Frames(payloads, ends, chain, "cut" if rest else "")

    return lambda patch: patch.setattr(walk, "scan", scan)


def no_poison(patch: Patch) -> None:
    patch.setattr(segments.Segments, "_poison", lambda self: setattr(self, "_is_sound", True))


def tail_is_damage(patch: Patch) -> None:
    real = frame.scan

    def scan(data: bytes, chain: int) -> Frames:
        found = real(data, chain)
        return found._replace(stop="crc") if found.stop else found

    patch.setattr(walk, "scan", scan)


def damage_is_tail(patch: Patch) -> None:
    real = frame.scan

    def scan(data: bytes, chain: int) -> Frames:
        found = real(data, chain)
        return found._replace(stop="cut") if found.stop else found

    patch.setattr(walk, "scan", scan)
    patch.setattr(walk, "has_valid_after", lambda _data, _start: False)


def no_ids(patch: Patch) -> None:
    patch.setattr(state, "trim", lambda ids: ids.clear())
    patch.setattr(compactor.Compactor, "_known", lambda *_args: {})


def fenced_is_over(patch: Patch) -> None:
    patch.setattr(reader, "_OVER", frozenset({"fenced", "ended", "quarantined"}))


def fence_unseen(patch: Patch) -> None:
    patch.setattr(submit, "is_fenced_in", lambda _line, _incarnation: False)


class Mutant(NamedTuple):
    rule: str
    check: Callable[[Desk], None]
    switch_off: Callable[[Patch], None]


MUTANTS = [
    Mutant("P19 one incarnation for all", two_writers_share_no_path, same_incarnation),
    Mutant("P19 one path for all", two_writers_share_no_path, shared_path),
    Mutant("P20 no chain", a_line_of_another_log_is_noticed, scan_without_chain(crc=True)),
    Mutant("P20 no crc", an_altered_byte_is_noticed, scan_without_chain(crc=False)),
    Mutant("P21 no poison", a_failed_write_is_repeated_in_another_segment, no_poison),
    Mutant("P22 a tail is damage", a_torn_tail_is_no_damage, tail_is_damage),
    Mutant("P22 damage is a tail", a_bad_frame_before_good_ones_is_damage, damage_is_tail),
    Mutant("P25 ids forgotten", a_retry_from_another_process_is_applied_once, no_ids),
    Mutant("P27 not read afresh", what_a_log_held_when_it_was_fenced_is_folded, fenced_is_over),
    Mutant("P27 fence unseen", a_fenced_writer_submits_again, fence_unseen),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_the_check_holds(mutant: Mutant, tmp_path: Path) -> None:
    mutant.check(Desk(tmp_path))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_the_mutant_is_found(mutant: Mutant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    mutant.switch_off(monkeypatch)
    with pytest.raises((AssertionError, StoreUnavailable)):
        mutant.check(desk)
