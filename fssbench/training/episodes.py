"""The training set of a benchmark and the stream of training episodes that is drawn from it.

An episode is a pure function of (seed, benchmark, fold, shot, step, slot) and the items of its class:
a Philox block whose key comes from the first four and whose counter comes from the other two, as in
`fssbench.episodes.sampling`.  So any number of processes, and any resumed process, draws the same episodes.

A tenth of the images, chosen by a hash of their names, is held out of training for validation.  No image is held out
of a class that would then have too few.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fssbench.benchmarks.catalogue import find_benchmark
from fssbench.contracts.benchmarks import Resolved, Source
from fssbench.contracts.datasets import Dataset, Entry, Pool
from fssbench.contracts.episodes import Episode
from fssbench.contracts.marks import Mark, MarkKind
from fssbench.data import location
from fssbench.data.picture_names import find_same_pictures
from fssbench.data.populations import find_pool_marks, make_own_data_mark
from fssbench.episodes.sampling import list_classes, list_pool, shuffle_items
from fssbench.errors import DataError, ListError, UsageError
from fssbench.plural import join_some

STREAM = "train/1"
"""Version of the stream; part of every training's identity."""
HELD_OUT = 0.1
"""Share of images that is held out."""
ATTEMPTS = 16
"""Number of draws per slot, after which an error reports that the class has no pixels."""

Items = Mapping[int, Sequence[str]]
"""Item ids by class, sorted."""


@dataclass(frozen=True)
class TrainingSet:
    """The images for training and for validation, by class."""

    benchmark: str
    """Benchmark id with its variant."""
    dataset: Dataset
    split: str
    classes: dict[int, str]
    """Names by class id."""
    training: Items
    held_out: Items
    """Items of the same classes; a class with few images may have none."""
    lists: str
    """Source of the item lists."""
    marks: tuple[Mark, ...]
    """Differences from the published training set."""
    present: Mapping[str, tuple[int, ...]]
    """All classes that the lists name in an image, also those that are not trained."""
    left_out: int = 0
    """Number of images of these classes that are left out because their pictures are tested."""

    @property
    def items(self) -> list[str]:
        """Every image once, held-out ones included."""
        return sorted(
            {i for part in (self.training, self.held_out) for names in part.values() for i in names}
        )

    @property
    def pairs(self) -> int:
        """Number of image-class pairs to train on; one epoch visits each once."""
        return sum(map(len, self.training.values()))


def is_held_out(item: str) -> bool:
    """Return whether an image is held out for validation; this depends only on its id."""
    first = hashlib.sha256(f"{STREAM}|{item}".encode()).digest()[:8]
    return int.from_bytes(first, "big") < HELD_OUT * 2**64


def collect_training_set(
    benchmark: str | Path | Resolved,
    *,
    fold: int = 0,
    shot: int = 1,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    without_novel: bool = False,
) -> TrainingSet:
    """Collect the training set of a benchmark.

    Images of the source's own validation and test lists are left out, even if another list names them.

    Args:
        benchmark: id or file; it decides data set, split and classes.
        fold: fold of the benchmark.
        shot: supports per episode.
        data: folder of the data sets.
        splits: folder of reference lists.
        without_novel: whether images that also show a test class of this fold are left out, and with them the
            classes that then have too few images.  By default such images are used, with that class as background.

    Raises:
        UsageError: for an unknown benchmark, fold or shot.
        DataError: if the data are missing or a class has too few images for an episode.
    """
    resolved = find_benchmark(benchmark)
    if not 0 <= fold < len(resolved.folds):
        raise UsageError(
            f"benchmark {resolved.id} has no fold {fold}: its folds are 0 to {len(resolved.folds) - 1}. "
            f"Next: `fssbench show {resolved.name}`"
        )
    if shot < 1:
        raise UsageError(f"{shot} shots are not possible: an episode needs at least one support")
    source = resolved.trained_on
    root = location.find_data_folder_of(source.dataset, data)
    variant = resolved.dataset_variant if source.dataset == resolved.benchmark.target else None
    dataset = location.open_dataset(source.dataset, data=root, splits=splits, variant=variant)
    named = list_classes(dataset)
    wanted = sorted(named) if source.folds is None else [c for c in source.folds[fold] if c in named]
    pool = list_pool(dataset, source.split)
    candidates = pool.of_classes(tuple(wanted))
    tested = _find_tested_items(dataset, candidates, source, resolved, data, splits)
    unwanted = tested | (
        _find_items_with_test_classes(pool, dataset, resolved, fold) if without_novel else frozenset()
    )
    entries = [e for e in candidates if e.item not in unwanted]
    if without_novel:
        wanted = _list_classes_with_enough_images(entries, shot)
        entries = [e for e in entries if e.class_id in wanted]
    held_out = _select_held_out(dataset, entries, shot)
    training = TrainingSet(
        benchmark=resolved.id,
        dataset=dataset,
        split=source.split,
        classes={c: named[c] for c in wanted},
        training=_group_items_by_class([e for e in entries if e.item not in held_out], wanted),
        held_out=_group_items_by_class([e for e in entries if e.item in held_out], wanted),
        lists=pool.source,
        marks=_make_marks(dataset, root, pool, wanted),
        present=_group_classes_by_item(pool),
        left_out=len(tested),
    )
    _require_enough_images(training, fold, shot)
    return training


