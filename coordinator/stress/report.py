"""The live line, the figures and the verdict; or one JSON object."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import CoordinatorError
from coordinator.stress.conduct import Conductor, Run, prepare
from coordinator.stress.picture import draw
from coordinator.stress.verdict import EndState, Finding, judge
from coordinator.stress.worker import LEASED, LOGGED, TASKS

if TYPE_CHECKING:
    from coordinator.stress.plan import Options
    from coordinator.workspace import Workspace

_SHOWN: Final = 5


def run(options: Options, *, as_json: bool, keep: bool, report: str | None) -> int:
    """See ``run_stress``. Raises what keeps it from beginning."""
    workspace = prepare(options)
    journals = tempfile.mkdtemp(prefix="coordinator-stress-")
    live = not as_json and sys.stderr.isatty()
    done = Conductor(options, workspace, journals, _show if live else _silent).run()
    end = look(workspace)
    findings = judge(done.journals, end)
    workspace.close()
    holds = not any(finding.against for finding in findings) and not done.stuck and not done.fell
    told = as_object(done, findings, holds=holds)
    if report is not None:
        _write_report(report, done, told)
    text = json.dumps(told) if as_json else as_text(done, findings, holds=holds)
    sys.stdout.write(f"{text}\n")
    if keep or not holds:
        sys.stderr.write(f"left there: {done.directory} and {journals}\n")
    else:
        shutil.rmtree(done.directory, ignore_errors=True)
        shutil.rmtree(journals, ignore_errors=True)
    return 0 if holds else 1


def look(workspace: Workspace) -> EndState:
    """What is there when everybody has ended."""
    damage: list[str] = []

    def ask(call: Any, otherwise: Any) -> Any:
        try:
            return call()
        except (CoordinatorError, OSError, ValueError) as error:
            damage.append(str(error))
            return otherwise

    logged = workspace.document(LOGGED)
    ask(logged.compact, None)
    content = ask(logged.read_json, {"tags": {}})
    changes = ask(lambda: logged.changes(since=1), [])
    applied: dict[str, int] = {}
    for change in changes:
        for operation in change.operations:
            if operation["outcome"] == "applied":
                applied[operation["op_id"]] = applied.get(operation["op_id"], 0) + 1
    ask(logged.refresh_view, None)
    return EndState(
        leased=ask(lambda: workspace.document(LEASED).read_json()["tags"], []),
        logged=content["tags"],
        applied={tag: times for tag, times in applied.items() if tag in content["tags"] or times > 1},
        kept=[_bytes_of(path) for path in ask(logged.conflicts, [])],
        tasks=ask(lambda: workspace.tasks(TASKS).list(), []),
        fences=[record.n for record in ask(lambda: workspace.history(LEASED), []) if record.kind == "grant"],
        view=ask(lambda: json.loads(_bytes_of(os.path.join(workspace.directory, LOGGED))), None),
        damage=damage,
    )


def _bytes_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _silent(_run: Run, _left_s: float) -> None:
    """Nobody looks."""


def _show(run: Run, left_s: float) -> None:
    told = run.told
    faults = ", ".join(f"{times} {kind}" for kind, times in sorted(_count(run).items())) or "none"
    counts = f"{told['ack']} acknowledged, {told['no']} refused, {told['unknown']} unknown"
    line = f"{left_s:5.0f} s left   {counts}   faults: {faults}"
    sys.stderr.write(f"\r{line[:118]:<118}")
    sys.stderr.flush()
    if left_s <= 1:
        sys.stderr.write("\n")


def as_object(run: Run, findings: list[Finding], *, holds: bool) -> dict[str, Any]:
    """Everything, as plain values."""
    seconds = (run.ended_ns - run.began_ns) / 1e9
    return {
        "holds": holds,
        "command": run.options.command,
        "seed": run.options.seed,
        "seconds": round(seconds, 1),
        "told": dict(run.told),
        "acknowledged_per_second": round(run.told["ack"] / seconds, 1),
        "faults": dict(sorted(_count(run).items())),
        "findings": [asdict(finding) for finding in findings],
        "stuck": run.stuck,
        "fell": run.fell,
        "directory": run.directory,
    }


def _count(run: Run) -> dict[str, int]:
    count: dict[str, int] = {}
    for struck in run.struck:
        count[struck.kind] = count.get(struck.kind, 0) + 1
    return count


def as_text(run: Run, findings: list[Finding], *, holds: bool) -> str:
    """The figures and the verdict, for people."""
    told, seconds = run.told, (run.ended_ns - run.began_ns) / 1e9
    faults = ", ".join(f"{times} {kind}" for kind, times in sorted(_count(run).items())) or "none"
    counts = f"{told['ack']} steps acknowledged, {told['no']} refused, {told['unknown']} of unknown outcome"
    lines = [
        f"{counts}, in {seconds:.1f} s ({told['ack'] / seconds:.0f} a second)",
        f"faults: {faults}",
        "",
    ]
    for finding in findings:
        mark = "FAILS" if finding.against else "holds"
        lines.append(f"  {mark}  {finding.promise} ({finding.tried} tried)")
        lines += [f"           {text}" for text in finding.against[:_SHOWN]]
        if len(finding.against) > _SHOWN:
            lines.append(f"           … and {len(finding.against) - _SHOWN} more")
    lines += [f"  FAILS  {name} did not come to an end" for name in run.stuck]
    lines += [f"  FAILS  {name} fell: {words}" for name, words in run.fell.items()]
    lines += ["", "OK" if holds else "NOT OK: do not trust this place yet", f"again: {run.options.command}"]
    return "\n".join(lines)


def _write_report(folder: str, run: Run, told: dict[str, Any]) -> None:
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "stress.json"), "w", encoding="utf-8") as file:
        json.dump(told, file, indent=2)
    with open(os.path.join(folder, "stress.svg"), "w", encoding="utf-8") as file:
        file.write(draw(run))
