"""``coordinator compact``: a process that folds for all. Nobody needs it; it saves those who wait the folding.

Any number may run at once, beside agents that fold for themselves (P24). A document in which nothing happens is looked
at more and more rarely; each pause is drawn at random, so that several of these do not come all at once.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from coordinator.cli import exits
from coordinator.cli.common import AgentOption, JsonOption, WorkspaceOption, note, open_workspace, print_json, put
from coordinator.errors import BadName, BadValue, CoordinatorError, Damaged, NewerFormat, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.cli.command import Signals
    from coordinator.document.compactor import Folded
    from coordinator.document.document import Document
    from coordinator.workspace import Workspace

PAUSE_MIN_S: Final = 0.005  # limit: of a document that was folded just now; grows by half each time, up to
PAUSE_MAX_S: Final = 1.0  # this (those who wait fold by themselves long before), or, of many documents,
PAUSE_EACH_S: Final = 0.02  # so much for each: looking at them must not be all that is done
LOOK_AROUND_S: Final = 5.0  # limit: for documents that are new
FOLDS_MAX: Final = 1000  # limit: of one document, before it is another's turn
COLLECT_S: Final = 300.0  # limit: between two collections
COUNTED: Final = ("applied", "rejected", "quarantined")


def compact(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all documents.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Go on until SIGINT or SIGTERM, which end it with 0.")] = False,
    idle_exit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Of --loop: end when nothing was folded for so long.")
    ] = None,
    collect_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Of --loop: between two collections, as by `gc`.")
    ] = COLLECT_S,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Folds what is new in all agents' logs into their documents: once, or as it comes.

    Optional: whoever waits for an update folds by itself. Safe at any time, and by any number at once. With --loop,
    silent logs are retired and garbage is collected as well. A document whose lease somebody holds has to wait.

    JSON: {"documents": [{"resource", "revision": the new one, or 0, "applied", "rejected", "quarantined",
    "waiting_for"}], "trouble"}; with --loop one object a line: such a document, or {"collected": as `gc`}.
    """
    _check(idle_exit, "idle-exit", loop=loop)
    _check(collect_every, "collect-every", loop=True)
    opened = open_workspace(workspace, agent)
    tell = _tell_line if as_json else _tell_text
    try:
        if loop:
            from coordinator.cli.command import Signals  # noqa: PLC0415 - only where somebody waits

            with Signals() as signals:
                _Loop(opened, names or [], signals, tell, collect_every, idle_exit, as_json=as_json).run()
        else:
            _once(opened, names or [], as_json=as_json)
    finally:
        with contextlib.suppress(CoordinatorError):  # what was folded stands; the plain file is repaired by others
            opened.close()


def _check(seconds: float | None, option: str, *, loop: bool) -> None:
    if seconds is None:
        return
    if not loop:
        raise BadValue(f"--{option} is for --loop", argument=option, value=seconds)
    if not seconds > 0:
        raise BadValue(f"--{option} {seconds} is not a number of seconds above 0", argument=option, value=str(seconds))


def _documents(workspace: Workspace, names: list[str]) -> list[Document]:
    """Those that were named; else all. Raises BadName, for one that was named."""
    if names:
        return [workspace.document(name) for name in names]
    found = []
    for each in workspace.status():
        with contextlib.suppress(BadName):  # a symbolic link leads out of the workspace by now: `status` tells
            found.append(workspace.document(each.resource))
    return found


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _once(workspace: Workspace, names: list[str], *, as_json: bool) -> None:
    told, trouble = [], []
    for document in _documents(workspace, names):
        try:
            told.append(_facts(document.name, _fold(document)))
        except (Damaged, NewerFormat) as error:  # one that is damaged must not hold up the others
            trouble.append(str(error))
    if as_json:
        print_json({"documents": told, "trouble": trouble})
    else:
        for facts in told:
            _tell_text(facts)
    for text in trouble:
        note(f"left alone: {text}", as_json=as_json)
    if trouble:
        raise typer.Exit(exits.DATA)


def _fold(document: Document) -> dict[str, Any]:
    """Folds until nothing is new: one fold reads the logs up to a bound. The sum of it."""
    total = dict.fromkeys(("revision", *COUNTED), 0)
    for _ in range(FOLDS_MAX):
        done: Folded = document.compact()
        total["revision"] = done.revision or total["revision"]
        for name in COUNTED:
            total[name] += getattr(done, name)
        if not done.revision:
            break
    return {**total, "waiting_for": done.waiting_for}


def _facts(name: str, folded: dict[str, Any]) -> dict[str, Any]:
    return {"resource": name, **folded}


