"""One host's part of a stress run of several hosts in one workspace, and the verdict on all of it. Run in guests.

``coordinator stress`` makes a folder of its own for each run, so that the runs of several hosts never meet. Here its
conductor, workers, editor and faults work in a workspace that is there already, one conductor a host. Journals lie in
the lab's folder, so that they outlive their host; the judge that the command has is given all of them at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from coordinator import Workspace
from coordinator.stress import plan
from coordinator.stress.conduct import Conductor
from coordinator.stress.journal import read_journal
from coordinator.stress.plan import Options
from coordinator.stress.report import look
from coordinator.stress.verdict import judge
from coordinator.stress.worker import LEASED, LOGGED, TASKS
from nfs.ticks import Offset, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.processes import Fleet
    from coordinator.stress.conduct import Run

CLOCK: Final = "clock.json"  # beside a host's journals: how its clock goes
TICK_S: Final = 0.02


def tell(**facts: Any) -> None:
    """One JSON line, the last of this process."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def prepare(directory: str) -> None:
    """Makes the workspace that all hosts work in, as the command does for one."""
    os.makedirs(directory)
    with Workspace.init(directory, agent="stress") as workspace:
        workspace.document(LEASED).commit(b'{"tags": []}\n', if_revision=0)
        workspace.document(LOGGED).commit(b'{"tags": {}}\n', if_revision=0)
        workspace.document(TASKS).commit(b'{"tasks": []}\n', if_revision=0)
    tell(made=directory)


class _Conductor(Conductor):
    """Goes on after its time until it is told to end, where that is asked for.

    Args:
        until: A file that somebody makes then; empty: it ends by time.
    """

    def __init__(self, until: str, *given: Any) -> None:
        super().__init__(*given)
        self._until = until

    def _let_things_go_wrong(self, fleet: Fleet) -> None:
        super()._let_things_go_wrong(fleet)
        while self._until and not os.path.exists(self._until):
            self._thaw_when_due()
            self._replace_the_fallen(fleet)
            time.sleep(TICK_S)


def conduct(given: str) -> None:
    """Lets this host's workers work, and things go wrong; tells what struck, and who did not end well.

    Args:
        given: JSON: what ``Options`` takes, and ``journals`` (a folder to be made), ``clock`` (whom to ask), ``until``
            (see above) and ``every_s`` (a fault, about: a guest may take seconds to start a Python, and one that
            is always killed as it begins shows nothing).
    """
    facts = json.loads(given)
    journals, clock, until, every_s = (facts.pop(name) for name in ("journals", "clock", "until", "every_s"))
    options = Options(**{**facts, "faults": tuple(facts["faults"])})
    os.makedirs(journals)
    _note_clock(journals, ask(clock))
    with Workspace(options.directory, agent="stress") as workspace, patch.object(plan, "EVERY_S", every_s):
        run = _Conductor(until, options, workspace, journals, _nobody_looks).run()
    _note_clock(journals, ask(clock))
    tell(faults=Counter(struck.kind for struck in run.struck), stuck=run.stuck, fell=run.fell, told=run.told)


def _nobody_looks(_run: Run, _left_s: float) -> None:
    """There is no live view."""


def _note_clock(journals: str, offset: Offset) -> None:
    """Keeps the first comparison; the second says how far the clock has drifted meanwhile."""
    path = Path(journals, CLOCK)
    if path.exists():
        first = Offset(*json.loads(path.read_text()))
        apart_ns = abs(offset.ns - first.ns)
        offset = Offset(first.ns, max(first.within_ns, offset.within_ns) + apart_ns)
    path.write_text(json.dumps(offset))


def verdict(directory: str, journals: str) -> None:
    """Judges what the journals of all hosts say against what is there; tells every finding."""
    lines: dict[str, list[dict[str, Any]]] = {}
    within_ms = 0.0
    for host in sorted(Path(journals).iterdir()):
        offset = Offset(*json.loads((host / CLOCK).read_text()))
        within_ms = max(within_ms, offset.within_ns / 1e6)
        for journal in sorted(host.glob("*.journal")):
            lines[f"{host.name}/{journal.stem}"] = [on_one_clock(line, offset) for line in read_journal(str(journal))]
    with Workspace(directory, agent="judge") as workspace:
        findings = judge(lines, look(workspace))
    told = Counter(line["what"] for one in lines.values() for line in one)
    tell(findings=[asdict(finding) for finding in findings], told=told, clocks_within_ms=round(within_ms, 2))


def on_one_clock(line: dict[str, Any], offset: Offset) -> dict[str, Any]:
    """A line with the machine's times. A stretch is cut by what clocks may be apart: what overlaps then did overlap."""
    if line["what"] != "held":
        return line
    since, until = line["since"] + offset.ns + offset.within_ns, line["until"] + offset.ns - offset.within_ns
    return {**line, "since": since, "until": until} if since < until else {**line, "what": "held too shortly to tell"}


ACTS: dict[str, Callable[..., None]] = {one.__name__: one for one in (prepare, conduct, verdict)}

if __name__ == "__main__":
    ACTS[sys.argv[1]](*sys.argv[2:])
