"""Decides whether run folders hold the same measurement; the counts decide, not a statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from fssbench.contracts.records import differing_fields
from fssbench.errors import DataError
from fssbench.runs.store import StoredRun, read_run, scan


class EqualityKind(StrEnum):
    """In what two folders are equal."""

    ONE_MEASUREMENT = "one measurement"
    """Both hold the same identities."""
    EQUAL_COUNTS = "equal counts"
    """The identities differ, and no count does."""


@dataclass(frozen=True)
class Equality:
    """Two folders that are equal."""

    folders: tuple[Path, Path]
    kind: EqualityKind
    episodes: int
    """Episodes compared, over all runs."""
    differing: tuple[str, ...] = ()
    """Fields of the identity that differ."""

    @property
    def text(self) -> str:
        """Say in a sentence in what the folders are equal."""
        first, second = self.folders
        if self.kind == EqualityKind.ONE_MEASUREMENT:
            return f"{first} and {second} are equal: one identity, and all counts of {self.episodes} episodes agree"
        return (
            f"{first} and {second} are equal in all counts of {self.episodes} episodes, though their identities "
            f"differ ({', '.join(self.differing)})"
        )


def find_equal(folders: Sequence[Path]) -> list[Equality]:
    """Compare run folders, or folders of runs, pairwise.

    Args:
        folders: as they were given.

    Returns:
        The pairs that are equal.

    Raises:
        DataError: if two runs of one identity have counted one episode differently, or a run is damaged.
    """
    runs = {folder: [read_run(path) for path in scan(folder)] for folder in dict.fromkeys(folders)}
    pairs = combinations([f for f, held in runs.items() if held], 2)
    return [
        e
        for a, b in pairs
        if a.resolve() != b.resolve() and (e := _compare(a, b, runs[a], runs[b])) is not None
    ]


def _compare(a: Path, b: Path, mine: list[StoredRun], theirs: list[StoredRun]) -> Equality | None:
    here, there = ({run.identity: run for run in runs} for runs in (mine, theirs))
    for identity in here.keys() & there.keys():
        _require_equal(here[identity], there[identity])
    episodes = sum(run.done for run in mine)
    if here.keys() == there.keys() and all(here[i].records == there[i].records for i in here):
        return Equality((a, b), EqualityKind.ONE_MEASUREMENT, episodes)
    if len(mine) == len(theirs) == 1 and mine[0].plan.sha256 == theirs[0].plan.sha256 and episodes:
        first, second = mine[0], theirs[0]
        if first.records == second.records and first.identity != second.identity:
            names = differing_fields(first.manifest.block, second.manifest.block)
            return Equality((a, b), EqualityKind.EQUAL_COUNTS, episodes, tuple(names))
    return None


def _require_equal(a: StoredRun, b: StoredRun) -> None:
    odd = [i for i in a.records.keys() & b.records.keys() if a.records[i] != b.records[i]]
    if odd:
        raise DataError(
            f"{a.path} and {b.path} are one measurement by their identity {a.identity[:12]}, and yet {len(odd)} of "
            f"{len(a.records.keys() & b.records.keys())} episodes have other counts (the first is {min(odd)}). "
            f"Next: `fssbench verify {a.path} {b.path} --data DIR` says which is wrong"
        )
