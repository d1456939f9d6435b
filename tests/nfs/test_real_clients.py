"""What several hosts do to each other on a real NFSv4.2 mount: ours, under everything that happens to such hosts."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nfs.agent import COUNTER, TAGS
from nfs.conftest import Field

if TYPE_CHECKING:
    from nfs.lab import Job, Lab

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(600)]

EACH = 10


def updates_on_all(field: Field, seconds: float, each: int = 2, progress: str = "") -> list[Job]:
    """Agents that append to logs of their own, on every client."""
    return [
        field.agent(
            client, "update", field.path, f"c{host}a{number}", str(seconds), progress and f"{progress}{host}{number}"
        )
        for host, client in enumerate(field.lab.clients)
        for number in range(each)
    ]


def account(field: Field, told: list[dict[str, Any]]) -> tuple[int, int]:
    """Every acknowledged update is there, and nothing that nobody asked for. How many; and of unknown outcome."""
    there = Counter(field.content(TAGS))
    acknowledged = [tag for one in told for tag in one["acknowledged"]]
    unknown = {tag for one in told for tag in one["unknown"]}
    lost = [tag for tag in acknowledged if tag not in there]
    assert not lost, f"acknowledged and lost: {lost}"
    refused = {tag for one in told for tag in one["refused"]}
    assert not refused & set(there), "there, though it was certainly not made"
    assert not set(there) - set(acknowledged) - unknown, "there, and never asked for"
    assert acknowledged
    return len(acknowledged), len(unknown)


def wait_for(field: Field, sign: str, seconds: float = 120) -> None:
    """Returns when an agent has made a file in the lab's folder."""
    path, end = Path(field.lab.folder, Path(sign).name), time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{sign} did not come"
        time.sleep(0.01)


def increments(lab: Lab, name: str) -> tuple[int, int]:
    """Two agents on each of three hosts count up under one lease."""
    field = Field(lab, name)
    field.make({COUNTER: {"count": 0}})
    jobs = [
        field.agent(client, "increment", field.path, f"c{host}a{number}", str(EACH))
        for host, client in enumerate(lab.clients)
        for number in range(2)
    ]
    done = sum(field.result(job)["done"] for job in jobs)
    return done, field.content(COUNTER)["count"]


def test_increments_under_a_lease(lab: Lab, figures: dict[str, Any]) -> None:
    done, count = increments(lab, "increments")
    figures["increments"] = {"acknowledged": done, "counted": count}
    assert done == count == 6 * EACH


def test_updates_through_logs(field: Field, figures: dict[str, Any]) -> None:
    field.make({TAGS: {}})
    told = [field.result(job) for job in updates_on_all(field, 6)]
    acknowledged, unknown = account(field, told)
    figures["updates"] = {"acknowledged": acknowledged, "unknown": unknown}


def test_with_delegations(delegating: Lab, figures: dict[str, Any]) -> None:
    done, count = increments(delegating, "delegated")
    assert done == count == 6 * EACH
    field = Field(delegating, "delegated-updates")
    field.make({TAGS: {}})
    acknowledged, _ = account(field, [field.result(job) for job in updates_on_all(field, 5)])
    given = delegating.delegated()
    assert given, "no delegation was given: nothing was shown"
    figures["delegations"] = {"increments": count, "updates": acknowledged, "delegations out at the end": given}


def test_what_another_host_made_is_seen_by_who_waits_for_it(field: Field, figures: dict[str, Any]) -> None:
    """A reader that has looked before, and whose caches are warm, waits for a revision: it never gets an older one."""
    field.make({TAGS: {}})
    writer, *readers = field.lab.clients
    signs = [field.sign() for _ in readers]
    jobs = [
        field.agent(reader, "follow", field.path, f"reader{at}", "writer-0", sign, "2")
        for at, (reader, sign) in enumerate(zip(readers, signs, strict=True))
    ]
    for sign in signs:
        wait_for(field, sign)
    acknowledged = field.result(field.agent(writer, "update", field.path, "writer", "1.5"))["acknowledged"]
    told = [field.result(job) for job in jobs]
    assert all(one["found"] and one["revision"] >= 2 for one in told), told
    views = [field.result(field.agent(reader, "read", field.path, "looker")) for reader in readers]
    assert all(view["count"] == len(acknowledged) for view in views), views
    figures["seen"] = {"readers": len(told), "behind by name": max(len(acknowledged) - one["by_name"] for one in views)}


