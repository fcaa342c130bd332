"""Draws the episodes of a plan by its protocol, from names alone, before any image is opened.

`published` replays the samplers of the reference repositories draw by draw.  They draw every item
with NumPy's legacy global generator and seed 0, so the whole stream depends on the order and length of the lists:
one file more or fewer changes all episodes after the first draw from its list.  fssbench uses a private
generator, so no plugin can change it.

`fssbench` makes an episode a pure function of (seed, benchmark, fold, shot, index) and the items of the
class: a Philox block whose key comes from the first four and whose counter is the index.  Only raw 64-bit words are
taken from NumPy, because their streams never change; `shuffle_items` turns them into choices.

`fssbench.episodes.plan_file` reads and writes plans.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.contracts.arguments import check_arguments
from fssbench.contracts.benchmarks import PROTOCOLS, Benchmark, Resolved, Sampler, name_stream
from fssbench.contracts.datasets import Dataset, Entry, Pool
from fssbench.contracts.episodes import Episode, Plan, make_sets_mark
from fssbench.contracts.limits import LARGEST_SHOT, LARGEST_SIDE, SMALLEST_SIDE
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data import location as datasets
from fssbench.data.populations import find_pool_marks, make_own_data_mark
from fssbench.episodes.plan_file import read_plan, write_plan
from fssbench.errors import DataError, PluginError, UsageError, make_unknown_error
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import load_plugins
from fssbench.plural import join_some

__all__ = ["PROTOCOLS", "plan", "read_plan", "write_plan"]

T = TypeVar("T")

MINI_SIZE = 192
"""Input side on miniature data if none is named: what the shipped checkpoints were trained at."""
LEAST = 2
"""Number of images that a class needs for protocol `published`: a query and one support, which may be drawn again."""

SETS_STREAM = "support sets/1"
"""Name and version of the rule that draws further support sets."""
MOST_SETS = 1000
"""Largest number of support sets per query."""

Row = tuple[int, str, tuple[str, ...]]
"""Class id, query, supports."""


@check_arguments
def plan(
    benchmark: str | Path | Resolved,
    *,
    fold: int = 0,
    shot: int = 1,
    protocol: str | None = None,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    seed: int = 0,
    episodes: int | None = None,
    size: int | None = None,
    supports: int = 1,
    plugins: str | Path | Sequence[str | Path] = (),
) -> Plan:
    """Draw the episodes of one benchmark, fold and shot.

    Args:
        benchmark: benchmark id, with a variant if wanted: `pascal5i`, `coco20i:contiguous`; or a benchmark file, such
            as `skin.toml`.
        fold: fold of the benchmark, from 0.
        shot: supports per episode.
        protocol: `published` (the reference streams) or `fssbench` (counter-based, distinct supports); None for that
            of the benchmark, which is `published` for all that are built in.
        data: folder of all data sets, `mini`, or None for `FSSBENCH_DATA`.
        splits: folder of reference list files; with it, no data is needed to make a plan.
        seed: seed of the draws; the published one is 0.
        episodes: number of episodes, if only the first ones are wanted; the plan is then marked.
        size: side of the square network input in pixels; None for that of the benchmark, or `MINI_SIZE` on miniature
            data, as in `fssbench run`.  A plan of another size than the benchmark's is marked.
        supports: support sets per query.  With several, each episode is followed by others of its query, and `episodes`
            counts queries; the plan is then marked.
        plugins: plugin files, folders or modules to load first, such as one with the data set.

    Returns:
        The plan; `plan.sha256` is the hash of its episodes.

    Raises:
        UsageError: for a benchmark, fold, shot, protocol, seed or cap that does not exist.
        DataError: if files or lists are missing, or a class has too few items to draw from.
        PluginError: if the plugin of the data set does not load or breaks its contract.

    Example:
        >>> drawn = plan("pascal-to-chestxray", shot=5, data="mini")
        >>> len(drawn), drawn.marks
        (600, ('miniature', 'resized (192 px, published: 400)'))
    """
    load_plugins(plugins)
    resolved = find_benchmark(benchmark)
    protocol = protocol or resolved.benchmark.protocol.partition("/")[0]
    _check_request(resolved, fold, shot, protocol, seed, episodes)
    if not 1 <= supports <= MOST_SETS:
        raise UsageError(f"{supports} support sets per query are not possible: 1 to {MOST_SETS} are")
    if size is not None and size < SMALLEST_SIDE:
        raise UsageError(
            f"size {size} is too small: the network input needs at least {SMALLEST_SIDE} pixels per side"
        )
    if size is not None and size > LARGEST_SIDE:
        raise UsageError(
            f"size {size} is too large: the network input has at most {LARGEST_SIDE} pixels per side"
        )
    record = resolved.benchmark
    root = datasets.find_data_folder_of(record.target, data)
    side = size or choose_size(record, root)
    dataset = datasets.open_dataset(record.target, data=root, splits=splits, variant=resolved.dataset_variant)
    try:
        pool = list_pool(dataset, record.split)
        names = name_fold_classes(dataset, resolved, fold)
        entries = pool.of_classes(tuple(names))
        _check_counts(entries, names, shot, f"{resolved.id} fold {fold}", record.target, protocol)
    except DataError as error:
        meant = " ".join(text for _, text in list_suggestions(dataset))
        raise type(error)(f"{str(error).rstrip('.')}. {meant}" if meant else str(error)) from None
    if protocol == "published":
        rows = _draw_published(entries, record.sampler, record.episodes, shot, np.random.RandomState(seed))
    else:
        rows = _draw_counted(
            entries, record.episodes, shot, f"{seed}|{name_stream(resolved.id)}|{fold}|{shot}"
        )
    drawn = tuple(Episode(i, *row) for i, row in enumerate(rows))
    full = Plan(
        benchmark=resolved.id,
        version=record.version,
        dataset=record.target,
        dataset_variant=dataset.variant,
        split=record.split,
        fold=fold,
        shot=shot,
        protocol=PROTOCOLS[protocol],
        seed=seed,
        size=side,
        classes=tuple(names),
        class_names=tuple(names.values()),
        lists=pool.source,
        marks=(
            *_make_marks(dataset, root, pool, tuple(names), len(resolved.folds[fold])),
            *((make_size_mark(resolved, side),) if side != record.size else ()),
        ),
        episodes=drawn,
        data=root,
        splits=Path(splits) if splits is not None else None,
        definition=resolved.definition,
    )
    drawn_plan = full if episodes is None else full.head(episodes)
    return drawn_plan if supports == 1 else add_support_sets(drawn_plan, entries, supports)


def add_support_sets(base: Plan, entries: Sequence[Entry], sets: int) -> Plan:
    """Ask each query of a plan with further support sets, which depend on seed, place, protocol, index and set alone.

    The first set of a query is that of the plan.  The others are drawn by the rule of its protocol, from the same
    items, so all sets of a query have one distribution.  A plan with fewer sets holds the first ones of a plan with
    more.

    Args:
        base: the plan with one set per query.
        entries: the entries that it was drawn from.
        sets: sets per query.
    """
    groups = _group_by_class(entries)
    distinct = base.protocol == PROTOCOLS["fssbench"]
    items = {c: sorted(set(names)) if distinct else names for c, names in groups.items()}
    name = f"{SETS_STREAM}|{base.protocol}|{base.seed}|{name_stream(base.benchmark)}|{base.fold}|{base.shot}"
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8").astype(np.uint64)
    episodes: list[Episode] = []
    for first in base:
        others = [item for item in items[first.class_id] if item != first.query]
        for number in range(sets):
            # the set is the third word of the counter and the index the fourth, so two sets never share words
            words = np.random.Philox(counter=np.array([0, 0, number, first.index], dtype=np.uint64), key=key)
            if number == 0:
                supports = first.supports
            elif distinct:
                supports = tuple(shuffle_items(others, base.shot, words.random_raw))
            else:
                supports = tuple(shuffle_items(others, 1, words.random_raw)[0] for _ in range(base.shot))
            episodes.append(Episode(len(episodes), first.class_id, first.query, supports))
    return replace(
        base, episodes=tuple(episodes), support_sets=sets, marks=(*base.marks, make_sets_mark(sets))
    )


def choose_size(benchmark: Benchmark, root: Path | None) -> int:
    """Choose the input side of a plan for which none is named: that of the benchmark, or `MINI_SIZE` on a miniature."""
    return MINI_SIZE if datasets.is_miniature(root) else benchmark.size


def make_size_mark(resolved: Resolved, size: int) -> Mark:
    """Make the mark of a plan whose input size is not that of its benchmark."""
    origin = "defined" if resolved.is_own else "published"
    return Mark(MarkKind.RESIZED, f"{size} px, {origin}: {resolved.benchmark.size}")


def _draw_published(
    entries: Sequence[Entry], sampler: Sampler, count: int, shot: int, state: np.random.RandomState
) -> Iterator[Row]:
    """Draw episodes one after another, as the reference samplers do.

    Every draw is the first element of a permutation of the whole list, which is what
    `choice(list, 1, replace=False)` of the legacy generator takes.  A support is drawn again only
    if it is the query, so one image may occur twice among five supports.
    """
    items = _group_by_class(entries)
    if sampler == "walk-numbered":
        items = {c: sorted(names, key=_split_numbers) for c, names in items.items()}
    classes = list(items)

    def take(population: Sequence[T]) -> T:
        return population[int(state.permutation(len(population))[0])]

    for index in range(count):
        if sampler == "class":
            class_id = take(classes)
            query = take(items[class_id])
        elif sampler == "round-robin":
            class_id = classes[index % len(classes)]
            query = take(items[class_id])
        else:
            entry = entries[index % len(entries)]
            class_id, query = entry.class_id, entry.item
        supports: list[str] = []
        while len(supports) < shot:
            support = take(items[class_id])
            if support != query:
                supports.append(support)
        yield class_id, query, tuple(supports)


def _draw_counted(entries: Sequence[Entry], count: int, shot: int, name: str) -> Iterator[Row]:
    """Draw episodes that depend only on their name, their index and the set of items of the class.

    Classes take turns, so their counts differ by at most one.  The query and the supports are the
    first `shot + 1` items of a shuffle of the sorted items.
    """
    items = {c: sorted(set(names)) for c, names in _group_by_class(entries).items()}
    classes = list(items)
    digest = hashlib.sha256(f"{PROTOCOLS['fssbench']}|{name}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    words = np.random.Philox(key=key)
    # of a generator that has drawn nothing; a new one per episode would take twice as long
    start = words.state
    for index in range(count):
        class_id = classes[index % len(classes)]
        start["state"]["counter"][3] = index  # the top word, so two episodes never share words
        words.state = start
        query, *supports = shuffle_items(items[class_id], shot + 1, words.random_raw)
        yield class_id, query, tuple(supports)


def shuffle_items(names: Sequence[str], count: int, word: Callable[[], int]) -> list[str]:
    """Return the first `count` items of a Fisher-Yates shuffle from uniform 64-bit words, without bias."""
    moved: dict[int, int] = {}
    chosen: list[str] = []
    for i in range(count):
        remaining = len(names) - i
        fair = 2**64 - 2**64 % remaining
        value = int(word())
        while value >= fair:
            value = int(word())
        j = i + value % remaining
        chosen.append(names[moved.get(j, j)])
        moved[j] = moved.get(i, i)
    return chosen


def _group_by_class(entries: Sequence[Entry]) -> dict[int, list[str]]:
    """Group items by class: classes ascending, items in list order."""
    items: dict[int, list[str]] = {c: [] for c in sorted({e.class_id for e in entries})}
    for entry in entries:
        items[entry.class_id].append(entry.item)
    return items


def _split_numbers(item: str) -> list[str | int]:
    """Return a sort key by which `2.jpg` comes before `10.jpg`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", item)]


