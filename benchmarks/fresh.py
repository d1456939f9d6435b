"""Programs in fresh Python processes, and what they cost."""

from __future__ import annotations

import resource
import subprocess
import sys


def fresh_seconds(code: str, *args: str) -> float:
    """CPU, user and system, of a fresh Python process that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *args], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bare_seconds() -> float:
    """CPU of a process that does nothing."""
    return fresh_seconds("pass")
