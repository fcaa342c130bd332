"""Reads a benchmark from a TOML file.  `docs/benchmarks.md` describes the keys.

The file is checked in three steps: its form (keys, types, ranges), its names (data sets, variants, classes), and what
would make its figures wrong: a fold that tests a class on which its source was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from fssbench.benchmarks.class_lists import ClassNames, find_leaks, parse_classes
from fssbench.benchmarks.definition import (
    FORMAT,
    METER,
    RESIZE,
    describe_meter,
    describe_resize,
    explain_fold_counts,
)
from fssbench.benchmarks.toml_tables import Id, Line, Table, read_table
from fssbench.contracts.arguments import Shot, Side
from fssbench.contracts.benchmarks import (
    PROTOCOLS,
    Benchmark,
    Folds,
    Resolved,
    Sampler,
    ScoreSize,
    Source,
    Variant,
)
from fssbench.contracts.limits import LARGEST_PLAN
from fssbench.contracts.records import Items
from fssbench.errors import UsageError, make_unknown_error
from fssbench.plugins.registry import DATASETS

START = "Next: `fssbench show pascal5i --toml` prints a complete file to start from"


def _read_class_lists(value: Any) -> Any:
    """Accept a word, or a list with one list of class ids or names per fold."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list with one list of classes per fold, such as [[0, 1], [2, 3]]")
    for fold in value:
        if not isinstance(fold, list) or not all(type(each) in (int, str) for each in fold):
            raise ValueError(
                'must have one list of class ids or names per fold, such as [[0, 1], ["cat", "dog"]]'
            )
    return value


ClassLists = Annotated[Any, PlainValidator(_read_class_lists)]


class SourceTable(Table):
    """The keys of `[source]`, and of the source of a variant."""

    dataset: Line
    split: Line = "trn"
    folds: ClassLists
    title: Line | None = None


class TargetTable(Table):
    """The keys of `[target]`."""

    dataset: Line
    dataset_variant: Line | None = None
    split: Line
    folds: ClassLists
    seen: ClassLists = None


class VariantTable(Table):
    """The keys of each `[[variants]]`."""

    name: Id
    title: Line
    dataset_variant: Line | None = None
    folds: ClassLists = None
    seen: ClassLists = None
    source: SourceTable | None = None


class BenchmarkFile(Table):
    """The keys of a benchmark file."""

    format: str
    id: Id
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    title: Line
    origin: Line = "a benchmark file"
    shots: Annotated[Items[Shot], Field(min_length=1)]
    episodes: Annotated[int, Field(ge=1, le=LARGEST_PLAN)]
    size: Side = 400
    sampler: Sampler = "round-robin"
    absent: Literal["zero", "exclude"] = "exclude"
    protocol: Literal["published", "fssbench", "published/1", "fssbench/1"] = "published"
    score_size: ScoreSize = "input"
    resize: Literal["square"] = RESIZE
    meter: Literal["sum"] = METER
    pitfalls: Items[Line] = ()
    source: SourceTable
    target: TargetTable
    variants: Items[VariantTable] = ()


