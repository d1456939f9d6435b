"""A frozen writer's late rename sets the plain file back (P16); each read and commit through the library repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator import Workspace

from .test_stopped_commit import AFTER, BEFORE, IN_FLIGHT, NAME, stop_in_commit, succeed

if TYPE_CHECKING:
    from .support.fleet import Fleet
    from .support.processes import Process


def set_back(fleet: Fleet) -> Process:
    """A holder that has just put its old content over its successor's in the plain file, and stopped again there."""
    holder, fence = stop_in_commit(fleet, "before_view_rename", "after_view_rename")
    succeed(fleet, fence, IN_FLIGHT)
    assert fleet.view(NAME) == AFTER
    holder.go_on()
    holder.wait_until_stopped("after_view_rename")
    assert fleet.view(NAME) == IN_FLIGHT  # what this test is about has really happened
    return holder


def test_one_read_through_the_library_repairs_it(fleet: Fleet) -> None:
    set_back(fleet).kill()

    reader = Workspace(fleet.directory, agent="reader").document(NAME)

    assert reader.read() == AFTER
    assert fleet.view(NAME) == AFTER
    assert fleet.sidecar(NAME)["sha256"] == reader.content().sha256
    assert reader.conflicts() == []


def test_a_reader_that_has_seen_the_newest_already_repairs_it_too(fleet: Fleet) -> None:
    reader = Workspace(fleet.directory, agent="reader").document(NAME)
    holder = set_back(fleet)
    fleet.test.document(NAME).read()
    holder.kill()

    assert reader.read() == fleet.view(NAME) == AFTER


def test_the_next_commit_repairs_it(fleet: Fleet) -> None:
    set_back(fleet).kill()

    receipt = fleet.test.document(NAME).commit(BEFORE, if_revision=3)

    assert receipt.view == "fresh"
    assert receipt.conflicts == ()
    assert fleet.view(NAME) == BEFORE


def test_the_writer_itself_repairs_it_when_it_goes_on(fleet: Fleet) -> None:
    holder = set_back(fleet)
    holder.go_on()

    assert holder.answer("its receipt")["view"] == "fresh"
    assert fleet.view(NAME) == AFTER
    assert fleet.sidecar(NAME)["revision"] == 3


def test_the_sidecar_tells_what_the_file_shows_after_a_reader_and_the_writer_both_repaired_it(fleet: Fleet) -> None:
    holder = set_back(fleet)
    assert fleet.test.document(NAME).read() == fleet.view(NAME) == AFTER
    holder.go_on()
    holder.answer("its receipt")

    assert fleet.test.document(NAME).read() == fleet.view(NAME) == AFTER
    assert fleet.sidecar(NAME)["revision"] == 3


def test_the_sidecar_of_a_writer_killed_between_file_and_sidecar_is_put_right_by_a_read(fleet: Fleet) -> None:
    holder, _ = stop_in_commit(fleet, "after_view_rename")
    holder.kill()

    reader = Workspace(fleet.directory, agent="reader").document(NAME)

    assert reader.read() == fleet.view(NAME) == IN_FLIGHT
    assert fleet.sidecar(NAME)["sha256"] == reader.content().sha256


def test_the_writer_reads_the_newest_afterwards(fleet: Fleet) -> None:
    holder = set_back(fleet)
    holder.go_on()
    holder.answer("its receipt")

    for _ in range(2):
        assert holder.ask("read", name=NAME) == {"text": AFTER.decode(), "revision": 3}
