"""Documents that are not the JSON they should be: told with the place, left as they are, readable as bytes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from coordinator.errors import MalformedDocument

if TYPE_CHECKING:
    from coordinator import Workspace

NAME = "tasks.json"
DEEP = b"[" * 100_000 + b"]" * 100_000

MALFORMED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"tasks:\n  - one\n", "line 1"),
    "cut": (b'{"tasks": [1,\n 2', "line 2"),
    "two values": (b"{} {}", "line 1, column 4"),
    "a comma too many": (b'{"a": 1,\n}', "line"),
    "duplicate key": (b'{\n "a": 1,\n "a": 2\n}', "line 3"),
    "nested duplicate key": (b'{"x": [\n{"k": {"id": 1, "id": 2}}]}', "line 2"),
    "duplicate key by escape": (b'{"a": 1, "\\u0061": 2}', "key 'a'"),
    "NaN": (b'{"a":\nNaN}', "line 2"),
    "Infinity": (b"[Infinity]", "line 1"),
    "-Infinity": (b"[-Infinity]", "line 1"),
    "1e999": (b'{"a":\n 1e999}', "line 2, column 2"),
    "-1e999": (b"[-1e999]", "line 1"),
    "long decimal": (b"[1,\n 0.12345678901234567890123]", "line 2, column 2"),
    "small": (b"[1e-400]", "line 1"),
    "long integer": (b"[" + b"9" * 5000 + b"]", "number"),
    "half a pair": (b'{"a": ["\\ud83d"]}', "/a/0"),
    "half a pair in a key": (b'{"\\udc00": 1}', "the top"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0"),
    "UTF-16 without mark": ('{"a": 1}'.encode("utf-16-le"), "line 1"),
    "Latin-1": (b'{"a": "\xe9"}', "byte 7"),
    "empty": (b"", "line 1, column 1"),
    "spaces": (b"  \n ", "line 2"),
    "NULs": (b"\0" * 20, "line 1"),
    "mark alone": (b"\xef\xbb\xbf", "line 1"),
    "two marks": (b"\xef\xbb\xbf\xef\xbb\xbf{}", "line 1"),
    "deep": (DEEP, "innermost"),
    "huge exponent": (b"[1.5e1000000000]", "line 1"),
    "tiny exponent": (b"[0.0e-99999999999999999999]", ""),
}


@pytest.mark.parametrize("adopted", [False, True], ids=["never committed", "committed"])
@pytest.mark.parametrize("case", MALFORMED)
def test_it_is_told_and_left_as_it_is(workspace: Workspace, case: str, *, adopted: bool) -> None:
    data, where = MALFORMED[case]
    path = f"{workspace.directory}/{NAME}"
    with open(path, "wb") as file:
        file.write(data)
    document = workspace.document(NAME)
    if not adopted:
        with pytest.raises(MalformedDocument) as caught:
            document.read_json()
        assert where in str(caught.value)
        assert caught.value.where
        assert (caught.value.resource, bool(caught.value.hint)) == (NAME, True)
        assert document.revision == 0, "reading adopted it"
    with workspace.lease(NAME, ttl=5) as lease:
        with pytest.raises(MalformedDocument) as caught:
            lease.read_json()
        assert where in str(caught.value)
        assert lease.read() == data
    with pytest.raises(MalformedDocument):
        document.read_json()
    assert document.read() == data
    with open(path, "rb") as file:
        assert file.read() == data


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}\n', {"a": 1}),
        (b'["\\ud83d\\ude00"]', ["😀"]),
        (b"[1.0, 1e3, 0.1, -0.0]", [1.0, 1000.0, 0.1, -0.0]),
        (b"[18446744073709551616]", [2**64]),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b'{"a": {"k": 1}, "b": {"k": 1}}', {"a": {"k": 1}, "b": {"k": 1}}),
        (b" null ", None),
    ],
)
def test_what_is_odd_but_lawful_is_read(workspace: Workspace, data: bytes, value: Any) -> None:
    workspace.document(NAME).commit(data, if_revision=0)
    assert workspace.document(NAME).read_json() == value


def test_a_mark_at_the_beginning_is_kept_by_a_commit(workspace: Workspace) -> None:
    with open(f"{workspace.directory}/{NAME}", "wb") as file:
        file.write(b'\xef\xbb\xbf{"a": 1}\n')
    with workspace.lease(NAME, ttl=5) as lease:
        lease.commit_json(lease.read_json() | {"b": 2})
        assert lease.read().startswith(b"\xef\xbb\xbf{")
        assert lease.read_json() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        [float("inf")],
        {1: 2},
        {None: 1},
        {"a": {1, 2}},
        {"a": b"bytes"},
        ["\ud800"],
        {"\udfff": 1},
        pytest.param(object(), id="an object"),
    ],
    ids=ascii,
)
def test_a_value_that_json_has_no_word_for_is_not_committed(workspace: Workspace, value: Any) -> None:
    document = workspace.document(NAME)
    document.commit(b"{}", if_revision=0)
    with pytest.raises(MalformedDocument) as caught:
        document.commit_json(value, if_revision=1)
    assert caught.value.where
    with workspace.lease(NAME, ttl=5) as lease:
        with pytest.raises(MalformedDocument):
            lease.commit_json(value)
        assert lease.read() == b"{}"
    assert document.revision == 1
    assert os.listdir(f"{workspace.directory}/.coordinator/scratch") == []


def test_a_value_that_holds_itself_and_one_that_is_too_deep(workspace: Workspace) -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    for value in (ring, deep):
        with pytest.raises(MalformedDocument):
            workspace.document(NAME).commit_json(value, if_revision=0)


def test_what_is_committed_is_read_by_others_as_the_same(workspace: Workspace) -> None:
    value = {"é": ["😀", 2**70, 0.1, -1, None, True, {"": []}], "\x00": "\u2028"}
    workspace.document(NAME).commit_json(value, if_revision=0)
    with open(f"{workspace.directory}/{NAME}", "rb") as file:
        assert json.loads(file.read()) == value
    assert workspace.document(NAME).read_json() == value
