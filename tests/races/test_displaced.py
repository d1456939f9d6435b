"""A save at the very moment when the plain file is replaced (P17): kept, not dropped, in place or by rename."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES, SystemFiles
from coordinator.testing import Call, InterceptedFiles

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tasks.json"
BY_HAND = b'{"by": "hand"}'


class SaveAt:
    """Saves the plain file once, just before it is replaced: after every look at it."""

    def __init__(self, path: str, *, in_place: bool) -> None:
        self.path, self.in_place, self.armed = path, in_place, False

    def __call__(self, call: Call) -> None:
        if not self.armed or (call.when, call.op, call.path) != ("before", "rename", self.path):
            return
        self.armed = False
        if self.in_place:
            with open(self.path, "wb") as file:
                file.write(BY_HAND)
        else:
            with open(f"{self.path}~", "wb") as file:
                file.write(BY_HAND)
            os.replace(f"{self.path}~", self.path)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    Workspace.init(tmp_path, agent="founder").document(NAME).commit(b'{"n": 1}', if_revision=0)
    return str(tmp_path)


def texts(paths: list[str]) -> list[bytes]:
    found = []
    for path in paths:
        with open(path, "rb") as file:
            found.append(file.read())
    return found


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "by rename"])
def test_a_save_while_the_file_is_replaced_is_kept(directory: str, in_place: bool) -> None:
    save = SaveAt(f"{directory}/{NAME}", in_place=in_place)
    document = Workspace(directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, save)).document(NAME)
    revision = document.content().revision
    save.armed = True
    receipt = document.commit(b'{"n": 2}', if_revision=revision)
    assert texts(list(receipt.conflicts)) == texts(document.conflicts()) == [BY_HAND]
    assert [document.read(), *texts([save.path])] == [b'{"n": 2}', b'{"n": 2}']
    assert os.listdir(f"{directory}/.coordinator/scratch") == []


def test_a_rendering_of_another_agent_is_no_edit(directory: str) -> None:
    """One that was frozen before it replaced the file replaces a newer revision by an older: nothing is to be kept."""
    other = Workspace(directory, agent="bob").document(NAME)

    def commit(call: Call) -> None:
        if armed and (call.when, call.op, call.path) == ("before", "rename", f"{directory}/{NAME}"):
            armed.clear()
            other.commit(b'{"n": 3}', if_revision=2)

    armed = [True]
    document = Workspace(directory, agent="alice", files=InterceptedFiles(SYSTEM_FILES, commit)).document(NAME)
    document.commit(b'{"n": 2}', if_revision=1)
    assert document.conflicts() == []
    assert document.read() == b'{"n": 3}'
    assert texts([f"{directory}/{NAME}"]) == [b'{"n": 3}']


def test_where_names_cannot_be_exchanged_the_file_is_replaced_all_the_same(directory: str) -> None:
    class LikeNfs(SystemFiles):
        def exchange(self, one: str, other: str) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), one, None, other)

    document = Workspace(directory, agent="alice", files=LikeNfs()).document(NAME)
    document.commit(b'{"n": 2}', if_revision=1)
    assert texts([f"{directory}/{NAME}"]) == [b'{"n": 2}']
