"""The search behind ``check_linearizable``: is there an order in which one thing after the other explains all answers?

It is Wing and Gong's search (1993), with Lowe's two improvements (2017): operations are put in order just in time, when
one of them returns and has to be in by then; and no configuration is gone on from twice.

Wing, Gong, and most since, keep invocations and returns in a linked list, and lift an operation out of it when it is
put in order. What remains of the list is then always: the returns from some one on, that of the first operation not yet
in order, without those of the few that were put in order ahead of it. So a *configuration* here is

    at     how many returns are behind: the return that comes next is of an operation that is not in order yet
    ahead  which of the operations under way at that instant are in order; a bit each, of a slot that is used again
    spent  how many operations of unknown outcome were put in order, of each sort; packed into one number
    state  the model's

which is small, whatever the length of the history, and hashes fast. Four rules keep their number down:

* What only observes is put in order wherever it fits first (``Model.observes``): it is in nobody's way.
* Of operations under way that asked for the same and were told the same, the one that returns first goes first: they
  could change places.
* Operations of unknown outcome that ask for the same are of one sort, and the one invoked first is spent first; none
  while one that was answered would do the same, since that has to be put in order anyway. One that leaves the state as
  it is, or is followed by something that makes the same of the state before, may as well never have happened.
* Whoever spent at least as much of every sort, and has nothing else to show for it, is not gone on from: what it can
  reach, the thriftier can reach as well.

All of these drop only what has an equal that is kept; so the farthest return that is reached is the farthest that any
order reaches, and the history up to it is the longest that can be explained.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from coordinator.testing.history import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordinator.testing.history import Operation
    from coordinator.testing.linearizable_models import Model

_LOOK_EVERY: Final = 1024  # configurations between two looks at the clock
_SHORT: Final = 20_000  # configurations within which most histories are decided
_EXACT: Final = 50_000  # and what a violation that is certain already may cost until it is known where it began
_STATES_TOLD_MAX: Final = 100
_ANSWERED: Final = object()  # in place of a state before: the last of the chain was answered

Verdict = Literal["linearizable", "not linearizable", "unknown"]
Chain = (
    tuple[Any, int] | None
)  # (what was put in order before, the operation's number): shared by all that go on from it
# at, ahead, spent, state, the chain; and the state before, where the last of the chain is of unknown outcome.
_Configuration = tuple[int, int, int, Any, Chain, Any]


class Found(NamedTuple):
    """What came of it.

    Attributes:
        verdict: ``unknown`` when it had to stop.
        order: The operations that were put in order, as numbers: of all, or of those that lead farthest.
        blocked: The one that cannot be in order by the time it returned; None when all are. Everything that returned
            before it can be explained.
        states: The states there may have been just then; at most a hundred of them.
        configurations: How many were gone on from.
        is_exact: False when ``blocked`` is certain not to fit, and it is not known whether something before it did not
            either: ``order`` may then have operations of unknown outcome several times.
    """

    verdict: Verdict
    order: list[int]
    blocked: int | None
    states: list[Any]
    configurations: int
    is_exact: bool = True


class _Sort(NamedTuple):
    """Operations of unknown outcome that ask for the same, in the order of their invocations."""

    asked: Any
    members: list[int]
    shift: int  # where in ``spent`` they are counted
    mask: int


class _Moment(NamedTuple):
    """Just before one return.

    Attributes:
        bit: Of the operation that returns.
        fresh: The observing operations that were invoked since the return before.
        observing: All that are under way: (bit, what was asked, what was answered, number).
        changing: The others that are under way, those together that are alike, and first those that return first.
        unheard: The sorts of which some were invoked by now, and how many.
    """

    bit: int
    fresh: list[_Pending]
    observing: list[_Pending]
    changing: list[list[_Pending]]
    unheard: list[tuple[_Sort, int]]


_Pending = tuple[int, Any, Any, int]


def _sorts_of(operations: Sequence[Operation], numbers: list[int]) -> list[_Sort]:
    members: dict[Any, list[int]] = {}
    for number in numbers:
        members.setdefault(operations[number].asked, []).append(number)
    sorts, shift = [], 0
    for asked, of_it in members.items():
        width = len(of_it).bit_length()
        sorts.append(_Sort(asked, of_it, shift, (1 << width) - 1))
        shift += width + 1  # a bit more between two counts, see ``_is_new``
    return sorts


def _invoked(unheard: tuple[int, _Sort]) -> int:
    return unheard[0]


def _moments(
    model: Model[Any], operations: Sequence[Operation], returns: list[int], sorts: list[_Sort]
) -> list[_Moment]:
    """What is under way at each return."""
    observes = {number: model.observes(operations[number].asked, operations[number].answer) for number in returns}
    rank = {number: place for place, number in enumerate(returns)}
    to_come = sorted(returns, key=lambda number: operations[number].invoked, reverse=True)
    unheard = sorted(
        ((operations[n].invoked, sort) for sort in sorts for n in sort.members), key=_invoked, reverse=True
    )
    open_now: dict[int, tuple[_Sort, int]] = {}
    opened: list[tuple[_Sort, int]] = []  # one list for all moments until the next one of unknown outcome is invoked
    free, slots = [0], 1
    running: dict[int, _Pending] = {}
    moments = []
    for number in returns:
        now: int = operations[number].returned  # type: ignore[assignment]  # all of these returned
        fresh = []
        while to_come and operations[to_come[-1]].invoked <= now:
            begun = to_come.pop()
            if not free:
                free.append(slots)
                slots += 1
            pending = (1 << heapq.heappop(free), operations[begun].asked, operations[begun].answer, begun)
            running[begun] = pending
            if observes[begun]:
                fresh.append(pending)
        changing: dict[Any, list[_Pending]] = {}
        for begun in sorted((n for n in running if not observes[n]), key=rank.__getitem__):
            changing.setdefault(_likeness(operations[begun]), []).append(running[begun])
        observing = [pending for begun, pending in running.items() if observes[begun]]
        if unheard and unheard[-1][0] <= now:
            while unheard and unheard[-1][0] <= now:
                sort = unheard.pop()[1]
                open_now[sort.shift] = (sort, open_now.get(sort.shift, (sort, 0))[1] + 1)
            opened = list(open_now.values())
        moments.append(_Moment(running[number][0], fresh, observing, list(changing.values()), opened))
        heapq.heappush(free, running.pop(number)[0].bit_length() - 1)
    return moments


def _likeness(operation: Operation) -> Any:
    """Equal for operations that could change places."""
    try:
        hash(operation.answer)
    except TypeError:
        return id(operation)  # like no other
    return operation.asked, operation.answer


def search(model: Model[Any], operations: Sequence[Operation], is_over: Callable[[], bool], most: int) -> Found:
    """One key's history.

    Many operations of unknown outcome make for very many configurations, by what was spent. So when a short search does
    not decide, they are taken to be inexhaustible for a while: then it does not matter what was spent, and what has no
    place even so has none.

    Args:
        model: What it is checked against.
        operations: In any order.
        is_over: Asked now and then: whether to give up.
        most: How many configurations to remember before giving up.
    """
    history = _History(model, operations)
    found = _Search(history, is_over, min(most, _SHORT)).run()
    if found.verdict != "unknown" or is_over() or most <= _SHORT:
        return found
    if history.sorts:
        generous = _Search(history, is_over, most, is_generous=True).run()
        if generous.verdict == "not linearizable":
            exact = _Search(history, is_over, min(most, _EXACT)).run()
            return generous._replace(is_exact=False) if exact.verdict == "unknown" else exact
        if generous.verdict == "linearizable" and len(set(generous.order)) == len(generous.order):
            return generous  # nothing was spent twice
    return _Search(history, is_over, most).run()


class _History:
    """One key's history, laid out for searching.

    Attributes:
        model: What it is checked against.
        operations: In any order.
        returns: The numbers of those that returned, in the order of the returns.
        sorts: The others, as far as they could matter.
        moments: What is under way at each return.
    """

    def __init__(self, model: Model[Any], operations: Sequence[Operation]) -> None:
        self.model, self.operations = model, operations
        numbers = range(len(operations))
        self.returns = [number for number in numbers if operations[number].returned is not None]
        self.returns.sort(key=lambda number: (operations[number].returned, operations[number].invoked))
        unknown = [n for n in numbers if operations[n].returned is None]
        unknown = [n for n in unknown if not model.observes(operations[n].asked, UNKNOWN)]
        self.sorts = _sorts_of(operations, sorted(unknown, key=lambda number: operations[number].invoked))
        self.moments = _moments(model, operations, self.returns, self.sorts)


class _Search:
    """One way through it.

    Args:
        history: Whose.
        is_over: Asked now and then: whether to give up.
        most: How many configurations to remember before giving up.
        is_generous: Whether an operation of unknown outcome can be spent again and again, once it was invoked.
    """

    def __init__(self, history: _History, is_over: Callable[[], bool], most: int, *, is_generous: bool = False) -> None:
        self._model, self._operations, self._is_over, self._most = history.model, history.operations, is_over, most
        self._returns, self._moments, self._is_generous = history.returns, history.moments, is_generous
        self._guards = sum((sort.mask + 1) << sort.shift for sort in history.sorts)
        self._seen: list[dict[tuple[int, Any], list[int]]] = [{} for _ in self._moments]
        self._count = 0
        self._farthest: int = -1
        self._chain: Chain = None
        self._states: list[Any] = []

    def run(self) -> Found:
        """Looks for an order, depth first."""
        todo: list[_Configuration] = [(0, 0, 0, self._model.initial(), None, _ANSWERED)]
        while todo:
            at, ahead, spent, state, chain, before = todo.pop()
            at, ahead, settled = self._go_on(at, ahead, state, chain)
            if at == len(self._moments):
                return Found("linearizable", _unrolled(settled), None, [state], self._count)
            if at >= self._farthest:
                self._note(at, state, settled)
            if self._is_new(at, ahead, spent, state):
                self._count += 1
                if self._count >= self._most or (self._count % _LOOK_EVERY == 0 and self._is_over()):
                    return self._stuck("unknown")
                before = before if settled is chain else _ANSWERED
                todo += self._ways((at, ahead, spent, state, settled, before))
        return self._stuck("not linearizable")

    def _go_on(self, at: int, ahead: int, state: Any, chain: Chain) -> tuple[int, int, Chain]:
        """Passes every return that may be passed without a change of the state."""
        step = self._model.step
        observing = self._moments[at].observing if self._moments else []
        while at < len(self._moments):
            for bit, asked, answer, number in observing:
                if not ahead & bit and step(state, asked, answer)[0]:
                    ahead |= bit
                    chain = (chain, number)
            bit = self._moments[at].bit
            if not ahead & bit:
                break
            ahead ^= bit
            at += 1
            if at < len(self._moments):
                observing = self._moments[at].fresh
        return at, ahead, chain

    def _ways(self, configuration: _Configuration) -> list[_Configuration]:
        """Everything that may be put in order next and changes the state; the likeliest last, where it is taken up.

        With a state before, an operation of unknown outcome was put last, and nothing was observed since: what makes
        the same of the state before it has no use for it.
        """
        at, ahead, spent, state, chain, before = configuration
        step = self._model.step
        moment = self._moments[at]
        is_idle = before is not _ANSWERED
        ways: list[_Configuration] = []
        for alike in moment.changing:
            for bit, asked, answer, number in alike:
                if not ahead & bit:
                    fits, after = step(state, asked, answer)
                    if fits and not (is_idle and step(before, asked, answer) == (True, after)):
                        ways.append((at, ahead | bit, spent, after, (chain, number), _ANSWERED))
                    break
        answered = [(way[3], self._operations[way[4][1]].asked) for way in ways if way[4]] if moment.unheard else []
        for sort, count in moment.unheard:
            used = spent >> sort.shift & sort.mask  # none ever, when generous
            if used < count:
                fits, after = step(state, sort.asked, UNKNOWN)
                if not fits or after == state or (after, sort.asked) in answered:
                    continue
                if not (is_idle and step(before, sort.asked, UNKNOWN) == (True, after)):
                    then = spent if self._is_generous else spent + (1 << sort.shift)
                    ways.append((at, ahead, then, after, (chain, sort.members[used]), state))
        ways.reverse()
        return ways

    def _is_new(self, at: int, ahead: int, spent: int, state: Any) -> bool:
        """Whether nobody was here before who had spent no more of anything.

        Two packed counts are compared at once: with the bit above each count set in the greater, a subtraction leaves
        all those bits set only if no count had to borrow.
        """
        seen = self._seen[at]
        before = seen.get((ahead, state))
        if before is None:
            seen[ahead, state] = [spent]
            return True
        guards = self._guards
        if not guards or any((spent | guards) - other & guards == guards for other in before):
            return False
        before[:] = [other for other in before if (other | guards) - spent & guards != guards]
        before.append(spent)
        return True

    def _note(self, at: int, state: Any, chain: Chain) -> None:
        """Keeps the way that leads farthest, and the states that are possible there."""
        if at > self._farthest:
            self._farthest, self._chain, self._states = at, chain, []
        if len(self._states) < _STATES_TOLD_MAX and state not in self._states:
            self._states.append(state)

    def _stuck(self, verdict: Verdict) -> Found:
        return Found(verdict, _unrolled(self._chain), self._returns[self._farthest], self._states, self._count)


def _unrolled(chain: Chain) -> list[int]:
    numbers = []
    while chain is not None:
        chain, number = chain
        numbers.append(number)
    return numbers[::-1]
