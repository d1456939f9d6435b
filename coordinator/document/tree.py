"""A JSON value that is changed step by step, can be put back, and says what was changed.

Folding decides operations one after the other on one value in memory. Each may fail half-way (all or nothing), and the
whole fold may be beaten by another compactor's: so every change leaves behind how to undo it. Copying the value first
would cost its size for every operation. What stands goes into the revision as *edits*, plain lists, so that whoever
catches up repeats changes instead of decisions::

    ["add", path, value]        a new key, or an insertion into an array before that index ("-": at its end)
    ["replace", path, value]    another value for a key or index that is there
    ["remove", path]
    ["patch", [operations]]     an RFC 6902 patch as it was applied, without its tests

A path is a list of keys and indices. Its first part names the root: ``"value"``, the user's document, or ``"side"``,
what is kept about it and is none of the user's business (claims, for example).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Path = list[Any] | tuple[Any, ...]
    Edit = list[Any]

VALUE: Final = "value"
SIDE: Final = "side"
END: Final = "-"
_HOLDERS: Final = frozenset({dict, list})


def copy_of(value: Any) -> Any:
    """A JSON value of its own; a quarter of what copy.deepcopy takes."""
    if type(value) is dict:
        return {key: copy_of(inner) if type(inner) in _HOLDERS else inner for key, inner in value.items()}
    if type(value) is list:
        return [copy_of(inner) if type(inner) in _HOLDERS else inner for inner in value]
    return value


class Tree:
    """A value and its side table.

    Args:
        value: The user's document; owned by this tree from now on.
        side: What is kept beside it.
    """

    def __init__(self, value: Any = None, side: dict[str, Any] | None = None) -> None:
        self.roots: dict[str, Any] = {VALUE: value, SIDE: {} if side is None else side}
        self.edits: list[Edit] = []
        self.watchers: list[Callable[[Path | None], None]] = []
        """Called after each change and each undoing with its path, and with None when anything may have changed."""
        self._undo: list[tuple[Any, ...]] = []

    @property
    def value(self) -> Any:
        """The user's document as it is now."""
        return self.roots[VALUE]

    @property
    def side(self) -> dict[str, Any]:
        """What is kept beside it."""
        side: dict[str, Any] = self.roots[SIDE]
        return side

    def get(self, path: Path) -> Any:
        """What stands at a path. KeyError or IndexError when nothing does."""
        found: Any = self.roots
        for part in path:
            found = found[part]
        return found

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, path: Path, value: Any) -> None:
        """Adds a key, or inserts into an array. A key that is there already is an error of the caller."""
        holder, last = self.get(path[:-1]), path[-1]
        if isinstance(holder, list):
            index = len(holder) if last == END else last
            holder.insert(index, value)
            path = (*path[:-1], index)
            self._undo.append(("remove", holder, index, None, path))
        else:
            if last in holder:
                raise KeyError(last)
            holder[last] = value
            self._undo.append(("remove", holder, last, None, path))
        self._changed("add", path, value)

    def replace(self, path: Path, value: Any) -> None:
        """Gives a key or index that is there another value."""
        holder, last = self.get(path[:-1]), path[-1]
        self._undo.append(("replace", holder, last, holder[last], path))
        holder[last] = value
        self._changed("replace", path, value)

    def put(self, path: Path, value: Any) -> None:
        """Sets a key, whether it is there or not."""
        holder = self.get(path[:-1])
        if path[-1] in holder:
            self.replace(path, value)
        else:
            self.add(path, value)

    def remove(self, path: Path) -> None:
        """Removes a key or an array's element."""
        holder, last = self.get(path[:-1]), path[-1]
        if isinstance(holder, list):
            self._undo.append(("insert", holder, last, holder[last], path))
        else:  # put back where it stood: the order of keys is the user's
            self._undo.append(("keys", holder, None, dict(holder), path))
        del holder[last]
        self._changed("remove", path)

    def patched(self, change: Callable[[Any], Any], holders: Iterable[Any], operations: list[Any]) -> None:
        """Lets somebody else's code change the document.

        Args:
            change: Is given the document; returns what it is now (the same object or another).
            holders: Every dict and list that it may change, by itself and not by copy.
            operations: What is put into the edits for it.
        """
        for holder in holders:
            self._undo.append(("keys" if isinstance(holder, dict) else "items", holder, None, holder.copy(), None))
        self._undo.append(("replace", self.roots, VALUE, self.roots[VALUE], None))
        self.roots[VALUE] = change(self.roots[VALUE])
        self.edits.append(["patch", operations])
        self._tell(None)

    def _changed(self, kind: str, path: Path, *value: Any) -> None:
        # A copy: what is in the tree may be changed again by the next operation, and this edit says what was done now.
        self.edits.append([kind, list(path), *map(copy_of, value)])
        self._tell(path)

    def _tell(self, path: Path | None) -> None:
        for watcher in self.watchers:
            watcher(path)

    # ── putting back ─────────────────────────────────────────────────────────────────────────────────────────────────

    def mark(self) -> tuple[int, int]:
        """Where it stands now, for ``undo_to`` and ``edits_since``."""
        return len(self._undo), len(self.edits)

    def edits_since(self, mark: tuple[int, int]) -> list[Edit]:
        """What was changed since a mark."""
        return self.edits[mark[1] :]

    def undo_to(self, mark: tuple[int, int]) -> None:
        """Puts everything back as it was at a mark."""
        while len(self._undo) > mark[0]:
            kind, holder, last, old, path = self._undo.pop()
            if kind == "remove":
                del holder[last]
            elif kind == "replace":
                holder[last] = old
            elif kind == "insert":
                holder.insert(last, old)
            elif kind == "items":
                holder[:] = old
            else:
                holder.clear()
                holder.update(old)
            self._tell(path)
        del self.edits[mark[1] :]

    def settle(self) -> None:
        """What was changed so far stands: there is no way back behind this point, and its edits are forgotten."""
        self._undo.clear()
        self.edits.clear()
