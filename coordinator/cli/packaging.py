"""The two zips that Lambda is given: what is in them, where it comes from, and nothing else.

Wheels are fetched by pip for the architecture and the Python of the function, whatever this machine has; nothing is
built here, and nothing of this environment gets in but our own modules. What is left out is listed below, by name. The
same inputs make the same bytes: names are sorted, and times and permissions are fixed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import coordinator
from coordinator.errors import BadValue, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PYTHON: Final = "3.13"  # as infra/template.yaml has it
ARCHITECTURES: Final = {"arm64": "manylinux2014_aarch64", "x86_64": "manylinux2014_x86_64"}
MODULES_OF: Final = "lambdas"
_DISTRIBUTION: Final = "agent-coordinator"
_BASE: Final = ("aws-lambda-powertools", "jsonpatch", "orjson")
# boto3 is not among them: Lambda's own is used (docs/decisions/0011-packaging.md).
REQUIREMENTS: Final = {"compactor": (*_BASE, "portalocker"), "coordinator": (*_BASE, "pydantic")}

# What wheels bring along and no function imports. ``*`` matches across folders.
_UNNEEDED: Final = (
    "*.dist-info/*",  # nothing here asks importlib.metadata; tests/unit/cli/test_cli_package.py imports the handlers
    "bin/*",
    "*-stubs/*",
    "*.pyi",
    "*/py.typed",
    "*/tests/*",
    "*/__pycache__/*",
    "*.pth",
    "annotated_types/test_cases.py",
    "jsonpatch_cli.py",
    "portalocker/redis.py",
    "pydantic/mypy.py",
    "pydantic/v1/*",
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.js",
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.css",
    *(
        f"aws_lambda_powertools/utilities/{name}/*"
        for name in (
            "auth_alpha",
            "batch",
            "circuit_breaker",
            "data_masking",
            "feature_flags",
            "idempotency",
            "kafka",
            "parameters",
            "parser",
            "streaming",
            "validation",
        )
    ),
)
_UNNEEDED_BY: Final = {
    "compactor": (
        "aws_lambda_powertools/event_handler/*",
        "aws_lambda_powertools/utilities/data_classes/*",
        "coordinator/remote/*",
    ),
    "coordinator": ("coordinator/remote/*",),
}
_NOT_OURS: Final = (  # rooms that are for people, or for tests
    "coordinator/cli/*",
    "coordinator/demo/*",
    "coordinator/stress/*",
    "coordinator/testing/*",
    "coordinator/service/local.py",
    "coordinator/service/sandbox.py",
    "coordinator/service/serving.py",
    "coordinator/processes.py",
    "coordinator/__main__.py",
)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can tell
_FILE_MODE: Final = 0o100644


class Package(NamedTuple):
    """A zip that was made.

    Attributes:
        function: Which.
        architecture: For which.
        path: Where.
        files: How many are in it.
        zipped_bytes: Its size; Lambda takes 50 MB, uploaded directly (AWS).
        unpacked_bytes: What is in it; Lambda takes 250 MB (AWS).
    """

    function: str
    architecture: str
    path: str
    files: int
    zipped_bytes: int
    unpacked_bytes: int


def package(
    out: Path, architectures: Sequence[str], *, python: str = PYTHON, functions: Sequence[str] = tuple(REQUIREMENTS)
) -> list[Package]:
    """Makes the functions' zips.

    Args:
        out: Where: ``<out>/<architecture>/<function>.zip``, and ``<out>/<function>.zip``, which is what
            infra/template.yaml names: the same as of the first architecture.
        architectures: ``arm64``, ``x86_64``.
        python: Version of the functions' runtime.
        functions: Which; default: both.

    Raises:
        BadValue: There is no such architecture.
        WorkspaceError: The functions' entries, or pip, are not here; or wheels cannot be had.
    """
    for unknown in set(architectures) - set(ARCHITECTURES):
        known = ", ".join(ARCHITECTURES)
        raise BadValue(f"{unknown!r} is neither of {known}", argument="arch", value=unknown, hint=f"one of {known}")
    entries = _entries(functions)
    made = []
    for architecture in dict.fromkeys(architectures):
        for function in sorted(functions):
            with tempfile.TemporaryDirectory(prefix="coordinator-package-") as folder:
                _fetch(_requirements(function), ARCHITECTURES[architecture], python, folder)
                wanted = dict(_wanted(Path(folder), function, entries))
                path = out / architecture / f"{function}.zip"
                made.append(_zip(path, wanted, function, architecture))
    for one in made:
        if one.architecture == architectures[0]:
            shutil.copyfile(one.path, out / f"{one.function}.zip")
    return made


def _entries(functions: Sequence[str]) -> Path:
    """The folder with the functions' entries: a package of the repository, and in no wheel."""
    found = Path(coordinator.__file__).parents[1] / MODULES_OF
    missing = [path for name in functions if not (path := found / name / "handler.py").is_file()]
    if missing:
        raise WorkspaceError(
            f"the functions' entries are not here: there is no {missing[0]}",
            path=str(found),
            hint="they are not in the wheel: package from a clone of the repository (pip install -e .)",
        )
    return found


