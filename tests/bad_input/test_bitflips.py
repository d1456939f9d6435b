"""Every file of a small workspace with a bit flipped, or cut: the right answer or a clear refusal, never a wrong one.

Not here: the plain file, for whatever stands in it was written by somebody, and is taken for an edit (P17); and what is
in ``log/`` and not folded yet (test_logs_damaged.py).
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from log_world import NAME, QUICK, STATE, WAIT, World, fold_all, submit

from coordinator import Workspace
from coordinator.document import compactor as compactor_module
from coordinator.document import folding as folding_module
from coordinator.errors import CoordinatorError, CorruptRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED: Final = 20260705
SMALL_BYTES: Final = 260  # files that are altered at every byte
PLACES: Final = 20  # in larger ones
THOROUGH: Final = 4  # of these
NAMES: Final = ["alice-1", "bob-1", "alice-2", "bob-2", "alice-3", "bob-3"]


@dataclass
class Template:
    """A world to be copied, and what it says."""

    world: World
    primitive: str
    ids: list[str]  # of NAMES
    texts: dict[int, bytes]  # by revision

    def files(self, folder: str = "") -> list[str]:
        """Paths of what can be altered, from the root."""
        found = []
        for above, _, names in os.walk(self.world.folder / ".coordinator" / folder):
            for name in names:
                path = os.path.join(above, name)
                if os.path.islink(path) or os.path.getsize(path):
                    found.append(os.path.relpath(path, self.world.folder))
        return sorted(found)


def read_raw(path: Path) -> bytes:
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


def write_raw(path: Path, data: bytes) -> None:
    """Puts other content in the place of a file, or another target in that of a link."""
    if path.is_symlink():
        path.unlink()
        os.symlink(data, path)
    else:
        path.write_bytes(data)


def is_writable(path: Path, data: bytes) -> bool:
    """Whether there can be such a thing: a link's target is not empty, and has no NUL."""
    return not path.is_symlink() or (bool(data) and b"\0" not in data)


