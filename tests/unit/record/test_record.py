"""The codec: what is written is what is read, and what was cut or altered is refused."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOW_MS, SHA256, a_head, a_lease, a_record, an_author, an_id

from coordinator.errors import BadValue, CorruptRecord, NewerFormat
from coordinator.limits import EXTRA_MAX_BYTES, RECORD_MAX_BYTES, RECORD_PART_MAX_BYTES, TTL_MAX_MS, WAITING_MAX
from coordinator.record.decide import Readings, Renew, Transition, decide
from coordinator.record.record import (
    FORMS,
    WORST_CASE_BYTES,
    FoldAt,
    Head,
    Holding,
    Record,
    Waiter,
    as_dict,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

N_MAX: Final = 10**12 - 1
MS_MAX: Final = 10**13 - 1

FULL: Final = a_record(
    why="free",
    lease=a_lease(dead_by_ms=NOW_MS + 5000, detached=True),
    waiting=(Waiter(an_id(61), NOW_MS), Waiter(an_id(62), NOW_MS + 1)),
    fold=FoldAt(1, an_id(63), 2, 300, 40),
)
FREED: Final = a_record(lease=None, freed_ms=NOW_MS)


def read(text: str) -> Record:
    return decode(text, resource="tasks.json", path="/somewhere/000000000007")


def sealed(body: str) -> str:
    """A text with the checksum that belongs to it: whole, whatever it says."""
    return f"{body}/crc={zlib.crc32(body.encode()):08x}"


def altered(record: Record, change: Callable[[dict[str, str]], Any]) -> str:
    parts = dict(part.split("=", 1) for part in encode(record).split("/"))
    del parts["crc"]
    change(parts)
    return sealed("/".join(f"{name}={value}" for name, value in parts.items()))


# ── round trip ───────────────────────────────────────────────────────────────────────────────────────────────────────

ids = st.integers(0, 32**20 - 1).map(an_id)
agents = st.from_regex(r"\A[A-Za-z0-9._@+-]{1,64}\Z")
words = st.from_regex(r"\A[a-z]{1,12}\Z")
millis = st.integers(0, MS_MAX)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record that a writer of ours could write."""
    n = draw(st.integers(1, N_MAX))
    positions = st.integers(1, n)
    lease = head = None
    if draw(st.booleans()):
        ttl_ms = st.integers(0, TTL_MAX_MS)
        lease = draw(st.builds(Holding, positions, ids, agents, ids, ttl_ms, millis, millis, millis, st.booleans()))
    if draw(st.booleans()):
        hexes = st.binary(min_size=32, max_size=32).map(bytes.hex)
        sizes = st.integers(0, 10**10 - 1)
        head = draw(st.builds(Head, st.integers(1, N_MAX), positions, ids, hexes, sizes, st.integers(0, N_MAX)))
    names = st.from_regex(r"\A[a-z_]{1,8}\Z").filter(lambda name: name not in FORMS)
    extra = draw(st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=2))
    return Record(
        n=n,
        kind=draw(words),
        request=draw(ids),
        agent=draw(agents),
        incarnation=draw(ids),
        at_ms=draw(millis),
        why=draw(st.one_of(st.just(""), words)),
        lease=lease,
        freed_ms=0 if lease else draw(millis),
        waiting=tuple(draw(st.lists(st.builds(Waiter, ids, millis), max_size=4, unique_by=lambda waiter: waiter[0]))),
        head=head,
        floor=draw(st.integers(0, n)),
        mode=draw(st.sampled_from(["mount", "table"])),
        epoch=draw(st.integers(1, 999_999)),
        extra=tuple(extra.items()),
    )


@settings(max_examples=300)
@given(records())
def test_what_is_written_is_what_is_read(record: Record) -> None:
    text = encode(record)
    assert read(text) == record
    assert text.isascii()
    assert len(text) <= RECORD_MAX_BYTES
    assert not text.startswith("/")
    assert all(0 < len(part) <= RECORD_PART_MAX_BYTES and part not in {".", ".."} for part in text.split("/"))


@settings(max_examples=200)
@given(records(), st.data())
def test_a_text_with_one_character_changed_or_cut_is_refused(record: Record, data: st.DataObject) -> None:
    text = encode(record)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda char: char != text[at]))
    for wrong in (text[:at] + other + text[at + 1 :], text[:at], text[:at] + text[at + 1 :]):
        with pytest.raises(CorruptRecord):
            read(wrong)


@pytest.mark.parametrize("text", ["", "/", "x", "crc=00000000", "/crc=00000000", "v=1", sealed("v=1"), "\udcff" * 9])
def test_what_is_no_record_at_all_is_refused(text: str) -> None:
    with pytest.raises(CorruptRecord):
        read(text)


