"""Definitions of benchmarks as data: training data, test data, folds, shots, and how pixels are counted."""

from __future__ import annotations

from typing import Literal

from fssbench.contracts.records import Record

Folds = tuple[tuple[int, ...], ...]
Sampler = Literal["walk", "walk-numbered", "class", "round-robin"]
Category = Literal["cross-category", "cross-dataset", "cross-domain", "custom"]
ScoreSize = Literal["input", "original"]

PROTOCOLS = {"published": "published/1", "fssbench": "fssbench/1"}
"""Protocols by name, each with the version that a plan records."""


class Source(Record):
    """Training data of the published models, which `fssbench train` uses too."""

    dataset: str
    """Data set id."""
    split: str = "trn"
    folds: Folds | None
    """Training class ids by fold of the benchmark; None for all classes of the data set."""


class Variant(Record):
    """One of several definitions that papers use under the same benchmark name."""

    name: str
    title: str
    """The difference, in one line."""
    dataset_variant: str | None = None
    """Variant of the test data set, if it differs from that of the benchmark."""
    folds: Folds | None = None
    """Test class ids by fold, if they differ from those of the benchmark."""
    seen: Folds | None = None
    """Test classes by fold that the published source models met in training; None if this cannot
    happen."""
    trained_on: Source | None = None
    """Training data, if it differs from that of the benchmark."""


class Benchmark(Record):
    """Definition of a benchmark: training data, test data, folds, shots, and how pixels are counted."""

    id: str
    version: int
    title: str
    category: Category
    source: str
    """Training data of the published models, in words."""
    trained_on: Source
    """Training data of the published models, in machine-readable form."""
    target: str
    """Data set id that episodes are drawn from."""
    dataset_variant: str | None = None
    """Variant of the target, if its own default is not meant."""
    split: str
    """Split of the target that is tested."""
    folds: Folds
    """Test class ids by fold."""
    seen: Folds | None = None
    """Test classes by fold that the source models meet in training; None if this cannot happen."""
    shots: tuple[int, ...]
    """Shots with published figures."""
    episodes: int
    """Episodes per fold and shot."""
    size: int
    """Side of the square network input, in pixels."""
    sampler: Sampler
    """`walk`: queries in list order; `walk-numbered`: the same, supports drawn in the order of the
    numbers in their names; `class`: class, then query at random; `round-robin`: class by index."""
    absent: Literal["zero", "exclude"]
    """Value in mIoU of a class without pixels."""
    protocol: str
    """Protocol id and version of the published rule."""
    score_size: ScoreSize = "input"
    """Size at which masks are compared: that of the network input, or that of the image."""
    variants: tuple[Variant, ...] = ()
    """Named variants; the first is the default."""
    paper: tuple[str, ...] = ()
    """Keys of the paper's tables with figures of this benchmark, such as `table1`."""
    resize: str
    """How images and masks are resized to the network size."""
    meter: str
    """How the published code counts, in words."""
    origin: str
    """Source of the definition."""
    pitfalls: tuple[str, ...] = ()
    """Reasons why two numbers under this name may not be comparable."""


class Resolved(Record):
    """A benchmark with the variant that is measured."""

    id: str
    """Id, with the variant if the benchmark has variants: `pascal-to-isic2018:isic1`.

    A benchmark that a user defined in a file has the hash of its content in its id: `skin@3f9a1c20b4d2`.
    """
    benchmark: Benchmark
    variant: Variant | None = None
    """The measured variant, or None if the benchmark has no variants."""
    is_own: bool = False
    """Whether a user defined it in a file.  Plans and runs of such a benchmark carry its definition."""
    file: str | None = None
    """The file with its variant, as a command names it; None if the id is enough to find the benchmark."""

    @property
    def name(self) -> str:
        """What a command names the benchmark by: its file or its id."""
        return self.file or self.id

    @property
    def title(self) -> str:
        """Title as reports print it.  A user's own benchmark is never printed under the title of another one."""
        return f"{self.benchmark.title} (own, {self.id})" if self.is_own else self.benchmark.title

    @property
    def definition(self) -> Benchmark | None:
        """The definition that plans and runs must carry, because it cannot be found by its id."""
        return self.benchmark if self.is_own else None

    @property
    def folds(self) -> Folds:
        """Test class ids by fold, those of the variant if it defines some."""
        if self.variant is not None and self.variant.folds is not None:
            return self.variant.folds
        return self.benchmark.folds

    @property
    def dataset_variant(self) -> str | None:
        """Variant of the test data set."""
        if self.variant is not None and self.variant.dataset_variant is not None:
            return self.variant.dataset_variant
        return self.benchmark.dataset_variant

    @property
    def trained_on(self) -> Source:
        """Data and classes that `fssbench train` uses for this benchmark."""
        if self.variant is not None and self.variant.trained_on is not None:
            return self.variant.trained_on
        return self.benchmark.trained_on

    @property
    def seen(self) -> Folds | None:
        """Test classes by fold that the published source models met in training, if that can happen."""
        if self.variant is not None and self.variant.seen is not None:
            return self.variant.seen
        return self.benchmark.seen


def name_stream(benchmark: str) -> str:
    """Name the stream of episodes of a benchmark: its id without the hash of a definition.

    So a corrected word in the file of a benchmark does not change which episodes are drawn.

    Example:
        >>> [name_stream(each) for each in ("coco20i:contiguous", "skin@3f9a1c20b4d2:dark")]
        ['coco20i:contiguous', 'skin:dark']
    """
    base, colon, variant = benchmark.partition(":")
    return base.partition("@")[0] + colon + variant
