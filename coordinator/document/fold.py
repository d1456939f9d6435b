"""Folding: what a set of operations makes of a document (P23). No clock, no file, no chance.

``order`` puts the new frames of all logs into one sequence; ``fold`` decides them one after the other on a state, whose
tree keeps how to undo them. The same state and the same sequence give the same outcomes, whoever folds, in whatever
order a directory lists the logs, and wherever the sequence is cut into folds.

An operation whose preconditions do not hold is rejected, and the next is decided: the first that holds wins. One that
this version does not know stops the fold before anything of it is published: to skip it would lose it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.document import operations
from coordinator.document.outcome import BadOperation, Context, Rejected
from coordinator.document.revision import load_json
from coordinator.document.tree import copy_of
from coordinator.errors import NewerFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from coordinator.document.state import State
    from coordinator.document.tree import Tree

    Apply = Callable[[Tree, dict[str, Any], Context], Any]

_SEQ: Final = re.compile(rb'\{"seq":([0-9]{1,18}),')
EXACT = b'"exact":true'  # in a frame that holds an integer beyond 64 bits, which a fast reader would take for a float
APPLIED = "applied"
REJECTED = "rejected"
AGAIN = "again"


class Operation(NamedTuple):
    """One operation of a log. ``at_ms`` is its writer's clock; what it counts for is decided in ``order``."""

    at_ms: int
    incarnation: str
    seq: int
    agent: str
    op_id: str
    op: dict[str, Any]
    again: bool = False


def parse(payloads: Sequence[bytes], agent: str, incarnation: str) -> list[Operation]:
    """The operations of one log's new frames.

    Raises:
        NewerFormat: A frame whose checksum holds is not what this version writes.
    """
    if not payloads:
        return []
    try:
        text = b"[%s]" % b",".join(payloads)  # one call: a third of the cost of one for each
        frames = load_json(text, exact=EXACT in text)
        found = [
            Operation(
                frame["at"], incarnation, frame["seq"], agent, frame["id"], frame["op"], frame.get("again", False)
            )
            for frame in frames
        ]
        for at_ms, _, seq, _, op_id, op, _ in found:
            if type(at_ms) is not int or type(seq) is not int or type(op_id) is not str or type(op) is not dict:
                raise TypeError("a field of another type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if len(payloads) > 1:  # which one?
            for payload in payloads:
                parse([payload], agent, incarnation)
        digits = _SEQ.match(payloads[0])
        what = f"a frame of a form that this version does not know ({error!r})"
        raise _unknown(agent, incarnation, int(digits[1]) if digits else 0, what) from None
    return found


def order(logs: Iterable[Sequence[Operation]], *, floor_ms: int, now_ms: int) -> list[Operation]:
    """All operations in the order in which they are decided: by time, then incarnation, then seq.

    Args:
        logs: Each log's operations, in the order of the log, which is kept.
        floor_ms: The time of the fold before: nothing counts as earlier.
        now_ms: The time of this fold: nothing counts as later. A clock that is a day off gains or loses nothing else.
    """
    keyed = []
    for log in logs:
        last_ms = floor_ms
        for operation in log:
            last_ms = max(last_ms, min(operation[0], now_ms))
            keyed.append((last_ms, operation[1], operation[2], operation))
    keyed.sort(key=_by_time)
    return [entry[3] for entry in keyed]


def _by_time(entry: tuple[int, str, int, Operation]) -> tuple[int, str, int]:
    return entry[:3]


def fold(
    state: State,
    sequence: Sequence[Operation],
    *,
    now_ms: int,
    known: Mapping[str, tuple[int, str]] | None = None,
) -> list[list[Any]]:
    """Decides operations on a state.

    Args:
        state: Its tree is changed, with how to undo that; nothing else is.
        sequence: As ``order`` gives it.
        now_ms: The store's time of this fold, not before ``state.at_ms``.
        known: Older operations than the state remembers: revision and outcome by id.

    Returns:
        For each operation ``[op_id, agent, incarnation, seq, outcome, info, edits]`` (see revision.py).

    Raises:
        NewerFormat: An operation that this version does not know; says whose.
    """
    tree, revision = state.tree, state.revision + 1
    seen = state.ids
    fresh: dict[str, tuple[int, str]] = {}
    outcomes: list[list[Any]] = []
    kinds: dict[str, Apply] = {}
    for operation in sequence:
        _, incarnation, seq, agent, op_id, op, _ = operation
        first = seen.get(op_id) or fresh.get(op_id) or (known.get(op_id) if known else None)
        if first:
            outcomes.append([op_id, agent, incarnation, seq, AGAIN, list(first), None])
            continue
        mark = tree.mark()
        try:
            do = op["do"]
            apply = kinds.get(do) or kinds.setdefault(do, _kind(do))
            if state.malformed:
                raise Rejected("malformed", f"the document is not JSON: {state.malformed}")
            result = copy_of(apply(tree, op, Context(now_ms, agent, op_id, revision)))
        except Rejected as rejected:
            tree.undo_to(mark)
            info = {"why": rejected.why, "text": rejected.text, **rejected.facts}
            if rejected.winner:
                info["winner"] = rejected.winner
            outcomes.append([op_id, agent, incarnation, seq, REJECTED, info, None])
            fresh[op_id] = (revision, REJECTED)
        except (BadOperation, KeyError, TypeError) as error:
            tree.undo_to(mark)
            raise _unknown(agent, incarnation, seq, str(error)) from error
        else:
            outcomes.append([op_id, agent, incarnation, seq, APPLIED, result, tree.edits_since(mark) or None])
            fresh[op_id] = (revision, APPLIED)
    return outcomes


def _kind(do: Any) -> Apply:
    if not isinstance(do, str):
        raise BadOperation(f"an operation {do!r} that this version does not know")
    if do.startswith("task."):
        from coordinator.document.board import rules  # noqa: PLC0415 - a document without tasks does without

        return rules.apply
    if do in {"patch", "merge"}:
        return operations.apply
    raise BadOperation(f"an operation {do!r} that this version does not know")


def _unknown(agent: str, incarnation: str, seq: int, what: str) -> NewerFormat:
    return NewerFormat(
        f"the log of {agent} ({incarnation}) holds, at operation {seq}, {what}; nothing was folded",
        path="",
        needs=0,
        have=1,
        agent=agent,
        incarnation=incarnation,
        seq=seq,
    )
