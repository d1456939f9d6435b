"""DynamoDB engines for tests: Amazon's own DynamoDB Local, moto, and a proxy that breaks the way to either."""

from __future__ import annotations

import importlib
import os
import secrets
import threading
from dataclasses import dataclass, replace
from typing import Any, Final

ACCESS_KEY: Final = "AKIDFORTESTS"
REGION: Final = "eu-central-1"
HOST: Final = "127.0.0.1"
_NO_FILE: Final = os.devnull

# Creating a client is not thread-safe in boto3: the default session behind boto3.client is shared.
_creating: Final = threading.Lock()


class EngineUnavailable(Exception):
    """An engine cannot be had here; the text says why, for the reason of a skip."""


@dataclass(frozen=True)
class Engine:
    """A running DynamoDB. The access key chooses the database, where the engine keeps one for each."""

    endpoint_url: str
    region: str
    name: str
    access_key: str = ACCESS_KEY

    def client(self, **config: Any) -> Any:
        """A boto3 client that asks once and waits briefly, unless the botocore configuration given says otherwise."""
        boto3 = importlib.import_module("boto3")
        chosen = {
            "retries": {"total_max_attempts": 1},
            "connect_timeout": 5,
            "read_timeout": 20,
            "max_pool_connections": 64,
            **config,
        }
        with _creating:
            return boto3.client(
                "dynamodb",
                endpoint_url=self.endpoint_url,
                region_name=self.region,
                aws_access_key_id=self.access_key,
                aws_secret_access_key="not-a-secret",  # noqa: S106 - the engines take any
                config=importlib.import_module("botocore.config").Config(**chosen),
            )

    def variables(self) -> dict[str, str]:
        """What must be set for boto3 to come here by itself; no ``AWS_*`` of the user's may stand beside it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_CONFIG_FILE": _NO_FILE,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_DYNAMODB": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_SHARED_CREDENTIALS_FILE": _NO_FILE,
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }

    def env(self) -> dict[str, str]:
        """The whole environment of a subprocess that is to reach this very database."""
        return {name: value for name, value in os.environ.items() if not is_of_aws(name)} | self.variables()

    def at(self, endpoint_url: str) -> Engine:
        """The same database by another way, such as a proxy's."""
        return replace(self, endpoint_url=endpoint_url)


def is_of_aws(variable: str) -> bool:
    """Whether boto3 might read this environment variable."""
    return variable.startswith("AWS_") or variable in {"BOTO_CONFIG", "HTTPS_PROXY", "HTTP_PROXY", "http_proxy"}


def fresh_table_name() -> str:
    return f"coordinator-test-{secrets.token_hex(6)}"


def delete_tables(engine: Engine) -> None:
    """Leaves an empty database."""
    client = engine.client()
    for page in client.get_paginator("list_tables").paginate():
        for table in page["TableNames"]:
            client.delete_table(TableName=table)
    client.close()
