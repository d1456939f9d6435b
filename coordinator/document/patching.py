"""An RFC 6902 patch on a ``Tree``, operation by operation, by jsonpatch, with what that leaves to us.

The library changes a document in place and cannot tell what it touched; the tree must know it beforehand, to be able to
put it back. So the dicts and lists that an operation changes are looked up first, and what is not there is refused with
a sentence that shows no more of the document than it has to. Tests are ours, so that their outcome does not depend on
which version of the library a host has: docs/decisions/0007-patches.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.json_text import DEPTH_MAX, is_deep
from coordinator.document.outcome import Rejected
from coordinator.document.places import equal, pointer_of, shown, weight
from coordinator.document.tree import VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.tree import Tree

OPERATION_DEPTH_MAX: Final = 100  # limit: what is copied and compared by recursion, within Python's 1,000 calls
COPY_MAX_BYTES: Final = 4 << 20  # limit: what one patch may copy; thirty copies of everything into itself are 2^30

NEEDS: Final = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
_INDEX: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})")


_SIMPLE: Final = ("add", "replace", "test")
_MEMBERS: Final = frozenset({"op", "path", "value"})
_EXACT_MAX: Final = 2**63
_PLAIN: Final = frozenset({"do", "patch"})


def is_simple(op: dict[str, Any]) -> bool:
    """Whether a patch only tests and sets members to scalars, at places that are named without escapes.

    By far the most are such: they are done here, in an eighth of the time, and without a copy of what they change.
    """
    if type(op) is not dict or op.keys() != _PLAIN or op["do"] != "patch" or type(op["patch"]) is not list:
        return False
    for step in op["patch"]:
        if type(step) is not dict or step.keys() != _MEMBERS or step["op"] not in _SIMPLE:
            return False
        path, value = step["path"], step["value"]
        if type(path) is not str or path[:1] != "/" or "~" in path or not path.isascii():
            return False
        if type(value) is str:
            is_plain = value.isascii()  # others are looked at with care
        elif type(value) is int or type(value) is float:
            is_plain = -_EXACT_MAX < value < _EXACT_MAX
        else:
            is_plain = value is None or type(value) is bool
        if not is_plain:
            return False
    return True


def set_simply(tree: Tree, step: dict[str, Any]) -> bool:
    """Does one step of a simple patch; False, and nothing done, when it does not hold or its place is unusual."""
    path: list[Any] = step["path"].split("/")
    path[0] = VALUE
    holder = tree.roots[VALUE]
    for i in range(1, len(path) - 1):
        part = path[i]
        if type(holder) is list and _INDEX.fullmatch(part) and int(part) < len(holder):
            part = path[i] = int(part)
        elif type(holder) is not dict or part not in holder:
            return False
        holder = holder[part]
    last = path[-1]
    if type(holder) is not dict:
        return False
    is_there = last in holder
    if step["op"] == "test":
        return is_there and equal(holder[last], step["value"])
    if is_there:
        tree.replace(path, step["value"])
    elif step["op"] == "add":
        tree.add(path, step["value"])
    return is_there or step["op"] == "add"


class Patching:
    """One RFC 6902 patch on its way, operation by operation: a later one may go into what an earlier one made."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._kept: dict[int, Any] = {}  # what the tree's journal has kept since this patch began
        self._copied = 0

    def decide(self, operation: dict[str, Any]) -> None:
        """Does one operation if it holds.

        Raises:
            Rejected: It does not.
        """
        kind, document = operation["op"], self._tree.value
        path = tokens_of(operation["path"])
        if kind == "test":
            _require_test(document, path, operation)
            return
        source = tokens_of(operation["from"]) if "from" in NEEDS[kind] else ()
        if kind == "remove":
            value = None
        elif kind in {"add", "replace"}:
            value = operation["value"]
        else:
            value = find(document, source)
        if kind == "move" and path[: len(source)] == source:
            if path == source:
                return
            raise _nowhere(path, f"{shown(operation['from'])} cannot be moved into itself")
        if kind == "copy":
            if is_deep(value, OPERATION_DEPTH_MAX):
                raise Rejected("depth", f"a copy may be nested {OPERATION_DEPTH_MAX} deep", path=operation["from"])
            self._copied += weight(value, COPY_MAX_BYTES)
            if self._copied > COPY_MAX_BYTES:
                raise Rejected("size", f"a patch may copy {COPY_MAX_BYTES:,} bytes at most", path=operation["path"])
        if kind != "move" or len(path) > len(source):
            refuse_depth(value, len(path))
        self.perform(operation)

    def perform(self, operation: dict[str, Any]) -> None:
        """Does one operation that is no test.

        Raises:
            Rejected: There is no such place.
        """
        import jsonpatch  # noqa: PLC0415 - 15 ms that no lease and no plain read needs

        path = tokens_of(operation["path"])

        def change(document: Any) -> Any:
            try:
                return jsonpatch.apply_patch(document, [operation], in_place=True)
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise _nowhere(path, str(error)[:200]) from None

        holders = [each for each in self._holders(operation, path) if id(each) not in self._kept]
        members = ("op", *NEEDS[operation["op"]])
        self._tree.patched(change, holders, [{member: operation[member] for member in members}])
        self._kept.update((id(each), each) for each in holders)

    def _holders(self, operation: dict[str, Any], path: Sequence[str]) -> list[Any]:
        """The dicts and lists that an operation changes."""
        document = self._tree.value
        if operation["op"] != "move":
            return [_holder(document, path)] if path else []
        source = tokens_of(operation["from"])
        if not source:
            raise _nowhere(source, "the whole document cannot be moved")
        losing = _holder(document, source)
        if not path:
            return [losing]
        gap = int(source[-1]) if isinstance(losing, list) and _INDEX.fullmatch(source[-1]) else None
        gaining = _holder(document, path, losing, gap)
        return [losing] if gaining is losing else [losing, gaining]


