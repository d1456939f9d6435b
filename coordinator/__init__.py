"""Concurrency-safe shared state for fleets of agents that share one workspace directory.

    from coordinator import Workspace

    ws = Workspace.init("/mnt/workspace", agent="reviewer-1")
    with ws.lease("tasks.json", ttl=30, wait=10) as lease:
        plan = lease.read_json()
        lease.commit_json(plan)

Names are loaded when they are first used: ``import coordinator`` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.document.document import Content, Document, Receipt, Revision
    from coordinator.document.lease import DocumentLease
    from coordinator.errors import (
        AcquireCancelled,
        AuthorityMoved,
        BadName,
        BadRequest,
        BadValue,
        CoordinatorError,
        CorruptRecord,
        CorruptSnapshot,
        Damaged,
        LeaseHeld,
        LeaseLost,
        MalformedDocument,
        NewerFormat,
        NoRoom,
        NoSuchDocument,
        NotAWorkspace,
        Refused,
        RevisionConflict,
        StaleFence,
        StoreUnavailable,
        Unsuitable,
        WorkspaceError,
    )
    from coordinator.events import Event
    from coordinator.lease import Lease
    from coordinator.workspace import Collected, ResourceStatus, Workspace

_HOMES = {  # everything else is an error
    "Collected": "workspace",
    "Content": "document.document",
    "Document": "document.document",
    "DocumentLease": "document.lease",
    "Event": "events",
    "Lease": "lease",
    "Receipt": "document.document",
    "ResourceStatus": "workspace",
    "Revision": "document.document",
    "Workspace": "workspace",
}

__version__ = "0.1.0"
__all__ = [
    "AcquireCancelled",
    "AuthorityMoved",
    "BadName",
    "BadRequest",
    "BadValue",
    "Collected",
    "Content",
    "CoordinatorError",
    "CorruptRecord",
    "CorruptSnapshot",
    "Damaged",
    "Document",
    "DocumentLease",
    "Event",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "MalformedDocument",
    "NewerFormat",
    "NoRoom",
    "NoSuchDocument",
    "NotAWorkspace",
    "Receipt",
    "Refused",
    "ResourceStatus",
    "Revision",
    "RevisionConflict",
    "StaleFence",
    "StoreUnavailable",
    "Unsuitable",
    "Workspace",
    "WorkspaceError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "errors")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
