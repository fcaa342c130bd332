"""Checks of a benchmark on data: do the data hold what it names, and can all its episodes be drawn?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.conformance.harness import (
    Broken,
    CheckResult,
    Skipped,
    Watch,
    ignore_progress,
    require,
    run_checks,
)
from fssbench.contracts.benchmarks import Resolved
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.episodes import Plan
from fssbench.data.location import find_data_folder, open_dataset
from fssbench.episodes.sampling import count_few_items, list_classes, list_pool, plan
from fssbench.errors import DataError, FssbenchError
from fssbench.plugins.registry import DATASETS
from fssbench.plural import describe_count, join_some

_SHOWN = 5


@dataclass(frozen=True)
class _Subject:
    """A benchmark, and the folders in which its data are."""

    resolved: Resolved
    data: Path | None
    splits: Path | None

    @cached_property
    def target(self) -> Dataset:
        return self._open(self.resolved.benchmark.target, self.resolved.dataset_variant)

    @cached_property
    def source(self) -> Dataset:
        same = self.resolved.trained_on.dataset == self.resolved.benchmark.target
        return self._open(self.resolved.trained_on.dataset, self.resolved.dataset_variant if same else None)

    def _open(self, name: str, variant: str | None) -> Dataset:
        if self.data is None and self.splits is None and DATASETS.get(name).home is None:
            raise Skipped("no data folder is given: --data DIR, or FSSBENCH_DATA")
        return open_dataset(name, data=self.data, splits=self.splits, variant=variant)

    @cached_property
    def drawn(self) -> list[Plan]:
        """The plans of all folds and shots."""
        record = self.resolved.benchmark
        if self.target.card.name != record.target:  # opens the data set, which skips the check without data
            raise Broken(f"the plugin of {record.target!r} opens data set {self.target.card.name!r}")
        return [
            plan(self.resolved, fold=fold, shot=shot, data=self.data, splits=self.splits)
            for fold in range(len(self.resolved.folds))
            for shot in record.shots
        ]


def _reports_errors(check: Callable[[_Subject], None]) -> Callable[[_Subject], None]:
    """Make a check report an error of the data as its finding."""

    @wraps(check)
    def run(subject: _Subject) -> None:
        try:
            check(subject)
        except FssbenchError as error:
            raise Broken(str(error)) from None

    return run


@_reports_errors
def target_has_the_split(s: _Subject) -> None:
    """The data hold the tested data set, and its split can be listed."""
    record = s.resolved.benchmark
    pool = list_pool(s.target, record.split)
    require(bool(pool.entries), f"split {record.split!r} of {record.target!r} names no image")


@_reports_errors
def target_has_the_classes(s: _Subject) -> None:
    """The tested data set has every class of every fold."""
    named = list_classes(s.target)
    unknown = sorted({c for fold in s.resolved.folds for c in fold} - named.keys())
    require(
        not unknown, f"{s.resolved.benchmark.target!r} has no class {join_some(map(str, unknown), _SHOWN)}"
    )


@_reports_errors
def classes_have_enough_images(s: _Subject) -> None:
    """Every tested class has one image more than the largest number of shots: a query and its supports."""
    record, named = s.resolved.benchmark, list_classes(s.target)
    needed = max(record.shots) + 1
    names = {c: named[c] for fold in s.resolved.folds for c in fold if c in named}
    few = count_few_items(list_pool(s.target, record.split).of_classes(tuple(names)), names, needed)
    counts = join_some((f"{name} ({count})" for name, count in few.items()), _SHOWN)
    require(
        not few,
        f"{describe_count(len(few), 'class has', 'classes have')} fewer than {needed} images in split "
        f"{record.split!r}: {counts}",
    )


@_reports_errors
def all_episodes_are_drawn(s: _Subject) -> None:
    """The episodes of every fold and shot can be drawn."""
    record = s.resolved.benchmark
    for drawn in s.drawn:
        where = f"fold {drawn.fold} at {drawn.shot} shots"
        require(
            len(drawn) == record.episodes,
            f"{where} has {describe_count(len(drawn), 'episode')}, not {record.episodes}",
        )


@_reports_errors
def every_class_is_asked(s: _Subject) -> None:
    """Every class of a fold has an episode; mIoU is the mean over the classes."""
    for drawn in s.drawn:
        asked = {episode.class_id for episode in drawn}
        names = [n for c, n in zip(drawn.classes, drawn.class_names, strict=True) if c not in asked]
        require(
            not names,
            f"{len(names)} of {len(drawn.classes)} classes of fold {drawn.fold} have none of its {len(drawn)} "
            f"episodes: {join_some(names, _SHOWN)}. More episodes, or another sampler, ask for all",
        )


@_reports_errors
def source_has_the_classes(s: _Subject) -> None:
    """Every training class has one image more than the smallest number of shots, if the source is here."""
    source, record = s.resolved.trained_on, s.resolved.benchmark
    try:
        named, pool = list_classes(s.source), list_pool(s.source, source.split)
    except DataError as error:
        raise Skipped(f"only `fssbench train` needs the source: {error}") from None
    trained = {c for fold in source.folds for c in fold} if source.folds is not None else set(named)
    unknown = sorted(trained - named.keys())
    require(not unknown, f"{source.dataset!r} has no class {join_some(map(str, unknown), _SHOWN)}")
    names = {c: named[c] for c in sorted(trained)}
    needed = min(record.shots) + 1
    few = count_few_items(pool.of_classes(tuple(names)), names, needed)
    counts = join_some((f"{name} ({count})" for name, count in few.items()), _SHOWN)
    require(
        not few,
        f"{describe_count(len(few), 'training class has', 'training classes have')} fewer than {needed} images: "
        f"{counts}",
    )


BENCHMARK_CHECKS: tuple[Callable[[_Subject], None], ...] = (
    target_has_the_split,
    target_has_the_classes,
    classes_have_enough_images,
    all_episodes_are_drawn,
    every_class_is_asked,
    source_has_the_classes,
)


def check_benchmark(
    benchmark: str | Path | Resolved,
    *,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    watch: Watch = ignore_progress,
) -> list[CheckResult]:
    """Check a benchmark, such as one of a file, on data.

    Args:
        benchmark: benchmark id or file, with a variant if wanted.
        data: folder of all data sets, `mini`, or None for `FSSBENCH_DATA`.
        splits: folder of reference lists.
        watch: called before each check.

    Returns:
        One result per check; without data most are skipped.

    Raises:
        UsageError: if there is no such benchmark, or the file does not define one.
        DataError: if the file or the data folder cannot be read.
    """
    resolved = find_benchmark(benchmark)
    subject = _Subject(resolved, find_data_folder(data), None if splits is None else Path(splits))
    return list(run_checks(BENCHMARK_CHECKS, subject, {}, watch))