def read_benchmark_file(path: Path) -> Benchmark:
    """Read and check a benchmark file.

    Raises:
        DataError: if the file cannot be read.
        UsageError: if it does not define a benchmark; the message names the key and its value.
        PluginError: if a data set plugin does not load or cannot name its classes.
    """
    table = read_table(path, BenchmarkFile, FORMAT, START)
    try:
        return _make_benchmark(table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _make_benchmark(table: BenchmarkFile) -> Benchmark:
    """Replace the names of a file by ids, and check that no fold tests a class of its training."""
    target = table.target
    if len(set(table.shots)) < len(table.shots):
        raise UsageError(f"key shots is {list(table.shots)}, but must name each shot once. {START}")
    classes = _name_classes(target.dataset, target.dataset_variant, "target")
    folds = parse_classes(target.folds, classes, "target.folds")
    seen = _parse_seen(target.seen, classes, "target.seen", folds)
    source = _make_source(table.source, "source", target.dataset, folds)
    benchmark = Benchmark(
        id=table.id,
        version=table.version,
        title=table.title,
        category="custom",
        source=table.source.title or _describe_source(source),
        trained_on=source,
        target=target.dataset,
        dataset_variant=target.dataset_variant,
        split=target.split,
        folds=folds,
        seen=seen,
        shots=table.shots,
        episodes=table.episodes,
        size=table.size,
        sampler=table.sampler,
        absent=table.absent,
        protocol=PROTOCOLS.get(table.protocol, table.protocol),
        score_size=table.score_size,
        variants=tuple(_make_variant(each, n, table, folds, source) for n, each in enumerate(table.variants)),
        resize=describe_resize(table.score_size),
        meter=describe_meter(table.absent),
        origin=table.origin,
        pitfalls=table.pitfalls,
    )
    names = [variant.name for variant in benchmark.variants]
    if len(set(names)) < len(names):
        raise UsageError(f"two variants have one name: {', '.join(names)}. Next: give each a name of its own")
    for variant in benchmark.variants or (None,):
        where = f"variant {variant.name}: " if variant else ""
        resolved = Resolved(id=benchmark.id, benchmark=benchmark, variant=variant)
        fault = explain_fold_counts(resolved) or next(find_leaks(resolved), "")
        if fault:
            raise UsageError(f"{where}{fault}")
    return benchmark


def _make_variant(
    table: VariantTable, number: int, file: BenchmarkFile, usual: Folds, usual_source: Source
) -> Variant:
    """Make a variant; `all` and `others` in the source of the file mean the folds of the variant."""
    place = f"variants.{number}"
    dataset = file.target.dataset
    classes = _name_classes(dataset, table.dataset_variant or file.target.dataset_variant, place)
    folds = None if table.folds is None else parse_classes(table.folds, classes, f"{place}.folds")
    tested = folds or usual
    source = _make_source(table.source or file.source, place if table.source else "source", dataset, tested)
    return Variant(
        name=table.name,
        title=table.title,
        dataset_variant=table.dataset_variant,
        folds=folds,
        seen=_parse_seen(table.seen, classes, f"{place}.seen", tested),
        trained_on=None if table.source is None and source == usual_source else source,
    )


def _make_source(table: SourceTable, place: str, target: str, tested: Folds) -> Source:
    """Make the source of a file.  `others` are for each fold the classes that the other folds test."""
    folds: Folds | None
    if table.folds == "others":
        if table.dataset != target:
            raise UsageError(
                f"key {place}.folds is 'others', which means the classes of the other folds of {target!r}, but the "
                f'source is {table.dataset!r}. Next: write "all", or one list of training classes per fold'
            )
        folds = list_other_classes(tested)
    elif table.folds == "all":
        names = _name_classes(table.dataset, None, place).names  # unknown without the files of some data sets
        folds = (tuple(names),) * len(tested) if names else None
    else:
        folds = parse_classes(table.folds, _name_classes(table.dataset, None, place), f"{place}.folds")
    return Source(dataset=table.dataset, split=table.split, folds=folds)


def list_other_classes(folds: Folds) -> Folds:
    """For each fold, list the classes of all other folds: the training classes of one data set."""
    every = sorted({c for fold in folds for c in fold})
    return tuple(tuple(c for c in every if c not in fold) for fold in folds)


def _parse_seen(value: Any, classes: ClassNames, place: str, tested: Folds) -> Folds | None:
    """Read the test classes that are known to be trained on; a fold may have none."""
    if value is None:
        return None
    seen = parse_classes(value, classes, place, may_be_empty=True)
    if len(seen) != len(tested) or any(set(s) - set(t) for s, t in zip(seen, tested, strict=True)):
        raise UsageError(
            f"key {place} is {value!r}, but must list, for each of the {len(tested)} folds, test classes of that fold. "
            "Next: write one list per fold, which may be empty"
        )
    return seen


def _name_classes(dataset: str, variant: str | None, place: str) -> ClassNames:
    """Look up the classes of a data set.

    Raises:
        UsageError: if there is no such data set or variant.
    """
    if dataset not in DATASETS.names():
        raise make_unknown_error(
            f"data set of {place}", dataset, DATASETS.names(), hint="Next: `fssbench list datasets`"
        )
    try:
        return ClassNames.of_dataset(dataset, variant)
    except UsageError as error:  # the data set has no such variant
        raise UsageError(
            f"{str(error).rstrip('.')}. Next: `fssbench show {dataset}` lists its variants"
        ) from None


def _describe_source(source: Source) -> str:
    if source.folds is None:
        return f"all classes of {source.dataset}, split {source.split}"
    counts = sorted({len(fold) for fold in source.folds})
    numbers = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{numbers} classes of {source.dataset}, split {source.split}, for each fold"
