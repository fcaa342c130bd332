"""Makes `report_factory` importable: with importlib import mode no test folder is on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
