"""The building's rules: which floor may call which, who may touch files and time, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import coordinator

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = Path(coordinator.__file__).parent
MODULES: Final = sorted(str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py"))

# The floors, from the ground up. A module belongs to the longest prefix that it matches.
FLOORS: Final = {
    "limits": 0,
    "errors": 0,
    "names": 0,
    "clock": 0,
    "mounts": 0,
    "files": 0,
    "folders": 0,
    "nofiles": 0,
    "events": 0,
    "record": 1,
    "acquire": 1,
    "lease": 1,
    "together": 1,
    "log": 2,
    "document": 2,
    "invocation": 3,
    "status": 3,
    "tasks": 3,
    "workspace": 3,
    "cli": 4,
    "demo": 4,
    "processes": 4,
    "remote": 4,
    "service": 4,
    "stress": 4,
    "testing": 4,
}
PROGRAMS: Final = ("cli", "demo", "processes", "stress")  # they act as a user's program does


def floor_of(module: str) -> int:
    """The floor of a module, named relative to the package (``record/mount``)."""
    return FLOORS[module.split("/", maxsplit=1)[0]]


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def core_modules() -> list[str]:
    return [module for module in MODULES if not module.startswith(PROGRAMS)]


def imports_of(tree: ast.AST, *, typing_too: bool = True) -> Iterator[str]:
    """Dotted names of everything imported, wherever in the module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not typing_too:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports_of(node, typing_too=typing_too)


def inner(imported: str) -> str:
    """``coordinator.record.mount.Places`` as ``record/mount``; empty for what is not ours or the package itself."""
    parts = imported.split(".")
    if parts[0] != "coordinator":
        return ""
    for end in range(len(parts), 1, -1):
        name = "/".join(parts[1:end])
        if name in MODULES or f"{name}/__init__" in MODULES:
            return name
    return ""


# ── floors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_module_has_its_floor() -> None:
    rooms = {module.split("/", maxsplit=1)[0] for module in MODULES} - {"__init__", "__main__"}
    assert rooms <= set(FLOORS), "a new room: say in FLOORS on which floor it stands"


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("__")])
def test_imports_go_down_or_stay_on_the_floor(module: str) -> None:
    for imported in imports_of(tree_of(module)):
        below = inner(imported)
        if below and not (below.startswith("testing") and module.startswith(("demo", "stress"))):
            assert floor_of(below) <= floor_of(module), f"{module} looks up to {below}"


def test_nothing_imports_in_a_circle() -> None:
    edges = {
        module: {inner(name) for name in imports_of(tree_of(module), typing_too=False)} - {"", module}
        for module in MODULES
        if not module.startswith("__")
    }
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join([*way, module])}"
        if module not in done:
            for below in edges.get(module, set()):
                walk(below, (*way, module))
            done.add(module)

    for module in edges:
        walk(module, ())


def test_decide_and_the_record_rest_on_nothing_that_acts() -> None:
    """P4: a pure table; the codec is pure as well."""
    allowed = {"limits", "errors", "record/record"}
    for module in ("record/decide", "record/record"):
        ours = {inner(name) for name in imports_of(tree_of(module), typing_too=False)} - {"", "record"}
        assert ours <= allowed
        foreign = {name.split(".")[0] for name in imports_of(tree_of(module))} - {"coordinator", "__future__"}
        assert foreign <= {"collections", "dataclasses", "enum", "re", "typing", "urllib", "zlib"}


# ── seams ────────────────────────────────────────────────────────────────────────────────────────────────────────────

FILE_CALLS: Final = {
    "open",
    "close",
    "read",
    "write",
    "pread",
    "pwrite",
    "fsync",
    "fdatasync",
    "fdopen",
    "rename",
    "renames",
    "replace",
    "link",
    "symlink",
    "unlink",
    "remove",
    "rmdir",
    "removedirs",
    "mkdir",
    "makedirs",
    "scandir",
    "listdir",
    "readlink",
    "stat",
    "lstat",
    "fstat",
    "utime",
    "truncate",
    "ftruncate",
    "chmod",
    "fchmod",
    "lockf",
    "sendfile",
    "copy_file_range",
    "posix_fallocate",
    "walk",
    "access",
    "mkfifo",
    "chown",
    "statvfs",
}
PATH_CALLS: Final = {"exists", "lexists", "isfile", "isdir", "islink", "getsize", "getmtime", "realpath", "samefile"}
FILE_MODULES: Final = {"fcntl", "glob", "io", "mmap", "pathlib", "portalocker", "shutil", "tempfile"}
PURE_OS: Final = {"dirname", "basename", "strerror", "fspath", "getpid", "urandom", "register_at_fork", "path"}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def touches_files(tree: ast.AST) -> list[str]:
    """What in a module reaches the file system by itself."""
    found = [name for name in imports_of(tree, typing_too=False) if name.split(".")[0] in FILE_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            module, _, call = name.rpartition(".")
            if (module == "os" and call in FILE_CALLS) or (module == "os.path" and call in PATH_CALLS):
                found.append(name)
        elif isinstance(node, ast.Name) and node.id == "open":
            found.append("open()")
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "os.path"}:
            found += [alias.name for alias in node.names if alias.name in FILE_CALLS | PATH_CALLS]
    return found


def reads_time(tree: ast.AST) -> list[str]:
    clocks = {"time", "datetime", "sched"}
    found = [name for name in imports_of(tree, typing_too=False) if name.split(".")[0] in clocks]
    return found + [dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "wait"]


@pytest.mark.parametrize("module", [module for module in core_modules() if module != "files"])
def test_only_files_touches_files(module: str) -> None:
    assert touches_files(tree_of(module)) == []


