"""The building's rules: which floor may call which, and who may touch files and time."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import pytest
from architecture_support import MODULES, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator


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
