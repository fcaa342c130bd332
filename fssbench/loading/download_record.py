"""The record of downloaded weights, `downloads.json` in their folder: address, hash, licence and date of each file.

Some publishers name only the first digits of a hash, which protect against damage and not against somebody who can
exchange the file.  So the full hash of the first download is recorded, and the file has to keep it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from fssbench.contracts.backbones import PublishedWeights
from fssbench.errors import DataError
from fssbench.files.atomic import replace_file
from fssbench.files.hashing import hash_weights_file
from fssbench.files.regular import MEBIBYTE, read_regular
from fssbench.files.secrets import hide_in_text

FILE = "downloads.json"


def record_download(folder: Path, record: PublishedWeights, path: Path, address: str) -> None:
    """Enter a file that was just downloaded and checked.

    Args:
        folder: the folder of downloaded weights, which holds the record.
        record: what is published about the file.
        path: the file, below the folder.
        address: where it came from.

    Raises:
        DataError: if the record is damaged or cannot be written.
    """
    try:
        with FileLock(folder / f".{FILE}.lock"):
            entries = read_downloads(folder)
            entries[path.relative_to(folder).as_posix()] = {
                "sha256": hash_weights_file(path),
                "bytes": path.stat().st_size,
                "licence": record.licence,
                "source": record.source,
                "address": hide_in_text(address),
                "downloaded_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            replace_file(folder / FILE, f"{json.dumps(entries, indent=1, sort_keys=True)}\n".encode())
    except OSError as error:
        raise DataError(
            f"{folder / FILE} cannot be written ({error.strerror or error}). Next: free space in the cache folder"
        ) from None


def read_downloads(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the record: facts by path below the folder; empty if nothing was downloaded.

    Raises:
        DataError: if it is damaged.
    """
    path = folder / FILE
    try:
        entries = json.loads(read_regular(path, MEBIBYTE))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Next: delete it and the files beside it") from None
    if not isinstance(entries, dict) or not all(
        isinstance(each, dict) and isinstance(each.get("sha256"), str) for each in entries.values()
    ):
        raise DataError(f"{path} is not a record of downloads. Next: delete it and the files beside it")
    return entries


def find_recorded_hash(folder: Path, path: Path) -> str:
    """Return the full sha256 that a file had when it was downloaded; empty if it was not downloaded by fssbench."""
    if not path.is_relative_to(folder):
        return ""
    return str(read_downloads(folder).get(path.relative_to(folder).as_posix(), {}).get("sha256", ""))
