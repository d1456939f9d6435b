"""Failover under fire (P29): eight processes at work, one frozen in mid-commit, the rule moves to the table and back.

Afterwards every acknowledged update is accounted for exactly once, and fences only grew.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from support import table_named, wait_until

from coordinator import Workspace
from coordinator.testing import Held, check_intervals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines import Engine

WORKER: Final = Path(__file__).with_name("worker.py")
AGENTS: Final = 8
LEASED: Final = "leased.json"
LOGGED: Final = "logged.json"


class Fleet:
    """Workers as processes, in one workspace with one table."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.directory = folder / "shared"
        self.directory.mkdir()
        self.table = table_named(engine)
        self.engine = engine
        self.workspace = Workspace.init(self.directory, agent="founder", table=self.table, fallback="table")
        self.workspace.document(LEASED).commit(b'{"ids": []}\n', if_revision=0)
        self.workspace.document(LOGGED).commit(b"{}\n", if_revision=0)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, agent: str, *pause: str) -> None:
        command = [
            sys.executable,
            str(WORKER),
            str(self.directory),
            self.table,
            agent,
            str(self.ledger_of(agent)),
            *pause,
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.engine.env())
        self.processes[agent] = process

    def ledger_of(self, agent: str) -> Path:
        return self.folder / f"{agent}.json"

    def ready(self) -> None:
        for process in self.processes.values():
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"

    def wait_for_stop(self, agent: str) -> None:
        pid, status = os.waitpid(self.processes[agent].pid, os.WUNTRACED)
        assert pid
        assert os.WIFSTOPPED(status), "it ended instead of stopping"

    def more(self, count: int) -> None:
        """Waits until so many more updates of each kind were made."""
        for name in (LEASED, LOGGED):
            document = self.workspace.document(name)
            wanted = document.revision + count
            wait_until(lambda document=document, wanted=wanted: document.revision >= wanted, 60)  # type: ignore[misc]

    def end(self) -> list[dict[str, Any]]:
        """Ends all, and returns what each wrote down."""
        for process in self.processes.values():
            assert process.stdin is not None
            process.stdin.close()
        for agent, process in self.processes.items():
            assert process.wait(90) == 0, agent
        return [json.loads(self.ledger_of(agent).read_bytes()) for agent in self.processes]

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(60)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()


@pytest.fixture
def fleet(tmp_path: Path, dynamodb: Engine) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, dynamodb)
    yield fleet
    fleet.kill()
    fleet.workspace.close()


def account_for(fleet: Fleet, ledgers: list[dict[str, Any]]) -> tuple[int, int]:
    """Checks the end against what was acknowledged; returns how much that was, of each kind."""
    committed = Counter(fleet.workspace.document(LEASED).read_json()["ids"])
    updated = set(fleet.workspace.document(LOGGED).read_json())
    told = [one for ledger in ledgers for one in ledger["committed"]]
    perhaps = {one for ledger in ledgers for one in ledger["committed_perhaps"]}
    assert [one for one in told if not committed[one]] == [], "lost"
    assert [one for one, times in committed.items() if times > 1] == [], "doubled"
    assert set(committed) - set(told) <= perhaps, "invented"
    told_updates = [one for ledger in ledgers for one in ledger["updated"]]
    assert set(told_updates) - updated == set(), "lost"
    assert updated - set(told_updates) <= {one for ledger in ledgers for one in ledger["updated_perhaps"]}, "invented"
    applied = Counter(
        operation["op_id"]
        for change in fleet.workspace.document(LOGGED).changes(since=1)
        for operation in change.operations
        if operation["outcome"] == "applied"
    )
    assert set(applied) == updated
    assert set(applied.values()) == {1}
    check_fences(fleet, ledgers)
    return len(told), len(told_updates)


def check_fences(fleet: Fleet, ledgers: list[dict[str, Any]]) -> None:
    history = fleet.workspace.history(LEASED)
    assert [record.n for record in history] == sorted({record.n for record in history})
    fences = [record.n for record in history if record.kind == "grant"]
    assert all(earlier < later for earlier, later in pairwise(fences))
    held = [
        Held(f"agent-{i}", fence, began, ended)
        for i, ledger in enumerate(ledgers)
        for fence, began, ended in ledger["held"]
    ]
    assert len({(one.fence) for one in held}) == len(held), "one fence, two grants"
    report = check_intervals(held)
    assert report.ok, report


@pytest.mark.parametrize(
    ("point", "nth"), [("before_append", "21"), pytest.param("after_append", "22", marks=pytest.mark.slow)]
)
def test_one_frozen_in_mid_commit_while_the_rule_moves(fleet: Fleet, point: str, nth: str) -> None:
    for number in range(AGENTS - 1):
        fleet.start(f"worker-{number}")
    fleet.start("frozen", point, nth)
    fleet.ready()
    fleet.wait_for_stop("frozen")
    store: Any = fleet.workspace._member.store
    assert store.move("table").mode == "table"
    store.bring_all()
    fleet.more(10)
    os.kill(fleet.processes["frozen"].pid, signal.SIGCONT)
    fleet.more(10)
    ledgers = fleet.end()
    commits, updates = account_for(fleet, ledgers)
    assert commits >= 10
    assert updates >= 10
    assert all("authority_moved" in ledger["events"] for ledger in ledgers)
    kinds = [record.kind for record in store.mount.history(fleet.workspace.document(LEASED)._resource)]
    assert kinds[-1] == "sealed"


def test_there_and_back_and_there_again(fleet: Fleet) -> None:
    """Each agent finds out by itself, wherever it is; nobody is told to stop."""
    for number in range(AGENTS):
        fleet.start(f"worker-{number}")
    fleet.ready()
    store: Any = fleet.workspace._member.store
    for mode in ("table", "mount", "table", "mount"):
        fleet.more(4)
        store.move(mode)
        store.bring_all()
    fleet.more(4)
    ledgers = fleet.end()
    account_for(fleet, ledgers)
    assert store.authority.epoch == 5
