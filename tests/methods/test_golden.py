"""The acceptance check of the shared folder: outputs of the reference implementations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = pytest.param("vat", marks=pytest.mark.slow)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "method",
    ["asgnet", "dcama", "hm", "hsnet", "ifa", "panet", "patnet", "pfenet", "pmnet", "scl", "ssp", SLOW],
)
def test_equals_the_reference(method: str, shared: Path, tmp_path: Path) -> None:
    script = shared / "golden" / "check_golden.py"
    # away from the checkout's root, whose folders `methods` and `datasets` must not be importable
    done = subprocess.run(
        [sys.executable, str(script), method], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "golden files equal" in done.stdout
