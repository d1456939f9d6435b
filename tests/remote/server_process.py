"""A coordinator function over a directory, as a process that can be killed: `server_process.py PORT DIRECTORY`."""

from __future__ import annotations

import sys

from coordinator.service.local import LocalServer
from remote.faces import double

if __name__ == "__main__":
    server = LocalServer([double(sys.argv[2])], int(sys.argv[1]))
    server.start()
    pids = [pid for sandboxes in server.functions.values() for pid in sandboxes.processes()]
    print(server.port, *pids, flush=True)  # noqa: T201 - for the test that started it
    sys.stdin.read()
    server.close()
