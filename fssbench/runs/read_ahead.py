"""Reads the logs of many runs in a second process, while the first reads what else is in their folders.

A report of hundreds of runs spends most of its reading on lines of text and their checksums.  What the second process
cannot read without doubt is read again where it is asked for, so that errors and warnings come from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.regular import read_regular
from fssbench.forks import MANY_RUNS, Fork
from fssbench.runs.pictures import Places, locate_panels
from fssbench.runs.records import RecordTable, parse_canonical
from fssbench.runs.store import LOG

_HERE = 0.25
"""Share of the runs whose logs are read in the first process."""


@dataclass(frozen=True)
class Logs:
    """What the logs of one run hold."""

    records: RecordTable | None = None
    """None if the log is not exactly as fssbench writes it, or was not read ahead."""
    panels: Places | None = None
    """Places of the stored pictures by episode; None if they were not read ahead."""


class ReadAhead:
    """The logs of some run folders, as a second process has read them; use it as a context.

    Args:
        paths: the run folders, in the order in which they are asked for.
        pictures: whether the logs of pictures are read too.
    """

    def __init__(self, paths: Sequence[Path], *, pictures: bool) -> None:
        self._pictures = pictures
        later = paths[int(_HERE * len(paths)) :]
        self._fork = Fork(lambda: {path: self._read(path) for path in later}, wanted=len(paths) >= MANY_RUNS)
        self._later = frozenset(later if self._fork.begun else ())
        self._logs: dict[Path, Logs] | None = None

    def __enter__(self) -> ReadAhead:
        """Return the logs themselves."""
        return self

    def __exit__(self, *details: object) -> None:
        """End the second process."""
        self._fork.__exit__(None, None, None)

    def take(self, path: Path) -> Logs:
        """Return the logs of a run, once; empty if they were not read ahead."""
        if path not in self._later:
            return Logs()
        if self._logs is None:
            self._logs = self._fork.result()
        return self._logs.pop(path, Logs())

    def _read(self, path: Path) -> Logs:
        try:
            records = parse_canonical(read_regular(path / LOG))
            return Logs(records, locate_panels(path) if self._pictures else None)
        except (DataError, OSError):
            return Logs()
