"""What the coordinator function is told by its environment (infra/template.yaml sets it)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordinator.errors import WorkspaceError
from coordinator.service.identity import Agents

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEEDED: Final = ("COORDINATOR_TABLE", "COORDINATOR_WORKSPACE", "COORDINATOR_COMPACTOR_FUNCTION")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one function.

    Attributes:
        table: Name or ARN of the table.
        workspace: Id of the workspace in it.
        compactor: The function that folds and reads: a name or an ARN.
        agents: Who may act as whom.
    """

    table: str
    workspace: str
    compactor: str
    agents: Agents


def settings_from(variables: Mapping[str, str]) -> Settings:
    """Reads the settings.

    Raises:
        WorkspaceError: One is missing, or no JSON; says which.
    """
    missing = [name for name in _NEEDED if not variables.get(name)]
    if missing:
        raise WorkspaceError(
            f"the function's environment lacks {', '.join(missing)}", path="", hint="infra/template.yaml sets them"
        )
    table, workspace, compactor = (variables[name] for name in _NEEDED)
    return Settings(table, workspace, compactor, _agents(variables.get("COORDINATOR_AGENTS", "{}")))


def _agents(text: str) -> Agents:
    hint = '{"arn:aws:iam::111122223333:role/reviewers": ["reviewer-*"]}'
    try:
        told = json.loads(text)
    except ValueError as error:
        raise WorkspaceError(f"COORDINATOR_AGENTS is no JSON: {error}", path="", hint=f"like {hint}") from None
    lawful = isinstance(told, dict) and all(
        isinstance(patterns, list) and all(isinstance(pattern, str) for pattern in patterns)
        for patterns in told.values()
    )
    if not lawful:
        raise WorkspaceError(
            "COORDINATOR_AGENTS is not an object of identities, each with a list of agents",
            path="",
            hint=f"like {hint}",
        )
    return Agents(told)
