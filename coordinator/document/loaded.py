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
_ENOUGH: Final = 12  # places seen, more than unseen: older texts are not asked

KEY: Final = "id"  # as in difference.py


@dataclass
class _Votes:
    """How the places vote at which an older and a newer text differ."""

    seen: int = 0
    unseen: int = 0


class Loaded(NamedTuple):
    """What an editor had loaded.

    Attributes:
        revision: Of which revision.
        text: Its value, as it was.
        base: The same, with what it may not have shown yet taken back: what the edited text is to be compared with.
        before: The revision of the next older text that is known; 0 when there is none.
        is_doubtful: Whether ``base`` differs from ``text``.
    """

    revision: int
    text: Any
    base: Any
    before: int
    is_doubtful: bool


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
    if found == len(votes) and known[-1][0] != 1:
        return None
    revision, value = known[found]
    if found == len(votes):
        return Loaded(revision, value, value, 0, is_doubtful=False)
    before, older = known[found + 1]
    if not votes[found].unseen:
        return Loaded(revision, value, value, before, is_doubtful=False)
    return Loaded(revision, value, _taken_back(older, value, edited), before, is_doubtful=True)


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
        return
    if edited is older or edited == older:
        votes.unseen += 1
        return
    parts = _parts_of(depth, older, newer, edited)
    if parts is None:
        return
    one, two, three = parts
    for name in one | two:
        _count(one.get(name, _NOTHING), two.get(name, _NOTHING), three.get(name, _NOTHING), votes, depth + 1)


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
