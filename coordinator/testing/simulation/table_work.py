"""What agents do where there is a table, too: move the rule, hold leases on mere names, work without the mount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordinator.errors import AuthorityMoved, LeaseHeld, LeaseLost, NotAWorkspace, StoreUnavailable
from coordinator.names import Resource
from coordinator.record.record import MOUNT, TABLE
from coordinator.testing.simulation.check import DOCUMENT
from coordinator.testing.simulation.work import (
    Work,
    commit_on_revision,
    keep_house,
    lease_and_commit,
    leave,
    read,
    update,
    update_once,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from coordinator.lease import Lease
    from coordinator.testing.simulation.work import Agent, Role
    from coordinator.workspace import Workspace

NAMES: Final = tuple(Resource.parse(name) for name in ("deploy/prod", "deploy/test"))
_OPENED_MAX: Final = 12  # times that an agent without the mount asks whether it can be of use by now


def move(agent: Agent) -> None:
    """Gives the rule to one store and to the other."""
    workspace = agent.workspace()
    while not agent.done():
        agent.pause(700)
        try:
            workspace.move_authority(agent.rng.choice((TABLE, TABLE, MOUNT)), single_host=True)
        except StoreUnavailable:
            continue
    leave(agent, workspace)


def hold(agent: Agent) -> None:
    """Hold leases on names of something outside, where the directory is."""
    workspace = agent.workspace()
    while not agent.done():
        agent.pause(300)
        try:
            _hold(agent, workspace)
        except (LeaseHeld, LeaseLost, StoreUnavailable):
            continue
    leave(agent, workspace)


def hold_far(agent: Agent) -> None:
    """Likewise, where there is the table only."""
    for workspace in _far(agent):
        try:
            while not agent.done():
                agent.pause(300)
                try:
                    _hold(agent, workspace)
                except (LeaseHeld, LeaseLost, StoreUnavailable):
                    continue
        except AuthorityMoved:
            continue  # back to the directory
        leave(agent, workspace)
        return


def _hold(agent: Agent, workspace: Workspace) -> None:
    ttl, wait = agent.rng.choice((0.3, 1, 4)), agent.rng.choice((0, 0.5, 5))
    if agent.rng.random() < 0.2:  # noqa: PLR2004 - now and then both
        with workspace.lease_many([str(name) for name in NAMES], ttl=ttl, wait=wait) as held:
            _work(agent, ttl, [held[str(name)] for name in NAMES])
    else:
        with workspace.lease(str(agent.rng.choice(NAMES)), ttl=ttl, wait=wait) as lease:
            _work(agent, ttl, [lease])


def _work(agent: Agent, ttl: float, leases: list[Lease]) -> None:
    """Some of it takes longer than it may."""

    def look(check: Callable[[Lease], object] = lambda _lease: None) -> None:
        for lease in leases:
            check(lease)
            agent.history.trusts(agent.name, lease)

    agent.history.grants += 1
    look()
    for _ in range(agent.rng.choice((1, 2))):
        agent.pause(agent.rng.choice((50, ttl * 1400)))
        look()
        look(lambda lease: lease.check())


def update_far(agent: Agent) -> None:
    """Append through the inbox of the table."""
    for workspace in _far(agent):
        document = workspace.document(DOCUMENT)
        while "op" in agent.desk or not agent.done():
            agent.pause(200)
            update_once(agent, document)
        leave(agent, workspace)
        return


def commit_unaware(agent: Agent) -> None:
    """Commit through the directory, knowing of no table, until it is told that a table rules."""
    agent.is_aware = False
    try:
        agent.rng.choice((commit_on_revision, lease_and_commit))(agent)
    except AuthorityMoved:
        return


def _far(agent: Agent) -> Iterator[Workspace]:
    """The workspace, opened without its directory, again and again while it is of no use there."""
    for _ in range(_OPENED_MAX):
        try:
            yield agent.far_workspace()
        except (AuthorityMoved, NotAWorkspace, StoreUnavailable):
            agent.pause(500)


FAR: Final[tuple[Role, ...]] = (update_far, hold_far)
_MOVING: Final[tuple[Role, ...]] = (
    lease_and_commit,
    lease_and_commit,
    commit_on_revision,
    update,
    update,
    read,
    keep_house,
    commit_unaware,
    update_far,
    hold,
    hold_far,
)
_INBOX: Final[tuple[Role, ...]] = (update_far, update_far, update, keep_house, lease_and_commit)
_NAMES: Final[tuple[Role, ...]] = (hold_far, hold, hold_far, hold)
TABLE_WORKS: Final = ("moving", "inbox", "names")


def table_work(name: str, rng: random.Random, born: str) -> Work:
    """Who does what in one world.

    Args:
        name: One of ``TABLE_WORKS``.
        rng: Of the seed.
        born: Which store rules at first.
    """
    roles = {
        "moving": (update, *rng.sample(_MOVING, rng.randrange(1, 4))),
        "inbox": _INBOX[: rng.randrange(3, 6)],
        "names": _NAMES[: rng.randrange(2, 5)],
    }[name]
    moves = name == "moving" or born == MOUNT or rng.random() < 0.3  # noqa: PLR2004 - else it never moves
    return Work(name, (move, *roles) if moves else roles)