def _find_tested_items(
    dataset: Dataset,
    candidates: Sequence[Entry],
    source: Source,
    resolved: Resolved,
    data: str | Path | None,
    splits: str | Path | None,
) -> frozenset[str]:
    """Find the candidates whose pictures are used for validation or test, under any name.

    Such pictures are in other lists of the source data set, or in the test list of another data set.
    """
    items = {e.item for e in candidates}
    target, split = resolved.benchmark.target, resolved.benchmark.split
    places = [(dataset, each) for each in sorted({"val", "test"} - {source.split})]
    if target == dataset.card.name:
        places += [(dataset, split)] if split not in {"val", "test", source.split} else []
    else:
        with suppress(DataError):  # a training does not need the target data set
            root, variant = location.find_data_folder_of(target, data), resolved.dataset_variant
            if not location.is_miniature(root):  # data sets of a miniature have no common picture
                places.append(
                    (location.open_dataset(target, data=root, splits=splits, variant=variant), split)
                )
    tested: frozenset[str] = frozenset()
    for other, each in places:
        try:
            others = {e.item for e in list_pool(other, each).entries}
        except ListError:
            raise  # the list may name images of this training
        except (UsageError, DataError):
            continue  # there is no such split, or none of its files is here, so no image must be left out
        tested |= find_same_pictures(dataset, items, other, others)
    return tested


def _find_items_with_test_classes(
    pool: Pool, dataset: Dataset, resolved: Resolved, fold: int
) -> frozenset[str]:
    """Find the images of the source that show a test class of the fold, under any name."""
    if dataset.card.name != resolved.benchmark.target:
        return frozenset()
    test_classes = set(resolved.folds[fold])
    showing = {e.item for e in pool.entries if e.class_id in test_classes}
    return find_same_pictures(dataset, {e.item for e in pool.entries}, dataset, showing)


def _list_classes_with_enough_images(entries: Sequence[Entry], shot: int) -> list[int]:
    """List the ids of the classes that have enough images for an episode."""
    return sorted(class_id for class_id, count in _count_images(entries).items() if count > shot)


def _count_images(entries: Sequence[Entry]) -> Counter[int]:
    """Count the images of each class, each image once."""
    return Counter(class_id for class_id, _ in {(e.class_id, e.item) for e in entries})


def _select_held_out(dataset: Dataset, entries: Sequence[Entry], shot: int) -> frozenset[str]:
    """Select the images that are held out for validation.

    No image is held out of a class that would then have too few.  A picture that is used for training under another
    name is not held out either.
    """
    items = {e.item for e in entries}
    held_out = {item for item in items if is_held_out(item)}
    held_out -= find_same_pictures(dataset, held_out, dataset, items - held_out)
    remaining_counts = _count_images([e for e in entries if e.item not in held_out])
    return frozenset(held_out - {e.item for e in entries if remaining_counts[e.class_id] <= shot})


def _group_items_by_class(entries: Sequence[Entry], classes: Sequence[int]) -> dict[int, list[str]]:
    items: dict[int, set[str]] = {c: set() for c in classes}
    for entry in entries:
        items[entry.class_id].add(entry.item)
    return {c: sorted(names) for c, names in items.items()}


