"""Logs, folds, and the retiring of logs whose writers are silent (P27), by document/submit.py and compactor.py.

    writer      create its log -> append + fsync -> read the record: outcome, or a fence of its log? -> told: durable
                fenced, and no outcome: the same operation, under the same id, in a new log
    compactor   read the record -> read the logs, one by one -> put the record after it, if nobody else did -> delete

A fold may fence any log that it knows, at any time: how long a writer was silent only decides when to try (P2). It may
read less of a log than is there, for a fold reads a bounded batch. A record tells of each log how far it was folded,
and whether it is open, fenced or ended; an operation whose id is known is folded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from model.chain_state import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from model.checker import Label

UNKNOWN, OPEN, FENCED, ENDED = range(4)
_STATES = ("unknown", "open", "fenced", "ended")
_AGAIN = 32  # added to an operation's id by the mutant that makes a new one

Position = tuple[int, int]  # how much of a log was folded, and its state
Log = tuple[bool, tuple[int, ...]]  # whether its file is there, and its frames
_NO_LOG: Log = (False, ())


class Rules(NamedTuple):
    """What the code keeps to; each can be switched off."""

    fences_first: bool = True  # a log is ended by a fold that read it after its fence stood in the chain
    ends_what_it_read: bool = True  # a log is ended only by a fold that came to it, and found nothing more in it
    resubmits: bool = True  # a writer that finds itself fenced after its fsync submits again
    same_id: bool = True  # … under the same id
    knows_ids: bool = True  # an operation whose id is known is not folded again
    fences_orphans: bool = True  # a log of which nothing was folded is not deleted either before it was fenced


KEPT = Rules()


class Rec(NamedTuple):
    """What a fold publishes."""

    n: int
    content: tuple[int, ...]
    positions: tuple[Position, ...]
    fenced: frozenset[int]  # every log that was ever said to be no longer read, as the fold lines tell


class Writer(NamedTuple):
    """What a writer has in mind."""

    at: str
    op: int
    life: int  # which of its logs


class Compactor(NamedTuple):
    """What a compactor has in mind."""

    at: str
    folds: int
    base: Rec | None
    read: tuple[tuple[tuple[int, ...], bool], ...]  # of each log: its new frames, and whether these were all
    delete: tuple[int, ...]


class State(NamedTuple):
    """Everything."""

    record: Rec
    logs: tuple[Log, ...]
    told: tuple[int, ...]
    writers: tuple[Writer, ...]
    compactors: tuple[Compactor, ...]


class RetireModel:
    """See the module.

    Args:
        ops: How many operations each writer has.
        folds: How often each compactor publishes.
        lives: How many logs a writer may begin.
        whole: A fold reads all that is there; else, as much of it as it likes.
        rules: What is kept to.
    """

    def __init__(
        self,
        ops: tuple[int, ...],
        folds: tuple[int, ...],
        *,
        lives: int = 2,
        whole: bool = False,
        rules: Rules = KEPT,
    ) -> None:
        self._ops = ops
        self._folds = folds
        self._lives = lives
        self._whole = whole
        self._rules = rules
        self._logs = len(ops) * lives

    # ── what the checker asks for ────────────────────────────────────────────────────────────────────────────────────

    def starts(self) -> Iterable[State]:
        """No log, nothing folded."""
        record = Rec(1, (), ((0, UNKNOWN),) * self._logs, frozenset())
        writers = tuple(Writer("create", 0, 0) for _ in self._ops)
        compactors = tuple(Compactor("read", 0, None, (), ()) for _ in self._folds)
        yield State(record, (_NO_LOG,) * self._logs, (), writers, compactors)

    def is_done(self, state: State) -> bool:
        """Whether every writer is through."""
        return all(writer.op == ops for writer, ops in zip(state.writers, self._ops, strict=True))

    def told(self, state: State) -> str:
        """The record and the logs."""
        record = state.record
        logs = [
            f"{self._log(i)}{_ops(frames) if is_there else ' deleted' if frames else ' -'}"
            f" {_STATES[record.positions[i][1]]} {record.positions[i][0]}"
            for i, (is_there, frames) in enumerate(state.logs)
            if is_there or frames or record.positions[i][1]
        ]
        told = f"  told {_ops(state.told)}" if state.told else ""
        return f"{record.n}: {_ops(record.content)}; logs {', '.join(logs) or '-'}{told}"

    def fault(self, state: State) -> str:
        """Whether what was acknowledged is neither folded nor will be, or was folded twice."""
        content = state.record.content
        plain = [op % _AGAIN for op in content]
        if len({*plain}) != len(plain):
            return f"doubled: {_ops(content)}"
        for op in state.told:
            if op not in plain and not self._will_be_folded(state, op):
                return f"acknowledged, and lost: {_ops((op,))}"
        return ""

    @staticmethod
    def _will_be_folded(state: State, op: int) -> bool:
        for (is_there, frames), (offset, at) in zip(state.logs, state.record.positions, strict=True):
            if is_there and at != ENDED and op in [frame % _AGAIN for frame in frames[offset:]]:
                return True
        return False

    def moves(self, state: State) -> Iterator[tuple[Label, State]]:
        """One step of anybody."""
        for i, writer in enumerate(state.writers):
            if writer.op < self._ops[i]:
                yield from self._write(state, i, writer)
        for i, compactor in enumerate(state.compactors):
            if compactor.folds < self._folds[i] or compactor.at == "delete":
                yield from self._compact(state, i, compactor)

    def _log(self, log: int) -> str:
        return f"{NAMES[log // self._lives]}.{log % self._lives + 1}"

    # ── writers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, state: State, i: int, writer: Writer) -> Iterator[tuple[Label, State]]:
        log, name = i * self._lives + writer.life, NAMES[i]
        is_there, frames = state.logs[log]
        op = i * 8 + writer.op
        if writer.at == "create":
            after = _writing(state, i, writer._replace(at="append"))
            yield (name, "creates its log {}", self._log(log)), _logged(after, log, (True, ()))
        elif writer.at == "append":
            frame = op if self._rules.same_id or writer.life == 0 else op + _AGAIN
            after = _writing(state, i, writer._replace(at="look"))
            if is_there:
                after = _logged(after, log, (True, (*frames, frame)))
            yield (name, "appends {} to {}, and syncs", _ops((frame,)), self._log(log)), after
        else:
            yield from self._look(state, i, writer, log)

    def _look(self, state: State, i: int, writer: Writer, log: int) -> Iterator[tuple[Label, State]]:
        """Submissions._look: what the fold lines tell, or what the state does where they are collected."""
        record, op = state.record, i * 8 + writer.op
        done = _writing(state, i, writer._replace(at="append", op=writer.op + 1))
        done = done._replace(told=tuple(sorted((*state.told, op))))
        if op in record.content or op + _AGAIN in record.content:
            yield (NAMES[i], "finds {} folded", _ops((op,))), done
            return
        found = {log in record.fenced: "in the lines"}
        if record.n > 1:
            at = record.positions[log][1]
            found.setdefault(at > OPEN or (at == UNKNOWN and not state.logs[log][0]), "in the state, the lines gone")
        for is_fenced, where in found.items():
            if not is_fenced or not self._rules.resubmits:
                yield (NAMES[i], "finds nothing against its log {}: {} is durable", where, _ops((op,))), done
            elif writer.life + 1 < self._lives:
                again = _writing(state, i, writer._replace(at="create", life=writer.life + 1))
                yield (NAMES[i], "finds its log fenced {}", where), again

    # ── compactors ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _compact(self, state: State, i: int, compactor: Compactor) -> Iterator[tuple[Label, State]]:
        name = f"fold {i + 1}"
        if compactor.at == "read":
            begun = self._reading(state, Compactor("logs", compactor.folds, state.record, (), ()))
            yield (name, "reads record {}", state.record.n), _compacting(state, i, begun)
        elif compactor.at == "logs":
            yield from self._read_log(state, i, compactor)
        elif compactor.at == "delete":
            log, *left = compactor.delete
            after = compactor._replace(at="delete" if left else "read", delete=tuple(left))
            deleted = _logged(_compacting(state, i, after), log, (False, state.logs[log][1]))
            yield (name, "deletes {}", self._log(log)), deleted
        else:
            yield from self._publish(state, i, compactor)

    def _read_log(self, state: State, i: int, compactor: Compactor) -> Iterator[tuple[Label, State]]:
        """The next log, or as much of it as the batch has room for."""
        base, read = compactor.base, compactor.read
        assert base is not None
        log = len(read)
        is_there, frames = state.logs[log]
        offset, at = base.positions[log]
        new = frames[offset:] if is_there and at != ENDED else ()
        for end in range(len(new) if self._whole else 0, len(new) + 1):
            after = self._reading(state, compactor._replace(read=(*read, (new[:end], end == len(new)))))
            rest = "" if end == len(new) else ", and no further"
            yield (
                (f"fold {i + 1}", "reads {} of {}{}", _ops(new[:end]), self._log(log), rest),
                _compacting(state, i, after),
            )

    def _reading(self, state: State, compactor: Compactor) -> Compactor:
        """What it does next: a log whose file is not there when its turn comes needs no step."""
        read = compactor.read
        while len(read) < self._logs and not state.logs[len(read)][0]:
            read = (*read, ((), True))
        return compactor._replace(at="put" if len(read) == self._logs else "logs", read=read)

    def _publish(self, state: State, i: int, compactor: Compactor) -> Iterator[tuple[Label, State]]:
        """Puts the record after the one that it has read: alone, or with the fence of one log."""
        base, name = compactor.base, f"fold {i + 1}"
        assert base is not None
        if state.record.n != base.n:
            again = Compactor("read", compactor.folds, None, (), ())
            yield (name, "is beaten by record {}", state.record.n), _compacting(state, i, again)
            return
        orphans = self._orphans(state, base) if not self._rules.fences_orphans else []
        for log in orphans:
            # Deleted beside the fold, by its age alone.
            again = compactor._replace(at="read", base=None, read=(), folds=compactor.folds + 1)
            deleted = _logged(_compacting(state, i, again), log, (False, state.logs[log][1]))
            yield (name, "deletes {}, of which nothing was ever folded", self._log(log)), deleted
        fences = [-1, *(log for log in range(self._logs) if self._may_fence(state, base, log))]
        for fence in fences:
            positions, ended = self._positions(state, compactor, fence)
            if positions != base.positions:
                record = self._record(base, compactor, positions, fence)
                done = Compactor("delete" if ended else "read", compactor.folds + 1, None, (), ended)
                words = (name, "publishes record {}{}", record.n, f", fencing {self._log(fence)}" if fence >= 0 else "")
                yield words, _compacting(state._replace(record=record), i, done)

    def _orphans(self, state: State, base: Rec) -> list[int]:
        return [log for log in range(self._logs) if state.logs[log][0] and base.positions[log][1] == UNKNOWN]

    def _may_fence(self, state: State, base: Rec, log: int) -> bool:
        """Open ones; with fences_orphans also those of which nothing was folded yet."""
        at = base.positions[log][1]
        return at == OPEN or (at == UNKNOWN and self._rules.fences_orphans and state.logs[log][0])

    def _positions(
        self, state: State, compactor: Compactor, fence: int
    ) -> tuple[tuple[Position, ...], tuple[int, ...]]:
        """Compactor._positions, and which logs are to be deleted."""
        base = compactor.base
        assert base is not None
        positions, ended = [], []
        for log, ((offset, at), (new, is_all)) in enumerate(zip(base.positions, compactor.read, strict=True)):
            after = OPEN if at == UNKNOWN and new else at
            if log == fence:
                after = FENCED if self._rules.fences_first else ENDED
            elif at == FENCED and not new and (is_all or not self._rules.ends_what_it_read):
                after = ENDED
            elif at == ENDED and not state.logs[log][0]:
                positions.append((0, UNKNOWN))  # nothing of it is left: forgotten
                continue
            if after == ENDED and state.logs[log][0]:
                ended.append(log)
            positions.append((offset + len(new), after))
        return tuple(positions), tuple(ended)

    def _record(self, base: Rec, compactor: Compactor, positions: tuple[Position, ...], fence: int) -> Rec:
        content = list(base.content)
        for new, _ in compactor.read:
            content += [op for op in new if op not in content or not self._rules.knows_ids]
        fenced = base.fenced | {fence} if fence >= 0 else base.fenced
        return Rec(base.n + 1, tuple(sorted(content)), positions, fenced)


def _writing(state: State, i: int, writer: Writer) -> State:
    return state._replace(writers=(*state.writers[:i], writer, *state.writers[i + 1 :]))


def _compacting(state: State, i: int, compactor: Compactor) -> State:
    return state._replace(compactors=(*state.compactors[:i], compactor, *state.compactors[i + 1 :]))


def _logged(state: State, i: int, log: Log) -> State:
    return state._replace(logs=(*state.logs[:i], log, *state.logs[i + 1 :]))


def _ops(ops: tuple[int, ...]) -> str:
    names = (f"{NAMES[op % _AGAIN // 8].lower()}{op % 8 + 1}{'*' if op >= _AGAIN else ''}" for op in ops)
    return "{" + " ".join(names) + "}"
