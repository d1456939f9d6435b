"""The project's own stress run, on real NFS: the command on every host, and all hosts in one workspace."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator.stress.plan import EDIT, FREEZE, FULL, KILL, SKEW, TEAR
from nfs.conftest import Field
from nfs.lab import MACHINE, SHARE

if TYPE_CHECKING:
    from nfs.lab import Job, Lab

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(600)]

WORKERS: Final = 3  # on each host: a guest has one processor, and they share this machine's
SECONDS: Final = 20
EVERY_S: Final = 2.0  # a fault on each host, where all work together
AWAY_S: Final = 12  # the server's lease is 10 s
FAULTS: Final = (KILL, FREEZE, FULL, TEAR, SKEW)
# Not promised on NFS, which cannot exchange two names (guarantees.md): a save in the instant in which another host
# replaces the plain file goes to the file that was replaced. Counted, and nothing else of the verdict is let pass.
COUNTED_ONLY: Final = "no edit by hand is dropped"
GOES_ON: Final = 4  # answers on other hosts, after one is in trouble
MUST_BE_TRIED: Final = (
    "no acknowledged commit is lost",
    "no acknowledged update is lost",
    "no two hold a lease at once",
    "fences only grow",
)
CLOCKS_MS: Final = 100  # apart at the most, once they are put on one: a lease is held for longer
END_S: Final = 300
LABS: Final = pytest.mark.parametrize("kind", ["lab", "delegating"])


class Shared:
    """A stress run of all hosts in one workspace.

    Args:
        field: Where.
        faults: What goes wrong with processes.
        until: A file of the lab's folder: the run goes on until somebody makes it. Empty: it ends by time.
    """

    def __init__(self, field: Field, faults: tuple[str, ...], until: str = "") -> None:
        self.field = field
        self._lab = field.lab
        self._journals = f"/mnt/lab/{field.name}"
        field.result(field.module(self._lab.clients[0], "nfs.stress", "prepare", field.path))
        self._clock = self._lab.beside("nfs.ticks", MACHINE)
        self.jobs = [self._start(number, faults, until) for number in range(len(self._lab.clients))]

    def _start(self, number: int, faults: tuple[str, ...], until: str) -> Job:
        given = {
            "directory": self.field.path,
            "workers": WORKERS,
            "seconds": SECONDS,
            "seed": number,
            "faults": (*faults, EDIT) if number == 0 else faults,  # one person edits; two would overwrite each other
            "every_s": EVERY_S,
            "journals": f"{self._journals}/host{number}",
            "clock": MACHINE,
            "until": until,
        }
        return self.field.module(self._lab.clients[number], "nfs.stress", "conduct", json.dumps(given))

    def answers(self, number: int) -> int:
        """How many steps were acknowledged on a host so far."""
        journals = Path(self._lab.folder, self.field.name, f"host{number}").glob("*.journal")
        return sum(journal.read_bytes().count(b'"what": "ack"') for journal in journals)

    def wait_for(self, number: int, answers: int) -> None:
        """Returns when a host has got so many more answers."""
        end, before = time.monotonic() + END_S, self.answers(number)
        while self.answers(number) < before + answers:
            status = self.jobs[number].status()
            assert status is None, f"host {number} ended ({status}) too early: {self.jobs[number].out()[-2000:]}"
            assert time.monotonic() < end, f"host {number} stands still"
            time.sleep(0.05)

    def end(self, *, without: int | None = None) -> dict[str, Any]:
        """Waits for all, and judges them together. Everybody but a host that was killed has to end well."""
        told = [self.field.result(job, END_S) for number, job in enumerate(self.jobs) if number != without]
        self._clock.kill()
        self._clock.wait()
        assert not [one for one in told if one["stuck"] or one["fell"]], told
        judge = self.field.module(self._lab.clients[1], "nfs.stress", "verdict", self.field.path, self._journals)
        verdict = self.field.result(judge, END_S)
        assert verdict["clocks_within_ms"] < CLOCKS_MS, verdict
        faults: Counter[str] = sum((Counter(one["faults"]) for one in told), Counter())
        return {**verdict, "faults": dict(sorted(faults.items()))}


def check(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Nothing speaks against any promise; the figures."""
    findings = [finding for one in told for finding in one["findings"]]
    broken = [finding for finding in findings if finding["against"] and finding["promise"] != COUNTED_ONLY]
    assert not broken, broken
    for promise in MUST_BE_TRIED:
        assert any(finding["tried"] for finding in findings if finding["promise"] == promise), f"never tried: {promise}"
    lines: Counter[str] = sum((Counter(one["told"]) for one in told), Counter())
    figures: dict[str, Any] = {"acknowledged": lines["ack"], "unknown": lines["unknown"]}
    for kind, words in _KINDS.items():
        named = [finding for finding in findings if any(word in finding["promise"] for word in words)]
        figures[kind] = sum(len(finding["against"]) for finding in named)
    unseen = sum(len(finding["against"]) for finding in findings if finding["promise"] == COUNTED_ONLY)
    faults: Counter[str] = sum((Counter(one["faults"]) for one in told), Counter())
    return {**figures, "edits": f"{lines['saved']}, {unseen}", "faults": dict(sorted(faults.items()))}


