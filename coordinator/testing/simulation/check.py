"""What the agents of a run were told, and whether it was true.

All works append *tags*, each of them once, to one list in one document. So the order of everything stands in the list
itself, and what each agent was told can be held against it:

* what was acknowledged is there, once, and in the order of the revisions that were told;
* what was told to be refused or not done is not there; of what is unknown, it is there once or not at all;
* every read gave a beginning of the list, and all that had been acknowledged before it began; no process's reads went
  back; the plain file was never anything but such a beginning;
* nobody trusted a lease after another had been granted it (in true time, which only the simulation knows);
* nothing was taken for damaged, and no plain file for edited by hand: nobody did such a thing.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from coordinator.names import Resource
from coordinator.record.record import decode
from coordinator.testing.simulation.server import ROOT

if TYPE_CHECKING:
    from coordinator.events import Event
    from coordinator.lease import Lease
    from coordinator.testing.simulation.world import World

DOCUMENT: Final = Resource.parse("plan.json")
BOARD: Final = Resource.parse("tasks.json")
_NEVER: Final = frozenset({"log_quarantined", "inbox_damaged", "edit_absorbed", "view_edited"})
_HOLE: Final = "NUL bytes in place of what was written"


class Violation(Exception):
    """Something that must not be."""


class History:
    """What the agents of one run did and were told.

    Attributes:
        acknowledged: Tags, with the revision that was told; in the order in which they were told.
        durable: Tags that were told to be decided later.
        not_done: Tags that were told not to be done.
        tried: All tags.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.tried: set[str] = set()
        self.acknowledged: dict[str, int] = {}
        self.durable: set[str] = set()
        self.not_done: set[str] = set()
        self.reads: list[tuple[str, list[str], int]] = []
        self.views: list[tuple[str, list[str]]] = []
        self.set_aside: set[str] = set()  # agents of whose logs one was altered, and found out
        self.completed: dict[str, list[str]] = {}
        self.unknown_completions: dict[str, list[str]] = {}
        self.grants = 0
        self._longest: dict[str, int] = {}

    def told(self, event: Event) -> None:
        """An event of some workspace."""
        self._world.note(event.agent, f"event {event.kind}", f"{event.resource} {event.reason} {event.detail}")
        if event.kind in _NEVER and not self._is_excused(event):
            self._world.scheduler.fail(Violation(f"{event.agent}: {event.kind} {event.reason} {event.detail}"))

    def _is_excused(self, event: Event) -> bool:
        """Whether a log that was set aside was torn, or altered by nobody's fault: then that is what should be done."""
        if event.kind != "log_quarantined":
            return False
        kept = str(event.detail.get("kept"))
        if any(incarnation in kept for incarnation in self._world.rotten):
            self.set_aside.add(event.holder)
            return True
        if any(path.rpartition("/")[2] in kept for path in self._world.late):  # a file that came back, empty
            return True
        return event.reason == _HOLE and self._world.has_torn

    def acknowledge(self, tag: str, revision: int) -> None:
        """It was told that a tag is there."""
        self._world.note("", "ACKNOWLEDGED", f"{tag} at revision {revision}")
        self.acknowledged[tag] = revision

    def refuse(self, tag: str) -> None:
        """It was told that a tag will not be there."""
        self._world.note("", "NOT DONE", tag)
        self.not_done.add(tag)

    def read(self, who: str, tags: list[str], known: int) -> None:
        """A read of the newest content, begun when so many tags had been acknowledged."""
        if len(tags) < self._longest.get(who, 0):
            raise Violation(f"{who} read {len(tags)} tags, after {self._longest[who]}")
        self._longest[who] = len(tags)
        missing = [tag for tag in list(self.acknowledged)[:known] if tag not in tags]
        if missing:
            raise Violation(f"{who} read without {missing}, acknowledged before; it read {tags}")
        self.reads.append((who, tags, known))

    def trusts(self, who: str, lease: Lease) -> None:
        """An agent looks at the clock: if it trusts its lease, nobody may have been granted it since."""
        if lease.remaining <= 0:
            return
        fence = self.newest_fence(Resource.parse(lease.resource))
        if fence > lease.fence:
            raise Violation(f"{who} trusts fence {lease.fence} for {lease.remaining} s more, after a grant of {fence}")

    def newest_fence(self, resource: Resource) -> int:
        """The fence that stands in the newest record, as the server has it; 0 when nobody holds the lease."""
        if self._world.items is not None:
            return self._world.chains.fence_of(resource)
        nodes = self._world.server.nodes
        chain = f"{ROOT}/.coordinator/resources/{resource.state_path}/chain"
        newest = nodes[f"{chain}/{max(nodes[chain].names)}"]
        text = newest.target or nodes[f"{newest.path}/record"].data.decode()
        record = decode(text, resource=resource, path=newest.path)
        return record.lease.fence if record.lease else 0

    def lose_power(self) -> None:
        """Of a local disk: what was read may not have been durable; only what was acknowledged is promised to be."""
        self.reads.clear()
        self.views.clear()

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def judge(self, final: list[str]) -> None:
        """Holds all that was told against the list at the end."""
        place = {tag: number for number, tag in enumerate(final)}
        # An altered frame at the end of a log, what followed it torn off: nobody can tell that from a write in flight.
        excused = self.set_aside | (self._world.rotten_agents if self._world.has_torn else set())
        if len(place) != len(final):
            raise Violation(f"applied twice: {sorted({tag for tag in final if final.count(tag) > 1})}")
        for found, what in (
            (place.keys() - self.tried, "never tried, and there"),
            (self.acknowledged.keys() - place.keys(), "acknowledged, and lost"),
            (
                {tag for tag in self.durable - place.keys() if f"a{tag.partition('.')[0]}" not in excused},
                "durable, and never applied",
            ),
            (self.not_done & place.keys(), "told not to be done, and there"),
        ):
            if found:
                raise Violation(f"{what}: {sorted(found)}; the list is {final}")
        ordered = sorted((revision, place[tag]) for tag, revision in self.acknowledged.items())
        for (revision, before), (other, after) in pairwise(ordered):
            if revision < other and before > after:
                raise Violation(f"revision {revision} put {final[before]} after {final[after]} of revision {other}")
        for who, tags, _ in self.reads:
            self._beginning(who, tags, final)
        for who, tags in self.views:
            self._beginning(f"{who}, of the plain file,", tags, final)

    def _beginning(self, who: str, tags: list[str], final: list[str]) -> None:
        if tags != final[: len(tags)]:
            raise Violation(f"{who} read {tags}, which is no beginning of {final}")

    def judge_board(self, rows: list[dict[str, Any]]) -> None:
        """Holds what was told of tasks against the board at the end."""
        for row in rows:
            told = self.completed.get(row["id"], [])
            if len(told) > 1:
                raise Violation(f"task {row['id']} was completed by {told}")
            if told and (row["status"] != "done" or row["result"] != told[0]):
                raise Violation(f"task {row['id']} was completed by {told[0]}, and stands as {row}")
            maybe = self.unknown_completions.get(row["id"], [])
            if row["status"] == "done" and not told and row["result"] not in maybe:
                raise Violation(f"task {row['id']} is done by {row['result']}, which nobody said; maybe {maybe}")


def tags_of(data: bytes) -> list[str]:
    """The tags in a document's text."""
    found: list[str] = json.loads(data)["tags"]
    return found