def _group_classes_by_item(pool: Pool) -> dict[str, tuple[int, ...]]:
    classes: dict[str, set[int]] = {}
    for entry in pool.entries:
        classes.setdefault(entry.item, set()).add(entry.class_id)
    return {item: tuple(sorted(ids)) for item, ids in classes.items()}


def _require_enough_images(training: TrainingSet, fold: int, shot: int) -> None:
    """Refuse a training set with a class that has too few images for one episode."""
    short = [
        f"{training.classes[c]} ({len(names)})"
        for c, names in training.training.items()
        if len(names) <= shot
    ]
    if short or not training.classes:
        shown = join_some(short, 8)
        raise DataError(
            f"training for {training.benchmark} fold {fold} is not possible at {shot} shots: {len(short)} of "
            f"{len(training.classes)} classes have fewer than the {shot + 1} images that an episode needs"
            f"{': ' + shown if shown else ''}. Next: `fssbench data verify {training.dataset.card.name}`"
        )


def _make_marks(dataset: Dataset, root: Path | None, pool: Pool, classes: Sequence[int]) -> tuple[Mark, ...]:
    """Return the marks of a training set that is not the published one, by the same rule as for a run."""
    if dataset.home is not None:
        return (make_own_data_mark(dataset, pool),)
    return (Mark(MarkKind.MINIATURE),) if location.is_miniature(root) else find_pool_marks(pool, classes)


class EpisodeStream:
    """Training episodes by step and slot.

    Args:
        items: training items by class.
        shot: supports per episode.
        name: identifies the stream: seed, benchmark, fold.
        draw: `classes`: each class is equally likely; `pairs`: each image-class pair is equally likely, as in the
            reference samplers of PASCAL-5i, so that the few images of a rare class are not repeated often.
        invert: share of the episodes in which object and background are exchanged.
    """

    def __init__(
        self,
        items: Items,
        shot: int,
        name: str,
        *,
        draw: Literal["classes", "pairs"] = "classes",
        invert: float = 0.0,
    ) -> None:
        self._items = dict(items)
        self._classes = [
            str(c) for c, names in sorted(items.items()) for _ in range(len(names) if draw == "pairs" else 1)
        ]
        self._shot = shot
        self.invert = invert
        self._key = _key(f"{name}|{shot}")

    def episode(self, step: int, slot: int, attempt: int = 0) -> Episode:
        """Draw the episode of one slot of a step's batch.

        Args:
            step: optimiser step, from 0.
            slot: place in the batch of all processes, from 0; becomes the episode's index.
            attempt: number of the draw; later draws take other images of the same class.
        """
        (class_id,) = shuffle_items(self._classes, 1, self._words(step, slot, 0))
        names = self._items[int(class_id)]
        query, *supports = shuffle_items(names, self._shot + 1, self._words(step, slot, attempt + 1))
        return Episode(slot, int(class_id), query, tuple(supports))

    def inverted(self, step: int, slot: int) -> bool:
        """Return whether object and background are exchanged in this episode, in supports and query."""
        return int(self._words(step, slot, ATTEMPTS + 1)()) < self.invert * 2**64

    def _words(self, step: int, slot: int, draw: int) -> Callable[[], int]:
        # the lowest word counts within one block, so two draws never share words
        counter = np.array([0, draw, slot, step], dtype=np.uint64)
        return np.random.Philox(counter=counter, key=self._key).random_raw


def draw_validation_episodes(training: TrainingSet, shot: int, count: int) -> tuple[Episode, ...]:
    """Draw validation episodes of the training classes from held-out images.

    If a class has too few held-out images, its supports are training images.  The episodes do not depend on the
    seed, so all trainings are validated on the same ones.

    Returns:
        `count` episodes, in which classes take turns; none if no image is held out.
    """
    classes = [c for c, names in training.held_out.items() if names]
    key = _key(f"validation|{shot}")
    episodes = []
    for index in range(count if classes else 0):
        class_id = classes[index % len(classes)]
        words = np.random.Philox(counter=np.array([0, 0, 0, index], dtype=np.uint64), key=key).random_raw
        (query,) = shuffle_items(training.held_out[class_id], 1, words)
        others = [name for name in training.held_out[class_id] if name != query]
        if len(others) < shot:
            others += training.training[class_id]
        episodes.append(Episode(index, class_id, query, tuple(shuffle_items(others, shot, words))))
    return tuple(episodes)


def _key(name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    digest = hashlib.sha256(f"{STREAM}|{name}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
