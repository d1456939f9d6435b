"""Agents on clients of the lab, each a process. What it does is its first argument; it tells one JSON line at its end.

Naive ones do what people do without this library; they are there to be counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator import LeaseLost, StaleFence, StoreUnavailable, Workspace
from nfs.lab import MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTER = "counter.json"
TAGS = "tags.json"
TASKS = "tasks.json"
STEPS_MAX = 10_000
TABLE_PORT = 5123  # of the table, on the machine; whoever it is that asks
_TABLES = {
    "AWS_ENDPOINT_URL": f"http://{MACHINE}:{TABLE_PORT}",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "anything",
}
PERSIST_S = 240.0
PAUSE_S = 0.1  # between one refusal and the next try


def wait_for(path: str, seconds: float = 120) -> None:
    """Returns when a file of the lab's folder is there."""
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.005)


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def note(path: str) -> None:
    """Makes a file of the lab's folder, for others to wait for."""
    Path(path).touch()


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def opened(workspace: str, agent: str, table: str) -> Workspace:
    """The workspace; with a table, that takes over when locks are refused."""
    os.environ.update(_TABLES)
    return Workspace(workspace, agent=agent, table=table or None, fallback="table" if table else None)


def increment(workspace: str, agent: str, count: str, table: str = "") -> None:
    """Adds one under the lease, so many times."""
    done = 0
    with opened(workspace, agent, table) as ws:
        for _ in range(int(count)):
            with ws.lease(COUNTER, ttl=20, wait=120) as lease:
                lease.commit_json({"count": lease.read_json()["count"] + 1})
            done += 1
    tell(done=done)


def update(workspace: str, agent: str, seconds: str, progress: str = "") -> None:
    """Appends tags without a lock, for a time; tells which are there, which may be, and which certainly are not."""
    acknowledged: list[str] = []
    unknown: list[str] = []
    refused: list[str] = []
    end = time.monotonic() + float(seconds)
    with Workspace(workspace, agent=agent) as ws:
        document = ws.document(TAGS)
        for number in range(STEPS_MAX):
            if time.monotonic() > end:
                break
            tag = f"{agent}-{number}"
            try:
                document.update([{"op": "add", "path": f"/{tag}", "value": number}], op_id=tag, wait=60)
            except StoreUnavailable as error:
                (unknown if error.outcome_unknown else refused).append(tag)
                continue
            acknowledged.append(tag)
            if progress:
                note(f"{progress}.{len(acknowledged)}")
    tell(acknowledged=acknowledged, unknown=unknown, refused=refused)


def hold(workspace: str, agent: str, ttl: str, held: str, go: str) -> None:
    """Takes the lease, tells so, waits to be let go on, and commits what it had in mind."""
    with Workspace(workspace, agent=agent) as ws:
        lease = ws.lease(COUNTER, ttl=float(ttl), wait=60)
        value = lease.read_json()["count"]
        note(held)
        wait_for(go)
        try:
            lease.commit_json({"count": value + 1, "by": agent})
        except StaleFence as stale:
            tell(outcome="StaleFence", successor=stale.successor, kept=stale.kept, fence=stale.fence)
            return
        except LeaseLost as lost:
            tell(outcome="LeaseLost", reason=lost.reason, kept=lost.kept, fence=lost.fence)
            return
        tell(outcome="committed", fence=lease.fence)


def take(workspace: str, agent: str, wait: str) -> None:
    """Waits for the lease, adds one, and tells how long that took."""
    began = time.monotonic()
    with Workspace(workspace, agent=agent) as ws, ws.lease(COUNTER, ttl=10, wait=float(wait)) as lease:
        waited = time.monotonic() - began
        count = lease.read_json()["count"] + 1
        lease.commit_json({"count": count, "by": agent})
        tell(waited_s=round(waited, 2), fence=lease.fence, count=count)


def read(workspace: str, agent: str) -> None:
    """What a fresh process reads, by the library and by its name."""
    with Workspace(workspace, agent=agent) as ws:
        by_library = ws.document(TAGS).read_json()
        by_name = json.loads(Path(workspace, TAGS).read_bytes())
    tell(count=len(by_library), by_name=len(by_name), tags=sorted(by_library))


def follow(workspace: str, agent: str, tag: str, seen: str, revision: str) -> None:
    """Has read once; waits for a revision that another client makes, and looks for its tag."""
    with Workspace(workspace, agent=agent) as ws:
        document = ws.document(TAGS)
        document.read()
        note(seen)
        value = json.loads(document.read(at_least=int(revision), wait=60))
        tell(found=tag in value, revision=document.content().revision)


