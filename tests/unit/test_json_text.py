"""JSON in and out: nothing is read two ways, and the layout of what is replaced is kept."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.document.json_text import Style, parse, render, style_of
from coordinator.errors import MalformedDocument

VALUE: Final = {"tasks": [{"id": 1, "title": "Größe 📏", "tags": [], "sub": {}}, {"id": 2, "done": None}], "n": 1.5}


def read(text: bytes | str) -> Any:
    return parse(text.encode() if isinstance(text, str) else text, "tasks.json")


# ── strict parsing ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "line 1, column 1", "Expecting value"),
        ('{"a": 1,\n "b": }', "line 2, column 7", "Expecting value"),
        ('{"a": 1} x', "line 1, column 10", "Extra data"),
        ("{'a': 1}", "line 1, column 2", "double quotes"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2", "stands twice"),
        ('[{"b": 1}, {"b": 1, "b": 1}]', "key 'b'", "stands twice"),
        ("[NaN]", "line 1, column 2", "no JSON number"),
        ("[\n-Infinity]", "line 2, column 1", "no JSON number"),
        ("[1e999]", "line 1, column 2", "cannot be carried exactly"),
        ("[0.12345678901234567890123]", "line 1, column 2", "cannot be carried exactly"),
        (b"[\xff]", "byte 1", "not UTF-8"),
        (b'["\xed\xa0\x80"]', "byte 2", "not UTF-8"),
    ],
)
def test_what_is_not_acceptable_is_refused_with_its_place(text: str | bytes, where: str, what: str) -> None:
    with pytest.raises(MalformedDocument, match=what) as caught:
        read(text)
    assert (caught.value.where, caught.value.resource) == (where, "tasks.json")


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"a": "\udc00x"}', r'{"\ud800": 1}', r'["\ud83d\ud83d"]'])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    with pytest.raises(MalformedDocument):
        read(text)


def test_a_number_of_very_many_digits_is_refused_as_a_document() -> None:
    with pytest.raises(MalformedDocument):
        read("[" + "1" * 5000 + "]")


@pytest.mark.parametrize("depth", [501, 2000, 100_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    with pytest.raises(MalformedDocument):
        read("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "0",
        '"\\u00e9"',
        "[]",
        " {} ",
        '{"":1}',
        "1e2",
        "-0.0",
        "0.1",
        "12345678901234567890123",
        r'"\ud83d\ude00"',
    ],
)
def test_what_is_acceptable_is_read_as_everybody_reads_it(text: str) -> None:
    assert read(text) == json.loads(text)
    assert read(b"\xef\xbb\xbf" + text.encode()) == json.loads(text)


# ── layout ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


LAYOUTS: Final[dict[str, bytes]] = {
    "indent-2": json.dumps(VALUE, indent=2, ensure_ascii=False).encode() + b"\n",
    "indent-2-without-end": json.dumps(VALUE, indent=2, ensure_ascii=False).encode(),
    "indent-4": json.dumps(VALUE, indent=4, ensure_ascii=False).encode() + b"\n",
    "indent-1": json.dumps(VALUE, indent=1, ensure_ascii=False).encode(),
    "tab": json.dumps(VALUE, indent="\t", ensure_ascii=False).encode() + b"\n",
    "compact": json.dumps(VALUE, separators=(",", ":"), ensure_ascii=False).encode(),
    "compact-with-end": json.dumps(VALUE, separators=(",", ":"), ensure_ascii=False).encode() + b"\n",
    "one-line-with-spaces": json.dumps(VALUE, ensure_ascii=False).encode() + b"\n",
    "escapes": json.dumps(VALUE, indent=2).encode() + b"\n",
    "escapes-compact": json.dumps(VALUE, separators=(",", ":")).encode(),
    "crlf": crlf(json.dumps(VALUE, indent=2, ensure_ascii=False).encode() + b"\n"),
    "crlf-4-escapes": crlf(json.dumps(VALUE, indent=4).encode() + b"\n"),
    "crlf-one-line": json.dumps(VALUE, ensure_ascii=False).encode() + b"\r\n",
    "bom": b"\xef\xbb\xbf" + json.dumps(VALUE, indent=2, ensure_ascii=False).encode() + b"\n",
    "bom-crlf": b"\xef\xbb\xbf" + crlf(json.dumps(VALUE, indent=4, ensure_ascii=False).encode() + b"\n"),
    "array": json.dumps([VALUE], indent=2, ensure_ascii=False).encode() + b"\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_text_written_anew_is_the_same_bytes(layout: str) -> None:
    text = LAYOUTS[layout]
    assert render(read(text), text, "tasks.json") == text


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "array"])
def test_a_change_keeps_the_layout(layout: str) -> None:
    text = LAYOUTS[layout]
    changed = render({**VALUE, "n": 2.5}, text, "tasks.json")
    assert changed == text.replace(b"1.5", b"2.5")


def test_without_a_text_to_follow_it_is_two_spaces_and_an_end_of_line() -> None:
    assert render({"a": [1]}, None, "r") == b'{\n  "a": [\n    1\n  ]\n}\n'
    assert render({"a": [1]}, b"", "r") == b'{\n  "a": [\n    1\n  ]\n}\n'
    assert style_of(None) == Style()


@pytest.mark.parametrize("empty", [b"{}", b"{}\n", b"[]\n"])
def test_an_empty_text_has_no_layout_to_follow(empty: bytes) -> None:
    """A fresh ``{}`` must not make every later revision one long line, in which no diff shows what changed."""
    assert b"\n  " in render({"tasks": [1, 2, 3]}, empty, "r")


def test_integers_of_any_size_are_carried() -> None:
    for text in (b"[\n  123456789012345678901234567890\n]\n", b"[123456789012345678901234567890]"):
        assert render(read(text), text, "r") == text


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(values, st.sampled_from(sorted(LAYOUTS)))
def test_whatever_is_written_in_whatever_layout_is_read_back(value: Any, layout: str) -> None:
    text = render(value, LAYOUTS[layout], "r")
    assert read(text) == value
    assert render(read(text), LAYOUTS[layout], "r") == text


# ── what has no exact word in JSON ───────────────────────────────────────────────────────────────────────────────────


class Colour:
    pass


LOOP: Final[list[Any]] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (math.nan, "the top"),
        ([math.inf], "/0"),
        ({"a": {"b/c~d": -math.inf}}, "/a/b~1c~0d"),
        ({1: "x"}, "the top"),
        ({"a": [{None: 1}]}, "/a/0"),
        ({"a": Colour()}, "/a"),
        ({"a": {1, 2}}, "/a"),
        ({"a": b"bytes"}, "/a"),
        (["\ud800"], "/0"),
        ({"\ud800": 1}, "the top"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_pointer(value: Any, where: str) -> None:
    with pytest.raises(MalformedDocument) as caught:
        render(value, None, "tasks.json")
    assert (caught.value.where, caught.value.resource) == (where, "tasks.json")


def test_a_value_that_holds_itself_is_refused() -> None:
    with pytest.raises(MalformedDocument, match="nesting deeper than 500"):
        render(LOOP, None, "r")


def test_a_tuple_is_an_array() -> None:
    assert render((1, 2), b"[]", "r") in {b"[1,2]", b"[\n  1,\n  2\n]"}
