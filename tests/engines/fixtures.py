"""Fixtures with DynamoDB engines, for conftest.py to import. An engine starts when the first test asks for it.

Where one cannot be had, its tests are skipped with the reason, or fail with it where NEEDED_VARIABLE is set.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import pytest

from engines import Engine, EngineUnavailable, is_of_aws
from engines.faults import pass_all
from engines.local import LocalServer, start_local
from engines.moto_engine import MotoServer, start_moto
from engines.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.faults import Plan

__all__ = ["dynamodb", "dynamodb_server", "fault_proxy", "moto_engine", "moto_server"]

NEEDED_VARIABLE: Final = "COORDINATOR_TESTS_NEED_ENGINES"


def _without(error: EngineUnavailable) -> NoReturn:
    if os.environ.get(NEEDED_VARIABLE):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def dynamodb_server() -> Iterator[LocalServer]:
    """DynamoDB Local, for the whole session."""
    try:
        server = start_local()
    except EngineUnavailable as error:
        _without(error)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """moto, for the whole session."""
    try:
        server = start_moto()
    except EngineUnavailable as error:
        _without(error)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def dynamodb(dynamodb_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty database of DynamoDB Local. Plain boto3 of this process, and of those it starts, goes to it too."""
    return _here(dynamodb_server.database(), monkeypatch)


@pytest.fixture
def moto_engine(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The empty database of moto. Plain boto3 of this process, and of those it starts, goes to it too."""
    return _here(moto_server.database(), monkeypatch)


class ProxyFactory(Protocol):
    """Puts a proxy in front of an engine, for as long as the test lasts."""

    def __call__(self, engine: Engine, plan: Plan = ..., *, clock: Callable[[], float] | None = None) -> FaultProxy: ...


@pytest.fixture
def fault_proxy() -> Iterator[ProxyFactory]:
    """Proxies in front of engines; ``engine.at(proxy.endpoint_url)`` is the way through one."""
    with ExitStack() as stack:

        def start(engine: Engine, plan: Plan = pass_all, *, clock: Callable[[], float] | None = None) -> FaultProxy:
            return stack.enter_context(FaultProxy(engine.endpoint_url, plan, clock))

        yield start


def _here(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    for variable in filter(is_of_aws, list(os.environ)):
        monkeypatch.delenv(variable)
    for variable, value in engine.variables().items():
        monkeypatch.setenv(variable, value)
    return engine