# ── the longest record ───────────────────────────────────────────────────────────────────────────────────────────────


def longest(extra: tuple[tuple[str, str], ...] = ()) -> Record:
    return Record(
        n=N_MAX,
        kind="k" * 12,
        request=an_id(1),
        agent="a" * 64,
        incarnation=an_id(2),
        at_ms=MS_MAX,
        why="w" * 12,
        lease=Holding(N_MAX, an_id(3), "h" * 64, an_id(4), 99_999_999, MS_MAX, MS_MAX, MS_MAX, detached=True),
        waiting=tuple(Waiter(an_id(10 + i), MS_MAX) for i in range(WAITING_MAX)),
        head=Head(N_MAX, N_MAX, an_id(5), SHA256, 10**10 - 1, N_MAX),
        fold=FoldAt(N_MAX, an_id(6), 10**6 - 1, 10**8 - 1, 10**8 - 1),
        floor=N_MAX,
        mode="table",
        epoch=999_999,
        extra=extra,
    )


def test_the_longest_record_is_as_long_as_computed() -> None:
    name = "x" * 5
    extra = ((name, "y" * (EXTRA_MAX_BYTES - len(name) - 2)),)  # "/", "=", and the two make EXTRA_MAX_BYTES
    text = encode(longest(extra))
    assert len(text) == WORST_CASE_BYTES - 1  # ``v`` has one digit yet, and may have two
    assert WORST_CASE_BYTES <= RECORD_MAX_BYTES == 1000
    assert max(map(len, text.split("/"))) <= RECORD_PART_MAX_BYTES == 255
    assert read(text) == longest(extra)


def test_every_field_of_the_longest_record_is_at_its_longest() -> None:
    parts = dict(part.split("=", 1) for part in encode(longest()).split("/"))
    assert set(parts) == set(FORMS) - {"freed_ms"}
    short = {name for name, value in parts.items() if len(value) != FORMS[name].max_chars}
    assert short == {"v"}


def test_a_record_over_the_limit_is_refused_by_the_writer() -> None:
    with pytest.raises(BadValue, match="1000 is the most"):
        encode(longest((("x", "y" * 200),)))


@pytest.mark.parametrize(
    "record",
    [
        a_record(n=10**12),
        a_record(kind="No"),
        a_record(agent="a" * 65),
        a_record(agent="a/b"),
        a_record(at_ms=-1),
        a_record(request="short"),
        a_record(lease=a_lease(ttl_ms=10**8)),
        a_record(head=a_head(size_bytes=10**10)),
        a_record(waiting=tuple(Waiter(an_id(i), NOW_MS) for i in range(5))),
        a_record(mode="memory"),
        a_record(epoch=0),
    ],
)
def test_what_no_reader_would_take_is_not_written(record: Record) -> None:
    with pytest.raises(BadValue):
        encode(record)


# ── every field missing, and every field malformed ───────────────────────────────────────────────────────────────────

OPTIONAL: Final[dict[str, dict[str, Any]]] = {
    "why": {"why": ""},
    "waiting": {"waiting": ()},
    "fold": {"fold": None},
    "dead_by_ms": {"lease": a_lease(detached=True)},
    "detached": {"lease": a_lease(dead_by_ms=NOW_MS + 5000)},
    "freed_ms": {"freed_ms": 0},
}


@pytest.mark.parametrize("name", FORMS)
def test_each_field_missing(name: str) -> None:
    record = FREED if name == "freed_ms" else FULL
    text = altered(record, lambda parts: parts.pop(name, None))
    if name == "crc":
        text = encode(record).rpartition("/")[0]
    if name in OPTIONAL:
        assert read(text) == replace(record, **OPTIONAL[name])
    else:
        with pytest.raises(CorruptRecord) as caught:
            read(text)
        assert caught.value.where == name
        assert caught.value.path == "/somewhere/000000000007"


