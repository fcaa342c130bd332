"""Which test classes, and which test images, a checkpoint has seen in training.

A manifest comes out of a file, so nothing in it is taken for granted: what is not of the expected
form says nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fssbench.benchmarks.class_twins import VOC_TO_COCO
from fssbench.data.picture_names import Pictures

SELECTED_ON_TEST = "test episodes"
"""What a manifest says under `selection` where the checkpoint was chosen on the test episodes."""


def seen_classes(
    manifest: Mapping[str, Any], dataset: str, classes: Sequence[int], names: Sequence[str]
) -> tuple[int, ...]:
    """Test classes that are among the classes of a checkpoint's training.

    Within one data set ids decide; between VOC and COCO the table above; else equal names.

    Args:
        manifest: what a checkpoint says about its training; may be empty or malformed.
        dataset: id of the tested data set.
        classes: its tested class ids.
        names: their names, in that order.

    Example:
        >>> seen_classes({"dataset": "coco", "classes": [4, 7]}, "pascal", [0, 1], ["aeroplane", "bicycle"])
        (0,)
    """
    source = manifest.get("dataset")
    ids = manifest.get("classes")
    trained = {i for i in ids if isinstance(i, int)} if isinstance(ids, list) else set()
    if source == dataset:
        return tuple(c for c in classes if c in trained)
    twins = list(VOC_TO_COCO.values())
    if (source, dataset) == ("coco", "pascal"):
        return tuple(c for c in classes if c < len(twins) and twins[c] in trained)
    if (source, dataset) == ("pascal", "coco"):
        return tuple(c for c in classes if c in twins and twins.index(c) in trained)
    listed = manifest.get("class_names")
    known = {_plain(n) for n in listed if isinstance(n, str)} if isinstance(listed, list) else set()
    return tuple(c for c, name in zip(classes, names, strict=True) if _plain(name) in known)


def image_ids(items: Iterable[str]) -> list[str]:
    """What a manifest says under `image_ids`: the first 8 hexadecimal digits of each item's sha256, sorted.

    An item is a name within its data set.  The checkpoints that come with fssbench name their images by it alone.
    """
    return sorted(_image_id(item) for item in items)


def content_ids(names: Iterable[str]) -> list[str]:
    """What a manifest says under `content_ids`: the first 12 digits of each picture name's sha256, sorted.

    Args:
        names: as `fssbench.data.picture_names.picture_names` gives them, of all pictures.
    """
    return sorted({_content_id(name) for name in names})


def seen_images(
    manifest: Mapping[str, Any],
    dataset: str,
    queries: Iterable[str],
    *,
    pictures: Pictures | None = None,
) -> int:
    """Count the episodes whose query image a checkpoint was trained on.

    Args:
        manifest: what a checkpoint says about its training; may be empty or malformed.
        dataset: id of the tested data set.
        queries: the query of each episode.
        pictures: what is known of the queries' pictures; without it they go by their item ids.
    """
    items = _texts(manifest.get("image_ids")) if manifest.get("dataset") == dataset else set()
    contents = _texts(manifest.get("content_ids"))
    known = Pictures() if pictures is None else pictures

    def seen(query: str) -> bool:
        return any(_image_id(item) in items for item in (query, *known.aliases.get(query, ()))) or any(
            _content_id(name) in contents for name in known.names.get(query, ())
        )

    return sum(map(seen, queries))


def _texts(listed: object) -> set[str]:
    return {i for i in listed if isinstance(i, str)} if isinstance(listed, list) else set()


def _content_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _image_id(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()[:8]


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
