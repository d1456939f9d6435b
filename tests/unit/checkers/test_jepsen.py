"""Logs of Jepsen: what is read from them; and, where they are at hand, the published verdicts on etcd's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

from coordinator import BadValue
from coordinator.testing import UNKNOWN, Cas, Operation, Read, Register, Write, check_linearizable, read_jepsen

HOME: Final = "COORDINATOR_ETCD_HISTORIES"

LOG: Final = """\
INFO  jepsen.core - Worker 0 starting
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 1\t:invoke\t:write\t3
INFO  jepsen.util - :nemesis\t:info\t:start\tnil
INFO  jepsen.util - 0\t:ok\t:read\tnil
INFO  jepsen.util - 1\t:ok\t:write\t3
INFO  jepsen.util - 0\t:invoke\t:cas\t[3 0]
INFO  jepsen.util - 1\t:invoke\t:cas\t[4 1]
INFO  jepsen.util - 1\t:fail\t:cas\t[4 1]
INFO  jepsen.util - 0\t:ok\t:cas\t[3 0]
INFO  jepsen.util - 1\t:invoke\t:write\t2
INFO  jepsen.util - 1\t:info\t:write\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:read\tnil
INFO  jepsen.util - 0\t:fail\t:read\t:timed-out
INFO  jepsen.util - 2\t:invoke\t:cas\t[0 1]
INFO  jepsen.util - 2\t:fail\t:cas\t:timed-out
INFO  jepsen.util - 0\t:invoke\t:read\tnil
"""


def test_what_is_in_a_log() -> None:
    assert read_jepsen(LOG, "k") == [
        Operation(0, Read(), None, 2, 5, "k"),
        Operation(1, Write(3), None, 3, 6, "k"),
        Operation(0, Cas(3, 0), True, 7, 10, "k"),
        Operation(1, Cas(4, 1), False, 8, 9, "k"),
        Operation(1, Write(2), UNKNOWN, 11, None, "k"),  # open for ever
        Operation(0, Read(), UNKNOWN, 17, None, "k"),  # still under way at the end
    ]


def invoked(process: int, asked: str, value: str) -> str:
    return f"INFO  jepsen.util - {process}\t:invoke\t:{asked}\t{value}\n"


def ended(process: int, how: str, asked: str, value: str) -> str:
    return f"INFO  jepsen.util - {process}\t:{how}\t:{asked}\t{value}\n"


def done(process: int, asked: str, value: str, told: str | None = None) -> str:
    return invoked(process, asked, value) + ended(process, "ok", asked, value if told is None else told)


VERDICTS: Final[dict[str, tuple[str, bool]]] = {
    "a read of what was written": (done(0, "write", "1") + done(1, "read", "nil", "1"), True),
    "a stale read": (done(0, "write", "1") + done(0, "write", "2") + done(1, "read", "nil", "1"), False),
    "a time-out that took effect": (
        invoked(0, "write", "1") + ended(0, "info", "write", ":timed-out") + done(1, "read", "nil", "1"),
        True,
    ),
    "a time-out that did not": (
        invoked(0, "write", "1") + ended(0, "info", "write", ":timed-out") + done(1, "read", "nil", "nil"),
        True,
    ),
    "a time-out that was undone": (
        invoked(0, "write", "1")
        + ended(0, "info", "write", ":timed-out")
        + done(1, "read", "nil", "1")
        + done(1, "read", "nil", "nil"),
        False,
    ),
    "a cas that cannot have compared equal": (done(0, "write", "1") + done(1, "cas", "[2 3]"), False),
    "a cas refused for no reason": (
        done(0, "write", "1") + invoked(1, "cas", "[1 2]") + ended(1, "fail", "cas", "[1 2]"),
        False,
    ),
    "reads at once with a write, old and new": (
        invoked(0, "write", "1")
        + done(1, "read", "nil", "nil")
        + done(2, "read", "nil", "1")
        + ended(0, "ok", "write", "1"),
        True,
    ),
    "reads at once with a write, new and then old": (
        invoked(0, "write", "1")
        + done(1, "read", "nil", "1")
        + done(2, "read", "nil", "nil")
        + ended(0, "ok", "write", "1"),
        False,
    ),
    "a write that failed and is read": (
        invoked(0, "write", "1") + ended(0, "fail", "write", ":timed-out") + done(1, "read", "nil", "1"),
        False,
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_small_logs_have_the_known_verdicts(case: str) -> None:
    log, is_linearizable = VERDICTS[case]
    report = check_linearizable(Register(), read_jepsen(log))
    assert report.ok == is_linearizable, report
    assert report.verdict != "unknown"


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (invoked(0, "read", "nil") * 2, "line 2: process 0 is still busy"),
        (ended(0, "ok", "read", "1"), "line 1: process 0 has not asked"),
        (invoked(0, "read", "nil") + ended(0, "ok", "write", "1"), "line 2: process 0 did not ask for that"),
        (invoked(0, "delete", "nil"), "knows no delete"),
        (invoked(0, "cas", "[1]"), "without two values"),
        (invoked(0, "cas", "1 2"), "without two values"),
        (invoked(0, "write", "{:a 1}"), "not a value"),
        ("INFO  jepsen.util - what is this\n", "not a line of a history"),
    ],
)
def test_a_log_that_cannot_be_understood_is_refused(log: str, says: str) -> None:
    with pytest.raises(BadValue, match=says):
        read_jepsen(log)


def test_the_published_verdicts_on_etcd() -> None:
    if HOME not in os.environ:
        pytest.skip(f"{HOME} does not name the directory with etcd's histories and verdicts.json")
    home = Path(os.environ[HOME])
    verdicts = json.loads((home / "verdicts.json").read_text(encoding="utf-8"))
    assert verdicts
    for name, is_linearizable in verdicts.items():
        report = check_linearizable(Register(), read_jepsen((home / name).read_text(encoding="utf-8")), budget=10)
        expected = "linearizable" if is_linearizable else "not linearizable"
        assert report.verdict == expected, f"{name}: {report}"
