"""Records of episodes: one line of the log each, and the whole log as columns.

Reports read hundreds of runs with a thousand records each.  A log that consists of lines as `EpisodeRecord.line` writes
them is therefore read in one pass: checksums line by line, numbers all at once.  Any other log, such as one with blank
lines or with damage, is read line by line; both ways give the same records.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fssbench.files.append_log import seal, unseal

_SKELETON = b'{"i":,"c":,"inter":[,],"union":[,],"target":'
"""A line without its digits, up to the checksum."""
_CRC = b',"crc":"'
_TAIL = len(_CRC) + 10
"""Bytes of the checksum at the end of a line."""
_FIELDS = 7
"""Numbers of a record."""
_MOST_DIGITS = 18
"""Digits that every number of 64 bits can have."""
_BEFORE, _AFTER = (np.isin(np.arange(256), list(characters)) for characters in (b":[,", b",]"))
"""Which characters may stand before a number, and which after it."""


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """The integer counts of one episode, and the doubts about its files."""

    index: int
    class_id: int
    inter: tuple[int, int]
    """Background, foreground, in pixels."""
    union: tuple[int, int]
    target: int
    """Foreground pixels of the truth."""
    doubts: tuple[str, ...] = ()
    """Kinds of doubt about its images and masks (`fssbench.images.judgements.DOUBTS`), sorted."""

    def line(self) -> bytes:
        """Write the record as one line of JSON that ends in its own crc32.  Doubts are in it only if there are any."""
        return seal(
            {
                "i": self.index,
                "c": self.class_id,
                "inter": self.inter,
                "union": self.union,
                "target": self.target,
                **({"doubts": self.doubts} if self.doubts else {}),
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> EpisodeRecord:
        """Read a line without its newline.

        Raises:
            ValueError: if the line is damaged.
        """
        data = unseal(line)
        inter, union = data["inter"], data["union"]
        doubts = data.get("doubts", [])
        if not isinstance(doubts, list) or not all(isinstance(kind, str) for kind in doubts):
            raise ValueError(f"its doubts are {doubts!r}, not a list of texts")
        counts = (inter[0], inter[1]), (union[0], union[1])
        return cls(data["i"], data["c"], *counts, data["target"], tuple(doubts))


class RecordTable(Mapping[int, EpisodeRecord]):
    """The records of a run by the index of their episode, in the order of the log, kept as columns.

    Args:
        numbers: (n, 7) index, class, intersections, unions and target of each record; every index is there once.
        doubts: the doubts of the records that have any, by index.
    """

    def __init__(self, numbers: NDArray[np.int64], doubts: Mapping[int, tuple[str, ...]]) -> None:
        self._numbers = numbers
        self.doubts = doubts

    @classmethod
    def of(cls, records: Mapping[int, EpisodeRecord]) -> RecordTable:
        """Make the table of some records; a table is returned as it is.

        Raises:
            OverflowError: if a number is too large for a column.
        """
        if isinstance(records, RecordTable):
            return records
        rows = [(r.index, r.class_id, *r.inter, *r.union, r.target) for r in records.values()]
        numbers = np.array(rows, dtype=np.int64).reshape(-1, _FIELDS)
        doubts = {r.index: r.doubts for r in records.values() if r.doubts}
        return cls(numbers, doubts)

    @cached_property
    def by_index(self) -> RecordTable:
        """The same records in ascending order of their indices."""
        if self.is_sorted:
            return self
        order = np.argsort(self.indices, kind="stable")
        return RecordTable(self._numbers[order], self.doubts)

    @property
    def is_sorted(self) -> bool:
        """Whether the indices ascend, so that each is there once."""
        return bool((self.indices[1:] > self.indices[:-1]).all())

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n) index of each record."""
        return self._numbers[:, 0]

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """(n) class of each record."""
        return self._numbers[:, 1]

    @property
    def inter(self) -> NDArray[np.int64]:
        """(n, 2) pixels of the intersections of background and foreground."""
        return self._numbers[:, 2:4]

    @property
    def union(self) -> NDArray[np.int64]:
        """(n, 2) pixels of the unions of background and foreground."""
        return self._numbers[:, 4:6]

    @property
    def target(self) -> NDArray[np.int64]:
        """(n) foreground pixels of the truth."""
        return self._numbers[:, 6]

    @cached_property
    def _records(self) -> dict[int, EpisodeRecord]:
        return {
            i: EpisodeRecord(i, c, (b, f), (ub, uf), target, self.doubts.get(i, ()))
            for i, c, b, f, ub, uf, target in self._numbers.tolist()
        }

    def __getitem__(self, index: int) -> EpisodeRecord:
        return self._records[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices.tolist())

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return f"<RecordTable: {len(self)} records>"


