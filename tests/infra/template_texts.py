"""The templates in infra/, as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
MAIN: Final = (ROOT / "infra" / "template.yaml").read_text(encoding="utf-8")
AGENT: Final = (ROOT / "infra" / "examples" / "agent" / "template.yaml").read_text(encoding="utf-8")
