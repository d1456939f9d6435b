"""The DynamoDB engine of the tests, for cases that need a table; one for the whole run."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.runner import NotInstalled

if TYPE_CHECKING:
    from types import ModuleType


@functools.cache
def engine() -> Any:
    """A database of DynamoDB Local, which this process and those that it starts reach through the environment."""
    tests = str(Path(__file__).parent.parent / "tests")
    if tests not in sys.path:
        sys.path.append(tests)  # what brings the engine in belongs to the tests
    try:
        from engines import EngineUnavailable  # noqa: PLC0415 - only for cases with a table
        from engines.local import start_local  # noqa: PLC0415 - likewise
    except ImportError as missing:
        raise NotInstalled(str(missing)) from None
    try:
        database = start_local().database()
    except EngineUnavailable as unavailable:
        raise NotInstalled(str(unavailable)) from None
    os.environ.update(database.variables())
    return database


@functools.cache
def our_table() -> str:
    """A table of ours, with a workspace ``bench`` in it."""
    engine()
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import
    from coordinator.clock import SYSTEM_CLOCK  # noqa: PLC0415 - likewise
    from coordinator.record.table_calls import TableCalls  # noqa: PLC0415 - likewise
    from coordinator.record.table_setup import create_table  # noqa: PLC0415 - likewise

    create_table(TableCalls("bench", SYSTEM_CLOCK), SYSTEM_CLOCK, protect=False)
    Workspace.init(table="bench", workspace="bench", agent="bench")
    return "bench"


def lock_library() -> ModuleType:
    """python-dynamodb-lock, with its table made."""
    try:
        import python_dynamodb_lock.python_dynamodb_lock as library  # noqa: PLC0415 - in the extra ``bench``
    except ImportError as missing:
        raise NotInstalled(str(missing)) from None
    _make_its_table(library)
    return library  # type: ignore[no-any-return]


@functools.cache
def _make_its_table(library: Any) -> None:
    library.DynamoDBLockClient.create_dynamodb_table(engine().client(), table_name="peer")
