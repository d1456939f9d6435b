"""A board for readers: each task as plain values, and figures on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordinator.document.board.formats import IN_PROGRESS, PENDING, Entry
from coordinator.document.board.index import Index, is_open
from coordinator.document.board.notes import BOARD
from coordinator.document.board.spec import check_spec
from coordinator.document.board.times import HELD
from coordinator.document.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator


def tasks_of(value: Any, side: dict[str, Any], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task of a board, in the order of the file.

    Args:
        value: The document; not changed.
        side: What is kept beside it.
        spec: The board.

    Raises:
        BadValue: Not a spec.
        Rejected: The document has no such board.
    """
    index = _index(value, side, spec, 0)
    return (_told(index, side.get(BOARD) or {}, entry) for entry in index.entries())


def stats_of(value: Any, side: dict[str, Any], spec: dict[str, Any], now_ms: int = 0) -> dict[str, Any]:
    """Figures on a board.

    Args:
        value: The document; not changed.
        side: What is kept beside it.
        spec: The board.
        now_ms: The store's time; without it no claim counts as overdue, and every pause as going on.

    Raises:
        BadValue: Not a spec.
        Rejected: The document has no such board.
    """
    index = _index(value, side, spec, now_ms)
    by_status: dict[str, int] = {}
    held, blocked = [], 0
    for entry in index.entries():
        by_status[entry.state] = by_status.get(entry.state, 0) + 1
        record = index.records.get(entry.key)
        if record is not None and record["state"] == HELD:
            held.append((record["since_ms"], entry.name, record))
        blocked += entry.state == PENDING and bool(_blocked_by(index, entry))
    oldest = min(held, default=None, key=lambda one: one[:2])
    return {
        "tasks": len(index.by_key),
        "by_status": by_status,
        "claimable": index.queues.count(),
        "blocked": blocked,
        "held": len(held),
        "overdue": sum(record["until_ms"] < now_ms for _, _, record in held),
        "oldest_claim": oldest and {"id": oldest[1], "holder": oldest[2]["holder"], "since_ms": oldest[0]},
        "next_ms": index.times.next_ms(),
        "epoch": (side.get(BOARD) or {}).get("epoch", 0),
        "unreadable": sum(
            entry is None or not entry.sound or index.by_key.get(entry.key) is not entry
            for row in index.rows
            for entry in row
        ),
    }


def _index(value: Any, side: dict[str, Any], spec: dict[str, Any], now_ms: int) -> Index:
    index = Index(spec, check_spec(spec))
    index.refresh(Tree(value, side), now_ms)
    return index


def _told(index: Index, board: dict[str, Any], entry: Entry) -> dict[str, Any]:
    layout, task = index.layout, entry.task
    record = index.records.get(entry.key) or {}
    held = record.get("state") == HELD
    return {
        "id": entry.name,
        "title": task.get(layout.title),
        "status": entry.state,
        "priority": task.get(layout.priority),
        "dependencies": task.get(layout.dependencies) or [],
        "needs": list(entry.needs),
        "holder": record["holder"] if held else None,
        "epoch": record.get("epoch"),
        "until_ms": record["until_ms"] if held else None,
        "since_ms": record["since_ms"] if held else None,
        "attempts": record.get("attempts", 0),
        "max_attempts": layout.max_attempts_of(task),
        "not_before_ms": record.get("not_before_ms"),
        "by": record.get("by"),
        "error": record.get("error"),
        "reason": record.get("reason"),
        "result": task.get("result") if layout.ours else board.get("results", {}).get(entry.key),
        "late": len(board.get("late", {}).get(entry.key, ())),
        "parent": entry.parent.name if entry.parent is not None else None,
        "blocked_by": _blocked_by(index, entry),
        "task": task,
    }


def _blocked_by(index: Index, entry: Entry) -> list[str]:
    """What a task still waits for."""
    if entry.state not in {PENDING, IN_PROGRESS}:
        return []
    waiting = [key.removeprefix(index.layout.prefix) for key in entry.deps if not index.is_met(key)]
    return waiting + [child.name for child in entry.children if is_open(child)]