# ── in a loop ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Watched:
    """One document, and when it is looked at next."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.due = 0.0
        self.told = ""  # the last trouble, or who it waits for: told once
        self._pause_s = PAUSE_MIN_S

    def put_off(self, most_s: float, *, folded: bool) -> None:
        """A pause: short after a fold, longer each time that there was none, never twice the same."""
        self._pause_s = PAUSE_MIN_S if folded else min(self._pause_s * 1.5, most_s)
        self.due = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)


class _Loop:
    """Folds until a signal comes, or nothing does."""

    def __init__(
        self,
        workspace: Workspace,
        names: list[str],
        signals: Signals,
        tell: Callable[[dict[str, Any]], None],
        collect_s: float,
        idle_exit_s: float | None,
        *,
        as_json: bool,
    ) -> None:
        self._workspace, self._names, self._signals, self._tell = workspace, names, signals, tell
        self._collect_s, self._idle_exit_s, self._as_json = collect_s, idle_exit_s, as_json
        self._watched: dict[str, _Watched] = {}
        self._busy_at = time.monotonic()
        self._look_around_at = 0.0
        self._collect_at = self._busy_at + collect_s * random.uniform(0.5, 1.0)  # several: not all at once
        self._told = ""

    def run(self) -> None:
        """See the class. Raises BadName, NotAWorkspace: at the start only."""
        for document in _documents(self._workspace, self._names):
            self._watched[document.name] = _Watched(document)
        self._look_around_at = time.monotonic() + LOOK_AROUND_S
        while not self._signals.first and not self._is_idle():
            now = time.monotonic()
            for watched in [each for each in self._watched.values() if each.due <= now]:
                if not self._signals.first:
                    self._look_at(watched)
            if now >= self._look_around_at:
                self._look_around()
            if now >= self._collect_at:
                self._collect()
            self._signals.cancel.wait(self._pause_s())

    def _is_idle(self) -> bool:
        return self._idle_exit_s is not None and time.monotonic() - self._busy_at >= self._idle_exit_s

    def _pause_s(self) -> float:
        due = [each.due for each in self._watched.values()]
        due += [self._look_around_at, self._collect_at]
        if self._idle_exit_s is not None:
            due.append(self._busy_at + self._idle_exit_s)
        return max(min(due) - time.monotonic(), 0)

    def _look_at(self, watched: _Watched) -> None:
        folded = False
        try:
            done = _fold(watched.document)
        except CoordinatorError as error:
            self._tell_trouble(watched, str(error))
        else:
            folded = any(done[name] for name in COUNTED)  # and not only that logs have ended
            is_held, watched.told = done["waiting_for"] not in {"", watched.told}, done["waiting_for"]
            if folded or is_held:
                self._tell(_facts(watched.document.name, done))
        if folded:
            self._busy_at = time.monotonic()
        watched.put_off(max(PAUSE_MAX_S, PAUSE_EACH_S * len(self._watched)), folded=folded)

    def _tell_trouble(self, watched: _Watched, text: str) -> None:
        if text != watched.told:
            watched.told = text
            note(text, as_json=self._as_json)

    def _look_around(self) -> None:
        self._look_around_at = time.monotonic() + LOOK_AROUND_S * random.uniform(0.8, 1.2)
        if self._names:
            return
        try:
            for document in _documents(self._workspace, []):
                self._watched.setdefault(document.name, _Watched(document))
        except CoordinatorError as error:
            note(str(error), as_json=self._as_json)

    def _collect(self) -> None:
        """Retires silent logs and deletes what nobody needs (P18, P27), in the documents that are looked after."""
        self._collect_at = time.monotonic() + self._collect_s * random.uniform(0.8, 1.2)
        records = files = freed_bytes = 0
        for watched in list(self._watched.values()):
            if self._signals.first:
                return
            try:
                done = watched.document.collect()
            except (Damaged, NewerFormat, StoreUnavailable) as error:
                self._tell_trouble(watched, str(error))
            else:
                records, files, freed_bytes = records + done[0], files + done[1], freed_bytes + done[2]
        self._tell({"collected": {"records": records, "files": files, "bytes_freed": freed_bytes}})


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell_line(facts: dict[str, Any]) -> None:
    put(json.dumps(facts) + "\n")


def _tell_text(facts: dict[str, Any]) -> None:
    if "collected" in facts:
        done = facts["collected"]
        put(f"{done['records']} records archived, {done['files']} files removed, {done['bytes_freed']} bytes freed\n")
        return
    parts = [f"{facts[name]} {name}" for name in ("applied", "rejected") if facts[name] or name == "applied"]
    if facts["quarantined"]:
        parts.append(f"{facts['quarantined']} damaged logs quarantined")
    text = f"folded as revision {facts['revision']}: {', '.join(parts)}" if facts["revision"] else "nothing is new"
    if facts["waiting_for"]:
        text = f"{text + '; ' if facts['revision'] else ''}it has to wait for {facts['waiting_for']}'s lease"
    put(f"{facts['resource']}: {text}\n")
