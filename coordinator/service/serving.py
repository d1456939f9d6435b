"""What ``coordinator serve`` puts together: a table, a workspace that it rules, and both functions behind HTTP."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from coordinator.clock import SYSTEM_CLOCK
from coordinator.errors import AuthorityMoved, BadValue, WorkspaceError
from coordinator.record.record import TABLE
from coordinator.record.table_calls import TableCalls
from coordinator.record.table_setup import create_table
from coordinator.service.local import HOST, LocalServer, arn_of
from coordinator.service.sandbox import Busy, Failed, FunctionSpec
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    from types import TracebackType

COORDINATOR: Final = "coordinator"
COMPACTOR: Final = "coordinator-compactor"
HANDLERS: Final = {COORDINATOR: "coordinator.service.app:handler", COMPACTOR: "coordinator.service.compacting:handler"}
TABLE_DEFAULT: Final = "coordinator-local"
REGION_DEFAULT: Final = "us-east-1"
AGENTS_DEFAULT: Final = {arn_of("local"): ["*"], "alias:$LATEST": ["*"], "alias:agents": ["*"]}
CONCURRENCY_DEFAULT: Final = 4
COORDINATOR_TIMEOUT_S: Final = 30.0  # as in infra/template.yaml
COMPACTOR_TIMEOUT_S: Final = 120.0
_SCHEDULED: Final = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
_INSTALL: Final = "pip install 'agent-coordinator[lambda]'"
_NOT_A_KEY: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}  # engines take any


class Engine(NamedTuple):
    """A DynamoDB on this machine, or AWS's when ``endpoint`` is empty."""

    endpoint: str
    region: str
    server: Any = None  # moto's, to be stopped; its tables end with it

    def variables(self) -> dict[str, str]:
        """For the functions' processes."""
        if not self.endpoint:
            return {"AWS_REGION": self.region} if self.region else {}
        region = {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return {"AWS_ENDPOINT_URL_DYNAMODB": self.endpoint, **region, **_NOT_A_KEY}

    def client(self) -> Any:
        """A boto3 client; None: the library makes one from the environment."""
        if not self.endpoint:
            return None
        boto3 = importlib.import_module("boto3")
        return boto3.session.Session().client(
            "dynamodb",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=_NOT_A_KEY["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_NOT_A_KEY["AWS_SECRET_ACCESS_KEY"],
        )


class Served(NamedTuple):
    """Where what is."""

    url: str
    directory: str
    table: str
    workspace_id: str
    endpoint: str
    identity: str


class Serving:
    """Everything, running. A context manager that ends it.

    Args:
        directory: The workspace's; made one, if it is none.
        table: Its table; default: ``coordinator-local``, made where the engine is this machine's.
        endpoint: A DynamoDB on this machine, such as DynamoDB Local; None: AWS's when a table is named, or else moto's
            in this process.
        region: Of the table.
        port: 0: any that is free.
        agents: Who may act as whom, as COORDINATOR_AGENTS; default: the identity ``local``, and whoever invokes
            directly, without an alias or by ``agents``, as everybody.
        concurrency: Of the coordinator function.

    Raises:
        BadValue, WorkspaceError, StoreUnavailable: Says what is missing, and how to come by it.
    """

    def __init__(
        self,
        directory: str,
        *,
        table: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        port: int = 0,
        agents: str | None = None,
        concurrency: int = CONCURRENCY_DEFAULT,
    ) -> None:
        agents = _checked_agents(agents)
        _need_boto3()
        self._engine = _engine(endpoint, region, in_process=table is None and endpoint is None)
        try:
            named = table or TABLE_DEFAULT
            workspace_id = self._make(directory, named)
            specs = self._functions(directory, named, workspace_id, agents=agents, concurrency=concurrency)
            self._server = _started(specs, port, directory)
        except BaseException:
            self._stop_engine()
            raise
        self.served = Served(self._server.url, directory, named, workspace_id, self._engine.endpoint, arn_of("local"))

    def _make(self, directory: str, table: str) -> str:
        """The table, where it is this machine's, and the workspace; the id of it."""
        client = self._engine.client()
        if client is not None:
            create_table(TableCalls(table, SYSTEM_CLOCK, client=client), SYSTEM_CLOCK, protect=False)
        try:
            with Workspace.init(
                directory, agent="serve", table=table, client=client, region=self._engine.region or None
            ) as ws:
                authority = ws.authority()
                workspace_id = ws.format.workspace_id
        except AuthorityMoved as moved:
            raise self._not_here(directory, table) from moved
        if authority is None or authority.mode != TABLE:
            raise self._not_here(directory, table)
        return workspace_id

    def _not_here(self, directory: str, table: str) -> WorkspaceError:
        lost = "an earlier one in memory has ended with its process; use --endpoint with a DynamoDB that lasts, or "
        return WorkspaceError(
            f"the workspace {directory} is not ruled by the table {table}",
            path=directory,
            hint=f"{lost if self._engine.server else ''}serve a fresh directory, or `coordinator authority move table`",
        )

    def _functions(
        self, directory: str, table: str, workspace_id: str, *, agents: str, concurrency: int
    ) -> list[FunctionSpec]:
        both = {
            **self._engine.variables(),
            "COORDINATOR_TABLE": table,
            "COORDINATOR_WORKSPACE": workspace_id,
            "POWERTOOLS_METRICS_NAMESPACE": "coordinator",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        }
        ours = {
            **both,
            "COORDINATOR_COMPACTOR_FUNCTION": COMPACTOR,
            "COORDINATOR_AGENTS": agents,
            "POWERTOOLS_SERVICE_NAME": COORDINATOR,
            "AWS_LAMBDA_FUNCTION_NAME": COORDINATOR,
        }
        theirs = {
            **both,
            "COORDINATOR_DIRECTORY": directory,
            "POWERTOOLS_SERVICE_NAME": COMPACTOR,
            "AWS_LAMBDA_FUNCTION_NAME": COMPACTOR,
        }
        return [
            FunctionSpec(COORDINATOR, HANDLERS[COORDINATOR], ours, concurrency, COORDINATOR_TIMEOUT_S),
            FunctionSpec(COMPACTOR, HANDLERS[COMPACTOR], theirs, 1, COMPACTOR_TIMEOUT_S),
        ]

    def fold(self) -> None:
        """What the schedule does once a minute over there."""
        try:
            self._server.invoke(COMPACTOR, "", _SCHEDULED)
        except (Busy, Failed):  # at work already; or told in its log
            return

    def client(self) -> Any:
        """A boto3 client of the table, as the functions have it; None: as the environment says."""
        return self._engine.client()

    def close(self) -> None:
        """Ends all of it. Safe to call twice."""
        self._server.close()
        self._stop_engine()

    def _stop_engine(self) -> None:
        if self._engine.server is not None:
            self._engine.server.stop()
            self._engine = self._engine._replace(server=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _started(specs: list[FunctionSpec], port: int, directory: str) -> LocalServer:
    try:
        server = LocalServer(specs, port)
    except OSError as error:
        hint = "choose another --port; 0 is any that is free"
        raise BadValue(
            f"nothing can listen on {HOST}:{port}: {error}", argument="port", value=port, hint=hint
        ) from None
    try:
        server.start()
    except Failed as failed:
        server.close()
        hint = _INSTALL if "No module named" in str(failed) else "its log, above, tells more"
        raise WorkspaceError(f"a function does not start: {failed}", path=directory, hint=hint) from None
    except BaseException:
        server.close()
        raise
    return server


def _checked_agents(text: str | None) -> str:
    if text is None:
        return json.dumps(AGENTS_DEFAULT)
    hint = """a JSON object like {"local": ["reviewer-*"], "arn:aws:iam::111122223333:role/ci": ["ci"]}"""
    try:
        told = json.loads(text)
    except ValueError as error:
        raise BadValue(f"--agents is not JSON: {error}", argument="agents", value=text[:80], hint=hint) from None
    if not isinstance(told, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in told.values()
    ):
        raise BadValue("--agents says no agents", argument="agents", value=text[:80], hint=hint)
    return json.dumps({name if name.startswith("alias:") else arn_of(name): names for name, names in told.items()})


def _need_boto3() -> None:
    try:
        importlib.import_module("boto3")
    except ImportError:
        raise WorkspaceError("serving needs boto3, which is not installed here", path="", hint=_INSTALL) from None


def _engine(endpoint: str | None, region: str | None, *, in_process: bool) -> Engine:
    if endpoint is not None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            hint = "like http://127.0.0.1:8000"
            raise BadValue(f"{endpoint!r} is no endpoint", argument="endpoint", value=endpoint, hint=hint)
        return Engine(endpoint, region or REGION_DEFAULT)
    if not in_process:
        return Engine("", region or "")
    try:
        server = importlib.import_module("moto.server").ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    except ImportError as error:
        raise WorkspaceError(
            f"no --table or --endpoint was named, and moto, which stands in for DynamoDB, is not installed ({error})",
            path="",
            hint="pip install 'moto[dynamodb,server]', or name the --endpoint of a DynamoDB Local, or a --table",
        ) from None
    logging = importlib.import_module("logging")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    server.start()
    host, port = server.get_host_and_port()
    return Engine(f"http://{host}:{port}", region or REGION_DEFAULT, server)
