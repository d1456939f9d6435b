"""Holds what agents were told of their leases against what stands in the table."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from coordinator.testing import Held, check_intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from table_agent import Ledger

    from coordinator import Workspace
    from coordinator.record.record import Record


def audit(workspace: Workspace, ledgers: Sequence[Ledger], names: Sequence[str]) -> list[str]:
    """What is wrong; empty when every acknowledged grant stands once, and no two held one lease at one time."""
    found = [f"{ledger.agent} {text}" for ledger in ledgers for text in ledger.wrong]
    for name in names:
        found += [f"{name}: {text}" for text in _wrong_with(name, workspace.history(name), ledgers)]
    return found


def _wrong_with(name: str, history: list[Record], ledgers: Sequence[Ledger]) -> Iterator[str]:
    yield from _of_the_chain(history)
    yield from _of_the_grants(name, history, ledgers)
    yield from _of_waiting_for_oneself(history, ledgers)
    report = check_intervals(
        Held(ledger.agent, fence, began, until)
        for ledger in ledgers
        for at, fence, began, until in ledger.held
        if at == name
    )
    if not report.ok:
        yield f"two holders: {report}"


def _of_the_chain(history: list[Record]) -> Iterator[str]:
    """Nothing is missing, and no request was carried out twice."""
    positions = [record.n for record in history]
    if positions != list(range(1, len(history) + 1)):
        gaps = [pair for pair in pairwise([0, *positions]) if pair[1] != pair[0] + 1]
        yield f"records are missing or doubled in the history, between {gaps}"
    for request, times in Counter(record.request for record in history).items():
        if times > 1:
            of = [(record.n, record.kind, record.agent) for record in history if record.request == request]
            yield f"one request was carried out {times} times: {of}"


def _of_the_grants(name: str, history: list[Record], ledgers: Sequence[Ledger]) -> Iterator[str]:
    """What was acknowledged stands; what stands was acknowledged, or its asker was told that it may stand."""
    standing = {(record.agent, record.n, record.request) for record in history if record.kind == "grant"}
    told = [(ledger.agent, fence, request) for ledger in ledgers for at, fence, request in ledger.grants if at == name]
    for grant, times in Counter(told).items():
        if times > 1:
            yield f"{grant} was acknowledged {times} times"
        if grant not in standing:
            yield f"{grant} was acknowledged, and does not stand"
    unheard = Counter(agent for agent, _, _ in standing - set(told))
    for ledger in ledgers:
        perhaps = ledger.perhaps.count(name)
        if unheard[ledger.agent] > perhaps:
            yield f"{ledger.agent} was granted it {unheard[ledger.agent]} times unheard, and told so {perhaps} times"


def _of_waiting_for_oneself(history: list[Record], ledgers: Sequence[Ledger]) -> Iterator[str]:
    """Nobody took over a lease of its own that it had been granted, and had not left to run out."""
    left = {lease for ledger in ledgers for lease in ledger.left}
    heard = {request for ledger in ledgers for _, _, request in ledger.grants}
    for before, after in pairwise(history):
        if after.kind != "grant" or before.lease is None or before.lease.agent != after.agent:
            continue
        lease = before.lease.lease_id
        if lease == after.request or (lease in heard and lease not in left):
            yield f"{after.agent} waited at {after.n} for its own grant {before.lease.fence} to run out"
