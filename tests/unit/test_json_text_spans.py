"""Texts that no encoder would write so: what nobody changed comes out as it went in, byte for byte."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.document import json_spans, json_text
from coordinator.document.json_text import is_reproducible, parse, render
from coordinator.errors import MalformedDocument

BY_HAND: Final = r"""{
  "version":   1.50, "url": "http:\/\/x.org",  "big": 123456789012345678901234567890,
  "numbers": [1E5, 1e+2, -0.0, 100, 2.50],
  "matrix": [
    [1, 0],
    [0, 1]
  ],
    "tasks" : [
    { "id": 1, "title": "Gr\u00f6\u00dfe Größe", "deps": [ ] },
    { "id": 2, "title": "two", "deps": [1,  2] },

    { "id": 3,
      "title": "three" }
  ],
  "empty": { }
}

""".encode()


def changed(text: bytes, change: str) -> bytes:
    """The text after a statement on its value ``d``, and what it says is the changed value, in order."""
    d = parse(text, "r")
    exec(change, {"d": d, "t": d["tasks"] if isinstance(d, dict) and "tasks" in d else None})  # noqa: S102 - see below
    after = render(d, text, "r")
    assert json.dumps(parse(after, "r")) == json.dumps(d)
    return after


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ("pass", b"", b""),
        ("d['version'] = 2", b"1.50", b"2"),
        ("d['version'] = True", b"1.50", b"true"),
        ("d['url'] = 'x'", rb"http:\/\/x.org", b"x"),
        ("d['big'] += 1", b"567890,", b"567891,"),
        ("d['numbers'][3] = 101", b"100", b"101"),
        ("d['numbers'].append(7)", b"2.50]", b"2.50, 7]"),
        ("d['numbers'].insert(0, 7)", b"[1E5", b"[7, 1E5"),
        ("del d['numbers'][0]", b"[1E5, ", b"["),
        ("del d['numbers'][4]", b", 2.50]", b"]"),
        ("d['matrix'][1][1] = 5", b"[0, 1]", b"[0, 5]"),
        ("d['matrix'].append([2, 2])", b"[0, 1]\n", b"[0, 1],\n    [2, 2]\n"),
        ("d['matrix'] = []", b"[\n    [1, 0],\n    [0, 1]\n  ]", b"[]"),
        ("t[1]['title'] = 'zwei'", b'"two"', b'"zwei"'),
        ("t[1]['deps'].append(3)", b"[1,  2]", b"[1,  2,  3]"),
        ("t[0]['deps'].append(3)", b"[ ]", b"[3]"),
        ("t[1]['done'] = None", b"[1,  2] }", b'[1,  2], "done": null }'),
        ("t[2]['done'] = True", b'"three" }', b'"three",\n      "done": true }'),
        ("del t[1]['title']", b'"title": "two", ', b""),
        ("del t[0]", '{ "id": 1, "title": "Gr\\u00f6\\u00dfe Größe", "deps": [ ] },\n    '.encode(), b""),
        ("del t[2]", b',\n\n    { "id": 3,\n      "title": "three" }', b""),
        ("t.insert(1, {'id': 9, 'deps': []})", b'{ "id": 2', b'{"id": 9, "deps": []},\n    { "id": 2'),
        ("t[1]['id'] = 5; t[1]['title'] = '?'", b'"id": 2, "title": "two"', b'"id": 5, "title": "?"'),
        ("d['empty']['x'] = [1]", b"{ }", b'{\n    "x": [\n      1\n    ]\n  }'),
        ("d['new'] = 1", b'"empty": { }', b'"empty": { },\n  "new": 1'),
        ("del d['empty']", b',\n  "empty": { }', b""),
    ],
)
def test_only_what_was_changed_is_written_anew(change: str, before: bytes, after: bytes) -> None:
    assert BY_HAND.count(before) == 1 or not before
    assert not is_reproducible(BY_HAND, "r")
    for text, place, instead in (
        (BY_HAND, before, after),
        *[tuple(part.replace(b"\n", b"\r\n") for part in (BY_HAND, before, after))],
        (b"\xef\xbb\xbf" + BY_HAND, before, after),
    ):
        assert changed(text, change) == text.replace(place, instead)


def test_keys_and_elements_in_another_order_keep_their_texts() -> None:
    text = b'{ "a": 1.0, "b":  2.00,\n  "c": [ 3 ] }'
    assert render({"c": [3], "a": 1.0, "b": 2.0}, text, "r") == b'{ "c": [ 3 ],\n  "a": 1.0, "b":  2.00 }'
    text = b'[ {"id":1, "v":1.50}, {"id":2, "v":2.50}, {"id":3, "v":3.50} ]'
    value = [{"id": 3, "v": 9}, {"id": 1, "v": 1.5}, {"id": 2, "v": 2.5}]
    after = render(value, text, "r")
    assert json.loads(after) == value
    assert b'{"id":1, "v":1.50}, {"id":2, "v":2.50}' in after


def test_one_edited_task_keeps_its_other_fields_though_others_come_and_go() -> None:
    text = b'[ {"id":1, "v":1.50, "w":1.50}, {"id":2, "v":2.50, "w":2.50}, {"id":3, "v":3.50} ]'
    assert changed(text, "d[1]['v'] = 0; del d[0]") == b'[ {"id":2, "v":0, "w":2.50}, {"id":3, "v":3.50} ]'
    text = b"[ [1.50, 1], [2.50, 2], [3.50, 3] ]"
    assert changed(text, "d[1][1] = 0") == b"[ [1.50, 1], [2.50, 0], [3.50, 3] ]"


@pytest.mark.parametrize(
    "text",
    [
        b" 1.50 ",
        b'\n"\\/"',
        b"1E5",
        b"[1 ]",
        b"{ }",
        b"[[],[ ]]",
        b'{"a":1,"b": 2}',
        b'{\n"a": 1\n}',
        b'{\n\t"a": 1,\n\t"b":\n\t\t[]\n}\n\n\n',
        b'{"a": 1,\r\n "b": 2}',
        b'["\\u0041\\u00e9", "\xc3\xa9", "\\ud83d\\ude00"]',
        b'{\n  "a": [1, 2],\n  "b": {"c": 1}\n}\n',
        b"[9007199254740993, 18446744073709551616, -170141183460469231731687303715884105729]",
        b'{ "\\u0061": 1 }',
    ],
)
def test_a_text_whose_value_did_not_change_is_the_same_bytes(text: bytes) -> None:
    assert render(parse(text, "r"), text, "r") == text
    assert render(parse(text, "r"), text, "r", reproducible=False) == text


REFUSED: Final = [
    *(b"{", b"\xff", b"[1] 2", b"   ", b"[1,]", b"nonsense", b"[1", b'{"a": 1, "a": 2}'),
    b'[ {"a": {"b": 0, "b": 1}}, 2 ]',
    b'[ {"a": {"b": 1.00000000000000000000001}}, 2 ]',
    b'[ {"a": {"b": NaN}}, 2 ]',
]


@pytest.mark.parametrize("like", REFUSED)
def test_of_a_text_that_would_be_refused_nothing_but_the_layout_is_taken(like: bytes) -> None:
    assert not is_reproducible(like, "r")
    for value in ([{"a": {"b": 1}}, 3], [{"a": {"b": 1.0}}, 3], {"a": 2}):
        assert json.dumps(parse(render(value, like, "r"), "r")) == json.dumps(value)


def test_true_is_not_1_and_1_is_not_written_for_1_0() -> None:
    assert changed(b"[ 1, 1.0, true, 0, -0.0 ]", "d[:] = [True, 1, 1, False, 0]") == b"[ true, 1, 1, false, 0 ]"
    assert changed(b'{ "a": [ {"b": 1} ] }', "d['a'][0]['b'] = True") == b'{ "a": [ {"b": true} ] }'


def test_a_changed_place_however_deep_is_written() -> None:
    for depth in (99, 250, 499):
        text = b"[ " * depth + b"1.50" + b" ]" * depth
        value: Any = 2
        for _ in range(depth):
            value = [value]
        after = render(value, text, "r")
        assert json.dumps(parse(after, "r")) == json.dumps(value)


def test_what_json_cannot_say_is_refused_here_too() -> None:
    for value in ({"version": float("nan")}, {"version": 10**5000}):
        with pytest.raises(MalformedDocument):
            render(value, BY_HAND, "r")


def test_an_integer_of_more_digits_than_python_writes_is_refused_as_a_document() -> None:
    number = 10**4290
    assert parse(render([number], b"[1]", "r"), "r") == [number]
    with pytest.raises(MalformedDocument, match="digits") as caught:
        render({"n": [10**4299]}, None, "r")
    assert caught.value.where == "/n/0"


# ── which texts are reproducible ─────────────────────────────────────────────────────────────────────────────────────


def test_texts_as_encoders_write_them_are_reproducible() -> None:
    value = {"a": [1, 2.5, {"b": "é\n/"}, [], {}], "c": None}
    for text in (
        json.dumps(value, indent=2, ensure_ascii=False),
        json.dumps(value, indent=4),
        json.dumps(value, indent="\t") + "\n",
        json.dumps(value, separators=(",", ":")),
        json.dumps(value, indent=2).replace("\n", "\r\n"),
        "{}",
        "[]\n",
    ):
        assert is_reproducible(text.encode(), "r")
        assert is_reproducible(b"\xef\xbb\xbf" + text.encode(), "r")


def test_an_integer_that_the_fast_encoder_would_round_does_not_pass_for_reproducible() -> None:
    text = b'{\n  "n": 1e29\n}\n'
    assert render(parse(text, "r"), text, "r") == text
    text = b'{\n  "n": 123456789012345678901234567890\n}\n'
    assert render(parse(text, "r"), text, "r") == text
    assert changed(text, "d['m'] = 1") == text.replace(b"890\n", b'890,\n  "m": 1\n')


def test_whether_a_text_is_reproducible_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bytes] = []
    inner = json_text._is_reproducible

    def counted(data: bytes, resource: str) -> bool:
        calls.append(data)
        return inner(data, resource)

    monkeypatch.setattr(json_text, "_is_reproducible", counted)
    for i in range(100):
        text = b'{\n  "unique to this test": %d\n}' % i
        for _ in range(3):
            render({}, text, "r")
    assert len(calls) == 100
    assert len(json_text._checked) <= 64
    render({}, b"{ }", "r", reproducible=True)
    assert len(calls) == 100


def test_a_file_that_an_encoder_wrote_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"tasks": [{"id": i, "title": f"task {i}", "deps": [1, 2]} for i in range(300)]}
    text = render(value, None, "r")
    by_hand = text.replace(b'"deps": [\n', b'"deps":  [\n')
    value["tasks"][150]["title"] = "changed"
    assert render(value, by_hand, "r") == by_hand.replace(b'"task 150"', b'"changed"')
    monkeypatch.delattr(json_spans, "splice")
    assert render(value, text, "r") == text.replace(b'"task 150"', b'"changed"')
    with pytest.raises(ImportError):
        render(value, by_hand, "r")


# ── random texts ─────────────────────────────────────────────────────────────────────────────────────────────────────

spaces = st.sampled_from(["", "", " ", "  ", "\n", "\n  ", "\n    ", "\t", "\r\n "])
numbers = st.sampled_from(["0", "-1", "1.50", "1E5", "1e+2", "0.10", "-0.0", "12345678901234567890123", "1.0", "1"])
words = st.sampled_from(['""', '"a"', r'"\/"', r'"\u0041"', '"é"', r'"\u00e9"', r'"\ud83d\ude00"', '"b, c: d"'])
keys = st.sampled_from(['"a"', '"b"', r'"\u0063"', r'"d\/"', '"id"', '"é"'])
literals = st.sampled_from(["null", "true", "false"])


def joined(parts: list[tuple[str, str]], ends: str, inside: str) -> str:
    return ends[0] + (",".join(before + text for before, text in parts) or inside) + inside * bool(parts) + ends[1]


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(spaces, keys, spaces, spaces, inner, spaces)
    members = st.lists(member, max_size=4, unique_by=lambda found: json.loads(found[1]))
    texts = members.map(lambda found: [(one[0], f"{one[1]}{one[2]}:{one[3]}{one[4]}{one[5]}") for one in found])
    return st.builds(joined, texts, st.just("{}"), spaces)


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(joined, st.lists(st.tuples(spaces, inner), max_size=5), st.just("[]"), spaces)


texts = st.builds(
    lambda before, text, after: before + text + after,
    spaces,
    st.recursive(numbers | words | literals, lambda inner: objects(inner) | arrays(inner), max_leaves=15),
    spaces,
)


@settings(max_examples=200)
@given(texts)
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    data = text.encode()
    value = parse(data, "r")
    assert render(value, data, "r", reproducible=False) == data
    assert render(value, data, "r") == data


@settings(max_examples=200)
@given(texts, texts)
def test_any_value_in_the_layout_of_any_text_is_read_back_exactly(text: str, other: str) -> None:
    value = parse(other.encode(), "r")
    after = render(value, text.encode(), "r")
    assert json.dumps(parse(after, "r")) == json.dumps(value)
    assert render(value, after, "r") == after


@settings(max_examples=200)
@given(st.lists(texts, min_size=1, max_size=6), st.data())
def test_what_stands_beside_a_change_keeps_its_bytes(parts: list[str], data: st.DataObject) -> None:
    """One element changed, one removed, one inserted: all others stand there as they did, in order."""
    parts = [part.strip() for part in parts]
    text = ("[ " + " ,\n".join(parts) + "]").encode()
    value = parse(text, "r")
    kept = list(parts)
    new = copy.deepcopy(value)
    at = data.draw(st.integers(0, len(new) - 1))
    if data.draw(st.booleans()):
        new[at] = {"new": 1}
        kept[at] = ""
    else:
        del new[at], kept[at]
    new.insert(at, "inserted")
    after = render(new, text, "r").decode()
    assert json.dumps(json.loads(after)) == json.dumps(new)
    for part in kept:
        assert part in after
        after = after[after.index(part) + len(part) :]
