"""The package's face: the names that it exports, what they say of themselves, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from architecture_support import MODULES, PACKAGE

import coordinator

if TYPE_CHECKING:
    from collections.abc import Iterator


# ── the face ─────────────────────────────────────────────────────────────────────────────────────────────────────────


PUBLIC: Final = [
    "AcquireCancelled",
    "AuthorityMoved",
    "BadName",
    "BadRequest",
    "BadValue",
    "Change",
    "ClaimLost",
    "Collected",
    "Content",
    "CoordinatorError",
    "CorruptRecord",
    "CorruptSnapshot",
    "Damaged",
    "Document",
    "DocumentLease",
    "Event",
    "Folded",
    "Invocation",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "MalformedDocument",
    "NewerFormat",
    "NoDirectory",
    "NoRoom",
    "NoSuchDocument",
    "NoTask",
    "NotAWorkspace",
    "NotAllowed",
    "OperationReceipt",
    "OperationRejected",
    "Receipt",
    "Refused",
    "ResourceStatus",
    "Revision",
    "RevisionConflict",
    "RevisionNotReached",
    "StaleFence",
    "StoreUnavailable",
    "TableUnusable",
    "Task",
    "TaskBoard",
    "Unsuitable",
    "Workspace",
    "WorkspaceError",
    "__version__",
]


def test_the_exported_names() -> None:
    assert coordinator.__all__ == PUBLIC
    assert dir(coordinator) == sorted(PUBLIC)
    testing = importlib.import_module("coordinator.testing")
    assert testing.__all__ == [
        "APPLIED",
        "DURABLE",
        "REJECTED",
        "UNHEARD",
        "UNKNOWN",
        "Acquire",
        "Add",
        "Append",
        "AppendLog",
        "Call",
        "Cas",
        "CrashFiles",
        "CrashState",
        "Decided",
        "ExactlyOnceReport",
        "FailAt",
        "FencedLease",
        "GrowingSet",
        "Held",
        "InterceptedFiles",
        "IntervalReport",
        "LinearizabilityReport",
        "ManualClock",
        "MemoryStore",
        "Model",
        "Operation",
        "PauseAt",
        "Read",
        "Recorder",
        "Register",
        "Release",
        "StaleFiles",
        "Told",
        "Use",
        "Write",
        "check_exactly_once",
        "check_intervals",
        "check_linearizable",
        "decided_by",
        "read_jepsen",
        "told_by",
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_exported_name_is_there(name: str) -> None:
    value = getattr(coordinator, name)
    assert value.__name__ == name if inspect.isclass(value) else isinstance(value, str)


def test_a_name_that_is_not_exported_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'MountStore'"):
        _ = coordinator.MountStore


def public_things() -> Iterator[tuple[str, object]]:
    testing = importlib.import_module("coordinator.testing")
    for home in (coordinator, testing):
        for name in home.__all__:
            value = getattr(home, name)
            if not inspect.isclass(value):
                continue
            yield name, value
            for attribute, found in vars(value).items():
                if not attribute.startswith("_") and (callable(found) or isinstance(found, property | classmethod)):
                    yield f"{name}.{attribute}", getattr(value, attribute) if callable(found) else found


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*found, id=found[0]) for found in public_things()])
def test_every_public_name_says_what_it_is(name: str, thing: object) -> None:
    if inspect.isclass(thing) and issubclass(thing, tuple):
        assert thing.__doc__
        return
    own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    assert own, f"{name} has no docstring"
    assert not own.startswith(f"{name}("), f"{name} has only the one that dataclass made"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_and_is_of_a_size_to_be_read(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 450


def test_the_types_ship() -> None:
    assert (PACKAGE / "py.typed").is_file()


# ── what an import costs ─────────────────────────────────────────────────────────────────────────────────────────────


HEAVY: Final = {"boto3", "botocore", "pydantic", "aws_lambda_powertools", "portalocker", "typer", "rich", "orjson"}


def loaded_by(code: str) -> set[str]:
    """Top names of all modules that a fresh interpreter has loaded after running the code."""
    path = [str(PACKAGE.parent)]
    script = f"""
import sys
sys.path[:0] = {path!r}
before = set(sys.modules)
{code}
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps(loaded))
"""
    done = subprocess.run(  # an isolated one: no user site, no environment
        [sys.executable, "-I", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_loads_nothing() -> None:
    loaded = loaded_by("import coordinator")
    assert "coordinator" in loaded
    assert not loaded & (HEAVY | {"dataclasses", "json", "logging", "hashlib"})


def test_importing_the_errors_loads_nothing_either() -> None:
    assert not loaded_by("from coordinator import LeaseLost") & (HEAVY | {"dataclasses", "json", "logging"})


def test_importing_the_workspace_loads_no_library() -> None:
    loaded = loaded_by("from coordinator import Workspace")
    assert not loaded & (HEAVY | {"logging", "asyncio", "subprocess"})


def test_the_test_for_imports_sees_them() -> None:
    assert {"json", "dataclasses"} <= loaded_by("import json, dataclasses")
