from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .support.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["symlink", "directory"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    directory = tmp_path / "shared"
    directory.mkdir()
    fleet = Fleet(str(directory), request.param, str(tmp_path))
    try:
        yield fleet
    finally:
        fleet.end()
