"""Benchmarks by name or file, as `--benchmark` accepts them.

A benchmark is built in, or belongs to a data set plugin, or is defined in a file.  Only the first two can be found by
their id later; a plan carries the definition of the third kind, and `find_plan_benchmark` finds all three.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fssbench.benchmarks.benchmark_file import read_benchmark_file
from fssbench.benchmarks.definition import collect_content, resolve_carried, resolve_own, resolve_variant
from fssbench.benchmarks.pmnet_paper import RECORDS, SQUARE_RESIZE, SUMMED_METER
from fssbench.benchmarks.toml_tables import is_file_name, split_file_name
from fssbench.contracts.benchmarks import Benchmark, Resolved, Source, Variant
from fssbench.errors import UsageError, make_unknown_error
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import DATASETS

if TYPE_CHECKING:
    from fssbench.contracts.episodes import Plan
    from fssbench.contracts.results import RunResult

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Resolved",
    "Source",
    "Variant",
    "find_benchmark",
    "find_benchmarks_on",
    "find_plan_benchmark",
    "list_benchmark_names",
]

BENCHMARKS: dict[str, Benchmark] = {record.id: record for record in RECORDS}
"""The ten benchmarks, in the paper's order."""


def find_benchmark(name: str | Path | Resolved) -> Resolved:
    """Find the benchmark of a name such as `coco20i`, `coco20i:contiguous`, or of a file such as `skin.toml`.

    A third-party data set, which none of the ten benchmarks tests, is also a benchmark: all its classes in one
    fold, 600 episodes over its split `test`, and the variants of its card.

    Args:
        name: id with a variant if wanted; the path of a benchmark file, which ends in `.toml`, with a variant if
            wanted; or a benchmark that was found before, which is returned.

    Raises:
        UsageError: for an unknown benchmark or variant, with similar names, or a file that defines none.
        DataError: if the file cannot be read.
        PluginError: if the data set of that name does not load or cannot name its classes.
    """
    if isinstance(name, Resolved):
        return name
    if is_file_name(name):
        return _find_in_file(str(name))
    base, colon, wanted = str(name).partition(":")
    benchmark = BENCHMARKS.get(base)
    if benchmark is None:
        if base not in DATASETS.names() or any(base == b.target for b in RECORDS):
            raise make_unknown_error(
                "benchmark", str(name), list_benchmark_names(), hint=_suggest_benchmarks(base)
            )
        benchmark = _make_benchmark(base)
    return resolve_variant(benchmark, base, wanted if colon else None, hint=f"Next: `fssbench show {base}`")


def find_plan_benchmark(plan: Plan | RunResult) -> Resolved:
    """Find the benchmark of a plan or a run: the definition that it carries, or the benchmark of its id.

    Raises:
        UsageError: if it carries none and its benchmark is not known here.
        DataError: if it carries the definition of another benchmark.
        PluginError: if the data set of that name does not load or cannot name its classes.
    """
    if plan.definition is not None:
        return resolve_carried(plan.definition, plan.benchmark)
    return find_benchmark(plan.benchmark)


def _suggest_benchmarks(base: str) -> str:
    """Suggest what to do about an unknown benchmark."""
    if "@" in base:
        return (
            "It was defined in a file. Next: give that file, or take the definition from a run with "
            f"`fssbench show RUN --toml > {base.partition('@')[0]}.toml`"
        )
    tests = [b.id for b in RECORDS if b.target == base]
    hint = f"{base} is a data set of the benchmarks {', '.join(tests)}. " if tests else ""
    return f"{hint}Next: `fssbench list benchmarks`"


def _find_in_file(name: str) -> Resolved:
    """Find the benchmark that a file defines; a copy of a built-in benchmark is that benchmark.

    Raises:
        UsageError: if the file has the id of a built-in benchmark with other content.
    """
    file, wanted = split_file_name(name)
    benchmark = read_benchmark_file(Path(file))
    built_in = BENCHMARKS.get(benchmark.id)
    if built_in is None:
        if any(benchmark.title.casefold() == record.title.casefold() for record in RECORDS):
            raise UsageError(
                f"{file}: key title is {benchmark.title!r}, which is the title of a built-in benchmark. "
                "Next: give it a title of its own"
            )
        return resolve_own(benchmark, wanted, file)
    ours, theirs = collect_content(built_in), collect_content(benchmark)
    others = [key for key in ours if ours[key] != theirs[key]]
    if others:
        raise UsageError(
            f"{file} has the id {benchmark.id!r} of a built-in benchmark, but another content "
            f'({", ".join(others)}). Next: give it an id of its own, such as id = "my-{benchmark.id}"'
        )
    hint = f"Next: `fssbench show {benchmark.id}`"
    return resolve_variant(built_in, built_in.id, wanted, hint=hint)


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
        origin="images of the user"
        if cls.home is not None
        else f"data set plugin {DATASETS.plugin(name).origin}",
        pitfalls=("not one of the ten benchmarks: there is no published figure to compare with",),
    )
