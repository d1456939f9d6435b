"""Names: parsed once, safe as paths ever after.

A *resource* is the canonical relative path of a shared file (``tasks.json``, ``reports/q3.md``) or a path-like name of
something outside (``deploy/prod``). An *agent* is who acts; an *incarnation* is one life of one process of it, fresh
per process and per fork, so that no two writers ever share a path (P19). A *request* id tells a retry from a rival
(P7).

Where a resource's state lies, below ``.coordinator/resources``::

    reports/q3.md   ->  reports/q3.md/@/
    a/@/b           ->  a/@@/b/@/          a part that begins with @ gets one more

so that ``reports`` and ``reports/chain`` can both be resources, and no name of ours can meet one of theirs.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any, Final

from coordinator.errors import BadName
from coordinator.limits import AGENT_MAX_BYTES, COMPONENT_MAX_BYTES, ID_CHARS, RESOURCE_MAX_BYTES

STATE_DIR: Final = ".coordinator"
STATE_MARK: Final = "@"

COMPONENT_NAME: Final = re.compile(r"(?=.{1,64}$)[A-Za-z0-9_](?:[A-Za-z0-9._@+-]*[A-Za-z0-9_+-])?")
_AGENT: Final = COMPONENT_NAME
_ID: Final = re.compile(rf"[a-z2-7]{{{ID_CHARS}}}")
_FIVE_BITS: Final = b"abcdefghijklmnopqrstuvwxyz234567" * 8  # a letter for each byte: 256 is a multiple of 32
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Resource(str):
    """The name of a resource: a relative path in canonical form. Made by ``Resource.parse`` only."""

    __slots__ = ()

    @classmethod
    def parse(cls, name: Any) -> Resource:
        """Checks a name given by a user.

        Args:
            name: A relative path with ``/`` between its parts; each part 1 to 255 bytes of UTF-8, 512 in all.

        Raises:
            BadName: Says which part is wrong and why. Nothing is mended silently: ``./a`` and ``a//b`` are refused,
                since two spellings of one name would be two leases on one file.
        """
        if not isinstance(name, str):
            raise BadName(f"a resource name is text, not {type(name).__name__}", name=repr(name)[:80])
        problem = _problem_with(name)
        if problem:
            raise BadName(
                f"{name[:80]!r} is not a resource name: {problem}",
                name=name,
                hint="use the path relative to the workspace, like tasks.json or reports/q3.md",
            )
        return cls(name)

    @property
    def state_path(self) -> str:
        """Where its state lies, relative to ``.coordinator/resources``."""
        return _state_path(self)

    @classmethod
    def from_state_path(cls, path: str) -> Resource:
        """The inverse of ``state_path``, for listings of the state folder."""
        parts = path.split("/")
        if parts[-1] != STATE_MARK:
            raise BadName(f"{path!r} is not the state folder of a resource", name=path)
        resource = cls.parse("/".join(part.removeprefix(STATE_MARK) for part in parts[:-1]))
        if resource.state_path != path:
            raise BadName(f"{path!r} is not the state folder of a resource", name=path)
        return resource


@lru_cache(maxsize=1024)  # asked for several times in every request
def _state_path(name: str) -> str:
    parts = [STATE_MARK + part if part.startswith(STATE_MARK) else part for part in name.split("/")]
    return "/".join([*parts, STATE_MARK])


def _problem_with(name: str) -> str:
    """Why a text cannot be a resource name; empty when it can."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it holds bytes that are not UTF-8"
    parts = name.split("/")
    control = _CONTROL.search(name)
    checks = (
        (not name, "it is empty"),
        (name.startswith("/"), "it is absolute"),
        (control is not None, f"it holds the control character {control.group()!r}" if control else ""),
        (".." in parts, "it has a part '..'"),
        ("." in parts or "" in parts, "it has a part that is empty or '.'"),
        (parts[0].casefold() == STATE_DIR, f"{STATE_DIR} is the coordinator's own folder"),
        (
            any(len(part.encode()) + part.startswith(STATE_MARK) > COMPONENT_MAX_BYTES for part in parts),
            f"one of its parts is longer than {COMPONENT_MAX_BYTES} bytes",
        ),
        (
            len(encoded) > RESOURCE_MAX_BYTES,
            f"it is {len(encoded)} bytes long, and {RESOURCE_MAX_BYTES} is the most",
        ),
    )
    return next((problem for wrong, problem in checks if wrong), "")


def parse_agent(name: Any) -> str:
    """Checks an agent's name: 1 to 64 ASCII letters, digits, and ``. _ @ + -`` inside; it becomes part of file names.

    Raises:
        BadName: With a name that would do.
    """
    if isinstance(name, str) and len(name) <= AGENT_MAX_BYTES and _AGENT.fullmatch(name):
        return name
    raise BadName(
        f"{str(name)[:80]!r} is not an agent name",
        name=str(name),
        hint=f"1 to {AGENT_MAX_BYTES} ASCII letters, digits, or . _ @ + - inside; for example {_suggest(str(name))!r}",
    )


def default_agent() -> str:
    """The agent's name when none was given: host and process id."""
    return _suggest(f"{os.uname().nodename}-{os.getpid()}")


def _suggest(name: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9._@+-]+", "-", name).strip("-.@+")[:AGENT_MAX_BYTES].rstrip("-.@+")
    return kept or "agent-1"


def new_id() -> str:
    """A fresh id of 100 random bits, lower-case base 32: an incarnation, a request or a lease id."""
    return os.urandom(ID_CHARS).translate(_FIVE_BITS).decode()


def parse_id(text: Any) -> str:
    """Checks an operation's id given by a user: 1 to 64 ASCII letters, digits, and ``. _ @ + -`` inside.

    Raises:
        BadName: With what would do.
    """
    if isinstance(text, str) and len(text) <= AGENT_MAX_BYTES and _AGENT.fullmatch(text):
        return text
    raise BadName(
        f"{str(text)[:80]!r} is not an operation id",
        name=str(text),
        hint=f"1 to {AGENT_MAX_BYTES} ASCII letters, digits, or . _ @ + - inside; without one, a fresh one is made",
    )


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None
