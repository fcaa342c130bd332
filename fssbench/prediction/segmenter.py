"""A method with its labelled examples, ready to segment images: the examples are computed once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.methods import Method, reads_features, reads_raw_pixels
from fssbench.contracts.prediction import compute_logits, resize_logits, threshold_logits, vote_on_masks
from fssbench.errors import DataError
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.isolation import generators_kept
from fssbench.evaluation.method_call import call_method, finish_work_on
from fssbench.evaluation.precision import exact_float32
from fssbench.evaluation.weights_guard import WeightsGuard
from fssbench.images.reading import normalise, scale_pixels
from fssbench.loading.load import find_method_source

_SEED = 0
"""Seed of every answer, so that it depends on the image alone and not on its place."""
_SMALLER = "--batch or --size"


@dataclass(frozen=True)
class Query:
    """An image to segment."""

    name: str
    """Its name, for errors."""
    pixels: NDArray[np.uint8]
    """(S, S, 3): as the network sees it."""
    size: tuple[int, int]
    """Width and height of the answer."""


@dataclass(frozen=True)
class Answer:
    """Answer of a method for one image."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    probability: NDArray[np.float32]
    """(H, W): what the method gives the object, from its logits by softmax; the mean over examples if it votes."""
    seconds: float
    """Time of network and method; images of one batch share it equally."""

    @property
    def foreground(self) -> float:
        """Share of the pixels that belong to the object."""
        return float(self.mask.mean())

    @property
    def confidence(self) -> float:
        """Mean over all pixels of the probability of the answer that was given there."""
        given = np.where(self.mask, self.probability, 1 - self.probability)
        return float(given.mean(dtype=np.float64))

    @property
    def object_confidence(self) -> float | None:
        """Mean probability within the mask; None if it is empty."""
        return float(self.probability[self.mask].mean(dtype=np.float64)) if self.mask.any() else None


class Segmenter:
    """Segments images by K labelled examples.

    Args:
        method: a loaded method, on its device.
        pixels: the K example images as the network sees them, uint8 (S, S, 3).
        masks: the K objects, bool (S, S).
        threshold: probability of the object above which a pixel belongs to it.

    Raises:
        PluginError: if the weights of the method were changed since they were loaded, or its backbone fails.
    """

    def __init__(
        self,
        method: Method,
        pixels: Sequence[NDArray[np.uint8]],
        masks: Sequence[NDArray[np.bool_]],
        *,
        threshold: float = 0.5,
    ) -> None:
        self.method = method.eval()
        self.threshold = threshold
        self.device = next((tensor.device for tensor in method.state_dict().values()), torch.device("cpu"))
        self._guard = WeightsGuard(self.method)
        self._source = find_method_source(method)
        backbone = method.backbone if reads_features(method) else None
        self._extractor = Extractor(backbone) if backbone is not None else None
        with generators_kept(), exact_float32():
            inputs = [
                self._extract(each, f"example {k}", "support") for k, each in enumerate(pixels, start=1)
            ]
        self._support = _stack(inputs, dim=1)
        self._mask = torch.from_numpy(np.stack(masks).astype(np.float32)).to(self.device)[None]

    def segment(self, queries: Sequence[Query]) -> list[Answer]:
        """Segment images in one batch.

        Raises:
            PluginError: if the method breaks its contract.
            DataError: if memory runs out.
        """
        return self._segment(queries, self._mask)

    def segment_inverted(self, query: Query) -> Answer | None:
        """Segment an image by the background of the examples instead of the object; None if one has no background."""
        inverted = 1 - self._mask
        if not inverted.flatten(2).any(dim=2).all():
            return None
        return self._segment([query], inverted)[0]

    def check_weights(self) -> None:
        """Compare every byte of the method's weights with what was loaded.

        Raises:
            PluginError: if they changed.
        """
        self._guard.check_all()

    def _segment(self, queries: Sequence[Query], mask: Tensor) -> list[Answer]:
        started = time.monotonic()
        names = ", ".join(repr(query.name) for query in queries)
        where = f"method {self.method.card.name!r}, image {names}"
        with generators_kept(), exact_float32():
            images = [self._extract(query.pixels, query.name, "query") for query in queries]
            query_input = {tap: maps[:, 0] for tap, maps in _stack(images, dim=0).items()}
            inputs = (
                self._as_input(query_input),
                self._as_input(_repeat(self._support, len(queries))),
                mask.expand(len(queries), -1, -1, -1).clone(),
            )
            finish_work_on(*inputs)
            sizes = [query.size for query in queries]
            raw = call_method(
                lambda: self._compute(*inputs),
                where=where,
                inputs=inputs,
                source=self._source,
                seed=_SEED,
                smaller=_SMALLER,
            )
            answers = [
                self._decide([logits[b : b + 1] for logits in raw], size) for b, size in enumerate(sizes)
            ]
        self._guard.check_episode()
        seconds = (time.monotonic() - started) / len(queries)
        return [Answer(*answer, seconds) for answer in answers]

    def _compute(self, query: Any, support: Any, mask: Tensor) -> list[Tensor]:
        return compute_logits(self.method, *self.method.read(query, support), mask, seed=_SEED)

    def _decide(
        self, outputs: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Bring the logits of one image to its size, threshold them, and vote if there are several."""
        masks, probability = [], None
        shape = size[1], size[0]
        for logits in outputs:
            large = resize_logits(logits.float(), shape, align_corners=self.method.align_corners)
            margin = large[:, 1] - large[:, 0]
            masks.append(
                threshold_logits(large)
                if self.threshold == 0.5
                else margin > math.log(self.threshold / (1 - self.threshold))
            )
            part = margin.sigmoid_()
            probability = part if probability is None else probability.add_(part)
        assert probability is not None  # every method has one output or more
        mask = masks[0] if len(masks) == 1 else vote_on_masks(masks)
        return mask[0].cpu().numpy(), probability.div_(len(masks))[0].cpu().numpy()

    def _extract(self, pixels: NDArray[np.uint8], name: str, role: str) -> dict[str, Tensor]:
        """Return what the method reads of one image, by tap, each (1, ...)."""
        try:
            scale = scale_pixels if reads_raw_pixels(self.method) else normalise
            image = scale(pixels)[None].to(self.device)
            if self._extractor is None:
                return {_PIXELS: image}
            assert reads_features(self.method)  # others have no extractor
            return self._extractor.extract(image, getattr(self.method.taps, role), name)
        except torch.OutOfMemoryError:
            raise DataError(
                f"the memory of device {str(self.device)!r} ran out at image {name!r}. Next: a smaller {_SMALLER}, or "
                "--device cpu"
            ) from None

    def _as_input(self, maps: dict[str, Tensor]) -> Any:
        return maps if self._extractor is not None else maps[_PIXELS]


_PIXELS = "pixels"


def _stack(images: Sequence[dict[str, Tensor]], *, dim: int) -> dict[str, Tensor]:
    """Join the maps (1, ...) of some images: (1, K, ...) along dimension 1, or (B, 1, ...) along dimension 0."""
    return {tap: torch.cat([maps[tap][None] for maps in images], dim=dim) for tap in images[0]}


def _repeat(support: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    """Repeat the examples (1, K, ...) for each image of a batch; a batch of one shares their memory."""
    if batch == 1:
        return support
    return {tap: maps.expand(batch, *maps.shape[1:]).clone() for tap, maps in support.items()}
