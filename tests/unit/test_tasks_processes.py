"""The task board among processes, some of which are killed or frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import readable

import coordinator
from coordinator import ClaimLost, TaskBoard, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60.0  # generous: a wait that is never over on a loaded machine
WORKER = Path(__file__).with_name("tasks_worker.py")


class Worker:
    """One worker process."""

    def __init__(self, directory: str, agent: str) -> None:
        sources = os.path.dirname(os.path.dirname(os.path.abspath(coordinator.__file__)))
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), directory, agent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": sources},
        )
        self._text = b""

    def ask(self, do: str, **how: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **how}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        while b"\n" not in self._text:
            assert readable(self._process.stdout, DEADLINE_S), "it does not answer"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "it has ended"
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    def does(self, do: str, **how: Any) -> Any:
        self.ask(do, **how)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        status = os.waitpid(self._process.pid, os.WUNTRACED)[1]
        assert os.WIFSTOPPED(status)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def clear_away(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture
def start(workspace: Workspace) -> Iterator[Callable[[str], Worker]]:
    started: list[Worker] = []

    def run(agent: str) -> Worker:
        started.append(Worker(workspace.directory, agent))
        return started[-1]

    try:
        yield run
    finally:
        for each in started:
            each.clear_away()


@pytest.fixture
def board(workspace: Workspace) -> Iterator[TaskBoard]:
    yield workspace.tasks("tasks.json")
    workspace.close()


def told_of(board: TaskBoard, task_id: str) -> dict[str, Any]:
    found = board.get(task_id)
    assert found is not None
    return found


def test_no_task_is_given_to_two_of_eight_processes(board: TaskBoard, start: Callable[[str], Worker]) -> None:
    ids = board.add([{"title": str(i)} for i in range(200)])
    workers = {f"w{i}": start(f"w{i}") for i in range(8)}
    for worker in workers.values():
        assert worker.answer() == {"ready": True}
    for worker in workers.values():
        worker.ask("drain")
    had = {agent: worker.answer()["had"] for agent, worker in workers.items()}
    assert sorted(one for each in had.values() for one, _ in each) == sorted(ids)
    epochs = [epoch for each in had.values() for _, epoch in each]
    assert len(set(epochs)) == 200
    done = {told["id"]: told for told in board.list(status="done")}
    assert len(done) == 200
    for agent, each in had.items():
        for one, epoch in each:
            assert (done[one]["by"], done[one]["epoch"], done[one]["attempts"]) == (agent, epoch, 1)
            assert done[one]["result"] == {"by": agent}
    assert sum(bool(each) for each in had.values()) > 1, "one did it all, and nothing was shown"


def test_the_task_of_a_killed_worker_comes_back(board: TaskBoard, start: Callable[[str], Worker]) -> None:
    board.add({"id": "a"})
    worker = start("doomed")
    worker.answer()
    dead = worker.does("claim", ttl=0.5)
    worker.kill()
    assert told_of(board, "a")["holder"] == "doomed"
    task = board.claim_next(wait=30)
    assert task
    assert (task.id, task.attempt, task.epoch > dead["epoch"]) == ("a", 2, True)
    with pytest.raises(ClaimLost) as caught:  # somebody found what it had made
        board.complete("a", dead["epoch"], {"made": "before"})
    assert caught.value.successor == "alice"
    task.complete({"made": "after"})
    told = told_of(board, "a")
    assert (told["result"], [late["result"] for late in told["late_results"]]) == (
        {"made": "after"},
        [{"made": "before"}],
    )


def test_a_frozen_worker_comes_back_too_late(board: TaskBoard, start: Callable[[str], Worker]) -> None:
    board.add({"id": "a"})
    worker = start("frozen")
    worker.answer()
    frozen = worker.does("claim", ttl=0.5)
    worker.stop()
    worker.ask("complete", result={"by": "frozen"})
    with board.claim_next(wait=30) as task:
        assert task is not None
        task.complete({"by": "alice"})
    worker.go_on()
    answer = worker.answer()
    assert (answer["lost"], answer["fence"], answer["successor"]) == ("a", frozen["epoch"], "alice")
    assert answer["kept"]
    told = told_of(board, "a")
    assert told["result"] == {"by": "alice"}
    assert [(late["agent"], late["result"]) for late in told["late_results"]] == [("frozen", {"by": "frozen"})]


def test_a_frozen_worker_whose_task_nobody_took(board: TaskBoard, start: Callable[[str], Worker]) -> None:
    board.add({"id": "a"})
    worker = start("frozen")
    worker.answer()
    worker.does("claim", ttl=60)
    worker.stop()
    worker.ask("complete", result=1)
    assert not board.claim_next(wait=0.3)
    worker.go_on()
    assert worker.answer() == {"done": "a"}
    assert told_of(board, "a")["by"] == "frozen"
