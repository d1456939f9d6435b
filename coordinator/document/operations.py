"""What can be asked of a document: RFC 6902 patches and RFC 7396 merge patches, on a ``Tree``, all or nothing.

An operation is a plain object, as it stands in an agent's log::

    {"do": "patch", "patch": [RFC 6902 …] [, "if": revision] [, "absent": [place, …]]}
    {"do": "merge", "patch": RFC 7396 …   [, "if": revision] [, "absent": [place, …]]}

``absent`` says what RFC 6902 has no word for: where nothing may stand yet, so that an addition never overwrites. A
place is a JSON pointer, to a key that its object has not; or ``{"in": pointer, "key": "id", "value": 7}``: no element
of that array has that id.

Wrong in itself (no list, no path, an unknown member): refused before it is submitted (``validate``); in a fold it can
only be a newer version's, and nobody may skip it (BadOperation). Wrong for the document as it is now (a test that
fails, a place that is not there): Rejected, and its agent learns it.

What jsonpatch does and does not do for us: docs/decisions/0007-patches.md.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

from coordinator.document.json_text import is_deep, refuse_unfaithful
from coordinator.document.outcome import BadOperation, Rejected
from coordinator.document.patching import (
    NEEDS,
    OPERATION_DEPTH_MAX,
    Patching,
    find,
    is_simple,
    refuse_depth,
    set_simply,
    tokens_of,
)
from coordinator.document.places import equal, pack, pointer_of, shown
from coordinator.document.tree import VALUE
from coordinator.errors import BadValue, MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.outcome import Context
    from coordinator.document.tree import Edit, Path, Tree

OPERATION_MAX_BYTES: Final = 256 << 10  # limit: as JSON; a larger change is a commit of the whole content
PATCH_MAX_OPERATIONS: Final = 1000  # limit
_MEMBERS: Final = {"do", "patch", "if", "absent"}
_ABSENT_NEEDS: Final = {"in", "key", "value"}
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


# ── before it is submitted ───────────────────────────────────────────────────────────────────────────────────────────


def as_operation(change: list[dict[str, Any]] | dict[str, Any], if_revision: int | None = None) -> dict[str, Any]:
    """The operation for a patch (a list: RFC 6902) or a merge patch (a dict: RFC 7396).

    Raises:
        BadValue: It is neither.
    """
    if not isinstance(change, list | dict):
        raise BadValue(
            f"{shown(change)} is no change: a list is a JSON Patch (RFC 6902), a dict is a merge patch (RFC 7396)",
            argument="change",
            value=shown(change),
        )
    operation = {"do": "patch" if isinstance(change, list) else "merge", "patch": change}
    return operation if if_revision is None else {**operation, "if": if_revision}


def validate(op: dict[str, Any], resource: str) -> None:
    """Refuses an operation that no document could take.

    Raises:
        BadValue: It is malformed, or too large. Says which part, and what to do.
        MalformedDocument: It holds a value that JSON has no exact word for.
    """
    flaw = _flaw(op)
    if flaw:
        raise BadValue(f"not an operation for {resource!r}: {flaw}", argument="op", value=shown(op), hint="mend it")
    refuse_unfaithful(op, resource, OPERATION_DEPTH_MAX)
    if op["do"] == "patch" and len(op["patch"]) > PATCH_MAX_OPERATIONS:
        raise BadValue(
            f"a patch of {len(op['patch']):,} operations for {resource!r}; {PATCH_MAX_OPERATIONS:,} are the most",
            argument="patch",
            value=len(op["patch"]),
            hint="split it, or commit the whole content under a lease",
        )
    size = len(pack(op))
    if size > OPERATION_MAX_BYTES:
        raise BadValue(
            f"an operation of {size:,} bytes for {resource!r}; {OPERATION_MAX_BYTES:,} are the most",
            argument="patch",
            value=size,
            hint="split it, or commit the whole content under a lease",
        )


def _flaw(op: Any) -> str:
    """What is wrong with an operation in itself; empty when nothing is."""
    if not isinstance(op, dict):
        return f"it is {shown(op)}, not an object"
    if not isinstance(op.get("do"), str) or op["do"] not in {"patch", "merge"}:
        return f"'do' is {shown(op.get('do'))}, not 'patch' or 'merge'"
    unknown = [key for key in op if key not in _MEMBERS]
    if unknown:  # it may be a newer version's condition: to ignore it would be to break it
        return f"it has an unknown member {unknown[0]!r}"
    if "patch" not in op:
        return "it has no 'patch'"
    revision = op.get("if", 0)
    if not isinstance(revision, int) or isinstance(revision, bool) or revision < 0:
        return f"'if' is {shown(revision)}, not a revision"
    return _flaw_of_absent(op.get("absent", [])) or (_flaw_of_patch(op["patch"]) if op["do"] == "patch" else "")


def _flaw_of_absent(places: Any) -> str:
    if not isinstance(places, list):
        return f"'absent' is {shown(places)}, not a list"
    for place in places:
        keyed = isinstance(place, dict)
        if keyed and (set(place) != _ABSENT_NEEDS or not isinstance(place["key"], str)):
            return f"'absent' has {shown(place)}: a place in an array is given by 'in', 'key' and 'value'"
        flaw = _flaw_of_pointer(place["in"] if keyed else place or None)
        if flaw:
            return f"'absent' has {flaw}"
    return ""


def _flaw_of_patch(patch: Any) -> str:
    if not isinstance(patch, list):
        return f"'patch' is {shown(patch)}, not a list of RFC 6902 operations"
    for i, operation in enumerate(patch):
        flaw = _flaw_of_operation(operation)
        if flaw:
            return f"operation {i} of the patch {flaw}"
    return ""


def _flaw_of_operation(operation: Any) -> str:
    if not isinstance(operation, dict):
        return f"is {shown(operation)}, not an object"
    kind = operation.get("op")
    if not isinstance(kind, str) or kind not in NEEDS:
        return f"has 'op' {shown(kind)}; known are {', '.join(NEEDS)}"
    for member in NEEDS[kind]:
        if member not in operation:
            return f"({kind}) has no {member!r}"
        flaw = "" if member == "value" else _flaw_of_pointer(operation[member])
        if flaw:
            return f"({kind}) has {flaw} as {member!r}"
    return ""


def _flaw_of_pointer(text: Any) -> str:
    if not isinstance(text, str):
        return f"{shown(text)}, which is no JSON pointer,"
    if text and text[0] != "/":
        return f"{shown(text)}, a JSON pointer that does not begin with '/',"
    return f"{shown(text)}, where '~' is followed by neither 0 nor 1," if _BAD_ESCAPE.search(text) else ""


# ── in a fold ────────────────────────────────────────────────────────────────────────────────────────────────────────


def apply(tree: Tree, op: dict[str, Any], context: Context) -> None:
    """Does what an operation asks.

    ``if`` holds when nothing was applied since that revision: it is the one before the revision that is being made, and
    no operation folded before this one into the same revision left an edit (the fold settles the tree afterwards).

    Raises:
        Rejected: It does not hold for the document as it is: ``revision`` (``expected``, ``current``), ``absent``,
            ``test`` or ``path`` (``path``), ``depth``, ``size``. The caller puts the tree back.
        BadOperation: It is malformed, or of a newer version.
    """
    if is_simple(op):
        patching = None
        for operation in op["patch"]:
            if not set_simply(tree, operation):
                patching = patching or Patching(tree)
                patching.decide(operation)
        return
    flaw = _flaw(op)
    if flaw:
        raise BadOperation(flaw)
    if is_deep(op, OPERATION_DEPTH_MAX):
        raise Rejected("depth", f"the operation is nested deeper than {OPERATION_DEPTH_MAX}")
    try:
        refuse_unfaithful(op, context.op_id, OPERATION_DEPTH_MAX)
    except MalformedDocument as error:
        raise BadOperation(error.message) from None
    _require_revision(tree, op, context)
    for place in op.get("absent", ()):
        _require_absent(tree.value, place)
    if op["do"] == "merge":
        _merge(tree, (VALUE,), op["patch"])
        return
    patching = Patching(tree)
    for operation in op["patch"]:
        patching.decide(operation)


def _require_revision(tree: Tree, op: dict[str, Any], context: Context) -> None:
    current = context.revision if tree.edits else context.revision - 1
    if op.get("if", current) != current:
        raise Rejected(
            "revision",
            f"made for revision {op['if']}, and the document is at {current}",
            expected=op["if"],
            current=current,
        )


def _require_absent(document: Any, place: Any) -> None:
    if isinstance(place, str):
        *above, key = tokens_of(place)
        holder = find(document, above)
        if not isinstance(holder, dict):
            raise Rejected("path", f"{shown(pointer_of(above))} is no object", path=place)
        if key in holder:
            raise Rejected("absent", f"something stands at {shown(place)} already", path=place)
        return
    array = find(document, tokens_of(place["in"]))
    if not isinstance(array, list):
        raise Rejected("path", f"{shown(place['in'])} is no array", path=place["in"])
    key, value = place["key"], place["value"]
    if any(isinstance(element, dict) and key in element and equal(element[key], value) for element in array):
        raise Rejected("absent", f"{shown(place['in'])} has an element with {key!r} {shown(value)}", path=place["in"])


def _merge(tree: Tree, path: Path, patch: Any) -> None:
    """RFC 7396, as edits: keys that are there stay where they are, new ones come last."""
    target = tree.get(path)
    if not isinstance(patch, dict) or not isinstance(target, dict):
        value = _without_nulls(patch)
        refuse_depth(value, len(path) - 1)
        tree.replace(path, value)
        return
    for key, value in patch.items():
        here = (*path, key)
        if value is None:
            if key in target:
                tree.remove(here)
        elif key in target:
            _merge(tree, here, value)
        else:
            value = _without_nulls(value)  # noqa: PLW2901 - what the patch means by it
            refuse_depth(value, len(here) - 1)
            tree.add(here, value)


def _without_nulls(patch: Any) -> Any:
    """What a merge patch puts where nothing, or no object, stands."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    return {key: _without_nulls(value) for key, value in patch.items() if value is not None}


