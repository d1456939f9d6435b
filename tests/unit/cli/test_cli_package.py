"""``coordinator package``: what is in the zips, that it suffices, and that the same inputs make the same bytes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import coordinator
from coordinator.cli import packaging
from coordinator.errors import BadValue, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Answer

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
BOTH = {"aws_lambda_powertools", "coordinator", "jmespath", "jsonpatch.py", "jsonpointer.py", "lambdas", "orjson"}
CONTENTS = {
    "compactor": {*BOTH, "portalocker", "typing_extensions.py"},
    "coordinator": {
        *BOTH,
        "annotated_types",
        "pydantic",
        "pydantic_core",
        "typing_extensions.py",
        "typing_inspection",
    },
}
UNWANTED = (
    "boto",
    "pip/",
    "typer",
    "rich",
    "test",
    "/cli/",
    "/demo/",
    "dist-info",
    ".pyc",
    ".pyi",
    "swagger_ui/swagger",
)


@pytest.fixture(scope="module", params=sorted(CONTENTS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> packaging.Package:
    """For the Python that runs here, so that what was made can be imported here."""
    out = tmp_path_factory.mktemp("dist")
    try:
        found = packaging.package(out, ["x86_64"], python=RUNNING, functions=[request.param])
    except WorkspaceError as error:
        if "pip" not in error.message:
            raise
        pytest.skip(f"no wheels can be had here: {error}")
    assert (out / f"{request.param}.zip").read_bytes() == Path(found[0].path).read_bytes()  # what the template names
    return found[0]


def test_nothing_is_in_it_that_is_not_needed(made: packaging.Package) -> None:
    with zipfile.ZipFile(made.path) as archive:
        names = archive.namelist()
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}
    assert {name.split("/", 1)[0] for name in names} == CONTENTS[made.function]
    assert [name for name in names if any(each in name for each in UNWANTED)] == []
    assert names == sorted(names)
    other = next(iter(CONTENTS.keys() - {made.function}))
    assert not [name for name in names if name.startswith(f"lambdas/{other}/")]
    assert made.files == len(names)
    assert made.unpacked_bytes < 12e6


def test_the_handler_needs_nothing_that_is_not_in_it(made: packaging.Package, tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip(f"wheels for x86_64 Linux cannot be loaded on {platform.machine()} {sys.platform}")
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]);"
        f"import lambdas.{made.function}.handler as it;"
        "assert callable(it.handler);"
        "print(json.dumps([getattr(m, '__file__', None) for m in list(sys.modules.values())]))"
    )
    names = ("PATH", "LD_LIBRARY_PATH")
    needed = {
        "POWERTOOLS_SERVICE_NAME": "coordinator",
        "COORDINATOR_TABLE": "table",
        "COORDINATOR_WORKSPACE": "main",
        "COORDINATOR_COMPACTOR_FUNCTION": "compactor",
        "COORDINATOR_AGENTS": "{}",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)],  # -S: nothing that is installed here
        capture_output=True,
        text=True,
        check=False,
        env={**{name: os.environ[name] for name in names if name in os.environ}, **needed},
    )
    assert done.returncode == 0, done.stderr
    files = [file for file in json.loads(done.stdout) if file and "site-packages" in file]
    assert files == []


def test_the_same_inputs_make_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("a = 1\n")
    other.write_text("b = 2\n")
    first = packaging._zip(tmp_path / "1.zip", {"b.py": other, "a.py": one}, "compactor", "arm64")
    os.utime(one, (1e9, 1e9))
    other.chmod(0o700)
    second = packaging._zip(tmp_path / "2.zip", {"a.py": one, "b.py": other}, "compactor", "arm64")
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()


def test_without_the_repository_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "__file__", str(tmp_path / "site-packages" / "coordinator" / "x.py"))
    with pytest.raises(WorkspaceError, match="not in the wheel"):
        packaging.package(tmp_path / "out", ["arm64"])
    assert not (tmp_path / "out").exists()


def test_wheels_that_cannot_be_had_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(WorkspaceError, match=r"cannot fetch .* for manylinux2014_aarch64"):
        packaging.package(tmp_path / "out", ["arm64"])
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="arm64, x86_64"):
        packaging.package(tmp_path, ["riscv"])


def test_the_command_tells_sizes(call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def stand_in(out: Path, architectures: list[str], *, python: str) -> list[packaging.Package]:
        asked.append((str(out), architectures, python))
        return [packaging.Package("compactor", "arm64", "x.zip", 3, 1_500_000, 4_000_000)]

    monkeypatch.setattr(packaging, "package", stand_in)
    answer = call("package", "--out", str(tmp_path), "--json")
    assert answer.value["packages"][0]["zipped_bytes"] == 1_500_000
    assert "1.50 MB" in call("package", "--arch", "x86_64", "--python-version", "3.12").out
    assert asked == [
        (str(tmp_path), ["arm64", "x86_64"], "3.13"),
        ("dist/lambda", ["x86_64"], "3.12"),
    ]
    assert call("package", "--arch", "sparc").status == 2


def test_each_requirement_is_asked_for_as_the_distribution_does() -> None:
    assert packaging._is_named("orjson>=3.10", "orjson")
    assert not packaging._is_named("pydantic-settings>=2", "pydantic")
    assert not packaging._is_named("orjsonx", "orjson")
    assert "portalocker" in "".join(packaging._requirements("compactor"))
