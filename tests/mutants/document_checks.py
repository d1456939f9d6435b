"""What the rules of documents promise (P15, P16), each as a scenario with a forced interleaving."""

from __future__ import annotations

import contextlib
import os

from coordinator.errors import CorruptSnapshot, LeaseHeld, StaleFence
from coordinator.testing import Call, ManualClock
from coordinator.testing.files import is_scratch
from mutants.world import NAME, Violation, World, appended, appends, content, promise, write

# ── P15 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def content_is_durable_before_its_record_and_that_before_the_receipt(world: World) -> None:
    done: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op in {"sync", "sync_dir"}:
            done.append("data" if is_scratch(call.path) else os.path.basename(call.path))
        if appends(call):
            promise("data" in done, "the record is put before its content is synced")
            promise("snap" in done[done.index("data") :], "the record is put before its content's name is synced")
        if appended(call):
            done.append("record")

    world.watch("one", hook)
    world.agent("one").document(NAME).commit(b"one", if_revision=0)
    promise("chain" in done[done.index("record") :], "the receipt is given before the record is synced")


def a_superseded_holder_commits_nothing(world: World) -> None:
    own = ManualClock()  # stands still, as in a frozen sandbox
    lease = world.agent("late", own).lease(NAME, ttl=5)
    world.server.advance(6000)
    world.agent("successor").lease(NAME, ttl=30).commit(b"successor's")
    with contextlib.suppress(StaleFence):
        lease.commit(b"late")
        raise Violation("a superseded holder's commit went through")
    promise(world.agent("reader").document(NAME).read() == b"successor's", "the successor's content was overwritten")


def nobody_commits_beside_a_holder(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    with contextlib.suppress(LeaseHeld):
        world.agent("other").document(NAME).commit(b"other's", if_revision=0)
        raise Violation("somebody without the lease committed while another held it")
    promise(lease.commit(b"holder's").revision == 1, "something was committed besides")


def altered_content_is_not_believed(world: World) -> None:
    world.agent("one").document(NAME).commit(b"one", if_revision=0)
    (snapshot,) = os.listdir(f"{world.state}/snap")
    write(f"{world.state}/snap/{snapshot}", b"two")
    with contextlib.suppress(CorruptSnapshot):
        world.agent("reader").document(NAME).read()
        raise Violation("altered content was read as if it had been committed")


# ── P16 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def the_plain_file_is_whole_at_all_times(world: World) -> None:
    document = world.agent("one").document(NAME)
    document.commit(b"one", if_revision=0)
    world.watch("one", lambda _call: promise(content(world.view) in {b"one", b"two"}, "the plain file is torn or gone"))
    document.commit(b"two", if_revision=1)
    promise(content(world.view) == b"two", "the plain file was not refreshed")


def the_plain_file_is_synced_before_it_is_shown(world: World) -> None:
    synced: list[bool] = []

    def hook(call: Call) -> None:
        if call.op == "create" and call.when == "after":
            synced.append(False)  # each new file has to be synced anew
        if call.op == "sync" and call.when == "after":
            synced[-1] = True
        if call[:2] == ("before", "rename") and call.path == world.view:
            promise(synced[-1], "a power failure now may show an empty plain file")
            synced.append(True)

    world.watch("one", hook)
    world.agent("one").document(NAME).commit(b"one", if_revision=0)
    assert synced, "nothing was shown"


def a_late_rename_is_put_right_by_its_writer(world: World) -> None:
    one, two = world.agent("one").document(NAME), world.agent("two").document(NAME)
    world.when(
        "one",
        lambda call: call[:2] == ("before", "rename") and call.path == world.view,
        lambda: two.commit(b"two", if_revision=1),
    )
    one.commit(b"one", if_revision=0)
    promise(content(world.view) == b"two", "the plain file was set back, and left so")


def a_read_repairs_the_plain_file(world: World) -> None:
    document = world.agent("one").document(NAME)
    document.commit(b"one", if_revision=0)
    document.commit(b"two", if_revision=1)
    write(world.view, b"one")  # what the late rename of a writer that died then would leave
    reader = world.agent("reader").document(NAME)
    promise(reader.read() == b"two", "the plain file was believed")
    promise(content(world.view) == b"two", "the plain file was not repaired")
    promise(reader.conflicts() == [], "an earlier revision was taken for somebody's edit")
