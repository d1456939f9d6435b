"""Whoever comes by a state, by folding, by following or from the files alone, has the same one (P23, P25, P26)."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from fold_support import OPS_OF_REVISIONS, content_of, everything_of
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator import Workspace
from coordinator.document import compactor as compactor_module
from coordinator.document import revision as revision_module
from coordinator.document import state as state_module
from coordinator.document.state import Loader, State
from coordinator.errors import NewerFormat, RevisionConflict
from coordinator.files import SYSTEM_FILES
from coordinator.testing import CrashFiles, InterceptedFiles, ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coordinator.document.document import Document
    from coordinator.document.receipt import OperationReceipt

NAME: Final = "tasks.json"
AGENTS: Final = 3


@contextlib.contextmanager
def small(*, checkpoint_bytes: int, ids: int = 1 << 15, file_bytes: int = 1 << 20) -> Iterator[None]:
    """The limits, so that a few operations come to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compactor_module, "CHECKPOINT_MIN_BYTES", checkpoint_bytes)
        patch.setattr(state_module, "IDS_MAX", ids)
        patch.setattr(revision_module, "FOLD_FILE_BYTES", file_bytes)
        yield


@dataclass
class Fleet:
    """Agents of one workspace on a file system in memory."""

    kind: type[CrashFiles] = CrashFiles
    clock: ManualClock = field(default_factory=ManualClock)
    documents: list[Document] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = self.kind(self.clock)
        self.files.mkdir("/shared")
        Workspace.init("/shared", agent="founder", files=self.files, clock=self.clock)
        self.documents = [self.opened(f"agent-{i}") for i in range(AGENTS)]

    def opened(self, agent: str) -> Document:
        """As a fresh process has it."""
        return Workspace("/shared", agent=agent, files=self.files, clock=self.clock).document(NAME)

    def fresh(self) -> State:
        """The state from the files alone."""
        document = self.opened("reader")
        record = document._member.store.read(document._resource)
        return Loader(document._member, document._resource).up_to(None, record)

    def submit(self, agent: int, ops: list[dict[str, Any]]) -> list[OperationReceipt]:
        return self.documents[agent].perform(ops, wait=0)

    def commit(self, agent: int, data: bytes) -> None:
        with contextlib.suppress(RevisionConflict):
            document = self.documents[agent]
            document.commit(data, if_revision=document.revision)

    def state_of(self, agent: int) -> State:
        """What an agent folded last, brought up to the newest record."""
        self.documents[agent].compact()
        state = self.documents[agent]._folding.compactor.state
        assert state is not None
        return state

    def reader_of(self, agent: int) -> State:
        """What an agent has for reading."""
        document = self.documents[agent]
        record = document._member.store.read(document._resource)
        assert record is not None
        return document._folding._up_to(record)


_TEXTS = [
    b'{"n": 1, "tasks": [{"id": "t9"}], "list": [0], "map": {"a": {}}}\n',
    b"[]",
    b"7\n",
    b"this is no JSON",
    b'{"n": 1, "n": 2}',
]
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, AGENTS - 1), st.lists(OPS_OF_REVISIONS, min_size=1, max_size=4)),
        st.tuples(st.just("fold"), st.integers(0, AGENTS - 1), st.none()),
        st.tuples(st.just("look"), st.integers(0, AGENTS - 1), st.none()),
        st.tuples(st.just("commit"), st.integers(0, AGENTS - 1), st.sampled_from(_TEXTS)),
    ),
    min_size=4,
    max_size=20,
)


def play(fleet: Fleet, steps: Sequence[tuple[str, int, Any]]) -> None:
    """Carries the steps out; whoever looks is compared with what stands in the files."""
    for step, agent, what in steps:
        if step == "submit":
            fleet.submit(agent, what)
        elif step == "commit":
            fleet.commit(agent, what)
        elif step == "fold":
            fleet.documents[agent].compact()
        elif fleet.documents[agent].revision:
            assert everything_of(fleet.reader_of(agent)) == everything_of(fleet.fresh())
    for agent in range(AGENTS):
        assert everything_of(fleet.state_of(agent)) == everything_of(fleet.fresh())
        if fleet.documents[agent].revision:
            assert everything_of(fleet.reader_of(agent)) == everything_of(fleet.fresh())


@settings(max_examples=60)
@given(STEPS)
def test_folded_followed_and_loaded_states_are_the_same(steps: list[tuple[str, int, Any]]) -> None:
    play(Fleet(), steps)


@settings(max_examples=60)
@given(STEPS, st.sampled_from([0, 300, 1500]))
def test_with_checkpoints_too(steps: list[tuple[str, int, Any]], checkpoint_bytes: int) -> None:
    with small(checkpoint_bytes=checkpoint_bytes, file_bytes=2000):
        play(Fleet(), steps)


@settings(max_examples=40)
@given(STEPS)
def test_and_with_few_ids_to_remember(steps: list[tuple[str, int, Any]]) -> None:
    with small(checkpoint_bytes=1000, ids=4):
        play(Fleet(), steps)


