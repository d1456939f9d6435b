"""What the store on a table asks of the service, how it collects, and what it does not believe."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from engines.faults import Script, held
from support import a_free_record, an_author, fill, in_thread, wait_until
from table_support import ID, NAME, RESOURCE, Table, behind, history_of, reads_after_refusal

from coordinator import Workspace
from coordinator.errors import AuthorityMoved, BadValue, LeaseHeld, StoreUnavailable
from coordinator.limits import TABLE_DATE_KEEP_MS, TABLE_LIVE_KEEP, TABLE_LIVE_MAX
from coordinator.names import Resource
from coordinator.record import table as table_module
from coordinator.record.authority import Authority, change, read_authority, register
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.store import Appended, Beaten
from coordinator.record.table_item import parse
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine
    from engines.fixtures import ProxyFactory


@pytest.fixture(params=["dynamodb", "moto_engine"])
def table(request: pytest.FixtureRequest) -> Table:
    """On either engine: a refused write brings the item with it on moto, as on AWS, and not on DynamoDB Local."""
    return Table.made(request.getfixturevalue(request.param))


@pytest.fixture
def local(dynamodb: Engine) -> Table:
    """On one engine, where they do not differ."""
    return Table.made(dynamodb)


# ── how much is asked ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_uncontended_pair_takes_two_requests_and_a_cold_one_three(table: Table) -> None:
    with table.open("founder").lease(NAME):
        pass
    workspace = table.open()
    table.asked.take()
    with workspace.lease(NAME):
        pass
    assert table.asked.take() == Counter({"GetItem": 1, "UpdateItem": 2}), "cold"
    for _ in range(5):
        with workspace.lease(NAME):
            assert table.asked.take() == Counter({"UpdateItem": 1})
        assert table.asked.take() == Counter({"UpdateItem": 1})


def test_a_names_first_pair_takes_three_requests_too(table: Table) -> None:
    workspace = table.open()
    table.asked.take()
    with workspace.lease(NAME):
        pass
    assert table.asked.take() == Counter({"GetItem": 1, "TransactWriteItems": 1, "UpdateItem": 1})


def test_what_a_holder_does_takes_one_request_each(table: Table) -> None:
    lease = table.open().lease(NAME)
    table.asked.take()
    for act, operation in [(lease.check, "GetItem"), (lease.renew, "UpdateItem"), (lease.release, "UpdateItem")]:
        act()
        assert table.asked.take() == Counter([operation])


def test_several_leases_take_one_transaction(table: Table) -> None:
    workspace = table.open()
    for _ in range(2):
        table.asked.take()
        with workspace.lease_many(["a", "b", "c"]):
            asked = table.asked.take()
        assert asked["TransactWriteItems"] == 1
    assert asked == Counter({"TransactWriteItems": 1}), "remembered"


def test_who_remembers_it_free_is_refused_what_another_holds_since(table: Table) -> None:
    alice, bob = table.open("alice"), table.open("bob")
    with alice.lease(NAME):
        pass
    with bob.lease(NAME) as lease:
        table.asked.take()
        with pytest.raises(LeaseHeld) as refused:
            alice.lease(NAME)
        assert table.asked.take() == Counter({"UpdateItem": 1}) + reads_after_refusal(table)
        assert (refused.value.holder, refused.value.fence) == ("bob", lease.fence)
        lease.check()
    assert [record.kind for record in alice.history(NAME)] == ["grant", "release"] * 2


def test_the_time_is_asked_for_when_nothing_was_heard_for_long(moto_engine: Engine) -> None:
    table, clock = Table.made(moto_engine), ManualClock()
    with table.open("founder").lease(NAME):
        pass
    workspace = table.open(clock=clock)
    for idle_ms, extra in [(0, 1), (TABLE_DATE_KEEP_MS - 10, 0), (TABLE_DATE_KEEP_MS + 10, 1)]:
        clock.advance(idle_ms)
        table.asked.take()
        with workspace.lease(NAME):
            pass
        assert table.asked.take()["GetItem"] == extra, idle_ms


# ── collecting (P18) ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_stays_short_and_its_history_whole(local: Table) -> None:
    workspace = local.open()
    for _ in range(TABLE_LIVE_MAX * 2):
        with workspace.lease(NAME):
            pass
    item = local.items()[f"record/{RESOURCE.state_path}"]
    assert len(parse(item, RESOURCE).past) < TABLE_LIVE_MAX
    history = workspace.history(NAME)
    assert [record.n for record in history] == list(range(1, len(history) + 1))
    assert Counter(record.kind for record in history)["grant"] == TABLE_LIVE_MAX * 2
    assert len([key for key in local.items() if key.startswith("past/")]) >= 3


def test_the_newest_of_a_long_history_take_two_requests(table: Table) -> None:
    workspace = table.open()
    for _ in range(60):
        with workspace.lease(NAME):
            pass
    store = workspace._member.store
    assert isinstance(store, table_module.TableStore)
    whole = store.history(RESOURCE)
    assert len(whole) >= 120
    table.asked.take()
    for limit, asked in ((1, 1), (10, 2), (90, 2)):
        assert store.newest(RESOURCE, limit) == whole[-limit:]
        assert sum(table.asked.take().values()) <= asked
    assert store.newest(RESOURCE, 10_000) == whole
    assert store.newest(Resource.parse("never"), 5) == []


def test_resources_come_in_pages(table: Table) -> None:
    workspace = table.open()
    names = {"a", "a/b", "ab", "b/c.json", "z"}
    for name in names:
        workspace.lease(name).release()
    store = workspace._member.store
    assert isinstance(store, table_module.TableStore)
    found: list[str] = []
    table.asked.take()
    while page := store.page(found[-1] if found else "", 2):
        assert sum(table.asked.take().values()) == 1
        found += map(str, page)
    assert len(found) == len(names)
    assert set(found) == names


def test_a_collection_takes_three_requests_at_most(local: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "randrange", lambda _most: 0)  # the one that looks for old archives
    store = local.store()
    fill(store, RESOURCE, TABLE_LIVE_MAX + 1)
    local.asked.take()
    store.collect(RESOURCE, an_author(1), keep=TABLE_LIVE_KEEP)
    assert local.asked.take() == Counter({"PutItem": 1, "UpdateItem": 1, "Query": 1})


class Killed(BaseException):
    """This process ends here."""


@pytest.mark.parametrize("more", [0, 5])
def test_killed_between_archiving_and_raising_the_floor(
    table: Table, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    store = table.store()
    records = fill(store, RESOURCE, 10)

    def killed(*_about: Any, **_how: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(table_module, "settle", killed)
        with pytest.raises(Killed):
            store.collect(RESOURCE, an_author(1), keep=3)
    assert len([key for key in table.items() if key.startswith("past/")]) == 1
    other = table.store()
    assert other.history(RESOURCE) == records, "nothing twice"
    for n in range(11, 11 + more):
        records.append(a_free_record(n))
        other.append(RESOURCE, records[-1], durable=True)
    for one in (store, other, table.store()):
        one.read(RESOURCE)
        one.collect(RESOURCE, an_author(2), keep=3)
        assert [record for record in one.history(RESOURCE) if record.kind != "floor"] == records
        assert [n for n, _ in history_of(one)] == list(range(1, len(one.history(RESOURCE)) + 1))


@pytest.mark.parametrize("operation", ["GetItem", "Query"])
def test_history_is_whole_while_another_collects(local: Table, fault_proxy: ProxyFactory, operation: str) -> None:
    records = fill(local.store(), RESOURCE, 10)
    go_on = threading.Event()
    way, proxy = behind(local, fault_proxy, Script(operation, [held(before=go_on)]))
    with in_thread(lambda: local.store(through=way).history(RESOURCE)) as outcome:
        wait_until(lambda: proxy.held == 1)
        assert local.store().collect(RESOURCE, an_author(1), keep=2) == 8
        go_on.set()
    assert [record for record in outcome[0] if record.kind != "floor"] == records


# ── never back ───────────────────────────────────────────────────────────────────────────────────────────────────────


def restore(table: Table, n: int) -> None:
    """Brings an older state of the item back, as a restored table would."""
    table.put(a_free_record(n, n), [])


@pytest.mark.parametrize("act", ["read", "append", "history", "collect"])
def test_an_item_that_went_back_is_refused(table: Table, act: str) -> None:
    store = table.store()
    fill(store, RESOURCE, 6)
    restore(table, 4)
    acts: dict[str, Callable[[], Any]] = {
        "read": lambda: store.read(RESOURCE),
        "append": lambda: store.append(RESOURCE, a_free_record(7), durable=True),
        "history": lambda: store.history(RESOURCE),
        "collect": lambda: store.collect(RESOURCE, an_author(1), keep=1),
    }
    items = table.items()
    with pytest.raises(StoreUnavailable, match="went back in the table, from 6 to 4") as refused:
        acts[act]()
    assert "restored" in refused.value.hint
    assert {name: item for name, item in table.items().items() if not name.startswith("past/")} == items


def test_an_item_that_was_deleted_is_refused(table: Table) -> None:
    store = table.store()
    fill(store, RESOURCE, 2)
    key = {"pk": {"S": ID}, "sk": {"S": f"record/{RESOURCE.state_path}"}}
    table.engine.client().delete_item(TableName=table.name, Key=key)
    for act in (lambda: store.read(RESOURCE), lambda: store.append(RESOURCE, a_free_record(3), durable=True)):
        with pytest.raises(StoreUnavailable, match="went back in the table, from 2 to 0"):
            act()


def test_an_item_that_went_back_and_came_to_the_same_n_another_way_is_refused(table: Table) -> None:
    """Whoever held the lease there before the restoration would go on believing in it."""
    store = table.store()
    fill(store, RESOURCE, 6)
    restore(table, 4)
    after = table.store()
    for n in (5, 6):
        after.append(RESOURCE, a_free_record(n), durable=True)
    with pytest.raises(StoreUnavailable, match="went back"):
        store.read(RESOURCE)


@pytest.mark.parametrize("refused", [False, True])
def test_an_answer_that_another_thread_overtook_is_no_going_back(
    local: Table, fault_proxy: ProxyFactory, refused: bool
) -> None:
    """One store, two threads: one's read was answered before the other's append, and is looked at after it."""
    records = fill(local.store(), RESOURCE, 3)
    answer = threading.Event()
    way, proxy = behind(local, fault_proxy)
    store = local.store(through=way)
    store.read(RESOURCE)
    if refused:
        records.append(a_free_record(4))
        local.store().append(RESOURCE, records[-1], durable=True)
    proxy.plan = Script("GetItem", [held(after=answer)])
    late = a_free_record(4)
    act = (lambda: store.append(RESOURCE, late, durable=True)) if refused else (lambda: store.read(RESOURCE))
    with in_thread(act) as outcome:
        wait_until(lambda: proxy.held == 1)
        newest = a_free_record(len(records) + 1)
        assert isinstance(store.append(RESOURCE, newest, durable=True), Appended)
        answer.set()
    assert outcome == [Beaten(newest) if refused else newest]


# ── forks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_child(body: Callable[[], Any]) -> Any:
    """What a forked child says."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = json.dumps(body()).encode()
        except BaseException as failure:  # noqa: BLE001 - told to the parent
            told = json.dumps([type(failure).__name__, str(failure)]).encode()
        os.write(writes, told)
        os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def test_a_forked_child_has_a_client_of_its_own(local: Table, fault_proxy: ProxyFactory) -> None:
    way, proxy = behind(local, fault_proxy)
    made: list[int] = []

    def client() -> Any:
        made.append(os.getpid())
        return way.client()

    workspace = Workspace(table=local.name, workspace=ID, agent="alice", client=client)
    lease = workspace.lease(NAME)
    with lease:
        connections = len(proxy._serving)

        def work() -> list[Any]:
            with workspace.lease("other") as other:
                return [made, os.getpid(), other.fence, len(proxy._serving)]

        pids, child, fence, _ = in_child(work)
        assert pids == [os.getpid(), child]
        assert fence == 1
        lease.renew()
        assert len(proxy._serving) <= connections + 1
    assert made == [os.getpid()]
    assert [record.agent for record in workspace.history("other")] == ["alice", "alice"]