def _check_request(
    resolved: Resolved, fold: int, shot: int, protocol: str, seed: int, cap: int | None
) -> None:
    if protocol not in PROTOCOLS:
        raise make_unknown_error("protocol", protocol, PROTOCOLS)
    if not 0 <= fold < len(resolved.folds):
        raise UsageError(
            f"benchmark {resolved.id} has no fold {fold}: its folds are 0 to {len(resolved.folds) - 1}. "
            f"Next: `fssbench show {resolved.name}`"
        )
    if shot < 1:
        raise UsageError(
            f"{shot} shots are not possible: an episode needs at least one support (published: 1 and 5)"
        )
    if shot > LARGEST_SHOT:
        raise UsageError(f"{shot} shots are not possible: an episode has at most {LARGEST_SHOT} supports")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed {seed} is not allowed: a seed is 0 to {2**32 - 1} (published: 0)")
    if cap is not None and cap < 1:
        raise UsageError(
            f"{cap} episodes are not possible: a plan has at least one (published: {resolved.benchmark.episodes})"
        )


def list_pool(dataset: Dataset, split: str) -> Pool:
    """List a split of a data set, which may be a plugin.

    Raises:
        DataError: if files or lists are missing.
        PluginError: if the plugin raises anything else, or returns no pool.
    """
    name = dataset.card.name
    with plugin_call(f"data set {name!r} cannot list its split {split!r}:"):
        pool = dataset.pool(split)
    if not isinstance(pool, Pool):
        raise PluginError(
            f"`pool({split!r})` of data set {name!r} returned {type(pool).__name__}, but must return a Pool. "
            f"Next: `fssbench check {name}`"
        )
    return pool


