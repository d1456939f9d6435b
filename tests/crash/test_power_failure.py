"""Nothing acknowledged is lost in a power failure, whichever call it comes at and whatever was not yet durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from power import Judge, Violation

from coordinator.document.snapshot import Draft
from coordinator.record import collect
from coordinator.testing.crash import CrashFiles

if TYPE_CHECKING:
    from collections.abc import Callable

PRIMITIVES = ("symlink", "directory")


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_every_promise_outlives_a_power_failure_at_every_call(primitive: str) -> None:
    judge = Judge(primitive)
    judge.run()
    assert judge.stops > 500, "the scenario makes fewer calls than it did: is all of it run?"
    assert judge.judged > 500
    assert judge.judged_again > 200


# ── the judge finds what is broken on purpose ────────────────────────────────────────────────────────────────────────


def _make_unsynced(monkeypatch: pytest.MonkeyPatch, home: object, name: str) -> None:
    """Makes one step leave out every sync of a file."""
    really = getattr(home, name)

    def step(*arguments: object) -> object:
        with monkeypatch.context() as within:
            within.setattr(CrashFiles, "_sync", lambda *_: None)
            return really(*arguments)

    monkeypatch.setattr(home, name, step)


def _without_syncs_of(part: str) -> Callable[[CrashFiles, str], None]:
    really = CrashFiles.sync_dir

    def sync_dir(files: CrashFiles, path: str) -> None:
        if part not in f"{path}/":
            really(files, path)

    return sync_dir


def _collect_without_archive(*_arguments: object) -> None:
    return


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_files_that_are_not_synced_are_found_out(primitive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashFiles, "_sync", lambda *_: None)
    with pytest.raises(Violation):
        Judge(primitive).run()


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_an_append_before_its_snapshot_is_synced_is_found_out(primitive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _make_unsynced(monkeypatch, Draft, "_write")
    with pytest.raises(Violation, match="CorruptSnapshot"):
        Judge(primitive).run()


@pytest.mark.parametrize("primitive", PRIMITIVES)
@pytest.mark.parametrize("folder", ["/@/chain/", "/@/snap/", "/@/history/"])
def test_a_folder_that_is_not_synced_is_found_out(primitive: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashFiles, "sync_dir", _without_syncs_of(folder))
    with pytest.raises(Violation):
        Judge(primitive).run()


def test_a_workspace_that_is_renamed_into_place_unsynced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrashFiles, "sync_dir", _without_syncs_of("/.coordinator.init-"))
    with pytest.raises(Violation):
        Judge("symlink").run()


def test_a_collection_that_archives_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_write_segment", _collect_without_archive)
    with pytest.raises(Violation, match="not in the history"):
        Judge("symlink").run()


def test_an_archive_that_is_not_synced_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _make_unsynced(monkeypatch, collect, "_write_segment")
    with pytest.raises(Violation):
        Judge("symlink").run()
