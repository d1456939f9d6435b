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
    from coordinator.document.compactor import Folded
    from coordinator.document.content import Content, Receipt
    from coordinator.document.document import Document
    from coordinator.document.folding import Change
    from coordinator.document.history import Revision
    from coordinator.document.lease import DocumentLease
    from coordinator.document.receipt import OperationReceipt
    from coordinator.errors import (
        AcquireCancelled,
        AuthorityMoved,
        BadName,
        BadRequest,
        BadValue,
        ClaimLost,
        CoordinatorError,
        CorruptRecord,
        CorruptSnapshot,
        Damaged,
        LeaseHeld,
        LeaseLost,
        MalformedDocument,
        NewerFormat,
        NoDirectory,
        NoRoom,
        NoSuchDocument,
        NotAllowed,
        NotAWorkspace,
        OperationRejected,
        Refused,
        RevisionConflict,
        RevisionNotReached,
        StaleFence,
        StoreUnavailable,
        TableUnusable,
        Unsuitable,
        WorkspaceError,
    )
    from coordinator.events import Event
    from coordinator.invocation import Invocation
    from coordinator.lease import Lease
    from coordinator.status import Collected, ResourceStatus
    from coordinator.tasks import NoTask, Task, TaskBoard
    from coordinator.workspace import Workspace

_HOMES = {  # everything else is an error
    "Change": "document.folding",
    "Collected": "status",
    "Content": "document.content",
    "Document": "document.document",
    "DocumentLease": "document.lease",
    "Event": "events",
    "Folded": "document.compactor",
    "Invocation": "invocation",
    "Lease": "lease",
    "NoTask": "tasks",
    "OperationReceipt": "document.receipt",
    "Receipt": "document.content",
    "ResourceStatus": "status",
    "Revision": "document.history",
    "Task": "tasks",
    "TaskBoard": "tasks",
    "Workspace": "workspace",
}

__version__ = "0.1.0"
__all__ = [
    "AcquireCancelled",
    "AuthorityMoved",
    "BadName",
    "BadRequest",
    "BadValue",
    "Change",
    "ClaimLost",
    "Collected",
    "Content",
    "CoordinatorError",
    "CorruptRecord",
    "CorruptSnapshot",
    "Damaged",
    "Document",
    "DocumentLease",
    "Event",
    "Folded",
    "Invocation",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "MalformedDocument",
    "NewerFormat",
    "NoDirectory",
    "NoRoom",
    "NoSuchDocument",
    "NoTask",
    "NotAWorkspace",
    "NotAllowed",
    "OperationReceipt",
    "OperationRejected",
    "Receipt",
    "Refused",
    "ResourceStatus",
    "Revision",
    "RevisionConflict",
    "RevisionNotReached",
    "StaleFence",
    "StoreUnavailable",
    "TableUnusable",
    "Task",
    "TaskBoard",
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
