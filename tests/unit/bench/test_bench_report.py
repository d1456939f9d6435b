from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from benchmarks import svg
from benchmarks.report import markdown, table, write_report
from benchmarks.runner import OURS, Metric, Outcome, Side, Spread, Target, Trial

if TYPE_CHECKING:
    from pathlib import Path

RATE = Metric("rate", "claims a second", "/s")
WAIT = Metric("p99", "p99 of the wait", "ms", "less")
FACTS = {"machine": "2 processors", "rounds": "3"}


def side(name: str) -> Side:
    return Side(name, lambda _directory: {})


def bars() -> Outcome:
    trial = Trial(
        "b0-bars",
        "one <lock> & many",
        (RATE, WAIT),
        [side(OURS), side("peer"), side("broken"), side("absent")],
        (Target("rate", 20, "peer"), Target("p99", 1, "peer", at_most=True), Target("rate", 1, "broken")),
        note="What to know.",
    )
    return Outcome(
        trial,
        {OURS: {"rate": [100, 300, 200], "p99": [1, 2, 3]}, "peer": {"rate": [10, 10, 10], "p99": [10, 10, 10]}},
        {"broken": "WrongAnswer: task-1 was handed out twice"},
        {"absent": "it is not installed"},
    )


def series() -> Outcome:
    names = {f"{who}, {size} tasks": (who, float(size)) for who in (OURS, "peer") for size in (100, 2000)}
    trial = Trial("b0-series", "by size", (RATE,), [side(name) for name in names], axis="tasks", points=names)
    figures = dict(zip(names, [[50.0], [40.0], [100.0], [10.0]], strict=True))
    return Outcome(trial, {name: {"rate": found} for name, found in figures.items()})


def test_the_table_tells_figures_ratios_verdicts_and_what_is_missing() -> None:
    text = table(bars())
    assert "200 (100 … 300)" in text
    assert "ours / this: 20.0 (10.0 … 30.0)" in text
    assert re.search(r"target ≥ 20 x peer +20.0 \(10.0 … 30.0\) +met", text)
    assert re.search(r"target ≥ 1 x broken +- +not measured", text)
    assert "broken: FAILED, WrongAnswer: task-1 was handed out twice" in text
    assert "absent: left out, it is not installed" in text


def test_a_target_that_was_not_met_is_told_as_such() -> None:
    found = bars()
    found.samples[OURS]["rate"] = [100, 100, 100]
    assert re.search(r"target ≥ 20 x peer +10.0 .*not met", table(found))
    assert "| ≥ 20 x peer | 10.0 (10.0 … 10.0) | **not met** |" in markdown([found], FACTS)


def test_sides_of_a_series_are_compared_with_ours_at_the_same_place() -> None:
    text = markdown([series()], FACTS)
    assert "| peer, 100 tasks | 100 (100 … 100) | 0.500 (0.500 … 0.500) |" in text
    assert "| peer, 2000 tasks | 10.0 (10.0 … 10.0) | 4.00 (4.00 … 4.00) |" in text
    assert f"| {OURS}, 100 tasks | 50.0 (50.0 … 50.0) |  |" in text


def test_the_report_is_a_folder_whose_links_lead_somewhere(tmp_path: Path) -> None:
    path = write_report(str(tmp_path / "out"), [bars(), series()], FACTS)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert path == str(tmp_path / "out" / "report.md")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert pictures == ["b0-bars.svg", "b0-series.svg"]
    for picture in pictures:
        root = ET.fromstring((tmp_path / "out" / picture).read_text(encoding="utf-8"))  # noqa: S314 - our own
        assert root.tag.endswith("svg")
    for anchor in re.findall(r"\(#([^)]+)\)", text):
        assert f'id="{anchor}"' in text
    assert "- machine: 2 processors" in text
    assert "What to know." in text


def test_the_figures_are_there_for_programs(tmp_path: Path) -> None:
    write_report(str(tmp_path), [bars()], FACTS)
    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    trial = told["trials"]["b0-bars"]
    assert trial["samples"][OURS]["rate"] == [100, 300, 200]
    assert [target["verdict"] for target in trial["targets"]] == ["met", "met", "not measured"]
    assert trial["failures"] == {"broken": "WrongAnswer: task-1 was handed out twice"}


def test_a_trial_in_which_nothing_was_measured_has_no_picture(tmp_path: Path) -> None:
    write_report(str(tmp_path), [Outcome(bars().trial)], FACTS)
    assert not list(tmp_path.glob("*.svg"))
    assert "not measured" in (tmp_path / "report.md").read_text(encoding="utf-8")


def widths(picture: str) -> list[float]:
    root = ET.fromstring(picture)  # noqa: S314 - our own
    rects = [element for element in root if element.tag.endswith("rect") and "x" in element.attrib]
    return [float(rect.attrib["width"]) for rect in rects]


def test_bars_are_as_long_as_their_figures() -> None:
    one, two = widths(svg.bars("t", "/s", [("a", Spread(10, 10, 10)), ("b", Spread(20, 20, 20))], ours="a"))
    assert two == pytest.approx(2 * one, rel=0.01)


def test_bars_of_very_different_lengths_are_drawn_by_their_logarithms_and_say_so() -> None:
    rows = [("a", Spread(1, 1, 1)), ("b", Spread(100, 100, 100)), ("c", Spread(10_000, 10_000, 10_000))]
    picture = svg.bars("t", "/s", rows, ours="a")
    one, two, three = widths(picture)
    assert "logarithmic" in picture
    assert two - one == pytest.approx(three - two, rel=0.01)


def test_nothing_measured_as_zero_breaks_a_picture() -> None:
    ET.fromstring(svg.bars("t", "", [("a", Spread(0, 0, 0)), ("b", Spread(0, 0, 0))], ours="a"))  # noqa: S314
    ET.fromstring(svg.bars("t", "", [("a", Spread(0, 0, 0)), ("b", Spread(9, 0, 9))], ours="a"))  # noqa: S314
    ET.fromstring(svg.lines("t", "x", "y", {"a": [(1, Spread(0, 0, 0))], "b": [(1, Spread(5, 0, 5))]}))  # noqa: S314


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.01234, "0.0123"), (1.5, "1.50"), (15.25, "15.2"), (152, "152"), (7117.6, "7,118")]
)
def test_figures_have_three_digits_that_say_something(value: float, shown: str) -> None:
    assert svg.number(value) == shown
