"""Each rule switched off in turn: the check that holds it must fail, and by its own verdict.

A *check* (record_checks.py, lease_checks.py, document_checks.py) lets agents act in a forced order, and raises
Violation when what its rule promises does not hold. It passes on the code as it is; with the rule switched off
(switches.py) the very same check must raise Violation: a crash of the patched code is not enough, nor is an
interleaving that never came.

    rule  check                                                         switched off
    P1    of_two_who_commit_on_one_revision_one_wins                    put overwrites; look, then put
          of_two_who_ask_at_once_one_holds                              put overwrites; look, then put
    P5    while_one_decides_nobody_else_appends                         no queue
          users_code_runs_outside_the_queue                             queue kept across user's code
          a_stuck_process_in_the_queue_stops_nobody                     waits without end; waits anew each time
    P6    a_grant_on_one_host_is_seen_on_another                        numbers are probed
          a_resource_made_on_one_host_is_seen_on_another                folders of the chain not opened
          content_written_on_one_host_is_found_on_another               folders of the content not opened
          a_file_replaced_on_one_host_is_read_anew_on_another           folder of the view not opened
          a_folder_made_on_one_host_can_be_used_on_another              parent of a new folder not opened
    P7    a_lost_reply_does_not_lose_the_lease_to_itself                own request not known
          a_lost_reply_does_not_double_a_commit                         own request not known
          a_lost_reply_does_not_double_a_holders_commit                 own request not known
          a_failed_append_is_tried_again                                one try only
          an_unknown_outcome_is_told_and_its_content_stays              unknown is told as not done
    P9    a_clock_that_jumps_steals_nothing                             longest of the clocks
          a_clock_that_is_set_back_delays_little                        last look compared with the first
          a_host_that_is_dead_for_certain_gives_way                     deadline ignored
          the_ttl_is_the_holders_own                                    contender's ttl
          servers_that_disagree_a_little_steal_nothing                  no skew
          a_silent_holder_gives_way_though_the_servers_clock_stands_still   no watching
          a_silent_holder_gives_way_though_the_servers_clock_was_set_back   no watching
          a_crowd_in_line_keeps_no_dead_holder_alive                    any record is a sign of life
          a_holder_that_renews_is_not_silent                            nothing is a sign of life
    P10   a_holder_believes_the_longest_of_its_clocks                   shortest of the clocks
          trust_ends_before_the_ttl_does                                trust to the end
          a_slow_reply_is_counted_against_the_trust                     dated by the reply
    P11   check_renews_in_time                                          check does not renew
          a_late_release_frees_nobody_elses_lease                       release without condition
          a_late_renewal_renews_nobody_elses_lease                      renewal without condition
          the_with_block_swallows_nothing                               exit swallows
          the_with_block_hides_nothing                                  exit raises its own
    P12   a_newcomer_does_not_overtake_the_line                         no turns
          the_head_of_the_line_goes_first                               no turns; places ignored
          a_dead_head_of_the_line_costs_one_turn                        turns never pass
          a_token_is_good_once                                          token stays good
          a_holder_sees_that_it_is_wanted                               check does not look
    P15   content_is_durable_before_its_record_and_that_before_the_receipt   content not synced; its name not synced;
                                                                        record not synced
          a_superseded_holder_commits_nothing                           commit without fence
          nobody_commits_beside_a_holder                                commit beside a lease
          altered_content_is_not_believed                               content not verified
    P16   the_plain_file_is_whole_at_all_times                          rewritten in place; unlinked first
          the_plain_file_is_synced_before_it_is_shown                   view not synced
          a_late_rename_is_put_right_by_its_writer                      not listed again
          a_read_repairs_the_plain_file                                 reads repair nothing
    P18   a_number_that_was_deleted_wins_nothing                        no look after the append
          a_number_that_was_deleted_is_no_record                        floor unknown to the history
          nothing_above_the_floor_is_deleted                            deleted before the floor rose
          a_win_that_was_collected_is_still_known                       nothing archived
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from coordinator import folders
from coordinator.document import snapshot, view
from coordinator.record import decide, mount
from coordinator.record.decide import Acquire, Commit, Put, Release, Renew, Resume, Standing
from coordinator.record.mount import MountStore
from mutants import document_checks as documents
from mutants import lease_checks as leases
from mutants import record_checks as records
from mutants import switches as off
from mutants.world import Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Mutant(NamedTuple):
    """A rule that is switched off."""

    rule: str
    what: str
    check: Callable[[World], None]
    switch_off: Callable[[pytest.MonkeyPatch], None]


# fmt: off
MUTANTS = [
    Mutant("P1", "put overwrites", records.of_two_who_commit_on_one_revision_one_wins, off.overwriting_put),
    Mutant("P1", "look, then put", records.of_two_who_commit_on_one_revision_one_wins, off.look_then_put),
    Mutant("P1", "put overwrites", records.of_two_who_ask_at_once_one_holds, off.overwriting_put),
    Mutant("P1", "look, then put", records.of_two_who_ask_at_once_one_holds, off.look_then_put),

    Mutant("P5", "no queue", records.while_one_decides_nobody_else_appends, off.no_queue),
    Mutant("P5", "queue kept across user's code", records.users_code_runs_outside_the_queue, off.queue_kept),
    Mutant("P5", "waits without end", records.a_stuck_process_in_the_queue_stops_nobody,
           off.figure(mount, "QUEUE_WAIT_MAX_MS", 10**12)),
    Mutant("P5", "waits anew each time", records.a_stuck_process_in_the_queue_stops_nobody,
           off.figure(mount, "QUEUE_STUCK_WAIT_MAX_MS", 1000)),

    Mutant("P6", "numbers are probed", records.a_grant_on_one_host_is_seen_on_another, off.probed_numbers),
    Mutant("P6", "folders of the chain not opened", records.a_resource_made_on_one_host_is_seen_on_another,
           off.folders_not_opened(folders)),
    Mutant("P6", "folders of the content not opened", records.content_written_on_one_host_is_found_on_another,
           off.folders_not_opened(snapshot)),
    Mutant("P6", "folder of the view not opened", records.a_file_replaced_on_one_host_is_read_anew_on_another,
           off.views_folder_not_opened),
    Mutant("P6", "parent of a new folder not opened", records.a_folder_made_on_one_host_can_be_used_on_another,
           off.new_folder_not_opened),

    Mutant("P7", "own request not known", records.a_lost_reply_does_not_lose_the_lease_to_itself,
           off.own_request_unknown),
    Mutant("P7", "own request not known", records.a_lost_reply_does_not_double_a_commit, off.own_request_unknown),
    Mutant("P7", "own request not known", records.a_lost_reply_does_not_double_a_holders_commit,
           off.own_request_unknown),
    Mutant("P7", "one try only", records.a_failed_append_is_tried_again, off.figure(mount, "APPEND_TRIES", 1)),
    Mutant("P7", "unknown is told as not done", records.an_unknown_outcome_is_told_and_its_content_stays,
           off.outcome_never_unknown),

    Mutant("P9", "longest of the clocks", leases.a_clock_that_jumps_steals_nothing, off.longest_watch),
    Mutant("P9", "last look compared with the first", leases.a_clock_that_is_set_back_delays_little,
           off.first_and_last_look),
    Mutant("P9", "deadline ignored", leases.a_host_that_is_dead_for_certain_gives_way, off.no_deadline),
    Mutant("P9", "contender's ttl", leases.the_ttl_is_the_holders_own, off.contenders_ttl),
    Mutant("P9", "no skew", leases.servers_that_disagree_a_little_steal_nothing, off.figure(MountStore, "skew_ms", 0)),
    Mutant("P9", "no watching", leases.a_silent_holder_gives_way_though_the_servers_clock_stands_still,
           off.no_watching),
    Mutant("P9", "no watching", leases.a_silent_holder_gives_way_though_the_servers_clock_was_set_back,
           off.no_watching),
    Mutant("P9", "any record is a sign of life", leases.a_crowd_in_line_keeps_no_dead_holder_alive,
           off.any_record_is_a_sign),
    Mutant("P9", "nothing is a sign of life", leases.a_holder_that_renews_is_not_silent, off.nothing_is_a_sign),

    Mutant("P10", "shortest of the clocks", leases.a_holder_believes_the_longest_of_its_clocks, off.shortest_trust),
    Mutant("P10", "trust to the end", leases.trust_ends_before_the_ttl_does, off.endless_trust),
    Mutant("P10", "dated by the reply", leases.a_slow_reply_is_counted_against_the_trust, off.dated_by_the_reply),

    Mutant("P11", "check does not renew", leases.check_renews_in_time, off.no_renewal),
    Mutant("P11", "release without condition", leases.a_late_release_frees_nobody_elses_lease,
           off.cell(Release, Standing.LIVE, decide._release)),
    Mutant("P11", "renewal without condition", leases.a_late_renewal_renews_nobody_elses_lease,
           off.cell(Renew, Standing.LIVE, decide._renew)),
    Mutant("P11", "exit swallows", leases.the_with_block_swallows_nothing, off.leaving(swallows=True)),
    Mutant("P11", "exit raises its own", leases.the_with_block_hides_nothing, off.leaving(swallows=False)),

    Mutant("P12", "no turns", leases.a_newcomer_does_not_overtake_the_line, off.turns(come=True)),
    Mutant("P12", "no turns", leases.the_head_of_the_line_goes_first, off.turns(come=True)),
    Mutant("P12", "places ignored", leases.the_head_of_the_line_goes_first,
           off.cell(Acquire, Standing.FREE, off.without_place)),
    Mutant("P12", "turns never pass", leases.a_dead_head_of_the_line_costs_one_turn, off.turns(come=False)),
    Mutant("P12", "token stays good", leases.a_token_is_good_once,
           off.cell(Resume, Standing.MINE, off.same_token_again)),
    Mutant("P12", "check does not look", leases.a_holder_sees_that_it_is_wanted, off.blind_check),

    Mutant("P15", "content not synced", documents.content_is_durable_before_its_record_and_that_before_the_receipt,
           off.unsynced_files),
    Mutant("P15", "its name not synced", documents.content_is_durable_before_its_record_and_that_before_the_receipt,
           off.unsynced_names_of_content),
    Mutant("P15", "record not synced", documents.content_is_durable_before_its_record_and_that_before_the_receipt,
           off.unsynced_commits),
    Mutant("P15", "commit without fence", documents.a_superseded_holder_commits_nothing,
           off.cell(Commit, Standing.LIVE, decide._commit)),
    Mutant("P15", "commit beside a lease", documents.nobody_commits_beside_a_holder,
           off.cell(Put, Standing.LIVE, decide._put)),
    Mutant("P15", "content not verified", documents.altered_content_is_not_believed, off.unverified_content),

    Mutant("P16", "rewritten in place", documents.the_plain_file_is_whole_at_all_times, off.rewritten_in_place),
    Mutant("P16", "unlinked first", documents.the_plain_file_is_whole_at_all_times, off.unlinked_first),
    Mutant("P16", "view not synced", documents.the_plain_file_is_synced_before_it_is_shown, off.unsynced_files),
    Mutant("P16", "not listed again", documents.a_late_rename_is_put_right_by_its_writer,
           off.figure(view, "PUBLISH_TRIES", 1)),
    Mutant("P16", "reads repair nothing", documents.a_read_repairs_the_plain_file, off.no_repair),

    Mutant("P18", "no look after the append", records.a_number_that_was_deleted_wins_nothing,
           off.no_look_after_the_append),
    Mutant("P18", "floor unknown to the history", records.a_number_that_was_deleted_is_no_record,
           off.floor_unknown_to_history),
    Mutant("P18", "deleted before the floor rose", records.nothing_above_the_floor_is_deleted,
           off.deleted_before_the_floor),
    Mutant("P18", "nothing archived", records.a_win_that_was_collected_is_still_known, off.no_archive),
]
# fmt: on
CHECKS = list(dict.fromkeys(mutant.check for mutant in MUTANTS))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(os.path.realpath(tmp_path))


def every_moment_came(world: World) -> bool:
    return all(moment.came for moment in world.moments)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_as_it_is_keeps_its_promise(world: World, check: Callable[[World], None]) -> None:
    check(world)
    assert every_moment_came(world), "the interleaving was not forced"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.what}: {mutant.check.__name__}")
def test_the_mutant_is_found(world: World, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.switch_off(monkeypatch)
    with pytest.raises(Violation) as found:
        mutant.check(world)
    assert every_moment_came(world), "the interleaving was not forced"
    accuser = found.traceback[-1].path
    assert os.path.dirname(accuser) == os.path.dirname(__file__), f"not the check's own verdict: {accuser}"


def test_every_rule_of_this_stage_has_a_mutant_and_the_table_above_tells_of_each() -> None:
    rows = [(mutant.rule, mutant.check.__name__, mutant.what) for mutant in MUTANTS]
    assert told_above() == rows
    assert list(dict.fromkeys(rule for rule, _, _ in rows)) == [
        *("P1", "P5", "P6", "P7", "P9", "P10", "P11", "P12", "P15", "P16", "P18")
    ]


def told_above() -> list[tuple[str, str, str]]:
    """The rows of the module's own table."""
    text = (__doc__ or "").replace(";\n", "; ")
    rows, rule = [], ""
    for line in text[text.index("    P1 ") :].rstrip().splitlines():
        rule = line[4:10].strip() or rule
        check, what = line[10:].split(maxsplit=1)
        rows += [(rule, check, mutant.strip()) for mutant in what.split(";")]
    return rows
