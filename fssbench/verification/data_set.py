"""Verification of a data set: its own `verify`, and checks that are the same for every data set.

A data set without a usable pair fails, and so does one that `run` refuses.  These rules are here and not in the
data sets, so that they also hold for plugins, and so that `verify` and `run` agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from fssbench.benchmarks.catalogue import Resolved, find_benchmarks_on
from fssbench.contracts.datasets import Dataset, Finding, FindingLevel, Pool, Verification
from fssbench.contracts.episodes import Episode
from fssbench.data.reader import Reader, judges_files
from fssbench.episodes.sampling import (
    LEAST,
    count_few_items,
    list_pool,
    list_suggestions,
    name_fold_classes,
)
from fssbench.errors import DataError, FssbenchError, PluginError
from fssbench.images.judgements import DOUBTS
from fssbench.plugins.calls import plugin_call
from fssbench.plural import describe_count, join_some

_SHOWN = 8


def verify_dataset(dataset: Dataset) -> Verification:
    """Check every file of a data set, and whether episodes can be drawn from it.

    Raises:
        DataError: if the data set has no folder.
        PluginError: if the plugin's `verify` raises anything else, or returns no `Verification`.
    """
    name = dataset.card.name
    with plugin_call(f"data set {name!r}: verify fails:"):
        report = dataset.verify()
    if not isinstance(report, Verification):
        raise PluginError(
            f"`verify` of data set {name!r} returned {type(report).__name__}, but must return a Verification. "
            f"Next: `fssbench check {name}`"
        )
    if report.ok and not judges_files(dataset):  # otherwise the findings already name each file
        report.findings += _find_unreadable_entries(dataset)
    lacking = [*_find_missing_files(report), *_find_refusals(dataset, report)]
    if lacking or not report.ok:
        report.findings += [*_find_misplaced_folders(dataset, report), *lacking]
    return report


def _find_unreadable_entries(dataset: Dataset) -> Iterator[Finding]:
    """Read each tested entry as `run` does, and yield the errors and doubts."""
    reader = Reader(dataset)
    for split in sorted({resolved.benchmark.split for resolved in _list_benchmarks_on(dataset)}):
        try:
            entries = list_pool(dataset, split).entries
        except FssbenchError:
            return  # `_find_refusals` reports it
        for entry in entries:
            try:
                doubts = reader.doubts(Episode(0, entry.class_id, entry.item, ()))
            except FssbenchError as error:
                problem, _, remedy = str(error).partition(" Next: ")
                yield Finding(FindingLevel.ERROR, entry.item, problem, remedy or "`run` refuses it")
                continue
            for kind in doubts:
                yield Finding(
                    FindingLevel.WARNING,
                    entry.item,
                    DOUBTS[kind],
                    "look at the pair; episodes with it are marked",
                )


def _find_missing_files(report: Verification) -> Iterator[Finding]:
    """Yield a finding if there are no files, or no usable ones."""
    if report.images == 0 or report.masks == 0:
        what = "image" if report.images == 0 else "mask"
        both = " and no readable mask" if report.images == report.masks == 0 else ""
        remedy = "get the data set from its owner again, or give another folder with --data"
        yield Finding(FindingLevel.ERROR, ".", f"the folder holds no readable {what}{both}", remedy)
    elif report.ok and report.histogram and not any(report.histogram.values()):
        yield Finding(
            FindingLevel.ERROR,
            ".",
            "no image has a usable mask, so no episode can be drawn",
            "see the other findings",
        )


def _find_refusals(dataset: Dataset, report: Verification) -> Iterator[Finding]:
    """Yield the benchmarks that `run` would refuse for lack of images, split by split."""
    refused: dict[str, tuple[dict[str, int], list[str]]] = {}
    for resolved in _list_benchmarks_on(dataset):
        split = resolved.benchmark.split
        try:
            pool = list_pool(dataset, split)
        except DataError as error:
            if report.ok:  # otherwise the findings already name each file
                problem, _, remedy = str(error).partition(" Next: ")
                yield Finding(
                    FindingLevel.ERROR,
                    ".",
                    f"split {split!r} cannot be listed: {problem}",
                    remedy or "see above",
                )
            return
        for fold, few, problem in find_refused_folds(dataset, resolved, pool):
            if problem:
                yield Finding(FindingLevel.ERROR, ".", problem, "get the images of these classes")
            else:
                counts, tests = refused.setdefault(split, ({}, []))
                counts.update(few)
                tests.append(f"{resolved.id} fold {fold}")
    for split, (counts, tests) in refused.items():
        yield Finding(
            FindingLevel.ERROR,
            ".",
            f"{describe_count(len(counts), 'class', 'classes')} of split {split!r} with fewer than {LEAST} images "
            f"with a mask: {name_few_classes(counts)}. "
            f"`run` refuses {', '.join(tests[:_SHOWN])}{' ...' if len(tests) > _SHOWN else ''}",
            "get the images and masks of these classes",
        )


def find_refused_folds(
    dataset: Dataset, resolved: Resolved, pool: Pool
) -> Iterator[tuple[int, dict[str, int], str]]:
    """Yield the folds of a benchmark that `run` refuses: fold, classes with too few images, or another problem."""
    for fold in range(len(resolved.folds)):
        try:
            named = name_fold_classes(dataset, resolved, fold)
        except DataError as error:
            yield fold, {}, str(error).partition(" Next: ")[0]
            continue
        few = count_few_items(pool.of_classes(tuple(named)), named)
        if few:
            yield fold, few, ""


def name_few_classes(counts: dict[str, int]) -> str:
    """Name classes with their numbers of images; many are cut short."""
    return join_some((f"{name} ({count})" for name, count in counts.items()), _SHOWN)


def _list_benchmarks_on(dataset: Dataset) -> list[Resolved]:
    """List the benchmarks that test on a data set; none for a plugin that is not a benchmark by itself."""
    try:
        return find_benchmarks_on(dataset.card.name, dataset.variant)
    except FssbenchError:
        return []


def _find_misplaced_folders(dataset: Dataset, report: Verification) -> Iterator[Finding]:
    """Yield folders that may hold the missing files: nested archives, other spellings."""
    for folder, meant in list_suggestions(dataset):
        try:
            path = str(folder.relative_to(report.root))
        except ValueError:  # a plugin may report another root
            path = str(folder)
        yield Finding(
            FindingLevel.ERROR, path, "this folder is not read, but may hold the missing files", meant
        )
