"""Who may act as which agent: decided by what AWS says of the caller, never by what the caller says.

A request that came by the function's URL carries the ARN that signed it. A direct invocation tells no caller at all,
and its event is the caller's own to write: what IAM can limit there is which *alias* of the function may be invoked. So
a direct invocation's identity is ``alias:<name>`` (``alias:$LATEST`` without one), and an event that looks like one of
the URL is believed only where the URL is: on the function without an alias. Who may invoke that one directly is trusted
with everything; infra/template.yaml gives it to nobody.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordinator.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ASSUMED: Final = re.compile(r"arn:([a-z-]+):sts::([0-9]{12}):assumed-role/([^/]+)/([^/]+)")
_ROLE: Final = re.compile(r"arn:([a-z-]+):iam::([0-9]{12}):role/(?:.*/)?([^/]+)")
LATEST: Final = "alias:$LATEST"


class Identity(NamedTuple):
    """Who calls.

    Attributes:
        name: A role's or user's ARN, or ``alias:<name>``. A role's path is left out: an assumed role does not tell it.
        session: Of an assumed role.
    """

    name: str
    session: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.session})" if self.session else self.name


def identity_of_arn(arn: str) -> Identity:
    """The identity behind an ARN, as function URLs tell it."""
    if found := _ASSUMED.fullmatch(arn):
        partition, account, role, session = found.groups()
        return Identity(f"arn:{partition}:iam::{account}:role/{role}", session)
    return Identity(_without_path(arn))


def _without_path(arn: str) -> str:
    found = _ROLE.fullmatch(arn)
    return f"arn:{found[1]}:iam::{found[2]}:role/{found[3]}" if found else arn


def identity_of(event: Mapping[str, Any], context: Any) -> Identity:
    """Who a URL's event is from.

    Raises:
        NotAllowed: It was not signed; or it did not come by the URL.
    """
    alias = alias_of(context)
    told = event.get("requestContext")
    iam = ((told.get("authorizer") if isinstance(told, dict) else None) or {}).get("iam") or {}
    arn = iam.get("userArn")
    if alias != LATEST:
        raise NotAllowed("an event of the function's URL came through an alias", identity=alias, agent="")
    if not isinstance(arn, str) or not arn:
        raise NotAllowed("the request is not signed", identity="", agent="", hint="sign it (SigV4, service lambda)")
    return identity_of_arn(arn)


def alias_of(context: Any) -> str:
    """The identity of who invoked the function directly: the alias that was invoked."""
    parts = str(getattr(context, "invoked_function_arn", "")).split(":")
    return f"alias:{parts[7]}" if len(parts) > 7 and parts[7] else LATEST  # noqa: PLR2004 - arn:aws:lambda:R:A:function:F:Q


class Agents:
    """The mapping of identities to the agents that they may act as.

    Args:
        told: For each identity, patterns of agents' names: ``*``, ``?``, ``[…]`` as in a shell; ``{session}`` is the
            name of the session of an assumed role.
    """

    def __init__(self, told: Mapping[str, Sequence[str]]) -> None:
        self._patterns = {_without_path(name): tuple(patterns) for name, patterns in told.items()}

    def check(self, identity: Identity, agent: str | None) -> None:
        """Returns if the identity may act as the agent; None: if it may do anything at all.

        Raises:
            NotAllowed: It may not.
        """
        patterns = self._patterns.get(identity.name)
        if patterns is None:
            raise NotAllowed(
                f"{identity} may not use this workspace",
                identity=str(identity),
                agent=agent or "",
                hint="who may act as whom stands in the function's setting COORDINATOR_AGENTS",
            )
        if agent is None:
            return
        if not any(self._fits(pattern, identity, agent) for pattern in patterns):
            raise NotAllowed(
                f"{identity} may not act as {agent!r}",
                identity=str(identity),
                agent=agent,
                hint=f"it may as {', '.join(patterns) or 'nobody'} (COORDINATOR_AGENTS)",
            )

    @staticmethod
    def _fits(pattern: str, identity: Identity, agent: str) -> bool:
        if "{session}" in pattern:
            if not identity.session:
                return False
            pattern = pattern.replace("{session}", re.sub(r"([*?[])", r"[\1]", identity.session))
        return fnmatchcase(agent, pattern)
