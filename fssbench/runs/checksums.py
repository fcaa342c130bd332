"""Checksums of the files of a run, so that a file which somebody changed afterwards is named.

`checksums.json` is written when the owner of a run leaves its folder, and removed while one works there.  So a run has
none if an earlier version stored it, or if its last process was killed.  Lines of the logs have checksums of their own,
and the predicted masks have theirs in `masks.jsonl`.

Somebody who edits on purpose can compute a checksum again; `fssbench verify` therefore also computes episodes again.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.atomic import replace_file

FILE = "checksums.json"
PICTURES = frozenset({"panels.jsonl", "masks.jsonl"})
"""Logs of pictures.  They are large, and every line is checked when it is read."""


def hash_run_file(path: Path) -> str | None:
    """Return the sha256 of a file of a run; None if it cannot be read.

    Line ends and a byte order mark do not count, because Git and editors may change them.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return hashlib.sha256(content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")).hexdigest()


def read_checksums(run: Path) -> dict[str, str] | None:
    """Read the checksums of a run by file name; None if it has none, or they cannot be read."""
    try:
        if not (run / FILE).is_file():
            return None
        files = json.loads((run / FILE).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        return None
    return {name: value for name, value in files.items() if Path(name).name == name}


def find_changed_files(run: Path, *, leave: Iterable[str] = ()) -> dict[str, str]:
    """Find the files of a run that differ from their checksums or are missing; pictures may be deleted.

    Args:
        run: the run folder.
        leave: names of files that are not read.

    Returns:
        The stored checksum of each such file by its name; empty for a run without checksums.
    """
    stored = read_checksums(run) or {}
    return {
        name: value
        for name, value in stored.items()
        if name not in set(leave)
        and hash_run_file(run / name) != value
        and not (name in PICTURES and not (run / name).exists())
    }


def write_checksums(run: Path, differing: Mapping[str, str]) -> None:
    """Store the checksums of all files of a run.  A file that cannot be read is a warning.

    Args:
        run: the run folder, in which only this process works.
        differing: checksums that are stored as they are, because the files differed from them before.

    Raises:
        DataError: if they cannot be written.
    """
    names = sorted(
        path.name
        for path in run.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.name != FILE
    )
    files = {name: value for name in names if (value := hash_run_file(run / name)) is not None}
    if unread := [name for name in names if name not in files]:
        warnings.warn(
            f"{', '.join(str(run / name) for name in unread)} cannot be read, so {FILE} has no checksum of it and a "
            "later change of it is not noticed. Next: check the disk, then run the same command again",
            stacklevel=2,
        )
    _write(run, {**files, **differing})


def update_checksum(run: Path, name: str) -> None:
    """Store the checksum of one file that was written again, if the run has checksums."""
    stored, value = read_checksums(run), hash_run_file(run / name)
    if stored is not None and value is not None and stored.get(name) != value:
        _write(run, {**stored, name: value})


def remove_checksums(run: Path) -> None:
    """Remove the checksums of a run, because its files are about to change.

    Raises:
        DataError: if they cannot be removed.
    """
    try:
        (run / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{run / FILE} cannot be removed ({error}). Next: choose another --out") from error


def _write(run: Path, files: Mapping[str, str]) -> None:
    content = json.dumps({"schema": 1, "files": dict(files)}, indent=1, sort_keys=True) + "\n"
    try:
        # a power cut may leave a damaged file; such a run counts as one without checksums
        replace_file(run / FILE, content.encode(), durable=False)
    except OSError as error:
        raise DataError(
            f"{len(content)} bytes cannot be written to {run / FILE} ({error}). Next: free space, then run the same "
            "command again"
        ) from error
