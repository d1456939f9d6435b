"""One execution environment of the compactor function, as a process: ``compactor_sandbox.py``.

Lines of JSON on stdin are events; each is answered with a line: what the handler returned, or how it failed. The time
that is left is reckoned by the wall clock, as Lambda's own runtime does; when it is over the process is killed, without
a ``finally``. ``{"stop_at": point}`` makes it stop itself (SIGSTOP) when it next passes that point:

    line        a fold line is synced, and the record that commits it is not written yet
    committed   that record is written, and nothing that follows it is done
    answer      before what was folded is taken out of the inbox
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from typing import Any

from coordinator import Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.record.table_calls import TableCalls
from coordinator.service import compacting
from coordinator.testing import Call, InterceptedFiles
from lambdas.compactor.handler import handler

_stop_at = ""
_plain_call = TableCalls.call
_answers = os.dup(1)
os.dup2(2, 1)  # logs are no answers


def say(answer: dict[str, Any]) -> None:
    os.write(_answers, json.dumps(answer, default=str).encode() + b"\n")


class Context:
    """What the handler is given."""

    function_name = "compactor"
    memory_limit_in_mb = "1024"
    invoked_function_arn = "arn:aws:lambda:eu-west-1:111122223333:function:compactor"

    def __init__(self, request: str, seconds: float) -> None:
        self.aws_request_id = request
        self._ends = time.time() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._ends - time.time()) * 1000), 0)


def stop(point: str) -> None:
    global _stop_at  # noqa: PLW0603 - one process, one thread that folds
    if _stop_at == point:
        _stop_at = ""
        os.kill(os.getpid(), signal.SIGSTOP)


def after_file_call(call: Call) -> None:
    if call.when == "after" and call.op in {"sync", "append"} and "/fold/" in call.path:
        stop("line")


def stopping_call(calls: TableCalls, action: str, doing: str, budget_ms: int, **request: Any) -> Any:
    """Stops around writes to the table."""
    sort_key = str(request.get("Key", request.get("Item", {})).get("sk", {}).get("S", ""))
    is_record = action in {"update_item", "put_item"} and sort_key.startswith("record/")
    if is_record:
        stop("line")
    if action == "update_item" and sort_key.startswith("inbox/"):
        stop("answer")
    told = _plain_call(calls, action, doing, budget_ms, **request)
    if is_record:
        stop("committed")
    return told


def one(command: dict[str, Any], number: int) -> dict[str, Any]:
    global _stop_at  # noqa: PLW0603 - as above
    _stop_at = command.get("stop_at", "")
    seconds = command.get("seconds", 30.0)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            told: dict[str, Any] = {
                "returned": handler(command["event"], Context(f"request-{number}", command.get("told", seconds)))
            }
    except Exception as error:  # noqa: BLE001 - as the runtime reports whatever a handler raises
        told = {"raised": type(error).__name__, "text": str(error)}
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {**told, "printed": out.getvalue().splitlines()}


def main() -> None:
    signal.signal(signal.SIGALRM, lambda _number, _frame: os.kill(os.getpid(), signal.SIGKILL))
    files = InterceptedFiles(SYSTEM_FILES, after_file_call)
    setattr(compacting, "Workspace", partial(Workspace, files=files))  # noqa: B010 - it is not exported, to mypy
    setattr(TableCalls, "call", stopping_call)  # noqa: B010 - likewise: its parameters have other names
    say({"pid": os.getpid()})
    for number, line in enumerate(sys.stdin):
        command = json.loads(line)
        if "variables" in command:
            compacting._forget()
            os.environ.update(command["variables"])
            say({"pid": os.getpid()})
        else:
            say(one(command, number))


if __name__ == "__main__":
    main()
