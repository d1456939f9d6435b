"""What somebody changed by hand, as operations that find their place or are refused (P17).

Between the text that was edited and the document as it is now lie other agents' changes. The edit becomes a list of
independent operations, each all or nothing, each with tests of what it replaces: where the others changed other places
it is applied and theirs stay; where they changed the same place it is rejected, and nothing of theirs is overwritten.

    a value that was replaced     test of the old value, replace
    a key that was removed        test of the old value, remove
    a key that was added          nothing may stand there (``absent``), add
    an array with ids             element by element, see below
    any other array               as one value

Elements of an array are told apart by a member, ``id``, when they are objects that all have one, each another. An index
says nothing once others have added and removed elements: each operation that goes into an element tests its id first,
and one that removes an element tests all of it. Insertions test the id of the element that they follow, and that theirs
is not taken. Indices hold in the order of the list, whether or not the operations before were applied: an array's
elements are changed first, then inserted and removed from its end to its beginning, then put into another order.

A changed order of keys is no change that JSON Patch can say, and is not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.document.json_text import is_deep
from coordinator.document.patching import OPERATION_DEPTH_MAX
from coordinator.document.places import pointer_of, same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.tree import Path

    Op = dict[str, Any]
    Patch = list[Op]

_NOTHING: Final = object()


def difference(old: Any, new: Any, now: Any = _NOTHING, *, key: str = "id") -> list[dict[str, Any]]:
    """The operations that make of a document what somebody made of an older text of it.

    Args:
        old: What was edited.
        new: What it was made.
        now: The document as it is, to find the places in; ``old`` if not given. What it has already is not told.
        key: The member by which elements of arrays are told apart.

    Returns:
        Operations, to be submitted in this order. Applied to ``old``, without ``now``, all succeed and give ``new``.
    """
    finder = _Finder(key)
    now = old if now is _NOTHING else now
    if any(is_deep(value, OPERATION_DEPTH_MAX) for value in (old, new, now)):
        finder.replace((), old, new, ())
    else:
        finder.compare((), old, new, now, ())
    return finder.found


class _Finder:
    """Walks the three documents together. ``guards`` are the tests that lead to where it is."""

    def __init__(self, key: str) -> None:
        self.found: list[dict[str, Any]] = []
        self._key = key

    def compare(self, path: Path, old: Any, new: Any, now: Any, guards: Sequence[Op]) -> None:
        if _is_same(old, new) or _is_same(now, new):
            return
        if all(isinstance(value, dict) for value in (old, new, now)):
            self._objects(path, old, new, now, guards)
            return
        ids_old, ids_new = self._ids(old), self._ids(new)
        if ids_old is None or ids_new is None or not isinstance(now, list):
            self.replace(path, old, new, guards)
            return
        ids_now = self._ids(now)
        now = _Elements(old, ids_old) if ids_now is None else _Elements(now, ids_now)
        self._arrays(path, _Elements(old, ids_old), _Elements(new, ids_new), now, guards)

    def replace(self, path: Path, old: Any, new: Any, guards: Sequence[Op]) -> None:
        place = pointer_of(path)
        self.tell([*guards, _op("test", place, old), _op("replace", place, new)])

    def tell(self, patch: Patch, absent: Sequence[Any] = ()) -> None:
        operation: dict[str, Any] = {"do": "patch", "patch": patch}
        self.found.append({**operation, "absent": list(absent)} if absent else operation)

    def _objects(
        self, path: Path, old: dict[str, Any], new: dict[str, Any], now: dict[str, Any], guards: Sequence[Op]
    ) -> None:
        for name in (*old, *(name for name in new if name not in old)):
            here, current = (*path, name), now.get(name, _NOTHING)
            place = pointer_of(here)
            if name in old and name in new:
                self.compare(here, old[name], new[name], current, guards)
            elif name in new:
                if not _is_same(current, new[name]):
                    self.tell([*guards, _op("add", place, new[name])], [place])
            elif current is not _NOTHING:
                self.tell([*guards, _op("test", place, old[name]), {"op": "remove", "path": place}])

    # ── arrays whose elements have ids ───────────────────────────────────────────────────────────────────────────────

    def _ids(self, array: Any) -> dict[Any, int] | None:
        """Where each id stands in an array whose elements all have one; None for any other value."""
        if not isinstance(array, list):
            return None
        ids: dict[Any, int] = {}
        for i, element in enumerate(array):
            name = element.get(self._key) if isinstance(element, dict) else None
            if not isinstance(name, int | str) or isinstance(name, bool) or name in ids:
                return None
            ids[name] = i
        return ids

    def _arrays(self, path: Path, old: _Elements, new: _Elements, now: _Elements, guards: Sequence[Op]) -> None:
        for name, at in old.ids.items():
            if name in new.ids:
                here = (*path, now.ids.get(name, at))
                self.compare(here, old.get(name), new.get(name), now.get(name), [*guards, self._is(here, name)])
        follows = _anchors(old, new, now)
        steps: list[tuple[int, int, Patch, list[Any]]] = [
            (now.ids[name], 0, [*guards, *self._removal((*path, now.ids[name]), old.get(name))], [])
            for name in old.ids
            if name in now.ids and name not in new.ids
        ]
        for name, anchor in follows.items():
            if _is_same(now.get(name), new.get(name)):
                continue
            at = -1 if anchor is None else now.ids[anchor]
            patch = [*guards, *([] if anchor is None else [self._is((*path, at), anchor)])]
            patch.append(_op("add", pointer_of((*path, at + 1)), new.get(name)))
            absent = {"in": pointer_of(path), "key": self._key, "value": name}
            steps.append((at, 1 + new.ids[name], patch, [absent]))
        for _, _, patch, absences in sorted(steps, key=lambda step: step[:2], reverse=True):
            self.tell(patch, absences)
        moves = self._moves(path, old, new, now, follows)
        if moves:
            self.tell([*guards, *moves])

    def _is(self, path: Path, name: Any) -> Op:
        return _op("test", pointer_of((*path, self._key)), name)

    def _removal(self, path: Path, element: Any) -> Patch:
        place = pointer_of(path)
        return [_op("test", place, element), {"op": "remove", "path": place}]

    def _moves(self, path: Path, old: _Elements, new: _Elements, now: _Elements, follows: dict[Any, Any]) -> Patch:
        """Puts the elements that were edited into their new order; those that others added stay where they are."""
        kept = old.ids.keys() & new.ids.keys() & now.ids.keys()
        orders = [[name for name in each.ids if name in kept] for each in (old, new, now)]
        if orders[0] == orders[1] or orders[1] == orders[2]:
            return []
        patch: Patch = []
        if orders[0] != orders[2]:  # others changed the order as well: a test that fails says so
            names = zip(old.ids, [*now.ids, *[_NOTHING] * len(old.ids)], strict=False)
            differs = next(i for i, (was, is_now) in enumerate(names) if was != is_now)
            patch.append(self._is((*path, differs), list(old.ids)[differs]))
        found = _expected(old, new, now, follows)
        known = iter([name for name in new.ids if name in found])
        wanted = [next(known) if name in new.ids else name for name in found]
        for to, name in enumerate(wanted):
            if found[to] != name:
                start = found.index(name, to)
                patch += [self._is((*path, start), name), self._is((*path, to), found[to])]
                patch.append({"op": "move", "from": pointer_of((*path, start)), "path": pointer_of((*path, to))})
                found.insert(to, found.pop(start))
        return patch


class _Elements(NamedTuple):
    """An array, and where each id stands in it."""

    array: list[Any]
    ids: dict[Any, int]

    def get(self, name: Any) -> Any:
        return self.array[self.ids[name]] if name in self.ids else _NOTHING


def _anchors(old: _Elements, new: _Elements, now: _Elements) -> dict[Any, Any]:
    """For each element that was inserted, the one that it follows and that is still there; None at the beginning."""
    found: dict[Any, Any] = {}
    anchor: Any = None
    for name in new.ids:
        if name not in old.ids:
            found[name] = anchor
        elif name in now.ids:
            anchor = name
    return found


def _expected(old: _Elements, new: _Elements, now: _Elements, follows: dict[Any, Any]) -> list[Any]:
    """The ids as they stand once all insertions and removals were applied."""
    after: dict[Any, list[Any]] = {}
    for name, anchor in follows.items():
        if name not in now.ids:
            after.setdefault(anchor, []).append(name)
    names = after.get(None, [])
    for name in now.ids:
        if name in new.ids or name not in old.ids:
            names.append(name)
        names += after.get(name, [])
    return names


def _is_same(one: Any, other: Any) -> bool:
    return one is not _NOTHING and other is not _NOTHING and same(one, other)


def _op(kind: str, path: str, value: Any) -> Op:
    return {"op": kind, "path": path, "value": value}
