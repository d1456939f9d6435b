"""Each rule switched off in turn: the check that holds it must fail, by its own verdict.

One row a mutant, on one page: the rule, what is switched off, the check (checks.py), and how it is switched off. Every
check also runs on the code as it is, where it must pass.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coordinator import lease
from coordinator.clock import CautiousTimer, Instant, elapsed_max_ms
from coordinator.document import snapshot, view
from coordinator.document.document import Document
from coordinator.record import collect, decide, mount
from coordinator.record import member as membership
from coordinator.record.decide import Commit, Decision, Release, Resume, Standing, Transition
from coordinator.record.mount import MountStore
from coordinator.record.primitive import SymlinkPrimitive
from coordinator.record.store import Appended
from mutants import checks
from mutants.world import Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordinator.document.view import View
    from coordinator.names import Resource
    from coordinator.record.record import Holding, Record

Patch = pytest.MonkeyPatch


class Mutant(NamedTuple):
    """A rule that is switched off."""

    rule: str
    what: str
    check: Callable[[World], None]
    switch_off: Callable[[Patch], None]


# ── how rules are switched off ───────────────────────────────────────────────────────────────────────────────────────


def overwriting_put(patch: Patch) -> None:
    def put(_self: SymlinkPrimitive, path: str, text: str) -> None:
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(text, path)

    patch.setattr(SymlinkPrimitive, "put", put)


def no_queue(patch: Patch) -> None:
    patch.setattr(MountStore, "_queue", lambda _self, _resource: None)


def queue_kept(patch: Patch) -> None:
    kept: list[Any] = []
    real = MountStore._queue

    class Kept:
        def unlock(self) -> None:
            """Never."""

    def queue(self: MountStore, resource: Resource) -> Any:
        kept.append(real(self, resource))
        return Kept()

    patch.setattr(MountStore, "_queue", queue)


def endless_queue(patch: Patch) -> None:
    patch.setattr(mount, "QUEUE_WAIT_MAX_MS", 10**12)


def probed_numbers(patch: Patch) -> None:
    def probe(self: MountStore, resource: Resource) -> Any:
        newest = 0
        while True:
            try:
                self._files.stat(self._places.of(resource, "chain", f"{newest + 1:012d}"))
            except FileNotFoundError:
                return mount._Listing(newest, newest)
            newest += 1

    patch.setattr(MountStore, "_list", probe)


def unopened_folder(patch: Patch) -> None:
    patch.setattr(view.View, "_open_folder", lambda _self: None)


def own_request_unknown(patch: Patch) -> None:
    patch.setattr(
        MountStore, "_look", lambda self, resource, record: None if not self._get(resource, record.n) else False
    )


def longest_watch(patch: Patch) -> None:
    def elapsed_ms(self: CautiousTimer) -> int:
        return elapsed_max_ms(self._last, self._clock.now())

    patch.setattr(CautiousTimer, "elapsed_ms", elapsed_ms)


def over_reason(patch: Patch, seen_as: Callable[[Holding], Holding], *, without: str = "") -> None:
    real = decide.over_reason

    def mutated(held: Holding, readings: Any) -> str:
        reason = real(seen_as(held), readings)
        return "" if reason == without else reason

    patch.setattr(decide, "over_reason", mutated)


def no_deadline(patch: Patch) -> None:
    over_reason(patch, lambda held: replace(held, dead_by_ms=0))


def contenders_ttl(patch: Patch) -> None:
    over_reason(patch, lambda held: replace(held, ttl_ms=1000))


def no_watching(patch: Patch) -> None:
    over_reason(patch, lambda held: held, without="silent")


def shortest_trust(patch: Patch) -> None:
    def shortest_ms(since: Instant, now: Instant) -> int:
        return max(min(a - b for a, b in zip(now, since, strict=True)), 0) // 1_000_000

    patch.setattr(lease, "elapsed_max_ms", shortest_ms)


def endless_trust(patch: Patch) -> None:
    patch.setattr(lease, "TRUST_PERCENT", 100)
    patch.setattr(decide, "TRUST_PERCENT", 100)


def no_renewal(patch: Patch) -> None:
    patch.setattr(lease.Lease, "_is_half_used", lambda _self: False)


def cell(verb: type, standing: Standing, action: Callable[..., Decision]) -> Callable[[Patch], None]:
    """Puts another action into one cell of the table."""
    return lambda patch: patch.setitem(decide.TABLE, (verb, standing), action)


def swallowing_exit(patch: Patch) -> None:
    patch.setattr(lease.Lease, "__exit__", lambda self, *_: (self.release(), True)[1])


def no_turns(patch: Patch) -> None:
    patch.setattr(decide, "_turn_came", lambda *_: True)


def same_lease_id(record: Record, request: Resume, readings: Any) -> Decision:
    assert record.lease is not None
    done = decide._resume(replace(record, lease=replace(record.lease, detached=True)), request, readings)
    if isinstance(done, Transition) and done.record.lease:
        return Transition(replace(done.record, lease=replace(done.record.lease, lease_id=request.lease_id)))
    return done


def blind_check(patch: Patch) -> None:
    patch.setattr(lease.Lease, "check", lambda self: self._refuse_when_over())


def unsynced_content(patch: Patch) -> None:
    def write(files: Any, path: str, data: bytes, mode: int | None = None) -> None:
        with files.create(path, mode) as file:
            file.write(data)

    patch.setattr(membership, "write_new", write)


def unverified_content(patch: Patch) -> None:
    def read(member: Any, resource: Resource, head: Any) -> bytes:
        data: bytes = member.files.read(member.places.of(resource, "snap", head.snapshot))
        return data

    patch.setattr(snapshot, "read_snapshot", read)


def rewritten_in_place(patch: Patch) -> None:
    def rename(self: View, scratch: str, path: str) -> None:
        data, files = self._member.files.read(scratch), self._member.files
        if os.path.exists(path):
            files.unlink(path)  # as open(path, "w") empties it
        with files.create(path) as file:
            file.write(data[:1])
            file.write(data[1:])

    patch.setattr(view.View, "_rename", rename)


def listed_once(patch: Patch) -> None:
    patch.setattr(view, "PUBLISH_TRIES", 1)


def no_repair(patch: Patch) -> None:
    patch.setattr(Document, "_refresh_view", lambda *_args, **_how: (True, ()))


def no_floor_check(patch: Patch) -> None:
    patch.setattr(MountStore, "_confirm", lambda _self, _resource, record: Appended(record, 1))


def deleted_before_the_floor(patch: Patch) -> None:
    real = collect.collect_chain

    def mutated(store: Any, chain: Any, author: Any, *, keep: int) -> int:
        for n in chain.positions()[:-keep]:
            chain.primitive.remove(chain.path(n))
        return real(store, chain, author, keep=keep)

    patch.setattr(mount, "collect_chain", mutated)


def no_archive(patch: Patch) -> None:
    patch.setattr(collect, "_archive", lambda *_: None)


MUTANTS = [
    Mutant("P1", "put overwrites", checks.of_two_who_commit_on_one_revision_one_wins, overwriting_put),
    Mutant("P5", "no queue", checks.while_one_decides_the_queue_is_taken, no_queue),
    Mutant("P5", "kept across user's code", checks.users_code_runs_outside_the_queue, queue_kept),
    Mutant("P5", "waited for without end", checks.a_stuck_process_in_the_queue_stops_nobody, endless_queue),
    Mutant("P6", "numbers are probed", checks.a_grant_on_one_host_is_seen_on_another, probed_numbers),
    Mutant("P6", "folder not opened", checks.a_file_replaced_on_one_host_is_read_anew_on_another, unopened_folder),
    Mutant(
        "P7", "own request unknown: grant", checks.a_lost_reply_does_not_lose_the_lease_to_itself, own_request_unknown
    ),
    Mutant("P7", "own request unknown: commit", checks.a_lost_reply_does_not_double_a_commit, own_request_unknown),
    Mutant("P9", "the longest of the clocks", checks.a_clock_that_jumps_steals_nothing, longest_watch),
    Mutant("P9", "no deadline", checks.a_host_that_is_dead_for_certain_gives_way, no_deadline),
    Mutant("P9", "the contender's ttl", checks.the_ttl_is_the_holders_own, contenders_ttl),
    Mutant("P9", "no watching", checks.a_silent_holder_gives_way_though_the_servers_clock_stands_still, no_watching),
    Mutant("P10", "the shortest of the clocks", checks.a_holder_believes_the_longest_of_its_clocks, shortest_trust),
    Mutant("P10", "trust to the end", checks.trust_ends_before_the_ttl_does, endless_trust),
    Mutant("P11", "check does not renew", checks.check_renews_in_time, no_renewal),
    Mutant(
        "P11",
        "unconditional release",
        checks.a_late_release_frees_nobody_elses_lease,
        cell(Release, Standing.LIVE, decide._release),
    ),
    Mutant("P11", "exit swallows", checks.the_with_block_swallows_nothing, swallowing_exit),
    Mutant("P12", "no turns", checks.a_newcomer_does_not_overtake_the_line, no_turns),
    Mutant("P12", "token stays good", checks.a_token_is_good_once, cell(Resume, Standing.MINE, same_lease_id)),
    Mutant("P12", "check does not look", checks.a_holder_sees_that_it_is_wanted, blind_check),
    Mutant("P15", "content not synced", checks.content_is_durable_before_it_is_committed, unsynced_content),
    Mutant(
        "P15",
        "no fence check",
        checks.a_superseded_holder_commits_nothing,
        cell(Commit, Standing.LIVE, decide._commit),
    ),
    Mutant("P15", "content not verified", checks.altered_content_is_not_believed, unverified_content),
    Mutant("P16", "rewritten in place", checks.the_plain_file_is_whole_at_all_times, rewritten_in_place),
    Mutant("P16", "not listed again", checks.a_late_rename_is_put_right_by_its_writer, listed_once),
    Mutant("P16", "reads repair nothing", checks.a_read_repairs_the_plain_file, no_repair),
    Mutant("P18", "no look after the append", checks.a_number_that_was_deleted_wins_nothing, no_floor_check),
    Mutant("P18", "deleted before the floor rose", checks.nothing_above_the_floor_is_deleted, deleted_before_the_floor),
    Mutant("P18", "nothing archived", checks.a_win_that_was_collected_is_still_known, no_archive),
]
CHECKS = sorted({mutant.check for mutant in MUTANTS}, key=lambda check: check.__name__)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(os.path.realpath(tmp_path))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_as_it_is_keeps_its_promise(world: World, check: Callable[[World], None]) -> None:
    check(world)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.what}")
def test_the_mutant_is_found(world: World, mutant: Mutant, monkeypatch: Patch) -> None:
    mutant.switch_off(monkeypatch)
    with pytest.raises(Violation):
        mutant.check(world)


def test_every_rule_of_this_stage_has_a_mutant() -> None:
    rules = {mutant.rule for mutant in MUTANTS}
    assert rules == {"P1", "P5", "P6", "P7", "P9", "P10", "P11", "P12", "P15", "P16", "P18"}
