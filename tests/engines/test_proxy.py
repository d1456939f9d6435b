"""The proxy does to requests what its plan says, and nothing else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection, IncompleteRead
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from support import in_thread, together, wait_until

from engines import Engine, local
from engines.faults import (
    DROP_REPLY,
    DROP_REQUEST,
    DUPLICATE_FIRST,
    DUPLICATE_LAST,
    EXPIRED,
    INTERNAL_ERROR,
    PASS,
    RESET,
    RESET_AFTER_WRITE,
    THROTTLED,
    THROUGHPUT_EXCEEDED,
    TRUNCATED_REPLY,
    UNAVAILABLE,
    Denied,
    RandomPlan,
    Script,
    delay,
    error,
    held,
    late_duplicate,
    late_request,
)
from engines.table import KEY, ONE, TABLE, add_one, answers, code_of, count, create_table

if TYPE_CHECKING:
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory

LOST: Final = "ConnectionClosedError"


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        (PASS, "ok", 1),
        (DROP_REQUEST, LOST, 0),
        (DROP_REPLY, LOST, 1),
        (RESET, LOST, 0),
        (RESET_AFTER_WRITE, LOST, 1),
        (DUPLICATE_FIRST, "ok", 2),
        (DUPLICATE_LAST, "ok", 2),
        (delay(before_ms=1, after_ms=1), "ok", 1),
        (INTERNAL_ERROR, "InternalServerError", 0),
        (INTERNAL_ERROR.after_write(), "InternalServerError", 1),
        (UNAVAILABLE, "ServiceUnavailable", 0),
        (THROUGHPUT_EXCEEDED, "ProvisionedThroughputExceededException", 0),
        (THROUGHPUT_EXCEEDED.after_write(), "ProvisionedThroughputExceededException", 1),
        (THROTTLED, "ThrottlingException", 0),
        (EXPIRED, "ExpiredTokenException", 0),
        (
            error(400, "TransactionConflictException", "Transaction is ongoing for the item"),
            "TransactionConflictException",
            0,
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_each_fault_does_what_it_says(
    engine: Engine, fault_proxy: ProxyFactory, fault: Fault, outcome: str, times: int
) -> None:
    proxy = fault_proxy(engine, Script("UpdateItem", [fault]))
    client = engine.at(proxy.endpoint_url).client()
    assert code_of(lambda: add_one(client)) == outcome
    assert count(engine) == times
    assert code_of(lambda: add_one(client)) == "ok", "the next request is served as ever"
    assert count(engine) == times + 1
    assert [(entry.operation, entry.fault) for entry in proxy.log] == [
        ("UpdateItem", fault.name),
        ("UpdateItem", "pass"),
    ]
    assert proxy.log[0].statuses == (200,) * times
    assert proxy.counts == Counter([fault.name, "pass"])


def test_of_a_repeated_request_either_reply_may_come(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine, Script("UpdateItem", [DUPLICATE_FIRST, DUPLICATE_LAST]))
    client = engine.at(proxy.endpoint_url).client()
    for key, outcome in [("first", "ok"), ("last", "ConditionalCheckFailedException")]:
        call = partial(add_one, client, key, ConditionExpression="attribute_not_exists(v)")
        assert code_of(call) == outcome
        assert count(engine, key) == 1
    assert [entry.statuses for entry in proxy.log] == [(200, 400), (200, 400)]


def test_a_late_request_comes_after_what_its_sender_did_next(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine, Script("PutItem", [late_request(60_000)]))
    client = engine.at(proxy.endpoint_url).client()
    assert code_of(lambda: client.put_item(TableName=TABLE, Item={**KEY, "v": {"N": "1"}})) == LOST
    client.put_item(TableName=TABLE, Item={**KEY, "v": {"N": "2"}})
    assert count(engine) == 2
    proxy.drain()
    assert count(engine) == 1


def test_a_late_duplicate_comes_by_itself(engine: Engine, fault_proxy: ProxyFactory) -> None:
    client = engine.at(fault_proxy(engine, Script("UpdateItem", [late_duplicate(1)])).endpoint_url).client()
    assert code_of(lambda: add_one(client)) == "ok"
    wait_until(lambda: count(engine) == 2)


def test_a_request_is_held_before_or_after_it_lands(engine: Engine, fault_proxy: ProxyFactory) -> None:
    before, after = threading.Event(), threading.Event()
    proxy = fault_proxy(engine, Script("UpdateItem", [held(before, after)]))
    client = engine.at(proxy.endpoint_url).client()
    with in_thread(lambda: add_one(client)) as outcome:
        wait_until(lambda: proxy.held == 1)
        assert count(engine) == 0
        before.set()
        wait_until(lambda: count(engine) == 1)
        wait_until(lambda: proxy.held == 1)
        assert not outcome
        after.set()
    assert outcome[0]["Attributes"]["v"] == {"N": "1"}


def test_paused_it_lets_nothing_through(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine)
    client = engine.at(proxy.endpoint_url).client()
    proxy.pause()
    with in_thread(lambda: add_one(client)) as outcome:
        wait_until(lambda: proxy.held == 1)
        assert (count(engine), outcome) == (0, [])
        proxy.resume()
    assert count(engine) == 1
    impatient = engine.at(proxy.endpoint_url).client(read_timeout=0.05)
    proxy.pause()
    assert code_of(lambda: add_one(impatient)) == "ReadTimeoutError"
    proxy.resume()
    wait_until(lambda: count(engine) == 2)


def connect(endpoint_url: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(endpoint_url).netloc, timeout=30)


def send_list_tables(connection: HTTPConnection) -> None:
    connection.request("POST", "/", b"{}", local.LIST_TABLES)


def test_a_connection_serves_many_requests(dynamodb: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(dynamodb, Script("ListTables", [PASS, THROTTLED, DUPLICATE_FIRST]))
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        connection.connect()
        opened = connection.sock
        for status in (200, 400, 200, 200):
            send_list_tables(connection)
            reply = connection.getresponse()
            assert (reply.status, reply.read()[:1]) == (status, b"{")
            assert connection.sock is opened


def test_a_reset_is_one_and_a_drop_is_none(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine, Script("ListTables", [RESET, DROP_REPLY]))
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        send_list_tables(connection)
        with pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        send_list_tables(connection)
        assert connection.sock.recv(1) == b""


def test_a_truncated_reply_ends_within_its_body(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine, Script("ListTables", [TRUNCATED_REPLY]))
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        send_list_tables(connection)
        reply = connection.getresponse()
        with pytest.raises(IncompleteRead) as cut:
            reply.read()
    assert b'{"Table' in cut.value.partial


def test_a_forked_child_holds_no_connection_open(engine: Engine, fault_proxy: ProxyFactory) -> None:
    go_on = threading.Event()
    proxy = fault_proxy(engine, Script("ListTables", [replace(RESET, hold_before=go_on)]))
    holds, ends = os.pipe()
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        send_list_tables(connection)
        wait_until(lambda: proxy.held == 1)
        child = os.fork()
        if child == 0:
            os.close(ends)
            os.read(holds, 1)
            os._exit(0)
        go_on.set()
        with pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
    os.close(ends)
    os.waitpid(child, 0)
    os.close(holds)


def test_the_service_clock_is_what_the_proxy_says(engine: Engine, fault_proxy: ProxyFactory) -> None:
    proxy = fault_proxy(engine, Script("ListTables", [PASS, UNAVAILABLE]), clock=lambda: 1_790_000_000.9)
    dates = []
    for _ in range(2):
        with contextlib.closing(connect(proxy.endpoint_url)) as connection:
            send_list_tables(connection)
            dates.append(connection.getresponse().headers.get_all("date"))
    assert dates == [["Mon, 21 Sep 2026 14:13:20 GMT"]] * 2


def test_a_reply_without_a_date_is_given_one(dynamodb: Engine, fault_proxy: ProxyFactory) -> None:
    client = dynamodb.at(fault_proxy(dynamodb).endpoint_url).client()
    assert parsedate_to_datetime(client.list_tables()["ResponseMetadata"]["HTTPHeaders"]["date"]).tzinfo


def test_denied_names_the_action_within_a_transaction_too(moto_engine: Engine, fault_proxy: ProxyFactory) -> None:
    create_table(moto_engine)
    client = moto_engine.at(fault_proxy(moto_engine, Denied(frozenset({"UpdateItem"}))).endpoint_url).client()
    update = {"TableName": TABLE, "Key": KEY, "UpdateExpression": "ADD v :one", "ExpressionAttributeValues": ONE}
    assert code_of(lambda: client.get_item(TableName=TABLE, Key=KEY)) == "ok"
    message = r"not authorized to perform: dynamodb:UpdateItem on resource: .*table/records"
    with pytest.raises(Exception, match=message):
        client.update_item(**update)
    with pytest.raises(Exception, match=message):
        client.transact_write_items(TransactItems=[{"Update": update}])
    assert count(moto_engine) == 0


def test_random_faults_are_the_same_for_the_same_seed() -> None:
    rates = {DROP_REPLY: 0.2, THROTTLED: 0.1}
    plan = RandomPlan(11, rates, frozenset({"UpdateItem"}))
    faults = [plan(number, "UpdateItem", {}).name for number in range(2000)]
    assert faults == [RandomPlan(11, rates)(number, "UpdateItem", {}).name for number in range(2000)]
    assert faults != [RandomPlan(12, rates)(number, "UpdateItem", {}).name for number in range(2000)]
    told = Counter(faults)
    assert 340 < told["drop-reply"] < 460
    assert 150 < told["ThrottlingException"] < 250
    assert plan(1, "CreateTable", {}) is PASS
    assert repr(plan).startswith("RandomPlan(seed=11, rates={'drop-reply': 0.2, 'ThrottlingException': 0.1}")


def test_under_a_crowd_every_request_is_accounted_for(dynamodb: Engine, fault_proxy: ProxyFactory) -> None:
    create_table(dynamodb)
    rates = dict.fromkeys(
        [DROP_REQUEST, DROP_REPLY, RESET, DUPLICATE_LAST, THROTTLED, late_duplicate(5), late_request(5)], 0.05
    )
    proxy = fault_proxy(dynamodb, RandomPlan(20, rates))
    client = dynamodb.at(proxy.endpoint_url).client()

    def work() -> Counter[str]:
        return Counter(code_of(lambda: add_one(client)) for _ in range(100))

    told: Counter[str] = sum(together(*[work] * 8), Counter())
    proxy.drain()
    landed = (
        sum(len(entry.statuses) for entry in proxy.log) + proxy.counts["late-duplicate"] + proxy.counts["late-request"]
    )
    assert count(dynamodb) == landed, proxy
    assert sum(proxy.counts.values()) == told.total() == 800, proxy
    assert told["ThrottlingException"] == proxy.counts["ThrottlingException"] > 10, proxy
    lost = sum(proxy.counts[name] for name in ("drop-request", "drop-reply", "reset", "late-request"))
    assert told[LOST] == lost, proxy


def test_closed_it_leaves_nothing_behind(engine: Engine, fault_proxy: ProxyFactory) -> None:
    before = set(threading.enumerate())
    proxy = fault_proxy(engine, Script("UpdateItem", [held(threading.Event())]))
    with in_thread(lambda: add_one(engine.at(proxy.endpoint_url).client())) as outcome:
        wait_until(lambda: proxy.held == 1)
        proxy.close()
    assert type(outcome[0]).__name__ == LOST
    assert count(engine) == 0
    assert not answers(proxy.endpoint_url)
    left = {thread for thread in set(threading.enumerate()) - before if "process_request" not in thread.name}
    assert not left
