"""Appending to a log: alone, in a group, into the next segment, after an error, and at its end."""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest
from torn_world import NAME, World, found_out, skipping_sync_dirs, skipping_syncs

from coordinator.log import segments
from coordinator.testing import FailAt, InterceptedFiles
from coordinator.testing.crash_choices import Tears

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Document
    from coordinator.testing import Call

DEADLINE_S: Final = 20


def is_log(path: str) -> bool:
    return "/@/log/" in path


SOME: Final = Tears(fine=is_log, step_bytes=11, page_bytes=128, nuls=True)
COARSE: Final = Tears(page_bytes=256, nuls=True)
EVERY_BYTE: Final = Tears(fine=is_log, page_bytes=16, nuls=True)


def appending(tears: Tears, *, local: bool = True) -> World:
    """The first append of a log, the second, three in one call, and the end."""
    world = World(local=local, tears=tears)
    workspace = world.open("alice")
    with world.points.recording():
        document = workspace.document(NAME)
        world.update(document, "a")
        world.update(document, "b", "no-c", "d")
        workspace.close()
    return world


@pytest.mark.parametrize("local", [True, False])
def test_appends(local: bool) -> None:
    world = appending(SOME, local=local)
    world.assert_taken(18, 100)


@pytest.mark.slow
def test_appends_at_every_byte() -> None:
    world = appending(EVERY_BYTE)
    world.assert_taken(18, 1000)


def rotating(tears: Tears) -> World:
    """Each append goes into a segment of its own."""
    world = World(tears=tears)
    document = world.open("alice").document(NAME)
    world.update(document, "a")
    world.settle()
    with world.points.recording():
        world.update(document, "b")
        world.update(document, "c")
    return world


@pytest.fixture
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)


@pytest.mark.usefixtures("_short_segments")
def test_the_next_segment() -> None:
    world = rotating(SOME)
    world.assert_taken(11, 80)


def after_an_error(op: str, when: str) -> World:
    """One call on the log fails, so that what was not synced is repeated in another segment."""
    world = World(tears=COARSE)
    world.update(world.open("alice").document(NAME), "a")
    world.settle()
    fails = FailAt(errno.EIO, op, contains="/@/log/", when="before" if when == "before" else "after")
    document = world.open("bob", InterceptedFiles(world.points.files, fails)).document(NAME)
    with world.points.recording():
        world.update(document, "b")
        world.update(document, "c")
    assert fails.seen >= 1
    return world


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op", ["write", "sync"])
def test_going_on_after_an_error(op: str, when: str) -> None:
    world = after_an_error(op, when)
    world.assert_taken(17, 20)


# ── one sync for all who wait ────────────────────────────────────────────────────────────────────────────────────────


def in_a_group(tears: Tears) -> World:
    """While the first of three threads syncs, two more queue up, whose operations are written and synced together."""
    world = World(tears=tears)
    threads: list[threading.Thread] = []
    syncs = 0

    def hook(call: Call) -> None:
        nonlocal syncs
        if call[:2] == ("before", "sync") and is_log(call.path):
            syncs += 1
            if syncs == 1:
                queue_up(world, document, threads)

    document = world.open("alice", InterceptedFiles(world.points.files, hook)).document(NAME)
    with world.points.recording():
        world.update(document, "a")
        for thread in threads:
            thread.join(DEADLINE_S)
    assert syncs == 2, "the two that came late were not synced together"
    return world


def queue_up(world: World, document: Document, threads: list[threading.Thread]) -> None:
    def start(key: str) -> None:
        threads.append(threading.Thread(target=lambda: world.update(document, key)))
        threads[-1].start()

    writer = document._folding.submissions._writer
    for key in ("b", "c"):
        start(key)
        deadline = time.monotonic() + DEADLINE_S
        while len(writer._queue) < len(threads):
            assert time.monotonic() < deadline, "nobody queued up"
            time.sleep(0.001)  # there is no other sign of a thread that waits for its turn


def test_one_sync_for_a_group() -> None:
    world = in_a_group(SOME)
    assert world.promised.durable == {"a", "b", "c"}
    world.assert_taken(17, 80)


# ── what is broken on purpose is found ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("act", [appending, rotating, in_a_group])
def test_a_log_that_is_not_synced_is_found_out(act: Callable[[Tears], World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 100)
    skipping_syncs(monkeypatch, is_log)
    found_out(lambda: act(SOME), "lost")


def test_a_folder_of_logs_that_is_not_synced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/log"))
    found_out(lambda: appending(SOME), "lost")


def test_folders_above_a_log_that_are_not_synced_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@"))
    found_out(lambda: appending(SOME), "lost")
