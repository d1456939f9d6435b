"""Reads a log of Jepsen (its older, plain form) of what clients did with one register, as operations.

    INFO  jepsen.util - 0	:invoke	:read	nil          process, what happened, what was asked, a value
    INFO  jepsen.util - 0	:ok	:read	3
    INFO  jepsen.util - 2	:invoke	:cas	[3 0]
    INFO  jepsen.util - 2	:fail	:cas	[3 0]        compared, and not equal: an answer as any other
    INFO  jepsen.util - 4	:invoke	:write	1
    INFO  jepsen.util - 4	:info	:write	:timed-out   nobody knows: it stays open, and the process is not used again

``:fail`` of a read or a write, or with ``:timed-out``, says that it did not happen. The lines' order is the clock.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import BadValue
from coordinator.testing.history import UNKNOWN, Operation
from coordinator.testing.linearizable_models import Cas, Read, Write

if TYPE_CHECKING:
    from collections.abc import Hashable

_LINE: Final = re.compile(r"INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(invoke|ok|fail|info)\s+:(\w+)\s+(.+?)\s*$")
_OTHERS: Final = re.compile(r"INFO\s+jepsen\.util\s+-\s+:")  # :nemesis, which is no client
_INTEGER: Final = re.compile(r"-?\d+$")
_WORDS: Final[dict[str, Any]] = {"nil": None, "true": True, "false": False}


def read_jepsen(text: str, key: Hashable = None) -> list[Operation]:
    """The operations in a log, to be checked against ``Register()``; lines of anything else are passed over.

    Args:
        text: All of it.
        key: Which register it is of.

    Raises:
        BadValue: A line of the history that cannot be understood, or that does not follow from those before.
    """
    log = _Log(key)
    for number, line in enumerate(text.splitlines(), 1):
        if "jepsen.util" not in line or _OTHERS.match(line):
            continue
        try:
            log.take(number, line)
        except ValueError as error:
            raise BadValue(f"line {number}: {error}: {line!r}", argument="text", value=line) from error
    return log.operations()


class _Log:
    """The lines so far."""

    def __init__(self, key: Hashable) -> None:
        self._key = key
        self._running: dict[int, Operation] = {}
        self._ended: list[Operation] = []

    def take(self, number: int, line: str) -> None:
        found = _LINE.match(line)
        if found is None:
            raise ValueError("not a line of a history")
        process, what, kind, value = int(found[1]), found[2], found[3], found[4]
        if what == "invoke":
            if process in self._running:
                raise ValueError(f"process {process} is still busy")
            asked = _asked(kind, value)
            self._running[process] = Operation(process, asked, UNKNOWN, number, None, self._key)
            return
        begun = self._running.pop(process, None)
        if begun is None:
            raise ValueError(f"process {process} has not asked for anything")
        if kind != type(begun.asked).__name__.lower():
            raise ValueError(f"process {process} did not ask for that")
        if what == "info":
            self._ended.append(begun)
        elif what == "ok":
            answer = _value(value) if kind == "read" else kind == "cas" or None
            self._ended.append(begun._replace(answer=answer, returned=number))
        elif kind == "cas" and not value.startswith(":"):
            self._ended.append(begun._replace(answer=False, returned=number))

    def operations(self) -> list[Operation]:
        return sorted([*self._ended, *self._running.values()], key=lambda operation: operation.invoked)


def _asked(kind: str, value: str) -> Read | Write | Cas:
    if kind == "read":
        return Read()
    if kind == "write":
        return Write(_value(value))
    if kind != "cas":
        raise ValueError(f"a register knows no {kind}")
    if not (value.startswith("[") and value.endswith("]")):
        raise ValueError("a cas without two values")
    values = value[1:-1].replace(",", " ").split()
    if len(values) != 2:  # noqa: PLR2004 - what is expected, and what it is to be
        raise ValueError("a cas without two values")
    return Cas(_value(values[0]), _value(values[1]))


def _value(text: str) -> Any:
    """A number, nil, true, false; or a text in quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if len(text) > 1 and text[0] == text[-1] == '"' and "\\" not in text:
        return text[1:-1]
    raise ValueError(f"{text} is not a value that is understood")
