"""Episodes and plans: what is measured, fixed before the first image is opened."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fssbench.contracts.benchmarks import Benchmark
from fssbench.contracts.marks import Mark, MarkKind, parse_mark
from fssbench.lazy import load_name
from fssbench.markup import make_fields
from fssbench.plural import describe_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_HASHED_TOGETHER = 10_000
"""Episodes whose text is in memory at once while a plan is hashed; a plan may have a million."""


def make_cap_mark(count: int, total: int) -> Mark:
    """Make the mark of a plan that holds the first `count` of `total` episodes."""
    return Mark(MarkKind.CAPPED, f"{count} of {total} episodes")


def make_sets_mark(sets: int) -> Mark:
    """Make the mark of a plan that asks each query with several support sets."""
    return Mark(MarkKind.SUPPORT_SETS, f"{sets} for each query")


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
    home: Plan | None = field(default=None, compare=False, repr=False)
    """The plan of the episode without its episodes, which a plan fills in; None for an episode of no plan."""

    def show(self) -> Figure:
        """Draw supports, query and truth as a matplotlib figure; see `Plan.show`.

        Raises:
            UsageError: if the episode belongs to no plan.
            DataError: if files are missing or damaged.
        """
        return load_name("fssbench.drawing.plans:draw_episode")(self)


@dataclass(frozen=True, repr=False)
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
    support_sets: int = 1
    """Support sets per query.  The episodes of a query stand together; the first is that of a plan with one set."""

    def __post_init__(self) -> None:
        # a plan made by hand may have texts
        object.__setattr__(self, "marks", tuple(map(parse_mark, self.marks)))
        if self.episodes:
            object.__setattr__(self, "episodes", self._adopt(self.episodes))

    def _adopt(self, episodes: Sequence[Episode]) -> tuple[Episode, ...]:
        """Return the episodes as those of this plan; an episode of another plan is copied."""
        home = replace(self, episodes=())
        adopted = []
        for episode in episodes:
            if episode.home is None:
                object.__setattr__(episode, "home", home)
            elif not episode.home.is_same_place(home):
                episode = replace(episode, home=home)
            adopted.append(episode)
        return tuple(adopted)

    def is_same_place(self, other: Plan) -> bool:
        """Return whether two plans say the same of themselves and of the folders of their data."""
        return self == other and (self.data, self.splits) == (other.data, other.splits)

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

    @cached_property
    def sha256(self) -> str:
        """Hash of the episodes alone: class, query and supports, in order."""
        hashed = hashlib.sha256(b"[")
        for first in range(0, len(self.episodes), _HASHED_TOGETHER):
            rows = [
                [e.class_id, e.query, e.supports] for e in self.episodes[first : first + _HASHED_TOGETHER]
            ]
            text = json.dumps(rows, separators=(",", ":"))
            hashed.update(("," * (first > 0) + text[1:-1]).encode())
        hashed.update(b"]")
        return hashed.hexdigest()

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """Class of each episode, in order."""
        return tuple([episode.class_id for episode in self.episodes])

    @cached_property
    def queries(self) -> tuple[str, ...]:
        """Query of each episode, in order."""
        return tuple([episode.query for episode in self.episodes])

    @cached_property
    def supports(self) -> tuple[tuple[str, ...], ...]:
        """Supports of each episode, in order."""
        return tuple([episode.supports for episode in self.episodes])

    @property
    def asked(self) -> int:
        """Number of episodes without counting the further support sets of a query."""
        return len(self.episodes) // self.support_sets

    def head(self, count: int) -> Plan:
        """Return the first `count` episodes, each with all its support sets, marked if that leaves any out."""
        if count >= self.asked:
            return self
        mark = make_cap_mark(count, self.asked)
        return replace(self, episodes=self.episodes[: count * self.support_sets], marks=(*self.marks, mark))

    def show(self, episodes: int | Sequence[int] = 3, *, method: Any = None) -> Figure:
        """Draw episodes: supports with their masks, query and truth, with class name and marks.

        Args:
            episodes: how many of the first episodes, or the places of some in the plan.
            method: a method from `fssbench.load_method`, whose prediction, errors and maps are drawn too.  No run is
                stored.

        Returns:
            A matplotlib figure.  A notebook shows it, and `savefig` writes it to a file.

        Raises:
            UsageError: if the plan has no such episode.
            DataError: if files are missing or damaged.
            PluginError: if the method breaks its contract.

        Example:
            >>> import fssbench
            >>> drawn = fssbench.plan("pascal-to-chestxray", data="mini", episodes=2)
            >>> drawn.show(2).savefig("episodes.png")
        """
        if method is not None:
            return load_name("fssbench.inspection.figure:draw_inspection")(self, episodes, method)
        return load_name("fssbench.drawing.plans:draw_plan")(self, episodes)

    def __repr__(self) -> str:
        """Name the plan in one line, with its marks; a plan may have thousands of episodes."""
        marks = f" [{'; '.join(self.marks)}]" if self.marks else ""
        return (
            f"<Plan: {self.benchmark} fold {self.fold}, {self.shot}-shot, {self.protocol}, seed {self.seed}, "
            f"{self.size} px, {describe_count(len(self), 'episode')}{self._describe_sets()}, sha256 "
            f"{self.sha256[:12]}{marks}>"
        )

    def _describe_sets(self) -> str:
        return (
            f" ({self.support_sets} support sets for each of {self.asked})" if self.support_sets > 1 else ""
        )

    def _repr_html_(self) -> str:
        """Show the plan in a notebook."""
        counts = Counter(episode.class_id for episode in self)
        variant = f" ({self.dataset_variant})" if self.dataset_variant else ""
        names = zip(self.classes, self.class_names, strict=False)
        return make_fields(
            {
                "benchmark": f"{self.benchmark}, fold {self.fold}, {self.shot}-shot",
                "protocol": f"{self.protocol}, seed {self.seed}",
                "data set": f"{self.dataset}{variant}, split {self.split}",
                "lists": self.lists,
                "network input": f"{self.size} px",
                "episodes": f"{len(self)}{self._describe_sets()}",
                "episodes per class": [f"{name}: {counts[c]}" for c, name in names][:10],
                "marks": self.marks,
                "sha256": self.sha256,
            }
        )
