"""One round through a person's editor. Whatever was saved is committed, or stays in a file that is told."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING

import typer

from coordinator.cli import exits
from coordinator.cli.common import note
from coordinator.errors import BadValue, CoordinatorError, NoSuchDocument
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from coordinator.document.document import Document
    from coordinator.document.lease import DocumentLease


def edit_under_lease(document: Document, lease: DocumentLease, *, as_json: bool) -> int | None:
    """Opens the content in the editor and commits what was saved.

    Returns:
        The new revision; None when nothing was changed.

    Raises:
        BadValue: $VISUAL or $EDITOR is no command.
        Exit: The editor failed; its status.
        MalformedDocument: A .json that is not JSON; ``saved`` is where it lies.
        LeaseLost, StoreUnavailable: Not committed; ``saved`` is where it lies.
    """
    editor = _editor()
    before = _content(document, lease)
    try:
        folder = tempfile.mkdtemp(prefix="coordinator-edit-")
    except OSError as error:
        raise unavailable(error, lease.resource, "making a copy for the editor of") from error
    path = os.path.join(folder, os.path.basename(lease.resource))
    with open(path, "xb") as file:
        file.write(before)
    status = _run(editor, path, as_json=as_json)
    after = _saved(path)
    if status or after is None or after == before:
        if after in {None, before}:
            shutil.rmtree(folder, ignore_errors=True)
        if status:
            where = f"; what was saved is at {path}" if os.path.exists(path) else ""
            note(f"the editor ended with status {status}; nothing is committed{where}", as_json=as_json)
            raise typer.Exit(status)
        return None
    try:
        _check(after, lease.resource)
        receipt = lease.commit(after)
    except CoordinatorError as error:
        error.__dict__["saved"] = path  # among the fields of the error, for --json
        note(f"not committed; what was saved is at {path}", as_json=as_json)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return receipt.revision


def _editor() -> list[str]:
    told = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        editor = shlex.split(told)
    except ValueError:
        editor = []
    if not editor:
        raise BadValue(f"{told!r} is no editor", argument="EDITOR", value=told, hint="set VISUAL or EDITOR")
    return editor


def _content(document: Document, lease: DocumentLease) -> bytes:
    """What is to be edited. A plain file is not adopted for being looked at: without a change there is no commit."""
    try:
        return lease.read() if document.revision else document.read()
    except NoSuchDocument:
        return b""


def _run(editor: list[str], path: str, *, as_json: bool) -> int:
    """The editor's exit status, as a shell says it."""
    # As git does: an interrupt typed in the editor is the editor's. Not SIG_IGN, which the editor would inherit.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        done = subprocess.run([*editor, path], check=False, stdout=2 if as_json else None)  # noqa: S603 - the user's own
    except FileNotFoundError:
        note(f"{editor[0]}: command not found (set VISUAL or EDITOR)", as_json=as_json)
        return exits.COMMAND_NOT_FOUND
    except OSError as error:
        note(f"{editor[0]}: {error.strerror} (set VISUAL or EDITOR)", as_json=as_json)
        return exits.NOT_EXECUTABLE
    finally:
        signal.signal(signal.SIGINT, before)
    return exits.as_shell_says(done.returncode)


def _saved(path: str) -> bytes | None:
    """What the editor saved; None when it left no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _check(data: bytes, name: str) -> None:
    if name.endswith(".json"):
        from coordinator.document.json_text import parse  # noqa: PLC0415 - only for JSON

        parse(data, name)
