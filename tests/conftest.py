"""Fixtures for all tests. Hypothesis runs the same examples every time: a failure here is a failure everywhere."""

from __future__ import annotations

import gc
import os
import warnings
from typing import TYPE_CHECKING

import pytest
from engines.fixtures import dynamodb, dynamodb_server, fault_proxy, moto_engine, moto_server  # noqa: F401 - fixtures
from hypothesis import HealthCheck, settings
from support import Party, StoreKind, make_party, memory_kind, mount_kind, table_kind

from coordinator import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

settings.register_profile(
    "coordinator",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("coordinator")

# One line joins another store to the contract (tests/contract).
STORE_KINDS: dict[str, Callable[[Path, pytest.FixtureRequest], StoreKind]] = {
    "memory": lambda _folder, _request: memory_kind(),
    "mount-symlink": lambda folder, _request: mount_kind(folder, "symlink"),
    "mount-directory": lambda folder, _request: mount_kind(folder, "directory"),
    "table-local": lambda _folder, request: table_kind(request.getfixturevalue("dynamodb")),
    "table-moto": lambda _folder, request: table_kind(request.getfixturevalue("moto_engine")),
}


# Long, and the same ways through the code with the other primitive: opt-in (pytest -m slow).
_LONG = (
    "test_every_promise_outlives_a_power_failure_at_every_call",
    "test_every_file_altered",
    "test_a_folder_that_is_not_synced_is_found_out",
)


_LONG_ALWAYS = (
    "test_two_hundred_processes_take_one_lease_in_turn",
    "test_with_a_table_that_lasts_it_goes_on_where_it_was",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, variant = item.name.partition("[")
        if (name in _LONG and "directory" in variant) or name in _LONG_ALWAYS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=STORE_KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    """Each store in turn, empty."""
    return STORE_KINDS[request.param](tmp_path, request)


@pytest.fixture(params=["symlink", "directory"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> StoreKind:
    """The store on a directory, with each primitive, empty."""
    return mount_kind(tmp_path, request.param)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace, opened by the agent ``alice``."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return Workspace.init(folder, agent="alice")


@pytest.fixture
def no_open_files_left() -> Iterator[None]:
    """Fails a test that leaves a descriptor open."""
    before = len(os.listdir("/dev/fd"))
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


@pytest.fixture
def party(tmp_path: Path) -> Party:
    """Agents with a store in memory and a clock that is set by hand."""
    return make_party(tmp_path)
