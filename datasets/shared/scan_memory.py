"""Answers of scans of all masks, stored in the cache folder because decoding every mask takes minutes.

Each answer is stored under a hash of everything that it depends on, so that a stored answer is never out of date.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fssbench.api import cache_folder, replace_file


def scan_path(*parts: Any) -> Path:
    """Return the file of the cache that holds the answer of one scan.

    Args:
        parts: everything that the answer depends on, of types that JSON has: names, sizes and times of change of
            the masks, and a version of the rules by which they are read.
    """
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache_folder() / "scans" / f"{key}.json"


def recall_scan(path: Path) -> dict[str, list[Any]] | None:
    """Read the stored answer of a scan: a list per item.  None if it is absent or damaged."""
    try:
        answer = json.loads(path.read_bytes())
        return {str(item): [*values] for item, values in answer.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def store_scan(path: Path, answer: Mapping[str, Sequence[Any]]) -> None:
    """Store the answer of a scan.  A cache that cannot be written only costs the time of the next scan."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(answer).encode())
