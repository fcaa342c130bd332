"""The folder for everything that fssbench can make again: weights, miniatures, imported lists, scans of masks."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder: `FSSBENCH_CACHE`, or the platform's folder for caches.

    The folder need not exist.
    """
    named = os.environ.get("FSSBENCH_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("fssbench"))
