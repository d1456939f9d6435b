"""Names: one spelling each, and state folders that never meet."""

from __future__ import annotations

import os
import socket
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.errors import BadName
from coordinator.limits import AGENT_MAX_BYTES, RESOURCE_MAX_BYTES, S3_KEY_MAX_BYTES
from coordinator.names import Resource, default_agent, is_id, new_id, parse_agent

# What lies in a resource's own state folder: nobody else's state may begin there.
OUR_OWN: Final = ["queue.lock", "chain", "history", "snap", "kept", "conflicts", "view.json"]

tricky = st.sampled_from(
    ["@", "@@", "a", ".", "..", "", "chain", "snap", ".coordinator", "@chain", "é", "\x00", " ", "a\n"]
)
parts = st.one_of(tricky, st.text(max_size=6))
names = st.lists(parts, min_size=1, max_size=4).map("/".join)


def parsed(name: str) -> Resource | None:
    try:
        return Resource.parse(name)
    except BadName:
        return None


@settings(max_examples=500)
@given(names)
def test_a_name_is_refused_or_comes_back_from_its_state_path(name: str) -> None:
    resource = parsed(name)
    if resource is not None:
        assert resource == name
        assert Resource.from_state_path(resource.state_path) == resource
        assert os.path.normpath(resource.state_path) == resource.state_path
        assert not resource.state_path.startswith(("/", "../"))
        assert all(len(part.encode()) <= 255 for part in resource.state_path.split("/"))


@settings(max_examples=500)
@given(names, names)
def test_no_two_resources_share_state_nor_does_one_lie_among_the_files_of_the_other(one: str, two: str) -> None:
    first, second = parsed(one), parsed(two)
    if first is None or second is None or first == second:
        return
    assert first.state_path != second.state_path
    for mine, other in ((first, second), (second, first)):
        assert not other.state_path.startswith(f"{mine.state_path}/")
        for own in OUR_OWN:
            taken = f"{mine.state_path}/{own}"
            assert other.state_path != taken
            assert not other.state_path.startswith(f"{taken}/")
            # … nor does a folder on the way to one have the place of a file of the other
            assert not taken.startswith(f"{other.state_path}/")


@pytest.mark.parametrize(
    ("name", "state_path"),
    [
        ("tasks.json", "tasks.json/@"),
        ("reports/q3.md", "reports/q3.md/@"),
        ("a/@/b", "a/@@/b/@"),
        ("@", "@@/@"),
        ("@@", "@@@/@"),
        ("@/@", "@@/@@/@"),
        ("a/chain", "a/chain/@"),
        ("x@y", "x@y/@"),
        (".hidden", ".hidden/@"),
        ("...", ".../@"),
        ("with space", "with space/@"),
        ("ünï/cødé", "ünï/cødé/@"),
    ],
)
def test_where_state_lies(name: str, state_path: str) -> None:
    assert Resource.parse(name).state_path == state_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("/", "absolute"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
        (".", "empty or '.'"),
        ("./a", "empty or '.'"),
        ("a//b", "empty or '.'"),
        ("a/", "empty or '.'"),
        ("a/./b", "empty or '.'"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        (".coordinator", "own folder"),
        (".coordinator/resources/x", "own folder"),
        (".Coordinator/x", "own folder"),
        ("\udcff", "not UTF-8"),
        ("a" * 256, "longer than 255"),
        ("é" * 128, "longer than 255"),
        ("@" * 255, "longer than 255"),
        ("a/" * 256 + "a", "513 bytes"),
    ],
)
def test_what_is_no_resource_name(name: str, why: str) -> None:
    with pytest.raises(BadName, match=why) as caught:
        Resource.parse(name)
    assert caught.value.name == name
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127, "@" * 254, "/".join(["a" * 127] * 4), "a/.coordinator", "a" * 255 + "/" + "b" * 255]
)
def test_the_longest_names_are_names(name: str) -> None:
    assert len(name.encode()) <= RESOURCE_MAX_BYTES
    assert Resource.from_state_path(Resource.parse(name).state_path) == name


def test_the_longest_state_path_leaves_room_in_an_object_key() -> None:
    name = Resource.parse("/".join(["@"] * 256))
    longest = f".coordinator/resources/{name.state_path}/snap/{'0' * 12}-{new_id()}-{'a' * 64}"
    assert len(longest.encode()) + 120 <= S3_KEY_MAX_BYTES


@pytest.mark.parametrize("path", ["a", "a/@@", "@", "", "a/@/chain", "../@", "a//@"])
def test_a_path_that_is_no_state_folder_is_refused(path: str) -> None:
    with pytest.raises(BadName):
        Resource.from_state_path(path)


# ── agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a", "reviewer-1", "ci@host", "v1.2+x", "_", "A_b", "a" * 64, "1", "a-", "a+"])
def test_an_agents_name(name: str) -> None:
    assert parse_agent(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", ".a", "a.", "-a", "a@", "é", "a\n", "a" * 65, "..", "@", "a\x00"])
def test_what_is_no_agents_name_and_what_would_do(name: str) -> None:
    with pytest.raises(BadName) as caught:
        parse_agent(name)
    suggested = caught.value.hint.rpartition("for example ")[2].strip("'")
    assert parse_agent(suggested) == suggested


@given(st.text(max_size=80))
def test_an_agents_name_is_refused_with_one_that_would_do_or_is_safe_in_a_file_name(name: str) -> None:
    refused = None
    try:
        parse_agent(name)
    except BadName as error:
        refused = error
    if refused is not None:
        assert parse_agent(refused.hint.rpartition("for example ")[2].strip("'"))
        return
    assert name.isascii()
    assert 1 <= len(name) <= AGENT_MAX_BYTES
    assert not set(name) & set("/ \n\x00:\\")
    assert name not in {".", ".."}


@pytest.mark.parametrize("host", ["box", "my.host.example.", "-x-", "hôte", "a" * 80, "", "..."])
def test_the_default_agent_is_a_lawful_name_on_every_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert parse_agent(default_agent())


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ids_are_fresh_and_of_their_form() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(map(is_id, ids))
    assert {len(one) for one in ids} == {20}


@pytest.mark.parametrize("text", ["", "a" * 19, "a" * 21, "A" * 20, "1" * 20, "a" * 19 + "\n", "a" * 20 + "\n"])
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)
