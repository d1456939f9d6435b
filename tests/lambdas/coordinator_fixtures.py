"""Two environments of the coordinator function over one table, and a compactor that they ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from compactor_support import Stack
from coordinator_support import AGENTS, Compactor, Environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines import Engine


@pytest.fixture
def stack(tmp_path: Path, dynamodb: Engine) -> Iterator[Stack]:
    made = Stack(tmp_path / "shared", dynamodb)
    yield made
    made.close()


@pytest.fixture
def compactor(stack: Stack) -> Iterator[Compactor]:
    made = Compactor(stack.mounted)
    yield made
    made.close()


@pytest.fixture
def variables(stack: Stack, compactor: Compactor) -> dict[str, str]:
    return {
        **stack.variables(),
        "COORDINATOR_COMPACTOR_FUNCTION": "compactor",
        "COORDINATOR_AGENTS": json.dumps(AGENTS),
        "AWS_ENDPOINT_URL_LAMBDA": compactor.url,
        "POWERTOOLS_METRICS_NAMESPACE": "coordinator",
        "POWERTOOLS_SERVICE_NAME": "coordinator",
    }


@pytest.fixture
def one(variables: dict[str, str]) -> Iterator[Environment]:
    with Environment(variables) as made:
        yield made


@pytest.fixture
def other(variables: dict[str, str]) -> Iterator[Environment]:
    with Environment(variables) as made:
        yield made