def _require_test(document: Any, path: Sequence[str], operation: dict[str, Any]) -> None:
    expected, where = operation["value"], operation["path"]
    text = f"the test of {shown(where)} failed: expected {shown(expected)}, found "
    try:
        found = find(document, path)
    except Rejected as missing:
        raise Rejected("test", f"{text}nothing ({missing.text})", path=where, expected=shown(expected)) from None
    if not equal(found, expected):
        raise Rejected("test", text + shown(found), path=where, expected=shown(expected), found=shown(found))


def refuse_depth(value: Any, above: int) -> None:
    """Rejects what would be nested too deep to be written, so many levels below the top."""
    if is_deep(value, DEPTH_MAX - above):
        raise Rejected("depth", f"the document would be nested deeper than {DEPTH_MAX}")


# ── places ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def tokens_of(pointer: str) -> tuple[str, ...]:
    """The parts of a JSON pointer whose form was checked."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _nowhere(path: Sequence[str], what: str) -> Rejected:
    pointer = pointer_of(path)
    return Rejected("path", f"{shown(pointer)} is no place for it: {what}", path=pointer)


def find(document: Any, path: Sequence[str]) -> Any:
    """What stands at a path; Rejected when nothing does."""
    if not path:
        return document
    holder, last = _holder(document, path), path[-1]
    return _step(holder, last, path)


def _holder(document: Any, path: Sequence[str], losing: Any = None, gap: int | None = None) -> Any:
    """The dict or list in which a path's last part is or would be.

    Args:
        document: Where to look.
        path: At least one part.
        losing: An array that a move takes an element from before it puts it down; the path is meant as it is then.
        gap: The index of that element.
    """
    place = document
    for token in path[:-1]:
        shifted = place is losing and gap is not None and _INDEX.fullmatch(token) and int(token) >= gap
        place = _step(place, str(int(token) + 1) if shifted else token, path)
    if not isinstance(place, dict | list):
        raise _nowhere(path, f"{shown(pointer_of(path[:-1]))} is neither an object nor an array")
    return place


def _step(place: Any, token: str, path: Sequence[str]) -> Any:
    if isinstance(place, dict):
        if token in place:
            return place[token]
        raise _nowhere(path, f"there is no key {shown(token)}")
    if isinstance(place, list):
        if not _INDEX.fullmatch(token):
            raise _nowhere(path, f"{shown(token)} is no index of an array")
        if int(token) < len(place):
            return place[int(token)]
        raise _nowhere(path, f"the array has {len(place)} elements")
    raise _nowhere(path, f"{shown(token)} is looked for in what is neither an object nor an array")
