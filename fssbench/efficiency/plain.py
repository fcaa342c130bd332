"""A plain evaluation, as reference loops do it: the baseline that the harness is measured against.

One episode at a time.  Every image is decoded, resized and sent through the backbone anew for each episode.  A
method that votes gets one support after another, and the query goes through the backbone anew for each of them.
Pixels are counted on the processor.  Nothing is kept from one episode to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.datasets import IGNORE, Dataset
from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import Method, reads_raw_pixels
from fssbench.contracts.prediction import vote_on_masks
from fssbench.images.reading import normalise, resize_image, resize_mask, scale_pixels

Counts = tuple[tuple[int, int], tuple[int, int]]
"""Intersection and union, each of background and foreground, in pixels."""


def evaluate_plainly(
    method: Method, dataset: Dataset, episodes: Iterable[Episode], size: int, device: torch.device
) -> Iterator[Counts]:
    """Yield the counts of one episode after another.

    Args:
        method: on `device`, in eval mode.
        dataset: opened with its images.
        episodes: drawn on that data set.
        size: side of the square input, pixels.
        device: where the method computes.
    """
    for episode in episodes:
        side, raw = method.card.input_size or size, reads_raw_pixels(method)
        query = _image(dataset, episode.query, side, device, raw=raw)
        images = [_image(dataset, item, side, device, raw=raw)[0] for item in episode.supports]
        support = torch.stack(images)[None]
        masks = np.stack([_mask(dataset, item, episode.class_id, side) == 1 for item in episode.supports])
        with torch.no_grad():
            mask = torch.from_numpy(masks.astype(np.float32)).to(device)[None]
            names = (dataset.classes()[episode.class_id],)
            segment = partial(method.segment, query, size=(size, size), class_names=names)
            if method.shots == "vote" and not method.steps:  # an adaptation needs all supports at once
                pairs = zip(support.split(1, dim=1), mask.split(1, dim=1), strict=True)
                segmented = vote_on_masks([segment(*pair) for pair in pairs])
            else:
                segmented = segment(support, mask)
            prediction = segmented[0].cpu().numpy()
        yield _count(prediction, _mask(dataset, episode.query, episode.class_id, size))


def _image(dataset: Dataset, item: str, size: int, device: torch.device, *, raw: bool) -> Tensor:
    pixels = resize_image(dataset.image(item), size)
    return (scale_pixels(pixels) if raw else normalise(pixels))[None].to(device)


def _mask(dataset: Dataset, item: str, class_id: int, size: int) -> NDArray[np.uint8]:
    return resize_mask(dataset.mask(item, class_id), size, size)


def _count(prediction: NDArray[np.bool_], truth: NDArray[np.uint8]) -> Counts:
    counted = truth != IGNORE
    inter, union = [], []
    for wanted in (0, 1):
        mine, real = (prediction == wanted) & counted, (truth == wanted) & counted
        inter.append(int((mine & real).sum()))
        union.append(int((mine | real).sum()))
    return (inter[0], inter[1]), (union[0], union[1])
