"""The folder for what a user has decided on this machine: where the user's own data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from fssbench.files.home import find_platform_folder


def config_folder() -> Path:
    """Return the folder of the user's settings: `FSSBENCH_CONFIG`, or the platform's folder for settings.

    The folder need not exist.

    Raises:
        UsageError: if the variable is not set and the user has no home folder.
    """
    named = os.environ.get("FSSBENCH_CONFIG")
    return Path(named) if named else find_platform_folder(platformdirs.user_config_dir, "FSSBENCH_CONFIG")
