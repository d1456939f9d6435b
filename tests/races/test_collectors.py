"""Collectors that meet each other, and readers: whatever stops where, every record stays known (P18)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from coordinator.limits import HISTORY_SEGMENTS_MAX

if TYPE_CHECKING:
    from .support.fleet import Fleet

NAME = "plan.json"


def make_records(fleet: Fleet, count: int) -> None:
    with fleet.test.lease(NAME, ttl=60) as lease:
        for _ in range(count - 2):
            lease.renew()


def make_segments(fleet: Fleet, count: int) -> None:
    """Collects so often that there are this many segments in the archive."""
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    for _ in range(count):
        make_records(fleet, 3)
        fleet.test.document(NAME).collect(keep=1)
    assert len(segments(fleet)) == count


def segments(fleet: Fleet) -> list[str]:
    return [name for name in os.listdir(fleet.place(NAME, "history")) if name.endswith(".log")]


def assert_all_known(fleet: Fleet) -> None:
    numbers = [record.n for record in fleet.test.history(NAME)]
    assert numbers == list(range(1, numbers[-1] + 1))
    assert [number for number, _, _ in fleet.revisions(NAME)] == [1]
    assert fleet.test.document(NAME).read() == b"first"


@pytest.mark.parametrize("op", ["write", "sync"])
def test_a_segment_in_the_making_is_not_merged_away_by_another_collector(fleet: Fleet, op: str) -> None:
    make_segments(fleet, HISTORY_SEGMENTS_MAX)
    make_records(fleet, 12)
    slow = fleet.start("slow")
    slow.ask("pause_before", op=op, contains="/history/")
    slow.tell("collect", name=NAME, keep=2)
    slow.wait_until_stopped(f"before the {op} of its segment")

    make_records(fleet, 3)
    fleet.test.document(NAME).collect(keep=32)  # nothing to archive, and enough segments to merge
    slow.go_on()

    assert slow.answer("what it collected")["records"] > 0
    assert_all_known(fleet)


def test_a_reader_of_the_history_misses_nothing_when_segments_are_merged_under_its_eyes(fleet: Fleet) -> None:
    make_segments(fleet, HISTORY_SEGMENTS_MAX)
    reader = fleet.start("reader")
    reader.ask("pause_before", op="read", contains="/history/")
    reader.tell("history", name=NAME)
    reader.wait_until_stopped("before it reads the first segment it has listed")
    before = [record.n for record in fleet.test.history(NAME)]
    make_records(fleet, 3)
    fleet.test.document(NAME).collect(keep=1)
    assert len(segments(fleet)) == 1

    reader.go_on()

    numbers = reader.answer("the history")["numbers"]
    assert numbers[: len(before)] == before


@pytest.mark.parametrize(
    ("op", "contains"),
    [("write", "/history/"), ("sync", "/history/"), ("sync_dir", "/history"), ("symlink", "/chain/")],
)
def test_a_collector_killed_anywhere_leaves_every_record_known(fleet: Fleet, op: str, contains: str) -> None:
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    make_records(fleet, 12)
    collector = fleet.start("collector")
    if op == "symlink" and fleet.primitive == "directory":
        op = "rename"
    collector.ask("pause_before", op=op, contains=contains)
    collector.tell("collect", name=NAME, keep=2)
    collector.wait_until_stopped(f"before {op} of {contains}")
    collector.kill()

    assert_all_known(fleet)
    make_records(fleet, 3)
    fleet.test.document(NAME).collect(keep=2)
    assert_all_known(fleet)


@pytest.mark.parametrize("deleted", [0, 3])
def test_a_collector_killed_while_it_deletes_leaves_every_record_known(fleet: Fleet, deleted: int) -> None:
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    make_records(fleet, 12)
    collector = fleet.start("collector")
    op, contains = ("unlink", "/chain/") if fleet.primitive == "symlink" else ("rename", "/trash-")
    collector.ask("pause_before", op=op, contains=contains, nth=deleted + 1)
    collector.tell("collect", name=NAME, keep=2)
    collector.wait_until_stopped(f"after it has deleted {deleted} records")
    collector.kill()

    assert_all_known(fleet)
    fleet.test.document(NAME).collect(keep=2)
    assert_all_known(fleet)


def test_two_collectors_of_the_same_records_delete_them_once(fleet: Fleet) -> None:
    fleet.test.document(NAME).commit(b"first", if_revision=0)
    make_records(fleet, 12)
    slow = fleet.start("slow")
    slow.ask("pause", point="before_append", nth=1)  # archived, and about to raise the floor
    slow.tell("collect", name=NAME, keep=2)
    slow.wait_until_stopped("before it raises the floor")
    fleet.test.document(NAME).collect(keep=2)
    make_records(fleet, 3)
    slow.go_on()

    slow.answer("what it collected")
    assert_all_known(fleet)
    assert len([record for record in fleet.test.history(NAME) if record.kind == "floor"]) == 1
