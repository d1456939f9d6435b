"""Fixtures of the engines' own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engines.fixtures import fault_proxy
from engines.table import create_table

if TYPE_CHECKING:
    from engines import Engine

__all__ = ["fault_proxy"]


@pytest.fixture(params=["dynamodb", "moto_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Either engine, with a table."""
    chosen: Engine = request.getfixturevalue(request.param)
    create_table(chosen)
    return chosen