def list_classes(dataset: Dataset) -> dict[int, str]:
    """Name all classes of a data set, which may be a plugin.

    Raises:
        DataError: if its files or lists are needed and missing.
        PluginError: if the plugin raises anything else.
    """
    with plugin_call(f"data set {dataset.card.name!r} cannot name its classes:"):
        return dataset.classes()


def list_suggestions(dataset: Dataset) -> list[tuple[Path, str]]:
    """List folders that may hold the missing files of a data set, each with the next step.

    Raises:
        PluginError: if the plugin raises anything.
    """
    with plugin_call(f"data set {dataset.card.name!r} cannot suggest folders:"):
        return [*dataset.suggestions()]


def name_fold_classes(dataset: Dataset, resolved: Resolved, fold: int) -> dict[int, str]:
    """Name the classes of a fold, ascending; a data set that is a part of the published one may have fewer classes.

    Raises:
        DataError: if the data set has none of them.
    """
    named = list_classes(dataset)
    names = {c: named[c] for c in sorted(resolved.folds[fold]) if c in named}
    if not names:
        raise DataError(
            f"data set {dataset.card.name!r} has none of the {len(resolved.folds[fold])} classes of "
            f"{resolved.id} fold {fold}. Next: `fssbench data verify {dataset.card.name}`"
        )
    return names


