"""Events: handed to the listener, and to logging when the program logs."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from coordinator.events import LEVELS, Event, Events


def test_the_listener_gets_each_event_as_it_is() -> None:
    seen: list[Event] = []
    event = Event("stolen", "r", "a", 7, holder="b", reason="expired", waited_ms=12)
    Events(seen.append).tell(event)
    Events().tell(event)  # nobody listens
    assert seen == [event]


def test_a_listener_that_fails_disturbs_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def listener(_: Event) -> None:
        raise ZeroDivisionError

    Events(listener).tell(Event("granted", "r", "a"))
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.exc_info is not None
    assert logged.exc_info[0] is ZeroDivisionError


def test_a_listener_can_be_interrupted() -> None:
    def listener(_: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Events(listener).tell(Event("granted", "r", "a"))


@pytest.mark.parametrize(("kind", "level"), LEVELS.items())
def test_each_kind_is_logged_at_its_level_with_its_facts(
    kind: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1, "coordinator")
    Events().tell(Event(kind, "r", "a", 7, detail={"kept": "/x"}))
    (logged,) = caplog.records
    assert (logged.levelno, logged.name) == (level, "coordinator")
    facts = {"kind": kind, "resource": "r", "agent": "a", "fence": 7, "detail": {"kept": "/x"}}
    assert vars(logged)["coordinator"] == facts
    assert logged.getMessage() == f"{kind} {facts}"


def test_warnings_are_what_somebody_should_look_at() -> None:
    warned = {kind for kind, level in LEVELS.items() if level >= logging.WARNING}
    assert warned == {
        "stolen",
        "broken",
        "lost",
        "fenced_out",
        "view_edited",
        "view_failed",
        "release_failed",
        "log_quarantined",
        "inbox_damaged",
        "inbox_unread",
        "resubmitted",
        "authority_moved",
        "falling_back",
    }


def test_a_program_that_does_not_log_loads_no_logging_and_hears_nothing() -> None:
    code = """
import sys
from coordinator.events import Event, Events
Events().tell(Event("stolen", "r", "a"))
assert "logging" not in sys.modules
import logging
Events().tell(Event("stolen", "r", "a"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
