"""What a run says: a table on the terminal, and a folder with Markdown, plots and the figures as JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from benchmarks import svg
from benchmarks.runner import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.runner import Metric, Outcome, Spread

MARKS: Final = {"met": "met", "not met": "**not met**", "not measured": "not measured"}


def told(figure: Spread | None) -> str:
    """A figure with its spread."""
    if figure is None:
        return "-"
    return f"{svg.number(figure.median)} ({svg.number(figure.low)} … {svg.number(figure.high)})"


def compared(outcome: Outcome, metric: Metric) -> Iterator[tuple[str, Spread | None, Spread | None]]:
    """Each side that was measured: its figure, and ours as a multiple of it (of its own place in a series)."""
    for side in outcome.trial.sides:
        figure = outcome.figure(side.name, metric.key)
        if figure is not None:
            yield side.name, figure, outcome.ratio(metric.key, our_side(outcome, side.name), side.name)


def our_side(outcome: Outcome, name: str) -> str:
    """Our side that stands beside this one: in a series, the one at the same place."""
    point = outcome.trial.points.get(name)
    if point is None:
        return OURS
    return next(
        (other for other, (series, x) in outcome.trial.points.items() if series == OURS and x == point[1]), OURS
    )


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────────────────────────


def table(outcome: Outcome) -> str:
    """A trial's figures, ratios and targets as plain text."""
    trial = outcome.trial
    lines = ["", f"{trial.key}: {trial.title}"]
    for metric in trial.metrics:
        lines.append(f"  {metric.label}{f' [{metric.unit}]' if metric.unit else ''}, {metric.better} is better")
        for name, figure, ratio in compared(outcome, metric):
            beside = "" if our_side(outcome, name) == name else f"ours / this: {told(ratio)}"
            lines.append(f"    {name:46} {told(figure):34} {beside}".rstrip())
    lines += [f"  {name}: left out, {why}" for name, why in outcome.missing.items()]
    lines += [f"  {name}: FAILED, {why}" for name, why in outcome.failures.items()]
    for target in trial.targets:
        lines.append(f"  target {target.asked():58} {told(outcome.reached(target)):28} {outcome.verdict(target)}")
    return "\n".join(lines)


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def write_report(folder: str, outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """Writes ``report.md``, ``figures.json`` and one SVG a trial; returns the report's path."""
    os.makedirs(folder, exist_ok=True)
    for outcome in outcomes:
        picture = plot(outcome)
        if picture:
            _write(f"{folder}/{outcome.trial.key}.svg", picture)
    _write(f"{folder}/figures.json", json.dumps(figures(outcomes, facts), indent=2) + "\n")
    path = f"{folder}/report.md"
    _write(path, markdown(outcomes, facts))
    return path


def plot(outcome: Outcome) -> str:
    """A trial's first figure: lines when its sides are places in a series, else bars; empty if nothing was measured."""
    metric = outcome.trial.metrics[0]
    found = [(name, figure) for name, figure, _ in compared(outcome, metric) if figure is not None]
    if not found:
        return ""
    title = f"{outcome.trial.key}: {outcome.trial.title}"
    up = f"{metric.label}{f', {metric.unit}' if metric.unit else ''} ({metric.better} is better)"
    if not outcome.trial.points:
        return svg.bars(f"{title}: {up}", metric.unit, found, ours=OURS)
    series: dict[str, list[tuple[float, Spread]]] = {}
    for name, figure in found:
        line, x = outcome.trial.points[name]
        series.setdefault(line, []).append((x, figure))
    return svg.lines(title, outcome.trial.axis, up, series)


def markdown(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """The whole report."""
    lines = [
        "# Benchmarks",
        "",
        "Sides of a trial were measured in turns; figures are medians over the rounds, with (least … greatest);",
        "ratios were taken within a round. Absolute figures are those of one machine at one time: read the ratios.",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        "## Targets",
        "",
        "| trial | asked | reached | |",
        "|---|---|---|---|",
    ]
    for outcome in outcomes:
        for target in outcome.trial.targets:
            reached = told(outcome.reached(target))
            verdict = MARKS[outcome.verdict(target)]
            lines.append(f"| [{outcome.trial.key}](#{outcome.trial.key}) | {target.asked()} | {reached} | {verdict} |")
    for outcome in outcomes:
        lines += section(outcome)
    return "\n".join(lines) + "\n"


def section(outcome: Outcome) -> list[str]:
    """One trial."""
    trial = outcome.trial
    lines = ["", f'## <a id="{trial.key}"></a>{trial.key}: {trial.title}', ""]
    if trial.note:
        lines += [trial.note, ""]
    if plot(outcome):
        lines += [f"![{trial.title}]({trial.key}.svg)", ""]
    for metric in trial.metrics:
        unit = f", {metric.unit}" if metric.unit else ""
        lines += [f"| {metric.label}{unit} ({metric.better} is better) | figure | ours / this |", "|---|---|---|"]
        for name, figure, ratio in compared(outcome, metric):
            beside = "" if our_side(outcome, name) == name else told(ratio)
            lines.append(f"| {name} | {told(figure)} | {beside} |")
        lines.append("")
    lines += [f"- {name} was left out: {why}" for name, why in outcome.missing.items()]
    lines += [f"- **{name} failed**: {why}" for name, why in outcome.failures.items()]
    return lines


def figures(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> dict[str, object]:
    """Every sample and every verdict, for programs."""
    return {
        "facts": dict(facts),
        "trials": {
            outcome.trial.key: {
                "samples": outcome.samples,
                "failures": outcome.failures,
                "missing": outcome.missing,
                "targets": [
                    {
                        "asked": target.asked(),
                        "metric": target.metric,
                        "reached": None if (reached := outcome.reached(target)) is None else reached._asdict(),
                        "verdict": outcome.verdict(target),
                    }
                    for target in outcome.trial.targets
                ],
            }
            for outcome in outcomes
        },
    }


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
