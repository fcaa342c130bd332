"""The ten benchmarks and the suites, as frozen records."""

from __future__ import annotations

from typing import Literal

from fssbench.api.records import Record


class Variant(Record):
    """One of several things measured under the same published name."""

    name: str
    title: str
    """What differs, in one line."""
    dataset_variant: str | None = None
    """Variant the test data set is opened with."""
    folds: tuple[tuple[int, ...], ...] | None = None
    """Test class ids by fold, where they differ from the benchmark's."""


class Benchmark(Record):
    """What was trained on, what is tested, folds, shots, and how it is counted."""

    id: str
    version: int
    title: str
    category: Literal["cross-category", "cross-dataset", "cross-domain", "custom"]
    source: str
    """What the published models were trained on, in words."""
    target: str
    """Data set id that episodes are drawn from."""
    split: str
    """Split of the target that is tested."""
    folds: tuple[tuple[int, ...], ...]
    """Test class ids by fold."""
    shots: tuple[int, ...]
    """Shots with published figures."""
    episodes: int
    """Episodes per fold and shot."""
    size: int
    """Side of the square network input, in pixels."""
    sampler: Literal["walk", "class", "round-robin"]
    """`walk`: queries in list order; `class`: class, then query at random; `round-robin`: class by index."""
    absent: Literal["zero", "exclude"]
    """What a class without pixels is worth in mIoU."""
    protocol: str
    """Protocol id and version of the published rule."""
    variants: tuple[Variant, ...] = ()
    """Named variants; the first is the default."""
    paper: tuple[str, ...] = ()
    """Keys of the paper's tables whose figures belong here, such as `table1`."""
    resize: str
    """How images and masks reach the network size."""
    meter: str
    """The published meter, in words."""
    origin: str
    """Where the definition was read from."""
    pitfalls: tuple[str, ...] = ()
    """What makes numbers under this name incomparable."""