def _requirements(function: str) -> list[str]:
    """Names with versions, as this distribution asks for them."""
    try:
        asked = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        raise WorkspaceError(
            f"{_DISTRIBUTION} is not installed, so the versions that it needs are not known",
            path="",
            hint="pip install -e .",
        ) from None
    plain = [text.split(";", 1)[0].strip() for text in asked]
    found = {name: text for text in plain for name in REQUIREMENTS[function] if _is_named(text, name)}
    return [found.get(name, name) for name in REQUIREMENTS[function]]


def _is_named(text: str, name: str) -> bool:
    return text.startswith(name) and not text[len(name) : len(name) + 1].isalnum() and text[len(name) :][:1] != "-"


def _fetch(requirements: Sequence[str], platform: str, python: str, folder: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise WorkspaceError(
            "pip is not installed here, and the wheels are fetched by it", path="", hint="python -m ensurepip"
        )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", folder, "--platform", platform, "--python-version", python]
    command += ["--implementation", "cp", "--only-binary=:all:", "--", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise WorkspaceError(
            f"pip cannot fetch {', '.join(requirements)} for {platform}, Python {python}: {' '.join(said)[:400]}",
            path="",
            hint="is the index to be reached from here?",
        )


# ── what goes in ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted(wheels: Path, function: str, entries: Path) -> Iterator[tuple[str, Path]]:
    """Names in the zip, and where each comes from."""
    unneeded = (*_UNNEEDED, *_UNNEEDED_BY[function])
    for name, path in _below(wheels):
        if not any(fnmatch(name, pattern) for pattern in unneeded):
            yield name, path
    for name, path in _below(Path(coordinator.__file__).parent):
        ours = f"coordinator/{name}"
        if name.endswith(".py") and not any(fnmatch(ours, pattern) for pattern in (*_NOT_OURS, *unneeded)):
            yield ours, path
    for name, path in _below(entries):
        if name.endswith(".py") and name.split("/", 1)[0] in {"__init__.py", function}:
            yield f"{MODULES_OF}/{name}", path


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = Path(root) / name
            yield path.relative_to(folder).as_posix(), path


def _zip(path: Path, wanted: dict[str, Path], function: str, architecture: str) -> Package:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".zip.new")
    unpacked_bytes = 0
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(wanted):
            data = wanted[name].read_bytes()
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # permissions are told as on Unix, wherever this runs
            info.external_attr = _FILE_MODE << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED, 9)
            unpacked_bytes += len(data)
    aside.replace(path)
    return Package(function, architecture, str(path), len(wanted), path.stat().st_size, unpacked_bytes)
