"""Frozen logs: what an earlier version appended is read, and the same is written today."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from support import an_id

from coordinator import Workspace
from coordinator.log.frame import encode, scan
from coordinator.log.opening import After, LogName, file_name, opening_payload, parse_opening
from coordinator.log.reader import LogReader, Position
from coordinator.names import Resource

HERE: Final = Path(__file__).parent / "log"
RESOURCE: Final = Resource.parse('reports/"ü".json')
NAMES: Final = [LogName("builder@ci.example", an_id(510), segment) for segment in (1, 2)]
OPERATIONS: Final = [
    b'{"seq":1,"id":"op-1","at":1790000000000,"op":{"do":"merge","patch":{"n":1}}}',
    '{"seq":2,"id":"op-2","at":1790000000001,"op":{"do":"patch","patch":[{"op":"add","path":"/ü","value":null}]}}'.encode(),
    b'{"seq":3,"id":"op-3","at":1790000000002,"op":{"do":"task.claim","task":"a","ttl_ms":1000},"again":true}',
    b'{"seq":4,"id":"op-4","at":1790000000003,"op":{"do":"merge","patch":{"n":12345678901234567890}},"exact":true}',
]
END: Final = b'{"end":{"seq":4}}'


def segments_today() -> list[bytes]:
    """The same log, as it would be written now."""
    found = []
    after = None
    for name, payloads in zip(NAMES, [OPERATIONS[:2], [*OPERATIONS[2:], END]], strict=True):
        data, chain = encode(opening_payload(name, RESOURCE, after), 0)
        for payload in payloads:
            line, chain = encode(payload, chain)
            data += line
        after = After(name.segment, len(data), chain)
        found.append(data)
    return found


def test_the_same_is_written_today() -> None:
    assert [(HERE / file_name(name)).read_bytes() for name in NAMES] == segments_today()


def test_a_frozen_log_is_read(tmp_path: Path) -> None:
    Workspace.init(tmp_path)
    member = Workspace(tmp_path)._member
    folder = member.places.of(RESOURCE, "log")
    shutil.copytree(HERE, folder)
    batch = LogReader(member, RESOURCE).read({})
    assert batch.damaged == []
    assert batch.orphans == []
    assert len(batch.logs) == 1
    size_bytes = os.path.getsize(f"{folder}/{file_name(NAMES[1])}")
    chain = scan(segments_today()[1], 0).chain
    after = Position(NAMES[1].agent, NAMES[1].incarnation, 2, size_bytes, chain, 4, "ended")
    assert batch.logs[0] == (None, after, OPERATIONS, True)


def test_what_the_frozen_openings_say() -> None:
    openings = [parse_opening(scan((HERE / file_name(name)).read_bytes(), 0).payloads[0]) for name in NAMES]
    assert openings[0] == (1, NAMES[0], RESOURCE, None, 0, 0)
    assert openings[1] is not None
    assert openings[1].after == (1, 408, 0xEAE95397)
