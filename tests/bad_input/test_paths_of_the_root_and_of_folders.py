"""A lease on a name that is a folder, and a workspace that is reached by more than one path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from coordinator import BadName, LeaseHeld, Workspace

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_can_be_leased_and_is_no_document(workspace: Workspace) -> None:
    os.makedirs(f"{workspace.directory}/reports/2026")
    with workspace.lease("reports") as lease:
        assert lease.fence == 1
        with pytest.raises(LeaseHeld):
            workspace.lease("reports")
        for use in (lease.read, lambda: lease.commit(b"x"), workspace.document("reports").read):
            with pytest.raises(BadName, match="'reports' is a directory in this workspace") as caught:
                use()
            assert caught.value.name == "reports"
    assert os.listdir(f"{workspace.directory}/reports") == ["2026"]
    assert workspace.status_of("reports").revision == 0
    with workspace.lease("reports/2026/q3.md") as lease:  # and what lies below it is another resource
        lease.commit(b"q3")
    assert workspace.lease("reports").fence == 3


def test_all_paths_to_the_root_are_one_workspace(tmp_path: Path) -> None:
    (tmp_path / "real" / "deeper").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deeper")
    (tmp_path / "above").symlink_to(tmp_path / "real")
    by_link = Workspace.init(tmp_path / "link", agent="alice")
    others = [tmp_path / "real/deeper", tmp_path / "above/deeper", tmp_path / "real/deeper/../../link"]
    with by_link.lease("tasks.json") as lease:
        for path in others:
            workspace = Workspace(path, agent="bob")
            assert workspace.directory == by_link.directory == os.path.realpath(tmp_path / "real/deeper")
            assert workspace.format == by_link.format
            with pytest.raises(LeaseHeld) as caught:
                workspace.lease("tasks.json")
            assert (caught.value.holder, caught.value.fence) == ("alice", lease.fence)
        lease.commit(b"one")
    assert {Workspace(path).document("tasks.json").read() for path in others} == {b"one"}
    assert (tmp_path / "link").is_symlink()
