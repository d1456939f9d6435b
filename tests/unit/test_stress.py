"""The verdict of a stress run: each thing that can go wrong is seen, and nothing else is."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from coordinator.cli import exits
from coordinator.cli.app import execute
from coordinator.stress import plan
from coordinator.stress.conduct import Run, Struck
from coordinator.stress.picture import draw
from coordinator.stress.verdict import EndState, judge

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: Final = plan.Options("/there", workers=3, seconds=20, seed=7, faults=plan.KINDS, table="fleet")
S: Final = 1_000_000_000


def line(what: str, at: int = 0, **facts: Any) -> dict[str, Any]:
    return {"at": at, "what": what, **facts}


def journals(*more: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """A run in which all went well, and what else is told."""
    well = [
        line("ready"),
        line("try", kind="commit", tag="c1"),
        line("ack", kind="commit", tag="c1"),
        line("held", name="leased.json", fence=2, since=S, until=2 * S),
        line("try", kind="update", tag="u1"),
        line("ack", kind="update", tag="u1"),
        line("try", kind="complete", tag="t1"),
        line("ack", kind="complete", tag="t1"),
    ]
    return {"worker-0.1": well, "worker-1.1": list(more), "reader.1": [line("saved", tag="h1"), line("done", reads=9)]}


WELL: Final = EndState(
    leased=["c1"],
    logged={"u1": 1, "h1": 1},
    applied={"u1": 1},
    kept=[],
    tasks=[{"id": "t1", "status": "done"}],
    fences=[2, 5],
    view={"tags": {"u1": 1, "h1": 1}},
    damage=[],
)


def against(told: dict[str, list[dict[str, Any]]], end: EndState) -> dict[str, tuple[str, ...]]:
    return {finding.promise: finding.against for finding in judge(told, end) if finding.against}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert against(journals(), WELL) == {}
    unknown = line("try", kind="update", tag="u2"), line("unknown", kind="update", tag="u2")
    assert against(journals(*unknown), WELL) == {}
    tried = line("try", kind="commit", tag="c2")
    assert against(journals(tried), replace(WELL, leased=["c1", "c2"])) == {}  # killed before it was answered


WRONG: Final[dict[str, tuple[list[dict[str, Any]], dict[str, Any]]]] = {
    "no acknowledged commit is lost": ([], {"leased": []}),
    "no commit is made twice, or without being asked for": ([], {"leased": ["c1", "c1"]}),
    "no acknowledged update is lost": ([], {"logged": {"h1": 1}, "view": {"tags": {"h1": 1}}}),
    "no update is applied twice, or without being asked for": ([], {"applied": {"u1": 2}}),
    "what was refused was not done": (
        [line("try", kind="commit", tag="c9"), line("no", kind="commit", tag="c9")],
        {"leased": ["c1", "c9"]},
    ),
    "no edit by hand is dropped": ([], {"logged": {"u1": 1}, "view": {"tags": {"u1": 1}}}),
    "no acknowledged completion is lost": ([], {"tasks": [{"id": "t1", "status": "pending"}]}),
    "no task is completed by two": ([line("ack", kind="complete", tag="t1")], {}),
    "no two hold a lease at once": ([line("held", name="leased.json", fence=5, since=S, until=3 * S)], {}),
    "fences only grow": ([], {"fences": [5, 2]}),
    "what is read never goes back, and is never torn": ([line("went_back", seen=4, revision=3)], {}),
    "the plain file is whole, and shows the end": ([], {"view": None}),
    "everything can be read": ([], {"damage": ["a record is damaged"]}),
}


@pytest.mark.parametrize("promise", WRONG)
def test_each_thing_that_goes_wrong_is_seen(promise: str) -> None:
    told, end = WRONG[promise]
    assert set(against(journals(*told), replace(WELL, **end))) == {promise}


def test_an_edit_that_was_kept_is_not_dropped() -> None:
    end = replace(WELL, logged={"u1": 1}, view={"tags": {"u1": 1}}, kept=[b'{"tags": {"h1": 1}}'])
    assert against(journals(), end) == {}


def test_one_seed_one_plan() -> None:
    drawn = plan.draw(OPTIONS)
    assert drawn == plan.draw(OPTIONS) != plan.draw(replace(OPTIONS, seed=8))
    assert [fault.at_s for fault in drawn] == sorted(fault.at_s for fault in drawn)
    assert max(fault.at_s for fault in drawn) <= OPTIONS.seconds * 0.8
    assert {fault.kind for fault in drawn} == {plan.KILL, plan.FREEZE, plan.FULL, plan.TEAR, plan.MOVE}
    assert plan.draw(replace(OPTIONS, faults=())) == []
    assert plan.skews(replace(OPTIONS, faults=())) == [0, 0, 0]
    assert "--seed 7" in OPTIONS.command


def test_the_picture_is_well_formed_and_shows_every_fault() -> None:
    struck = [Struck(kind, "all" if kind == "move" else "worker-0", S, 2 * S) for kind in plan.KINDS[:4]]
    run = Run(OPTIONS, "/there/stress", journals(), [*struck, Struck("move", "all", S, S)], 0, 20 * S)
    picture = ET.fromstring(draw(run))  # noqa: S314 - of our own making
    assert len(picture.findall("{http://www.w3.org/2000/svg}rect")) >= len(struck) + 3


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["/nowhere/at/all"], exits.NOT_FOUND, "is not there"),
        ([".", "--faults", "rain"], exits.USAGE, "no kind of fault"),
    ],
)
def test_what_cannot_be_run_is_told(
    arguments: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["stress", *arguments]) == status
    assert told in capsys.readouterr().err


def test_a_short_run_with_every_fault(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Real processes; what is promised holds, and the place is left as it was."""
    place, report = tmp_path / "place", tmp_path / "report"
    place.mkdir()
    assert (
        execute(["stress", str(place), "--seconds", "6", "--workers", "4", "--seed", "11", "--report", str(report)])
        == 0
    )
    out = capfd.readouterr().out
    assert "OK" in out
    assert "--seed 11" in out
    told = json.loads((report / "stress.json").read_text())
    assert told["holds"] is True
    assert told["told"]["ack"] > 20
    assert sum(told["faults"].values()) >= 4
    ET.parse(report / "stress.svg")  # noqa: S314 - of our own making
    assert list(place.iterdir()) == []
