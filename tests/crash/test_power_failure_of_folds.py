"""Three agents update one document and share out the tasks of another; the power fails at one call in so many.

Every tree that may then be found is brought back to life by a fresh agent, which folds what is left: what was
acknowledged is there with the same outcome, nothing is there that nobody asked for, and work goes on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator import Task, Workspace
from coordinator.document import compactor
from coordinator.folders import write_new
from coordinator.log import segments
from coordinator.record.mount import MountStore
from coordinator.testing import CrashFiles, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Hashable

    from coordinator import Document
    from coordinator.testing import Call, CrashState

ROOT: Final = "/shared"
PLAN: Final = "plan.json"
BOARD: Final = "tasks.json"
TASKS: Final = b'{"tasks":[{"id":"t1"},{"id":"t2"},{"id":"t3"},{"id":"t4"},{"id":"t5"}]}'
LOOKS: Final = frozenset({"listdir", "refresh", "read", "read_at", "stat", "readlink", "realpath", "touch"})
LATER_MS: Final = 10_000_000  # every lease is over


@dataclass
class Promised:
    """What was acknowledged when the power failed."""

    outcomes: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)


class Judge:
    def __init__(self, seed: int, every: int) -> None:
        self.clock = ManualClock()
        self.disk = CrashFiles(self.clock)
        self.files = InterceptedFiles(self.disk, self._at_call)
        self.promised = Promised()
        self.seed = seed
        self.judged = 0
        self._every = every
        self._calls = 0
        self._armed = False
        self._chance = random.Random(seed)
        self._seen: set[Hashable] = set()

    def run(self) -> None:
        self.disk.mkdir(ROOT)
        write_new(self.disk, f"{ROOT}/{PLAN}", b'{"n": 0}\n')
        write_new(self.disk, f"{ROOT}/{BOARD}", TASKS)
        Workspace.init(ROOT, agent="init", files=self.files, clock=self.clock)
        self.disk.sync_all()
        self._armed = True
        agents = [self._agent(f"agent-{i}") for i in range(3)]
        for step in range(15):
            agent = agents[step % 3]
            self._update(agent.document(PLAN), step)
            if step in {2, 6, 9, 12}:
                task = agent.tasks(BOARD).claim_next(ttl=80_000)
                if isinstance(task, Task):
                    self.promised.claims[task.id] = (agent.agent, task.epoch)
            if step == 7:
                self._commit_whole(agent)
            if step == 8:
                agents[0].close()  # its log ends, and is deleted
                agents[0] = self._agent("agent-0-again")
            if step == 11:
                agent.document(PLAN).collect(keep=2)
        self._judge_all("the end")
        self._armed = False
        for agent in agents:
            agent.close()

    def _agent(self, name: str) -> Workspace:
        return Workspace(ROOT, agent=name, files=self.files, clock=self.clock)

    def _update(self, document: Document, step: int) -> None:
        key, holds = f"k{step}", step % 5 != 4
        test = {"op": "test", "path": "/n", "value": 0 if holds else 99}
        self.promised.asked.add(key)
        patch = [test, {"op": "add", "path": f"/{key}", "value": step}]
        receipt = document.perform([{"do": "patch", "patch": patch}], wait=0 if step % 4 == 3 else 5)[0]
        assert receipt.state in {"durable", "applied" if holds else "rejected"}
        self.promised.outcomes[key] = "applied" if holds else "rejected"

    def _commit_whole(self, agent: Workspace) -> None:
        self.promised.asked.add("whole")
        with agent.lease(PLAN, ttl=30) as lease:
            lease.commit_json(lease.read_json() | {"whole": 1})
            self.promised.outcomes["whole"] = "applied"

    # ── the failures ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _at_call(self, call: Call) -> None:
        if not self._armed or call.op in LOOKS:
            return
        self._calls += 1
        if self._calls % self._every == self.seed % self._every:
            self._armed = False
            try:
                self._judge_all(str(call))
            finally:
                self._armed = True

    def _judge_all(self, when: str) -> None:
        seed, clock = self._chance.randrange(10**9), ManualClock()
        clock.advance(LATER_MS)
        for state in self.disk.crash_states(exhaustive_max=12, samples=4, seed=seed, clock=clock):
            key = (state.key, len(self.promised.outcomes), len(self.promised.claims), len(self.promised.asked))
            if key not in self._seen:
                self._seen.add(key)
                self.judged += 1
                try:
                    self._judge(state, clock)
                except Exception as error:
                    lost = [tuple(effect) for effect in state.lost]
                    error.add_note(f"seed {self.seed}, power failed at {when}; lost: {lost}")
                    raise

    def _judge(self, state: CrashState, clock: ManualClock) -> None:
        workspace = Workspace(ROOT, agent="recovery", files=state.files, clock=clock)
        document = workspace.document(PLAN)
        found = settled(document)
        for key, outcome in self.promised.outcomes.items():
            assert (key in found) == (outcome == "applied"), f"{key} was acknowledged as {outcome}: {found}"
        assert set(found) - {"n"} <= self.promised.asked
        if self.promised.claims:
            settled(workspace.document(BOARD))
            rows = {row["id"]: row for row in workspace.tasks(BOARD).list()}
            for task_id, (holder, epoch) in self.promised.claims.items():
                assert (rows[task_id]["holder"], rows[task_id]["epoch"]) == (holder, epoch)
        assert document.update({"afterwards": 1}).state == "applied"
        assert document.read_json()["afterwards"] == 1


def settled(document: Document) -> Any:
    """The document with everything folded that can be."""
    while document.compact().revision:
        pass
    return document.read_json()


@pytest.mark.parametrize(
    ("seed", "checkpoint_bytes"), [(1, 600), pytest.param(2, 600, marks=pytest.mark.slow), (3, 100_000)]
)
def test_what_was_acknowledged_outlives_a_power_failure(
    seed: int, checkpoint_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "CHECKPOINT_MIN_BYTES", checkpoint_bytes)
    monkeypatch.setattr(MountStore, "live_max", 8)
    monkeypatch.setattr(MountStore, "live_keep", 3)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 700)
    judge = Judge(seed, every=97)
    judge.run()
    assert judge.judged > 150
