"""What somebody writes into the plain file by hand: folded, kept, or displaced by a rendering in the same moment.

The editor makes its file durable, as careful ones do: from then on it is in its place, in the document, or kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from torn_world import NAME, PLAIN, ROOT, STATE, TTL, World, found_out, skipping_sync_dirs, skipping_syncs_in

from coordinator.document.conflicts import Conflicts
from coordinator.folders import write_new
from coordinator.testing import InterceptedFiles
from coordinator.testing.crash_choices import Tears

if TYPE_CHECKING:
    import pytest

    from coordinator import Document, Workspace
    from coordinator.files import Files
    from coordinator.testing import Call

COARSE: Final = Tears(page_bytes=4096, nuls=True)
MARK: Final = 77
TEXT: Final = b"not JSON at all\n"


def save(files: Files, data: bytes) -> None:
    """As an editor saves that syncs: a file of its own, renamed over the plain one."""
    write_new(files, f"{PLAIN}~", data)
    files.rename(f"{PLAIN}~", PLAIN)
    files.sync_dir(ROOT)


def begun(*, exchanges: bool = False) -> tuple[World, Document]:
    """A document that was folded once, and what is to be true of an edit of it."""
    world = World(tears=COARSE, exchanges=exchanges)
    document = world.open("alice").document(NAME)
    world.update(document, "a", wait=TTL)
    world.promised.committing = MARK  # it may be there, or not yet
    world.settle()
    return world, document


def must_be_somewhere(world: World, data: bytes, *, folded: bool) -> None:
    def check(workspace: Workspace) -> None:
        document = workspace.document(NAME)
        files = workspace._member.files
        places = [*document.conflicts(), PLAIN]
        is_folded = folded and document.read_json()["whole"] == MARK
        assert is_folded or data in map(files.read, places), "the edit is gone"

    world.after_fold = check


def folded_edit() -> World:
    """An edit that fits is folded, together with an update, and the plain file rendered anew."""
    world, document = begun()
    data = json.dumps({**document.read_json(), "whole": MARK}).encode()
    must_be_somewhere(world, data, folded=True)
    save(world.disk, data)
    world.settle()
    with world.points.recording():
        world.update(document, "b", wait=TTL)
    assert document.read_json()["whole"] == MARK
    return world


def test_an_edit_that_is_folded() -> None:
    folded_edit().assert_taken(25, 50)


def kept_edit() -> World:
    """An edit that is no JSON is kept, and the plain file rendered anew."""
    world, document = begun()
    world.promised.kept = (TEXT,)
    must_be_somewhere(world, TEXT, folded=False)
    save(world.disk, TEXT)
    world.settle()
    with world.points.recording():
        world.update(document, "b", wait=TTL)
    assert len(document.conflicts()) == 1
    return world


def test_an_edit_that_is_kept() -> None:
    kept_edit().assert_taken(25, 50)


# ── an editor saves while the plain file is being replaced ───────────────────────────────────────────────────────────


only_in_scratch: list[int] = []  # crash points of displaced_edit


def displaced_edit() -> World:
    """Between the last look at the plain file and its replacement: what was replaced is found, and kept."""
    world, _ = begun(exchanges=True)
    world.promised.kept = (TEXT,)
    saved: list[Call] = []

    def editor(call: Call) -> None:
        if call == ("before", "rename", PLAIN) and not saved:
            saved.append(call)
            save(world.disk, TEXT)
            world.points.look("after an editor saved")

    def check(workspace: Workspace) -> None:
        files = workspace._member.files
        if not saved:
            return
        scratch = [f"{STATE}/scratch/{name}" for name in files.listdir(f"{STATE}/scratch")]
        places = [*workspace.document(NAME).conflicts(), PLAIN]
        if TEXT not in map(files.read, places):
            # Killed before it was copied: it is where the exchange has put it, for as long as scratch names are kept.
            assert TEXT in map(files.read, scratch), "the edit is gone"
            only_in_scratch.append(world.points.taken)

    world.after_fold = check
    document = world.open("bob", InterceptedFiles(world.points.files, editor)).document(NAME)
    with world.points.recording():
        world.update(document, "b", wait=TTL)
    assert saved
    assert [world.disk.read(path) for path in document.conflicts()] == [TEXT]
    return world


def test_an_edit_that_is_displaced() -> None:
    only_in_scratch.clear()
    displaced_edit().assert_taken(30, 50)
    assert only_in_scratch, "docs/guarantees.md says that there are such crash points"


# ── what is broken on purpose is found ───────────────────────────────────────────────────────────────────────────────


def test_a_copy_that_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_syncs_in(monkeypatch, Conflicts, "_put")
    found_out(kept_edit, "gone")


def test_a_folder_of_copies_that_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith(("/@/conflicts", "/@")))
    found_out(kept_edit, "gone")


def test_a_displaced_edit_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    skipping_sync_dirs(monkeypatch, lambda path: path.endswith("/@/conflicts"))
    found_out(displaced_edit, "gone")
