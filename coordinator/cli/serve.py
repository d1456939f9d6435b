"""``coordinator serve``: the deployed shape on this machine, to be tried with curl and with the remote client."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Final

import typer

from coordinator.cli.common import JsonOption, put, reached
from coordinator.errors import BadValue

if TYPE_CHECKING:
    from coordinator.cli.command import Signals
    from coordinator.service.serving import Served, Serving

FOLD_S: Final = 60.0  # limit: as the schedule of the compactor over there
PORT: Final = 8765


def serve(
    directory: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The workspace; made one, if it is none. Default: one that ends with this."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="A DynamoDB on this machine, like http://127.0.0.1:8000.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any that is free.")] = PORT,
    agents: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='Who may act as whom: {"local": ["*"]}. Default: everybody as everybody.'),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Processes of the coordinator function.")] = 4,
    as_json: JsonOption = False,
) -> None:
    """Serves the coordinator and compactor functions on this machine until Ctrl-C: for trying, and for tests.

    With --table its table rules (AWS's, or that of --endpoint); without either, moto keeps one in memory, and all ends
    with this process. Whoever reaches the port is believed to be who it says: the header `x-coordinator-identity`, by
    default `local`.

    JSON: one object, when it is ready: {"url", "directory", "table", "workspace_id", "endpoint", "identity"}.
    """
    from coordinator.cli.command import Signals  # noqa: PLC0415 - only where somebody waits
    from coordinator.service.serving import Serving  # noqa: PLC0415 - not for the other commands

    reach = reached()
    with ExitStack() as stack:
        place = directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="coordinator-serve-"))
        if directory is not None and not os.path.isdir(directory):
            hint = "make it first; if it is a mount, is it mounted?"
            raise BadValue(f"{directory} is not a directory", argument="directory", value=directory, hint=hint)
        signals = stack.enter_context(Signals())
        serving = stack.enter_context(
            Serving(
                os.path.realpath(place),
                table=reach.table,
                endpoint=endpoint,
                region=reach.region,
                port=port,
                agents=agents,
                concurrency=concurrency,
            )
        )
        if as_json:
            put(json.dumps(serving.served._asdict()) + "\n")  # one line: it is read while this goes on
        else:
            _tell(serving.served, lasts=directory is not None and (reach.table or endpoint) is not None)
        _until_signalled(serving, signals)
    if not as_json:
        put("ended\n")


def _until_signalled(serving: Serving, signals: Signals) -> None:
    while not signals.first:
        serving.fold()
        signals.cancel.wait(FOLD_S)


def _tell(served: Served, *, lasts: bool) -> None:
    """For people."""
    rest = "" if lasts else " (all of it ends with this process)"
    put(
        f"the coordinator function answers at {served.url}{rest}\n"
        f"  directory {served.directory}, table {served.table}, workspace {served.workspace_id}\n\n"
        f"  curl -s {served.url}v1/leases/acquire -H 'content-type: application/json' \\\n"
        '    -d \'{"name": "deploy/prod", "agent": "me", "ttl_ms": 30000, "request_id": "aaaaaaaaaaaaaaaaaaaa"}\'\n'
        f"  python -c 'from coordinator.remote import RemoteWorkspace\n"
        f'with RemoteWorkspace("{served.url}", agent="me").lease("deploy/staging") as lease: print(lease)\'\n\n'
        "Ctrl-C ends it.\n"
    )
