"""Sessions of a run: what each process that worked on it did.  No result depends on them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from fssbench.contracts.records import StoredRecord
from fssbench.errors import DataError
from fssbench.files.regular import read_regular

FILE = "sessions.jsonl"
"""One session per line, in a run folder."""


class Session(StoredRecord):
    """Work of one process for a run."""

    episodes: int
    """Episodes that it computed; 0 if it met a complete run with unchanged data."""
    seconds: float
    """Seconds in all, with what methods share: reading images, and the backbone."""
    prediction_seconds: float | None = None
    """Seconds of the method alone; absent if nothing was computed, and in runs of earlier versions."""
    command: str | None = None
    """Id of the process; absent in runs of earlier versions."""
    shard: str | None = None
    """Folder of the shard that the session belongs to, if the run was merged."""

    def as_line(self) -> bytes:
        """Return the line that is stored."""
        return (json.dumps(self.as_stored(), sort_keys=True) + "\n").encode()


def read_sessions(folder: Path) -> list[Session]:
    """Read the sessions of a run folder.  Damaged lines are skipped, because no result depends on them.

    Raises:
        DataError: if the file cannot be read, such as a pipe.
    """
    try:
        lines = read_regular(folder / FILE).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder / FILE} cannot be read ({error.strerror}). Next: check the disk") from None
    sessions = []
    for line in lines:
        with suppress(ValueError, RecursionError):  # torn by a kill; only a duration is lost
            sessions.append(Session.read_stored(json.loads(line)))
    return sessions
