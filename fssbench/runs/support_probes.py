"""Episodes of a run that were predicted again with supports of another class (`fssbench run --sensitivity N`).

    probes.jsonl    one line per episode: which supports were shown, counts against the truth and against the first
                    answer, a crc32

No figure of the run depends on this file.  The same command computes what is missing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from fssbench.contracts.support_probes import SupportProbe
from fssbench.errors import DataError
from fssbench.files.append_log import seal, split_log, unseal
from fssbench.files.kept_log import KeptLog, read_whole_lines

FILE = "probes.jsonl"
_HINT = "Next: free space, or run without --sensitivity"


def _parse(line: bytes) -> SupportProbe:
    """Read a line without its newline.

    Raises:
        ValueError: if the line is damaged.
    """
    data = unseal(line)
    (i_b, i_f), (u_b, u_f) = data["inter"], data["union"]
    numbers = [data[name] for name in ("index", "class_id", "same", "either")] + [i_b, i_f, u_b, u_f]
    texts = data["supports"]
    if not all(type(each) is int and each >= 0 for each in numbers) or type(data["inverted"]) is not bool:
        raise ValueError("its counts are no whole numbers")
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise ValueError(f"its supports are {texts!r}, not a list of texts")
    return SupportProbe(
        index=data["index"],
        class_id=data["class_id"],
        inverted=data["inverted"],
        supports=tuple(texts),
        inter=(i_b, i_f),
        union=(u_b, u_f),
        same=data["same"],
        either=data["either"],
    )


def read_probes(run: Path) -> dict[int, SupportProbe]:
    """Read the probes of a run by episode; a run without any has an empty dictionary.

    Raises:
        DataError: for a damaged line, or two different probes of one episode.
    """
    path = run / FILE
    probes: dict[int, SupportProbe] = {}
    for line in split_log(read_whole_lines(path), path)[0]:
        try:
            probe = _parse(line.content)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {line.number} is damaged ({error}). Next: delete the file, then run the command again "
                "with --sensitivity"
            ) from None
        if probes.setdefault(probe.index, probe) != probe:
            raise DataError(
                f"{path}, line {line.number}: episode {probe.index} is stored twice with different counts. Next: "
                "delete the file, then run the command again with --sensitivity"
            )
    return probes


class StoredProbes:
    """Writes the probes of one run.  Only the owner of the run may write.

    Args:
        run: the run folder.  Nothing is written before the first probe.

    Raises:
        DataError: if the stored probes are damaged.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / FILE
        self.done = read_probes(run)
        self._log: KeptLog | None = None

    def append(self, probe: SupportProbe) -> None:
        """Store one probe; one that is stored already is left.

        Raises:
            DataError: if it cannot be written.
        """
        if probe.index in self.done:
            return
        if self._log is None:
            self._log = KeptLog(self._path, read_whole_lines(self._path))
        self._log.append(seal(asdict(probe)), _HINT)
        self.done[probe.index] = probe

    def close(self) -> None:
        """Sort the log by episode, so that equal runs hold equal bytes, and close it."""
        if self._log is None:
            return
        try:
            if not self._log.find_harm():
                with suppress(DataError):  # a reader takes them in any order
                    self._log.sort(lambda line: _parse(line).index)
        finally:
            self._log.close()
            self._log = None


def join_probes(shards: Sequence[Path], run: Path) -> None:
    """Copy the probes of the shards into the joined run.

    Raises:
        DataError: if probes of a shard are damaged, or cannot be written.
    """
    joined = StoredProbes(run)
    try:
        for shard in shards:
            for probe in read_probes(shard).values():
                joined.append(probe)
    finally:
        joined.close()
