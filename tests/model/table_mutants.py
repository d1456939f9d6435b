"""The rules of the table and of moves switched off, one at a time; see mutants.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from coordinator.document import drain
from coordinator.log import inbox
from coordinator.record import authority, failover, moving, table, table_archive, table_calls
from coordinator.record.moving import Step
from coordinator.record.store import Appended, Beaten
from coordinator.record.table import TableStore
from coordinator.testing.simulation.items import Items
from model.mutants import Mutant

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from coordinator.errors import CoordinatorError
    from coordinator.names import Resource
    from coordinator.record.decide import Author
    from coordinator.record.record import Record
    from coordinator.record.table_item import Chained
    from coordinator.testing.simulation import expressions

    Patch = pytest.MonkeyPatch


def without(condition: str, *, item: str) -> Callable[[Patch], None]:
    """A condition that holds whatever stands, of items whose sort key begins so."""

    def switch_off(patch: Patch) -> None:
        real = Items.holds

        def holds(self: Items, asked: str, standing: Any, given: expressions.Given) -> bool:
            found = real(self, asked, standing, given)
            if asked != condition or standing is None:
                return found
            return found or str(standing["sk"]["S"]).startswith(item)

        patch.setattr(Items, "holds", holds)

    return switch_off


def rules_unchecked(patch: Patch) -> None:
    """A name is put into the table for the first time whoever rules."""
    real = Items.holds
    patch.setattr(Items, "holds", lambda self, asked, *more: asked == table.RULES or real(self, asked, *more))
    patch.setattr(TableStore, "_ruled_by_table", _ruled_by_anybody)


def _ruled_by_anybody(self: TableStore) -> dict[str, Any]:
    return {
        "ConditionCheck": {
            "TableName": self.calls.table,
            "Key": {"pk": {"S": self.workspace}, "sk": {"S": "workspace"}},
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


def own_record_is_anothers(patch: Patch) -> None:
    """A refused write was another's that came first, always."""
    real = TableStore._judge

    def judge(self: TableStore, resource: Resource, record: Record, found: Chained | None) -> Appended | Beaten:
        answer = real(self, resource, record, found)
        assert found is not None
        return Beaten(found.record) if isinstance(answer, Appended) else answer

    patch.setattr(TableStore, "_judge", judge)


def lost_reply_is_failure(patch: Patch) -> None:
    """No answer means that nothing was done."""
    real = table_calls.TableCalls._told

    def told(self: table_calls.TableCalls, error: Exception, about: str, *, landed: bool) -> CoordinatorError:  # noqa: ARG001 - that is the mutant
        return real(self, error, about, landed=False)

    patch.setattr(table_calls.TableCalls, "_told", told)


def no_seal(patch: Patch) -> None:
    """The newest record is put into the table, and the chain on the mount is left open."""
    real = moving.next_step

    def next_step(asked: authority.Authority, on_mount: Record | None, in_table: Record | None) -> Step:
        step = real(asked, on_mount, in_table)
        if step is not Step.SEAL:
            return step
        return Step.USE_TABLE if on_mount is None or (in_table and not in_table.is_closed) else Step.IMPORT

    patch.setattr(failover, "next_step", next_step)


def no_mark(patch: Patch) -> None:
    """The chain on the mount is opened again, and the item in the table is left as it is."""
    real = failover.FailoverStore._take

    def take(self: failover.FailoverStore, step: Step, resource: Resource, *found: Any) -> None:
        if step is not Step.MARK:
            real(self, step, resource, *found)
            return
        on_mount, in_table, author = found
        closed = moving.marked(on_mount, in_table, author, self.authority.epoch, self.table.now_ms())
        record = moving.opened(on_mount, closed, author, self.mount.now_ms())
        self.mount.append(resource, record, durable=True)

    patch.setattr(failover.FailoverStore, "_take", take)


def fresh_numbers(patch: Patch) -> None:
    """What is imported begins anew: at 1, as if nothing had been before."""
    real = moving.imported

    def imported(on_mount: Record, in_table: Record | None, author: Author, epoch: int, now_ms: int) -> Record:
        return replace(real(on_mount, in_table, author, epoch, now_ms), n=1, floor=1)

    patch.setattr(failover, "imported", imported)


def leases_left_behind(patch: Patch) -> None:
    """What moves is free."""
    real = moving.imported

    def imported(*given: Any) -> Record:
        return replace(real(*given), lease=None, waiting=())

    patch.setattr(failover, "imported", imported)


def clock_of_the_other(patch: Patch) -> None:
    """A lease that moves keeps its times, by the clock of the store that it came from."""
    patch.setattr(moving, "_rebased", lambda record, _now_ms: record)


def not_answered_once(patch: Patch) -> None:
    """Frames are folded from the inbox whatever was folded before."""
    real = inbox.read_item
    patch.setattr(drain, "read_item", lambda item, _before: real(item, None))


_PUT: Final = "record/"
_INBOX: Final = "inbox/"

TABLE_MUTANTS = [
    Mutant("P8 NEW: a first record replaces", without(table_archive.NEW, item=_PUT), "moving"),
    Mutant("P8 FOLLOWS: a record replaces", without(table.FOLLOWS, item=_PUT), "names", seen=3),
    Mutant("P8 RULES: a new name, whoever rules", rules_unchecked, "names", seen=9),
    Mutant("P7 own record in the table unknown", own_record_is_anothers, "moving", seen=169),
    Mutant("P7 a lost reply is a failure", lost_reply_is_failure, "inbox", seen=5),
    Mutant("P29 no seal", no_seal, "moving"),
    Mutant("P30 no mark", no_mark, "moving"),
    Mutant("P3 numbers begin anew", fresh_numbers, "moving"),
    Mutant("P29 leases left behind", leases_left_behind, "names", seen=42),
    Mutant("P29 the other store's clock", clock_of_the_other, "names", seen=42),
    Mutant("P19 inbox: appended after anything", without(inbox._NEXT, item=_INBOX), "inbox", seen=12),
    Mutant("P25 inbox: answered twice", without(inbox._UNANSWERED, item=_INBOX), "inbox", seen=84),
    Mutant("P25 inbox: folded twice", not_answered_once, "inbox", seen=3),
]
