"""Frozen bytes: what an earlier version wrote is read, and the same is written today."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pytest
from support import NOW_MS, an_id, mount_kind, put_by_hand

from coordinator import NewerFormat, Workspace
from coordinator.files import SYSTEM_FILES
from coordinator.names import Resource
from coordinator.record.format import Format, read_format
from coordinator.record.record import Head, Holding, Record, Waiter, decode, encode

HERE: Final = Path(__file__).parent
RECORDS: Final = (HERE / "records.txt").read_text(encoding="ascii").splitlines()
RESOURCE: Final = Resource.parse("tasks.json")
ADOPTED_SHA256: Final = "45928edf8c4cb00069216a7ff458840ea77d514ba225fc592b8773b29e84ad5c"
ADOPTED: Final = b'{"tasks": []}\n'


@pytest.mark.parametrize("n", range(1, len(RECORDS) + 1))
def test_a_frozen_record_is_read_and_written_as_it_was(n: int) -> None:
    text = RECORDS[n - 1]
    record = decode(text, resource="tasks.json", path="golden")
    assert record.n == n
    assert encode(record) == text


def test_what_the_frozen_records_say() -> None:
    records = [decode(text, resource="tasks.json", path="golden") for text in RECORDS]
    kinds = "commit grant ask renew commit detach resume release grant ask leave floor break"
    assert [record.kind for record in records] == kinds.split()
    assert records[8] == Record(
        n=9,
        kind="grant",
        why="free",
        request=an_id(1009),
        agent="builder@ci",
        incarnation=an_id(510),
        at_ms=NOW_MS + 15_100,
        lease=Holding(
            fence=9,
            lease_id=an_id(1009),
            agent="builder@ci",
            incarnation=an_id(510),
            ttl_ms=900_000,
            granted_ms=NOW_MS + 15_100,
            renewed_ms=NOW_MS + 15_100,
            dead_by_ms=NOW_MS + 60_000,
        ),
        head=Head(2, 5, an_id(510), records[4].head.sha256 if records[4].head else "", 15, 2),
    )
    assert records[2].waiting == (Waiter(an_id(1003), NOW_MS + 200),)
    assert records[5].lease is not None
    assert records[5].lease.detached
    assert records[12].freed_ms == NOW_MS + 15_500
    assert records[12].floor == 3


def test_a_frozen_chain_is_carried_on(tmp_path: Path) -> None:
    kind = mount_kind(tmp_path, "symlink")
    os.makedirs(kind.chain(RESOURCE))
    for n, text in enumerate(RECORDS, 1):
        put_by_hand(kind, RESOURCE, n, text)
    workspace = Workspace(tmp_path, agent="newcomer")
    status = workspace.status_of("tasks.json")
    assert (status.state, status.revision, status.waiting) == ("free", 2, 0)
    with workspace.lease("tasks.json") as lease:
        assert lease.fence == len(RECORDS) + 1
    assert [record.n for record in workspace.history("tasks.json")] == list(range(3, len(RECORDS) + 3))  # floor 3


def test_a_frozen_history_segment_is_read(tmp_path: Path) -> None:
    kind = mount_kind(tmp_path, "symlink")
    state = os.path.dirname(kind.chain(RESOURCE))
    os.makedirs(kind.chain(RESOURCE))
    os.makedirs(f"{state}/history")
    segment = (HERE / "history.log").read_bytes()
    Path(f"{state}/history/000000000001-000000000004-{an_id(7)}.log").write_bytes(segment)
    for n in range(5, len(RECORDS) + 1):
        put_by_hand(kind, RESOURCE, n, RECORDS[n - 1])
    assert [encode(record) for record in kind.open().history(RESOURCE)] == RECORDS


def test_a_history_segment_is_written_as_it_was(tmp_path: Path) -> None:
    kind = mount_kind(tmp_path, "symlink")
    state = os.path.dirname(kind.chain(RESOURCE))
    os.makedirs(kind.chain(RESOURCE))
    for n in range(1, 7):  # the floor of these is 1
        put_by_hand(kind, RESOURCE, n, RECORDS[n - 1])
    author = Workspace(tmp_path, agent="collector")._member.author()
    assert kind.open().collect(RESOURCE, author, keep=2) == 4
    (name,) = os.listdir(f"{state}/history")
    assert re.fullmatch(r"000000000001-000000000004-[a-z2-7]{20}\.log", name)
    assert Path(f"{state}/history/{name}").read_bytes() == (HERE / "history.log").read_bytes()


def test_the_frozen_format_is_read(tmp_path: Path) -> None:
    state = tmp_path / ".coordinator"
    for folder in ("resources", "clock", "scratch"):
        (state / folder).mkdir(parents=True)
    (state / "format.json").write_bytes((HERE / "format.json").read_bytes())
    assert read_format(SYSTEM_FILES, str(tmp_path)) == Format(
        format=1,
        min_reader=1,
        min_writer=1,
        workspace_id="zskorxs75vvaoe7mcdob",
        primitive="symlink",
        authority={"mode": "mount", "epoch": 1},
        made_by="agent-coordinator 0.1.0",
        made_ms=NOW_MS,
    )
    with Workspace(tmp_path, agent="a").lease("deploy/prod") as lease:
        assert lease.fence == 1


def test_the_format_is_written_as_it_was(tmp_path: Path) -> None:
    made = Workspace.init(tmp_path, agent="a", primitive="symlink").format
    written = (tmp_path / ".coordinator" / "format.json").read_text(encoding="ascii")
    golden = (HERE / "format.json").read_text(encoding="ascii")
    for name in ("workspace_id", "made_by", "made_ms"):  # the only ones that differ from one workspace to the next
        frozen = json.loads(golden)[name]
        written = written.replace(json.dumps(asdict(made)[name]), json.dumps(frozen))
    assert written == golden


@pytest.mark.parametrize(("field", "opens"), [("min_reader", False), ("min_writer", True)])
def test_a_newer_format_is_refused_for_what_it_forbids(tmp_path: Path, field: str, opens: bool) -> None:
    Workspace.init(tmp_path, agent="a").lease("x").release()
    path = tmp_path / ".coordinator" / "format.json"
    told = json.loads(path.read_bytes())
    path.write_text(json.dumps({**told, field: 2, "format": 2, "shards": 16}), encoding="ascii")
    if not opens:
        with pytest.raises(NewerFormat) as caught:
            Workspace(tmp_path)
        assert (caught.value.needs, caught.value.have) == (2, 1)
        return
    workspace = Workspace(tmp_path)
    assert workspace.status_of("x").state == "free"
    with pytest.raises(NewerFormat):
        workspace.lease("x")
    with pytest.raises(NewerFormat):
        workspace.document("y").commit(b"", if_revision=0)


def test_the_sidecar_is_written_as_it_was(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path, agent="a")
    receipt = workspace.document("tasks.json").commit(ADOPTED, if_revision=0)
    assert receipt.sha256 == ADOPTED_SHA256
    path = tmp_path / ".coordinator" / "resources" / "tasks.json" / "@" / "view.json"
    written, golden = path.read_text(encoding="ascii"), (HERE / "view.json").read_text(encoding="ascii")
    at_ms = workspace.document("tasks.json").history()[0].at_ms
    assert written.replace(str(at_ms), str(NOW_MS)) == golden
