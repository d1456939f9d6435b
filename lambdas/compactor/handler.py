"""The compactor function's entry; what it does stands in ``coordinator.service.compacting``."""

from __future__ import annotations

from coordinator.service.compacting import handler

__all__ = ["handler"]
