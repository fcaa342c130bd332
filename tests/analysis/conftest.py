"""Makes `run_folders` and `report_factory` importable, which lie with the tests of reports."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "reports"))
