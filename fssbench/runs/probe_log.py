"""Logs of episodes that a run predicted again, one line per episode with a crc32, outside the score.

No figure of the run depends on them.  The same command computes what is missing in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fssbench.errors import DataError
from fssbench.files.append_log import seal, split_log
from fssbench.files.kept_log import KeptLog, read_whole_lines

P = TypeVar("P", bound=Any)
"""A dataclass with the field `index`."""


@dataclass(frozen=True)
class ProbeLog(Generic[P]):
    """Name and form of one such log."""

    file: str
    """Its name in a run folder."""
    parse: Callable[[bytes], P]
    """Reads a line without its newline; raises ValueError, KeyError or TypeError if it is damaged."""
    command: str
    """Command that computes the file again, such as `the command again with --sensitivity`."""
    hint: str
    """Next step if the disk is full."""

    def read(self, run: Path) -> dict[int, P]:
        """Read the probes of a run by episode; a run without any has an empty dictionary.

        Raises:
            DataError: for a damaged line, or two different probes of one episode.
        """
        path = run / self.file
        probes: dict[int, P] = {}
        for line in split_log(read_whole_lines(path), path)[0]:
            try:
                probe = self.parse(line.content)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {line.number} is damaged ({error}). Next: delete the file, then run {self.command}"
                ) from None
            if probes.setdefault(probe.index, probe) != probe:
                raise DataError(
                    f"{path}, line {line.number}: episode {probe.index} is stored twice with different counts. Next: "
                    f"delete the file, then run {self.command}"
                )
        return probes

    def join(self, shards: Sequence[Path], run: Path) -> None:
        """Copy the probes of the shards into the joined run.

        Raises:
            DataError: if probes of a shard are damaged, or cannot be written.
        """
        joined = StoredProbes(self, run)
        try:
            for shard in shards:
                for probe in self.read(shard).values():
                    joined.append(probe)
        finally:
            joined.close()


class StoredProbes(Generic[P]):
    """Writes the probes of one run.  Only the owner of the run may write.

    Args:
        log: which probes.
        run: the run folder.  Nothing is written before the first probe.

    Raises:
        DataError: if the stored probes are damaged.
    """

    def __init__(self, log: ProbeLog[P], run: Path) -> None:
        self._form = log
        self._path = run / log.file
        self.done = log.read(run)
        self._log: KeptLog | None = None

    def append(self, probe: P) -> None:
        """Store one probe; one that is stored already is left.

        Raises:
            DataError: if it cannot be written.
        """
        if probe.index in self.done:
            return
        if self._log is None:
            self._log = KeptLog(self._path, read_whole_lines(self._path))
        self._log.append(seal(asdict(probe)), self._form.hint)
        self.done[probe.index] = probe

    def close(self) -> None:
        """Sort the log by episode, so that equal runs hold equal bytes, and close it."""
        if self._log is None:
            return
        try:
            if not self._log.find_harm():
                with suppress(DataError):  # a reader takes them in any order
                    self._log.sort(lambda line: int(self._form.parse(line).index))
        finally:
            self._log.close()
            self._log = None


def require_counts(*values: object) -> None:
    """Refuse values that are not whole numbers of at least zero.

    Raises:
        ValueError: if one is not.
    """
    if not all(type(each) is int and each >= 0 for each in values):
        raise ValueError("its counts are no whole numbers")