def make_table(name: str) -> None:
    """Makes a table in what stands in for DynamoDB on the machine."""
    from coordinator.cli import main

    os.environ.update(_TABLES)
    sys.argv = ["coordinator", "table", "create", name]
    main()


# ── a lock quota ─────────────────────────────────────────────────────────────────────────────────────────────────────


def hoard(folder: str, count: str, held: str, go: str) -> None:
    """Another program of this host: holds so many locks, is refused one more, and lets all go when it is told to."""
    os.mkdir(folder)
    files = [open(f"{folder}/{number}", "w") for number in range(int(count) + 1)]  # noqa: SIM115 - a lock each
    for file in files[:-1]:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    refused = ""
    try:
        fcntl.flock(files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        refused = errno.errorcode[error.errno or 0]
    note(held)
    wait_for(go)
    for file in files:
        file.close()
    tell(refused=refused)


def persist(workspace: str, agent: str, count: str, refused: str, table: str = "") -> None:
    """Adds one under the lease, so many times, however often it is refused; tells with what, and what it was told."""
    began, done = time.monotonic(), 0
    told: dict[str, list[str]] = {"errors": [], "kinds": [], "hints": []}
    took_s: list[float] = []
    with opened(workspace, agent, table) as ws:
        while done < int(count):
            asked = time.monotonic()
            assert asked < began + PERSIST_S, f"refused for {PERSIST_S:g} s: {told}"
            try:
                with ws.lease(COUNTER, ttl=20, wait=60) as lease:
                    lease.commit_json({"count": lease.read_json()["count"] + 1})
                done += 1
            except StoreUnavailable as error:
                took_s.append(time.monotonic() - asked)
                for name, text in (("errors", error.cause), ("kinds", type(error).__name__), ("hints", error.hint)):
                    if text not in told[name]:
                        told[name].append(text)
                note(refused)
                time.sleep(PAUSE_S)
        count = ws.document(COUNTER).read_json()["count"]
        rules = ws.authority() if table else None
    first = round(took_s[0], 2) if took_s else 0
    tell(done=done, count=count, refusals=len(took_s), first_s=first, rules=rules and rules.mode, **told)


# ── claims (B12) ─────────────────────────────────────────────────────────────────────────────────────────────────────


def claim(way: str, directory: str, agent: str, *rest: str) -> None:
    """Claims the next task, again and again, for a time; tells which were answered."""
    from benchmarks.ours import Board
    from benchmarks.peers import FlockOrjson

    next_task, end = (Board() if way == "ours" else FlockOrjson()).open(directory, agent)
    ready, go, seconds = rest
    note(ready)
    wait_for(go)
    had, over = [], time.monotonic() + float(seconds)
    began = time.monotonic()
    while time.monotonic() < over:
        task = next_task()
        if task is None:
            break
        had.append(task)
    took = time.monotonic() - began
    tell(had=had, seconds=round(took, 3))
    end()


# ── what people do ───────────────────────────────────────────────────────────────────────────────────────────────────


def naive(way: str, directory: str, agent: str, *rest: str) -> None:
    """Adds tags of its own to one JSON file, for a time, as people do; tells those it believes to be there."""
    add = {"in place": _in_place, "temp + rename": _renamed, "flock": _under_flock}[way]
    path, had, torn = f"{directory}/naive.json", [], 0
    ready, go, seconds = rest
    note(ready)
    wait_for(go)
    over = time.monotonic() + float(seconds)
    number = 0
    while time.monotonic() < over:
        tag = f"{agent}-{number}"
        try:
            add(path, tag)
        except ValueError:  # half of a file
            torn += 1
        except OSError:  # ESTALE: replaced under the reader
            torn += 1
        else:
            had.append(tag)
        number += 1
    tell(had=had, torn=torn)


def _load(path: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path(path).read_bytes())
    return value


def _in_place(path: str, tag: str) -> None:
    value = _load(path)
    value[tag] = 1
    Path(path).write_text(json.dumps(value))


def _renamed(path: str, tag: str) -> None:
    value = _load(path)
    value[tag] = 1
    part = f"{path}.{tag}"
    Path(part).write_text(json.dumps(value))
    os.replace(part, path)


def _under_flock(path: str, tag: str) -> None:
    """The lock is on the file that is replaced: the mistake that is made most."""
    with open(path, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        value = json.loads(file.read())
        value[tag] = 1
        part = f"{path}.{tag}"
        with open(part, "w") as fresh:
            fresh.write(json.dumps(value))
            fresh.flush()
            os.fsync(fresh.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.replace(part, path)


ACTS: dict[str, Callable[..., None]] = {
    one.__name__: one for one in (increment, update, hold, take, read, follow, hoard, persist, make_table, claim, naive)
}

if __name__ == "__main__":
    ACTS[sys.argv[1]](*sys.argv[2:])
