"""What the tests of the table share: a workspace that has only a table, what stands in it, and who asked what."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from support import table_named

from coordinator import Workspace
from coordinator.clock import SYSTEM_CLOCK
from coordinator.names import Resource
from coordinator.record.record import encode
from coordinator.record.table import TableStore
from coordinator.record.table_calls import TableCalls
from coordinator.record.table_item import key, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest
    from engines import Engine
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy

    from coordinator.clock import Clock
    from coordinator.errors import TableUnusable
    from coordinator.record.record import Record

ID: Final = "fleet"
NAME: Final = "deploy/prod"
RESOURCE: Final = Resource.parse(NAME)


@dataclass
class Asked:
    """A client's requests, in order; ``take`` gives those since it was last asked."""

    operations: list[str] = field(default_factory=list)

    def watch(self, client: Any) -> Any:
        client.meta.events.register("before-call.dynamodb", self._note)
        return client

    def _note(self, model: Any, **_: Any) -> None:
        self.operations.append(model.name)

    def take(self) -> Counter[str]:
        taken, self.operations = Counter(self.operations), []
        return taken


@dataclass
class Table:
    """A table of its own, with one workspace that has nothing else."""

    engine: Engine
    name: str
    asked: Asked = field(default_factory=Asked)

    @classmethod
    def made(cls, engine: Engine) -> Table:
        table = cls(engine, table_named(engine))
        Workspace.init(table=table.name, workspace=ID, client=engine.client, agent="founder")
        return table

    def open(self, agent: str = "alice", *, through: Engine | None = None, clock: Clock = SYSTEM_CLOCK) -> Workspace:
        """As another process would open it."""
        return Workspace(table=self.name, workspace=ID, agent=agent, client=self.client(through), clock=clock)

    def store(self, *, through: Engine | None = None, clock: Clock = SYSTEM_CLOCK, guarded: bool = False) -> TableStore:
        return TableStore(self.calls(through, clock), ID, clock, guarded=guarded)

    def calls(self, through: Engine | None = None, clock: Clock = SYSTEM_CLOCK) -> TableCalls:
        return TableCalls(self.name, clock, client=self.client(through))

    def client(self, through: Engine | None = None) -> Callable[[], Any]:
        """Makes clients whose requests are noted."""
        engine = through or self.engine
        return lambda: self.asked.watch(engine.client(read_timeout=2))

    def items(self) -> dict[str, dict[str, Any]]:
        """All that stands there, by sort key."""
        pages = self.engine.client().get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        return {item["sk"]["S"]: item for page in pages for item in page["Items"]}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fails when the body changed anything in the table."""
        before = self.items()
        yield
        assert self.items() == before

    def alter(self, sort_key: str, **attributes: Any) -> None:
        """Changes an item by hand; None removes an attribute."""
        item = self.items().get(sort_key, key(ID, sort_key)) | attributes
        kept = {name: value for name, value in item.items() if value is not None}
        self.engine.client().put_item(TableName=self.name, Item=kept)

    def put(self, record: Record, past: Sequence[str] = ()) -> None:
        """Puts a record item by hand."""
        self.alter(
            f"record/{RESOURCE.state_path}",
            n={"N": str(record.n)},
            record={"S": encode(record)},
            past={"B": pack(past)},
        )


def behind(table: Table, fault_proxy: ProxyFactory, plan: Any = None) -> tuple[Engine, FaultProxy]:
    """The way to the table through a proxy."""
    proxy = fault_proxy(table.engine)
    proxy.plan = plan or proxy.plan
    return table.engine.at(proxy.endpoint_url), proxy


def reads_after_refusal(table: Table) -> Counter[str]:
    return Counter({"GetItem": 1} if table.engine.name == "dynamodb-local" else {})


def history_of(store: TableStore, resource: Resource = RESOURCE) -> list[tuple[int, str]]:
    return [(record.n, record.request) for record in store.history(resource)]


def unusable(refused: pytest.ExceptionInfo[TableUnusable], table: str, cause: str, hint: str) -> None:
    """The error names the table, what the service said, and what to do."""
    assert refused.value.table == table
    assert re.search(cause, refused.value.cause), refused.value
    assert re.search(hint, refused.value.hint), refused.value
    assert repr(table) in refused.value.message
    assert refused.value.cause in str(refused.value)


def init(table: Table, by: Engine, workspace: str) -> Workspace:
    return Workspace.init(table=table.name, workspace=workspace, client=by.client)
