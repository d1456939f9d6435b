"""Logs under clocks that are off, of one agent id in several processes, and with frames that nobody here knows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from log_world import NAME, STATE, WAIT, World, adding, fold_all, of, submit, twice

from coordinator import Workspace
from coordinator.errors import BadValue, CoordinatorError, NewerFormat
from coordinator.log.frame import encode
from coordinator.names import new_id
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from pathlib import Path


DAY_MS: Final = 24 * 3600 * 1000


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("off_ms", [DAY_MS, -DAY_MS, 400 * DAY_MS, -20_000 * DAY_MS])
def test_a_clock_that_is_a_day_off(tmp_path: Path, off_ms: int) -> None:
    """Of one that submits, and of one that folds: all is applied, in each log's order, and time never goes back."""
    world = World.made(tmp_path / "shared")
    import time

    off = ManualClock(time.time_ns() // 1_000_000 + off_ms)
    alice, bob = world.agent("alice", clock=off), world.agent("bob")
    for i in range(3):
        submit(alice, f"alice-{i}")
        submit(bob, f"bob-{i}")
    assert submit(alice, "alice-3", wait=WAIT)[0].state == "applied"
    assert submit(bob, "bob-3", wait=WAIT)[0].state == "applied"
    off.advance(wall_ms=-off_ms)  # it is set right while the agent runs
    assert submit(alice, "alice-4", wait=WAIT)[0].state == "applied"
    assert submit(bob, "bob-4", wait=WAIT)[0].state == "applied"
    found = world.list()
    assert of("alice", found) == [f"alice-{i}" for i in range(5)]
    assert of("bob", found) == [f"bob-{i}" for i in range(5)]
    times = [change.at_ms for change in bob.changes(since=1)]
    assert times == sorted(times)
    assert all(abs(at_ms - time.time_ns() // 1_000_000) < DAY_MS // 24 for at_ms in times)


def test_a_log_whose_clock_is_a_day_ahead_is_neither_retired_nor_waited_for(tmp_path: Path) -> None:
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    submit(alice, "alice-1", wait=WAIT)
    log = world.logs("alice")[0]
    ahead = log.stat().st_mtime + 24 * 3600
    os.utime(log, (ahead, ahead))
    bob = world.agent("bob")
    bob.collect()
    assert submit(alice, "alice-2", wait=WAIT)[0].state == "applied"
    assert world.list() == ["alice-1", "alice-2"]
    assert "log_retired" not in world.kinds()


def test_a_log_that_seems_silent_for_a_day_is_retired_and_its_writer_loses_nothing(tmp_path: Path) -> None:
    """Its times were set back (a clock, a restored backup): its writer is fenced, finds out, and goes on in another."""
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    submit(alice, "alice-1", wait=WAIT)
    submit(alice, "alice-2")
    log = world.logs("alice")[0]
    os.utime(log, (1, 1))
    world.agent("bob").collect()
    assert "log_retired" in world.kinds()
    assert submit(alice, "alice-3")[0].state == "durable"
    fold_all(world.agent("bob"))
    assert submit(alice, "alice-4", wait=WAIT)[0].state == "applied"
    assert world.list() == ["alice-1", "alice-2", "alice-3", "alice-4"]


# ── one agent id, several processes ──────────────────────────────────────────────────────────────────────────────────


_PROCESS: Final = """
import sys
from coordinator import Workspace
document = Workspace(sys.argv[1], agent="alice").document("tasks.json")
for i in range(int(sys.argv[3])):
    op = {"do": "patch", "patch": [{"op": "add", "path": "/list/-", "value": f"{sys.argv[2]}-{i}"}]}
    assert document.perform([op], wait=i % 2 * 30)[0].state == ("applied" if i % 2 else "durable")
"""


def test_an_agent_id_that_a_second_process_uses_at_the_same_time(tmp_path: Path) -> None:
    """An incarnation tells them apart: two logs, and each one's order."""
    world = World.made(tmp_path / "shared")
    command = [sys.executable, "-c", _PROCESS, str(world.folder)]
    processes = [subprocess.Popen([*command, name, "8"]) for name in ("first", "second")]
    assert [process.wait(60) for process in processes] == [0, 0]
    fold_all(world.agent("bob"))
    found = world.list()
    for name in ("first", "second"):
        assert of(name, found) == [f"{name}-{i}" for i in range(8)]
    assert twice(found) == []
    assert "log_quarantined" not in world.kinds()


def test_an_agent_id_that_is_used_again_after_its_first_process_died(tmp_path: Path) -> None:
    world = World.made(tmp_path / "shared")
    first = world.agent("alice")
    submit(first, "first-1", "first-2")
    submit(world.agent("alice"), "second-1", wait=WAIT)
    assert sorted(world.list()) == ["first-1", "first-2", "second-1"]
    assert len({log.name.split(".")[1] for log in world.logs("alice")}) == 2


def test_two_processes_that_submit_the_same_id_do_it_once(tmp_path: Path) -> None:
    world = World.made(tmp_path / "shared")
    op_id = new_id()
    one, two = world.agent("alice"), world.agent("alice")
    first = one.perform([adding("x")], ids=[op_id], wait=0)[0]
    second = two.perform([adding("x")], ids=[op_id], wait=WAIT)[0]
    assert (first.state, second.state) == ("durable", "applied")
    assert world.list() == ["x"]


# ── what this version does not know ──────────────────────────────────────────────────────────────────────────────────


def append_frame(log: Path, frame: bytes) -> int:
    """Appends a right frame of any payload to a log; returns its offset."""
    chain = 0
    for line in log.read_bytes().splitlines():
        _, chain = encode(line.split(b" ", 4)[4], chain)
    offset = log.stat().st_size
    with open(log, "ab") as file:
        file.write(encode(frame, chain)[0])
    return offset


@pytest.mark.parametrize("do", ["dance", "task.dance"])
def test_an_operation_that_this_version_does_not_know_stops_the_fold(tmp_path: Path, do: str) -> None:
    """For everybody, until they are of that version: to fold around it would decide without it. Nothing is lost."""
    world = World.made(tmp_path / "shared")
    newer, bob = world.agent("newer"), world.agent("bob")
    submit(bob, "bob-1", wait=WAIT)
    newer.perform([{"do": do, "board": {"format": "default"}}], wait=0)
    before = {path: path.read_bytes() for path in (world.folder / STATE / "fold").glob("*")}
    submit(bob, "bob-2")
    for document in (bob, newer, world.agent("carol")):
        with pytest.raises(NewerFormat) as caught:
            document.compact()
        assert caught.value.fields["agent"] == "newer"
        assert "newer" in str(caught.value)
        assert caught.value.hint
    with pytest.raises(NewerFormat):
        submit(bob, "bob-3", wait=WAIT)
    assert world.list() == ["bob-1"], "reading goes on"
    assert {path: path.read_bytes() for path in (world.folder / STATE / "fold").glob("*")} == before
    assert len(world.agent("looker")._member.store.history(bob._resource)) == 2


def test_it_says_in_which_file_and_at_which_byte_it_stands(tmp_path: Path) -> None:
    """Agent, version, offset: what a person needs who has to find it."""
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    submit(alice, "alice-1", wait=WAIT)
    log = world.logs("alice")[0]
    offset = append_frame(log, b'{"seq":2,"id":"a","at":1,"op":{"do":"dance"}}')
    with pytest.raises(NewerFormat) as caught:
        world.agent("carol").compact()
    fields = caught.value.fields
    assert (fields["agent"], fields["path"], fields.get("offset")) == ("alice", str(log), offset)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"seq":2,"id":"a","at":"noon","op":{"do":"merge","patch":{}}}',
        b'{"seq":2,"id":["a"],"at":1,"op":{"do":"merge","patch":{}}}',
        b'{"seq":2,"id":7,"at":1,"op":{"do":"merge","patch":{}}}',
        b'{"seq":2,"id":"a","at":1,"op":{"do":7}}',
        b'{"seq":2,"id":"a","at":1,"op":7}',
        b'{"seq":2,"id":"a","at":1}',
        b'{"seq":2,"id":"a","at":1,"op":{"do":"merge","patch":{}}',
        b'{"seq":2,"id":"\xff","at":1,"op":{"do":"merge","patch":{}}}',
        b'{"seq":2,"id":"a","at":1,"op":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b'{"seq":2,"exact":true,"id":"a","at":1,"op":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
        b'{"seq":2,"id":"a","at":1,"op":{"do":"merge","patch":{"a":' + b"[" * 900 + b"]" * 900 + b"}}}",
    ],
    ids=lambda frame: repr(frame[:60]),
)
def test_a_frame_that_is_whole_and_no_operation_is_told_in_our_own_words(tmp_path: Path, frame: bytes) -> None:
    """No bare exception: whoever folds can do nothing about another's frame, but has to say whose it is."""
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    submit(alice, "alice-1", wait=WAIT)
    append_frame(world.logs("alice")[0], frame)
    carol = world.agent("carol")
    try:
        carol.compact()
    except CoordinatorError as error:
        assert "alice" in str(error)  # noqa: PT017 - a clear error, or a rejection, or a quarantine
    assert world.list() == ["alice-1"]


@pytest.mark.parametrize(
    "frame", [b'{"open":{}}', b'{"end":{"seq":7}}', b'{"end":{"seq":1}}', b'{"x":1}', b'{"seq":9}']
)
def test_a_frame_out_of_place(tmp_path: Path, frame: bytes) -> None:
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    submit(alice, "alice-1", wait=WAIT)
    append_frame(world.logs("alice")[0], frame)
    fold_all(world.agent("carol"))
    ended = frame.startswith(b'{"end"')
    assert ("log_quarantined" in world.kinds()) != ended
    assert submit(alice, "alice-2", wait=WAIT)[0].state == "applied"
    assert world.list() == ["alice-1", "alice-2"]


def test_a_log_of_a_newer_version_stops_the_fold_and_says_whose(tmp_path: Path) -> None:
    world = World.made(tmp_path / "shared")
    bob = world.agent("bob")
    submit(bob, "bob-1", wait=WAIT)
    log = world.folder / STATE / "log" / "newer.aaaaaaaaaaaaaaaaaaaa.000001.log"
    log.write_bytes(encode(b'{"open":{"version":2,"agent":"newer"}}', 0)[0])
    with pytest.raises(NewerFormat) as caught:
        bob.compact()
    assert (caught.value.needs, caught.value.have) == (2, 1)
    assert (caught.value.fields["agent"], caught.value.fields["offset"], caught.value.path) == ("newer", 0, str(log))
    assert world.list() == ["bob-1"]
    log.unlink()
    assert submit(bob, "bob-2", wait=WAIT)[0].state == "applied"


def test_an_operation_that_is_too_long_is_refused_before_it_is_written(tmp_path: Path) -> None:
    world = World.made(tmp_path / "shared")
    alice = world.agent("alice")
    with pytest.raises(BadValue):
        alice.perform([adding("ok"), {"do": "merge", "patch": {"pad": "x" * (1 << 20)}}], wait=WAIT)
    assert world.logs() == []
    with pytest.raises(BadValue):
        alice.update({"pad": "x" * (300 << 10)})
    assert submit(alice, "alice-1", wait=WAIT)[0].state == "applied"
    assert world.list() == ["alice-1"]


def test_the_largest_operations_pass(tmp_path: Path) -> None:
    """Frames at the limit, several of them: each longer than a segment and than what is read at once."""
    folder = tmp_path / "shared"
    folder.mkdir()
    workspace = Workspace.init(folder, agent="alice")
    document = workspace.document(NAME)
    document.commit(b"{}", if_revision=0)
    pads = {f"k{i}": chr(ord("a") + i) * ((255 << 10) - i) for i in range(5)}
    for key, pad in pads.items():
        document.update({key: pad}, wait=0)
    bob = Workspace(folder, agent="bob").document(NAME)
    fold_all(bob)
    assert bob.read_json() == pads
