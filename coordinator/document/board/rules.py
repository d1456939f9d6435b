"""What each operation on a board does, decided on the document and the table beside it.

Beside the document, at ``["side", "board"]``::

    {"epoch": 17,                                   how many claims there were; never goes back
     "tasks": {key: record},                        the newest claim of each task
     "results": {key: result},                      of a foreign document, which has no place for them
     "late": {key: [{"epoch", "agent", "at_ms", "result"}]}}

A record's ``state``: ``held``; ``lapsed`` or ``abandoned`` (its time was over and nobody has come since: the holder may
still come back); ``released``, ``retry``, ``failed``, ``done``, ``cancelled``; ``new`` (the task was deleted, and one
of the same id was added). The document's status says whether a task can be claimed; the record, by whom it is.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.board.addition import add
from coordinator.document.board.claims import (
    ABANDONED,
    LAPSED,
    NEW,
    RELEASED,
    RETRY,
    Board,
)
from coordinator.document.board.formats import (
    CANCELLED,
    DEFERRED,
    DONE,
    FAILED,
    IN_PROGRESS,
    PENDING,
    Entry,
)
from coordinator.document.board.index import Index, index_of
from coordinator.document.board.late import keep_late
from coordinator.document.board.queues import matches
from coordinator.document.board.request import problem_with
from coordinator.document.board.times import HELD
from coordinator.document.outcome import BadOperation, Rejected
from coordinator.errors import BadValue

if TYPE_CHECKING:
    from coordinator.document.outcome import Context
    from coordinator.document.tree import Tree

BACKOFF_MS: Final = 1000  # limit: the pause after a first failure; it doubles with each
BACKOFF_MAX_MS: Final = 5 * 60 * 1000  # limit
_RETURNING: Final = frozenset({HELD, LAPSED, ABANDONED})
_CLOSED: Final = frozenset({CANCELLED, FAILED, DEFERRED})


def apply(tree: Tree, op: dict[str, Any], context: Context) -> Any:
    """Decides one operation on a board and makes its changes.

    Args:
        tree: The document and what is kept beside it.
        op: An operation whose ``do`` begins with ``task.``.
        context: The time and the agent it is decided by.

    Returns:
        The result, plain JSON. A claimed task in it is the very object of the document: copy what is to outlast the
        next change.

    Raises:
        Rejected: It does not hold; the caller puts the tree back.
        BadOperation: Not an operation of this version.
    """
    wrong = problem_with(op)[1]
    if wrong:
        raise BadOperation(wrong)
    try:
        index = index_of(tree, op["board"])
    except BadValue as error:
        raise BadOperation(error.message) from None
    board = Board(tree, index, context)
    index.refresh(tree, context.now_ms)
    return _RULES[op["do"]](board, op)


# ── claiming ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _claim(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    _let_go(board)
    index, count = board.index, op.get("count", 1)
    needs, where, ids = op.get("needs"), op.get("where"), op.get("ids")
    granted = []
    if ids is not None:
        wanted = _wanted(index, ids, needs, where)
        granted = [_grant(board, entry, op["ttl_ms"]) for entry in wanted[:count]]
        board.refresh()
        left = len(wanted) - len(granted)
    else:
        while len(granted) < count and (entry := index.queues.first(needs, where)) is not None:
            granted.append(_grant(board, entry, op["ttl_ms"]))
            board.refresh()
        left = index.queues.count(needs, where)
    return {"tasks": granted, "next_ms": index.times.next_ms(), "claimable": left}


def _wanted(index: Index, ids: list[Any], needs: list[str] | None, where: dict[str, Any] | None) -> list[Entry]:
    able = None if needs is None else frozenset(needs)
    entries = (index.by_key.get(key) for key in dict.fromkeys(index.layout.key_of(one) for one in ids))
    return sorted(
        (
            entry
            for entry in entries
            if entry is not None
            and entry.ready
            and (able is None or able.issuperset(entry.needs))
            and (not where or matches(entry, where))
        ),
        key=lambda entry: entry.order,
    )


def _grant(board: Board, entry: Entry, ttl_ms: int) -> dict[str, Any]:
    old = board.record(entry.key)
    attempt = 1 + (old["attempts"] if old is not None and old["state"] in {LAPSED, RETRY, RELEASED} else 0)
    now_ms = board.context.now_ms
    record = {
        "state": HELD,
        "holder": board.context.agent,
        "epoch": board.next_epoch(),
        "until_ms": now_ms + ttl_ms,
        "since_ms": now_ms,
        "attempts": attempt,
    }
    if _takes_subtasks(entry):
        record["subtasks"] = board.start_children(entry)
    board.set_status(entry, IN_PROGRESS)
    board.set_record(entry.key, record)
    return {
        "id": entry.name,
        "epoch": record["epoch"],
        "until_ms": record["until_ms"],
        "attempt": attempt,
        "task": entry.task,
    }


def _takes_subtasks(entry: Entry) -> bool:
    """Whether a task's subtasks go with it."""
    return bool(entry.children) and entry.children[0].bound


