"""A lease belongs to the process that acquired it: not to its forked children, nor to what exec puts in its place."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from coordinator.limits import QUEUE_WAIT_MAX_MS

if TYPE_CHECKING:
    from .support.fleet import Fleet


def test_a_forked_child_cannot_use_its_parents_lease_and_the_parent_keeps_it(fleet: Fleet) -> None:
    family = fleet.launch("family.py", "use_of_a_parents_lease")
    child = family.answer("what the child was told")
    assert child.pop("remaining") == 0
    assert set(child) == {"check", "renew", "commit", "detach", "release"}
    assert set(child.values()) == {"LeaseLost forked"}, child

    own = family.answer("the child's own lease")
    assert own["fence"] == 1

    parent = family.answer("what the parent found")
    assert parent.pop("remaining") > 0
    assert parent == {"wanted": False, "check": "done"}
    assert family.answer("what the parent did") == {"commit": "done", "renew": "done"}
    assert (fleet.test.status_of("parents.json").state, fleet.test.status_of("childs.json").state) == ("held", "free")
    assert fleet.test.document("parents.json").read() == b"the parent's still"

    family.send_line()
    assert family.answer("the end of the parent's block") == {"released": True}
    assert fleet.test.status_of("parents.json").state == "free"
    incarnations = {name: fleet.newest(name).incarnation for name in ("parents.json", "childs.json")}
    assert len(set(incarnations.values())) == 2
    assert fleet.newest("parents.json").agent == fleet.newest("childs.json").agent == "family"


def test_a_child_forked_while_threads_are_inside_the_store_does_not_hang(fleet: Fleet) -> None:
    family = fleet.launch("family.py", "fork_under_a_busy_thread")

    children = [family.answer("a child's commit") for _ in range(4)]

    assert [child.get("child") for child in children] == ["own-0.json", "own-1.json", "own-2.json", "busy.json"], (
        children
    )
    assert len({child["incarnation"] for child in children}) == 4
    # The thread's append was beaten by the last child's, so it read anew and was refused.
    assert family.answer("the thread's outcome") == {"thread": "RevisionConflict"}
    assert family.answer("the last child's commit")["child"] == "guarded.json"
    assert family.answer("the parent's lease") == {"parent": "done"}
    assert fleet.test.document("busy.json").read() == b"by the child"


def test_a_child_that_outlives_its_killed_parent_does_not_keep_the_queue_lock(fleet: Fleet) -> None:
    family = fleet.launch("family.py", "leave_a_child_behind")
    child = family.answer("its child")["child"]
    assert not fleet.queue_is_free("busy.json")

    family.kill()

    os.kill(child, 0)  # it lives
    assert fleet.queue_is_free("busy.json")


def test_a_program_started_by_exec_holds_no_lock_and_no_lease_which_stands_until_its_ttl(fleet: Fleet) -> None:
    ttl_s = 1.5
    family = fleet.launch("family.py", "become_another_program", str(ttl_s))
    fence = family.answer("its lease")["fence"]
    assert not fleet.queue_is_free("busy.json")

    family.send_line()
    told = family.answer("what the new program found")

    assert fleet.queue_is_free("busy.json")
    assert told["locks"] in (None, [])
    assert told["lease"] == "LeaseHeld"
    assert fleet.test.status_of("held.json").state == "held"
    began = time.monotonic()
    fleet.test.document("busy.json").commit(b"at once", if_revision=0)
    assert (time.monotonic() - began) * 1000 < QUEUE_WAIT_MAX_MS
    with fleet.test.lease("held.json", ttl=60, wait=30) as lease:
        assert lease.fence > fence
        assert lease.read() == b"before exec"
    renewed = [record.lease for record in fleet.test.history("held.json") if record.kind == "renew"][-1]
    granted = next(record for record in fleet.test.history("held.json") if record.n == lease.fence)
    assert renewed is not None
    assert granted.at_ms - renewed.renewed_ms > ttl_s * 1000


def test_a_token_passed_on_in_the_environment_is_good_after_exec_once(fleet: Fleet) -> None:
    family = fleet.launch("family.py", "hand_over_by_exec")
    fence = family.answer("its lease")["fence"]

    assert family.answer("the lease after exec") == {"fence": fence, "revision": 2}
    assert family.answer("a second use of the token") == {"again": "LeaseLost released"}
    assert fleet.test.document("handed.json").read() == b"before exec, after exec"
    assert [(number, agent) for number, agent, _ in fleet.revisions("handed.json")] == [(1, "before"), (2, "after")]
