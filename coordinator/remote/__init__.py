"""A workspace that is reached through the coordinator function: the same face, for agents without mount or table.

    from coordinator.remote import RemoteWorkspace

    ws = RemoteWorkspace("https://….lambda-url.eu-central-1.on.aws/", agent="reviewer-1")
    with ws.lease("deploy/prod", ttl=30, wait=60) as lease:
        …
        lease.check()

Leases, documents and boards are the same classes as over a directory; only their way to the records differs. A request
that got no answer is sent again under the same id, so that it is carried out once; and a lease is trusted from before
the first sending that may have been the one that was carried out (P10).

    connection.py   what a connection is; replies, and requests without one
    over_http.py    over HTTP: `coordinator serve`, or a function URL, signed
    over_invoke.py  by direct invocation of the function
    refusals.py     an answer that is an error, as the exception that was raised there
    asking.py       one request until it is answered, with pauses, in bounded time
    records.py      the records behind the face: looked at through the function
    updates.py      operations on their way, and what became of them
    lease.py, document.py, board.py, workspace.py   the face
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.remote.workspace import RemoteWorkspace

__all__ = ["RemoteWorkspace"]


def __getattr__(name: str) -> Any:
    if name != "RemoteWorkspace":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from coordinator.remote.workspace import RemoteWorkspace  # noqa: PLC0415 - loaded when it is first used

    globals()[name] = RemoteWorkspace
    return RemoteWorkspace
