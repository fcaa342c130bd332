"""What a user has accepted and downloaded: licences, and the hashes of files for which nobody published one.

The log (`fetched.json` in the user's folder of settings) outlives the data folder.  A second download is compared with
the first, so that a file that changed at its owner is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from fssbench.contracts.downloads import Downloads
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.config import config_folder

FILE = "fetched.json"
_LICENCES, _FILES = "licences", "files"


def find_fetch_log() -> Path:
    """Return the path of the log, which need not exist."""
    return config_folder() / FILE


def has_accepted(name: str, downloads: Downloads) -> bool:
    """Return whether the user accepted the licence of a name in its present words."""
    return _read()[_LICENCES].get(name, {}).get("text") == downloads.licence


def note_acceptance(name: str, downloads: Downloads) -> None:
    """Note that the user accepted the licence of a name."""

    def enter(content: dict[str, Any]) -> None:
        content[_LICENCES][name] = {"text": downloads.licence, "accepted": today()}

    _change(enter)


def find_first_hash(key: str) -> tuple[str, str] | None:
    """Return the hash of the first download of a file and its date; None before the first."""
    entry = _read()[_FILES].get(key)
    return (str(entry["sha256"]), str(entry["seen"])) if entry else None


def note_first_hash(key: str, sha256: str) -> None:
    """Note the hash of a download, unless one is noted."""

    def enter(content: dict[str, Any]) -> None:
        content[_FILES].setdefault(key, {"sha256": sha256, "seen": today()})

    _change(enter)


def today() -> str:
    """Return the date in UTC, such as 2026-11-26."""
    return datetime.now(UTC).date().isoformat()


def _read() -> dict[str, dict[str, Any]]:
    path = find_fetch_log()
    try:
        stored = json.loads(path.read_bytes())
        return {
            part: {str(k): dict(v) for k, v in stored.get(part, {}).items()} for part in (_LICENCES, _FILES)
        }
    except FileNotFoundError:
        return {_LICENCES: {}, _FILES: {}}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"the log of downloads {path} cannot be read ({error}). Next: delete it; licences are then asked for again"
        ) from None


def _change(enter: Callable[[dict[str, Any]], None]) -> None:
    path = find_fetch_log()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            content = _read()
            enter(content)
            replace_file(path, f"{json.dumps(content, indent=1, sort_keys=True)}\n".encode())
    except OSError as error:
        raise DataError(
            f"the log of downloads {path} cannot be written ({error.strerror or error}). Next: set FSSBENCH_CONFIG to "
            "a folder that can be written"
        ) from None
