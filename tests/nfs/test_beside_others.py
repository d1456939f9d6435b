"""What people do, on the same mount, beside ours: counted (B12)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nfs.conftest import Field

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(600)]

NAIVE_S = 6.0
CLAIM_S = 10.0
TASKS = 2000
AGENTS_EACH = 8


def all_at_once(field: Field, act: str, way: str, each: int, seconds: float) -> list[dict[str, Any]]:
    """Starts so many on each client, lets them go together, and gathers what they told."""
    go, signs = field.sign(), []
    jobs = []
    for host, client in enumerate(field.lab.clients):
        for number in range(each):
            signs.append(field.sign())
            jobs.append(field.agent(client, act, way, field.path, f"c{host}a{number}", signs[-1], go, str(seconds)))
    end = time.monotonic() + 240
    while not all(Path(field.lab.folder, Path(sign).name).exists() for sign in signs):
        assert time.monotonic() < end, [job.out()[-500:] for job in jobs if job.out()]
        time.sleep(0.05)
    field.give(go)
    return [field.result(job) for job in jobs]


@pytest.mark.parametrize("way", ["in place", "temp + rename", "flock"])
def test_what_people_do(field: Field, way: str, figures: dict[str, Any]) -> None:
    """No assertion that it fails, though it does: what is asserted is that it was tried. The figures tell."""
    client = field.lab.clients[0]
    client.run(f"mkdir {field.path} && echo '{{}}' > {field.path}/naive.json")
    told = all_at_once(field, "naive", way, 2, NAIVE_S)
    acknowledged = [tag for one in told for tag in one["had"]]
    # The folder is opened first: a name that was replaced under a reader may be absent for a while.
    text = client.run(f"ls {field.path} >/dev/null; cat {field.path}/naive.json || true")
    lost = sum(f'"{tag}"' not in text for tag in acknowledged)
    figures.setdefault("naive", {})[way] = {
        "acknowledged": len(acknowledged),
        "lost": lost,
        "torn": sum(one["torn"] for one in told),
    }
    assert acknowledged


@pytest.mark.parametrize("way", ["ours", "flock"])
def test_claims(field: Field, way: str, figures: dict[str, Any]) -> None:
    """B12: three clients with eight agents each; nothing is handed out twice."""
    field.python(field.lab.clients[0], _PREPARE, way, field.path, str(TASKS))
    told = all_at_once(field, "claim", way, AGENTS_EACH, CLAIM_S)
    had = [task for one in told for task in one["had"]]
    rate = sum(len(one["had"]) / one["seconds"] for one in told)
    figures.setdefault("claims", {})[way] = {
        "claims": len(had),
        "per_s": round(rate, 1),
        "twice": len(had) - len(set(had)),
        "slowest": min(len(one["had"]) for one in told),
    }
    if way == "ours":
        assert len(had) == len(set(had)), "handed out twice"
        owners = json.loads(field.python(field.lab.clients[1], _OWNERS, field.path))
        assert not [task for task in had if task not in owners], "answered, and not there"
    assert had


_PREPARE = """
import os, sys
from benchmarks.claiming import make_tasks
from benchmarks.ours import Board
from benchmarks.peers import FlockOrjson
way, path, count = sys.argv[1:]
os.makedirs(path)
(Board() if way == "ours" else FlockOrjson()).prepare(path, make_tasks(int(count)))
"""
_OWNERS = """
import json, sys
from benchmarks.ours import Board
print(json.dumps(dict(Board().owners(sys.argv[1]))))
"""
