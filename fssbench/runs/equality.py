"""Decides whether run folders hold the same measurement; the counts decide, not a statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from fssbench.contracts.records import differing_fields
from fssbench.errors import DataError
from fssbench.runs.store import StoredRun, find_run_folders, read_run


class EqualityKind(StrEnum):
    """The way in which two folders are equal."""

    ONE_MEASUREMENT = "one measurement"
    """Both hold the same identities."""
    EQUAL_COUNTS = "equal counts"
    """The identities differ, but all counts are equal."""


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
        """Describe in one sentence how the folders are equal."""
        first, second = self.folders
        if self.kind == EqualityKind.ONE_MEASUREMENT:
            return (
                f"{first} and {second} are equal: they have the same identity, and all counts of {self.episodes} "
                "episodes agree"
            )
        return (
            f"{first} and {second} have equal counts in all {self.episodes} episodes, but their identities "
            f"differ ({', '.join(self.differing)})"
        )


def find_equal(folders: Sequence[Path]) -> list[Equality]:
    """Compare run folders, or folders of runs, pairwise.

    Args:
        folders: the folders that the user gave.

    Returns:
        The pairs that are equal.

    Raises:
        DataError: if two runs of one identity have different counts, or a run is damaged.
    """
    runs = {
        folder: [read_run(path) for path in find_run_folders(folder)] for folder in dict.fromkeys(folders)
    }
    pairs = combinations([f for f, stored_runs in runs.items() if stored_runs], 2)
    return [
        e
        for a, b in pairs
        if a.resolve() != b.resolve() and (e := _compare(a, b, runs[a], runs[b])) is not None
    ]


def _compare(a: Path, b: Path, mine: list[StoredRun], theirs: list[StoredRun]) -> Equality | None:
    own_runs, other_runs = ({run.identity: run for run in runs} for runs in (mine, theirs))
    for identity in own_runs.keys() & other_runs.keys():
        _require_equal(own_runs[identity], other_runs[identity])
    episodes = sum(run.done for run in mine)
    if own_runs.keys() == other_runs.keys() and all(
        own_runs[i].records == other_runs[i].records for i in own_runs
    ):
        return Equality((a, b), EqualityKind.ONE_MEASUREMENT, episodes)
    if len(mine) == len(theirs) == 1 and mine[0].plan.sha256 == theirs[0].plan.sha256 and episodes:
        first, second = mine[0], theirs[0]
        if first.records == second.records and first.identity != second.identity:
            names = differing_fields(first.manifest.block, second.manifest.block)
            return Equality((a, b), EqualityKind.EQUAL_COUNTS, episodes, tuple(names))
    return None


def _require_equal(a: StoredRun, b: StoredRun) -> None:
    shared = a.records.keys() & b.records.keys()
    differing = [index for index in shared if a.records[index] != b.records[index]]
    if differing:
        raise DataError(
            f"{a.path} and {b.path} have the same identity {a.identity[:12]}, but different counts in {len(differing)} "
            f"of {len(shared)} episodes (the first is episode {min(differing)}). "
            f"Next: `fssbench verify {a.path} {b.path} --data DIR` shows which run is wrong"
        )
