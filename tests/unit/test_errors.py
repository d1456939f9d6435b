"""The tree of errors: as drawn, with its facts as fields, across processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import pytest

import coordinator
from coordinator import errors
from coordinator.errors import CoordinatorError, LeaseHeld, LeaseLost, StaleFence

FIELDS: Final[dict[str, dict[str, Any]]] = {
    "BadName": {"name": "../x"},
    "BadValue": {"argument": "ttl", "value": 0},
    "NoSuchDocument": {"resource": "r"},
    "MalformedDocument": {"resource": "r", "where": "line 1, column 2"},
    "Refused": {"resource": "r"},
    "LeaseHeld": {
        "resource": "r",
        "holder": "a",
        "fence": 7,
        "since_ms": 1,
        "until_ms": 2,
        "now_ms": 3,
        "waiting": 4,
        "waited_ms": 5,
    },
    "AcquireCancelled": {"resource": "r", "waited_ms": 5},
    "RevisionConflict": {"resource": "r", "expected": 1, "current": 2},
    "OperationRejected": {
        "resource": "r",
        "op_id": "x",
        "why": "test",
        "winner": "b",
        "revision": 3,
        "facts": {"path": "/a"},
    },
    "RevisionNotReached": {"resource": "r", "expected": 4, "current": 2},
    "ClaimLost": {
        "resource": "r",
        "fence": 7,
        "reason": "superseded",
        "successor": "b",
        "successor_fence": 9,
        "kept": "",
        "task_id": "t1",
    },
    "LeaseLost": {"resource": "r", "fence": 7, "reason": "taken", "successor": "b", "successor_fence": 9, "kept": "/x"},
    "StaleFence": {"resource": "r", "fence": 7, "reason": "taken", "successor": "b", "successor_fence": 9, "kept": ""},
    "StoreUnavailable": {"resource": "r", "cause": "EIO: x", "outcome_unknown": True, "op_id": ""},
    "NoRoom": {"resource": "r", "cause": "ENOSPC: x", "outcome_unknown": False, "op_id": "x"},
    "Damaged": {"resource": "r", "path": "/x"},
    "CorruptRecord": {"resource": "r", "path": "/x", "where": "n"},
    "CorruptSnapshot": {"resource": "r", "path": "/x", "revision": 3},
    "WorkspaceError": {"path": "/x"},
    "NotAWorkspace": {"path": "/x"},
    "NewerFormat": {"path": "/x", "needs": 2, "have": 1},
    "Unsuitable": {"path": "/x", "missing": ["flock", "symlink"]},
    "NotAllowed": {"identity": "alias:$LATEST", "agent": "a"},
    "NoDirectory": {"path": "/x"},
    "TableUnusable": {"path": "", "table": "t", "cause": "ResourceNotFoundException"},
    "AuthorityMoved": {"path": "/x", "mode": "table", "epoch": 2},
}


def subclasses(kind: type[CoordinatorError]) -> list[type[CoordinatorError]]:
    return [kind, *[deeper for sub in kind.__subclasses__() for deeper in subclasses(sub)]]


ALL: Final = [kind for kind in subclasses(CoordinatorError) if kind.__module__ == errors.__name__]


def make(kind: type[CoordinatorError], **options: Any) -> CoordinatorError:
    return kind(f"{kind.__name__} happened", **FIELDS.get(kind.__name__, {}), **options)


def test_the_tree_is_as_drawn() -> None:
    drawn: dict[str, str] = {}
    way: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│ ├└─]*)([A-Z]\w+)(?:  |\s*$| \S)", line)
        if found:
            depth = len(found.group(1)) // 4
            way[depth:] = [found.group(2)]
            if depth:
                drawn[way[depth]] = way[depth - 1]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in ALL[1:]}
    assert len(drawn) > 20, "the drawing was read"


def test_every_error_is_exported() -> None:
    assert {kind.__name__ for kind in ALL} <= set(coordinator.__all__)
    assert all(getattr(coordinator, kind.__name__) is kind for kind in ALL)


def test_every_declared_field_is_tried_here() -> None:
    for kind in ALL:
        declared = {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})} - {"default_hint"}
        assert declared == set(FIELDS.get(kind.__name__, {})), kind


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("hint", [None, "", "do this"])
def test_every_error_survives_a_pickle_with_its_facts(kind: type[CoordinatorError], hint: str | None) -> None:
    error = make(kind, hint=hint)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
        assert type(again) is kind
        assert (again.message, again.hint, again.fields) == (error.message, error.hint, error.fields)
        assert str(again) == str(error)
        assert again.args == error.args
    assert copy.copy(error).fields == error.fields


def raise_it(name: str) -> None:
    raise make(getattr(errors, name))


def test_every_error_crosses_a_real_process_boundary() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        caught = [pool.submit(raise_it, kind.__name__).exception(60) for kind in ALL]
    for kind, error in zip(ALL, caught, strict=True):
        assert type(error) is kind
        assert isinstance(error, CoordinatorError)
        assert error.fields == FIELDS.get(kind.__name__, {})
        assert str(error) == str(make(kind))


@pytest.mark.parametrize("kind", ALL)
def test_the_text_is_the_sentence_and_the_hint(kind: type[CoordinatorError]) -> None:
    assert str(make(kind, hint="do this")) == f"{kind.__name__} happened (do this)"
    assert str(make(kind, hint="")) == f"{kind.__name__} happened"
    default = make(kind)
    assert default.hint == kind.default_hint
    assert default.hint in str(default)


def test_a_note_that_a_program_added_is_no_fact_of_the_error() -> None:
    error = make(LeaseHeld)
    error.add_note("seen by the planner")
    assert error.fields == FIELDS["LeaseHeld"]
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert again.fields == FIELDS["LeaseHeld"]
    assert again.__notes__ == ["seen by the planner"]


def test_a_caller_that_stops_on_a_lost_lease_stops_on_a_stale_fence() -> None:
    assert issubclass(StaleFence, LeaseLost)
    assert not issubclass(LeaseHeld, LeaseLost)
