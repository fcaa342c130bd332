"""Small images of a few episodes, kept with a run so that a report needs no data set.

Which episodes are kept is fixed by the plan alone: every method shows the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fssbench.api import Dataset, Episode, Panel
from fssbench.errors import DataError
from fssbench.inputs import Target
from fssbench.store import StoredRun

SIDE = 160
"""Longest side of a stored image, in pixels."""
_IGNORED = 128


class Panels:
    """Writes the images of evenly spread episodes of a plan.

    Args:
        folder: where they go; made when the first is saved.
        dataset: where images are read from.
        episodes: length of the full plan.
        keep: how many episodes to keep.
    """

    def __init__(self, folder: Path, dataset: Dataset, episodes: int, keep: int) -> None:
        self.folder = folder
        self.dataset = dataset
        keep = min(keep, episodes)
        self._indices = {round((k + 0.5) * episodes / keep - 0.5) for k in range(keep)}

    def wanted(self, index: int) -> bool:
        """Whether this episode's images are kept."""
        return index in self._indices

    def save(self, episode: Episode, prediction: NDArray[np.bool_], target: Target) -> None:
        """Write query, supports, truth and prediction of one episode.

        Raises:
            DataError: where a file cannot be written.
        """
        truth = np.where(target.foreground, 255, 0).astype(np.uint8)
        if target.ignored is not None:
            truth[target.ignored] = _IGNORED
        image = _small(self.dataset.image(episode.query))
        pictures = {
            "query.jpg": image,
            "truth.png": _mask(truth, image.size),
            "prediction.png": _mask(np.where(prediction, 255, 0).astype(np.uint8), image.size),
        }
        for k, item in enumerate(episode.supports):
            support = _small(self.dataset.image(item))
            mask = np.where(self.dataset.mask(item, episode.class_id) == 1, 255, 0).astype(np.uint8)
            pictures[f"support{k}.jpg"] = support
            pictures[f"support{k}-mask.png"] = _mask(mask, support.size)
        try:
            self.folder.mkdir(exist_ok=True)
            for name, picture in pictures.items():
                picture.save(self.folder / f"{episode.index:06d}-{name}", quality=85)
        except OSError as error:
            raise DataError(f"cannot write {self.folder}: {error}") from error


def read_panels(run: StoredRun) -> Iterator[Panel]:
    """Panels stored with a run, those with all their files, by episode."""
    folder = run.path / "predictions"
    names = dict(zip(run.plan.classes, run.plan.class_names, strict=True))
    for query in sorted(folder.glob("*-query.jpg")):
        index = int(query.name[:6])
        record = run.records.get(index)
        paths = [query, folder / f"{index:06d}-truth.png", folder / f"{index:06d}-prediction.png"]
        supports = tuple(
            (folder / f"{index:06d}-support{k}.jpg", folder / f"{index:06d}-support{k}-mask.png")
            for k in range(run.plan.shot)
        )
        if record is None or not all(p.is_file() for p in (*paths, *(p for pair in supports for p in pair))):
            continue
        iou = 100 * record.inter[1] / record.union[1] if record.union[1] else float("nan")
        yield Panel(index, names[record.class_id], paths[0], paths[1], paths[2], supports, iou)


def _small(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return copy


def _mask(values: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(values).resize(size, Image.Resampling.NEAREST)
