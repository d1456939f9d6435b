"""Functions for the local server's tests."""

from __future__ import annotations

import os
import signal
from typing import Any


def echo(event: Any, context: Any) -> Any:
    return {"event": event, "arn": context.invoked_function_arn, "left_ms": context.get_remaining_time_in_millis()}


def hang(_event: Any, _context: Any) -> None:
    signal.pause()


def hold(event: Any, _context: Any) -> None:
    """Until somebody writes to that pipe."""
    with open(event["pipe"], encoding="utf-8") as pipe:
        pipe.read()


def fall(event: Any, _context: Any) -> None:
    if event == "exit":
        os._exit(3)
    raise KeyError("a bug")
