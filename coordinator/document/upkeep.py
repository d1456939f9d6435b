"""When a document's leavings are collected, and by whom: mostly by whoever commits or folds (P18, P26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.document.snapshot import collect_snapshots
from coordinator.errors import CoordinatorError
from coordinator.limits import CHAIN_KEEP, SNAPSHOT_BYTES_DUE

if TYPE_CHECKING:
    from coordinator.names import Resource
    from coordinator.record.member import Member
    from coordinator.record.record import Record


class Upkeep:
    """One process's share in keeping one document's state folder small.

    Args:
        member: Through whom.
        resource: Whose.
    """

    def __init__(self, member: Member, resource: Resource) -> None:
        self._member = member
        self._resource = resource
        self._collected_floor = 0
        self._uncollected_bytes = 0

    def after_commit(self, record: Record, size_bytes: int) -> None:
        """Collects when the floor has risen, or much was committed here, since it was last done."""
        self._uncollected_bytes += size_bytes
        if record.floor <= self._collected_floor and self._uncollected_bytes <= SNAPSHOT_BYTES_DUE:
            return
        try:
            if self._uncollected_bytes > SNAPSHOT_BYTES_DUE:
                self._member.store.collect(self._resource, self._member.author(), keep=CHAIN_KEEP // 8)
        except CoordinatorError:
            return  # the next commit tries again
        if self.try_to_remove():
            self._collected_floor, self._uncollected_bytes = record.floor, 0

    def try_to_remove(self) -> bool:
        """Deletes what nobody needs any more, as well as it can; whether it could."""
        try:
            self.remove_unneeded()
        except CoordinatorError:
            return False
        return True

    def remove_unneeded(self) -> tuple[int, int]:
        """Deletes what nobody needs any more: files, and their bytes. Raises as ``tidy``."""
        record = self._member.store.read(self._resource)
        if record is None:
            return 0, 0
        if record.fold is None:
            return collect_snapshots(self._member, self._resource, record)
        from coordinator.document.tidy import tidy  # noqa: PLC0415 - a document that was never folded does without

        return tidy(self._member, self._resource, record, record.fold)
