"""What is trained on: images and classes of the source data set, and the stream of episodes from them.

An episode is a pure function of (seed, benchmark, fold, shot, step, slot) and the items of its class:
a Philox block keyed by the first four and counted by the other two, as in `fssbench.episodes.sampling`.  Any
number of processes, and any process that resumes, draws the same.

A tenth of the images, chosen by a hash of their names, is held out of training for validation, but
for classes that could not spare them.
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

from fssbench.benchmarks.catalogue import Resolved, Source, find_benchmark
from fssbench.contracts.datasets import Dataset, Entry, Pool
from fssbench.contracts.episodes import Episode
from fssbench.data import location as datasets
from fssbench.data.picture_names import same_pictures
from fssbench.data.populations import pool_marks
from fssbench.episodes.sampling import list_classes, list_pool, shuffled
from fssbench.errors import DataError, ListError, UsageError

STREAM = "train/1"
"""Version of the stream; part of every training's identity."""
HELD_OUT = 0.1
"""Share of images that is held out."""
ATTEMPTS = 16
"""Draws of one slot after which a class is said to have no pixels."""

Items = Mapping[int, Sequence[str]]
"""Item ids by class, sorted."""


@dataclass(frozen=True)
class TrainingSet:
    """The images that a training may see, by class, and those it is validated on."""

    benchmark: str
    """Benchmark id with its variant."""
    dataset: Dataset
    split: str
    classes: dict[int, str]
    """Names by class id."""
    training: Items
    held_out: Items
    """Of the same classes; a class may have none where its images are few."""
    lists: str
    """Where the item lists came from."""
    marks: tuple[str, ...]
    """What keeps it from being the published training set."""
    present: Mapping[str, tuple[int, ...]]
    """Every class that the source's lists know in an image, those not trained on among them."""
    left_out: int = 0
    """Images of these classes that are not trained on because their pictures are tested."""

    @property
    def items(self) -> list[str]:
        """Every image once, held-out ones included."""
        return sorted(
            {i for part in (self.training, self.held_out) for names in part.values() for i in names}
        )

    @property
    def pairs(self) -> int:
        """Image-class pairs to train on: what an epoch goes through."""
        return sum(map(len, self.training.values()))


def is_held_out(item: str) -> bool:
    """Whether an image is kept for validation; it depends on nothing but its id."""
    first = hashlib.sha256(f"{STREAM}|{item}".encode()).digest()[:8]
    return int.from_bytes(first, "big") < HELD_OUT * 2**64


def training_set(
    benchmark: str,
    *,
    fold: int = 0,
    shot: int = 1,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    without_novel: bool = False,
) -> TrainingSet:
    """Find what a benchmark's methods are trained on.

    Images of the source's own validation and test lists are left out, whatever else lists them.

    Args:
        benchmark: decides data set, split and classes.
        fold: fold of the benchmark.
        shot: supports an episode.
        data: folder of the data sets.
        splits: folder of reference lists.
        without_novel: whether images that also show a class this fold tests are left out (elsewhere they
            are trained on, that class as background), with classes that have too few images then.

    Raises:
        UsageError: for an unknown benchmark, fold or shot.
        DataError: where the data are missing or a class has too few images for an episode.
    """
    resolved = find_benchmark(benchmark)
    if not 0 <= fold < len(resolved.folds):
        raise UsageError(f"{resolved.id} has no fold {fold}: its folds are 0 to {len(resolved.folds) - 1}")
    if shot < 1:
        raise UsageError(f"{shot} shots: an episode needs at least one support")
    root = datasets.resolve(data)
    source = resolved.trained_on
    variant = resolved.dataset_variant if source.dataset == resolved.benchmark.target else None
    dataset = datasets.open_dataset(source.dataset, data=root, splits=splits, variant=variant)
    named = list_classes(dataset)
    wanted = sorted(named) if source.folds is None else [c for c in source.folds[fold] if c in named]
    pool = list_pool(dataset, source.split)
    candidates = pool.of_classes(tuple(wanted))
    tested = _tested(dataset, candidates, source, resolved, root, splits)
    unwanted = tested | (_showing(pool, dataset, resolved, fold) if without_novel else frozenset())
    kept = [e for e in candidates if e.item not in unwanted]
    if without_novel:
        wanted = _enough(kept, shot)
        kept = [e for e in kept if e.class_id in wanted]
    held = _held_out(dataset, kept, shot)
    found = TrainingSet(
        benchmark=resolved.id,
        dataset=dataset,
        split=source.split,
        classes={c: named[c] for c in wanted},
        training=_by_class([e for e in kept if e.item not in held], wanted),
        held_out=_by_class([e for e in kept if e.item in held], wanted),
        lists=pool.source,
        marks=_marks(root, pool, wanted),
        present=_present(pool),
        left_out=len(tested),
    )
    _check(found, fold, shot)
    return found


def _tested(
    dataset: Dataset,
    candidates: Sequence[Entry],
    source: Source,
    resolved: Resolved,
    root: Path | None,
    splits: str | Path | None,
) -> frozenset[str]:
    """Find the candidates whose pictures serve for validation or test, under whatever name.

    They stand in other lists of the source data set, or in the tested list of another data set.
    """
    items = {e.item for e in candidates}
    target, split = resolved.benchmark.target, resolved.benchmark.split
    places = [(dataset, each) for each in sorted({"val", "test"} - {source.split})]
    if target == dataset.card.name:
        places += [(dataset, split)] if split not in {"val", "test", source.split} else []
    elif not datasets.is_miniature(root):  # whose data sets have no picture in common
        with suppress(DataError):  # the target need not be here to train
            variant = resolved.dataset_variant
            places.append((datasets.open_dataset(target, data=root, splits=splits, variant=variant), split))
    tested: frozenset[str] = frozenset()
    for other, each in places:
        try:
            others = {e.item for e in list_pool(other, each).entries}
        except ListError:
            raise  # the list may name images of this training
        except (UsageError, DataError):
            continue  # no such split, or none of its files is here: nothing to keep apart
        tested |= same_pictures(dataset, items, other, others)
    return tested


