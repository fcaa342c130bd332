"""Benchmarks and suites by name, as `--benchmark` and `--suite` accept them."""

from __future__ import annotations

from fssbench.benchmarks.pmnet_paper import (
    RECORDS,
    SQUARE_RESIZE,
    SUMMED_METER,
    Benchmark,
    Folds,
    Source,
    Variant,
)
from fssbench.contracts.records import Record
from fssbench.errors import make_unknown_error
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import DATASETS

__all__ = [
    "BENCHMARKS",
    "SUITES",
    "Benchmark",
    "Resolved",
    "Source",
    "Variant",
    "find_benchmark",
    "find_benchmarks_on",
    "find_suite",
    "list_benchmark_names",
]

BENCHMARKS: dict[str, Benchmark] = {record.id: record for record in RECORDS}
"""The ten benchmarks, in the paper's order."""

_CATEGORIES = ("cross-category", "cross-dataset", "cross-domain")

SUITES: dict[str, tuple[str, ...]] = {
    **{c: tuple(b.id for b in RECORDS if b.category == c) for c in _CATEGORIES},
    "paper": tuple(BENCHMARKS),
}
"""Benchmark ids by suite."""


class Resolved(Record):
    """A benchmark with the variant that is measured."""

    id: str
    """Id, with the variant if the benchmark has variants: `pascal-to-isic2018:isic1`."""
    benchmark: Benchmark
    variant: Variant | None = None
    """The measured variant, or None if the benchmark has no variants."""

    @property
    def folds(self) -> Folds:
        """Test class ids by fold, those of the variant if it defines some."""
        if self.variant is not None and self.variant.folds is not None:
            return self.variant.folds
        return self.benchmark.folds

    @property
    def dataset_variant(self) -> str | None:
        """Variant of the test data set."""
        return self.variant.dataset_variant if self.variant is not None else None

    @property
    def trained_on(self) -> Source:
        """Data and classes that `fssbench train` uses for this benchmark."""
        if self.variant is not None and self.variant.trained_on is not None:
            return self.variant.trained_on
        return self.benchmark.trained_on

    @property
    def seen(self) -> Folds | None:
        """Test classes by fold that the published source models met in training, if that can happen."""
        return self.variant.seen if self.variant is not None else None


def find_benchmark(name: str) -> Resolved:
    """Find the benchmark of a name such as `coco20i` or `coco20i:contiguous`.

    A third-party data set, which none of the ten benchmarks tests, is also a benchmark: all its classes in one
    fold, 600 episodes over its split `test`, and the variants of its card.

    Raises:
        UsageError: for an unknown benchmark or variant, with similar names.
        PluginError: if the data set of that name does not load or cannot name its classes.
    """
    base, colon, wanted = name.partition(":")
    benchmark = BENCHMARKS.get(base)
    if benchmark is None:
        if base not in DATASETS.names() or any(base == b.target for b in RECORDS):
            tests = [b.id for b in RECORDS if b.target == base]
            hint = f"{base} is a data set of the benchmarks {', '.join(tests)}. " if tests else ""
            raise make_unknown_error(
                "benchmark", name, list_benchmark_names(), hint=f"{hint}Next: `fssbench list benchmarks`"
            )
        benchmark = _make_benchmark(base)
    if not benchmark.variants:
        if colon:
            raise make_unknown_error(
                f"variant of {base}", wanted, (), hint=f"Next: use `{base}` without a variant"
            )
        return Resolved(id=base, benchmark=benchmark)
    by_name = {v.name: v for v in benchmark.variants}
    variant = by_name.get(wanted) if colon else benchmark.variants[0]
    if variant is None:
        raise make_unknown_error(f"variant of {base}", wanted, by_name, hint=f"Next: `fssbench show {base}`")
    return Resolved(id=f"{base}:{variant.name}", benchmark=benchmark, variant=variant)


def find_suite(name: str) -> tuple[str, ...]:
    """List the benchmark ids of a suite.

    Raises:
        UsageError: for an unknown suite, with similar names.
    """
    if name not in SUITES:
        raise make_unknown_error("suite", name, SUITES, hint="Next: `fssbench list suites`")
    return SUITES[name]


def find_benchmarks_on(dataset: str, variant: str | None) -> list[Resolved]:
    """Find the benchmarks that test on a variant of a data set; for a third-party data set, its own benchmark."""
    records = [b for b in RECORDS if b.target == dataset]
    if not records:
        return [find_benchmark(f"{dataset}:{variant}" if variant else dataset)]
    ids = [i for b in records for i in ([f"{b.id}:{v.name}" for v in b.variants] or [b.id])]
    return [r for r in map(find_benchmark, ids) if r.dataset_variant in {None, variant}]


def list_benchmark_names() -> list[str]:
    """List all ids that `find_benchmark` accepts, with their variants.  No third-party data set is loaded."""
    known = list(BENCHMARKS)
    known += [f"{b.id}:{v.name}" for b in RECORDS for v in b.variants]
    tested = {b.target for b in RECORDS}
    return known + [name for name in DATASETS.names() if name not in tested]


def _make_benchmark(name: str) -> Benchmark:
    """Make the benchmark of a third-party data set."""
    cls = DATASETS.get(name)

    place = f"data set {name!r} cannot name its classes without its files"

    def classes(variant: str | None) -> tuple[int, ...]:
        with plugin_call(f"{place}:", inside=place, hint="`classes()` must work with root None"):
            return tuple(sorted(cls(None, variant=variant).classes()))

    card = cls.card
    variants = tuple(
        Variant(name=v, title=f"variant {v} of the data set", dataset_variant=v, folds=(classes(v),))
        for v in card.variants
    )
    return Benchmark(
        id=name,
        version=1,
        title=card.title,
        category="custom",
        source="not defined: any training data",
        trained_on=Source(dataset=name, folds=None),
        target=name,
        split="test",
        folds=(classes(None),),
        shots=(1, 5),
        episodes=600,
        size=400,
        sampler="round-robin",
        absent="exclude",
        protocol="published/1",
        variants=variants,
        resize=SQUARE_RESIZE,
        meter=SUMMED_METER + "; a class without a pixel in any episode is left out of the mean and named",
        origin=f"data set plugin {DATASETS.plugin(name).origin}",
        pitfalls=("not one of the ten benchmarks: there is no published figure to compare with",),
    )
