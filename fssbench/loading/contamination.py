"""Finds the test classes and test images that a checkpoint has seen in training.

A training manifest comes from a file.  A field that is missing or malformed in the file is ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from fssbench.benchmarks.class_twins import find_class_twins, simplify_class_name
from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.data.picture_names import Pictures

SELECTED_ON_TEST = "test episodes"
"""Value of `selection` in a manifest if the checkpoint was chosen on the test episodes."""


def find_seen_classes(
    manifest: TrainingManifest, dataset: str, classes: Sequence[int], names: Sequence[str]
) -> tuple[int, ...]:
    """Return the test classes that the checkpoint was trained on.

    Within one data set, class ids are compared.  Between two data sets, their table of class twins decides, or, without
    a table, equal names.

    Args:
        manifest: the training manifest of a checkpoint.
        dataset: id of the tested data set.
        classes: its tested class ids.
        names: their names, in that order.

    Example:
        >>> trained = TrainingManifest(dataset="coco", classes=(4, 7))
        >>> find_seen_classes(trained, "pascal", [0, 1], ["aeroplane", "bicycle"])
        (0,)
    """
    source, trained = manifest.dataset, set(manifest.classes)
    if source == dataset:
        return tuple(c for c in classes if c in trained)
    twins = find_class_twins(dataset, source) if source else {}
    if twins:
        return tuple(c for c in classes if twins.get(c) in trained)
    known = {simplify_class_name(name) for name in manifest.class_names}
    return tuple(c for c, name in zip(classes, names, strict=True) if simplify_class_name(name) in known)


def make_image_ids(items: Iterable[str]) -> list[str]:
    """Return the field `image_ids` of a manifest: the first 8 hexadecimal digits of each item's sha256, sorted.

    An item is a name within its data set.  The checkpoints that come with fssbench name their images by it alone.
    """
    return sorted(_hash_item(item) for item in items)


def make_content_ids(names: Iterable[str]) -> list[str]:
    """Return the field `content_ids` of a manifest: the first 12 digits of each picture name's sha256, sorted.

    Args:
        names: the names of all pictures, from `fssbench.data.picture_names.name_pictures`.
    """
    return sorted({_hash_picture_name(name) for name in names})


def count_seen_images(
    manifest: TrainingManifest,
    dataset: str,
    queries: Iterable[str],
    *,
    pictures: Pictures | None = None,
) -> int:
    """Count the episodes whose query image a checkpoint was trained on.

    Args:
        manifest: the training manifest of a checkpoint.
        dataset: id of the tested data set.
        queries: the query of each episode.
        pictures: names of the pictures of the queries; without them only item ids are compared.
    """
    items = set(manifest.image_ids) if manifest.dataset == dataset else set()
    contents = set(manifest.content_ids)
    known = Pictures() if pictures is None else pictures

    def seen(query: str) -> bool:
        return any(_hash_item(item) in items for item in (query, *known.aliases.get(query, ()))) or any(
            _hash_picture_name(name) in contents for name in known.names.get(query, ())
        )

    return sum(map(seen, queries))


def _hash_picture_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _hash_item(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()[:8]
