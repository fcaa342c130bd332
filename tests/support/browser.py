"""Starts a browser without a window, once for all questions about a page."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium here")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)


def browse(page: Path, profile: Path, *flags: str) -> str:
    """Return the elements of a page after its scripts have run; a complaint of the browser about it is an error.

    Args:
        page: the file of the page.
        profile: a folder for the browser's own files.
        flags: more options of the browser, such as `--screenshot=FILE`.
    """
    command = [str(BROWSER), *_FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    assert "CONSOLE" not in answer.stderr, answer.stderr[-2000:]
    return answer.stdout
