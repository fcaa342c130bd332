"""`prepare` of COCO: `instances_*.json` becomes one index PNG an image.

Every pixel can hold one label, and COCO's regions overlap.  The rule: crowd regions lie lowest, then
regions from large to small (by drawn pixels, ties by annotation id), so that a cup on a table stays
visible.  Every polygon of an annotation is drawn.  The masks that the reference repositories give
out were made by an unpublished script and differ from these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fssbench.api import DataError

from . import _files, _palette


def prepare(source: Path, data: Path, classes: Sequence[str]) -> Iterator[str]:
    """Draw the masks of every `instances_*.json` below `source`; images and lists are linked or copied.

    Args:
        source: the release: `annotations/instances_val2017.json`, `val2017/` (or `images/val2017/`), ...
        data: folder of all data sets; `COCO2014` or `COCO2017` is filled in below it.
        classes: the 80 names in order of their category ids.

    Yields:
        One line per step.

    Raises:
        DataError: where a file is missing or malformed, or pycocotools is needed and absent.
    """
    found = [p for d in ("", "COCO2017", "COCO2014", "coco") for p in _instances(source / d)]
    if not found:
        raise DataError(f"{source} holds no annotations/instances_{{train,val}}{{2014,2017}}.json")
    for path in found:
        part = path.stem.removeprefix("instances_")
        base = path.parent.parent
        images = next((p for p in (base / part, base / "images" / part) if p.is_dir()), None)
        if images is None:
            raise DataError(f"{path} is there, but not its image folder {base / part}")
        target = data / f"COCO{part[-4:]}"
        yield f"{part}: {_files.place_all(images, target / part, '.jpg'):,} images"
        _files.folder(target / "annotations" / part)
        _files.place(path, target / "annotations" / path.name)
        yield from _draw_part(path, target, part, classes)


def _instances(base: Path) -> list[Path]:
    names = [f"instances_{split}{year}.json" for year in ("2014", "2017") for split in ("train", "val")]
    return [base / "annotations" / n for n in names if (base / "annotations" / n).is_file()]


def load(path: Path) -> dict[str, Any]:
    """An instances file with its three tables.

    Raises:
        DataError: where it is no JSON or lacks one of `images`, `annotations`, `categories`.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON ({error})") from None
    for table in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(table), list):
            raise DataError(f"{path} has no list {table!r}; expected a COCO instances file")
    return content


def categories(content: dict[str, Any], classes: Sequence[str], path: Path) -> dict[int, int]:
    """Label 1..80 by category id, in order of the ids.

    Raises:
        DataError: where the categories are not COCO's 80, naming those that differ.
    """
    listed = sorted((int(c["id"]), str(c["name"])) for c in content["categories"])
    if [name for _, name in listed] != list(classes):
        strange = sorted({name for _, name in listed} ^ set(classes))
        shown = ", ".join(strange[:8]) or "their order"
        raise DataError(f"{path}: categories are not COCO's {len(classes)}; what differs: {shown}")
    return {category: label for label, (category, _) in enumerate(listed, start=1)}


def _draw_part(path: Path, target: Path, part: str, classes: Sequence[str]) -> Iterator[str]:
    content = load(path)
    labels = categories(content, classes, path)
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    drawn = missing = 0
    for record in content["images"]:
        name = str(record["file_name"])
        if not (target / part / name).is_file():
            missing += 1
            continue
        try:
            label = draw(by_image.get(record["id"], []), labels, int(record["height"]), int(record["width"]))
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}: annotations of {name} are malformed ({error})") from None
        _palette.save(label, target / "annotations" / part / f"{Path(name).stem}.png")
        drawn += 1
    yield f"annotations/{part}: {drawn:,} masks drawn" + (
        f"; {missing:,} images of the list are not on disk" if missing else ""
    )


def draw(
    annotations: Sequence[dict[str, Any]], labels: dict[int, int], height: int, width: int
) -> NDArray[np.uint8]:
    """Index mask (height, width) of one image's annotations, by the rule of this module."""
    regions = [(a, region(a["segmentation"], height, width)) for a in annotations]
    regions.sort(key=lambda r: (not r[0].get("iscrowd", 0), -int(r[1].sum()), r[0]["id"]))
    mask = np.zeros((height, width), dtype=np.uint8)
    for annotation, where in regions:
        mask[where] = labels[annotation["category_id"]]
    return mask


def region(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (height, width) of a segmentation: polygons, compressed or plain run lengths.

    Plain run lengths (those of crowds) are read here; the others need pycocotools.

    Raises:
        DataError: where pycocotools is needed and absent.
        ValueError: where run lengths do not fill the image.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        runs = np.asarray(segmentation["counts"], dtype=np.int64)
        if list(segmentation["size"]) != [height, width] or runs.sum() != height * width or runs.min() < 0:
            raise ValueError(f"run lengths do not fill {width}x{height} pixels")
        values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return values.reshape(width, height).T
    try:
        from pycocotools import mask as tools
    except ImportError:
        raise DataError(
            'drawing COCO polygons needs pycocotools. Next: `pip install "fssbench[coco]"`'
        ) from None
    if isinstance(segmentation, dict):
        return np.asarray(tools.decode(segmentation)).astype(bool)
    return np.asarray(tools.decode(tools.merge(tools.frPyObjects(segmentation, height, width)))).astype(bool)


def run_lengths(where: NDArray[np.bool_]) -> dict[str, Any]:
    """Plain run lengths of a region (H, W), column by column, starting with zeros."""
    flat = where.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = [int(r) for r in np.diff(bounds)]
    return {"counts": [0, *runs] if flat[0] else runs, "size": [int(where.shape[0]), int(where.shape[1])]}