def test_a_host_frozen_past_the_servers_lease(field: Field, figures: dict[str, Any]) -> None:
    """Its flock and its state at the server are gone, its ttl is over; it wakes, and writes: refused, and kept."""
    field.make({COUNTER: {"count": 0}})
    frozen, successor, _ = field.lab.clients
    held, go = field.sign(), field.sign()
    job = field.agent(frozen, "hold", field.path, "frozen", "3", held, go)
    wait_for(field, held)
    frozen.freeze()
    try:
        took = field.result(field.agent(successor, "take", field.path, "successor", "60"))
        time.sleep(12)  # the server's lease is 10 s: its state of the frozen client is gone then
    finally:
        frozen.thaw()
    field.give(go)
    told = field.result(job)
    assert told["outcome"] in {"StaleFence", "LeaseLost"}, told
    assert told["fence"] < took["fence"]
    assert field.content(COUNTER) == {"count": 1, "by": "successor"}
    if told["kept"]:
        assert json.loads(field.python(successor, _CAT, told["kept"]))["by"] == "frozen"
    figures["frozen"] = {"late_commit": told["outcome"], "kept": bool(told["kept"]), "waited_s": took["waited_s"]}


# Folders are opened from the top: to a client that has looked before, a new folder may be absent for a while (P6).
_CAT = """
import os, sys
parts = sys.argv[1].split("/")
for end in range(2, len(parts)):
    os.listdir("/".join(parts[:end]) or "/")
print(open(sys.argv[1]).read())
"""


def test_a_host_that_is_cut_off_with_writes_queued(field: Field, figures: dict[str, Any]) -> None:
    """Its writes wait in its kernel; others go on; they arrive late, when the network is back. Nothing is doubled."""
    field.make({TAGS: {}})
    cut = field.lab.clients[0]
    progress = field.sign()
    jobs = updates_on_all(field, 14, each=1, progress=progress)
    wait_for(field, f"{progress}00.3")
    cut.cut()
    try:
        others = field.result(field.agent(field.lab.clients[1], "update", field.path, "beside", "5"))
    finally:
        cut.heal()
    assert others["acknowledged"], "the others stood still"
    told = [field.result(job) for job in jobs]
    acknowledged, unknown = account(field, [*told, others])
    figures["cut"] = {"acknowledged": acknowledged, "unknown": unknown, "meanwhile": len(others["acknowledged"])}


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
def test_the_server_is_started_anew(field: Field, crash: bool, figures: dict[str, Any]) -> None:
    """In mid-work: clients reclaim their locks in the grace period, and send again what was not answered."""
    field.make({TAGS: {}})
    progress = field.sign()
    jobs = updates_on_all(field, 30, each=1, progress=progress)
    wait_for(field, f"{progress}00.2")
    field.lab.restart_server(crash=crash)
    acknowledged, unknown = account(field, [field.result(job, 300) for job in jobs])
    figures[f"server {'crashed' if crash else 'stopped'}"] = {"acknowledged": acknowledged, "unknown": unknown}


def test_a_host_is_killed(field: Field, figures: dict[str, Any]) -> None:
    """With a lease held and updates under way. What it had acknowledged is there; its lease runs out."""
    field.make({TAGS: {}, COUNTER: {"count": 0}})
    victim, successor, _ = field.lab.clients
    progress, held = field.sign(), field.sign()
    field.agent(victim, "hold", field.path, "victim", "3", held, field.sign())
    field.agent(victim, "update", field.path, "victim", "60", progress)
    wait_for(field, held)
    wait_for(field, f"{progress}.5")
    victim.kill()
    took = field.result(field.agent(successor, "take", field.path, "successor", "60"))
    told = field.result(field.agent(successor, "update", field.path, "successor", "3"))
    there = field.content(TAGS)
    acknowledged = [f"victim-{number}" for number in range(5)]
    lost = [tag for tag in (*acknowledged, *told["acknowledged"]) if tag not in there]
    field.lab.reboot(victim)
    assert not lost, f"acknowledged and lost: {lost}"
    assert took["count"] == 1
    figures["killed"] = {"acknowledged by the dead host": len(acknowledged), "lost": len(lost)}
