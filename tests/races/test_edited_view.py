"""Somebody rewrites tasks.json by hand while agents update it through their logs (P17): nothing of either is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.testing import Call, InterceptedFiles, PauseAt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

import pytest

NAME: Final = "tasks.json"
WORKERS: Final = 4
SAVES: Final = 6
DEADLINE_S: Final = 40.0
_SPAWN: Final = multiprocessing.get_context("spawn")


def work(directory: str, number: int, stopping: Any, told: Any) -> None:
    """Counts its own task up, each time from what it counted before; whoever takes that back makes it fail."""
    document = Workspace(directory, agent=f"worker-{number}").document(NAME)
    count, place = 0, f"/tasks/{number}/count"
    while not stopping.is_set():
        step = [
            {"op": "test", "path": place, "value": count},
            {"op": "replace", "path": place, "value": count + 1},
            {"op": "add", "path": f"/done/{number}/-", "value": count + 1},
        ]
        assert document.update(step, wait=DEADLINE_S).state == "applied"
        count += 1
    document.close()
    told.put((number, count))


def stop_after_the_fold(directory: str, point: str, told: Any, saved: Any) -> None:
    """Folds an edit, and stops itself (SIGSTOP) before the plain file is replaced."""
    pause = PauseAt(point, armed=False)
    document = Workspace(directory, agent="folder", files=InterceptedFiles(SYSTEM_FILES, pause)).document(NAME)
    document.read()
    told.put("ready")
    assert saved.wait(DEADLINE_S)
    pause.armed = True
    document.read()


@pytest.fixture
def directory(tmp_path: Path) -> str:
    directory = tmp_path / "shared"
    directory.mkdir()
    Workspace.init(directory, agent="founder")
    board = {
        "tasks": [{"id": i, "count": 0, "note": ""} for i in range(WORKERS)],
        "done": {str(i): [] for i in range(WORKERS)},
        "notes": {},
    }
    (directory / NAME).write_text(json.dumps(board, indent=2) + "\n")
    return str(directory)


@pytest.fixture
def started() -> Iterator[list[SpawnProcess]]:
    processes: list[SpawnProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.join(DEADLINE_S)


def wait_for(what: str, holds: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: it did not come to be"
        time.sleep(0.005)  # what an editor's user does: look at the file again


def load(path: str) -> Any:
    with open(path, "rb") as file:
        return json.loads(file.read())


def save(path: str, value: Any, *, in_place: bool) -> bytes:
    """As editors do it: a new file in its place; or the same one written anew, in several pieces."""
    text = json.dumps(value, indent=2).encode() + b"\n"
    if in_place:
        with open(path, "wb", buffering=0) as file:
            file.writelines(text[start : start + 200] for start in range(0, len(text), 200))
    else:
        with open(f"{path}~", "wb") as file:
            file.write(text)
        os.replace(f"{path}~", path)
    return text


def texts(document: Any) -> list[bytes]:
    found = []
    for kept in document.conflicts():
        with open(kept, "rb") as file:
            found.append(file.read())
    return found


def test_an_editor_beside_four_workers(directory: str, started: list[SpawnProcess]) -> None:
    stopping, told = _SPAWN.Event(), _SPAWN.Queue()
    document, path = Workspace(directory, agent="test").document(NAME), os.path.join(directory, NAME)
    document.update([{"op": "test", "path": "/notes", "value": {}}])
    for number in range(WORKERS):
        started.append(_SPAWN.Process(target=work, args=(directory, number, stopping, told)))
        started[-1].start()
    wait_for("the workers' work", lambda: all(task["count"] for task in document.value()["tasks"]))
    for i in range(SAVES):
        value = load(path)
        value["notes"][f"note {i}"] = i
        value["tasks"][i % WORKERS]["note"] = f"by hand {i}"
        text = save(path, value, in_place=i % 2 == 1)

        def is_settled(i: int = i, text: bytes = text) -> bool:
            value = document.value()
            return (
                f"note {i}" in value["notes"] and value["tasks"][i % WORKERS]["note"] == f"by hand {i}"
            ) or text in texts(document)

        wait_for(f"save {i}", is_settled)
    stopping.set()
    counts = dict(told.get(timeout=DEADLINE_S) for _ in range(WORKERS))
    for process in started:
        process.join(DEADLINE_S)
        assert process.exitcode == 0, "a worker found its own updates taken back"

    value = document.read_json()
    assert {task["id"]: task["count"] for task in value["tasks"]} == counts
    assert {int(number): done for number, done in value["done"].items()} == {
        number: list(range(1, count + 1)) for number, count in counts.items()
    }
    kept = texts(document)
    lost = [i for i in range(SAVES) if f"note {i}" not in value["notes"] and not any(b"note %d" % i in k for k in kept)]
    assert lost == []
    assert load(path) == value


@pytest.mark.parametrize("point", ["before_view_rename", "after_view_rename"])
def test_whoever_folded_it_dies_before_the_plain_file_is_replaced(
    directory: str, started: list[SpawnProcess], point: str
) -> None:
    told, saved = _SPAWN.Queue(), _SPAWN.Event()
    document, path = Workspace(directory, agent="test").document(NAME), os.path.join(directory, NAME)
    document.update([{"op": "add", "path": "/notes/agent", "value": 1}])
    document.read()
    value = load(path)
    value["notes"]["by hand"] = 1
    started.append(_SPAWN.Process(target=stop_after_the_fold, args=(directory, point, told, saved)))
    started[0].start()
    assert told.get(timeout=DEADLINE_S) == "ready"
    save(path, value, in_place=False)
    saved.set()
    _, status = os.waitpid(started[0].pid or 0, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    revision = document.revision
    os.kill(started[0].pid or 0, signal.SIGKILL)

    assert document.read_json()["notes"] == {"agent": 1, "by hand": 1}
    assert load(path) == document.read_json()
    assert document.revision == revision, "it was folded once"
    assert document.conflicts() == []


def test_a_save_after_the_file_was_looked_at_is_not_replaced(directory: str) -> None:
    path = os.path.join(directory, NAME)
    saves: list[int] = []

    def save_again(call: Call) -> None:
        if len(saves) == 1 and call[:2] == ("after", "sync") and "/scratch/" in call.path:
            saves.append(2)
            value = load(path)
            value["notes"]["second"] = 2
            save(path, value, in_place=True)

    document = Workspace(directory, agent="test", files=InterceptedFiles(SYSTEM_FILES, save_again)).document(NAME)
    document.update([{"op": "add", "path": "/notes/agent", "value": 1}])
    value = load(path)
    value["notes"]["first"] = 1
    save(path, value, in_place=False)
    saves.append(1)
    document.read()
    assert saves == [1, 2], "what this test is about has really happened"
    assert Workspace(directory, agent="other").document(NAME).read_json()["notes"] == {
        "agent": 1,
        "first": 1,
        "second": 2,
    }
    assert document.conflicts() == []