# ── what was changed ─────────────────────────────────────────────────────────────────────────────────────────────────


def replay(tree: Tree, edits: Sequence[Edit]) -> None:
    """Repeats what was changed, without deciding again.

    Raises:
        ValueError: An edit does not fit the document: it was made on another.
        BadOperation: An edit of a newer version.
    """
    for i, edit in enumerate(edits):
        try:
            _repeat(tree, edit)
        except (Rejected, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"edit {i} of {len(edits)} does not fit the document: {error!r}") from error


def _repeat(tree: Tree, edit: Edit) -> None:
    match edit:
        case ["add", path, value]:
            tree.add(path, copy.deepcopy(value))
        case ["replace", path, value]:
            tree.replace(path, copy.deepcopy(value))
        case ["remove", path]:
            tree.remove(path)
        case ["patch", operations]:
            patching = Patching(tree)
            for operation in operations:
                patching.perform(operation)
        case _:
            raise BadOperation(f"an edit that this version does not know: {shown(edit)}")


def as_patch(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """The edits of the document, and not of what is kept beside it, as one RFC 6902 patch."""
    patch: list[dict[str, Any]] = []
    for kind, first, *value in edits:
        if kind == "patch":
            patch += first
        elif first[0] == VALUE:
            place = {"op": kind, "path": pointer_of(first[1:])}
            patch.append({**place, "value": value[0]} if value else place)
    return patch
