"""Compactors that are killed at their deadline, frozen, thawed and run two at once: each operation counts once."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from compactor_support import SCHEDULED, Sandbox, Stack
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines import Engine

pytest.importorskip("aws_lambda_powertools", reason="the functions need the extra `lambda`")
POINTS = ("line", "committed", "answer")
NAME = "a.json"


@pytest.fixture
def stack(tmp_path: Path, dynamodb: Engine) -> Iterator[Stack]:
    made = Stack(tmp_path / "shared", dynamodb)
    made.mounted.document(NAME).commit_json({"done": []}, if_revision=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def environments() -> Iterator[tuple[Sandbox, Sandbox]]:
    """Two processes for all that survive: starting them is most of the time."""
    with Sandbox() as one, Sandbox() as other:
        yield one, other


@pytest.fixture
def pair(stack: Stack, environments: tuple[Sandbox, Sandbox]) -> tuple[Sandbox, Sandbox]:
    for environment in environments:
        environment.become(stack.variables())
    return environments


@pytest.mark.parametrize("point", POINTS)
def test_killed_in_mid_fold(stack: Stack, point: str) -> None:
    stack.append(NAME, "inbox-1", "inbox-2")
    stack.append(NAME, "log-1", "log-2", distant=False)
    killed = stack.sandbox()
    killed.send(SCHEDULED, stop_at=point)
    killed.wait_stopped()
    os.kill(killed.pid, signal.SIGKILL)  # as the service does at the deadline: without a word
    assert killed.wait_ended() == -signal.SIGKILL
    stack.append(NAME, "inbox-3")
    with stack.sandbox() as fresh:
        told = fresh.run(SCHEDULED)
        assert told["idle"]
        assert told["applied"] == {"line": 5, "committed": 1, "answer": 1}[point]
        assert fresh.run({"fold": []})["applied"] == 0
    stack.judge(NAME)


def test_killed_by_its_own_deadline_in_mid_fold(stack: Stack) -> None:
    with stack.sandbox() as dying:
        dying.run(SCHEDULED)  # warm: the time that follows is that of the fold
        stack.append(NAME, "inbox-1")
        dying.send(SCHEDULED, stop_at="line", seconds=3)
        dying.wait_stopped()
        wait_until(lambda: _has_pending_alarm(dying.pid), 30)  # its time runs out while it is in the middle of a fold
        dying.thaw()
        with pytest.raises(AssertionError, match="has ended"):
            dying.receive()
        assert dying.wait_ended() == -signal.SIGKILL
    with stack.sandbox() as fresh:
        assert fresh.run(SCHEDULED)["applied"] == 1
    stack.judge(NAME)


def _has_pending_alarm(pid: int) -> bool:
    """Whether the timer has gone off while the process is stopped."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        masks = dict(line.split(":", 1) for line in file)
    waiting = int(masks["SigPnd"], 16) | int(masks["ShdPnd"], 16)
    return bool(waiting & 1 << (signal.SIGALRM - 1))


@pytest.mark.parametrize("point", POINTS)
def test_two_at_once_and_one_of_them_stands_still(stack: Stack, pair: tuple[Sandbox, Sandbox], point: str) -> None:
    """Reserved concurrency is no lock: a schedule may come while an invocation that was given up is still at work."""
    slow, quick = pair
    stack.append(NAME, "inbox-1", "inbox-2")
    stack.append(NAME, "log-1", distant=False)
    slow.send(SCHEDULED, stop_at=point)
    slow.wait_stopped()
    stack.append(NAME, "inbox-3")
    quick.run(SCHEDULED)
    assert len(stack.told(NAME)["done"]) == 4  # nobody waits for the one that stands still
    stack.append(NAME, "inbox-4")
    slow.thaw()
    assert "returned" in (told := slow.receive()), told
    quick.run(SCHEDULED)
    stack.judge(NAME)


def test_two_at_once_under_writers(stack: Stack, pair: tuple[Sandbox, Sandbox]) -> None:
    for number in range(5):
        for sandbox in pair:
            sandbox.send({"fold": [NAME]})
        stack.append(NAME, f"inbox-{number}")
        stack.append(NAME, f"log-{number}", distant=False)
        for sandbox in pair:
            assert "returned" in (told := sandbox.receive()), told
    pair[0].run(SCHEDULED)
    stack.judge(NAME)


def test_frozen_between_invocations_and_used_again(stack: Stack, pair: tuple[Sandbox, Sandbox]) -> None:
    """What a warm environment has in memory is old when it is thawed: others have folded, and committed whole."""
    warm, other = pair
    stack.append(NAME, "one")
    assert warm.run(SCHEDULED)["applied"] == 1
    assert warm.ask("documents/read", document=NAME)[1]["revision"] == 2
    warm.freeze()
    stack.append(NAME, "two", "three")
    assert other.run(SCHEDULED)["applied"] == 2
    stack.append(NAME, "four")
    warm.thaw()
    told = warm.ask("documents/read", document=NAME)[1]
    assert json.loads(told["text"]) == {"done": ["one", "two", "three"]}
    assert warm.run(SCHEDULED)["applied"] == 1
    assert json.loads(warm.ask("documents/read", document=NAME)[1]["text"])["done"][-1] == "four"
    stack.judge(NAME)


def test_frozen_in_mid_fold_for_longer_than_its_time_and_thawed(stack: Stack, pair: tuple[Sandbox, Sandbox]) -> None:
    """A sandbox may be frozen at any instruction, and go on later as if nothing had been: its publishing is fenced."""
    frozen, other = pair
    stack.append(NAME, "one")
    frozen.send({"fold": [NAME]}, stop_at="line")
    frozen.wait_stopped()
    for number in range(3):
        stack.append(NAME, f"meanwhile-{number}")
        other.run({"fold": [NAME]})
    frozen.thaw()
    assert frozen.receive()["returned"]["applied"] == 0  # it was beaten, and found nothing left to do
    stack.judge(NAME)


def test_an_invocation_ends_before_its_deadline_and_the_next_goes_on(
    stack: Stack, pair: tuple[Sandbox, Sandbox]
) -> None:
    for number in range(6):
        stack.mounted.document(f"many/{number}.json").update({"n": number}, wait=0)
    told = pair[0].run({"fold": []}, told=0.0)  # it is told that its time is over
    assert (told["idle"], told["applied"]) == (False, 0)
    assert pair[0].run({"fold": []})["applied"] == 6
