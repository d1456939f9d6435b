"""Programs that the tests of ``coordinator lease NAME -- COMMAND`` run under a lease."""

from __future__ import annotations

import sys

# Tells which signal it got, and ends with a status of its own.
TELLS = """
import os, signal, sys
def got(number, frame):
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())  # print may be interrupted in the midst of itself
    os._exit(7)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, got)
print("ready", flush=True)
while True:
    signal.pause()
"""
# Starts a process that holds stdout, too; who of the two ignores SIGTERM is its argument.
FAMILY = """
import os, signal, sys
ready, tell = os.pipe()
is_parent = os.fork() != 0
if ("parent" if is_parent else "child") in sys.argv[1]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if is_parent:
    os.read(ready, 1)
    print("ready", os.getpid(), flush=True)
else:
    os.write(tell, b"1")
while True:
    signal.pause()
"""
ECHO = """
import os, sys
print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    print("said", line, end="", flush=True)
"""
# Writes into the plain file, and waits.
EDITS = """
import os, signal, sys
with open(os.environ["COORDINATOR_RESOURCE"], "w") as file:
    file.write(sys.argv[1])
print("ready", flush=True)
while True:
    signal.pause()
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]