def _check_counts(
    entries: Sequence[Entry], names: dict[int, str], shot: int, what: str, target: str, protocol: str
) -> None:
    """Refuse a class with too few images before the first episode; reference code would draw forever."""
    needed = LEAST if protocol == "published" else shot + 1
    short = [f"{name} ({count})" for name, count in count_few_items(entries, names, needed).items()]
    if short:
        shown = join_some(short, 8)
        raise DataError(
            f"{what} cannot be drawn at {shot} shots: {len(short)} of {len(names)} classes have fewer than the "
            f"{needed} images that protocol {protocol!r} needs: {shown}. "
            f"Next: `fssbench data verify {target}`, or use `--data mini`"
        )


def count_few_items(entries: Sequence[Entry], names: dict[int, str], needed: int = LEAST) -> dict[str, int]:
    """Count the items of each class that has fewer items than needed, by class name."""
    items = _group_by_class(entries)
    counts = {name: len(set(items.get(c, ()))) for c, name in names.items()}
    return {name: count for name, count in counts.items() if count < needed}


def _make_marks(
    dataset: Dataset, root: Path | None, pool: Pool, classes: Sequence[int], published: int
) -> tuple[Mark, ...]:
    """List the differences from the benchmark."""
    if dataset.home is not None:
        return (make_own_data_mark(dataset, pool),)
    if datasets.is_miniature(root):
        return (Mark(MarkKind.MINIATURE),)
    marks = list(find_pool_marks(pool, classes))
    if len(classes) < published:
        marks.append(Mark(MarkKind.SAMPLE, f"{len(classes)} of {published} classes"))
    return tuple(marks)
