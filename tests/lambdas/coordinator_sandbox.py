"""One execution environment of the coordinator function, as a process: ``coordinator_sandbox.py``.

Lines of JSON on stdin are events; each is answered with a line: what the handler returned, what it printed, and the
calls to the table that it made. ``{"stop_at": "written"}`` makes it stop itself (SIGSTOP) after the next write to the
table, before anything is answered. At the end of its time it is killed, without a ``finally``.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import time
from contextlib import redirect_stdout
from typing import Any

from coordinator.record.table_calls import TableCalls
from coordinator.service.app import logger
from lambdas.coordinator.handler import handler

_stop_at = ""
_calls: list[str] = []
_plain_call = TableCalls.call
_answers = os.dup(1)
os.dup2(2, 1)  # logs are no answers


class Context:
    """What the handler is given."""

    function_name = "coordinator"
    memory_limit_in_mb = "512"

    def __init__(self, request: str, seconds: float, alias: str) -> None:
        self.aws_request_id = request
        self.invoked_function_arn = f"arn:aws:lambda:eu-west-1:111122223333:function:coordinator{alias}"
        self._ends = time.time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._ends - time.time()) * 1000), 0)


def watched_call(calls: TableCalls, action: str, doing: str, budget_ms: int, **request: Any) -> Any:
    """Counts, and stops after a write that was asked for."""
    global _stop_at  # noqa: PLW0603 - one process, one event
    _calls.append(action)
    told = _plain_call(calls, action, doing, budget_ms, **request)
    if _stop_at == "written" and action in {"update_item", "put_item", "transact_write_items"}:
        _stop_at = ""
        os.kill(os.getpid(), signal.SIGSTOP)
    return told


def one(command: dict[str, Any], number: int) -> dict[str, Any]:
    global _stop_at  # noqa: PLW0603 - as above
    _stop_at = command.get("stop_at", "")
    _calls.clear()
    seconds = command.get("seconds", 30.0)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    out = io.StringIO()
    for written in logger.handlers:
        if isinstance(written, logging.StreamHandler):
            written.setStream(out)
    try:
        with redirect_stdout(out):
            context = Context(f"request-{os.getpid()}-{number}", seconds, command.get("alias", ""))
            told: dict[str, Any] = {"returned": handler(command["event"], context)}
    except Exception as error:  # noqa: BLE001 - as the runtime reports whatever a handler raises
        told = {"raised": type(error).__name__, "text": str(error)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {**told, "printed": out.getvalue().splitlines(), "calls": list(_calls)}


def say(answer: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(answer, default=str).encode() + b"\n")


def main() -> None:
    signal.signal(signal.SIGALRM, lambda _number, _frame: os.kill(os.getpid(), signal.SIGKILL))
    setattr(TableCalls, "call", watched_call)  # noqa: B010 - its parameters have other names, to mypy
    say({"pid": os.getpid()})
    for number, line in enumerate(sys.stdin):
        say(one(json.loads(line), number))


if __name__ == "__main__":
    main()
