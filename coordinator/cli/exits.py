"""What the exit status of every command means. Stable; see also ``coordinator --help``.

     0  done
     1  an error that should not be (please report it); ``demo``: the run did not show what it should
     2  the command line, or a name or figure in it, is wrong
    65  data is damaged, or is not the JSON it has to be
    66  no such document, or no workspace there
    69  the store does not answer: look at the mount, or the table, then try again
    73  no room: the disk is full, over quota or read-only
    75  somebody else was first, or holds it: try again later
    76  the lease was lost, or is not held with that fence; nothing more may be done under it
    77  ``document update``: rejected, because what it requires does not hold; why, who was first, at which revision
    78  how the workspace is set up: a newer version, an unsuitable file system or table, another store that rules, or
        no directory where one is needed
    79  ``tasks claim``: there is no task to be had
   130  interrupted

``coordinator lease NAME -- COMMAND`` ends with its command's own status (128 + signal when it died of one; 126 and 127
as a shell says them), but for these: 75 when the lease could not be had (``--conflict-exit-code`` changes it), 76 when
it was lost while the command ran, 128 + signal when a signal came before the command was started, and, if the command
itself ended with 0, the status of what kept its edit from being committed. ``document edit`` passes on the status of an
editor that failed. The figures follow sysexits.h, so that they rarely meet a command's own.

Results go to stdout, errors to stderr. With ``--json`` an error is one JSON object on a line of its own, the last one:
{"error": class name, "message", "hint", "fields": {…}}; notes are lines {"note": …} before it.
"""

from __future__ import annotations

from typing import Final

from coordinator import errors

OK: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
DATA: Final = 65
NOT_FOUND: Final = 66
UNAVAILABLE: Final = 69
NO_ROOM: Final = 73
REFUSED: Final = 75
LOST: Final = 76
REJECTED: Final = 77
SETUP: Final = 78
NOTHING: Final = 79
NOT_EXECUTABLE: Final = 126
COMMAND_NOT_FOUND: Final = 127
SIGNAL_BASE: Final = 128
INTERRUPTED: Final = 130

# One line, for the help of the whole command line.
SUMMARY: Final = (
    "Exit status: 0 done · 2 wrong usage, name or figure · 65 damaged or malformed data · 66 no such document or "
    "workspace · 69 store unavailable · 73 no room · 75 somebody else was first · 76 lease lost · 77 update rejected "
    "· 78 workspace set-up · 79 no task to claim · 130 interrupted · 1 a bug. "
    "A command run under a lease passes its own status through."
)

# The first class that fits counts.
_STATUS: Final = (
    (errors.NoSuchDocument, NOT_FOUND),
    (errors.MalformedDocument, DATA),
    (errors.BadRequest, USAGE),
    (errors.Refused, REFUSED),
    (errors.LeaseLost, LOST),
    (errors.NoRoom, NO_ROOM),
    (errors.StoreUnavailable, UNAVAILABLE),
    (errors.Damaged, DATA),
    (errors.NotAWorkspace, NOT_FOUND),
    (errors.WorkspaceError, SETUP),
)


def status_of(error: errors.CoordinatorError) -> int:
    """The exit status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), UNEXPECTED)


def as_shell_says(returncode: int) -> int:
    """The exit status of a process that ended: 128 + signal when it died of one."""
    return SIGNAL_BASE - returncode if returncode < 0 else returncode
