"""The file system that forgets: exactly what was not synced."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from coordinator.folders import write_new
from coordinator.testing.crash import CrashFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.files import Files


def tree(files: Files, path: str = "/") -> tuple[tuple[str, object], ...]:
    """All that is there, as plain values."""
    found: list[tuple[str, object]] = []
    for name in sorted(files.listdir(path)):
        inner = f"{path.rstrip('/')}/{name}"
        kind = files.stat(inner).kind
        reader: Callable[[str], Any] = {"file": files.read, "symlink": files.readlink}.get(kind, lambda _: None)
        found.append((inner, reader(inner)))
        if kind == "directory":
            found += tree(files, inner)
    return tuple(found)


def trees(files: CrashFiles, *, samples: int = 8, seed: int = 0) -> set[tuple[tuple[str, object], ...]]:
    states = list(files.crash_states(samples=samples, seed=seed))
    found = {tree(state.files) for state in states}
    assert len(found) == len(states), "one tree was told twice"
    return found


def test_a_name_is_durable_after_its_folder_was_synced() -> None:
    files = CrashFiles()
    files.mkdir("/d")
    assert trees(files) == {(), (("/d", None),)}
    files.sync_dir("/")
    assert trees(files) == {(("/d", None),)}
    files.symlink("target", "/d/link")
    assert trees(files) == {(("/d", None),), (("/d", None), ("/d/link", "target"))}
    files.sync_dir("/d")
    files.unlink("/d/link")
    assert trees(files) == {(("/d", None),), (("/d", None), ("/d/link", "target"))}
    files.rmdir("/d")
    assert trees(files) == {(), (("/d", None),), (("/d", None), ("/d/link", "target"))}


def test_content_is_durable_after_its_sync_and_may_be_torn_before() -> None:
    files = CrashFiles()
    with files.create("/f") as file:
        file.write(b"abcd")
        assert trees(files) == {(), (("/f", b""),), (("/f", b"ab"),), (("/f", b"abcd"),)}
        file.sync()
        assert trees(files) == {(), (("/f", b"abcd"),)}
        file.write(b"ef")
    files.sync_dir("/")
    assert trees(files) == {(("/f", b"abcd"),), (("/f", b"abcde"),), (("/f", b"abcdef"),)}


def test_every_byte_may_be_where_it_is_torn() -> None:
    files = CrashFiles()
    for name in ("f", "g", "h"):
        write_new(files, f"/{name}", b"")
    with files.create("/torn") as file:
        file.write(b"0123456789")
    files.sync_dir("/")
    found = {
        state.files.read("/torn") for seed in range(100) for state in files.crash_states(exhaustive_max=0, seed=seed)
    }
    assert found == {b"0123456789"[:end] for end in range(11)}


def test_a_rename_in_one_folder_is_indivisible() -> None:
    files = CrashFiles()
    write_new(files, "/old", b"1")
    write_new(files, "/new", b"0")
    files.sync_dir("/")
    files.rename("/old", "/new")
    assert trees(files) == {(("/new", b"0"), ("/old", b"1")), (("/new", b"1"),)}


def test_a_rename_across_folders_is_an_entry_in_each() -> None:
    files = CrashFiles()
    for name in ("a", "b"):
        files.mkdir(f"/{name}")
    write_new(files, "/a/f", b"1")
    files.sync_all()
    files.rename("/a/f", "/b/g")
    here, there = ("/a/f", b"1"), ("/b/g", b"1")
    top = (("/a", None), ("/b", None))
    assert trees(files) == {tuple(sorted((*top, *which))) for which in ((), (here,), (there,), (here, there))}
    files.sync_dir("/b")
    assert trees(files) == {tuple(sorted((*top, *which))) for which in ((there,), (here, there))}


def test_effects_may_survive_without_those_before_them() -> None:
    files = CrashFiles()
    for name in ("1", "2", "3"):
        files.symlink("x", f"/{name}")
    assert len(trees(files)) == 8
    files.unlink("/2")
    files.symlink("y", "/2")
    assert len(trees(files)) == 12  # the second one: absent, x or y


def test_folders_moved_into_each_other_by_halves_are_found_without_a_circle() -> None:
    files = CrashFiles()
    for path in ("/a", "/b", "/b/c"):
        files.mkdir(path)
    files.sync_all()
    files.rename("/a", "/b/c/a")
    files.rename("/b/c", "/c")
    files.rename("/b", "/c/a/b")
    assert (("/a", None), ("/b", None), ("/b/c", None)) in trees(files)


def test_too_many_are_sampled_from_every_side() -> None:
    files = CrashFiles()
    for i in range(20):
        files.symlink("x", f"/{i:02}")
    found = {tuple(name for name, _ in names) for names in trees(files, samples=5)}
    every = tuple(f"/{i:02}" for i in range(20))
    assert {(), every} <= found
    for i, name in enumerate(every):
        assert {(name,), (*every[:i], *every[i + 1 :])} <= found
    assert len(found) == 2 + 20 + 20 + 5
    again = {tuple(name for name, _ in names) for names in trees(files, samples=5)}
    assert found == again  # by seed
    assert found != {tuple(name for name, _ in names) for names in trees(files, samples=5, seed=1)}


def test_it_says_what_was_lost_and_what_was_done() -> None:
    files = CrashFiles()
    files.mkdir("/d")
    files.sync_dir("/")
    with files.create("/d/f") as file:
        file.write(b"1")
    files.rename("/d/f", "/g")
    assert [f"{op} {path}" for op, path in files.effects] == [
        "mkdir /d",
        "sync_dir /",
        "create /d/f",
        "write /d/f",
        "rename to /g",
        "rename from /d/f",
    ]
    lost = {tuple(effect.op for effect in state.lost) for state in files.crash_states()}
    assert {(), ("rename from",), ("write",), ("rename to",), ("rename to", "rename from", "write")} <= lost


def test_a_found_tree_is_whole_durable_unlocked_and_its_own() -> None:
    files = CrashFiles()
    assert files.try_lock("/lock") is not None
    assert files.try_lock("/lock") is None
    files.sync_all()
    (state,) = files.crash_states()
    assert state.files.try_lock("/lock") is not None
    state.files.symlink("x", "/other")
    assert files.listdir("/") == ["lock"]
    chance = random.Random(1)
    for name in ("d", "e"):
        files.mkdir(f"/{name}")
        write_new(files, f"/{name}/f", chance.randbytes(9))
    for state in files.crash_states():
        (again,) = state.files.crash_states()
        assert tree(again.files) == tree(state.files)
        assert again.key == state.key
