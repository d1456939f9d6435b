"""The package's modules, for the tests that look at its sources."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import coordinator

PACKAGE: Final = Path(coordinator.__file__).parent
MODULES: Final = sorted(str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py"))
