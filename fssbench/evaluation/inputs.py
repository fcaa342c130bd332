"""What a method is given for an episode: features or pixels, masks, and what it is scored against.

The resize rules are those of the HSNet family (`docs/protocols.md`): images squashed bilinearly, masks by
nearest neighbour, pixels marked 255 ignored in the query and background in a support.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fssbench.contracts.backbones import Backbone
from fssbench.contracts.datasets import IGNORE, Dataset
from fssbench.contracts.episodes import Episode
from fssbench.contracts.methods import FeatureMethod, Method
from fssbench.data.data_files import DataFiles
from fssbench.data.reader import Reader, Target
from fssbench.errors import DataError, FssbenchError
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.feature_cache import FeatureCache, Maps
from fssbench.images.reading import resize_mask, to_input
from fssbench.loading.backbones import source_of_backbone

_PIXELS = "pixels"
_MASKS_KEPT = 128 << 20
"""Bytes of masks at network size."""


@dataclass(frozen=True)
class _Source:
    """One way an image becomes input: a backbone with the taps all its methods need, or pixels."""

    key: Hashable
    extractor: Extractor | None
    taps: tuple[str, ...]


class Inputs:
    """Episodes as tensors, each image decoded and extracted once within the cache's budget.

    Args:
        dataset: where images and masks come from.
        size: side of the square network input.
        device: where tensors are put.
        cache: features and pixels by image; may be shared between plans.
        files: the data as they were hashed; each file is compared with its hash's state after it was read.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        device: torch.device,
        cache: FeatureCache,
        files: DataFiles | None = None,
    ) -> None:
        self.dataset = dataset
        self.files = files
        self.reader = Reader(dataset, cache.facts, files)
        self.size = size
        self.device = device
        self.cache = cache
        self._sources: dict[int, _Source] = {}
        self._extractors: dict[Hashable, Extractor] = {}
        self._buffers: dict[tuple[str, str, tuple[int, ...]], Tensor] = {}
        self._place = (dataset.card.name, str(dataset.root), dataset.variant, size)
        self._mask = lru_cache(maxsize=max(1, _MASKS_KEPT // size**2))(self._read_mask)

    def expect(self, methods: Sequence[Method], episodes: Sequence[Episode]) -> None:
        """Announce which methods will ask for which episodes, so that the cache knows the order."""
        groups: dict[Hashable, list[Method]] = {}
        for method in methods:
            groups.setdefault(feature_key(method), []).append(method)
        for key, members in groups.items():
            taps = dict.fromkeys(t for m in members if isinstance(m, FeatureMethod) for t in m.taps.union)
            extractor = None if key == _PIXELS else self._extractor(key, members[0].backbone)
            source = _Source((*self._place, key, tuple(taps)), extractor, tuple(taps))
            self._sources.update({id(m): source for m in members})
        self.cache.plan(self._requests(methods, episodes))

    def _extractor(self, key: Hashable, backbone: Backbone | None) -> Extractor:
        if key not in self._extractors:
            assert backbone is not None  # `feature_key` makes pixels of it
            self._extractors[key] = Extractor(backbone)
        return self._extractors[key]

    def _requests(self, methods: Sequence[Method], episodes: Sequence[Episode]) -> Iterator[Hashable]:
        for episode in episodes:
            for method in methods:
                for item in (episode.query, *episode.supports):
                    yield self._key(self._sources[id(method)], item)

    def _key(self, source: _Source, item: str) -> Hashable:
        """Under what an image is cached: its content too, as a file may change between two plans."""
        return ((source.key, self.files.content(item)) if self.files else source.key), item

    def of(self, method: Method, episode: Episode) -> tuple[Any, Any, Tensor]:
        """Query, supports and support masks (1, K, S, S) of an episode, as `method` reads them.

        Raises:
            DataError: if an image or mask cannot be read or must not be used, naming the episode.
            DatasetContractError: if the data set hands over something else, naming the episode.
        """
        try:
            source = self._sources[id(method)]
            query = self._maps(source, episode.query)
            supports = [self._maps(source, item) for item in episode.supports]
            masks = [self._mask(item, episode.class_id) == 1 for item in episode.supports]
        except FssbenchError as error:
            raise type(error)(f"episode {episode.index}: {error}") from error
        # through NumPy: torch takes ten times as long from bool to float
        support_mask = torch.from_numpy(np.stack(masks).astype(np.float32)).to(self.device)[None]
        if not isinstance(method, FeatureMethod):
            pixels = self._staged("query", _PIXELS, [query])[:, 0]
            return pixels, self._staged("support", _PIXELS, supports), support_mask
        return (
            {tap: self._staged("query", tap, [query])[:, 0] for tap in method.taps.query},
            {tap: self._staged("support", tap, supports) for tap in method.taps.support},
            support_mask,
        )

    def doubts(self, episode: Episode) -> tuple[str, ...]:
        """Kinds of doubt about an episode, sorted: what its files say, and objects that no pixel shows at this size."""
        kinds = self.reader.doubts(episode)
        masks = (self._mask(item, episode.class_id) for item in (episode.query, *episode.supports))
        vanished = not all((mask == 1).any() for mask in masks)
        return tuple(sorted({*kinds, "vanished"})) if vanished else kinds

    def _staged(self, role: str, tap: str, images: Sequence[Maps]) -> Tensor:
        """Copy one tap of K images (1, C, h, w) into a reused buffer (1, K, C, h, w).

        A copy, so that what a method writes to, by whatever way, is never what another one reads;
        reused, because fresh pages cost more than the copy itself.
        """
        shape = (1, len(images), *images[0][tap].shape[1:])
        buffer = self._buffers.get((role, tap, shape))
        if buffer is None:
            buffer = self._buffers[role, tap, shape] = images[0][tap].new_empty(shape)
        for k, maps in enumerate(images):
            buffer[:, k].copy_(maps[tap])
        return buffer

    def target(self, episode: Episode, *, original: bool) -> Target:
        """The query's truth at network size, or at its own size."""
        if original:
            mask = self.reader.mask(episode.query, episode.class_id)
        else:
            mask = self._mask(episode.query, episode.class_id)
        ignored = mask == IGNORE
        return Target(mask == 1, ignored if ignored.any() else None)

    def numbered(
        self, item: str, present: Iterable[int], numbers: Mapping[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """All classes in an image at network size: their numbers (S, S), and the pixels left out (S, S).

        Args:
            item: the image.
            present: ids of its classes.
            numbers: number of each class id from 1 on; 0 is background.  Pixels of a class without one, and those
                marked 255, are left out.
        """
        labels = np.zeros((self.size, self.size), np.int64)
        ignored = np.zeros((self.size, self.size), np.bool_)
        for class_id in present:
            mask = self._mask(item, class_id)
            labels[mask == 1] = numbers.get(class_id, 0)
            ignored |= (mask == IGNORE) | ((mask == 1) & (class_id not in numbers))
        labels[ignored] = 0
        return labels, ignored

    def _maps(self, source: _Source, item: str) -> Maps:
        return self.cache.get(self._key(source, item), lambda: self._extract(source, item))

    def _extract(self, source: _Source, item: str) -> Maps:
        pixels = to_input(self.reader.image(item), self.size)[None]
        try:
            pixels = pixels.to(self.device)
            if source.extractor is None:
                return {_PIXELS: pixels}
            return source.extractor.extract(pixels, source.taps, item)
        except torch.OutOfMemoryError:
            raise DataError(
                f"the memory of device {str(self.device)!r} ran out at image {item!r} ({self.size} px). "
                "Next: a smaller --cache-mb or --size, or --device cpu"
            ) from None

    def _read_mask(self, item: str, class_id: int) -> NDArray[np.uint8]:
        return resize_mask(self.reader.mask(item, class_id), self.size, self.size)


def feature_key(method: Method) -> Hashable:
    """What the input of a method depends on besides the image: equal keys mean equal features."""
    if not isinstance(method, FeatureMethod) or method.backbone is None:
        return _PIXELS
    backbone = method.backbone
    # its structure too: a plugin may have changed a stride, and nobody else is to meet that
    built = hashlib.sha256(f"{type(backbone).__qualname__} {backbone!r}".encode()).hexdigest()
    source = source_of_backbone(backbone).sha256
    return backbone.name, backbone.layout, backbone.weights_sha256, source, built
