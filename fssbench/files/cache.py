"""The folder for everything that fssbench can make again: weights, miniatures, imported lists, scans of masks."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from fssbench.files.home import find_platform_folder


def cache_folder() -> Path:
    """Return the cache folder: `FSSBENCH_CACHE`, or the platform's folder for caches.

    The folder need not exist.

    Raises:
        UsageError: if the variable is not set and the user has no home folder.
    """
    named = os.environ.get("FSSBENCH_CACHE")
    return Path(named) if named else find_platform_folder(platformdirs.user_cache_dir, "FSSBENCH_CACHE")
