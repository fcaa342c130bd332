"""The folder for what a user has decided on this machine: where the user's own data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def config_folder() -> Path:
    """Return the folder of the user's settings: `FSSBENCH_CONFIG`, or the platform's folder for settings.

    The folder need not exist.
    """
    named = os.environ.get("FSSBENCH_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("fssbench"))
