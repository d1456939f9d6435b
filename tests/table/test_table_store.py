"""What the store on a table asks of the service, and what it makes of lost, late, refused and cut answers (P7, P8)."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines.faults import (
    DROP_REPLY,
    DROP_REQUEST,
    INTERNAL_ERROR,
    PASS,
    THROTTLED,
    THROUGHPUT_EXCEEDED,
    TRUNCATED_REPLY,
    UNAVAILABLE,
    Script,
    error,
    held,
)
from support import a_free_record, an_author, fill, in_thread, wait_until
from table_support import ID, NAME, RESOURCE, Table

from coordinator import Workspace
from coordinator.errors import AuthorityMoved, BadValue, LeaseHeld, StoreUnavailable
from coordinator.limits import TABLE_BUDGET_MS, TABLE_DATE_KEEP_MS, TABLE_LIVE_KEEP, TABLE_LIVE_MAX
from coordinator.names import Resource
from coordinator.record import table as table_module
from coordinator.record import table_calls
from coordinator.record.authority import Authority, change, read_authority, register
from coordinator.record.record import MOUNT, TABLE
from coordinator.record.store import Appended, Beaten
from coordinator.record.table_item import parse
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy

    from coordinator.record.record import Record
    from coordinator.record.table import TableStore

OTHER: Final = Resource.parse("other")


@pytest.fixture(params=["dynamodb", "moto_engine"])
def table(request: pytest.FixtureRequest) -> Table:
    """On either engine: a refused write brings the item with it on moto, as on AWS, and not on DynamoDB Local."""
    return Table.made(request.getfixturevalue(request.param))


@pytest.fixture
def local(dynamodb: Engine) -> Table:
    """On one engine, where they do not differ."""
    return Table.made(dynamodb)


def behind(table: Table, fault_proxy: ProxyFactory, plan: Any = None) -> tuple[Engine, FaultProxy]:
    """The way to the table through a proxy."""
    proxy = fault_proxy(table.engine)
    proxy.plan = plan or proxy.plan
    return table.engine.at(proxy.endpoint_url), proxy


def reads_after_refusal(table: Table) -> Counter[str]:
    return Counter({"GetItem": 1} if table.engine.name == "dynamodb-local" else {})


def history_of(store: TableStore, resource: Resource = RESOURCE) -> list[tuple[int, str]]:
    return [(record.n, record.request) for record in store.history(resource)]


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


# ── one's own request (P7) ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_acquire_whose_reply_was_lost_is_won_at_once(table: Table, fault_proxy: ProxyFactory) -> None:
    way, proxy = behind(table, fault_proxy)
    clock = ManualClock()
    workspace = table.open(through=way, clock=clock)
    for fault in (DROP_REPLY, TRUNCATED_REPLY, INTERNAL_ERROR.after_write()):
        proxy.plan = Script("UpdateItem", [fault]) if fault is not DROP_REPLY else Script("TransactWriteItems", [fault])
        began = clock.wall_ms()
        with workspace.lease(NAME, ttl=60) as lease:
            assert clock.wall_ms() - began < 1000
            assert lease.remaining > 40
    grants = [record for record in workspace.history(NAME) if record.kind == "grant"]
    assert [record.n for record in grants] == [1, 3, 5]


def beneath(others: int, collects: bool, drops: bool) -> Callable[[TableStore], None]:
    """What happens above a record while its author waits for a reply."""

    def act(store: TableStore) -> None:
        store.read(RESOURCE)
        newest = store.read(RESOURCE)
        assert newest is not None
        for n in range(newest.n + 1, newest.n + 1 + others):
            store.append(RESOURCE, a_free_record(n), durable=True)
        if collects:
            store.collect(RESOURCE, an_author(7), keep=2)
        if drops:
            for item in store.archive.query("past/", only="pk, sk"):
                store.calls.client.delete_item(TableName=store.calls.table, Key={k: item[k] for k in ("pk", "sk")})

    return act


def append_with_lost_reply(
    table: Table, fault_proxy: ProxyFactory, record: Record, meanwhile: Callable[[TableStore], None]
) -> Any:
    """What an append came to whose first try landed, and whose second came after others had acted."""
    answer = threading.Event()
    way, proxy = behind(table, fault_proxy, Script("UpdateItem", [replace(DROP_REPLY, hold_after=answer)]))
    store = table.store(through=way)
    store.read(RESOURCE)
    with in_thread(lambda: store.append(RESOURCE, record, durable=True)) as outcome:
        wait_until(lambda: proxy.held == 1)
        meanwhile(table.store())
        answer.set()
    return outcome[0]


@pytest.mark.parametrize(("others", "collects"), [(0, False), (1, False), (9, False), (9, True)])
def test_it_is_recognised_though_others_built_on_it(
    table: Table, fault_proxy: ProxyFactory, others: int, collects: bool
) -> None:
    fill(table.store(), RESOURCE, 3)
    record = a_free_record(4)
    table.asked.take()
    result = append_with_lost_reply(table, fault_proxy, record, beneath(others, collects, drops=False))
    assert isinstance(result, Appended)
    assert result.record == record
    history = history_of(table.store())
    assert history.count((4, record.request)) == 1
    assert len({request for _, request in history}) == len(history) == 4 + others + collects


def test_what_can_no_longer_be_told_is_told_so(table: Table, fault_proxy: ProxyFactory) -> None:
    fill(table.store(), RESOURCE, 3)
    result = append_with_lost_reply(table, fault_proxy, a_free_record(4), beneath(9, collects=True, drops=True))
    assert isinstance(result, StoreUnavailable)
    assert result.outcome_unknown is True
    assert "read the resource anew" in result.hint


def test_a_first_record_that_another_put_meanwhile_is_not_taken_for_ones_own(
    table: Table, fault_proxy: ProxyFactory
) -> None:
    mine, theirs = a_free_record(1), a_free_record(1)
    answer = threading.Event()
    way, proxy = behind(table, fault_proxy, Script("UpdateItem", [replace(DROP_REQUEST, hold_before=answer)]))
    with in_thread(lambda: table.store(through=way).append(RESOURCE, mine, durable=True)) as outcome:
        wait_until(lambda: proxy.held == 1)
        table.store().append(RESOURCE, theirs, durable=True)
        answer.set()
    assert outcome == [Beaten(theirs)]


def test_a_reply_that_was_cut_is_no_reply(local: Table, fault_proxy: ProxyFactory) -> None:
    records = fill(local.store(), RESOURCE, 3)
    local.store().collect(RESOURCE, an_author(1), keep=1)
    for operation in ("GetItem", "Query"):
        way, proxy = behind(local, fault_proxy, Script(operation, [TRUNCATED_REPLY]))
        assert local.store(through=way).history(RESOURCE)[:3] == records
        assert proxy.counts["truncated-reply"] == 1


def test_believing_cut_replies_is_found(
    local: Table, fault_proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(local.store(), RESOURCE, 3)
    monkeypatch.setattr(table_calls, "refuse_cut_reply", lambda **_: None)
    way, _ = behind(local, fault_proxy, Script("GetItem", [TRUNCATED_REPLY]))
    assert local.store(through=way).read(RESOURCE) is None, "the test above would not notice"


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


# ── how long it is tried ─────────────────────────────────────────────────────────────────────────────────────────────

BUSY: Final = [
    (THROTTLED, False),
    (THROUGHPUT_EXCEEDED, False),
    (error(400, "RequestLimitExceeded", "Too many requests"), False),
    (error(400, "TransactionConflictException", "Transaction is ongoing for the item"), False),
    (INTERNAL_ERROR, True),
    (UNAVAILABLE, True),
    (DROP_REQUEST, True),
    (TRUNCATED_REPLY, False),
]


@pytest.mark.parametrize(("fault", "unknown"), BUSY[:-1], ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("ttl_ms", [500, 3000, 60_000])
def test_a_table_that_is_busy_for_longer_than_the_ttl(
    local: Table, fault_proxy: ProxyFactory, fault: Fault, unknown: bool, ttl_ms: int
) -> None:
    way, proxy = behind(local, fault_proxy)
    pauses: list[float] = []
    clock = ManualClock(on_pause=pauses.append)
    workspace = local.open(through=way, clock=clock)
    with workspace.lease(NAME):
        pass
    proxy.plan = lambda _number, _operation, _body: fault
    began = clock.wall_ms()
    with local.unchanged(), pytest.raises(StoreUnavailable) as refused:
        workspace.lease(NAME, ttl=ttl_ms / 1000)
    budget_ms = min(ttl_ms, TABLE_BUDGET_MS)
    assert budget_ms / 4 <= clock.wall_ms() - began <= budget_ms
    assert refused.value.outcome_unknown is unknown
    assert refused.value.cause.startswith("ConnectionClosedError" if fault is DROP_REQUEST else fault.name)
    assert len(set(pauses)) > 2, "jitter"
    assert all(later <= sooner * 4 for sooner, later in pairwise(pauses))


@pytest.mark.parametrize("fault", [fault for fault, _ in BUSY], ids=lambda fault: fault.name)
def test_a_table_that_is_busy_for_a_moment(local: Table, fault_proxy: ProxyFactory, fault: Fault) -> None:
    way, proxy = behind(local, fault_proxy)
    workspace = local.open(through=way)
    with workspace.lease(NAME):
        pass
    proxy.plan = Script("UpdateItem", [fault, fault])
    with workspace.lease(NAME) as lease:
        assert lease.fence == 3
    assert [record.kind for record in workspace.history(NAME)] == ["grant", "release"] * 2


def test_a_busy_read_is_told_with_its_cause(local: Table, fault_proxy: ProxyFactory) -> None:
    clock = ManualClock()
    way, proxy = behind(local, fault_proxy)
    workspace = local.open(through=way, clock=clock)
    proxy.plan = lambda _number, _operation, _body: THROTTLED
    for read in (lambda: workspace.lease(NAME), lambda: workspace.history(NAME), workspace.status):
        began = clock.wall_ms()
        with pytest.raises(StoreUnavailable, match="ThrottlingException: Rate of requests") as refused:
            read()
        assert refused.value.outcome_unknown is False
        assert TABLE_BUDGET_MS / 2 < clock.wall_ms() - began <= TABLE_BUDGET_MS


def test_a_reply_that_takes_too_long_is_not_waited_for(
    local: Table, fault_proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, proxy = behind(local, fault_proxy)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", way.endpoint_url)
    monkeypatch.setattr(table_calls, "TABLE_READ_MS", 200)
    workspace = Workspace(table=local.name, workspace=ID, agent="alice")
    with workspace.lease(NAME):
        pass
    never = threading.Event()
    proxy.plan = Script("UpdateItem", [held(after=never), held(before=never)])
    with workspace.lease(NAME, ttl=60) as lease:
        assert lease.fence == 3, "the first try had landed"
        assert lease.remaining > 40
    proxy.plan = lambda _number, _operation, _body: held(after=never)
    with pytest.raises(StoreUnavailable, match="ReadTimeoutError") as refused:
        workspace.lease(NAME, ttl=0.3)
    assert refused.value.outcome_unknown is True
    never.set()


def test_the_client_made_here_leaves_trying_again_to_the_store(local: Table) -> None:
    workspace = Workspace(table=local.name, workspace=ID)
    store: Any = workspace._member.store
    config = store.calls.client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (1, 2)
    assert config.retries["total_max_attempts"] == 1


# ── several at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def both(n: int) -> list[tuple[Resource, Record]]:
    return [(RESOURCE, a_free_record(n)), (OTHER, a_free_record(n))]


def stands(table: Table, appends: list[tuple[Resource, Record]]) -> list[bool]:
    return [(record.n, record.request) in history_of(table.store(), name) for name, record in appends]


def test_all_are_put_or_none(table: Table) -> None:
    store = table.store()
    first, second = both(1), both(2)
    assert store.append_together(first) == [Appended(record, 1) for _, record in first]
    theirs = a_free_record(2)
    table.store().append(OTHER, theirs, durable=True)
    with table.unchanged():
        assert store.append_together(second) == {OTHER: theirs}
    assert stands(table, second) == [False, False]
    mine = [(RESOURCE, a_free_record(2)), (OTHER, a_free_record(3))]
    assert store.append_together(mine) == [Appended(mine[0][1], 2), Appended(mine[1][1], 3)]
    assert stands(table, mine) == [True, True]


def test_all_that_were_beaten_are_told(table: Table) -> None:
    store, theirs = table.store(), both(1)
    table.store().append_together(theirs)
    with table.unchanged():
        assert store.append_together(both(1)) == dict(theirs)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("meanwhile", ["nothing", "one is built on", "both are built on"])
def test_together_with_a_lost_reply(table: Table, fault_proxy: ProxyFactory, n: int, meanwhile: str) -> None:
    if n == 2:
        table.store().append_together(both(1))
    answer = threading.Event()
    way, proxy = behind(table, fault_proxy, Script("TransactWriteItems", [replace(DROP_REPLY, hold_after=answer)]))
    mine = both(n)
    with in_thread(lambda: table.store(through=way).append_together(mine)) as outcome:
        wait_until(lambda: proxy.held == 1)
        for name in {"nothing": [], "one is built on": [OTHER], "both are built on": [RESOURCE, OTHER]}[meanwhile]:
            other = table.store()
            other.read(name)
            assert isinstance(other.append(name, a_free_record(n + 1), durable=True), Appended)
        answer.set()
    assert [one.record for one in outcome[0]] == [record for _, record in mine]
    assert stands(table, mine) == [True, True]


@pytest.mark.parametrize("fault", [THROTTLED, DROP_REQUEST, INTERNAL_ERROR], ids=lambda fault: fault.name)
def test_together_at_a_busy_table(local: Table, fault_proxy: ProxyFactory, fault: Fault) -> None:
    way, proxy = behind(local, fault_proxy, Script("TransactWriteItems", [fault, fault]))
    mine = both(1)
    store = local.store(through=way, clock=ManualClock())
    assert store.append_together(mine) == [Appended(record, 1) for _, record in mine]
    proxy.plan = lambda _number, operation, _body: fault if operation == "TransactWriteItems" else PASS
    with local.unchanged(), pytest.raises(StoreUnavailable) as refused:
        store.append_together(both(2))
    assert refused.value.outcome_unknown is (fault is not THROTTLED)


def test_two_who_want_the_same_ones_at_once(local: Table) -> None:
    """A conflict of two transactions is no refusal: it is tried again."""
    canceled = {
        "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}],
        "Error": {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    store = local.store(clock=ManualClock())
    client, failures = store.calls.client, [canceled, canceled]
    real = client.transact_write_items

    def conflicting(**request: Any) -> Any:
        if failures:
            raise client.exceptions.TransactionCanceledException(failures.pop(), "TransactWriteItems")
        return real(**request)

    client.transact_write_items = conflicting
    mine = both(1)
    assert store.append_together(mine) == [Appended(record, 1) for _, record in mine]


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
