"""What the agents of a run do: the library as its users use it, and what they remember over their own deaths.

An agent's *desk* is what its user would keep somewhere safe: which operation is under way, under which id. The next
life of an agent that was killed finds it there, and tries that operation again first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.errors import (
    AuthorityMoved,
    ClaimLost,
    LeaseHeld,
    LeaseLost,
    OperationRejected,
    Refused,
    StoreUnavailable,
)
from coordinator.limits import INBOX_POLL_MS, INBOX_UNREAD_MS
from coordinator.testing.simulation.check import BOARD, DOCUMENT, Violation, tags_of
from coordinator.testing.simulation.client import SimFiles
from coordinator.testing.simulation.server import ROOT
from coordinator.testing.simulation.table_client import TABLE_NAME, SimTable
from coordinator.workspace import Workspace

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from coordinator.clock import Clock
    from coordinator.document.document import Document
    from coordinator.testing.simulation.client import SimProcess
    from coordinator.testing.simulation.world import World

    Role = Callable[["Agent"], None]

OPERATIONS: Final = 4  # of each agent
TASKS: Final = 4


class Agent:
    """One life of one agent, and what it acts through."""

    def __init__(self, world: World, process: SimProcess, number: int, life: int, rng: random.Random) -> None:
        self.world = world
        self.history = world.history
        self.process = process
        self.number = number
        self.life = life
        self.rng = rng
        self.name = process.name
        self.clock = process.host.clock
        self.files = SimFiles(world, process)
        self.is_aware = True  # of the table, if there is one
        self.desk: dict[str, Any] = world.desks.setdefault(number, {})

    def workspace(self) -> Workspace:
        """Opens the workspace, as soon as that can be done."""
        options: dict[str, Any] = {}
        if self.world.items is not None and self.is_aware:
            fallback = self.rng.choice((None, "table"))
            options = {"table": TABLE_NAME, "client": self.table(), "fallback": fallback}
        while True:
            try:
                return Workspace(
                    ROOT,
                    agent=f"a{self.number}",
                    files=self.files,
                    clock=self.clock,
                    on_event=self.history.told,
                    **options,
                )
            except StoreUnavailable:
                self.pause(100)

    def far_workspace(self) -> Workspace:
        """Opens it where its directory is not. Raises AuthorityMoved, StoreUnavailable."""
        return Workspace(
            agent=f"a{self.number}",
            table=TABLE_NAME,
            workspace=self.world.workspace_id,
            client=self.table(),
            clock=self.clock,
            on_event=self.history.told,
        )

    def table(self) -> SimTable:
        """A client of the table."""
        assert self.world.items is not None  # noqa: S101 - only works with a table ask
        return SimTable(self.world, self.process, self.world.items)

    def pause(self, most_ms: float) -> None:
        """Waits for some time, at most so long."""
        self.files.pause(self.rng.uniform(0, most_ms))

    def tag(self) -> str:
        """A fresh one."""
        number = self.desk["tags"] = self.desk.get("tags", 0) + 1
        tag = f"{self.number}.{number}"
        self.history.tried.add(tag)
        return tag

    def done(self) -> bool:
        """Counts one piece of work; whether that was more than enough."""
        self.desk["done"] = self.desk.get("done", 0) + 1
        return bool(self.desk["done"] > OPERATIONS)


def prepare(files: SimFiles, clock: Clock, primitive: str, table: SimTable | None = None) -> str:
    """What every work finds: two documents, each with its first revision; in a table, if there is one.

    Returns:
        The workspace's id.
    """
    options: dict[str, Any] = {} if table is None else {"table": TABLE_NAME, "client": table}
    workspace = Workspace.init(ROOT, agent="setup", primitive=primitive, files=files, clock=clock, **options)
    workspace.document(DOCUMENT).commit(b'{"tags": []}', if_revision=0)
    tasks = [{"id": str(number), "title": f"task {number}"} for number in range(TASKS)]
    workspace.document(BOARD).commit(json.dumps({"tasks": tasks}).encode(), if_revision=0)
    workspace.close()
    return workspace.format.workspace_id


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lease_and_commit(agent: Agent) -> None:
    """Read, change and commit under a lease."""
    workspace = agent.workspace()
    while not agent.done():
        agent.pause(300)
        ttl = agent.rng.choice((0.3, 1, 4))
        try:
            with workspace.lease(DOCUMENT, ttl=ttl, wait=agent.rng.choice((0, 0.5, 5))) as lease:
                agent.history.grants += 1
                agent.history.trusts(agent.name, lease)
                for _ in range(agent.rng.choice((1, 1, 2))):
                    tags = tags_of(lease.read())
                    agent.history.trusts(agent.name, lease)
                    if agent.rng.random() < 0.4:  # noqa: PLR2004 - some think longer than they may
                        agent.pause(ttl * 1400)
                        agent.history.trusts(agent.name, lease)
                        if agent.rng.random() < 0.5:  # noqa: PLR2004 - likewise
                            lease.check()
                            agent.history.trusts(agent.name, lease)
                    _commit(agent, lambda tag, tags=tags: lease.commit(_text([*tags, tag])))  # type: ignore[misc]
                    agent.history.trusts(agent.name, lease)
        except (LeaseHeld, LeaseLost, StoreUnavailable):
            continue
    leave(agent, workspace)


def commit_on_revision(agent: Agent) -> None:
    """Read, change and commit on exactly that revision, without a lease."""
    workspace = agent.workspace()
    document = workspace.document(DOCUMENT)
    while not agent.done():
        agent.pause(300)
        try:
            found = document.content()
            agent.pause(20)
            tags = tags_of(found.data)
            revision = found.revision
            _commit(agent, lambda tag: document.commit(_text([*tags, tag]), if_revision=revision))  # noqa: B023 - called at once
        except (Refused, StoreUnavailable):
            continue
    leave(agent, workspace)


def _commit(agent: Agent, commit: Callable[[str], Any]) -> None:
    """Commits with one more tag, and notes what was told of it."""
    tag = agent.tag()
    try:
        receipt = commit(tag)
    except StoreUnavailable as error:
        if not error.outcome_unknown:
            agent.history.refuse(tag)
        raise
    except (Refused, LeaseLost, AuthorityMoved):
        agent.history.refuse(tag)
        raise
    agent.history.acknowledge(tag, receipt.revision)


def update(agent: Agent) -> None:
    """Append through a log; what is unknown is tried again under its id."""
    workspace = agent.workspace()
    document = workspace.document(DOCUMENT)
    while "op" in agent.desk or not agent.done():
        agent.pause(200)
        update_once(agent, document)
    leave(agent, workspace)


def update_once(agent: Agent, document: Document) -> None:
    """Append once, or try again what is under way."""
    if "op" not in agent.desk:
        agent.desk["op"] = (agent.tag(), f"op-{agent.number}-{agent.desk['tags']}", agent.rng.random() < 0.5)  # noqa: PLR2004 - with an id of its own, or one that is made
        agent.desk["tries"] = 0
    tag, op_id, has_id = agent.desk["op"]
    agent.desk["tries"] += 1
    first = agent.desk["tries"] == 1
    wait = agent.rng.choice((0, 0.02, 10, 10, 10))
    if not has_id and not first and "unknown" not in agent.desk:
        del agent.desk["op"]  # died without knowing the id: nobody can try that again
        return
    given = op_id if has_id else agent.desk.get("unknown")
    try:
        receipt = document.update([{"op": "add", "path": "/tags/-", "value": tag}], op_id=given, wait=wait)
    except StoreUnavailable as error:
        if error.outcome_unknown or not first:
            agent.desk["unknown"] = error.op_id
            if agent.desk["tries"] < 30:  # noqa: PLR2004 - a disk that is full for a while
                return
        else:
            agent.history.refuse(tag)
    else:
        if receipt.state == "applied":
            agent.history.acknowledge(tag, receipt.revision)
        else:
            agent.history.durable.add(tag)
    del agent.desk["op"]
    agent.desk.pop("unknown", None)


def read(agent: Agent) -> None:
    """Look at the document through the library, and at the plain file as ``cat`` does."""
    workspace = agent.workspace()
    document = workspace.document(DOCUMENT)
    for _ in range(agent.rng.randrange(2, 8)):
        agent.pause(400)
        known = len(agent.history.acknowledged)
        try:
            tags = tags_of(document.read())
            agent.history.read(agent.name, tags, known)
        except StoreUnavailable:
            continue
        if agent.rng.random() < 0.5:  # noqa: PLR2004 - now and then
            _cat(agent)


def _cat(agent: Agent) -> None:
    try:
        data = agent.files.read(f"{ROOT}/{DOCUMENT}")
    except OSError:
        return
    try:
        agent.history.views.append((agent.name, tags_of(data)))
    except (ValueError, KeyError, TypeError) as error:
        raise Violation(f"{agent.name} found {data!r} in the plain file: {error}") from None


def keep_house(agent: Agent) -> None:
    """Collect, compact, and look at what people look at."""
    workspace = agent.workspace()
    document = workspace.document(DOCUMENT)
    for _ in range(agent.rng.randrange(1, 5)):
        agent.pause(1500)
        try:
            agent.rng.choice(
                (workspace.collect, workspace.status, document.compact, document.history, document.refresh_view)
            )()
        except StoreUnavailable:
            continue
    leave(agent, workspace)


def claim_and_complete(agent: Agent) -> None:
    """Take tasks from a board, and complete them."""
    workspace = agent.workspace()
    board = workspace.tasks(BOARD)
    while not agent.done():
        agent.pause(100)
        try:
            task = board.claim_next(ttl=agent.rng.choice((1, 5, 60)), wait=agent.rng.choice((0, 1)))
            if not task:
                continue
            agent.pause(agent.rng.choice((10, 2000)))
            result = f"{agent.name} {task.epoch}"
            agent.history.unknown_completions.setdefault(task.id, []).append(result)
            receipt = task.complete(result)
            if receipt.state == "applied":
                agent.history.completed.setdefault(task.id, []).append(result)
        except (ClaimLost, LeaseHeld, OperationRejected, StoreUnavailable):
            continue
    leave(agent, workspace)


def leave(agent: Agent, workspace: Workspace) -> None:
    """Mostly in order; some just end."""
    if agent.rng.random() < 0.8:  # noqa: PLR2004 - mostly
        workspace.close()


def _text(tags: list[str]) -> bytes:
    return json.dumps({"tags": tags}).encode()


# ── works ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Work(NamedTuple):
    """Who does what."""

    name: str
    roles: tuple[Role, ...]

    def role(self, number: int) -> Role:
        """What an agent does."""
        return self.roles[number % len(self.roles)]


WORKS: Final = {
    work.name: work
    for work in (
        Work("leases", (lease_and_commit, commit_on_revision, lease_and_commit, read, commit_on_revision, keep_house)),
        Work("updates", (update, update, read, update, keep_house)),
        Work("mixed", (update, lease_and_commit, update, read, commit_on_revision, keep_house)),
        Work("board", (claim_and_complete,)),
    )
}


def judge(agent: Agent) -> None:
    """Alone, when all are done and all that is late has arrived: looks at what there is."""
    workspace = agent.workspace()
    if agent.world.work.name == "board":
        document = workspace.document(BOARD)
        while document.compact().revision:
            pass
        agent.history.judge_board(workspace.tasks(BOARD).list())
        return
    document = workspace.document(DOCUMENT)
    while document.compact().revision:
        pass
    if agent.world.items is not None:
        agent.clock.pause(INBOX_UNREAD_MS)  # the inbox is looked at now and then
        while document.compact().revision:
            agent.clock.pause(INBOX_POLL_MS)
    final = tags_of(document.read())
    agent.history.judge(final)
    for revision in document.history():
        found = tags_of(revision_content) if (revision_content := _at(document, revision.revision)) else []
        if found != final[: len(found)]:
            raise Violation(f"revision {revision.revision} was {found}, which is no beginning of {final}")
    document.refresh_view()
    agent.files.refresh(ROOT)
    shown = tags_of(agent.files.read(f"{ROOT}/{DOCUMENT}"))
    if shown != final:
        raise Violation(f"the plain file shows {shown}, not {final}")
    workspace.collect()
    workspace.close()


def _at(document: Document, revision: int) -> bytes:
    from coordinator.errors import BadValue  # noqa: PLC0415

    try:
        return document.at(revision)
    except BadValue:
        return b""  # collected
