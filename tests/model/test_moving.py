"""The steps of a move in every interleaving (P29, P30): the real ``next_step`` and records, and two cells to put into.

Clients read the mount, read the table, and take the step that is due, each as an act of its own, with whatever they
know of who rules: somebody frozen anywhere wakes up anywhere. Breadth first, until nothing new is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from support import an_id

from coordinator.record import moving
from coordinator.record.authority import Authority
from coordinator.record.decide import Author
from coordinator.record.moving import Step, imported, marked, opened, sealed
from coordinator.record.record import BLANK, MOUNT, TABLE, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS: Final = 2
MOVES: Final = (TABLE, MOUNT, TABLE)
AUTHOR: Final = Author(an_id(1), "mover", an_id(2))


class Client(NamedTuple):
    """What one client knows: who rules, and what it has read; ``acts``: what it is about to do."""

    authority: Authority
    phase: str = "start"
    on_mount: Record | None = None
    in_table: Record | None = None
    store: str = ""
    commits: int = 1


class World(NamedTuple):
    """Both stores' newest records, who rules, and what was acknowledged."""

    mount: Record | None
    table: Record | None
    authority: Authority
    acknowledged: frozenset[str]
    last_n: int  # of the last commit, in either store
    trouble: str
    clients: tuple[Client, ...]


@dataclass
class Found:
    """What the search came to."""

    states: int = 0
    moved_back: int = 0


FIRST: Final = replace(BLANK, n=1, kind="release", floor=1)


def begin(born: str, *, new: bool = False) -> World:
    authority = Authority(born, 1, born, "")
    client = Client(authority)
    in_table = replace(FIRST, mode=TABLE) if born == TABLE and not new else None
    return World(
        FIRST if born == MOUNT and not new else None, in_table, authority, frozenset(), 0, "", (client,) * CLIENTS
    )


def with_op(record: Record, op: str) -> Record:
    return replace(record, n=record.n + 1, kind="commit", extra=(*record.extra, (op, "")))


def following(world: World, moves: tuple[str, ...]) -> Iterator[World]:
    """Every world that one act leads to."""
    done = world.authority.epoch - 1
    if done < len(moves):
        yield world._replace(authority=replace(world.authority, mode=moves[done], epoch=world.authority.epoch + 1))
    for i, client in enumerate(world.clients):
        for after, changed in act(world, client, i):
            clients = (*world.clients[:i], changed, *world.clients[i + 1 :])
            yield after._replace(clients=clients)


def act(world: World, client: Client, number: int) -> Iterator[tuple[World, Client]]:
    if client.phase in {"start", "using"} and client.authority != world.authority:  # told by a person, or started anew
        yield world, Client(world.authority, commits=client.commits)
    if client.phase == "start":
        yield world, client._replace(phase="mounted", on_mount=world.mount)
    elif client.phase == "mounted":
        yield world, client._replace(phase="read", in_table=world.table)
    elif client.phase == "read":
        step = moving.next_step(client.authority, client.on_mount, client.in_table)
        if step in {Step.USE_MOUNT, Step.USE_TABLE}:
            yield world, client._replace(phase="using", store=MOUNT if step is Step.USE_MOUNT else TABLE)
        elif step is Step.LEARN:
            yield world, Client(world.authority, commits=client.commits)
        else:
            yield take(world, client, step), client._replace(phase="start", on_mount=None, in_table=None)
    else:
        yield from use(world, client, number)


def take(world: World, client: Client, step: Step) -> World:
    """One append, which fails if something else stands there by now."""
    epoch = client.authority.epoch
    if step in {Step.SEAL, Step.OPEN}:
        if step is Step.SEAL:
            record = sealed(client.on_mount, AUTHOR, epoch, 0)
        else:
            assert client.in_table is not None
            record = opened(client.on_mount, client.in_table, AUTHOR, 0)
        # A name that is taken: in a chain, any number up to the newest, but for those that were skipped.
        newest = world.mount
        free = newest is None or (record.n > newest.n)
        assert free or newest is None or record.n <= newest.n
        return world._replace(mount=record) if free else world
    if step is Step.IMPORT:
        assert client.on_mount is not None
        record = imported(client.on_mount, client.in_table, AUTHOR, client.on_mount.epoch, 0)
    else:
        record = marked(client.on_mount, client.in_table, AUTHOR, epoch, 0)
    return world._replace(table=record) if world.table == client.in_table else world


