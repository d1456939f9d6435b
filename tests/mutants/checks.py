"""What each rule promises, as a scenario with a forced interleaving: the code passes, its mutants do not."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from coordinator.errors import (
    CorruptSnapshot,
    LeaseHeld,
    LeaseLost,
    RevisionConflict,
    StaleFence,
    StoreUnavailable,
)
from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.record.agree import settle
from coordinator.record.decide import Ask
from coordinator.testing import Call, FailAt, ManualClock
from coordinator.testing.files import is_chain, is_scratch
from coordinator.testing.stale import StaleFiles
from mutants.world import NAME, Violation, World, appended, appends, content, promise

if TYPE_CHECKING:
    from coordinator.workspace import Workspace


# ── P1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_two_who_commit_on_one_revision_one_wins(world: World) -> None:
    first, second = world.agent("first"), world.agent("second")
    world.when("second", appends, lambda: first.document(NAME).commit(b"first", if_revision=0))
    with contextlib.suppress(RevisionConflict):
        second.document(NAME).commit(b"second", if_revision=0)
        raise Violation("both were told that they committed revision 1")
    promise(world.agent("reader").document(NAME).read() == b"first", "an acknowledged commit is gone")


# ── P5 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def while_one_decides_the_queue_is_taken(world: World) -> None:
    got: list[bool] = []
    world.when("one", appends, lambda: got.append(can_be_had(f"{world.state}/queue.lock")))
    world.agent("one").lease(NAME)
    promise(got == [False], "another could enter between reading and appending")


def users_code_runs_outside_the_queue(world: World) -> None:
    with world.agent("one").lease(NAME):
        promise(can_be_had(f"{world.state}/queue.lock"), "the queue's lock is held while user's code runs")


def a_stuck_process_in_the_queue_stops_nobody(world: World) -> None:
    world.agent("one").lease(NAME).release()
    stuck = SYSTEM_FILES.try_lock(f"{world.state}/queue.lock")
    assert stuck is not None
    own = ManualClock()
    began = own.wall_ms()
    own.on_pause = lambda _pause_ms: promise(own.wall_ms() - began < 10_000, "it waits and waits for the queue")
    try:
        world.agent("two", own).lease(NAME)
    finally:
        stuck.unlock()


def can_be_had(path: str) -> bool:
    lock = SYSTEM_FILES.try_lock(path)
    if lock:
        lock.unlock()
    return lock is not None


# ── P6 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_grant_on_one_host_is_seen_on_another(world: World) -> None:
    here = world.agent("here", files=StaleFiles(SYSTEM_FILES))
    there = world.agent("there", files=StaleFiles(SYSTEM_FILES))
    there.lease(NAME).release()
    promise(here.status_of(NAME).state == "free", "nobody holds it yet")
    lease = there.lease(NAME)
    promise(here.status_of(NAME).fence == lease.fence, "a grant on another host is not seen")


def a_file_replaced_on_one_host_is_read_anew_on_another(world: World) -> None:
    here = world.agent("here", files=StaleFiles(SYSTEM_FILES)).document(NAME)
    there = world.agent("there", files=StaleFiles(SYSTEM_FILES)).document(NAME)
    there.commit(b"one", if_revision=0)
    promise(here.plain_file() == b"one", "the first revision is there")
    there.commit(b"two", if_revision=1)
    promise(here.plain_file() == b"two", "a replaced file is read in its old version")


# ── P7 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_lost_reply_does_not_lose_the_lease_to_itself(world: World) -> None:
    one = world.agent("one")
    for code in (errno.EIO, errno.EEXIST):
        world.watch("one", FailAt(code, "symlink", when="after"))
        try:
            lease = one.lease(NAME)
        except LeaseHeld as held:
            raise Violation(f"an acquirer lost to its own retry: {held}") from None
        promise(world.newest().n == lease.fence, "one request was granted twice")
        lease.release()


def a_lost_reply_does_not_double_a_commit(world: World) -> None:
    one = world.agent("one").document(NAME)
    world.watch("one", FailAt(errno.EIO, "symlink", when="after"))
    try:
        receipt = one.commit(b"one", if_revision=0)
    except RevisionConflict as conflict:
        raise Violation(f"a commit lost to its own retry: {conflict}") from None
    promise((receipt.revision, len(one.history())) == (1, 1), "one commit stands there twice")


# ── P9 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_clock_that_jumps_steals_nothing(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=30)
    own = ManualClock()
    own.on_pause = lambda _pause_ms: own.advance(wall_ms=3_600_000)  # a suspended sandbox: monotonic time stood still
    with contextlib.suppress(LeaseHeld):
        world.agent("rival", own).lease(NAME, wait=1)
        raise Violation("a live lease was taken over after a jump of the contender's wall clock")


def a_host_that_is_dead_for_certain_gives_way(world: World) -> None:
    lease = world.agent("holder").lease(NAME, ttl=10, ends_in=12)
    world.clock.advance(7000)
    lease.renew()
    world.clock.advance(5200)
    promise(world.agent("rival").try_lease(NAME) is not None, "the host's deadline has passed, and its lease stands")


def the_ttl_is_the_holders_own(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=30)
    world.clock.advance(5000)
    promise(world.agent("rival").try_lease(NAME, ttl=1) is None, "a lease was taken over by the contender's own ttl")


def a_silent_holder_gives_way_though_the_servers_clock_stands_still(world: World) -> None:
    world.agent("holder").lease(NAME, ttl=5)
    own = ManualClock()  # runs as it waits; the server's does not
    try:
        world.agent("rival", own).lease(NAME, wait=60)
    except LeaseHeld:
        raise Violation("a dead holder's lease cannot be had while the server's clock stands still") from None


# ── P10 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_holder_believes_the_longest_of_its_clocks(world: World) -> None:
    own = ManualClock()
    lease = world.agent("holder", own).lease(NAME, ttl=30)
    own.advance(100, wall_ms=40_000)  # frozen for 40 s; the monotonic clock stood still
    for step in (lease.check, lease.renew, lambda: lease.commit(b"late")):
        refused_as_expired(step)


def trust_ends_before_the_ttl_does(world: World) -> None:
    own = ManualClock()
    lease = world.agent("holder", own).lease(NAME, ttl=30)
    own.advance(26_000)
    promise(lease.remaining == 0, "a holder trusts its lease at 87 % of its ttl")
    refused_as_expired(lease.check)


def refused_as_expired(step: object) -> None:
    assert callable(step)
    try:
        step()
    except LeaseLost as lost:
        promise(lost.reason == "expired", f"lost for the wrong reason: {lost.reason}")
    else:
        raise Violation("a holder whose time is over goes on")


# ── P11 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_renews_in_time(world: World) -> None:
    lease = world.agent("holder").lease(NAME, ttl=10)
    for _ in range(10):
        world.clock.advance(4100)
        try:
            lease.check()
        except LeaseLost as lost:
            raise Violation(f"a holder that checks in time loses its lease: {lost}") from None
    promise(world.newest().kind == "renew", "nothing was renewed")


def a_late_release_frees_nobody_elses_lease(world: World) -> None:
    own = ManualClock()
    lease = world.agent("late", own).lease(NAME, ttl=5)
    world.server.advance(6000)
    successor = world.agent("successor").lease(NAME, ttl=30)
    with contextlib.suppress(LeaseLost):
        lease.release()
    promise(
        world.agent("reader").status_of(NAME).fence == successor.fence, "a late release freed the successor's lease"
    )


def the_with_block_swallows_nothing(world: World) -> None:
    try:
        with world.agent("one").lease(NAME):
            raise KeyError("the body's own")
    except KeyError:
        return
    raise Violation("the body's exception was swallowed")


# ── P12 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_newcomer_does_not_overtake_the_line(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    wait_in_line(world.agent("first"))
    lease.release()
    promise(world.agent("newcomer").try_lease(NAME) is None, "a newcomer overtook the one who waits in line")


def a_token_is_good_once(world: World) -> None:
    token = world.agent("one").lease(NAME).detach()
    world.agent("two").resume(token)
    with contextlib.suppress(LeaseLost):
        world.agent("three").resume(token)
        raise Violation("one token gave the lease to two")


def a_holder_sees_that_it_is_wanted(world: World) -> None:
    lease = world.agent("holder").lease(NAME)
    wait_in_line(world.agent("first"))
    lease.check()
    promise(lease.wanted, "somebody waits, and the holder does not see it")


def wait_in_line(workspace: Workspace) -> None:
    member = workspace._member
    author = member.author()
    settle(member.store, Resource.parse(NAME), lambda _n, _now_ms: Ask(author))


# ── P15 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def content_is_durable_before_it_is_committed(world: World) -> None:
    synced: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "after" and call.op in {"sync", "sync_dir"}:
            synced.append("data" if is_scratch(call.path) else os.path.basename(call.path))
        if appends(call):
            promise("data" in synced, "the record is put before its content is synced")
            promise("snap" in synced[synced.index("data") :], "the record is put before its content's name is synced")

    world.watch("one", hook)
    world.agent("one").document(NAME).commit(b"one", if_revision=0)


def a_superseded_holder_commits_nothing(world: World) -> None:
    own = ManualClock()  # stands still, as in a frozen sandbox
    lease = world.agent("late", own).lease(NAME, ttl=5)
    world.server.advance(6000)
    world.agent("successor").lease(NAME, ttl=30).commit(b"successor's")
    with contextlib.suppress(StaleFence):
        lease.commit(b"late")
        raise Violation("a superseded holder's commit went through")
    promise(world.agent("reader").document(NAME).read() == b"successor's", "the successor's content was overwritten")


def altered_content_is_not_believed(world: World) -> None:
    world.agent("one").document(NAME).commit(b"one", if_revision=0)
    (snapshot,) = os.listdir(f"{world.state}/snap")
    with open(f"{world.state}/snap/{snapshot}", "wb") as file:
        file.write(b"two")
    with contextlib.suppress(CorruptSnapshot):
        world.agent("reader").document(NAME).read()
        raise Violation("altered content was read as if it had been committed")


# ── P16 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def the_plain_file_is_whole_at_all_times(world: World) -> None:
    document = world.agent("one").document(NAME)
    document.commit(b"one", if_revision=0)
    world.watch("one", lambda _call: promise(content(world.view) in {b"one", b"two"}, "the plain file is torn or gone"))
    document.commit(b"two", if_revision=1)


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
    with open(world.view, "wb") as file:
        file.write(b"one")  # what a frozen writer's late rename would leave
    promise(world.agent("reader").document(NAME).read() == b"two", "the plain file was believed")
    promise(content(world.view) == b"two", "the plain file was not repaired")


# ── P18 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_number_that_was_deleted_wins_nothing(world: World) -> None:
    others, late = world.agent("others"), world.agent("late").document(NAME)
    others.document(NAME).commit(b"one", if_revision=0)

    def meanwhile() -> None:
        others.document(NAME).commit(b"theirs", if_revision=1)
        world.many_records(others, 20)
        others.document(NAME).collect(keep=2)

    world.when("late", appends, meanwhile)
    with contextlib.suppress(RevisionConflict):
        late.commit(b"late", if_revision=1)
        raise Violation("a thawed writer re-created a deleted number, and was told that it had won")
    promise(world.agent("reader").document(NAME).read() == b"theirs", "an acknowledged commit is gone")


def nothing_above_the_floor_is_deleted(world: World) -> None:
    one = world.agent("one")
    world.many_records(one, 20)

    def hook(call: Call) -> None:
        if call[:2] == ("before", "unlink") and is_chain(call.path):
            number = int(os.path.basename(call.path))
            promise(number < world.newest().floor, f"record {number} is deleted while the floor is below it")

    world.watch("one", hook)
    one.document(NAME).collect(keep=2)


def a_win_that_was_collected_is_still_known(world: World) -> None:
    others, late = world.agent("others"), world.agent("late").document(NAME)

    def meanwhile() -> None:
        world.many_records(others, 20)
        others.document(NAME).collect(keep=2)

    world.when("late", appended, meanwhile)
    try:
        receipt = late.commit(b"late", if_revision=0)
    except StoreUnavailable as error:
        raise Violation(f"a commit that stands is not known to its writer any more: {error}") from None
    promise(receipt.revision == 1, "the wrong revision was told")
