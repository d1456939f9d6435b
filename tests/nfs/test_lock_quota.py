"""A real client over a lock quota: the answers that it gets from the server say so (quota.py)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from nfs.agent import COUNTER, TABLE_PORT, TAGS
from nfs.lab import MACHINE
from nfs.quota import DQUOT, RESOURCE
from nfs.test_real_clients import account, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from nfs.conftest import Field
    from nfs.lab import Guest, Lab

pytestmark = [pytest.mark.nfs, pytest.mark.timeout(600)]

QUOTA: Final = 4
EACH: Final = 5
APPEND_S: Final = 8
TABLE: Final = "fleet"
START_S: Final = 60
MEANINGS: Final = {DQUOT: "EDQUOT", RESOURCE: "EREMOTEIO"}


@contextlib.contextmanager
def limited(lab: Lab, client: Guest, status: int) -> Iterator[None]:
    """Lets a client have so many locks, for a while, and no more."""
    relay = lab.beside("nfs.quota", MACHINE, lab.server.address, str(QUOTA), str(status))
    wait_until_told(lab, relay, "nfs.quota", "ready")
    lab.remount(client, MACHINE)
    try:
        yield
    except BaseException:
        client.kill()  # what runs there would keep the share from being unmounted
        lab.reboot(client)
        raise
    else:
        lab.remount(client, lab.server.address)
    finally:
        relay.kill()
        relay.wait()
        lab.told("nfs.quota").unlink()


def wait_until_told(lab: Lab, process: subprocess.Popen[bytes], module: str, text: str) -> None:
    """Returns when something that was started beside the guests says so."""
    end = time.monotonic() + START_S
    while text not in lab.told(module).read_text():
        assert process.poll() is None, lab.told(module).read_text()
        assert time.monotonic() < end, f"{module} did not start"
        time.sleep(0.02)


@pytest.mark.parametrize("status", MEANINGS, ids=MEANINGS.values())
def test_a_client_over_its_quota(field: Field, status: int, figures: dict[str, Any]) -> None:
    """It is told at once, and goes on when there are locks again. Nothing is lost; other hosts go on meanwhile."""
    field.make({COUNTER: {"count": 0}, TAGS: {}})
    client, *rest = field.lab.clients
    held, go, refused = field.sign(), field.sign(), field.sign()
    with limited(field.lab, client, status):
        hoard = field.agent(client, "hoard", f"{field.path}/other", str(QUOTA), held, go)
        wait_for(field, held)
        job = field.agent(client, "persist", field.path, "limited", str(EACH), refused)
        appends = field.agent(client, "update", field.path, "appends", str(APPEND_S))
        wait_for(field, refused)
        others = [field.agent(other, "increment", field.path, f"c{at}", str(EACH)) for at, other in enumerate(rest)]
        meanwhile = sum(field.result(other)["done"] for other in others)
        field.give(go)
        told, another, appended = (field.result(one) for one in (job, hoard, appends))
        acknowledged, unknown = account(field, [appended])
        waiting = set(appended["unknown"]) - set(field.content(TAGS))
    name = MEANINGS[status]
    assert another["refused"] == name
    assert all(error.startswith(name) for error in told["errors"]), told
    assert told["refusals"], told
    assert told["done"] == EACH
    assert not waiting, f"durable, though their fold was refused, and not there: {waiting}"
    assert field.content(COUNTER)["count"] == meanwhile + EACH
    figures[f"lock quota ({name})"] = {
        "told": told["errors"],
        "after s": told["first_s"],
        "others meanwhile": meanwhile,
        "afterwards": told["done"],
        "updates acknowledged": acknowledged,
        "of unknown outcome": unknown,
        "refused": len(appended["refused"]),
    }


def test_a_client_over_its_quota_falls_back(field: Field, figures: dict[str, Any]) -> None:
    """With ``fallback="table"`` the rule moves to the table by itself, and all hosts go on there."""
    lab = field.lab
    field.make({COUNTER: {"count": 0}})
    client, *rest = lab.clients
    table = lab.beside("moto.server", "-H", MACHINE, "-p", str(TABLE_PORT))
    wait_until_told(lab, table, "moto.server", "Running on")
    made = field.agent(client, "make_table", TABLE).wait(START_S)
    assert made.status == 0, made.out
    held, go = field.sign(), field.sign()
    with limited(lab, client, DQUOT):
        hoard = field.agent(client, "hoard", f"{field.path}/other", str(QUOTA), held, go)
        wait_for(field, held)
        jobs = [
            field.agent(one, "persist", field.path, f"c{at}", str(EACH), field.sign(), TABLE)
            for at, one in enumerate((client, *rest))
        ]
        told = [field.result(job) for job in jobs]
        field.give(go)
        assert field.result(hoard)["refused"] == MEANINGS[DQUOT]
    done = sum(one["done"] for one in told)
    count = field.result(field.agent(rest[-1], "persist", field.path, "judge", "0", field.sign(), TABLE))["count"]
    assert done == count == EACH * len(jobs), told
    assert told[0]["rules"] == "table", told
    figures["lock quota, with a table"] = {"acknowledged": done, "counted": count, "rules then": told[0]["rules"]}
