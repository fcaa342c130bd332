"""Which test classes, and which test images, a checkpoint has seen in training.

A training manifest comes from a file: a field that the file lacks, or that has another form there, says nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from fssbench.contracts.checkpoint import TrainingManifest
from fssbench.data.class_twins import find_class_twins
from fssbench.data.picture_names import Pictures

SELECTED_ON_TEST = "test episodes"
"""What a manifest says under `selection` where the checkpoint was chosen on the test episodes."""


def seen_classes(
    manifest: TrainingManifest, dataset: str, classes: Sequence[int], names: Sequence[str]
) -> tuple[int, ...]:
    """Test classes that are among the classes of a checkpoint's training.

    Within one data set ids decide; between two data sets their table of class twins, or else equal names.

    Args:
        manifest: what a checkpoint says about its training.
        dataset: id of the tested data set.
        classes: its tested class ids.
        names: their names, in that order.

    Example:
        >>> trained = TrainingManifest(dataset="coco", classes=(4, 7))
        >>> seen_classes(trained, "pascal", [0, 1], ["aeroplane", "bicycle"])
        (0,)
    """
    source, trained = manifest.dataset, set(manifest.classes)
    if source == dataset:
        return tuple(c for c in classes if c in trained)
    twins = find_class_twins(dataset, source) if source else {}
    if twins:
        return tuple(c for c in classes if twins.get(c) in trained)
    known = {_plain(name) for name in manifest.class_names}
    return tuple(c for c, name in zip(classes, names, strict=True) if _plain(name) in known)


def image_ids(items: Iterable[str]) -> list[str]:
    """What a manifest says under `image_ids`: the first 8 hexadecimal digits of each item's sha256, sorted.

    An item is a name within its data set.  The checkpoints that come with fssbench name their images by it alone.
    """
    return sorted(_image_id(item) for item in items)


def content_ids(names: Iterable[str]) -> list[str]:
    """What a manifest says under `content_ids`: the first 12 digits of each picture name's sha256, sorted.

    Args:
        names: as `fssbench.data.picture_names.name_pictures` gives them, of all pictures.
    """
    return sorted({_content_id(name) for name in names})


def seen_images(
    manifest: TrainingManifest,
    dataset: str,
    queries: Iterable[str],
    *,
    pictures: Pictures | None = None,
) -> int:
    """Count the episodes whose query image a checkpoint was trained on.

    Args:
        manifest: what a checkpoint says about its training.
        dataset: id of the tested data set.
        queries: the query of each episode.
        pictures: what is known of the queries' pictures; without it they go by their item ids.
    """
    items = set(manifest.image_ids) if manifest.dataset == dataset else set()
    contents = set(manifest.content_ids)
    known = Pictures() if pictures is None else pictures

    def seen(query: str) -> bool:
        return any(_image_id(item) in items for item in (query, *known.aliases.get(query, ()))) or any(
            _content_id(name) in contents for name in known.names.get(query, ())
        )

    return sum(map(seen, queries))


def _content_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _image_id(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()[:8]


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
