"""What an act did to the file: counted from the document before, the document after, and what was acknowledged. Pure.

    acknowledged   updates (claims and completions) after which the worker was told that they were made
    lost           acknowledged updates that the file does not show: a claimed task is pending again, a completed one
                   is not done
    doubled        acknowledged claims of a task beyond its first: somebody does the work again. A claim that was void
                   does not count: its time was over, and its holder was refused when it said that it was done
    torn           reads, by reader and workers, that found no whole JSON
    refused        commits of stale holders that were refused, as they have to be
    in flight      tasks that the file shows further than anybody acknowledged: their worker was killed in between

An update can be both lost and doubled: a claim that was overwritten, made by the next one again, and overwritten again.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.demo.ledger import CLAIM, COMPLETE, Entry, void_claims
from coordinator.demo.plan import DONE, PENDING, find_tasks, set_status
from coordinator.document.json_text import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator import Revision
    from coordinator.demo.plan import Plan


@dataclass(frozen=True, slots=True)
class Counts:
    """The figures of one act, and how the file compares with the one that went in.

    Attributes:
        acknowledged: See the module; so are the next five.
        lost: …
        doubled: …
        torn: …
        refused: …
        in_flight: …
        reads: How often the reader looked.
        restored: How often a broken file was overwritten with an old whole copy (uncoordinated acts).
        unknown: Updates whose outcome could not be told.
        done: Chosen tasks that the file shows done.
        whole: Whether the file is whole JSON at the end.
        fields_kept: Whether everything but the chosen tasks' statuses is as it was, in the same order.
        layout_kept: Whether the text is, too: indentation, escapes, line ends.
    """

    acknowledged: int
    lost: int
    doubled: int
    torn: int
    refused: int
    in_flight: int
    reads: int
    restored: int
    unknown: int
    done: int
    whole: bool
    fields_kept: bool
    layout_kept: bool


def judge(initial: bytes, final: bytes, entries: Sequence[Entry], plan: Plan) -> Counts:
    """Counts.

    Args:
        initial: The file that the act began with.
        final: The file that came out; empty when it is gone.
        entries: All journals.
        plan: What was to be done.
    """
    acks = [entry for entry in entries if entry.kind == "ack"]
    void = void_claims(entries)
    claims = Counter(entry.address for entry in acks if entry.op == CLAIM and (entry.address, entry.fence) not in void)
    completions = Counter(entry.address for entry in acks if entry.op == COMPLETE)
    document = _parse(final)
    tasks = {} if document is None else find_tasks(document)
    statuses = {address: str(task["status"]) for address, task in tasks.items()}
    pending = {address for address in plan.chosen if statuses.get(address, "") in PENDING | {""}}
    done = {address for address in plan.chosen if statuses.get(address, "") in DONE}
    started = set(plan.chosen) - pending
    expected = _expected(initial, statuses, plan)
    kinds = Counter(entry.kind for entry in entries)
    return Counts(
        acknowledged=len(acks),
        lost=sum(claims[address] for address in claims if address in pending)
        + sum(completions[address] for address in completions if address not in done),
        doubled=sum(times - 1 for times in claims.values()),
        torn=sum(entry.torn for entry in entries),
        refused=kinds["refused"],
        in_flight=len([a for a in started if not claims[a]])
        + len([a for a in done if claims[a] and not completions[a]]),
        reads=sum(entry.reads for entry in entries),
        restored=kinds["restored"],
        unknown=kinds["unknown"],
        done=len(done),
        whole=document is not None,
        fields_kept=document is not None and json.dumps(document) == json.dumps(json.loads(expected)),
        layout_kept=final == expected,
    )


def _parse(data: bytes) -> Any:
    """The value of a document that still is one, or None."""
    try:
        document = json.loads(data)
        find_tasks(document)
    except ValueError:
        return None
    return document


def _expected(initial: bytes, statuses: dict[tuple[str, str], str], plan: Plan) -> bytes:
    """The initial text with nothing but the chosen tasks' statuses changed to those found."""
    document = json.loads(initial)
    for address in plan.chosen:
        if address in statuses:
            set_status(document, address, statuses[address])
    return render(document, initial, "tasks.json")


def check_chain(entries: Sequence[Entry], history: Sequence[Revision], *, killed: int) -> list[str]:
    """What is wrong with the revisions of a coordinated act; empty when they account for every acknowledged update.

    Args:
        entries: All journals.
        history: The document's revisions, oldest first.
        killed: How many workers were killed: each may have had one commit that it could not acknowledge.
    """
    wrong = []
    numbers = [revision.revision for revision in history]
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"the history does not count from 1 to {numbers[-1] if numbers else 0} without a gap")
    acks = [entry for entry in entries if entry.kind == "ack"]
    twice = [number for number, times in Counter(entry.revision for entry in acks).items() if times > 1]
    if twice:
        wrong.append(f"revisions acknowledged to two updates: {twice[:5]}")
    known = {revision.revision: (revision.agent, revision.fence) for revision in history}
    others = [entry.revision for entry in acks if known.get(entry.revision) != (entry.worker, entry.fence)]
    if others:
        wrong.append(f"acknowledged revisions that the history does not know, or not so: {others[:5]}")
    adopted = sum(revision.why == "adopted" for revision in history)
    unacknowledged = len(numbers) - adopted - len(acks)
    unknown = sum(entry.kind == "unknown" for entry in entries)
    if not 0 <= unacknowledged <= killed + unknown:
        wrong.append(f"{unacknowledged} revisions were not acknowledged, and {killed} workers were killed in flight")
    return wrong
