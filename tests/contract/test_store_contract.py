"""What every store promises. A further store joins by one line in STORE_KINDS (tests/conftest.py)."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest
from support import a_free_record, a_record, an_author, fill, together

from coordinator.errors import BadValue
from coordinator.names import Resource
from coordinator.record.store import Appended, Beaten

if TYPE_CHECKING:
    from support import StoreKind

    from coordinator.record.record import Record

NAME: Final = Resource.parse("tasks.json")
LOOK_LIKE_OURS: Final = [
    "@",
    "@/@",
    "@@",
    "@@@",
    "@a",
    "000000000001",
    "a",
    "a/000000000001",
    "a/@",
    "a/@/b",
    "a/@/chain",
    "a/@@",
    "a/chain",
    "a/chain/000000000001",
    "a/queue.lock",
    "a/view.json",
    "chain",
    "chain/@",
    "history",
    "kept",
    "resources",
    "snap",
]


# ── reading and appending ────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_there_before_the_first_append(kind: StoreKind) -> None:
    store = kind.open()
    assert store.read(NAME) is None
    assert store.history(NAME) == []
    assert list(store.resources()) == []
    assert store.collect(NAME, an_author(1), keep=1) == 0
    assert store.read(NAME) is None  # looking made nothing


def test_what_was_appended_is_read_here_and_elsewhere(kind: StoreKind) -> None:
    store, record = kind.open(), a_record(n=1, floor=1, lease=None, head=None, freed_ms=0)
    assert store.append(NAME, record, durable=True) == Appended(record, 1)
    assert store.read(NAME) == record
    assert kind.open().read(NAME) == record


@pytest.mark.parametrize("durable", [True, False])
def test_a_chain_grows_durable_or_not(kind: StoreKind, durable: bool) -> None:
    store, other = kind.open(), kind.open()
    for n in range(1, 6):
        record = a_free_record(n)
        assert store.append(NAME, record, durable=durable) == Appended(record, n)
        assert other.read(NAME) == record  # never older than what stands, though this one has read before


def test_a_second_append_at_the_same_n_is_beaten_and_told_the_newest(kind: StoreKind) -> None:
    store = kind.open()
    records = fill(store, NAME, 3)
    for n in (1, 2, 3):
        assert kind.open().append(NAME, a_free_record(n), durable=True) == Beaten(records[-1])
    assert store.read(NAME) == records[-1]
    assert store.history(NAME) == records


def test_the_same_request_again_is_recognised_and_not_written_twice(kind: StoreKind) -> None:
    store = kind.open()
    records = fill(store, NAME, 3)
    for record in reversed(records):
        again = kind.open().append(NAME, record, durable=True)
        assert isinstance(again, Appended)
        assert again.record == record
    assert store.history(NAME) == records


def test_a_record_that_does_not_fit_is_refused_and_nothing_is_written(kind: StoreKind) -> None:
    store = kind.open()
    with pytest.raises(BadValue, match="cannot stand in a record"):
        store.append(NAME, a_free_record(1, agent="not an agent"), durable=True)
    assert store.read(NAME) is None


def test_resources_do_not_meet(kind: StoreKind) -> None:
    store = kind.open()
    other = Resource.parse("other.json")
    fill(store, NAME, 3)
    assert store.read(other) is None
    record = a_free_record(1)
    assert store.append(other, record, durable=False) == Appended(record, 1)
    assert [found.n for found in store.history(NAME)] == [1, 2, 3]


# ── one winner ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shared", [True, False], ids=["one-store", "a-store-each"])
def test_of_eight_threads_exactly_one_wins_each_position(kind: StoreKind, shared: bool) -> None:
    count, crowd = 25, 8
    common = kind.open()
    stores = [common if shared else kind.open() for _ in range(crowd)]
    barrier = threading.Barrier(crowd)

    def run(i: int) -> list[tuple[int, str]]:
        won = []
        for n in range(1, count + 1):
            record = a_free_record(n)
            barrier.wait(60)
            result = stores[i].append(NAME, record, durable=False)
            if isinstance(result, Appended):
                won.append((n, record.request))
            else:
                assert result.current.n >= n
        return won

    won = sorted(entry for told in together(*[lambda i=i: run(i) for i in range(crowd)]) for entry in told)
    assert [n for n, _ in won] == list(range(1, count + 1))
    assert [(record.n, record.request) for record in kind.open().history(NAME)] == won


# ── history and collection (P18) ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keep", [1, 3, 9])
def test_a_collection_keeps_the_newest_and_forgets_nothing(kind: StoreKind, keep: int) -> None:
    store = kind.open()
    records = fill(store, NAME, 10)
    assert store.collect(NAME, an_author(1, "collector"), keep=keep) == 10 - keep
    newest = store.read(NAME)
    assert newest is not None
    assert (newest.n, newest.kind, newest.floor, newest.agent) == (11, "floor", 10 - keep + 1, "collector")
    for view in (store, kind.open()):
        assert view.read(NAME) == newest
        assert view.history(NAME) == [*records, newest]
    record = a_free_record(12, floor=newest.floor)
    assert store.append(NAME, record, durable=True) == Appended(record, keep + 2)  # the floor's record stands too


@pytest.mark.parametrize("keep", [10, 11, 500])
def test_a_collection_that_has_nothing_to_do_writes_nothing(kind: StoreKind, keep: int) -> None:
    store = kind.open()
    records = fill(store, NAME, 10)
    assert store.collect(NAME, an_author(1), keep=keep) == 0
    assert store.history(NAME) == records


def test_collecting_again_and_again_keeps_history_whole(kind: StoreKind) -> None:
    store, appended = kind.open(), []
    newest: Record | None = None
    for _ in range(5):
        for _ in range(6):
            n, floor = (newest.n + 1, newest.floor) if newest else (1, 1)
            newest = a_free_record(n, floor=floor)
            assert isinstance(store.append(NAME, newest, durable=False), Appended)
            appended.append(newest)
        store.collect(NAME, an_author(1), keep=2)
        newest = store.read(NAME)
        assert newest is not None
        appended.append(newest)
    assert store.history(NAME) == appended
    assert kind.open().history(NAME) == appended


def test_another_who_read_before_a_collection_reads_right_after_it(kind: StoreKind) -> None:
    store, other = kind.open(), kind.open()
    fill(store, NAME, 10)
    assert other.read(NAME) == store.read(NAME)
    store.collect(NAME, an_author(1), keep=1)
    assert other.read(NAME) == store.read(NAME)


def test_a_late_append_below_the_floor_is_beaten_and_changes_nothing(kind: StoreKind) -> None:
    store, late = kind.open(), kind.open()
    records = fill(store, NAME, 10)
    late.read(NAME)
    store.collect(NAME, an_author(1), keep=2)
    newest = store.read(NAME)
    assert newest is not None
    for n in (1, 5, 8):
        assert late.append(NAME, a_free_record(n), durable=True) == Beaten(newest)
    assert kind.open().read(NAME) == newest
    assert kind.open().history(NAME) == [*records, newest]


def test_a_late_retry_below_the_floor_is_recognised_from_the_archive(kind: StoreKind) -> None:
    store = kind.open()
    records = fill(store, NAME, 10)
    store.collect(NAME, an_author(1), keep=2)
    newest = store.read(NAME)
    again = kind.open().append(NAME, records[4], durable=True)
    assert isinstance(again, Appended)
    assert again.record == records[4]
    assert kind.open().history(NAME) == [*records, newest]


def test_appends_and_collections_at_once_lose_nothing(kind: StoreKind) -> None:
    stores = [kind.open() for _ in range(3)]
    fill(stores[0], NAME, 4)
    appended: list[tuple[int, str]] = []

    def append(i: int) -> None:
        for _ in range(20):
            while True:
                newest = stores[i].read(NAME)
                assert newest is not None
                record = a_free_record(newest.n + 1, floor=newest.floor)
                if isinstance(stores[i].append(NAME, record, durable=False), Appended):
                    appended.append((record.n, record.request))
                    break

    def collect() -> None:
        for _ in range(8):
            stores[2].collect(NAME, an_author(1), keep=3)

    together(lambda: append(0), lambda: append(1), collect)
    history = kind.open().history(NAME)
    assert [record.n for record in history] == list(range(1, len(history) + 1))
    assert {(record.n, record.request) for record in history} >= set(appended)
    assert len(set(appended)) == 40


# ── time and turns ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_share_one_clock_that_does_not_go_back(kind: StoreKind) -> None:
    one, two = kind.open(), kind.open()
    readings = [store.now_ms() for _ in range(10) for store in (one, two)]
    assert all(later >= sooner - one.skew_ms for sooner, later in pairwise(readings))
    assert readings[0] > 1_600_000_000_000  # Unix milliseconds


def test_a_turn_excludes_the_other_threads_of_the_process(kind: StoreKind) -> None:
    store, inside, most, guard = kind.open(), 0, 0, threading.Lock()

    def run() -> None:
        nonlocal inside, most
        for _ in range(10):
            with store.turn(NAME):
                with guard:
                    inside += 1
                    most = max(most, inside)
                store.read(NAME)
                with guard:
                    inside -= 1

    together(*[run] * 4)
    assert most == 1


def test_turns_of_two_resources_are_independent(kind: StoreKind) -> None:
    store = kind.open()
    with store.turn(NAME), store.turn(Resource.parse("other")):
        fill(store, NAME, 1)


def test_a_turn_ends_when_its_body_fails(kind: StoreKind) -> None:
    store = kind.open()
    with pytest.raises(ZeroDivisionError), store.turn(NAME):
        raise ZeroDivisionError
    with store.turn(NAME):
        fill(store, NAME, 1)


def test_an_append_needs_no_turn(kind: StoreKind) -> None:
    """Safety rests on P1 alone (P2)."""
    store, other = kind.open(), kind.open()
    with store.turn(NAME):
        fill(other, NAME, 3)
    assert [record.n for record in store.history(NAME)] == [1, 2, 3]


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_that_look_like_our_own_folders_never_meet(kind: StoreKind) -> None:
    store = kind.open()
    names = [Resource.parse(name) for name in LOOK_LIKE_OURS]
    written = {name: a_free_record(1, i) for i, name in enumerate(names, 1)}
    for name, record in written.items():
        assert store.append(name, record, durable=False) == Appended(record, 1)
    again = kind.open()
    assert {name: again.read(name) for name in names} == written
    assert {name: again.history(name) for name in names} == {name: [record] for name, record in written.items()}
    for name in names:
        store.append(name, a_free_record(2), durable=False)
        store.collect(name, an_author(1), keep=1)
    assert sorted(again.resources()) == sorted(names)
    assert all(len(again.history(name)) == 3 for name in names)


def test_resources_lists_what_has_a_record(kind: StoreKind) -> None:
    store = kind.open()
    for name in ("b/c", "a", "b", "ü/ö.json"):
        fill(store, Resource.parse(name), 1)
    found = sorted(kind.open().resources())
    assert found == ["a", "b", "b/c", "ü/ö.json"]
    assert all(isinstance(name, Resource) for name in found)


def test_queueing_for_a_turn_makes_no_resource(kind: StoreKind) -> None:
    store = kind.open()
    with store.turn(NAME):
        assert list(store.resources()) == []
    assert list(store.resources()) == []
