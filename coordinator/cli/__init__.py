"""The command line: how people and shell scripts come in.

    app.py        init, status, gc, demo; what is said for all commands; errors into one line and an exit status
    lease.py      lease run, list, show, release
    running.py    a command under a lease: read before, commit after
    command.py    the command itself: its process, its signals, its end
    document.py   document show, edit, history
    changing.py   document update, changes
    editing.py    one round through an editor
    authority.py  authority show, move, adopt: which store rules
    table.py      table create, check
    compact.py    compact: folding for all, once or in a loop
    tasks.py      tasks add, import, claim, complete, …: the task board for shells and agents
    looking.py    tasks list, show, stats, watch
    boards.py     what the commands on tasks share
    importing.py  the tasks of a file, in the form of another board
    exits.py      what every exit status means
    common.py     what the commands share

The command line acts as a user's program does: it uses ordinary file calls and clocks, and reaches the shared state
through ``Workspace`` alone, but for what has to work where none can be opened (table.py, authority.py).
"""

from __future__ import annotations

import sys


def main() -> None:
    """The console script ``coordinator``."""
    try:
        from coordinator.cli.app import execute  # noqa: PLC0415 - Typer takes 49 ms, and nothing else here needs it

        status = execute(sys.argv[1:])
    except KeyboardInterrupt:  # while the modules were still being loaded
        status = 130
    sys.exit(status)
