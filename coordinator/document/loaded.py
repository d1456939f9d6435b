"""Which text an editor had loaded, told from what it wrote (P17). Pure.

Who edits the plain file by hand works on the text that the file showed when it was loaded: seconds or minutes ago, and
other agents' updates have come since. A plain difference to the newest text would take those updates back. What the
editor had loaded is, of all texts that the file may have shown, the one that the edited text differs from at the fewest
places: at those that were edited. From any other it differs at the places that agents have changed in between as well.

    texts, newest first        c0    c1    c2    c3
    places that differ          7     5     2     9        the editor had loaded c2

Of several that differ as little the oldest is taken: from an older text fewer changes are applied, and more rejected.

What was loaded may also be older than all that is known. Then some of the places that seem edited are places that
agents have changed since. So the places at which the known texts differ among themselves are asked: unless the edited
text has by far the most of them as the one that was found has them, nothing is told. And where older texts differ from
the edited one hardly more, what it has in common with them counts as not edited.

A file that was edited may be loaded and edited again before it is replaced. So edits that were decided are asked, too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.document.patching import OPERATION_DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Place = tuple[Any, ...]

_NOTHING: Final = object()
_FAMILIAR: Final = 5  # places; for a text that lacks an element of which the edited one has an edited copy
_MARGIN: Final = 2  # places: another text that differs at so few more may be what was loaded as well
_SEEN_MIN: Final = 3  # places; fewer may be by chance, when older texts than those that are known may be meant
_SEEN_FOR_EACH: Final = 2  # of the places that agents change, so many are as they were found, for each that is not

KEY: Final = "id"  # as in difference.py


class Saved(NamedTuple):
    """An edit that was decided: what it was made from, and what it was made."""

    base: Any
    edited: Any


class Loaded(NamedTuple):
    """What an editor had loaded.

    Attributes:
        revision: Of which revision; 0 for an edit that was decided.
        base: Its value, with what it may not have shown yet taken back: what the edited text is to be compared with.
        newest: The newest text that it may have been. What differs from that, and not from ``base``, is in doubt: it
            was either taken back by hand, or never seen.
        is_doubtful: Whether they differ.
    """

    revision: int
    base: Any
    newest: Any
    is_doubtful: bool


def loaded(texts: Iterable[tuple[int, Any]], edited: Any, saved: Sequence[Saved] = ()) -> Loaded | None:
    """The text that was edited.

    Args:
        texts: Revisions and values of what the file may have shown, newest first. Nothing may be missing in between. If
            the oldest is revision 1, there was nothing before it.
        edited: What somebody made of one of them.
        saved: Edits that were decided lately.

    Returns:
        The text; None when it was an older one than these, or may have been.
    """
    known = list(texts)
    differ = [places(value, edited) for _, value in known]
    familiar: set[Place] = set()
    for _, value in known:
        _find_familiar(value, edited, (), familiar)
    weights = [len(each) + _FAMILIAR * len(each & familiar) for each in differ]
    again = _again(saved, edited)
    if again and all(len(again.differ) < weight for weight in weights):
        likely = [value for (_, value), weight in zip(known, weights, strict=True) if weight <= again.weight]
        return Loaded(0, again.value, likely[0] if likely else again.value, is_doubtful=bool(likely))
    if not known:
        return None
    least = min(weights)
    found = max(i for i, weight in enumerate(weights) if weight == least)
    if known[-1][0] != 1 and not _is_covered(known, found, differ[found]):
        return None
    revision, value = known[found]
    base = newest = value
    for i, weight in enumerate(weights):
        if weight > least + _MARGIN:
            continue
        if i > found and _is_in_part(known[i][1], base, differ[i]):
            base = _taken_back(known[i][1], base, edited, familiar)
        if i < found and newest is value and _is_in_part(known[i][1], value, differ[i]):
            newest = known[i][1]
    return Loaded(revision, base, newest, is_doubtful=newest is not base)


def _is_in_part(other: Any, found: Any, differ: Places) -> bool:
    """Whether the edited text has something as another one has it, from which it differs, and not as the one found."""
    return any(not differ.overlaps(place) for place in places(found, other))


class _Again(NamedTuple):
    """A decided edit that was edited again, where, and at how many places with those of the edit itself."""

    value: Any
    differ: Places
    weight: int


def _again(saved: Sequence[Saved], edited: Any) -> _Again | None:
    """The decided edit that was edited again, if there is one. The same text saved again is an edit of what it was."""
    found: _Again | None = None
    for each in saved:
        differ = places(each.edited, edited)
        made = places(each.base, each.edited)
        kept = sum(not differ.overlaps(place) for place in made)
        if differ and 2 * kept > len(made) and (found is None or len(differ) < len(found.differ)):
            found = _Again(each.edited, differ, len(differ) + len(made))
    return found


def _is_covered(known: list[tuple[int, Any]], found: int, differ: Places) -> bool:
    """Whether the text that was found is what was loaded, rather than an older one than is known."""
    value = known[found][1]
    seen = sum(not differ.overlaps(place) and _has(value, place) for place in places(known[-1][1], value))
    changed = Places()
    for i in range(1, len(known)):
        changed |= places(known[i][1], known[i - 1][1])
    strange = sum(changed.overlaps(place) for place in differ)
    return seen >= _SEEN_MIN and seen >= _SEEN_FOR_EACH * strange


# ── places: keys of objects, elements of arrays by their id, and whatever else, whole ────────────────────────────────


class Places(set["Place"]):
    """Places in a text. Not changed any more once it was asked for an overlap."""

    _above: set[Place] | None = None

    def overlaps(self, place: Place) -> bool:
        """Whether a place is one of these, holds one, or is part of one."""
        if self._above is None:
            self._above = {each[:end] for each in self for end in range(len(each))}
        return place in self._above or any(place[:end] in self for end in range(len(place) + 1))


def places(one: Any, other: Any) -> Places:
    """Where two texts differ."""
    found = Places()
    _compare(one, other, (), found)
    return found


def _compare(one: Any, other: Any, path: Place, found: set[Place]) -> None:
    if one is other or one == other:
        return
    parts = _parts_of(len(path), one, other)
    if parts is None:
        found.add(path)
        return
    for name in parts[0] | parts[1]:
        _compare(parts[0].get(name, _NOTHING), parts[1].get(name, _NOTHING), (*path, name), found)


def _find_familiar(value: Any, edited: Any, path: Place, found: set[Place]) -> None:
    """Finds the objects of the edited text that are an edited copy of one of the same name in another.

    They have a text in common that no other there has: who gives an element by chance an id that an agent has given to
    another, does not write that.
    """
    if value is edited or value == edited:
        return
    parts = _parts_of(len(path), value, edited)
    if parts is None:
        return
    known: Counter[tuple[str, str]] | None = None
    for name, one in parts[0].items():
        other = parts[1].get(name, _NOTHING)
        if isinstance(one, dict) and isinstance(other, dict) and one != other:
            known = known or Counter(text for each in parts[0].values() for text in _texts_of(each))
            if any(known[text] == 1 and other.get(text[0]) == text[1] for text in _texts_of(one)):
                found.add((*path, name))
        _find_familiar(one, other, (*path, name), found)


def _texts_of(element: Any) -> list[tuple[str, str]]:
    if not isinstance(element, dict):
        return []
    return [(key, text) for key, text in element.items() if key != KEY and isinstance(text, str) and text]


def _has(value: Any, place: Place) -> bool:
    """Whether something stands at a place. What is absent may have been so long before as well."""
    for name in place:
        parts = _parts(value)
        if parts is None or name not in parts:
            return False
        value = parts[name]
    return True


def _parts(value: Any) -> dict[Any, Any] | None:
    """What is compared part by part: an object's values, an array's elements by id; None for what is compared whole."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    found: dict[Any, Any] = {}
    for element in value:
        name = element.get(KEY) if isinstance(element, dict) else None
        if not isinstance(name, int | str) or isinstance(name, bool) or name in found:
            return None
        found[name] = element
    return found


