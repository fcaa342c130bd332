"""Episodes and plans: what is measured, fixed before the first image is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from fssbench.contracts.benchmarks import Benchmark
from fssbench.contracts.marks import Mark, MarkKind, parse_mark


@dataclass(frozen=True, slots=True)
class Episode:
    """One class, K support pairs, one query."""

    index: int
    """Position in the plan; a shard of a run keeps it."""
    class_id: int
    """Class id, 0-based, in the numbering of the reference code of the data set."""
    query: str
    """Item id of the query, as in the reference streams."""
    supports: tuple[str, ...]
    """Item ids of the K supports; a `published` protocol may repeat one."""


@dataclass(frozen=True)
class Plan(Sequence[Episode]):
    """The episodes of one benchmark, fold and shot, in order.

    `sha256` is the hash of the compact JSON `[[class_id, query, [supports]], ...]`: two plans with
    equal hashes hold the same episodes.
    """

    benchmark: str
    """Benchmark id with its variant, such as `pascal-to-isic2018:isic1`."""
    version: int
    """Version of the benchmark's definition."""
    dataset: str
    """Data set id the items belong to."""
    dataset_variant: str | None
    """Variant the data set is opened with (classes or population), if it has any."""
    split: str
    """Split of the data set that was drawn from."""
    fold: int
    shot: int
    protocol: str
    """Protocol id and version, such as `published/1`."""
    seed: int
    size: int
    """Side of the square network input in pixels."""
    classes: tuple[int, ...]
    """Class ids of this fold: what mIoU is the mean over."""
    class_names: tuple[str, ...]
    """Names in the order of `classes`."""
    lists: str
    """Where the item lists came from: reference list files, or files on disk by a stated rule."""
    marks: tuple[Mark, ...] = ()
    """Differences from the benchmark: `miniature`, `sample (...)`, `capped (...)`."""
    episodes: tuple[Episode, ...] = ()
    data: Path | None = field(default=None, compare=False)
    """Folder of the data sets; never part of an identity."""
    splits: Path | None = field(default=None, compare=False)
    """Folder of imported reference lists; never part of an identity."""
    definition: Benchmark | None = None
    """Definition of a benchmark that a user wrote; None if the benchmark can be found by its id.

    `fssbench.benchmarks.catalogue.find_plan_benchmark` finds the benchmark of any plan.
    """

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "marks", tuple(map(parse_mark, self.marks))
        )  # a plan made by hand may have texts

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Episode, ...]: ...
    def __getitem__(self, index: int | slice) -> Episode | tuple[Episode, ...]:
        return self.episodes[index]

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return iter(self.episodes)

    @property
    def sha256(self) -> str:
        """Hash of the episodes alone: class, query and supports, in order."""
        rows = [[e.class_id, e.query, list(e.supports)] for e in self.episodes]
        text = json.dumps(rows, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def head(self, count: int) -> Plan:
        """Return the first `count` episodes, marked as capped if that leaves any out."""
        if count >= len(self.episodes):
            return self
        mark = Mark(MarkKind.CAPPED, f"{count} of {len(self.episodes)} episodes")
        return replace(self, episodes=self.episodes[:count], marks=(*self.marks, mark))