@pytest.mark.parametrize("module", [module for module in core_modules() if module != "clock"])
def test_only_clock_reads_time(module: str) -> None:
    assert reads_time(tree_of(module)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.open('x', 0)",
        "import os\nos.path.exists('x')",
        "def f():\n    with open('x') as file: return file",
        "from os import rename",
        "def f():\n    import portalocker",
        "from pathlib import Path",
        "import os\nread = os.read",
    ],
)
def test_the_test_for_files_sees_it(code: str) -> None:
    assert touches_files(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["import time", "def f():\n    from time import sleep", "from datetime import datetime"]
)
def test_the_test_for_time_sees_it(code: str) -> None:
    assert reads_time(ast.parse(code))


def test_only_the_loop_that_settles_appends() -> None:
    """P1 has one way in: whoever appended past it could change a record that was not decided on."""
    callers = {
        module
        for module in core_modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and dotted(node.func).endswith("store.append")
    }
    assert callers == {"record/agree", "record/failover"}  # the latter hands it on to the store that rules


# ── the face ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PUBLIC: Final = [
    "AcquireCancelled",
    "AuthorityMoved",
    "BadName",
    "BadRequest",
    "BadValue",
    "Change",
    "ClaimLost",
    "Collected",
    "Content",
    "CoordinatorError",
    "CorruptRecord",
    "CorruptSnapshot",
    "Damaged",
    "Document",
    "DocumentLease",
    "Event",
    "Folded",
    "Invocation",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "MalformedDocument",
    "NewerFormat",
    "NoDirectory",
    "NoRoom",
    "NoSuchDocument",
    "NoTask",
    "NotAWorkspace",
    "NotAllowed",
    "OperationReceipt",
    "OperationRejected",
    "Receipt",
    "Refused",
    "ResourceStatus",
    "Revision",
    "RevisionConflict",
    "RevisionNotReached",
    "StaleFence",
    "StoreUnavailable",
    "TableUnusable",
    "Task",
    "TaskBoard",
    "Unsuitable",
    "Workspace",
    "WorkspaceError",
    "__version__",
]


def test_the_exported_names() -> None:
    assert coordinator.__all__ == PUBLIC
    assert dir(coordinator) == sorted(PUBLIC)
    testing = importlib.import_module("coordinator.testing")
    assert testing.__all__ == [
        "APPLIED",
        "DURABLE",
        "REJECTED",
        "UNHEARD",
        "UNKNOWN",
        "Acquire",
        "Add",
        "Append",
        "AppendLog",
        "Call",
        "Cas",
        "CrashFiles",
        "CrashState",
        "Decided",
        "ExactlyOnceReport",
        "FailAt",
        "FencedLease",
        "GrowingSet",
        "Held",
        "InterceptedFiles",
        "IntervalReport",
        "LinearizabilityReport",
        "ManualClock",
        "MemoryStore",
        "Model",
        "Operation",
        "PauseAt",
        "Read",
        "Recorder",
        "Register",
        "Release",
        "StaleFiles",
        "Told",
        "Use",
        "Write",
        "check_exactly_once",
        "check_intervals",
        "check_linearizable",
        "decided_by",
        "read_jepsen",
        "told_by",
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_exported_name_is_there(name: str) -> None:
    value = getattr(coordinator, name)
    assert value.__name__ == name if inspect.isclass(value) else isinstance(value, str)


def test_a_name_that_is_not_exported_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'MountStore'"):
        _ = coordinator.MountStore


def public_things() -> Iterator[tuple[str, object]]:
    testing = importlib.import_module("coordinator.testing")
    for home in (coordinator, testing):
        for name in home.__all__:
            value = getattr(home, name)
            if not inspect.isclass(value):
                continue
            yield name, value
            for attribute, found in vars(value).items():
                if not attribute.startswith("_") and (callable(found) or isinstance(found, property | classmethod)):
                    yield f"{name}.{attribute}", getattr(value, attribute) if callable(found) else found


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*found, id=found[0]) for found in public_things()])
def test_every_public_name_says_what_it_is(name: str, thing: object) -> None:
    if inspect.isclass(thing) and issubclass(thing, tuple):
        assert thing.__doc__
        return
    own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    assert own, f"{name} has no docstring"
    assert not own.startswith(f"{name}("), f"{name} has only the one that dataclass made"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_and_is_of_a_size_to_be_read(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 450


def test_the_types_ship() -> None:
    assert (PACKAGE / "py.typed").is_file()


# ── what an import costs ─────────────────────────────────────────────────────────────────────────────────────────────

HEAVY: Final = {"boto3", "botocore", "pydantic", "aws_lambda_powertools", "portalocker", "typer", "rich", "orjson"}


def loaded_by(code: str) -> set[str]:
    """Top names of all modules that a fresh interpreter has loaded after running the code."""
    path = [str(PACKAGE.parent)]
    script = f"""
import sys
sys.path[:0] = {path!r}
before = set(sys.modules)
{code}
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps(loaded))
"""
    done = subprocess.run(  # an isolated one: no user site, no environment
        [sys.executable, "-I", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_loads_nothing() -> None:
    loaded = loaded_by("import coordinator")
    assert "coordinator" in loaded
    assert not loaded & (HEAVY | {"dataclasses", "json", "logging", "hashlib"})


def test_importing_the_errors_loads_nothing_either() -> None:
    assert not loaded_by("from coordinator import LeaseLost") & (HEAVY | {"dataclasses", "json", "logging"})


def test_importing_the_workspace_loads_no_library() -> None:
    loaded = loaded_by("from coordinator import Workspace")
    assert not loaded & (HEAVY | {"logging", "asyncio", "subprocess"})


def test_the_test_for_imports_sees_them() -> None:
    assert {"json", "dataclasses"} <= loaded_by("import json, dataclasses")
