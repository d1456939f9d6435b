"""One face, several kinds: what the tests of this folder are given, and what they are served by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator.names import new_id
from coordinator.service.sandbox import FunctionSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator import Workspace

HERE: Final = str(Path(__file__).parent)
FUNCTION: Final = "coordinator:agents"
REMOTE: Final = ("remote-http", "remote-invoke")  # over the double of the contract
FUNCTIONS: Final = ("function-http", "function-invoke")  # over the functions themselves


@dataclass
class Face:
    """One kind of workspace. ``agent`` opens it as another process would; ``mounted`` where its directory is."""

    kind: str
    agent: Callable[..., Workspace]
    mounted: Callable[[str], Workspace]

    @property
    def is_remote(self) -> bool:
        return self.kind in REMOTE + FUNCTIONS

    def name(self, what: str) -> str:
        """A name that no other test has."""
        return f"{what}-{new_id()[:8]}"

    def with_content(self, what: str, value: Any) -> str:
        """The name of a fresh document with this content."""
        name = f"{self.name(what)}.json"
        self.mounted("author").document(name).commit_json(value, if_revision=0)
        return name


def double(directory: str) -> FunctionSpec:
    """The coordinator function of these tests."""
    variables = {"DOUBLE_DIRECTORY": directory}
    return FunctionSpec("coordinator", "remote.contract_double:handler", variables, concurrency=6, timeout_s=15)


@cache
def lambda_client(url: str) -> Any:
    """A real boto3 client of the Lambda API that listens there, asking once."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    from botocore.config import Config

    return boto3.session.Session().client(
        "lambda",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="AKIDFORTESTS",
        aws_secret_access_key="not-a-secret",  # noqa: S106 - nobody looks
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=20, max_pool_connections=32),
    )
