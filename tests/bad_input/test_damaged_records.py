"""Records that were cut or altered: told with their path, never believed, never deleted, and nobody else's trouble."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Workspace
from coordinator.errors import CorruptRecord, NewerFormat

if TYPE_CHECKING:
    from pathlib import Path

SEED: Final = 20260702
STORED: Final = (b"one", b"two")


class Chain:
    """A document with two commits, beside one that must not notice, and its newest record to be damaged."""

    def __init__(self, folder: Path, primitive: str) -> None:
        self.folder, self.primitive = folder, primitive
        workspace = Workspace.init(folder, agent="alice", primitive=primitive)
        for name in ("tasks.json", "other.json"):
            for i, data in enumerate(STORED):
                workspace.document(name).commit(data, if_revision=i)
        chain = folder / ".coordinator/resources/tasks.json/@/chain"
        self.newest = max(chain.iterdir())
        self.text = self.get()

    def get(self) -> bytes:
        if self.primitive == "symlink":
            return os.readlink(os.fsencode(self.newest))
        return (self.newest / "record").read_bytes()

    def put(self, text: bytes) -> None:
        if self.primitive == "symlink":
            self.newest.unlink()
            os.symlink(text, os.fsencode(self.newest))
        else:
            (self.newest / "record").write_bytes(text)

    def opened(self) -> Workspace:
        """As a fresh process would see it."""
        return Workspace(self.folder, agent="bob")

    def files(self) -> set[str]:
        """All that is there, without clock files and the lock."""
        found = {str(path) for path in self.folder.rglob("*")}
        return {path for path in found if "/clock/" not in path and not path.endswith("queue.lock")}


@pytest.fixture(params=["symlink", "directory"])
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Chain:
    return Chain(tmp_path, request.param)


def refusal_of(chain: Chain, text: bytes) -> str:
    """What is wrong about how a fresh process takes a record of that text; empty when nothing is."""
    chain.put(text)
    try:
        data = chain.opened().document("tasks.json").read()
    except CorruptRecord as error:
        return "" if str(chain.newest) in str(error) and error.path == str(chain.newest) else f"no path: {error}"
    except NewerFormat as error:
        return "" if str(chain.newest) in str(error) else f"no path: {error}"
    except Exception as error:  # noqa: BLE001 - told with the text that brought it about
        return f"raised {error!r}"
    return f"was believed, and gave {data!r}"


def test_cut_at_any_byte(chain: Chain) -> None:
    shortest = 1 if chain.primitive == "symlink" else 0  # there is no symbolic link to nothing
    texts = [chain.text[:end] for end in range(shortest, len(chain.text))]
    wrong = {text: told for text in texts if (told := refusal_of(chain, text))}
    assert not wrong
    assert refusal_of(chain, chain.text).startswith("was believed")


def test_any_byte_altered(chain: Chain) -> None:
    chooser = random.Random(SEED)
    wrong = {}
    for i, byte in enumerate(chain.text):
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, chooser.randrange(1, 256)} - {byte, 0}:
            text = chain.text[:i] + bytes([other]) + chain.text[i + 1 :]
            told = refusal_of(chain, text)
            if told:
                wrong[text] = told
    assert not wrong, f"seed {SEED}"


def test_a_lengthened_record_and_one_with_a_nul_are_refused(chain: Chain) -> None:
    assert refusal_of(chain, chain.text + b"0") == ""
    assert refusal_of(chain, chain.text + b"\n") == ""
    if chain.primitive == "directory":
        assert refusal_of(chain, b"\0" + chain.text[1:]) == ""
        assert refusal_of(chain, b"\0" * len(chain.text)) == ""


def test_one_byte_that_makes_it_another_number_is_refused(chain: Chain) -> None:
    """A whole record under a number that is not its own: copied by hand."""
    copy = chain.newest.with_name(f"{int(chain.newest.name) + 1:012d}")
    if chain.primitive == "symlink":
        os.symlink(chain.text, os.fsencode(copy))
    else:
        copy.mkdir()
        (copy / "record").write_bytes(chain.text)
    with pytest.raises(CorruptRecord, match="copied or renamed") as caught:
        chain.opened().document("tasks.json").read()
    assert caught.value.path == str(copy)


def test_a_file_or_a_folder_in_the_place_of_a_link(tmp_path: Path) -> None:
    chain = Chain(tmp_path, "symlink")
    chain.newest.unlink()
    chain.newest.write_bytes(chain.text)
    with pytest.raises(CorruptRecord, match="not a symbolic link"):
        chain.opened().document("tasks.json").read()
    chain.newest.unlink()
    chain.newest.mkdir()
    with pytest.raises(CorruptRecord, match="not a symbolic link"):
        chain.opened().document("tasks.json").read()
    assert {status.state for status in chain.opened().status()} == {"damaged", "free"}


@pytest.mark.parametrize("left", ["nothing", "a folder"])
def test_a_record_folder_without_its_file_is_told_as_damage_and_hides_no_other(tmp_path: Path, left: str) -> None:
    """No crash leaves this: the primitive ``directory`` renames whole folders in, and moves them away before it empties
    them."""
    chain = Chain(tmp_path, "directory")
    (chain.newest / "record").unlink()
    if left == "a folder":
        (chain.newest / "record").mkdir()
    workspace = chain.opened()
    shown = {status.resource: status.state for status in workspace.status()}
    assert shown == {"tasks.json": "damaged", "other.json": "free"}
    assert len(workspace.collect().trouble) == 1
    with pytest.raises(CorruptRecord) as caught:
        workspace.document("tasks.json").read()
    assert str(chain.newest) in caught.value.path


def test_status_names_it_others_go_on_and_a_collection_leaves_it_alone(chain: Chain) -> None:
    chain.put(chain.text[:-9])
    workspace = chain.opened()
    before = chain.files()
    shown = {status.resource: status for status in workspace.status()}
    assert shown["tasks.json"].state == "damaged"
    assert str(chain.newest) in shown["tasks.json"].trouble
    assert (shown["other.json"].state, shown["other.json"].trouble) == ("free", "")
    collected = workspace.collect()
    assert [str(chain.newest) in trouble for trouble in collected.trouble] == [True]
    with pytest.raises(CorruptRecord):
        workspace.lease("tasks.json", ttl=1)
    with pytest.raises(CorruptRecord):
        workspace.document("tasks.json").commit(b"three", if_revision=2)
    assert chain.files() >= before, "something was deleted"
    assert chain.get() == chain.text[:-9]
    with workspace.lease("other.json", ttl=5) as lease:
        assert lease.read() == b"two"
        lease.commit(b"three")
    assert workspace.document("other.json").read() == b"three"


def test_a_damaged_record_below_the_newest_is_told_by_a_collection_and_kept(chain: Chain) -> None:
    oldest = min(chain.newest.parent.iterdir())
    newest, chain.newest = chain.newest, oldest
    chain.put(chain.get()[:40])
    workspace = chain.opened()
    assert workspace.document("tasks.json").read() == b"two"
    with pytest.raises(CorruptRecord) as caught:
        workspace.document("tasks.json").collect(keep=1)
    assert caught.value.path == str(oldest)
    assert oldest.name in os.listdir(newest.parent)
    assert newest.name in os.listdir(newest.parent)


def test_moved_aside_the_one_before_counts_for_a_fresh_process(chain: Chain, tmp_path: Path) -> None:
    chain.put(chain.text[:50])
    chain.newest.rename(tmp_path / "evidence")
    workspace = chain.opened()
    assert workspace.document("tasks.json").read() == b"one"
    with workspace.lease("tasks.json", ttl=5) as lease:
        lease.commit(b"anew")
    assert chain.opened().document("tasks.json").read() == b"anew"