class Backwards(CrashFiles):
    """Lists directories the other way round."""

    def listdir(self, path: str) -> list[str]:
        return super().listdir(path)[::-1]


@settings(max_examples=40)
@given(STEPS)
def test_the_order_in_which_a_directory_lists_does_not_matter(steps: list[tuple[str, int, Any]]) -> None:
    """The same steps, with the same incarnations."""
    told = []
    for kind in (CrashFiles, Backwards):
        fleet = Fleet(kind)
        with _same_ids():
            for step, agent, what in steps:
                if step == "submit":
                    fleet.submit(agent, what)
                elif step == "fold":
                    fleet.documents[agent].compact()
            told.append(json.dumps([content_of(fleet.state_of(0)), fleet.state_of(0).ids]))
    assert told[0] == told[1]


@contextlib.contextmanager
def _same_ids() -> Iterator[None]:
    """Ids that are drawn in the same order are the same."""
    from support import an_id

    from coordinator.document import document as document_module
    from coordinator.log import segments as segments_module

    drawn = iter(range(1000, 10**6))
    with pytest.MonkeyPatch.context() as patch:
        for module in (document_module, segments_module):
            patch.setattr(module, "new_id", lambda: an_id(next(drawn)))
        yield


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def append_to_list(number: int) -> dict[str, Any]:
    return {"do": "patch", "patch": [{"op": "add", "path": "/list/-", "value": number}]}


def retried(document: Document, receipt: OperationReceipt, number: int) -> OperationReceipt:
    return document.perform([append_to_list(number)], ids=[receipt.op_id], wait=5)[0]


@pytest.mark.parametrize("checkpoint_bytes", [0, 1 << 20], ids=["checkpoints", "none"])
@pytest.mark.parametrize("ids", [3, 1 << 15], ids=["few ids", "all ids"])
def test_a_retry_from_a_new_process_is_recognised_through_checkpoints(checkpoint_bytes: int, ids: int) -> None:
    """Ids that are no longer carried are looked up in the lines that are kept."""
    with small(checkpoint_bytes=checkpoint_bytes, ids=ids):
        fleet = Fleet()
        fleet.commit(0, b'{"list": []}')
        receipts = []
        for number in range(12):
            receipts += fleet.documents[number % AGENTS].perform([append_to_list(number)], wait=5)
        assert [receipt.state for receipt in receipts] == ["applied"] * 12
        for number, receipt in enumerate(receipts):
            again = retried(fleet.opened("late"), receipt, number)
            assert (again.state, again.revision, again.again) == ("applied", receipt.revision, True)
        assert fleet.opened("reader").read_json() == {"list": list(range(12))}


def test_a_rejection_is_told_again_with_its_reason() -> None:
    fleet = Fleet()
    fleet.commit(0, b'{"list": []}')
    op = {"do": "patch", "patch": [{"op": "test", "path": "/list", "value": 1}]}
    first = fleet.documents[0].perform([op], wait=5)[0]
    again = fleet.opened("late").perform([op], ids=[first.op_id], wait=5)[0]
    assert (again.state, again.why, again.text, again.facts) == (first.state, first.why, first.text, first.facts)
    assert (first.state, first.again, again.again) == ("rejected", False, True)


def test_whole_content_committed_in_between_does_not_make_ids_forgotten() -> None:
    fleet = Fleet()
    fleet.commit(0, b'{"list": []}')
    receipt = fleet.documents[1].perform([append_to_list(1)], wait=5)[0]
    for _ in range(3):
        fleet.commit(0, b'{"list": ["whole"]}')
    assert retried(fleet.opened("late"), receipt, 1).again
    assert fleet.opened("reader").read_json() == {"list": ["whole"]}


# ── what cannot be folded ────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_published_of_a_fold_with_an_unknown_operation(tmp_path: Path) -> None:
    """No record, no fold line, no state kept: not for the process that tried it, nor for any other."""
    written: list[str] = []
    files = InterceptedFiles(SYSTEM_FILES, lambda call: written.append(f"{call.op} {call.path}"))
    Workspace.init(tmp_path, agent="founder")
    folder = Workspace(tmp_path, agent="folder", files=files).document(NAME)
    folder.perform([{"do": "merge", "patch": {"n": 1}}], wait=5)
    newer = Workspace(tmp_path, agent="newer").document(NAME)
    newer.perform([{"do": "merge", "patch": {"m": 1}}, {"do": "dance"}], wait=0)
    del written[:]
    for _ in range(2):
        with pytest.raises(NewerFormat) as caught:
            folder.compact()
        assert caught.value.fields["agent"] == "newer"
    assert [call for call in written if call.startswith(("symlink", "write", "create", "rename"))] == []
    assert (folder.revision, folder.read_json()) == (1, {"n": 1})
    assert Workspace(tmp_path, agent="reader").document(NAME).read_json() == {"n": 1}