def _showing(pool: Pool, dataset: Dataset, resolved: Resolved, fold: int) -> frozenset[str]:
    """Images of the source that show a class which the fold tests, under whatever name."""
    if dataset.card.name != resolved.benchmark.target:
        return frozenset()
    novel = set(resolved.folds[fold])
    showing = {e.item for e in pool.entries if e.class_id in novel}
    return same_pictures(dataset, {e.item for e in pool.entries}, dataset, showing)


def _enough(entries: Sequence[Entry], shot: int) -> list[int]:
    """Classes with images for an episode."""
    return sorted(class_id for class_id, count in _images(entries).items() if count > shot)


def _images(entries: Sequence[Entry]) -> Counter[int]:
    """Images of each class, each counted once."""
    return Counter(class_id for class_id, _ in {(e.class_id, e.item) for e in entries})


def _held_out(dataset: Dataset, entries: Sequence[Entry], shot: int) -> frozenset[str]:
    """Images kept for validation.

    Where a class would be left with too few to train on, none of its; nor a picture that is trained on
    under another name.
    """
    items = {e.item for e in entries}
    held = {item for item in items if is_held_out(item)}
    held -= same_pictures(dataset, held, dataset, items - held)
    left = _images([e for e in entries if e.item not in held])
    return frozenset(held - {e.item for e in entries if left[e.class_id] <= shot})


def _by_class(entries: Sequence[Entry], classes: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, set[str]] = {c: set() for c in classes}
    for entry in entries:
        found[entry.class_id].add(entry.item)
    return {c: sorted(names) for c, names in found.items()}


def _present(pool: Pool) -> dict[str, tuple[int, ...]]:
    found: dict[str, set[int]] = {}
    for entry in pool.entries:
        found.setdefault(entry.item, set()).add(entry.class_id)
    return {item: tuple(sorted(classes)) for item, classes in found.items()}


def _check(found: TrainingSet, fold: int, shot: int) -> None:
    short = [
        f"{found.classes[c]} ({len(names)})" for c, names in found.training.items() if len(names) <= shot
    ]
    if short or not found.classes:
        shown = ", ".join(short[:8]) + (f" and {len(short) - 8} more" if len(short) > 8 else "")
        raise DataError(
            f"training for {found.benchmark} fold {fold}, {shot}-shot: {len(short)} of {len(found.classes)} "
            f"classes have fewer than the {shot + 1} images that an episode needs"
            f"{': ' + shown if shown else ''}. Next: `fssbench data verify {found.dataset.card.name}`"
        )


def _marks(root: Path | None, pool: Pool, classes: Sequence[int]) -> tuple[str, ...]:
    """What keeps the training set from being the published one, by the rule that marks a run."""
    return ("miniature",) if datasets.is_miniature(root) else pool_marks(pool, classes)


class EpisodeStream:
    """Training episodes by step and slot.

    Args:
        items: training items by class.
        shot: supports per episode.
        name: what sets this stream apart: seed, benchmark, fold.
        draw: `classes`: every class is as likely; `pairs`: every image-class pair is, as in the reference
            samplers of PASCAL-5i, so that the few images of a rare class do not come again and again.
        invert: share of the episodes in which object and background change places.
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
        """The episode of one slot of a step's batch.

        Args:
            step: optimiser step, from 0.
            slot: place in the batch of all processes, from 0; becomes the episode's index.
            attempt: another draw of images of the same class, for where the first shows none of it.
        """
        (class_id,) = shuffled(self._classes, 1, self._words(step, slot, 0))
        names = self._items[int(class_id)]
        query, *supports = shuffled(names, self._shot + 1, self._words(step, slot, attempt + 1))
        return Episode(slot, int(class_id), query, tuple(supports))

    def inverted(self, step: int, slot: int) -> bool:
        """Whether what is not the class is the object of this episode, in supports and query."""
        return int(self._words(step, slot, ATTEMPTS + 1)()) < self.invert * 2**64

    def _words(self, step: int, slot: int, draw: int) -> Callable[[], int]:
        # the lowest word counts within one block, so no draw runs into the words of another
        counter = np.array([0, draw, slot, step], dtype=np.uint64)
        return np.random.Philox(counter=counter, key=self._key).random_raw


def validation_episodes(found: TrainingSet, shot: int, count: int) -> tuple[Episode, ...]:
    """Episodes of the training classes whose queries, and supports where there are enough, are held out.

    Where a class has too few held-out images, training images serve as its supports.  They do not depend
    on the seed, so that trainings are validated on the same ones.

    Returns:
        `count` episodes, classes taking turns; none where no image is held out.
    """
    classes = [c for c, names in found.held_out.items() if names]
    key = _key(f"validation|{shot}")
    episodes = []
    for index in range(count if classes else 0):
        class_id = classes[index % len(classes)]
        words = np.random.Philox(counter=np.array([0, 0, 0, index], dtype=np.uint64), key=key).random_raw
        (query,) = shuffled(found.held_out[class_id], 1, words)
        others = [name for name in found.held_out[class_id] if name != query]
        if len(others) < shot:
            others += found.training[class_id]
        episodes.append(Episode(index, class_id, query, tuple(shuffled(others, shot, words))))
    return tuple(episodes)


def _key(name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    digest = hashlib.sha256(f"{STREAM}|{name}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