def use(world: World, client: Client, number: int) -> Iterator[tuple[World, Client]]:
    """Commits once on the newest record of its store; a closed one sends it to ask who rules."""
    newest = world.mount if client.store == MOUNT else world.table
    afresh = client._replace(phase="start", on_mount=None, in_table=None, store="")
    if newest is not None and newest.is_closed:
        yield world, afresh._replace(authority=world.authority)
    elif client.commits:
        op = f"c{number}x{client.commits}"
        record = with_op(newest or replace(BLANK, mode=client.store), op)
        trouble = "" if record.n > world.last_n else "a fence would be given twice"
        after = world._replace(acknowledged=world.acknowledged | {op}, last_n=record.n, trouble=trouble)
        after = after._replace(mount=record) if client.store == MOUNT else after._replace(table=record)
        yield after, client._replace(commits=client.commits - 1)


def check(world: World) -> str:
    """What is wrong; empty when nothing is."""
    mount, table = world.mount, world.table
    if mount is not None and table is not None and not mount.is_closed and not table.is_closed:
        return "both stores are open"
    known = [record for record in (mount, table) if record is not None]
    open_ones = [record for record in known if not record.is_closed]
    newest = open_ones[0] if open_ones else max(known, key=lambda one: (one.epoch, one.n), default=BLANK)
    kept = {op for op, _ in newest.extra}
    if not world.acknowledged <= kept:
        return f"lost {sorted(world.acknowledged - kept)}"
    if len(kept) < len(newest.extra):
        return "doubled"
    return world.trouble


def explore(born: str, moves: tuple[str, ...], *, new: bool = False) -> tuple[Found, str]:
    start, found = begin(born, new=new), Found()
    seen: set[World] = {start}
    queue: list[tuple[World, Any]] = [(start, None)]
    for entry in queue:
        world, _ = entry
        found.states += 1
        found.moved_back += world.mount is not None and world.mount.kind == "opened"
        trouble = check(world)
        if trouble:
            return found, trouble + told(entry)
        for after in following(world, moves):
            if after not in seen:
                seen.add(after)
                queue.append((after, entry))
    return found, ""


def told(entry: Any) -> str:
    lines = []
    while entry:
        world, entry = entry
        cells = [f"{one.kind} n={one.n} e={one.epoch}" if one else "-" for one in (world.mount, world.table)]
        phases = [f"{client.phase}@{client.authority.epoch}" for client in world.clients]
        lines.append(
            f"\n  rules {world.authority.mode}.{world.authority.epoch}  mount {cells[0]}  table {cells[1]}  {phases}"
        )
    return "".join(reversed(lines))


@pytest.mark.parametrize("new", [False, True], ids=["in use", "a new name"])
@pytest.mark.parametrize("born", [MOUNT, TABLE])
def test_nothing_is_lost_and_only_one_store_is_open(born: str, new: bool) -> None:
    moves = MOVES if born == MOUNT else (MOUNT, TABLE, MOUNT)
    found, trouble = explore(born, moves, new=new)
    print(f"born in the {born}: {found.states} states, {found.moved_back} of them moved back")  # noqa: T201 - figures
    assert trouble == ""
    assert found.states > 1000
    assert found.moved_back > 0


def _no_seal(real: Callable[..., Step]) -> Callable[..., Step]:
    def step(authority: Authority, on_mount: Record | None, in_table: Record | None) -> Step:
        found = real(authority, on_mount, in_table)
        return found if found is not Step.SEAL else Step.USE_TABLE if in_table else Step.IMPORT

    return step


def _import_over_a_mark(real: Callable[..., Step]) -> Callable[..., Step]:
    def step(authority: Authority, on_mount: Record | None, in_table: Record | None) -> Step:
        found = real(authority, on_mount, in_table)
        is_pending = found is Step.OPEN and authority.mode == TABLE and on_mount is not None
        return Step.IMPORT if is_pending else found

    return step


@pytest.mark.parametrize("mutant", [_no_seal, _import_over_a_mark])
def test_a_step_that_is_left_out_is_found(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "next_step", mutant(moving.next_step))
    _, trouble = explore(MOUNT, MOVES)
    assert trouble


def test_an_open_above_the_seal_only_gives_fences_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENED stands above what the item came to, not just above the seal."""
    real = moving.opened
    monkeypatch.setitem(globals(), "opened", lambda *args: replace(real(*args), n=3))
    _, trouble = explore(MOUNT, MOVES)
    assert trouble
