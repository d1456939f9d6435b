"""The chain on the mount: put if absent (P1), lost replies (P7), floor and collection (P18), leases and fences (P3).

What each process does is what record/mount.py, record/agree.py, record/decide.py and record/collect.py do, one call of
the store a step:

    putter      read -> decide -> put n + 1 -> list again (confirm) -> told; beaten: look at n, read, decide anew
    holder      the same for a grant, then for a commit under it, decided anew on every record that beats it
    reader      list -> get what was listed
    collector   read -> copy what is to go -> archive it -> raise the floor in the chain -> read -> delete, one by one

Content is what everybody appends to it: each operation must be there once, for good, when its author was told so.
Time is left out: whoever wants a lease may always find it over (P9 only decides when to try, P2), and a process that
takes no step is frozen or dead. A put may come to nothing, or be done with its reply lost, or be done *later*; a
process may be killed and come back as another life of it, that does not know what became of its operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.chain_state import (
    FIRST,
    IDLE,
    KEPT,
    NAMES,
    Proc,
    Rec,
    Rules,
    State,
    changed,
    find,
    landed,
    name_of,
    told_content,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model.checker import Label


class ChainModel:
    """See the module.

    Args:
        roles: One letter a process: p(utter), h(older), r(eader), c(ollector).
        ops: How many operations each putter and holder has, or how often a collector collects.
        losses: How many replies may be lost.
        kills: How many times a process may be killed.
        rules: What is kept to.
    """

    def __init__(
        self, roles: str, ops: tuple[int, ...], *, losses: int = 0, kills: int = 0, rules: Rules = KEPT
    ) -> None:
        self._roles = roles
        self._ops = ops
        self._losses = losses
        self._kills = kills
        self._rules = rules

    # ── what the checker asks for ────────────────────────────────────────────────────────────────────────────────────

    def starts(self) -> Iterable[State]:
        """One record, and everybody about to begin."""
        procs = tuple(IDLE for _ in self._roles)
        yield State((FIRST,), frozenset(), (-1,), frozenset(), self._losses, self._kills, (), (), procs, "")

    def is_done(self, state: State) -> bool:
        """Whether everybody is through."""
        return all(proc.op == ops for proc, ops in zip(state.procs, self._ops, strict=True))

    def told(self, state: State) -> str:
        """The chain."""
        return " | ".join(map(str, state.chain)) + (f"  told {told_content(state.told)}" if state.told else "")

    def fault(self, state: State) -> str:
        """Lost, doubled, or what a step found out."""
        if state.wrong:
            return state.wrong
        content = state.chain[-1].content
        if len({*content}) != len(content):
            return f"doubled: {told_content(content)}"
        lost = tuple(op for op in state.told if op not in content)
        return f"acknowledged, and lost: {told_content(lost)}" if lost else ""

    def moves(self, state: State) -> Iterator[tuple[Label, State]]:
        """One step of anybody."""
        for i, proc in enumerate(state.procs):
            if proc.op == self._ops[i]:
                continue
            step = _Step(state, i, proc, self._rules, is_holder=self._roles[i] == "h")
            yield from {"c": step.collect, "r": step.look_only}.get(self._roles[i], step.work)()
            if state.kills and self._roles[i] in "ph" and (proc.at != "read" or proc.fence):
                after = proc._replace(at="read", life=proc.life + 1, wary=True, fence=0, base=None, new=None, aux=0)
                yield (NAMES[i], "is killed, and begins anew"), changed(state, i, after, kills=state.kills - 1)
        for late in state.net:
            chain, line, wrong = landed(state, late)
            words = ("late", "put of {} arrives" if chain is not state.chain else "put of {} arrives, refused", late)
            yield words, state._replace(chain=chain, line=line, net=state.net - {late}, wrong=wrong)


class _Step:
    """What one process may do next."""

    def __init__(self, state: State, i: int, proc: Proc, rules: Rules, *, is_holder: bool) -> None:
        self.state = state
        self.i = i
        self.proc = proc
        self.rules = rules
        self.is_holder = is_holder
        self.who = i + 8 * proc.life

    def _go(self, words: tuple[object, ...], proc: Proc, **changes: object) -> tuple[Label, State]:
        return (NAMES[self.i], *words), changed(self.state, self.i, proc, **changes)

    # ── putters and holders ──────────────────────────────────────────────────────────────────────────────────────────

    def work(self) -> Iterator[tuple[Label, State]]:
        """The step that is next."""
        proc, at = self.proc, self.proc.at
        if at == "put":
            yield from self._put()
        elif at == "look":
            yield self._look()
        elif at == "look2":
            yield self._look_again()
        elif at in {"read", "beaten", "confirm"}:
            yield self._list()
        elif at.endswith(" get"):
            rec = find(self.state.chain, proc.aux)
            if rec is None:
                yield self._go(("finds {} gone", proc.aux), proc._replace(at=at.removesuffix(" get"), aux=0))
            else:
                yield self._got(at.removesuffix(" get"), rec)
        else:
            yield self._history()

    def _list(self) -> tuple[Label, State]:
        """MountStore._list, and _get of what it found."""
        proc, newest = self.proc, self.state.chain[-1]
        if proc.at == "confirm" and proc.new is not None and newest.n == proc.new.n:
            return self._told("sees its record at the end")
        if self.rules.reads_whole:
            return self._got(proc.at, newest)
        return self._go(("lists {}", newest.n), proc._replace(at=f"{proc.at} get", aux=newest.n))

    def _got(self, at: str, rec: Rec) -> tuple[Label, State]:
        proc = self.proc._replace(aux=0)
        if at == "read":
            return self._decided("reads {} and decides", rec, proc)
        new = proc.new
        assert new is not None
        if at == "confirm" and (new.n >= rec.floor or not self.rules.checks_floor):
            return self._told("sees that others go on")
        if new.n < rec.floor and self.rules.checks_floor:  # MountStore._beaten
            return self._go(("sees that {} is below the floor", new.n), proc._replace(at="history", base=rec))
        return self._decided("reads {}, and decides anew", rec, proc)

    def _decided(self, words: str, rec: Rec, proc: Proc) -> tuple[Label, State]:
        """Decide (agree.py, decide.py): what it puts on the record that it takes for the newest."""
        op = self.i * 8 + proc.op
        if proc.wary and op in rec.content:
            done = proc._replace(at="read", op=proc.op + 1, wary=False, fence=0, base=None, new=None)
            told = tuple(sorted((*self.state.told, op)))
            return self._go(("reads {}, finds what it wanted done", rec), done, told=told)
        held = (proc.fence, self.who)
        if not self.is_holder:
            kind, lease, content = "commit", (0, 0), rec.content
        elif proc.fence and (rec.lease == held or not self.rules.checks_fence):
            # The content that it has read under its lease, whatever was committed since: the lease says, nothing was.
            assert proc.new is not None
            kind, lease, content = "commit", held, tuple(one for one in proc.new.content if one != op)
        else:
            kind, lease, content = "grant", (rec.n + 1, self.who), rec.content
            proc = proc._replace(fence=0)
        if kind == "commit":
            content = tuple(sorted((*content, op)))
        new = Rec(rec.n + 1, self.who, kind, lease, rec.floor, content)
        return self._go((words, rec), proc._replace(at="put", base=None, new=new))

    def _put(self) -> Iterator[tuple[Label, State]]:
        """MountStore._put."""
        proc, state, new = self.proc, self.state, self.proc.new
        assert new is not None
        chain, line, wrong = landed(state, new)
        if chain is state.chain:
            yield self._go(("puts {}: taken", new.n), proc._replace(at="look" if self._looks_first else "look2"))
        else:
            yield self._go(("puts {}", new), proc._replace(at="confirm"), chain=chain, line=line, wrong=wrong)
        if state.losses:
            retry = proc._replace(at="look" if self._looks_first else "look2")
            if not self.rules.same_request:
                retry = retry._replace(new=new._replace(who=new.who + 32))
            changes: dict[str, object] = {"losses": state.losses - 1}
            yield self._go(("puts {}, which comes to nothing, with an error", new.n), retry, **changes)
            yield self._go(("puts {}, an error: it is under way", new.n), retry, net=state.net | {new}, **changes)
            if chain is not state.chain:
                changes |= {"chain": chain, "line": line}
                yield self._go(("puts {}, and the reply is lost", new), retry, **changes)

    @property
    def _looks_first(self) -> bool:
        return not self.rules.lists_then_looks

    def _look(self) -> tuple[Label, State]:
        """MountStore._look: what stands at n. ``aux`` is what was listed before, with lists_then_looks."""
        proc, new = self.proc, self.proc.new
        assert new is not None
        found = find(self.state.chain, new.n)
        if found is not None:
            mine = found.who == new.who and self.rules.knows_own
            words = ("looks at {}: its own", new.n) if mine else ("looks at {}: {}'s", new.n, name_of(found.who))
            return self._go(words, proc._replace(at="confirm" if mine else "beaten", aux=0))
        if self._looks_first:
            return self._go(("looks at {}: nothing", new.n), proc._replace(at="look2"))
        at = "beaten" if proc.aux > new.n else "put"
        return self._go(("looks at {}: nothing, so it is {}", new.n, at), proc._replace(at=at, aux=0))

    def _look_again(self) -> tuple[Label, State]:
        """The listing that tells a record that was collected from one that never was."""
        proc, new, newest = self.proc, self.proc.new, self.state.chain[-1].n
        assert new is not None
        if self._looks_first:
            at = "beaten" if newest > new.n else "put"
            return self._go(("lists {}, so it is {}", newest, at), proc._replace(at=at))
        return self._go(("lists {}", newest), proc._replace(at="look", aux=newest))

    def _history(self) -> tuple[Label, State]:
        """MountStore._beaten below the floor: record.collect.known_records, in the order of its reads.

        ``aux``: of the listing, the newest n; + 100 when what stands at its own n is its own.
        """
        proc, chain, new = self.proc, self.state.chain, self.proc.new
        assert new is not None
        assert proc.base is not None
        if proc.at == "history":
            standing = find(chain, new.n)
            has_own = standing is not None and standing.who == new.who
            aux = chain[-1].n + (100 if has_own else 0)
            return self._go(("lists the chain for its history",), proc._replace(at="history top", aux=aux))
        if proc.at == "history top":
            top = find(chain, proc.aux % 100)
            counts = proc.aux >= 100 and (top is None or new.n >= top.floor)
            return self._go(("reads the texts",), proc._replace(at="history archive", aux=int(counts)))
        archived = {who for n, who in self.state.archive if n == new.n}
        mine = new.who in archived
        if proc.aux and (not archived or not self.rules.archive_first):
            mine = True
        if mine:
            return self._told("finds its record in the history")
        if not archived:  # outcome unknown
            wary = proc._replace(at="read", wary=True, fence=0, base=None, new=None, aux=0)
            return self._go(("finds no record {} in the history", new.n), wary)
        return self._decided("finds another's in the history, and decides on {}", proc.base, proc._replace(aux=0))

    def _told(self, words: str) -> tuple[Label, State]:
        """The append was accepted, says the store: its author acts on it."""
        proc, state, new = self.proc, self.state, self.proc.new
        assert new is not None
        if new.kind == "grant":
            if new.n in state.grants:
                wrong = f"two grants have fence {new.n}"
                return self._go((words,), proc, wrong=wrong)
            grants = tuple(sorted((*state.grants, new.n)))
            # The commit under it, decided on its own grant.
            content = tuple(sorted((*new.content, self.i * 8 + proc.op)))
            commit = new._replace(n=new.n + 1, kind="commit", content=content)
            held = proc._replace(at="put", fence=new.n, base=None, new=commit, aux=0)
            return self._go((f"{words}: it holds the lease",), held, grants=grants, wrong=self._not_so(new))
        told = tuple(sorted((*state.told, self.i * 8 + proc.op)))
        done = proc._replace(at="read", op=proc.op + 1, wary=False, fence=0, base=None, new=None, aux=0)
        return self._go((f"{words}: it is told so",), done, told=told, wrong=self._not_so(new))

    def _not_so(self, new: Rec) -> str:
        line = self.state.line
        if line[new.n - 1] == new.who or not self.rules.same_request:
            return ""
        return f"record {new.n} was acknowledged to {name_of(new.who)}, and is {name_of(line[new.n - 1])}'s"

    # ── readers ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def look_only(self) -> Iterator[tuple[Label, State]]:
        """MountStore.read, for its own sake."""
        proc, state = self.proc, self.state
        if proc.at == "read" and not self.rules.reads_whole:
            newest = state.chain[-1].n
            yield self._go(("lists {}", newest), proc._replace(at="get", aux=newest))
            return
        rec = find(state.chain, proc.aux) if proc.at == "get" else state.chain[-1]
        if rec is None:
            yield self._go(("finds {} gone", proc.aux), proc._replace(at="read", aux=0))
            return
        wrong = "" if state.line[rec.n - 1] == rec.who else f"{rec} was read, and never was the newest record"
        yield self._go(("reads {}", rec), proc._replace(at="read", op=proc.op + 1, aux=0), wrong=wrong)

    # ── collectors ───────────────────────────────────────────────────────────────────────────────────────────────────

    def collect(self) -> Iterator[tuple[Label, State]]:
        """collect_chain with keep=1. ``base`` is the newest as it was read; ``new`` carries what was copied."""
        proc, state, rules = self.proc, self.state, self.rules
        chain, newest = state.chain, state.chain[-1]
        if proc.at == "read":
            if newest.n > newest.floor:
                yield self._go(("reads {}", newest), proc._replace(at="copy", base=newest))
            return
        base = proc.base
        assert base is not None
        if proc.at == "copy":
            copied = tuple((rec.n, rec.who) for rec in chain if base.floor <= rec.n < base.n)
            words = ("copies {}", ", ".join(f"{n} of {name_of(who)}" for n, who in copied) or "nothing")
            if rules.archives_records:
                kept = Rec(0, -1, "copied", (0, 0), 0, tuple(n * 64 + who + 1 for n, who in copied))
                yield self._go(words, proc._replace(at="archive", new=kept))
            else:
                archive = state.archive | {*copied}
                yield self._go((words[0] + " to the archive", *words[1:]), proc._replace(at="raise"), archive=archive)
        elif proc.at == "archive":
            assert proc.new is not None
            copied = tuple((code // 64, code % 64 - 1) for code in proc.new.content)
            archive = state.archive | {(n, who) for n, who in copied if n >= newest.floor}
            yield self._go(
                ("reads the floor, writes the archive",), proc._replace(at="raise", new=None), archive=archive
            )
        elif proc.at == "raise" and rules.floor_first:
            yield self._raise(base.n, "floor")
        elif proc.at == "late raise":
            yield self._raise(base.n, "")
        elif proc.at == "floor":
            yield self._go(("reads floor {}", newest.floor), proc._replace(at="delete", aux=newest.floor))
        else:
            yield self._delete(base.n)

    def _raise(self, floor: int, then: str) -> tuple[Label, State]:
        """settle(Raise): read and append in one, as a collector that is beaten reads and decides anew."""
        proc, newest = self.proc, self.state.chain[-1]
        after = proc._replace(at=then) if then else self._collected
        if not newest.floor < floor <= newest.n:
            return self._go(("finds the floor raised",), after)
        new = newest._replace(n=newest.n + 1, who=self.who, kind="floor", floor=floor)
        chain, line, wrong = landed(self.state, new)
        return self._go(("raises the floor to {}", floor), after, chain=chain, line=line, wrong=wrong)

    def _delete(self, floor: int) -> tuple[Label, State]:
        proc, chain = self.proc, self.state.chain
        floor = proc.aux if self.rules.floor_first else floor
        if chain[0].n < floor:
            return self._go(("deletes {}", chain[0]), proc._replace(at="delete"), chain=chain[1:])
        after = self._collected if self.rules.floor_first else proc._replace(at="late raise")
        return self._go(("has deleted all",), after)

    @property
    def _collected(self) -> Proc:
        return self.proc._replace(at="read", op=self.proc.op + 1, base=None, new=None, aux=0)
