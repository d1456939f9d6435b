"""Workspaces of every kind under one suite, and coordinator functions in processes of their own."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from engines import fresh_table_name, is_of_aws
from support import table_named

from coordinator import Workspace
from coordinator.remote import RemoteWorkspace
from coordinator.service.local import LocalServer
from coordinator.service.serving import Serving
from remote.faces import FUNCTION, FUNCTIONS, REMOTE, Face, double, lambda_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines.local import LocalServer as DynamoDBLocal


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, str]]:
    """A coordinator function over a directory, for the whole session."""
    directory = str(tmp_path_factory.mktemp("served"))
    Workspace.init(directory, agent="founder")
    server = LocalServer([double(directory)])
    server.start()
    try:
        yield server, directory
    finally:
        server.close()


@pytest.fixture(scope="session")
def functions(tmp_path_factory: pytest.TempPathFactory, dynamodb_server: DynamoDBLocal) -> Iterator[Serving]:
    """Both functions as they are deployed, over a table, for the whole session."""
    for library in ("aws_lambda_powertools", "pydantic", "boto3"):
        pytest.importorskip(library, reason=f"the functions need {library}")
    endpoint = dynamodb_server.endpoint_url
    directory = str(tmp_path_factory.mktemp("functions"))
    with Serving(directory, endpoint=endpoint, table=fresh_table_name(), concurrency=6) as serving:
        yield serving


@pytest.fixture(params=["directory", "table", *REMOTE, *FUNCTIONS])
def face(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Face]:
    """Each kind of workspace in turn."""
    kind = request.param
    for variable in filter(is_of_aws, list(os.environ)):
        monkeypatch.delenv(variable)
    with ExitStack() as stack:
        if kind in {"directory", "table"}:
            how: dict[str, Any] = {}
            if kind == "table":
                how["table"] = table_named(request.getfixturevalue("dynamodb"))
            Workspace.init(tmp_path, agent="founder", **how)

            def open_here(agent: str, **more: Any) -> Workspace:
                return stack.enter_context(Workspace(tmp_path, agent=agent, **how, **more))

            yield Face(kind, open_here, open_here)
            return
        if kind in REMOTE:
            server, directory = request.getfixturevalue("served")
            url, behind = server.url, {}
        else:
            serving = request.getfixturevalue("functions")
            url, directory = serving.served.url, serving.served.directory
            behind = {"table": serving.served.table, "client": serving.client}

        def open_remote(agent: str, **how: Any) -> Workspace:
            if kind.endswith("invoke"):
                how = {"function": FUNCTION, "client": lambda_client(url), **how}
                return stack.enter_context(RemoteWorkspace(agent=agent, **how))
            return stack.enter_context(RemoteWorkspace(url, agent=agent, **how))

        yield Face(kind, open_remote, lambda agent: stack.enter_context(Workspace(directory, agent=agent, **behind)))


# For the long run (-m slow): what other kinds of the default run, or tests/table, show as well.
LONG: dict[str, tuple[str, ...]] = {
    "test_same_face.py": REMOTE,
    "test_same_content.py": ("table", *REMOTE, FUNCTIONS[1]),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks them."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is not None and spec.params.get("face") in LONG.get(item.path.name, ()):
            item.add_marker(pytest.mark.slow)
