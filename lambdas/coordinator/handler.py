"""The coordinator function's entry; what it does stands in ``coordinator.service.app``."""

from __future__ import annotations

from coordinator.service.app import handler

__all__ = ["handler"]
