"""What a document's changes say happened to its tasks, revision by revision; and whether that is what was told. Pure.

The act over logs is judged a second time by this: everything is decided anew from ``Document.changes`` and the clock in
it, without the table that the board keeps beside the document.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.demo.ledger import CLAIM, COMPLETE, Entry
from coordinator.demo.plan import DONE, PENDING, find_tasks, status_pointers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from coordinator import Change
    from coordinator.demo.plan import Address, Plan


@dataclass(slots=True)
class Claim:
    """One claim that was granted. ``epoch`` counts them, from 1; ``passed``: the task was given to the next one."""

    epoch: int
    agent: str
    address: Address
    at_ms: int
    passed: bool = False
    is_held: bool = True
    done: bool = False


class Replay:
    """The tasks as the changes leave them.

    Args:
        initial: The document that was begun with.
        plan: What was to be done.
        ttl_ms: How long a claim lasts.

    Attributes:
        claims: Every claim, in order.
        operations: Each operation that was applied: the revision that applied it, and its agent.
        wrong: What should not be in any history, as sentences.
    """

    def __init__(self, initial: bytes, plan: Plan, ttl_ms: int) -> None:
        document = json.loads(initial)
        tasks = find_tasks(document)
        self._pointers = {path: at for path, at in status_pointers(document).items() if at in set(plan.chosen)}
        self._plan, self._ttl_ms = plan, ttl_ms
        self.statuses = {address: str(tasks[address]["status"]) for address in plan.chosen}
        self.revision = 0
        self.claims: list[Claim] = []
        self.operations: dict[str, tuple[int, str]] = {}
        self.wrong: list[str] = []
        self._last: dict[Address, Claim] = {}

    def feed(self, changes: Iterable[Change]) -> None:
        """Goes on with the changes that come next."""
        for change in changes:
            self.revision += 1
            if change.revision != self.revision:
                self.wrong.append(f"revision {change.revision} follows {self.revision - 1}")
                self.revision = change.revision
            if change.whole and change.revision > 1:
                self.wrong.append(f"revision {change.revision} was committed whole")
            for operation in change.operations:
                self._apply(operation, change)

    def passed(self, agent: str) -> bool:
        """Whether the task that an agent claimed last was given to another."""
        last = next((claim for claim in reversed(self.claims) if claim.agent == agent), None)
        return last is not None and last.passed

    def _apply(self, operation: dict[str, Any], change: Change) -> None:
        if operation["outcome"] == "applied":
            if operation["op_id"] in self.operations:
                self.wrong.append(f"operation {operation['op_id']} was applied twice")
            self.operations[operation["op_id"]] = (change.revision, operation["agent"])
        elif operation["patch"]:
            self.wrong.append(f"operation {operation['op_id']} was {operation['outcome']}, and changed something")
        for step in operation["patch"]:
            address = self._pointers.get(step["path"])
            if address is None or step["op"] not in {"add", "replace"}:
                self.wrong.append(f"revision {change.revision} changed {step['path']}")
            else:
                self._set(address, step["value"], operation["agent"], change.at_ms)

    def _set(self, address: Address, status: str, agent: str, at_ms: int) -> None:
        """One task's status is set: that is a claim, the end of one, or a completion."""
        last = self._last.get(address)
        if status in DONE:
            if last is None or last.agent != agent or last.done:
                self.wrong.append(f"task {address[1]} was completed by {agent}, which did not have it")
            else:
                last.is_held, last.done = False, True
        elif status != self._plan.in_progress:  # pending again; or failed, after too many claims that ran out
            if last is None or not last.is_held or at_ms - last.at_ms < self._ttl_ms:
                self.wrong.append(f"task {address[1]} was taken from its worker before its time")
            if last is not None:
                last.is_held = False
        else:
            if self.statuses[address] not in PENDING:
                self.wrong.append(f"task {address[1]} was given to {agent} while another had it")
            if last is not None:
                last.passed = True
            self._last[address] = Claim(len(self.claims) + 1, agent, address, at_ms)
            self.claims.append(self._last[address])
        self.statuses[address] = status


def check_replay(replay: Replay, entries: Sequence[Entry], final: bytes, *, killed: int) -> list[str]:
    """What is wrong with the changes of an act over logs; empty when they account for every update exactly once.

    Args:
        replay: Fed with all of them.
        entries: All journals.
        final: The file that came out.
        killed: How many workers were killed: each may have had one operation that it could not acknowledge.
    """
    wrong = list(replay.wrong)
    tasks = find_tasks(json.loads(final))
    if any(tasks[address]["status"] != status for address, status in replay.statuses.items() if address in tasks):
        wrong.append("the changes do not lead to the file that came out")
    claims = {(claim.epoch, claim.agent, claim.address): claim for claim in replay.claims}
    acked = {op: [e for e in entries if e.kind == "ack" and e.op == op] for op in (CLAIM, COMPLETE)}
    by_op = {op: Counter((e.fence, e.worker, e.address) for e in acked[op]) for op in acked}
    completed = {key for key, claim in claims.items() if claim.done}
    for op, made in ((CLAIM, set(claims)), (COMPLETE, completed)):
        strange = [key for key, times in by_op[op].items() if times > 1 or key not in made]
        if strange:
            wrong.append(f"acknowledged ({op}) and not in the changes, or not once: {strange[:5]}")
    elsewhere = [e for e in acked[COMPLETE] if replay.operations.get(e.op_id) != (e.revision, e.worker)]
    if elsewhere:
        wrong.append(f"completions that the changes do not know, or not at that revision: {elsewhere[:5]}")
    unacknowledged = len(claims) + len(completed) - sum(map(len, by_op.values()))
    unknown = sum(entry.kind == "unknown" for entry in entries)
    if not 0 <= unacknowledged <= killed + unknown:
        wrong.append(f"{unacknowledged} updates were not acknowledged, and {killed} workers were killed in flight")
    return wrong + _check_refusals(claims, entries, by_op[CLAIM])


def _check_refusals(
    claims: dict[tuple[int, str, Address], Claim], entries: Sequence[Entry], acknowledged: Counter[Any]
) -> list[str]:
    """Whoever was told a claim that went to another was refused, and nobody else was."""
    passed = {key for key, claim in claims.items() if claim.passed}
    refused = Counter((e.fence, e.worker, e.address) for e in entries if e.kind == "refused")
    missing = [key for key in passed if key in acknowledged and key not in refused]
    wrong = [f"claims that went to another, and whose holder was not refused: {missing[:5]}"] if missing else []
    strange = [key for key, times in refused.items() if times > 1 or key not in passed]
    return [*wrong, f"refused, though nobody had taken over, or twice: {strange[:5]}"] if strange else wrong
