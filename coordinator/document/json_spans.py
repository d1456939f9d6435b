r"""A changed JSON text in which everything that nobody changed stands as it stood, byte for byte.

Needed for texts that no encoder would write so: arrays laid out by hand, ``1.50``, ``\/``, uneven indentation. The old
text and the new value are walked together. A part that is the same is copied, with what stands between it and its
neighbours; only parts that differ are gone into, and only what is new is encoded, laid out like its neighbours.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.document.places import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.document.json_text import Style

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DEPTH_MAX: Final = 100  # changed parts below are encoded anew: one call a level, within Python's 1,000
_PAIRED_BY: Final = "id"
_COMPARED_MAX: Final = 250_000  # pairs of elements; matching up takes time by their product


def splice(text: str, value: Any, style: Style) -> str:
    """The text of a value, with the parts that it has in common with an old text copied from there.

    Args:
        text: The old text, without a byte order mark; one that ``parse`` takes: what it refuses must not be copied.
        value: What it is to say.
        style: How new parts are laid out where there are no neighbours to follow.
    """
    return _Splicer(text, style).whole(value)


class _Child(NamedTuple):
    """A member or element of the old text: where it begins, where its value does, and where it ends."""

    begin: int
    start: int
    end: int
    key: Any
    value: Any


class _Splicer:
    def __init__(self, text: str, style: Style) -> None:
        self._text = text
        self._style = style
        self._newline = "\r\n" if "\r\n" in text else "\n"  # inside strings it is always escaped
        self._decode = json.JSONDecoder().raw_decode

    def whole(self, value: Any) -> str:
        start = self._skip(0)
        old, end = self._decode(self._text, start)
        return self._text[:start] + self._value(_Child(start, start, end, None, old), value) + self._text[end:]

    def _value(self, old: _Child, new: Any, depth: int = 0, *, lined: bool | None = None) -> str:
        if pack(old.value) == pack(new):
            return self._text[old.start : old.end]
        kind = dict if isinstance(new, dict) else list | tuple
        is_like = isinstance(new, dict | list | tuple) and isinstance(old.value, kind)
        if is_like and new and old.value and depth < _DEPTH_MAX:
            return self._container(old, new, depth)
        return self._fresh(new, old, _indent_at(self._text, old.begin), lined=lined)

    # ── objects and arrays ───────────────────────────────────────────────────────────────────────────────────────────

    def _container(self, old: _Child, new: Any, depth: int) -> str:
        children = self._children(old)
        layout = _Layout(self._text, self._style, old, children)
        if isinstance(new, dict):
            places = {child.key: i for i, child in enumerate(children)}
            items, matches = list(new.items()), [places.get(key) for key in new]
        else:
            items, matches = [(None, item) for item in new], _paired([child.value for child in children], new)
        parts = [layout.opening]
        before: int | None = None
        for n, ((key, item), match) in enumerate(zip(items, matches, strict=True)):
            if n:
                parts.append(layout.between(before, match))
            if match is None:
                model = children[before or 0]
                if isinstance(new, dict):
                    parts += [json.dumps(key, ensure_ascii=self._style.ascii_only), layout.colon(model)]
                parts.append(self._fresh(item, model, layout.indent, lined=layout.is_lined))
            else:
                child = children[match]
                parts.append(self._text[child.begin : child.start])
                parts.append(self._value(child, item, depth + 1, lined=layout.is_lined))
                before = match
        return "".join([*parts, layout.closing])

    def _children(self, old: _Child) -> list[_Child]:
        text, found = self._text, []
        keyed = isinstance(old.value, dict)
        at = old.start
        while True:
            key, begin = None, self._skip(at + 1)
            start = begin
            if keyed:
                key, end_of_key = self._decode(text, begin)
                start = self._skip(self._skip(end_of_key) + 1)
            value, end = self._decode(text, start)
            found.append(_Child(begin, start, end, key, value))
            at = self._skip(end)
            if text[at] != ",":
                return found

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        assert match is not None  # noqa: S101 - it matches nothing, too
        return match.end()

    # ── what is new ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _fresh(self, value: Any, model: _Child, indent: str, *, lined: bool | None) -> str:
        """A value encoded like what it replaces or stands beside.

        Args:
            value: What is encoded.
            model: What it is laid out like, if that is an object or array with something in it.
            indent: What stands before it on its line.
            lined: Whether it takes several lines when there is nothing to be laid out like.
        """
        span = self._text[model.start : model.end]
        if isinstance(model.value, dict | list) and model.value:
            lined = "\n" in span
        elif lined is None:
            lined = "\n" in self._text.strip()
        ascii_only, unit = self._style.ascii_only, self._style.indent or "  "
        if not lined:
            sample = span if isinstance(model.value, dict | list) and model.value else self._text
            comma, colon = ", " if ", " in sample else ",", ": " if '": ' in sample else ":"
            return json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))
        text = json.dumps(value, ensure_ascii=ascii_only, indent=unit, separators=(",", ": "))
        return text.replace("\n", self._newline + indent)


class _Layout:
    """What stands around and between the parts of one object or array."""

    def __init__(self, text: str, style: Style, old: _Child, children: Sequence[_Child]) -> None:
        self._text = text
        self.opening = text[old.start : children[0].begin]
        self.closing = text[children[-1].end : old.end]
        self._between = [text[one.end : other.begin] for one, other in itertools.pairwise(children)]
        self.is_lined = any("\n" in space for space in (self.opening, *self._between))
        if not self._between:
            space = self.opening[1:]
            self._between = ["," + space if "\n" in space else ", " if style.indent else style.comma]
        lined = [space for space in (*self._between, self.opening) if "\n" in space]
        self.indent = lined[0].rpartition("\n")[2] if lined else _indent_at(text, old.begin)

    def between(self, before: int | None, match: int | None) -> str:
        """What goes before a part that is new (None) or stood at an index, after the last one that was kept."""
        if match:
            return self._between[match - 1] if match <= len(self._between) else self._between[0]
        return self._between[min(before or 0, len(self._between) - 1)]

    def colon(self, model: _Child) -> str:
        """What stands between a key and its value."""
        end_of_key = json.JSONDecoder().raw_decode(self._text, model.begin)[1]
        return self._text[end_of_key : model.start]


def _indent_at(text: str, position: int) -> str:
    """What the line of a position begins with."""
    match = re.compile(r"[ \t]*").match(text, text.rfind("\n", 0, position) + 1)
    return match.group() if match else ""


# ── which element became which ───────────────────────────────────────────────────────────────────────────────────────


def _paired(old: Sequence[Any], new: Sequence[Any]) -> list[int | None]:
    """For each new element the old one that it is, or was made of; in rising order."""
    packed_old, packed_new = [pack(item) for item in old], [pack(item) for item in new]
    shorter, first, last = min(len(old), len(new)), 0, 0
    while first < shorter and packed_old[first] == packed_new[first]:
        first += 1
    while last < shorter - first and packed_old[-1 - last] == packed_new[-1 - last]:
        last += 1
    result: list[int | None] = [None] * len(new)
    result[:first] = range(first)
    result[len(new) - last :] = range(len(old) - last, len(old))
    changed_old, changed_new = packed_old[first : len(old) - last], packed_new[first : len(new) - last]
    blocks: Sequence[tuple[int, int, int]] = [(len(changed_old), len(changed_new), 0)]
    if len(changed_old) * len(changed_new) <= _COMPARED_MAX:
        blocks = difflib.SequenceMatcher(None, changed_old, changed_new, autojunk=False).get_matching_blocks()
    i = n = 0
    for at_old, at_new, size in blocks:
        _fill(old, new, result, range(first + i, first + at_old), range(first + n, first + at_new))
        result[first + at_new : first + at_new + size] = range(first + at_old, first + at_old + size)
        i, n = at_old + size, at_new + size
    return result


def _fill(old: Sequence[Any], new: Sequence[Any], result: list[int | None], of: range, into: range) -> None:
    """Pairs what lies between equal elements: by id, and what is left over one after the other."""
    places: dict[bytes | None, list[int]] = {}
    for i in reversed(of):
        places.setdefault(_name(old[i]), []).append(i)
    floor = of.start
    for n in into:
        there = places.get(_name(new[n]), [])
        while there and there[-1] < floor:
            there.pop()
        if there:
            floor = there.pop() + 1
            result[n] = floor - 1
    bounds, bound = [], of.stop
    for n in reversed(into):
        place = result[n]
        bound = bound if place is None else place
        bounds.append(bound)
    floor = of.start
    for n in into:
        bound, place = bounds.pop(), result[n]
        if place is None and floor < bound:
            result[n] = place = floor
        floor = floor if place is None else place + 1


def _name(element: Any) -> bytes | None:
    return pack(element[_PAIRED_BY]) if isinstance(element, dict) and _PAIRED_BY in element else None
