"""Moving a resource between the mount and the table, and back (P29, P30), while clients go on (record/failover.py).

Each client opens the workspace at some time, which tells it who rules then, and acts on that until a record tells it
better. One call of a store is a step:

    learn -> read mount -> read table -> take the step that is due -> … -> read -> decide -> append -> told

An operator moves the rule, at any time, as often as the model allows. A client that takes no step is frozen or dead; a
reply may be lost, its append done or not, or done later. Records are never deleted here: chain_model.py does that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from model.chain_state import NAMES, name_of, told_content
from model.moving import BLANK, KEPT, MOUNT, STORE_NAMES, TABLE, Rec, Rules, due, mode_of, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model.checker import Label

_NOWHERE = 2


class Client(NamedTuple):
    """What a client has in mind."""

    at: str  # its next step
    op: int  # how many operations are done
    epoch: int  # who rules, as far as it knows
    there: int  # the store that the resource was brought to, as far as it knows
    fence: int  # of the lease that it believes to hold
    mount: Rec | None  # as it was read last
    table: Rec | None
    new: Rec | None  # what it puts


class Late(NamedTuple):
    """A put that nobody waits for any more."""

    store: int
    new: Rec


class State(NamedTuple):
    """Everything."""

    epoch: int  # who rules
    mount: Rec | None  # the newest records
    table: Rec | None
    history: tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]  # of each store: n and who, by n
    net: frozenset[Late]
    losses: int
    told: tuple[int, ...]
    top: int  # the newest fence that was granted
    clients: tuple[Client, ...]
    wrong: str


class FailoverModel:
    """See the module.

    Args:
        roles: One letter a client: p(utter), h(older).
        ops: How many operations each has.
        epochs: The last epoch; 1: never moved, 2: a failover, 3: and back, …
        born: Which store rules first.
        empty: Whether the resource is new; else it has one record.
        losses: How many replies may be lost.
        n_max: Up to which n a holder takes a lease over that is held; else two of them would go on for ever.
        rules: What is kept to.
    """

    def __init__(
        self,
        roles: str,
        ops: tuple[int, ...],
        *,
        epochs: int,
        born: int = MOUNT,
        empty: bool = False,
        losses: int = 0,
        n_max: int = 99,
        rules: Rules = KEPT,
    ) -> None:
        self._roles = roles
        self._ops = ops
        self._epochs = epochs
        self._born = born
        self._empty = empty
        self._losses = losses
        self._n_max = n_max
        self._rules = rules

    # ── what the checker asks for ────────────────────────────────────────────────────────────────────────────────────

    def starts(self) -> Iterable[State]:
        """Nobody has opened the workspace."""
        clients = tuple(Client("learn", 0, 0, _NOWHERE, 0, None, None, None) for _ in self._roles)
        first = None if self._empty else BLANK._replace(n=1, kind="commit")
        stands = ((1, -1),) if first else ()
        mount, table = (first, None) if self._born == MOUNT else (None, first)
        history = (stands, ()) if self._born == MOUNT else ((), stands)
        yield State(1, mount, table, history, frozenset(), self._losses, (), 0, clients, "")

    def is_done(self, state: State) -> bool:
        """Whether every client is through."""
        return all(client.op == ops for client, ops in zip(state.clients, self._ops, strict=True))

    def told(self, state: State) -> str:
        """Both stores."""
        told = f"  told {told_content(state.told)}" if state.told else ""
        rules = STORE_NAMES[mode_of(self._born, state.epoch)]
        return f"[{rules} rules, epoch {state.epoch}] mount {_words(state.mount)}; table {_words(state.table)}{told}"

    def fault(self, state: State) -> str:
        """Lost, doubled, or what a step found out."""
        if state.wrong:
            return state.wrong
        for newest in _newest(state.mount, state.table):
            if len({*newest.content}) != len(newest.content):
                return f"doubled: {told_content(newest.content)}"
            lost = tuple(op for op in state.told if op not in newest.content)
            if lost:
                return f"acknowledged, and lost: {told_content(lost)} is not in {_words(newest)}"
        return ""

    def moves(self, state: State) -> Iterator[tuple[Label, State]]:
        """One step of anybody."""
        if state.epoch < self._epochs:
            mode = STORE_NAMES[mode_of(self._born, state.epoch + 1)]
            yield ("operator", "gives the rule to the {}", mode), state._replace(epoch=state.epoch + 1)
        for i, client in enumerate(state.clients):
            if client.op < self._ops[i]:
                yield from self._step(state, i, client)
        for late in state.net:
            after = _landed(state, late.store, late.new, is_append=True)
            words = "put into the {} arrives: {}" if after else "put into the {} arrives, refused: {}"
            label = ("late", words, STORE_NAMES[late.store], _words(late.new))
            yield label, (after or state)._replace(net=state.net - {late})

    # ── one client ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self, state: State, i: int, client: Client) -> Iterator[tuple[Label, State]]:
        name, at = NAMES[i], client.at
        if at == "learn":
            known = client._replace(at="find", epoch=state.epoch, there=_NOWHERE, mount=None, table=None)
            yield (name, "asks who rules: epoch {}", state.epoch), _with(state, i, _ready(self._born, known))
        elif at == "read":
            yield self._read(state, i, client)
        elif at == "find":
            client = client._replace(at="find table", mount=state.mount)
            yield (name, "looks at the mount: {}", _words(state.mount)), _with(state, i, client)
        elif at == "find table":
            found = self._found(i, client._replace(table=state.table))
            yield (name, "looks at the table: {}: {}", _words(state.table), found.at), _with(state, i, found)
        elif at in {"put", "look"}:
            yield from self._put(state, i, client)
        else:
            yield self._take(state, i, client)

    def _found(self, i: int, client: Client) -> Client:
        """FailoverStore._bring, between its reads and its write."""
        step = due(self._rules, self._born, client.epoch, client.mount, client.table)
        if step in {"use mount", "use table"}:
            there = MOUNT if step == "use mount" else TABLE
            return client._replace(at="read", there=there, mount=None, table=None)
        if step == "learn":
            return client._replace(at=step, mount=None, table=None)
        new = record_of(self._rules, step, client.epoch, i, client.mount, client.table)
        return client._replace(at=step, new=new)

    def _take(self, state: State, i: int, client: Client) -> tuple[Label, State]:
        """FailoverStore._take: being beaten is as good."""
        new = client.new
        assert new is not None
        store = MOUNT if client.at in {"seal", "open"} else TABLE
        is_unchanged = state.table == client.table or (client.at == "import" and not self._rules.imports_if_unchanged)
        after = _landed(state, store, new) if store == MOUNT or is_unchanged else None
        words = "puts {} into the {}" if after else "puts {} into the {}: beaten"
        client = client._replace(at="find", mount=None, table=None, new=None)
        return (NAMES[i], words, _words(new), STORE_NAMES[store]), _with(after or state, i, client)

    def _read(self, state: State, i: int, client: Client) -> tuple[Label, State]:
        """FailoverStore.read, or what has beaten an append; and the decision on it."""
        rec = state.mount if client.there == MOUNT else state.table
        if rec is not None and rec.is_closed:
            return (NAMES[i], "reads {}: closed", _words(rec)), _with(state, i, client._replace(at="learn", new=None))
        decided = self._decided(i, client, rec or BLANK)
        label = (NAMES[i], "reads {} in the {} and decides", _words(rec), STORE_NAMES[client.there])
        return label, _with(state, i, decided)

    def _decided(self, i: int, client: Client, rec: Rec) -> Client:
        op, n = i * 8 + client.op, rec.n + 1
        if self._roles[i] == "p":
            new = Rec(n, "commit", rec.epoch, i, (0, 0), tuple(sorted((*rec.content, op))))
        elif client.fence and rec.lease == (client.fence, i):
            new = Rec(n, "commit", rec.epoch, i, rec.lease, tuple(sorted((*rec.content, op))))
        elif rec.lease[0] and rec.lease[1] != i and rec.n > self._n_max:
            return client._replace(at="read", fence=0, new=None)  # held, and not taken over
        else:
            new = Rec(n, "grant", rec.epoch, i, (n, i), rec.content)
            client = client._replace(fence=0)
        return client._replace(at="put", new=new)

    def _put(self, state: State, i: int, client: Client) -> Iterator[tuple[Label, State]]:
        """An append, until its outcome is known. A store that finds the request at n tells that it stands (P7)."""
        new, store = client.new, client.there
        assert new is not None
        after = _landed(state, store, new, is_append=True)
        words = (_words(new), STORE_NAMES[store])
        if after:
            yield (NAMES[i], "puts {} into the {}: told so", *words), self._told(after, i, client)
            if state.losses:
                lost = _with(after, i, client._replace(at="look"))._replace(losses=state.losses - 1)
                yield (NAMES[i], "puts {} into the {}, and the reply is lost", *words), lost
                late = _with(state, i, client._replace(at="look"))
                late = late._replace(losses=state.losses - 1, net=state.net | {Late(store, new)})
                yield (NAMES[i], "puts {} into the {}: an error, it is under way", *words), late
        elif (new.n, i) in state.history[store]:
            yield (NAMES[i], "finds {} in the {}: its own", *words), self._told(state, i, client)
        else:
            beaten = client._replace(at="read", new=None)
            yield (NAMES[i], "puts {} into the {}: beaten", *words), _with(state, i, beaten)

    def _told(self, state: State, i: int, client: Client) -> State:
        """The append was accepted: its author acts on it."""
        new = client.new
        assert new is not None
        if new.kind == "grant":
            held = client._replace(fence=new.n)
            return _with(state, i, self._decided(i, held, new))
        told = tuple(sorted((*state.told, i * 8 + client.op)))
        done = client._replace(at="read", op=client.op + 1, fence=0, new=None)
        return _with(state, i, _forget(done, self._ops[i]))._replace(told=told)


def _newest(mount: Rec | None, table: Rec | None) -> list[Rec]:
    """What the history goes on from: the open record; both, should both be open; or what was closed last."""
    found = [rec for rec in (mount, table) if rec is not None]
    return [rec for rec in found if not rec.is_closed] or sorted(found, key=lambda rec: (rec.epoch, rec.n))[-1:]


def _ready(born: int, client: Client) -> Client:
    """Before the first move there is nothing to bring (FailoverStore._store_of)."""
    return client._replace(at="read", there=mode_of(born, 1)) if client.epoch == 1 else client


def _forget(client: Client, ops: int) -> Client:
    """One that is through has nothing in mind: fewer states."""
    return client if client.op < ops else Client("", ops, 0, _NOWHERE, 0, None, None, None)


def _with(state: State, i: int, client: Client) -> State:
    return state._replace(clients=(*state.clients[:i], client, *state.clients[i + 1 :]))


def _landed(state: State, store: int, new: Rec, *, is_append: bool = False) -> State | None:
    """After a put; None: refused. The mount refuses a number that is taken, the table what does not follow (P1, P8)."""
    newest = state.mount if store == MOUNT else state.table
    history = state.history[store]
    if store == MOUNT:
        if any(n == new.n for n, _ in history):
            return None
    elif is_append and (newest or BLANK).n != new.n - 1:
        return None
    history = tuple(sorted((*history, (new.n, new.who))))
    wrong = state.wrong
    if new.kind == "grant":
        if new.n <= state.top:
            wrong = f"fence {new.n} was granted after fence {state.top}"
        state = state._replace(top=max(state.top, new.n))
    if newest is None or new.n > newest.n or store == TABLE:
        newest = new
    if store == MOUNT:
        return state._replace(mount=newest, history=(history, state.history[1]), wrong=wrong)
    return state._replace(table=newest, history=(state.history[0], history), wrong=wrong)


def _words(rec: Rec | None) -> str:
    if rec is None:
        return "-"
    held = f" lease {rec.lease[0]} of {name_of(rec.lease[1])}" if rec.lease[0] else ""
    return f"{rec.n}:{rec.kind}.{rec.epoch}{held} {told_content(rec.content)}"
