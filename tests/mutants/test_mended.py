"""Promises that the code once did not keep: found when the checks were written, mended since, and held here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from coordinator.errors import LeaseHeld, NoSuchDocument, RevisionConflict
from coordinator.testing import ManualClock
from mutants.record_checks import pass_and_collect
from mutants.world import NAME, Violation, World, content, promise, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(os.path.realpath(tmp_path))


@pytest.mark.parametrize("set_back_ms", [0, 3_600_000], ids=["stands still", "set back"])
def test_p9_a_holder_that_renews_keeps_its_lease_whatever_the_servers_clock_does(
    world: World, set_back_ms: int
) -> None:
    holders = ManualClock()
    lease = world.agent("holder", holders).lease(NAME, ttl=5)
    world.server.advance(-set_back_ms)

    def time_passes(pause_ms: float) -> None:
        holders.advance(pause_ms)
        lease.check()  # renews when that is due

    with contextlib.suppress(LeaseHeld):
        world.agent("rival", ManualClock(on_pause=time_passes)).lease(NAME, wait=30)
        raise Violation("a lease was taken over as silent from a holder that renews it in time")


def test_p6_the_history_of_a_resource_made_on_another_host_is_seen(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    promise(here.history(NAME) == [], "there is nothing yet")
    there.lease(NAME)
    promise([record.kind for record in here.history(NAME)] == ["grant"], "a resource made on another host stays absent")


def test_p6_records_archived_on_another_host_are_seen(world: World) -> None:
    here, there = world.host("here").document(NAME), world.host("there")
    there.document(NAME).commit(b"one", if_revision=0)
    promise(len(here.history()) == 1, "the first revision is told of")  # looks into history/, which is not there
    there.document(NAME).commit(b"two", if_revision=1)
    pass_and_collect(there)
    promise([revision.revision for revision in here.history()] == [1, 2], "what was archived on another host is gone")


def test_p6_an_earlier_revision_archived_on_another_host_is_not_taken_for_an_edit(world: World) -> None:
    here, there = world.host("here").document(NAME), world.host("there")
    there.document(NAME).commit(b"one", if_revision=0)
    promise(len(here.history()) == 1, "the first revision is told of")
    for revision in range(1, 4):
        there.document(NAME).commit(b"revision %d" % revision, if_revision=revision)
    pass_and_collect(there)
    write(world.view, b"revision 2")  # set back by a late rename
    promise(here.read() == b"revision 3", "something else is read")
    promise(here.conflicts() == [], "an earlier revision was taken for somebody's edit")


def test_p6_a_file_in_a_folder_made_on_another_host_is_not_written_over(world: World) -> None:
    here, path = world.host("here").document("notes/plan.md"), f"{world.root}/notes/plan.md"
    world.agent("there").lease("notes/plan.md").release()
    with contextlib.suppress(NoSuchDocument):
        here.read()
    write(path, b"somebody's work")  # by a program on another host
    with contextlib.suppress(RevisionConflict):
        here.commit(b"one", if_revision=0)
    kept = [content(path), *map(content, here.conflicts())]
    promise(b"somebody's work" in kept, "a file that was never committed was written over, and not kept")


def test_p6_a_revision_committed_on_another_host_is_told_to_be_available(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    there.lease(NAME).release()
    promise(here.document(NAME).history() == [], "nothing is committed yet")  # looks into snap/, which is not there
    there.document(NAME).commit(b"one", if_revision=0)
    promise(here.document(NAME).history()[0].available, "content that is there is told to be gone")


def test_p6_an_edit_kept_by_another_host_is_told(world: World) -> None:
    here, there = world.host("here").document(NAME), world.host("there").document(NAME)
    there.commit(b"one", if_revision=0)
    promise(here.conflicts() == [], "there are none yet")
    write(world.view, b"somebody's edit")
    promise(there.read() == b"one", "something else is read")
    promise(here.conflicts() == there.conflicts() != [], "an edit that another host kept is not told of")


def test_p6_the_sidecar_tells_what_the_plain_file_shows(world: World) -> None:
    here, there = world.host("here").document(NAME), world.host("there").document(NAME)
    here.commit(b"one", if_revision=0)
    there.commit(b"two", if_revision=1)
    here.commit(b"one", if_revision=2)
    told = json.loads(content(f"{world.state}/view.json") or b"{}")
    promise(told["sha256"] == hashlib.sha256(content(world.view) or b"").hexdigest(), "the sidecar tells of another")