_KINDS: Final = {"lost": ("is lost",), "doubled": ("twice", "by two", "two hold"), "torn": ("torn", "whole")}


def _lab(kind: str, request: pytest.FixtureRequest) -> Lab:
    lab: Lab = request.getfixturevalue(kind)
    return lab


def _name(kind: str) -> str:
    return " (delegations)" if kind == "delegating" else ""


@LABS
def test_the_command_on_every_host_at_once(kind: str, request: pytest.FixtureRequest, figures: dict[str, Any]) -> None:
    """``coordinator stress`` on three hosts, side by side on one mount; each run makes a folder of its own there."""
    field = Field(_lab(kind, request), f"command-{kind}")
    field.lab.clients[0].run(f"mkdir {field.path}")
    jobs = []
    for number, client in enumerate(field.lab.clients):
        client.run(f"ls {SHARE}")  # opened: the new folder may be absent here (P6)
        arguments = ["--seconds", str(SECONDS), "--workers", str(WORKERS), "--seed", str(number), "--json"]
        faults = ["--faults", ",".join(FAULTS)]
        jobs.append(field.module(client, "coordinator.cli", "stress", field.path, *arguments, *faults))
    told = []
    for job in jobs:
        done = job.wait(END_S)
        assert done.status == 0, done.out[-6000:]
        told.append(json.loads(done.out.splitlines()[-1]))
    assert all(one["holds"] for one in told)
    figures.setdefault("stress", {})[f"coordinator stress, one on each host{_name(kind)}"] = check(told)


@LABS
def test_all_hosts_in_one_workspace(kind: str, request: pytest.FixtureRequest, figures: dict[str, Any]) -> None:
    """The same workers and faults, on three hosts, in one workspace: judged together, on one clock."""
    field = Field(_lab(kind, request), f"shared-{kind}")
    told = Shared(field, FAULTS).end()
    figures.setdefault("stress", {})[f"all hosts in one workspace{_name(kind)}"] = check([told])


def test_all_hosts_in_one_workspace_and_hosts_in_trouble(lab: Lab, figures: dict[str, Any]) -> None:
    """One host is cut off and comes back, the server is started anew, one is frozen past its lease, and one dies."""
    field = Field(lab, "storm")
    first, second, third = lab.clients
    enough = field.sign()
    run = Shared(field, (KILL, TEAR, SKEW), enough)
    for number in range(len(lab.clients)):
        run.wait_for(number, 1)
    first.cut()
    try:
        run.wait_for(1, GOES_ON)
    finally:
        first.heal()
    run.wait_for(0, 1)
    lab.restart_server(crash=False)
    run.wait_for(1, 1)
    second.freeze()
    try:
        frozen_at = time.monotonic()
        run.wait_for(0, GOES_ON)
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - frozen_at)))
    finally:
        second.thaw()
    run.wait_for(0, 1)
    third.kill()
    run.wait_for(1, GOES_ON)
    field.give(enough)
    try:
        told = run.end(without=2)
    finally:
        lab.reboot(third)
    figures.setdefault("stress", {})["all hosts in one workspace, and hosts in trouble"] = found = check([told])
    found["faults"] |= {"host cut off": 1, "server restart": 1, "host frozen": 1, "host killed": 1}
