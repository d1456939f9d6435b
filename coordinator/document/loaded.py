"""Which text an editor had loaded, told from what it wrote (P17). Pure.

Who edits the plain file by hand works on the text that the file showed when it was loaded: seconds or minutes ago, and
other agents' updates have come since. A plain comparison with the newest text would take those updates back. So each
two texts that followed each other, an older and a newer one, are asked: of the places at which they differ, how many
has the edited text as the newer one has them (*seen*), and how many as the older one has them (*unseen*)? What the
editor had loaded is where the unseen end and the seen begin. A place that has neither value was edited, and tells
nothing.

    texts, newest first         c0     c1     c2     c3
    seen : unseen                  0:4    0:1    3:0        the editor had loaded c2

A single place may tell the wrong thing: somebody writes by chance what an agent wrote, or takes back what one did. So
it is the text that the fewest places contradict, and of several the oldest: from an older text fewer changes are
applied, and more of them refused. When all that is known was unseen, the editor may have loaded an older text than is
known; then nothing is told. When the texts next to the one that was loaded contradict each other, one that stood
between them may be missing: then what was unseen counts as not edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.document.patching import OPERATION_DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOTHING: Final = object()
_SHOWN_MIN: Final = 3  # places; fewer may be by chance, when the editor may have loaded what is not known
_ENOUGH: Final = 12  # places seen, more than unseen: older texts are not asked

KEY: Final = "id"  # as in difference.py


@dataclass
class _Votes:
    """How the places vote at which an older and a newer text differ.

    ``shown`` counts those of the seen at which something stands: what is absent may have been so long before as well.
    """

    seen: int = 0
    unseen: int = 0
    shown: int = 0


class Loaded(NamedTuple):
    """What an editor had loaded.

    Attributes:
        revision: Of which revision.
        base: Its value, with what it may not have shown yet taken back: what the edited text is to be compared with.
        newest: The newest text that it may have been. What differs from that, and not from ``base``, is in doubt: it
            was either taken back by hand, or never seen.
        before: A revision before that newest one; 0 when nothing is in doubt.
    """

    revision: int
    base: Any
    newest: Any
    before: int


def loaded(texts: Iterable[tuple[int, Any]], edited: Any) -> Loaded | None:
    """The text that was edited.

    Args:
        texts: Revisions and values of what the file may have shown, newest first. Nothing may be missing in between. If
            the oldest is revision 1, there was nothing before it.
        edited: What somebody made of one of them.

    Returns:
        The text; None when it was an older one than these, or may have been.
    """
    known: list[tuple[int, Any]] = []
    votes: list[_Votes] = []
    balance = 0
    for text in texts:
        if known:
            votes.append(_Votes())
            _count(text[1], known[-1][1], edited, votes[-1])
            balance += votes[-1].seen - votes[-1].unseen
        known.append(text)
        if balance >= _ENOUGH:
            break
    if not known:
        return None
    found = _least_contradicted(votes)
    if known[-1][0] != 1 and sum(each.shown for each in votes[found:]) < _SHOWN_MIN:
        return None
    revision, value = known[found]
    newest = next((i for i, each in enumerate(votes[:found]) if each.seen), found)
    before = revision if newest < found else 0
    base = value
    if found < len(votes) and votes[found].unseen:
        before, older = known[found + 1]
        base = _taken_back(older, value, edited)
    return Loaded(revision, base, known[newest][1], before)


def _least_contradicted(votes: list[_Votes]) -> int:
    """Which text the fewest votes contradict; of several, the oldest."""
    cost = sum(each.unseen for each in votes)
    best, least = 0, cost
    for i, each in enumerate(votes, 1):
        cost += each.seen - each.unseen
        if cost <= least:
            best, least = i, cost
    return best


# ── places: keys of objects, elements of arrays by their id, and whatever else, whole ────────────────────────────────


def _count(older: Any, newer: Any, edited: Any, votes: _Votes, depth: int = 0) -> None:
    """Asks every place at which the older and the newer text differ."""
    if older is newer or older == newer:
        return
    if edited is newer or edited == newer:
        votes.seen += 1
        votes.shown += newer is not _NOTHING
        return
    if edited is older or edited == older:
        votes.unseen += 1
        return
    if newer is _NOTHING:  # it was removed, and has been edited all the same
        votes.unseen += 1
        return
    if older is _NOTHING:
        is_made_of = _is_made_of(edited, newer)
        votes.seen += is_made_of
        votes.shown += is_made_of
        return
    parts = _parts_of(depth, older, newer, edited)
    if parts is None:
        return
    one, two, three = parts
    for name in one | two:
        _count(one.get(name, _NOTHING), two.get(name, _NOTHING), three.get(name, _NOTHING), votes, depth + 1)


def _is_made_of(edited: Any, added: Any) -> bool:
    """Whether an object was made of one that was added, rather than given the same id by chance."""
    if not isinstance(edited, dict) or not isinstance(added, dict):
        return False
    same = sum(name != KEY and name in edited and edited[name] == value for name, value in added.items())
    return bool(2 * same > len(added) - (KEY in added))


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


def _taken_back(older: Any, newer: Any, edited: Any, depth: int = 0) -> Any:
    """The newer text, but as the older one wherever the edited one does not show that the newer one was seen."""
    if older is newer or older == newer or edited is newer or edited == newer:
        return newer
    parts = None if edited == older else _parts_of(depth, older, newer, edited)
    if parts is None:
        return older
    one, two, three = parts
    found = {}
    for name in [*two, *(name for name in one if name not in two)]:
        value = _taken_back(one.get(name, _NOTHING), two.get(name, _NOTHING), three.get(name, _NOTHING), depth + 1)
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
