"""Results that came too late: somebody else has the task by then, and what was worked out is kept beside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.tree import copy_of

if TYPE_CHECKING:
    from coordinator.document.board.claims import Board

LATE_MAX: Final = 8  # limit: of one task; older ones go
LATE_MAX_BYTES: Final = 64 << 10  # limit: each


def keep_late(board: Board, key: str, op: dict[str, Any]) -> bool:
    """Keeps the result of a completion that was refused; whether it did."""
    result = op.get("result")
    if result is None:
        return False
    if len(json.dumps(result, ensure_ascii=False).encode("utf-8", "surrogatepass")) > LATE_MAX_BYTES:
        return False
    context = board.context
    late = {"epoch": op["epoch"], "agent": context.agent, "at_ms": context.now_ms, "result": copy_of(result)}
    kept = [one for one in board.side["late"].get(key, ()) if one["epoch"] != late["epoch"]]
    board.keep("late", key, [*kept, late][-LATE_MAX:])
    return True
