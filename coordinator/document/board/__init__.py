"""A task board kept in a document: who does what, decided one operation after the other.

The rules are pure: no clock, no files, no randomness. ``apply`` decides one operation on a tree, ``validate`` says
before submission what would be wrong with it, ``tasks_of`` and ``stats_of`` are for readers.
"""

from __future__ import annotations

from coordinator.document.board.request import validate
from coordinator.document.board.rules import apply
from coordinator.document.board.spec import check_spec, make_spec
from coordinator.document.board.view import stats_of, tasks_of

__all__ = ["apply", "check_spec", "make_spec", "stats_of", "tasks_of", "validate"]
