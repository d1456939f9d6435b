"""What the simulation has found where there is a table, made again without it: on real files, in the order it takes."""

from __future__ import annotations

import errno
import time
from email.utils import formatdate
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from coordinator import AuthorityMoved, LeaseHeld, StoreUnavailable, Workspace
from coordinator.document.drain import Drain
from coordinator.files import SYSTEM_FILES
from coordinator.log.inbox import Inbox, InboxWriter
from coordinator.names import Resource
from coordinator.record.table import TableStore
from coordinator.testing import FailAt, InterceptedFiles
from coordinator.testing.simulation.items import Items, RefusedRequest
from coordinator.testing.simulation.table_client import ConnectTimeoutError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coordinator import Event
    from coordinator.record.record import Record
    from coordinator.record.store import Appended, Beaten

NAME = "plan.json"
RESOURCE = Resource.parse(NAME)


class Client:
    """A client whose table is in this process, and whose service has a clock of its own."""

    meta = SimpleNamespace(
        events=SimpleNamespace(register=lambda *_args, **_how: None),
        endpoint_url="https://dynamodb.eu-west-1.amazonaws.com",
        region_name="eu-west-1",
    )

    def __init__(self, items: Items, behind_s: int = 0) -> None:
        self._items = items
        self._behind_s = behind_s
        self.is_cut = False

    def __getattr__(self, action: str) -> Any:
        return partial(self._call, action)

    def _call(self, action: str, **request: Any) -> dict[str, Any]:
        if self.is_cut:
            raise ConnectTimeoutError
        told = {"HTTPHeaders": {"date": formatdate(time.time() - self._behind_s, usegmt=True)}}
        try:
            return self._items.perform(action, request) | {"ResponseMetadata": told}
        except RefusedRequest as refused:
            response = {"Error": {"Code": refused.code}, "ResponseMetadata": told | {"HTTPStatusCode": 400}}
            more = {"Item": refused.item, "CancellationReasons": refused.reasons}
            raise ServiceError(response | {name: value for name, value in more.items() if value}) from None


@pytest.fixture
def client() -> Client:
    return Client(Items())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Workspace.init(tmp_path, agent="start").document(NAME).commit(b'{"tags": []}', if_revision=0)
    return tmp_path


def agent(folder: Path, name: str, client: Client, **more: Any) -> Workspace:
    return Workspace(folder, agent=name, table="records", client=client, **more)


def far(folder: Path, client: Client) -> Workspace:
    mover = agent(folder, "mover", client)
    mover.move_authority("table", single_host=True)
    return Workspace(agent="far", table="records", workspace=mover.format.workspace_id, client=client)


@pytest.mark.parametrize("comes_back", [False, True])
def test_who_knows_of_no_move_knows_what_was_committed_in_the_other_store(
    folder: Path, client: Client, comes_back: bool
) -> None:
    """Seeds 1333 and 11943: the plain file showed a revision that stood in the table only: it was taken for an edit."""
    events: list[Event] = []
    one, other = agent(folder, "one", client, on_event=events.append), agent(folder, "other", client)
    other.move_authority("table", single_host=True)
    other.document(NAME).commit(b'{"tags": ["1"]}', if_revision=1)
    there = [record.n for record in other.history(NAME)]
    if comes_back:
        other.move_authority("mount", single_host=True)
        other.document(NAME).update([{"op": "add", "path": "/tags/-", "value": "2"}])
    known = one._member.store.history(RESOURCE)
    assert {record.n for record in known} >= set(there)
    one.document(NAME).refresh_view()
    assert [event.kind for event in events if event.kind == "view_edited"] == []


def test_who_cannot_see_the_other_store_leaves_what_it_shows_alone(folder: Path, client: Client) -> None:
    """Seed 48585493 of ``moving``: cut off in the middle of a refresh, and opened without the table.

    What the plain file showed afterwards was taken for an edit by hand, and replaced by what the mount's chain had.
    """
    events: list[Event] = []
    cut_off, other = Workspace(folder, agent="cut-off", on_event=events.append), agent(folder, "other", client)
    document = cut_off.document(NAME)
    record = cut_off._member.store.read(RESOURCE)
    assert record is not None
    other.move_authority("table", single_host=True)
    other.document(NAME).commit(b'{"tags": ["1"]}', if_revision=1)
    with pytest.raises(AuthorityMoved):
        document._view.refresh(record)
    assert [event.kind for event in events if event.kind == "view_edited"] == []
    assert (folder / NAME).read_bytes() == b'{"tags": ["1"]}'


