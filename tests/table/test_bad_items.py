"""Items of a table that are not whole, or of a newer version: refused, and left as they are."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import a_free_record
from table_support import ID, NAME, RESOURCE, Table, init

from coordinator.errors import BadValue, CorruptRecord, NewerFormat
from coordinator.record.record import encode
from coordinator.record.table_item import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines import Engine


ITEM: Final = f"record/{RESOURCE.state_path}"


@pytest.fixture
def table(dynamodb: Engine) -> Table:
    return Table.made(dynamodb)


RECORD: Final = a_free_record(9, 9)
PAST: Final = [encode(a_free_record(n, n)) for n in range(1, 9)]
WHOLE: Final = pack(PAST)

ALTERED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "n is missing": ({"n": None}, "n"),
    "record is missing": ({"record": None}, "record"),
    "past is missing": ({"past": None}, "past"),
    "n is a text": ({"n": {"S": "9"}}, "n"),
    "n is null": ({"n": {"NULL": True}}, "n"),
    "record is a number": ({"record": {"N": "9"}}, "record"),
    "record is bytes": ({"record": {"B": b"v=1"}}, "record"),
    "past is a text": ({"past": {"S": "v=1"}}, "past"),
    "past is a list": ({"past": {"L": []}}, "past"),
    "past is cut": ({"past": {"B": WHOLE[:-9]}}, "past"),
    "past is not packed": ({"past": {"B": "\n".join(PAST).encode()}}, "past"),
    "past is no text": ({"past": {"B": zlib.compress(b"\xff\xfe")}}, "past"),
    "past unpacks to more than there is": ({"past": {"B": zlib.compress(b"x" * (5 << 20))}}, "past"),
    "past holds too many": ({"past": {"B": pack([*PAST, PAST[0]])}}, "past"),
    "n is ahead": ({"n": {"N": "10"}}, "n"),
    "n is behind": ({"n": {"N": "8"}}, "n"),
    "record is empty of sense": ({"record": {"S": "hello"}}, "crc"),
    "record was edited": ({"record": {"S": encode(RECORD).replace("kind=release", "kind=renew")}}, "crc"),
}


@pytest.mark.parametrize(("attributes", "where"), ALTERED.values(), ids=ALTERED)
def test_an_item_altered_by_hand(table: Table, attributes: dict[str, Any], where: str) -> None:
    table.put(RECORD, PAST)
    table.alter(ITEM, **attributes)
    workspace = table.open()
    attempts: list[Callable[[], Any]] = [
        lambda: workspace.lease(NAME),
        lambda: workspace.lease_many([NAME, "other"]),
        lambda: workspace.status_of(NAME),
        lambda: workspace.history(NAME),
        lambda: workspace.request_release(NAME),
        lambda: workspace.break_lease(NAME, fence=9),
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(CorruptRecord) as damage:
                attempt()
            assert (damage.value.resource, damage.value.where) == (NAME, where)
            assert ITEM in damage.value.path
            assert ITEM in damage.value.message
            assert "point-in-time recovery" in damage.value.hint
        (shown,) = workspace.status()
        assert "damaged" in str(shown), shown


@pytest.mark.parametrize("n", [None, {"S": "2"}, {"N": "1"}, {"N": "3"}])
def test_an_altered_n_is_noticed_by_who_remembers_the_record(table: Table, n: Any) -> None:
    workspace = table.open()
    with workspace.lease(NAME):
        pass
    table.alter(ITEM, n=n)
    with table.unchanged(), pytest.raises(CorruptRecord):
        workspace.lease(NAME)


def test_one_altered_record_of_the_past(table: Table) -> None:
    lines = [*PAST]
    lines[3] = lines[3].replace("agent", "egant").replace("by=a", "by=b")
    table.put(RECORD, lines)
    workspace = table.open()
    with table.unchanged(), pytest.raises(CorruptRecord) as damage:
        workspace.history(NAME)
    assert damage.value.where == "crc"
    with workspace.lease(NAME) as lease:  # the newest is whole: nobody has to stop for history's sake
        assert lease.fence == 10


def newer(record: str) -> str:
    """The same record as a version would write it that has one more field."""
    body = record.rpartition("/crc=")[0].replace("v=1/", "v=2/")
    return f"{body}/crc={zlib.crc32(body.encode()):08x}"


def test_an_item_of_a_newer_version(table: Table) -> None:
    table.put(RECORD, PAST)
    table.alter(ITEM, record={"S": newer(encode(RECORD))})
    workspace = table.open()
    attempts: list[Callable[[], Any]] = [
        lambda: workspace.lease(NAME),
        lambda: workspace.lease_many([NAME, "other"]),
        lambda: workspace.history(NAME),
        lambda: workspace.break_lease(NAME, fence=9),
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(NewerFormat, match="upgrade agent-coordinator") as refused:
                attempt()
            assert (refused.value.needs, refused.value.have) == (2, 1)
            assert ITEM in str(refused.value)


def test_a_newer_version_came_while_the_lease_was_held(table: Table) -> None:
    workspace = table.open()
    lease = workspace.lease(NAME, ttl=60)
    item = table.items()[ITEM]
    record = newer(item["record"]["S"].replace("/n=1/", "/n=2/"))
    table.alter(ITEM, n={"N": "2"}, record={"S": record})
    with table.unchanged():
        for attempt in (lease.check, lease.renew, lease.release):
            with pytest.raises(NewerFormat):
                attempt()


def test_an_item_that_has_no_room_left(table: Table) -> None:
    """Its past was not archived for thousands of records, say because that was not allowed."""
    table.put(RECORD, PAST)
    item = table.items()[ITEM]
    used = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
    table.alter(ITEM, filling={"S": "x" * (400 * 1024 - used - len("filling") - 20)})
    workspace = table.open()
    with table.unchanged():
        for attempt in (lambda: workspace.lease(NAME), lambda: workspace.lease_many([NAME, "other"])):
            with pytest.raises(BadValue, match=r"Item size.*nothing was changed"):
                attempt()


AUTHORITY: Final[dict[str, dict[str, Any]]] = {
    **{f"{name} is missing": {name: None} for name in ("mode", "epoch", "born", "directory", "by", "at_ms")},
    "mode is unknown": {"mode": {"S": "moon"}},
    "born is unknown": {"born": {"S": "moon"}},
    "mode is a number": {"mode": {"N": "1"}},
    "epoch is a text": {"epoch": {"S": "1"}},
    "epoch is 0": {"epoch": {"N": "0"}},
    "epoch is half": {"epoch": {"N": "1.5"}},
}


@pytest.mark.parametrize("attributes", AUTHORITY.values(), ids=AUTHORITY)
def test_the_item_that_tells_who_rules_was_altered(table: Table, attributes: dict[str, Any]) -> None:
    table.alter("workspace", **attributes)
    attempts: list[Callable[[], Any]] = [table.open, lambda: init(table, table.engine, ID)]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(CorruptRecord, match="restore it from a backup") as damage:
                attempt()
            assert damage.value.path == "item workspace"
