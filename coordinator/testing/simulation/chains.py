"""Every record that is put, in either store, in the order of true time: what moves from store to store may not break.

Of each resource, over both stores:

* no number is used twice, and none after a greater one: n only grows (P1, P3);
* fences only grow, and a grant's is its own n (P3);
* epochs only grow, and what is put follows a move, if there was one (P28).

A number put on the mount below the newest one there is left out: that is what a thawed writer does to a collected
chain, and the look after the append takes care of it (P18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordinator.record.record import Record, decode
from coordinator.record.table_item import RECORD
from coordinator.testing.simulation.server import ROOT, name_of, parent_of

if TYPE_CHECKING:
    from coordinator.names import Resource
    from coordinator.testing.simulation.expressions import Item
    from coordinator.testing.simulation.server import Node
    from coordinator.testing.simulation.world import World

_RESOURCES: Final = f"{ROOT}/.coordinator/resources/"
_CHAIN: Final = "/chain"


class Chains:
    """The newest record of each resource, and what follows on it.

    Args:
        world: Whose stores.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._newest: dict[str, Record] = {}
        self._fences: dict[str, int] = {}
        self.moves = 0

    def begin(self) -> None:
        """Takes what stands; from now on every record is looked at."""
        self.recount()
        self._world.server.on_name = self._named
        if self._world.items is not None:
            self._world.items.on_change = self._changed

    def recount(self) -> None:
        """After a power failure: what was not durable on the disk counts no more."""
        self._newest.clear()
        self._fences.clear()
        for path, node in self._world.server.nodes.items():
            if path.endswith(_CHAIN) and path.startswith(_RESOURCES) and node.names:
                self._take(_state_path(path), _record_of(node.names[max(node.names)]))
        items = self._world.items
        for (_, sort_key), item in items.standing.items() if items is not None else ():
            if sort_key.startswith(RECORD):
                self._take(sort_key.removeprefix(RECORD), _decoded(item["record"]["S"], sort_key))

    def _take(self, state_path: str, record: Record) -> None:
        known = self._newest.get(state_path)
        if known is None or known.n < record.n:
            self._newest[state_path] = record
        if record.lease is not None:
            self._fences[state_path] = max(self._fences.get(state_path, 0), record.lease.fence)

    # ── what is put ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _named(self, node: Node) -> None:
        """A name on the mount."""
        folder = parent_of(node.path)
        if folder.endswith(_CHAIN) and folder.startswith(_RESOURCES):
            names = self._world.server.nodes[folder].names
            if max(names) == name_of(node.path):
                self._put("the mount", _state_path(folder), _record_of(node))

    def _changed(self, where: tuple[str, str], item: Item | None) -> None:
        """An item of the table."""
        if where[1].startswith(RECORD) and item is not None:
            self._put("the table", where[1].removeprefix(RECORD), _decoded(item["record"]["S"], where[1]))

    def _put(self, store: str, state_path: str, record: Record) -> None:
        before, fence = self._newest.get(state_path), self._fences.get(state_path, 0)
        self.moves += record.kind in {"sealed", "import", "moved", "opened"}
        wrong = ""
        if before is not None and record.n <= before.n:
            wrong = f"after {before.n} ({before.kind}, of epoch {before.epoch})"
        elif before is not None and record.epoch < before.epoch:
            wrong = f"after epoch {before.epoch}"
        elif record.lease is not None and record.lease.fence < fence:
            wrong = f"with fence {record.lease.fence} after {fence}"
        if wrong:
            self._world.violated(
                f"{state_path}: record {record.n} ({record.kind} by {record.agent}, of epoch {record.epoch}) "
                f"was put into {store} {wrong}"
            )
        self._take(state_path, record)

    def fence_of(self, resource: Resource) -> int:
        """The fence of the lease that stands in the newest record of both stores; 0: it is free, or unknown."""
        newest = self._newest.get(resource.state_path)
        return newest.lease.fence if newest is not None and newest.lease is not None else 0


def _state_path(folder: str) -> str:
    return folder.removeprefix(_RESOURCES).removesuffix(_CHAIN)


def _record_of(node: Node) -> Record:
    return _decoded(node.target or node.names["record"].data.decode(), node.path)


def _decoded(text: str, where: str) -> Record:
    return decode(text, resource=where, path=where)
