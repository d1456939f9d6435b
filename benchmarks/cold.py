"""COLD: what a function's environment does before it has answered its first event: imports, and that first event.

Ten or more fresh processes start side by side, as a crowd of callers starts them; each tells how long its imports and
its first invocation took. The zips bring no bytecode, and what a function compiles it cannot keep: the sides "from
source" compile every module of a zip anew (the runtime's own are compiled over there, and here). Waiting for a
processor counts, as it does over there; the figure of processor time is what a busy machine distorts least.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.engine import engine, our_table
from benchmarks.runner import Case, Metric, NotInstalled, Side, Trial, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.runner import Options

ROOT: Final = str(Path(__file__).parent.parent)
CROWD: Final = 10
HEAVIEST: Final = 8
COMPACTOR: Final = "compactor"
COORDINATOR: Final = "coordinator"
_EVENTS: Final = {
    COMPACTOR: {"fold": []},
    COORDINATOR: {"call": "leases/inspect", "body": {"name": "cold"}},
}
_ZIPPED: Final = (
    "annotated_types",
    "aws_lambda_powertools",
    "coordinator",
    "jmespath",
    "jsonpatch",
    "jsonpointer",
    "lambdas",
    "orjson",
    "portalocker",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
)
_FROM_SOURCE: Final = f"""
from importlib.machinery import SourceFileLoader
cached = SourceFileLoader.get_code
def get_code(self, name):
    if name.split(".")[0] in {_ZIPPED!r}:
        return self.source_to_code(self.get_data(self.path), self.path)
    return cached(self, name)
SourceFileLoader.get_code = get_code
"""
_PROGRAM: Final = """
import sys, time
began = time.perf_counter()
from lambdas.{function}.handler import handler
imported = time.perf_counter()
import json
class Context:
    aws_request_id = function_name = memory_limit_in_mb = "cold"
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:cold:bench"
    def get_remaining_time_in_millis(self):
        return 60_000
out, sys.stdout = sys.stdout, sys.stderr
began_event = time.perf_counter()
told = handler({event!r}, Context())
ended = time.perf_counter()
assert told.get("status", 200) == 200, told
print(json.dumps([imported - began, ended - began_event, time.process_time()]), file=out)
"""


def cold_starts(function: str, directory: str, *, bytecode: bool) -> dict[str, float]:
    """Figures of one crowd.

    Raises:
        NotInstalled: Without the extra ``lambda``, the function's entry, or an engine.
        RuntimeError: A process failed.
    """
    if not Path(ROOT, "lambdas", function, "handler.py").is_file():
        raise NotInstalled(f"lambdas/{function} is not here: it belongs to the repository")
    variables = _variables(directory)
    _end(_start(function, variables))  # so that all find what is compiled once
    before = "" if bytecode else _FROM_SOURCE
    crowd = [_start(function, variables, before) for _ in range(CROWD)]
    told = [_end(process) for process in crowd]
    figures: dict[str, float] = {}
    for at, name in enumerate(("import", "first")):
        ordered = sorted(one[at] * 1000 for one in told)
        figures |= {f"{name}_p50": quantile(ordered, 0.5), f"{name}_p99": quantile(ordered, 0.99)}
    figures["cpu"] = quantile(sorted(one[2] * 1000 for one in told), 0.5)
    return figures


def _variables(directory: str) -> dict[str, str]:
    from coordinator import Workspace  # noqa: PLC0415 - B1 measures this import

    our_table()
    shared = f"{directory}/shared"
    os.mkdir(shared)  # a user's program makes its folder
    with Workspace.init(shared, agent="bench", table="bench") as workspace:
        workspace.document("a.json").update({"here": True})
        workspace_id = workspace.format.workspace_id
    return {
        **os.environ,
        **engine().variables(),
        "PYTHONPATH": ROOT,
        "COORDINATOR_TABLE": "bench",
        "COORDINATOR_WORKSPACE": workspace_id,
        "COORDINATOR_DIRECTORY": shared,
        "COORDINATOR_COMPACTOR_FUNCTION": COMPACTOR,
        "COORDINATOR_AGENTS": json.dumps({"alias:bench": ["*"], "alias:$LATEST": ["*"]}),
        "POWERTOOLS_METRICS_NAMESPACE": "coordinator",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }


def _start(function: str, variables: dict[str, str], before: str = "") -> subprocess.Popen[str]:
    program = before + _PROGRAM.format(function=function, event=_EVENTS[function])
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> list[float]:
    out, error = process.communicate(timeout=120)
    if process.returncode:
        if "No module named 'aws_lambda_powertools'" in error:
            raise NotInstalled("aws-lambda-powertools is not installed (pip install -e '.[lambda]')")
        raise RuntimeError(error[-600:])
    told: list[float] = json.loads(out.splitlines()[-1])  # before it, the function's log
    return told


def heaviest(function: str) -> str:
    """The imports of a handler that take longest, each without what it imports itself, by ``-X importtime``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import lambdas.{function}.handler"],
        env={**os.environ, "PYTHONPATH": ROOT, "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"{function}: not here"
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    own = sorted(((int(row[0]), row[2].strip()) for row in rows if row[0].strip().isdigit()), reverse=True)
    total_ms = sum(micros for micros, _ in own) / 1000
    most = ", ".join(f"{name} {micros / 1000:.1f}" for micros, name in own[:HEAVIEST])
    return f"{function}: {len(own)} modules, {total_ms:.0f} ms in all; alone, in ms: {most}"


def trials(options: Options) -> Sequence[Trial]:
    """One: both handlers, with bytecode at hand and without."""

    def side(function: str, name: str, *, bytecode: bool) -> Side:
        measure: Callable[[str], dict[str, float]] = lambda directory: cold_starts(  # noqa: E731 - typed
            function, directory, bytecode=bytecode
        )
        return Side(name, measure)

    note = "" if options.quick else " ".join(f"{heaviest(one)}." for one in (COMPACTOR, COORDINATOR))
    return [
        Trial(
            "cold",
            f"{CROWD} cold starts of each function, side by side",
            (
                Metric("cpu", "processor time of all of it, p50", "ms", "less"),
                Metric("import_p50", "imports, p50", "ms", "less"),
                Metric("import_p99", "imports, p99 (of ten: the slowest)", "ms", "less"),
                Metric("first_p50", "first event, p50", "ms", "less"),
                Metric("first_p99", "first event, p99 (of ten: the slowest)", "ms", "less"),
            ),
            [
                side(function, f"{function} function{how}", bytecode=bytecode)
                for function in (COMPACTOR, COORDINATOR)
                for how, bytecode in (("", True), (", from source", False))
            ],
            note=note,
        )
    ]


CASE = Case("COLD", "cold starts of the functions", trials)