def _parts_of(depth: int, *values: Any) -> list[dict[Any, Any]] | None:
    """The parts of all of them; None when they are not all of one kind that has parts, or nested too deep."""
    if depth >= OPERATION_DEPTH_MAX or len({type(value) for value in values}) > 1:
        return None
    found = []
    for value in values:
        parts = _parts(value)
        if parts is None:
            return None
        found.append(parts)
    return found


def _taken_back(older: Any, newer: Any, edited: Any, familiar: set[Place], path: Place = ()) -> Any:
    """The newer text, but as the older one wherever the edited one does not show that the newer one was seen."""
    if older is newer or older == newer or edited is newer or edited == newer:
        return newer
    if older is _NOTHING:
        return newer if path in familiar else older
    parts = None if edited == older else _parts_of(len(path), older, newer, edited)
    if parts is None:
        return older
    one, two, three = parts
    found = {}
    for name in [*two, *(name for name in one if name not in two)]:
        here = [each.get(name, _NOTHING) for each in parts]
        value = _taken_back(here[0], here[1], here[2], familiar, (*path, name))
        if value is not _NOTHING:
            found[name] = value
    if isinstance(newer, dict):
        return found
    return [found[name] for name in _in_order(list(one), list(two), list(three)) if name in found]


def _in_order(older: list[Any], newer: list[Any], edited: list[Any]) -> list[Any]:
    """The ids of both, in the order of that one which the edited text follows; the other's where it had them."""
    both = set(older) & set(newer) & set(edited)
    orders = [[name for name in names if name in both] for names in (older, newer, edited)]
    first, second = (older, newer) if orders[0] == orders[2] else (newer, older)
    found, have = list(first), set(first)
    for at, name in enumerate(second):
        if name not in have:
            found.insert(found.index(second[at - 1]) + 1 if at else 0, name)
            have.add(name)
    return found
