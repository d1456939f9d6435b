"""What the chain model is made of: rules, records, processes, and everything at one moment (chain_model.py)."""

from __future__ import annotations

from typing import NamedTuple

NAMES = "ABCDEF"


class Rules(NamedTuple):
    """What the code keeps to; each can be switched off."""

    knows_own: bool = True  # P7: one's own request is recognised at n
    same_request: bool = True  # P7: what is tried again is the same append
    lists_then_looks: bool = True  # P7: "not there, and others behind it" is told by a listing made before the look
    checks_fence: bool = True  # P15: a holder decides anew on what has beaten it
    checks_floor: bool = True  # P18: an appender lists again, and is fenced below the floor
    floor_first: bool = True  # P18: the floor is raised in the chain before anything is deleted
    archives_records: bool = True  # P18: what is below the floor when it was copied is no record, and not archived
    archive_first: bool = True  # P18: of two records of one number the archived one is the record
    reads_whole: bool = True  # P6: a record counts as the newest if it still is when it was read


KEPT = Rules()


class Rec(NamedTuple):
    """Record n. ``who`` stands for its request: a life of a process asks once for each n."""

    n: int
    who: int
    kind: str
    lease: tuple[int, int]  # fence and holder; (0, 0): free
    floor: int
    content: tuple[int, ...]

    def __str__(self) -> str:
        """For traces."""
        held = f" lease {self.lease[0]} of {name_of(self.lease[1])}" if self.lease[0] else ""
        floor = f" floor {self.floor}" if self.floor > 1 else ""
        return f"{self.n}:{self.kind} by {name_of(self.who)}{held}{floor} {told_content(self.content)}"


class Proc(NamedTuple):
    """What a process has in mind."""

    at: str  # its next step
    op: int  # how many operations are done
    life: int
    wary: bool  # it does not know what became of its operation, and looks for it in the content
    fence: int  # of the lease that it believes to hold
    base: Rec | None  # what it has read, or has been beaten by
    new: Rec | None  # what it puts
    aux: int


class State(NamedTuple):
    """Everything."""

    chain: tuple[Rec, ...]
    archive: frozenset[tuple[int, int]]  # n and who
    line: tuple[int, ...]  # who put record 1, 2, … first: the history as it is
    net: frozenset[Rec]  # puts under way that nobody waits for any more
    losses: int  # replies that may still be lost
    kills: int
    told: tuple[int, ...]  # operations that their authors were told are done
    grants: tuple[int, ...]  # fences that their holders were told
    procs: tuple[Proc, ...]
    wrong: str


def name_of(who: int) -> str:
    """A process, and its life if it is not the first."""
    return "-" if who < 0 else NAMES[who % 8] + "'" * (who // 8)


def told_content(content: tuple[int, ...]) -> str:
    """Operations: a1 is A's first."""
    return "{" + " ".join(f"{NAMES[op // 8].lower()}{op % 8 + 1}" for op in content) + "}"


IDLE = Proc("read", 0, 0, False, 0, None, None, 0)
FIRST = Rec(1, -1, "commit", (0, 0), 1, ())


def landed(state: State, new: Rec) -> tuple[tuple[Rec, ...], tuple[int, ...], str]:
    """The chain after a put: unchanged if n is taken (P1). The history, and what is wrong with that."""
    chain = state.chain
    if any(rec.n == new.n for rec in chain):
        return chain, state.line, ""
    if new.n < chain[-1].n:  # where a record was deleted
        return tuple(sorted((*chain, new))), state.line, ""
    return (*chain, new), (*state.line, new.who), ""


def find(chain: tuple[Rec, ...], n: int) -> Rec | None:
    """Record n, if it is there."""
    return next((rec for rec in chain if rec.n == n), None)


def changed(state: State, i: int, proc: Proc, **changes: object) -> State:
    """Everything, after a step of one process."""
    procs = (*state.procs[:i], proc, *state.procs[i + 1 :])
    return state._replace(procs=procs, **changes)  # type: ignore[arg-type]