def test_a_client_that_was_passed_in_is_refused_in_a_child(local: Table) -> None:
    workspace = Workspace(table=local.name, workspace=ID, agent="alice", client=local.engine.client())
    with workspace.lease(NAME):
        name, text = in_child(lambda: workspace.lease("other").fence)
        assert name == BadValue.__name__
        assert "belongs to the parent process (pass a function that makes a client" in text
    assert "record/other/@" not in local.items()


# ── whose it is to rule (P28) ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("born", [MOUNT, TABLE])
def test_a_first_record_goes_in_only_where_no_chain_can_be_on_a_mount(table: Table, born: str) -> None:
    """A chain on the mount may still be open: whoever writes there must find the seal first (P29)."""
    calls = table.calls()
    if born == MOUNT:
        old = register(calls, "moved", Authority.first(MOUNT, "inode 7", "alice"))
        change(calls, "moved", old, replace(old, mode=TABLE, epoch=2))
    else:
        register(calls, "moved", Authority.first(TABLE, "", "alice"))
    workspace = Workspace(table=table.name, workspace="moved", agent="bob", client=table.engine.client)
    for acquire in (lambda: workspace.lease("a"), lambda: workspace.lease_many(["a", "b"])):
        if born == MOUNT:
            with table.unchanged(), pytest.raises(AuthorityMoved, match="coordinator authority move table"):
                acquire()
        else:
            with acquire() as had:
                assert had
    assert read_authority(calls, "moved") is not None
