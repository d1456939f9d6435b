"""The figures of a run as Markdown: the part of docs/nfs.md below its marker."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

MARKER: Final = "<!-- figures of a run, written by pytest -m nfs with COORDINATOR_NFS_REPORT -->"


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """Writes the figures behind the marker of a file; all of it, where there is no such file."""
    head = path.read_text().partition(MARKER)[0] if path.exists() else "# On real NFS\n\n"
    path.write_text(head + MARKER + "\n\n" + as_markdown(figures))


def as_markdown(figures: dict[str, Any]) -> str:
    """A table for each kind of figure."""
    machine = f"{os.cpu_count()} processors, Python {platform.python_version()}"
    load = f"load {os.getloadavg()[2]:.0f} on average, guests included"
    lines = [f"{machine}; server and clients are guests on them; {load}.", ""]
    plain = {name: row for name, row in figures.items() if name not in {"stress", "naive", "claims"}}
    if plain:
        lines += ["| What happened | Figures |", "|---|---|"]
        lines += [f"| {name} | {_row(row)} |" for name, row in plain.items()]
        lines.append("")
    if "stress" in figures:
        counted = ("acknowledged", "unknown", "lost", "doubled", "torn", "edits")
        lines += [
            f"| The stress run on three hosts | {' | '.join(counted)}, gone | faults |",
            "|" + "---|" * (len(counted) + 2),
        ]
        for name, row in figures["stress"].items():
            faults = ", ".join(f"{times} {kind}" for kind, times in row["faults"].items())
            lines.append(f"| {name} | {' | '.join(str(row[kind]) for kind in counted)} | {faults} |")
        lines.append("")
    if "naive" in figures:
        lines += ["| What people do, 6 agents | acknowledged | lost | torn or failed reads |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {row['acknowledged']} | {row['lost']} | {row['torn']} |"
            for name, row in figures["naive"].items()
        ]
        lines.append("")
    claims = figures.get("claims", {})
    if claims:
        names = {"ours": "task board", "flock": "flock + orjson + fsync + replace"}
        lines += ["| Claims, 3 clients with 8 agents each | a second | slowest agent | twice |", "|---|---|---|---|"]
        lines += [
            f"| {names[way]} | {row['per_s']} | {row['slowest']} | {row['twice']} |" for way, row in claims.items()
        ]
        if len(claims) == len(names):
            lines += ["", f"Ours / the peer's: {claims['ours']['per_s'] / claims['flock']['per_s']:.1f}"]
        lines.append("")
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in row.items())