def parse_canonical(data: bytes) -> RecordTable | None:
    """Read a log at once; None if any line is not exactly as `EpisodeRecord.line` writes it, or an index comes twice.

    Args:
        data: whole lines, the last with its newline.
    """
    lines = data.split(b"\n")
    if lines.pop():
        return None
    doubtful = {}
    if b'"doubts"' in data:
        try:
            parsed = [
                (number, EpisodeRecord.parse(line))
                for number, line in enumerate(lines)
                if b'"doubts"' in line
            ]
        except (ValueError, KeyError, TypeError, IndexError):
            return None
        for number, record in parsed:
            if not record.doubts or record.line() != lines[number] + b"\n":
                return None
            doubtful[record.index] = record.doubts
            lines[number] = replace(record, doubts=()).line()[:-1]
    bodies = [line[:-_TAIL] for line in lines]
    if not _have_right_checksums(lines, bodies):
        return None
    numbers = _parse_numbers(b",".join(bodies), len(bodies))
    if numbers is None:
        return None
    table = RecordTable(numbers, doubtful)
    return table if table.is_sorted or len(np.unique(table.indices)) == len(table) else None


def _have_right_checksums(lines: list[bytes], bodies: list[bytes]) -> bool:
    """Return whether each line ends in the checksum of its body, written as `seal` writes it."""
    if not lines:
        return True
    tails = b"".join([line[-_TAIL:] for line in lines])
    if len(tails) != _TAIL * len(lines):
        return False  # a line is shorter than its checksum
    parts = np.frombuffer(tails, dtype=np.uint8).reshape(-1, _TAIL)
    digits = parts[:, len(_CRC) : -2].tobytes()
    around = np.delete(parts, slice(len(_CRC), -2), axis=1).tobytes()
    if around != (_CRC + b'"}') * len(lines) or digits.translate(None, b"0123456789abcdef"):
        return False
    stored = np.frombuffer(bytes.fromhex(digits.decode()), dtype=">u4")
    return bool((stored == np.fromiter(map(zlib.crc32, bodies), np.uint32, len(bodies))).all())


def _parse_numbers(text: bytes, lines: int) -> NDArray[np.int64] | None:
    """Read the numbers of joined lines without checksums; None if anything but the numbers differs from our form.

    Args:
        text: the lines, joined by commas.
        lines: number of lines.

    Returns:
        (lines, 7) numbers.
    """
    if not lines:
        return np.zeros((0, _FIELDS), dtype=np.int64)
    # all characters but digits are as they should be
    if text.translate(None, b"0123456789") != b",".join([_SKELETON] * lines):
        return None
    characters = np.frombuffer(b",%b," % text, dtype=np.uint8)
    is_digit = characters - ord("0") < 10  # what is less than 0 becomes large
    starts, ends = (
        np.flatnonzero(edge) + 1 for edge in (is_digit[1:] > is_digit[:-1], is_digit[1:] < is_digit[:-1])
    )
    if len(starts) != _FIELDS * lines:
        return None
    # each number stands in the place of one of ours: nowhere else is such a character before, and such a one after
    if not _BEFORE[characters[starts - 1]].all() or not _AFTER[characters[ends]].all():
        return None
    lengths = ends - starts
    if int(lengths.max()) > _MOST_DIGITS or ((lengths > 1) & (characters[starts] == ord("0"))).any():
        return None  # a number that is too large, or a leading zero
    separated = text.translate(None, b'{}[]":interuogac')
    return np.fromstring(separated, dtype=np.int64, sep=",").reshape(-1, _FIELDS)
