"""Logs altered under their writers, with two writers, copied, restored, or with strangers' files beside them."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest
from log_trials import BOBS, FOLDED, LEFT, LONG_AGO, Template, make_template
from log_world import STATE, WAIT, World, fold_all, of, submit, twice

from coordinator.log.frame import encode
from coordinator.log.opening import After, LogName, opening_payload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.document.document import Document


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("logs") / "shared")


# ── while its writer is at work ──────────────────────────────────────────────────────────────────────────────────────


def live(folder: Path) -> tuple[World, Document, Path]:
    world = World.made(folder)
    alice = world.agent("alice")
    submit(alice, *FOLDED, wait=WAIT)
    submit(alice, LEFT[0])
    return world, alice, world.logs("alice")[0]


@pytest.mark.parametrize("wait", [0, WAIT], ids=["durable", "waiting"])
def test_a_writer_whose_log_was_set_aside_goes_on_in_another(tmp_path: Path, wait: float) -> None:
    world, alice, log = live(tmp_path / "shared")
    data = log.read_bytes()
    log.write_bytes(data[:-20] + b"?" + data[-19:])
    fold_all(world.agent("carol"))
    assert "log_quarantined" in world.kinds()
    submit(alice, LEFT[1], wait=wait)
    fold_all(world.agent("carol"))
    assert world.list() == [*FOLDED, LEFT[1]]
    assert world.kept()[log.name] == data[:-20] + b"?" + data[-19:]
    assert log not in world.logs()


def test_who_waits_when_its_log_is_damaged_learns_the_outcome_once(tmp_path: Path) -> None:
    """Its log is altered right after it was written: it submits again, under the same ids."""
    from coordinator.testing import Call, InterceptedFiles

    world = World.made(tmp_path / "shared")
    altered: list[bytes] = []

    def alter(call: Call) -> None:
        if call.when == "after" and call.op == "write" and "/@/log/alice" in call.path and not altered:
            log = world.logs("alice")[0]
            data = log.read_bytes()
            altered.append(data)
            with open(log, "r+b") as file:
                file.seek(len(data) - 10)
                file.write(b"#")

    alice = world.agent("alice", files=InterceptedFiles(world.files, alter))
    receipts = submit(alice, "alice-1", "alice-2", wait=WAIT)
    assert altered
    assert [receipt.state for receipt in receipts] == ["applied", "applied"]
    assert world.list() == ["alice-1", "alice-2"]
    assert {"log_quarantined", "resubmitted"} <= world.kinds()


def test_who_retries_what_was_lost_with_a_log_has_it_done_once(tmp_path: Path) -> None:
    world, _alice, log = live(tmp_path / "shared")
    ids = [json.loads(line.split(b" ", 4)[4])["id"] for line in log.read_bytes().splitlines()[1:]]
    data = log.read_bytes()
    log.write_bytes(data[:-20] + b"?" + data[-19:])
    late = world.agent("late")
    receipts = submit(late, *FOLDED, LEFT[0], ids=ids, wait=WAIT)
    assert [(receipt.state, receipt.again) for receipt in receipts] == [("applied", True)] * 2 + [("applied", False)]
    assert sorted(world.list()) == sorted([*FOLDED, LEFT[0]])


def test_a_log_that_was_cut_under_its_writer_is_told_and_nothing_is_done_twice(tmp_path: Path) -> None:
    """The writer goes on where it was: a hole, with whole frames behind it."""
    world, alice, log = live(tmp_path / "shared")
    os.truncate(log, log.stat().st_size - 30)
    submit(alice, LEFT[1])
    assert b"\0" in log.read_bytes()
    fold_all(world.agent("carol"))
    assert world.list() == FOLDED
    os.utime(log, (LONG_AGO, LONG_AGO))
    fold_all(world.agent("carol"))
    assert "log_quarantined" in world.kinds()
    receipt = submit(alice, LEFT[2], wait=WAIT)[0]
    assert receipt.state == "applied"
    assert world.list() == [*FOLDED, LEFT[2]]
    assert log.name in world.kept()


def test_a_log_that_was_taken_away_under_its_writer(tmp_path: Path) -> None:
    """Its writer learns nothing: what it appends goes into a file without a name. Who waits is not told "applied"."""
    world, alice, log = live(tmp_path / "shared")
    fold_all(world.agent("carol"))
    log.unlink()
    receipt = submit(alice, "alice-9", wait=0.3)[0]
    assert receipt.state == ("applied" if "alice-9" in world.list() else "durable")
    assert of("alice", world.list())[: len(FOLDED) + 1] == [*FOLDED, LEFT[0]]


# ── two writers, copies, strangers ───────────────────────────────────────────────────────────────────────────────────


def frames_of_another(log: Path, names: list[str], *, first_seq: int) -> bytes:
    """What a second writer appends who took the same state for its own: right by itself, in a chain of its own."""
    payloads = [line.split(b" ", 4)[4] for line in log.read_bytes().splitlines()]
    chain = 0
    for payload in payloads[:first_seq]:
        _, chain = encode(payload, chain)
    out = b""
    for seq, name in enumerate(names, first_seq):
        op = f'{{"do":"patch","patch":[{{"op":"add","path":"/list/-","value":"{name}"}}]}}'
        frame = f'{{"seq":{seq},"id":"{name}-id","at":1,"op":{op}}}'
        line, chain = encode(frame.encode(), chain)
        out += line
    return out


@pytest.mark.parametrize("place", ["at its offset", "at the end"])
def test_two_writers_on_one_path(tmp_path: Path, place: str) -> None:
    """A machine that was copied while it ran: both go on from the same state, on one shared file."""
    world, alice, log = live(tmp_path / "shared")
    size = log.stat().st_size
    fold_all(world.agent("carol"))
    other = frames_of_another(log, ["other-1", "other-2", "other-3"], first_seq=4)
    submit(alice, "alice-4")  # the first of the two
    with open(log, "r+b") as file:
        file.seek(size if place == "at its offset" else log.stat().st_size)
        file.write(other)
    submit(alice, "alice-5")
    os.utime(log, (LONG_AGO, LONG_AGO))
    carol = world.agent("carol")
    fold_all(carol)
    submit(carol, "carol-1", wait=WAIT)
    found = world.list()
    assert not twice(found)
    assert found[:3] == [*FOLDED, LEFT[0]]
    assert "carol-1" in found
    assert "log_quarantined" in world.kinds()
    receipt = submit(alice, "alice-6", wait=WAIT)[0]
    assert receipt.state == "applied"
    assert "alice-6" in world.list()
    assert twice(world.list()) == []


def test_a_log_copied_to_another_agents_name_is_nobodys(template: Template, tmp_path: Path) -> None:
    world = template.world.copied(tmp_path / "shared")
    log = world.folder / STATE / "log" / template.log.name
    shutil.copy(log, log.with_name(log.name.replace("alice", "mallory")))
    fold_all(world.agent("carol"))
    assert sorted(world.list()) == sorted(FOLDED + LEFT + BOBS)


def test_a_log_copied_to_another_document_is_told_and_not_folded(template: Template, tmp_path: Path) -> None:
    world = template.world.copied(tmp_path / "shared")
    other = world.folder / STATE.replace("tasks.json", "other.json") / "log"
    other.mkdir(parents=True)
    shutil.copy(world.folder / STATE / "log" / template.log.name, other)
    workspace_events = world.events
    document = world.agent("carol")
    from coordinator import Workspace

    workspace = Workspace(world.folder, agent="carol", files=world.files, on_event=workspace_events.append)
    fold_all(workspace.document("other.json"))
    assert [event.resource for event in world.events if event.kind == "log_quarantined"] == ["other.json"]
    fold_all(document)
    assert sorted(world.list()) == sorted(FOLDED + LEFT + BOBS)


def test_a_workspace_that_was_copied_goes_on_by_itself(template: Template, tmp_path: Path) -> None:
    """Both have the same logs of the same incarnations; what is folded in one is no concern of the other."""
    one, two = (template.world.copied(tmp_path / name) for name in ("one", "two"))
    for world in (one, two):
        receipt = submit(world.agent("alice"), "alice-6", wait=WAIT)[0]
        assert receipt.state == "applied"
        assert sorted(world.list()) == sorted([*FOLDED, *LEFT, *BOBS, "alice-6"])


def test_a_workspace_copied_back_over_itself(tmp_path: Path) -> None:
    """A backup of ``log/`` is restored while the rest went on: what was deleted comes back, and does not count.

    The agent's process ended, and its log was deleted when it was folded.
    """
    world, alice, log = live(tmp_path / "shared")
    alice.close()
    backup = log.read_bytes()
    carol = world.agent("carol")
    fold_all(carol)
    assert world.logs("alice") == []
    before = world.list()
    log.write_bytes(backup)
    fold_all(world.agent("dave"))
    assert world.list() == before == [*FOLDED, LEFT[0]]


STRANGERS: Final = [
    "notes.txt",
    ".nfs000000000001",
    "alice.log",
    "alice.aaaaaaaaaaaaaaaaaaaa.000000.log",
    "alice.aaaaaaaaaaaaaaaaaaaa.000001.log~",
    "alice.aaaaaaaaaaaaaaaaaaaa.1.log",
    "..log",
]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"hello\n", b"C1 2 00000000 00000000 {}\n"], ids=repr)
def test_files_of_strangers_in_the_folder_of_logs(
    template: Template, tmp_path: Path, stranger: str, content: bytes
) -> None:
    world = template.world.copied(tmp_path / "shared")
    (world.folder / STATE / "log" / stranger).write_bytes(content)
    fold_all(world.agent("carol"))
    assert sorted(world.list()) == sorted(FOLDED + LEFT + BOBS)


def test_a_directory_or_a_link_in_the_place_of_a_log(template: Template, tmp_path: Path) -> None:
    from coordinator.errors import CoordinatorError

    makers: list[Callable[[str], None]] = [
        os.mkdir,
        lambda path: os.symlink("nowhere", path),
        lambda path: os.symlink(path, path),
    ]
    for i, make in enumerate(makers):
        world = template.world.copied(tmp_path / str(i))
        make(str(world.folder / STATE / "log" / "eve.aaaaaaaaaaaaaaaaaaaa.000001.log"))
        try:
            fold_all(world.agent("carol"))
        except CoordinatorError as error:
            assert "eve" in str(error)  # noqa: PT017 - either answer will do, if it says where
        else:
            assert sorted(world.list()) == sorted(FOLDED + LEFT + BOBS)


def test_a_segment_that_names_a_successor_of_nowhere(template: Template, tmp_path: Path) -> None:
    """Openings that are whole, and lie: about what came before, or about a segment that was never there."""
    incarnation = template.log.name.split(".")[1]
    for i, after in enumerate(
        (
            After(1, len(template.data) + 100, 7),
            After(1, template.ends[-1], 7),
            After(1, template.ends[1], 7),
            After(1, 0, 0),
            After(3, 10, 7),
            After(2, 10, 7),
            After(-1, -5, 7),
        )
    ):
        world = template.world.copied(tmp_path / str(i))
        name = LogName("alice", incarnation, 2)
        line, _ = encode(opening_payload(name, "tasks.json", after), 0)
        (world.folder / STATE / "log" / f"alice.{incarnation}.000002.log").write_bytes(line)
        carol = world.agent("carol")
        fold_all(carol)
        submit(carol, "carol-1", wait=WAIT)
        found = world.list()
        assert not twice(found), after
        assert of("alice", found)[:2] == FOLDED, after
        assert of("bob", found) == BOBS, after
        assert "carol-1" in found, after
