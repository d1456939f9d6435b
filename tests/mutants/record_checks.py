"""What the rules of the record promise (P1, P5, P6, P7, P18), each as a scenario with a forced interleaving."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NoReturn

from coordinator.errors import CorruptSnapshot, LeaseHeld, RevisionConflict, StoreUnavailable
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, FailAt, ManualClock
from coordinator.testing.files import is_chain
from mutants.world import (
    NAME,
    Violation,
    World,
    appended,
    appends,
    can_be_had,
    many_records,
    promise,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.workspace import Workspace

# ── P1 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_two_who_commit_on_one_revision_one_wins(world: World) -> None:
    first, second = world.agent("first"), world.agent("second")
    world.when("second", appends, lambda: first.document(NAME).commit(b"first", if_revision=0))
    with contextlib.suppress(RevisionConflict):
        second.document(NAME).commit(b"second", if_revision=0)
        raise Violation("both were told that they committed revision 1")
    promise(world.agent("reader").document(NAME).read() == b"first", "an acknowledged commit is gone")


def of_two_who_ask_at_once_one_holds(world: World) -> None:
    first, second = world.agent("first"), world.agent("second")
    world.when("second", appends, lambda: first.lease(NAME))
    promise(second.try_lease(NAME) is None, "two hold the lease")


# ── P5 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Queues(Exception):
    """A contender has to wait for the queue."""


def while_one_decides_nobody_else_appends(world: World) -> None:
    many_records(world.agent("before"), 2)
    tries = stood = 0

    def rival_tries() -> None:
        impatient = ManualClock(on_pause=_give_up)
        with contextlib.suppress(_Queues):
            many_records(world.agent("rival", impatient), 2)

    def hook(call: Call) -> None:
        nonlocal tries, stood
        if appends(call):
            tries += 1
            if tries <= 5:
                rival_tries()
        stood += appended(call)

    # What was read before the queue may be old: that costs one try, and never a second one.
    def overtaken_before_the_queue() -> None:
        many_records(world.agent("quicker"), 2)
        world.watch("one", hook)

    world.when("one", lambda call: call[:2] == ("after", "listdir"), overtaken_before_the_queue)
    world.agent("one").lease(NAME)
    promise(tries - stood <= 1, f"beaten {tries - stood} times between reading and appending, and everybody queues")


def _give_up(_pause_ms: float) -> NoReturn:
    raise _Queues


def users_code_runs_outside_the_queue(world: World) -> None:
    queue, free = f"{world.state}/queue.lock", list[bool]()
    one = world.agent("one", on_event=lambda _event: free.append(can_be_had(queue)))
    with one.lease(NAME) as lease:
        promise(can_be_had(queue), "the queue's lock is held while user's code runs")
        lease.commit(b"one")
    one.document(NAME).collect(keep=1)
    promise(len(free) >= 4 and all(free), "the queue's lock is held while a listener runs")


def a_stuck_process_in_the_queue_stops_nobody(world: World) -> None:
    many_records(world.agent("one"), 2)
    stuck = SYSTEM_FILES.try_lock(f"{world.state}/queue.lock")
    assert stuck is not None
    own = ManualClock()
    began = own.wall_ms()
    own.on_pause = lambda _pause_ms: promise(own.wall_ms() - began < 10_000, "it waits and waits for the queue")
    two = world.agent("two", own)
    try:
        two.lease(NAME).release()
        assert own.wall_ms() > began, "nothing was waited for"
        again = own.wall_ms()
        two.lease(NAME)
        promise(own.wall_ms() - again < 100, "it waits as long for a queue that is known to be stuck")
    finally:
        stuck.unlock()


# ── P6: hosts that remember names ────────────────────────────────────────────────────────────────────────────────────


def a_grant_on_one_host_is_seen_on_another(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    there.lease(NAME).release()
    promise(here.status_of(NAME).state == "free", "nobody holds it yet")
    lease = there.lease(NAME)
    promise(here.status_of(NAME).fence == lease.fence, "a grant on another host is not seen")


def a_resource_made_on_one_host_is_seen_on_another(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    promise(here.status_of(NAME).state == "free", "nobody holds it yet")
    lease = there.lease(NAME)
    promise(here.status_of(NAME).fence == lease.fence, "a resource was looked up before it was made, and stays absent")


def content_written_on_one_host_is_found_on_another(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    there.lease(NAME).release()
    promise(here.document(NAME).history() == [], "nothing is committed yet")  # looks into snap/, which is not there
    there.document(NAME).commit(b"one", if_revision=0)
    try:
        promise(here.document(NAME).read() == b"one", "something else is read")
    except CorruptSnapshot as error:
        raise Violation(f"committed content is believed to be missing: {error}") from None


def a_file_replaced_on_one_host_is_read_anew_on_another(world: World) -> None:
    here, there = world.host("here").document(NAME), world.host("there").document(NAME)
    there.commit(b"one", if_revision=0)
    promise(here.plain_file() == b"one", "the first revision is there")
    there.commit(b"two", if_revision=1)
    promise(here.plain_file() == b"two", "a replaced file is read in its old version")


def a_folder_made_on_one_host_can_be_used_on_another(world: World) -> None:
    here, there = world.host("here"), world.host("there")
    made = f"{world.root}/.coordinator/resources/{NAME}"
    world.when("here", lambda call: call == Call("before", "mkdir", made), lambda: there.lease(NAME))
    try:
        promise(here.try_lease(NAME) is None, "two hold the lease")
    except StoreUnavailable as error:
        raise Violation(f"a folder that was made meanwhile is believed to be absent: {error}") from None


# ── P7 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_lost_reply_does_not_lose_the_lease_to_itself(world: World) -> None:
    one = world.agent("one")
    for code in (errno.EIO, errno.EEXIST):  # lost; and lost, and asked again by the client
        lose_reply(world, "one", code)
        try:
            lease = one.lease(NAME)
        except LeaseHeld as held:
            raise Violation(f"an acquirer lost to its own retry: {held}") from None
        promise(world.newest().n == lease.fence, "one request was granted twice")
        lease.release()


def a_lost_reply_does_not_double_a_commit(world: World) -> None:
    one = world.agent("one")
    for code in (errno.EIO, errno.EEXIST):
        before = one.document(NAME).revision
        lose_reply(world, "one", code)
        try:
            receipt = one.document(NAME).commit(b"one", if_revision=before)
        except RevisionConflict as conflict:
            raise Violation(f"a commit lost to its own retry: {conflict}") from None
        promise(receipt.revision == before + 1, "one commit is counted twice")


def a_lost_reply_does_not_double_a_holders_commit(world: World) -> None:
    one = world.agent("one")
    for code in (errno.EIO, errno.EEXIST):
        with one.lease(NAME) as lease:
            before = one.document(NAME).revision
            lose_reply(world, "one", code)
            promise(lease.commit(b"one").revision == before + 1, "one commit stands there twice")


def lose_reply(world: World, who: str, code: int) -> None:
    """The next record that this agent puts is put, and it hears of an error."""

    def lose() -> None:
        raise OSError(code, os.strerror(code))

    world.when(who, appended, lose)


def a_failed_append_is_tried_again(world: World) -> None:
    world.watch("one", FailAt(errno.EIO, "symlink"))
    try:
        world.agent("one").document(NAME).commit(b"one", if_revision=0)
    except StoreUnavailable as error:
        raise Violation(f"one error that left nothing behind, and it gave up: {error}") from None


def an_unknown_outcome_is_told_and_its_content_stays(world: World) -> None:
    def cut_off(call: Call) -> None:
        if is_chain(call.path) or call.path.endswith("/chain"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), call.path)

    def cut_off_from_now_on() -> None:
        world.watch("one", cut_off)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    world.when("one", appended, cut_off_from_now_on)
    try:
        world.agent("one").document(NAME).commit(b"one", if_revision=0)
        raise AssertionError("the store was cut off, and the commit was acknowledged")
    except StoreUnavailable as error:
        promise(error.outcome_unknown, "a commit that stands is told as one that was not made")
    try:
        promise(world.agent("reader").document(NAME).read() == b"one", "something else is read")
    except CorruptSnapshot as error:
        raise Violation(f"content was taken away that a record names: {error}") from None


# ── P18 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def a_number_that_was_deleted_wins_nothing(world: World) -> None:
    late = world.agent("late").document(NAME)
    delete_its_number_meanwhile(world)
    with contextlib.suppress(RevisionConflict):
        late.commit(b"late", if_revision=1)
        raise Violation("a thawed writer re-created a deleted number, and was told that it had won")
    promise(world.agent("reader").document(NAME).read() == b"theirs", "an acknowledged commit is gone")


def a_number_that_was_deleted_is_no_record(world: World) -> None:
    late = world.agent("late").document(NAME)
    delete_its_number_meanwhile(world, then=lambda: world.when("late", appended, _die))
    with contextlib.suppress(_Died):
        late.commit(b"late", if_revision=1)
    assert os.path.lexists(f"{world.state}/chain/{2:012}"), "the deleted number is not there again"
    told = [(record.n, record.agent) for record in world.agent("reader").history(NAME) if record.kind == "commit"]
    promise(told == [(1, "others"), (2, "others")], f"the history tells of a commit that was never accepted: {told}")
    promise(world.agent("reader").document(NAME).read() == b"theirs", "an acknowledged commit is gone")


def delete_its_number_meanwhile(world: World, then: Callable[[], None] = lambda: None) -> None:
    """A writer freezes before it puts record 2, and thaws when that was written by others, archived and deleted."""
    others = world.agent("others")
    others.document(NAME).commit(b"one", if_revision=0)

    def meanwhile() -> None:
        others.document(NAME).commit(b"theirs", if_revision=1)
        pass_and_collect(others)
        then()

    world.when("late", appends, meanwhile)


class _Died(Exception):
    """The process ends here, as far as this test goes."""


def _die() -> NoReturn:
    raise _Died


def nothing_above_the_floor_is_deleted(world: World) -> None:
    deleted = []

    def hook(call: Call) -> None:
        if call[:2] == ("before", "unlink") and is_chain(call.path):
            deleted.append(int(os.path.basename(call.path)))
            promise(deleted[-1] < world.newest().floor, f"record {deleted[-1]} is deleted, and the floor is below it")

    world.watch("one", hook)
    pass_and_collect(world.agent("one"))
    assert deleted, "nothing was collected"


def a_win_that_was_collected_is_still_known(world: World) -> None:
    others, late = world.agent("others"), world.agent("late").document(NAME)
    world.when("late", appended, lambda: pass_and_collect(others))
    try:
        receipt = late.commit(b"late", if_revision=0)
    except StoreUnavailable as error:
        raise Violation(f"a commit that stands is not known to its writer any more: {error}") from None
    promise(receipt.revision == 1, "the wrong revision was told")


def pass_and_collect(workspace: Workspace) -> None:
    """Lets records pass, and archives and deletes all but two."""
    many_records(workspace, 20)
    assert workspace.document(NAME).collect(keep=2)[0] > 0