def _let_go(board: Board) -> None:
    """Ends every claim whose time is over: its task goes back, or has failed when it was tried often enough."""
    index, now_ms = board.index, board.context.now_ms
    while (first := index.times.first_deadline()) is not None and first[0] < now_ms:
        entry = index.by_key[first[1]]
        record = dict(board.record(entry.key))
        record["state"] = LAPSED
        if entry.state in {IN_PROGRESS, PENDING}:
            if record["attempts"] >= index.layout.max_attempts_of(entry.task):
                record |= {"state": ABANDONED, "error": "abandoned", "at_ms": now_ms}
                board.set_status(entry, FAILED)
                board.tell_error(entry, "abandoned")
            else:
                board.set_status(entry, PENDING)
            board.stop_children(entry, record, PENDING)
        board.set_record(entry.key, record)
        board.refresh()


# ── what a holder says ───────────────────────────────────────────────────────────────────────────────────────────────


def _heartbeat(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    entry, record = _held(board, op)
    until_ms = max(record["until_ms"], board.context.now_ms + op["ttl_ms"])
    if record["state"] == HELD:
        record = {**record, "until_ms": until_ms}
    else:  # its time was over, and nobody has come since
        again = {"state": HELD, "until_ms": until_ms, "attempts": record["attempts"]}
        record = {**{name: value for name, value in record.items() if name not in {"error", "at_ms"}}, **again}
        if entry.state in {PENDING, FAILED}:
            board.set_status(entry, IN_PROGRESS)
            board.forget_error(entry)
            if _takes_subtasks(entry):
                record["subtasks"] = board.start_children(entry)
    board.set_record(entry.key, record)
    _after(board)
    return {"id": entry.name, "epoch": record["epoch"], "until_ms": until_ms}


def _complete(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    try:
        entry, record = _held(board, op)
    except Rejected as refusal:
        return _refused(board, op, refusal)
    board.set_status(entry, DONE)
    board.finish_children(entry)
    board.forget_error(entry)
    if op.get("result") is not None:
        board.set_result(entry, op["result"])
    board.end(entry.key, record, DONE)
    _after(board)
    return {"id": entry.name, "epoch": record["epoch"], "status": DONE}


def _refused(board: Board, op: dict[str, Any], refusal: Rejected) -> dict[str, Any]:
    """What a completion that came too late leaves behind. A refusal proper would undo the keeping of its result."""
    key = board.index.layout.key_of(op["id"])
    record = board.record(key)
    if refusal.why not in {"superseded", "gone"} or record is None:
        raise refusal
    if record["state"] == DONE and record["epoch"] == op["epoch"]:  # the same completion once more
        return {"id": str(op["id"]), "epoch": op["epoch"], "status": DONE, "again": True}
    kept = keep_late(board, key, op)
    _after(board)
    return {
        "refused": refusal.why,
        "id": str(op["id"]),
        "epoch": op["epoch"],
        "winner": refusal.winner,
        "winner_epoch": refusal.facts.get("winner_epoch"),
        "kept": kept,
        "text": refusal.text,
    }


def _fail(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    entry, record = _held(board, op, closing=True)
    attempts, most = record["attempts"], board.index.layout.max_attempts_of(entry.task)
    ended = {"error": op["error"], "at_ms": board.context.now_ms}
    answer = {"id": entry.name, "epoch": record["epoch"], "attempts": attempts, "max_attempts": most}
    if op["retryable"] and attempts < most:
        not_before_ms = board.context.now_ms + _pause_ms(op.get("delay_ms"), attempts, board.context.op_id)
        board.set_status(entry, PENDING)
        board.forget_error(entry)
        board.stop_children(entry, record, PENDING)
        board.end(entry.key, record, RETRY, **ended, not_before_ms=not_before_ms)
        answer |= {"status": PENDING, "not_before_ms": not_before_ms}
    else:
        board.set_status(entry, FAILED)
        board.tell_error(entry, op["error"])
        board.stop_children(entry, record, PENDING)
        board.end(entry.key, record, FAILED, **ended)
        answer |= {"status": FAILED, "not_before_ms": None}
    _after(board)
    return answer


def _pause_ms(given: int | None, attempt: int, op_id: str) -> int:
    """How long a failed task rests: as asked, or twice as long each time and up to a quarter more, told by the id."""
    if given is not None:
        return given
    pause_ms = min(BACKOFF_MS << min(attempt - 1, 20), BACKOFF_MAX_MS)
    spread = int.from_bytes(blake2s(op_id.encode(), digest_size=4).digest())
    return min(pause_ms + spread % (pause_ms // 4 + 1), BACKOFF_MAX_MS)


def _release(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    entry, record = _held(board, op, closing=True)
    board.set_status(entry, PENDING)
    board.forget_error(entry)
    board.stop_children(entry, record, PENDING)
    board.end(entry.key, {**record, "attempts": record["attempts"] - 1}, RELEASED)
    _after(board)
    return {"id": entry.name, "epoch": record["epoch"], "status": PENDING}


def _held(board: Board, op: dict[str, Any], *, closing: bool = False) -> tuple[Entry, dict[str, Any]]:
    """The task and the claim that an operation speaks for.

    Raises:
        Rejected: That claim is not the task's newest, or the task was decided by somebody else meanwhile.
    """
    key, epoch = board.index.layout.key_of(op["id"]), op["epoch"]
    entry, record = board.index.by_key.get(key), board.record(key)
    if record is None or epoch > board.epoch:
        if entry is None:
            raise Rejected("unknown", f"there is no task {op['id']!s}")
        raise Rejected("unknown", f"task {op['id']!s} was never claimed with epoch {epoch}", epoch=epoch)
    if record["epoch"] != epoch or record["state"] not in _RETURNING:
        raise _superseded(op, record)
    if entry is None:
        raise Rejected("gone", f"task {op['id']!s} is not in the document any more", epoch=epoch)
    ours = entry.state == FAILED and record["state"] == ABANDONED
    if (entry.state in _CLOSED and not ours) or (closing and entry.state == DONE):
        raise Rejected(
            "superseded",
            f"task {entry.name} was marked {entry.state} in the document while it was claimed",
            epoch=epoch,
            status=entry.state,
        )
    return entry, record


def _superseded(op: dict[str, Any], record: dict[str, Any]) -> Rejected:
    state, name = record["state"], str(op["id"])
    winner = record.get("by", record.get("holder", ""))
    own = record["epoch"] == op["epoch"]
    if state == HELD:
        text = f"task {name} was claimed anew by {winner} (epoch {record['epoch']})"
    elif state in {DONE, CANCELLED}:
        text = f"task {name} is {state} already, by {winner}"
    elif state == NEW:
        text = f"task {name} was deleted, and another of that id was added"
    elif own:
        text, winner = f"this claim on task {name} has ended: {state}", ""
    else:
        text = f"task {name} was claimed anew since (epoch {record['epoch']}) and is {state}"
    return Rejected("superseded", text, winner=winner, epoch=op["epoch"], winner_epoch=record["epoch"], status=state)


# ── what anybody may say ─────────────────────────────────────────────────────────────────────────────────────────────


def _cancel(board: Board, op: dict[str, Any]) -> dict[str, Any]:
    entry = board.index.by_key.get(board.index.layout.key_of(op["id"]))
    if entry is None:
        raise Rejected("unknown", f"there is no task {op['id']!s}")
    record = board.record(entry.key)
    if entry.state == DONE:
        raise Rejected("done", f"task {entry.name} is done already", winner=(record or {}).get("by", ""))
    held = record is not None and record["state"] in _RETURNING
    if entry.state == CANCELLED and not held:
        return {"id": entry.name, "status": CANCELLED, "holder": None}
    board.set_status(entry, CANCELLED)
    board.forget_error(entry)
    board.stop_children(entry, record or {}, PENDING)
    ended = {"at_ms": board.context.now_ms, **({"reason": op["reason"]} if op.get("reason") else {})}
    board.end(entry.key, record or {"holder": "", "epoch": 0, "attempts": 0}, CANCELLED, **ended)
    _after(board)
    return {"id": entry.name, "status": CANCELLED, "holder": record["holder"] if held and record else None}


def _after(board: Board) -> None:
    """Every operation lets overdue claims go, its own task's having been dealt with before."""
    board.refresh()
    _let_go(board)


_RULES: Final = {
    "task.add": add,
    "task.claim": _claim,
    "task.heartbeat": _heartbeat,
    "task.complete": _complete,
    "task.fail": _fail,
    "task.release": _release,
    "task.cancel": _cancel,
}