def test_what_was_durable_and_may_have_been_folded_is_never_told_to_be_undone(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 68 of ``inbox``: fenced and emptied, it was to be submitted again; the table did not answer."""
    document = far(folder, client).document(NAME)
    real = InboxWriter.append

    def append(self: InboxWriter, ops: Sequence[bytes]) -> str:
        found = real(self, ops)
        client.is_cut = True
        monkeypatch.setattr("coordinator.record.table_calls.TableCalls.call", _unanswered)
        return found

    monkeypatch.setattr(InboxWriter, "append", append)
    monkeypatch.setattr(Inbox, "item", lambda _self, _incarnation: None)  # deleted: folded, fenced and empty
    with pytest.raises(StoreUnavailable) as raised:
        document.update([{"op": "add", "path": "/tags/-", "value": "1"}], wait=5)
    assert raised.value.outcome_unknown


def _unanswered(*_args: Any, **_how: Any) -> Any:
    raise StoreUnavailable("no answer", resource=NAME, cause="cut off", outcome_unknown=False)


def test_a_workspace_is_closed_whether_the_table_answers_or_not(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 12336 of ``moving``: an inbox that could not be closed raised at the end of the program."""
    workspace = far(folder, client)
    workspace.document(NAME).update([{"op": "add", "path": "/tags/-", "value": "1"}], wait=0)
    with monkeypatch.context() as cut:
        cut.setattr("coordinator.record.table_calls.TableCalls.call", _unanswered)
        workspace.close()
    compactor = agent(folder, "compactor", client).document(NAME)
    compactor.compact()
    assert compactor.read_json() == {"tags": ["1"]}


def test_a_compactor_that_stood_still_takes_no_inbox_for_damaged(folder: Path, client: Client) -> None:
    """Seed 55 of ``moving``: others had folded and answered what it did not know; the hint was to delete it."""
    document = far(folder, client).document(NAME)
    document.update([{"op": "add", "path": "/tags/-", "value": "1"}], wait=0)
    agent(folder, "quick", client).document(NAME).compact()
    document.update([{"op": "add", "path": "/tags/-", "value": "2"}], wait=0)
    events: list[Event] = []
    slow = agent(folder, "slow", client, on_event=events.append)._member
    assert slow.table is not None
    drain = Drain(slow, RESOURCE, slow.table)
    assert drain.look({}) == []
    assert [event.kind for event in events if event.kind == "inbox_damaged"] == []
    assert drain._read({}) == []  # behind the same position it is missing indeed
    assert [event.kind for event in events if event.kind == "inbox_damaged"] == ["inbox_damaged"]


def test_a_seal_is_durable_before_anything_is_imported_on_it(folder: Path, client: Client) -> None:
    """Seed 5001030 of ``moving``: put by one who could not sync it, believed by another, lost with the power."""
    fails = FailAt(errno.ENOSPC, "sync_dir", contains="/@/chain", times=50)
    one = agent(folder, "one", client, files=InterceptedFiles(SYSTEM_FILES, fails))
    with pytest.raises(StoreUnavailable):
        one.move_authority("table", single_host=True)
    done: list[str] = []
    watched = InterceptedFiles(SYSTEM_FILES, lambda call: done.append(f"{call.op} {call.path}"))
    real = TableStore.put_over

    def put_over(self: TableStore, resource: Resource, record: Record, before: Record | None) -> Appended | Beaten:
        done.append("import")
        return real(self, resource, record, before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableStore, "put_over", put_over)
        agent(folder, "other", client, files=watched).document(NAME).read()
    assert any(line.startswith("sync_dir") and line.endswith("/chain") for line in done[: done.index("import")])


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_directory_that_does_not_answer_is_told_of_by_name(folder: Path, client: Client, code: int) -> None:
    """Seed 8 of ``moving``: a raw OSError came out of opening a workspace with a table."""
    files = InterceptedFiles(SYSTEM_FILES, FailAt(code, "stat", contains=".coordinator", times=50))
    with pytest.raises(StoreUnavailable):
        agent(folder, "one", client, files=files)


def test_several_leases_are_decided_by_the_clock_of_the_store_that_has_them(folder: Path) -> None:
    """Seed 84 of ``names``: the time was the mount's, the record the table's: a lease in use was stolen."""
    client = Client(Items(), behind_s=3600)
    one, other = agent(folder, "one", client), agent(folder, "other", client)
    other.move_authority("table", single_host=True)
    with other.lease("deploy/prod", ttl=60) as held:
        with pytest.raises(LeaseHeld):
            one.lease_many(["deploy/prod", "deploy/test"], ttl=60)
        held.check()