@pytest.fixture(scope="module", params=["symlink", "directory"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Whole commits, folds by two agents, a checkpoint, folds on it, and a plain file that is some revisions behind."""
    folder = tmp_path_factory.mktemp("flips") / "shared"
    folder.mkdir()
    founder = Workspace.init(folder, agent="founder", files=QUICK, primitive=request.param).document(NAME)
    founder.commit(b'{"list": []}\n', if_revision=0)
    world = World(folder)
    alice, bob = world.agent("alice"), world.agent("bob")
    ids = []
    with pytest.MonkeyPatch.context() as patch:
        for i, (name, document) in enumerate(zip(NAMES, itertools.cycle((alice, bob)), strict=False)):
            patch.setattr(compactor_module, "CHECKPOINT_MIN_BYTES", 0 if i == 3 else 1 << 20)
            if i == 4:  # from here on nobody refreshes the plain file: nor a refresh that is under way
                alice.refresh_view()
                bob.refresh_view()
                patch.setattr(folding_module.Folding, "refresh_now", lambda _: None)
            ids.append(submit(document, name, wait=WAIT)[0].op_id)
        for document in (alice, bob):  # ends what was put off, in another thread
            document._folding.close()
    texts = {revision: alice.at(revision) for revision in range(1, alice.revision + 1)}
    assert texts[alice.revision] == (b'{"list": [%b]}\n' % ", ".join(f'"{name}"' for name in NAMES).encode())
    assert (folder / NAME).read_bytes() not in {texts[alice.revision], texts[1]}
    assert b'"full"' in b"".join(path.read_bytes() for path in (folder / STATE / "fold").glob("*"))
    return Template(world, request.param, ids, texts)


class Trial:
    """One altered copy."""

    numbers = itertools.count()

    def __init__(self, template: Template, folder: Path, file: str, data: bytes) -> None:
        self.template, self.file = template, file
        self.world = template.world.copied(folder / f"{next(self.numbers)}")
        write_raw(self.world.folder / file, data)

    def troubles(self, *, thorough: bool) -> Iterator[str]:
        """Everything that is neither right nor a clear refusal."""
        documents: list[Any] = []
        steps = [("reading", self._read)]
        if thorough:
            steps += [
                ("reading again", self._read),
                ("an older revision", self._older),
                ("a retry", self._retry),
                ("an update", self._update),
                ("reading after it", self._read_after),
            ]
        for step, call in steps:
            try:
                yield from (f"{step}: {trouble}" for trouble in call(documents))
            except CoordinatorError as error:
                if not str(error) or not error.hint:
                    yield f"{step} is refused without a hint: {error!r}"
            except Exception as error:  # noqa: BLE001 - that is what is asked
                yield f"{step} raised {error!r}"
        for document in documents:
            document.close()
        shutil.rmtree(self.world.folder, ignore_errors=True)  # a view may be on its way yet

    def _opened(self, documents: list[Any], agent: str) -> Any:
        document = self.world.agent(agent)
        documents.append(document)
        return document

    def _read(self, documents: list[Any]) -> Iterator[str]:
        found = self._opened(documents, "reader").read_json()
        if found != {"list": NAMES}:
            yield f"found {found}"

    def _older(self, documents: list[Any]) -> Iterator[str]:
        document = self._opened(documents, "historian")
        for revision, text in self.template.texts.items():
            try:
                found = document.at(revision)
            except CoordinatorError:
                continue  # collected, as far as it can be told
            if found != text:
                yield f"revision {revision} is {found!r}, and was {text!r}"

    def _retry(self, documents: list[Any]) -> Iterator[str]:
        document = self._opened(documents, "late")
        for name, op_id in list(zip(NAMES, self.template.ids, strict=True))[::2]:
            receipt = submit(document, name, ids=[op_id], wait=WAIT)[0]
            if (receipt.state, receipt.again) != ("applied", True):
                yield f"of {name}: {receipt}"
        yield from self._read(documents)

    def _update(self, documents: list[Any]) -> Iterator[str]:
        document = self._opened(documents, "carol")
        receipt = submit(document, "carol-1", wait=WAIT)[0]
        fold_all(document)
        if receipt.state != "applied" or document.read_json() != {"list": [*NAMES, "carol-1"]}:
            yield f"{receipt}, and then {document.read_json()}"

    def _read_after(self, documents: list[Any]) -> Iterator[str]:
        found = self._opened(documents, "reader").read_json()
        if found not in ({"list": NAMES}, {"list": [*NAMES, "carol-1"]}):
            yield f"found {found}"


class Case(NamedTuple):
    """One alteration."""

    file: str
    label: str
    data: bytes
    thorough: bool = True


def check(template: Template, folder: Path, cases: Iterator[Case]) -> int:
    found, count = [], 0
    for file, label, data, thorough in cases:
        if is_writable(template.world.folder / file, data):
            count += 1
            troubles = Trial(template, folder, file, data).troubles(thorough=thorough)
            found += [f"{file}, {label}: {trouble}" for trouble in troubles]
    assert not found, f"seed {SEED}, {len(found)} in {count}:\n" + "\n".join(found[:40])
    return count


def cases_of(template: Template, files: list[str], kind: str) -> Iterator[Case]:
    """Small files altered at every byte, larger ones at some; the whole programme at a few of them."""
    for file in files:
        raw = read_raw(template.world.folder / file)
        chance = random.Random(f"{SEED}{kind}{len(raw)}")
        places = list(range(len(raw)))
        chosen = sorted(places if len(raw) <= SMALL_BYTES else chance.sample(places, PLACES))
        thorough = set(chance.sample(chosen, min(THOROUGH, len(chosen))))
        for at in chosen:
            label, data = f"cut at {at}", raw[:at]
            if kind == "flip":
                bit = 1 << chance.randrange(8)
                label, data = f"bit {bit} flipped at {at}", raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
            yield Case(file, label, data, thorough=at in thorough)


def test_unaltered_it_gives_the_right_answers(template: Template, tmp_path: Path) -> None:
    file = f"{STATE}/view.json"
    case = Case(file, "unaltered", read_raw(template.world.folder / file))
    assert check(template, tmp_path, iter([case])) == 1


def test_the_files_are_of_every_kind(template: Template) -> None:
    kinds = {file.removeprefix(f"{STATE}/").split("/", maxsplit=1)[0] for file in template.files()}
    assert {"chain", "fold", "log", "shown", "snap", "view.json", ".coordinator"} <= kinds


@pytest.mark.parametrize("kind", ["flip", "cut"])
def test_every_file_altered(template: Template, tmp_path: Path, kind: str) -> None:
    """With records as directories, only these: the other files are the same."""
    files = [file for file in template.files() if template.primitive == "symlink" or "/@/chain/" in file]
    check(template, tmp_path, cases_of(template, files, kind))


def test_files_taken_away(template: Template, tmp_path: Path) -> None:
    """But for the newest record, where that is a link: without it, it is as if that revision had never been."""
    found = []
    newest = max(file for file in template.files() if "/@/chain/" in file)
    for file in template.files():
        if file == newest and template.primitive == "symlink":
            continue
        trial = Trial(template, tmp_path, file, read_raw(template.world.folder / file))
        (trial.world.folder / file).unlink()
        found += [f"without {file}: {trouble}" for trouble in trial.troubles(thorough=True)]
    assert not found, "\n".join(found)


def test_without_its_newest_record_a_document_is_at_the_one_before_and_updates_are_not_done_twice(
    template: Template, tmp_path: Path
) -> None:
    """Nobody can tell that it was there; but what it folded stands in the logs still, and is folded again."""
    file = max(file for file in template.files() if "/@/chain/" in file)
    world = template.world.copied(tmp_path / "copy")
    (world.folder / file).unlink()
    if template.primitive == "directory":  # its directory is there still, so that somebody can tell
        with pytest.raises(CorruptRecord):
            world.list()
        return
    assert world.list() == NAMES[:-1]
    document = world.agent("carol")
    fold_all(document)
    assert document.read_json() == {"list": NAMES}


def test_receipts_of_a_retry_are_never_read_from_a_damaged_line(template: Template, tmp_path: Path) -> None:
    """Each fold line, altered where it tells the outcome: the retry is told from what is whole, or refused."""
    cases = []
    for file in template.files("resources"):
        if "/@/fold/" in file:
            raw = read_raw(template.world.folder / file)
            for word, other in ((b'"applied"', b'"applie!"'), (b'"applied"', b'"applied,'), (b"\t[", b"\t{")):
                at = raw.find(word)
                while at >= 0:
                    data = raw[:at] + other + raw[at + len(word) :]
                    cases.append(Case(file, f"{other!r} at {at}", data))
                    at = raw.find(word, at + 1)
    assert check(template, tmp_path, iter(cases)) >= 3 * len(NAMES)
