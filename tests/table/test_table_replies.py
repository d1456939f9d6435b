"""What the store on a table makes of lost, late, refused and cut answers, for one record and for several (P7, P8)."""

from __future__ import annotations

import threading
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
from table_support import ID, NAME, RESOURCE, Table, behind, history_of

from coordinator import Workspace
from coordinator.errors import StoreUnavailable
from coordinator.limits import TABLE_BUDGET_MS
from coordinator.names import Resource
from coordinator.record import table_calls
from coordinator.record.store import Appended, Beaten
from coordinator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory

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