_NUMBER: Final = ("", "-1", "+1", "01", " 1", "1 ", "1.0", "0x1", "x", "\u0661", "1_0")
_ID: Final = ("", "a" * 19, "a" * 21, "A" * 20, "1" * 20, "é" * 20)
_WORD: Final = ("", "Grant", "a" * 13, "a-b", "a1")
_AGENT: Final = ("", "a" * 65, "a b", "é", "a%2Fb")
MALFORMED: Final[dict[str, tuple[str, ...]]] = {
    "v": ("", "0", "x", "-1", "01"),
    "n": (*_NUMBER, "0", "1" * 13),
    "kind": _WORD,
    "why": _WORD,
    "request": _ID,
    "by": _AGENT,
    "inc": _ID,
    "at_ms": (*_NUMBER, "1" * 14),
    "fence": (*_NUMBER, "0", "8", "1" * 13),
    "lease": _ID,
    "holder": _AGENT,
    "holder_inc": _ID,
    "ttl_ms": (*_NUMBER, "1" * 9),
    "granted_ms": (*_NUMBER, "1" * 14),
    "renewed_ms": (*_NUMBER, "1" * 14),
    "dead_by_ms": (*_NUMBER, "1" * 14),
    "detached": ("", "true", "-1", "01", "7"),
    "freed_ms": (*_NUMBER, "1" * 14, "1790000000000"),  # the last is well-formed, and the lease is held
    "waiting": (
        "",
        an_id(1),
        f"{an_id(1)}.",
        f"{an_id(1)}.x",
        f"{an_id(1)}.1+",
        f"{an_id(1)}.1,{an_id(2)}.2",
        f"{an_id(1)}.1+{an_id(1)}.2",
        "+".join(f"{an_id(i)}.1" for i in range(5)),
    ),
    "rev": (*_NUMBER, "0", "1" * 13),
    "head_n": (*_NUMBER, "0", "8"),
    "head_inc": _ID,
    "sha256": ("", "a" * 63, "a" * 65, "A" * 64, "g" * 64),
    "bytes": (*_NUMBER, "1" * 11),
    "head_fence": (*_NUMBER, "1" * 13),
    "fold": (
        "",
        "1",
        f"0.{an_id(1)}.1.0.9",
        f"1.{an_id(1)}.1.0",
        f"1.{an_id(1)}.1.0.0",
        "1.x.1.0.9",
        f"99.{an_id(1)}.1.0.9",  # above the head's revision
        f"1.{an_id(1)}.1.0.9.9",
        f"1.{an_id(1)}.1.123456789.9",
    ),
    "floor": (*_NUMBER, "8", "1" * 13),
    "authority": ("", "mount", "mount.", "mount.0", "mount.01", "disk.1", "mount.1234567"),
    "crc": ("", "0" * 8, "ABCDEF01", "0" * 7),
}


def test_every_field_has_malformed_values_here() -> None:
    assert set(MALFORMED) == set(FORMS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values])
def test_each_field_malformed(name: str, value: str) -> None:
    if name == "crc":
        text = f"{encode(FULL).rpartition('=')[0]}={value}"
    else:
        text = altered(FULL, lambda parts: parts.update({name: value}))
    with pytest.raises(CorruptRecord) as caught:
        read(text)
    assert caught.value.where == name
    assert "tasks.json" in str(caught.value)


def test_a_field_that_stands_twice_is_refused() -> None:
    body = encode(FULL).rpartition("/crc=")[0]
    with pytest.raises(CorruptRecord) as caught:
        read(sealed(f"{body}/n=7"))
    assert caught.value.where == "n"


@pytest.mark.parametrize("part", ["", "novalue", "=x"])
def test_a_part_that_is_no_field_is_refused(part: str) -> None:
    body = encode(FULL).rpartition("/crc=")[0]
    with pytest.raises(CorruptRecord):
        read(sealed(f"{body}/{part}"))


# ── newer versions ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_field_is_tolerated_and_carried_along_through_a_transition() -> None:
    body = encode(a_record()).rpartition("/crc=")[0]
    read_back = read(sealed(f"{body}/quota=a%2Fb%3Dc/shard=7"))
    assert read_back.extra == (("quota", "a/b=c"), ("shard", "7"))
    renewed = decide(read_back, Renew(an_author(1), an_id(51), 5), Readings(NOW_MS, 100))
    assert isinstance(renewed, Transition)
    assert "/quota=a%2Fb%3Dc/shard=7/crc=" in encode(renewed.record)
    assert read(encode(renewed.record)).extra == read_back.extra


@pytest.mark.parametrize("version", [2, 10, 100])
def test_another_version_is_newer_and_not_damaged(version: int) -> None:
    with pytest.raises(NewerFormat) as caught:
        read(sealed(f"v={version}/everything=else"))
    assert (caught.value.needs, caught.value.have) == (version, 1)


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_record_as_plain_values() -> None:
    shown = as_dict(FULL)
    assert json.loads(json.dumps(shown)) == shown
    assert isinstance(shown["lease"], dict)
    assert (shown["n"], shown["lease"]["fence"], shown["lease"]["detached"]) == (7, 5, True)
    assert shown["waiting"] == [
        {"request": an_id(61), "since_ms": NOW_MS},
        {"request": an_id(62), "since_ms": NOW_MS + 1},
    ]
    assert as_dict(a_record(lease=None, head=None))["lease"] is None
