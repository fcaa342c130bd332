"""Kinds of input that methods read of an image: pixels, features of a backbone, or what a method encodes of these."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fssbench.contracts.encoding import EncodingMethod
from fssbench.contracts.methods import Method, reads_features, reads_raw_pixels
from fssbench.contracts.precision import Precision
from fssbench.errors import PluginError
from fssbench.evaluation.extraction import Extractor
from fssbench.evaluation.feature_store import Maps
from fssbench.evaluation.method_call import call_method
from fssbench.evaluation.precision import computing_in
from fssbench.evaluation.staging import reads_float32_only
from fssbench.loading.backbones import find_backbone_source
from fssbench.loading.load import find_method_source, require_taps
from fssbench.plugins.calls import is_built_in

PIXELS = "pixels"
RAW_PIXELS = "raw pixels"


class Encoder:
    """What a method computes of each image alone.

    Args:
        method: the method.
        precision: of its products and convolutions.
    """

    def __init__(self, method: EncodingMethod, precision: Precision) -> None:
        self._method = method
        self._source = find_method_source(method)
        self._precision = precision
        self._is_trusted = is_built_in(method)
        self._shapes: dict[str, tuple[int, ...]] = {}
        weights = method.state_dict(keep_vars=True).values()
        # the method itself is part of the key, so that no other one gets its place in memory while maps are held
        self.key = method, precision, tuple((each.data_ptr(), each._version) for each in weights)

    def encode(self, maps: Maps, item: str) -> dict[str, Tensor]:
        """Encode one image.

        Args:
            maps: its features (1, C, h, w) by tap, or its pixels.
            item: id of the image, which seeds the random generators and is named in errors.

        Returns:
            Maps by name, each (1, C, h, w).

        Raises:
            PluginError: if the method raises, changes its input, or returns something else.
        """
        where = f"method {self._method.card.name!r}, image {item!r}"
        if not self._is_trusted:  # what it reads may be held for others
            maps = {tap: each.clone() for tap, each in maps.items()}
        if reads_float32_only(self._method, self._precision):
            maps = {tap: each.float() if each.dtype == torch.bfloat16 else each for tap, each in maps.items()}
        given: Any = dict(maps) if reads_features(self._method) else maps[PIXELS]

        def encode() -> Any:
            with computing_in(self._precision, next(iter(maps.values())).device):
                return self._method.encode(given)

        encoded = call_method(
            encode,
            where=where,
            inputs=(given,),
            source=self._source,
            seed=zlib.crc32(item.encode()),
            smaller="--size or --cache-mb",
        )
        if not isinstance(encoded, Mapping) or not encoded:
            raise PluginError(f"{where}: `encode` returned {type(encoded).__name__}, expected maps by name")
        for name, each in encoded.items():
            if not isinstance(each, Tensor) or each.ndim != 4 or len(each) != 1:
                got = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
                raise PluginError(f"{where}: `encode` returned {got} as {name!r}, expected (1, C, h, w)")
        shapes = {name: tuple(each.shape) for name, each in encoded.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise PluginError(
                f"{where}: `encode` returned {shapes}, but {self._shapes} for another image of this size"
            )
        return dict(encoded)


@dataclass(frozen=True)
class Source:
    """Kind of input that methods share: features of one backbone at all taps that they read, or pixels.

    What a method encodes is a kind of its own.
    """

    key: Hashable
    features: Hashable
    """Everything that the features depend on besides image, size and taps, see `feature_key`."""
    extractor: Extractor | None
    taps: tuple[str, ...]
    size: int
    """Side of the images in pixels."""
    width: int = 4
    """Bytes of a feature."""
    plain: Source | None = None
    """What `encoder` reads."""
    encoder: Encoder | None = None

    def encoded_by(self, encoder: Encoder) -> Source:
        """Return what a method encodes of this."""
        return replace(self, key=(self.key, encoder.key), plain=self, encoder=encoder)

    def count_bytes(self) -> int:
        """Count the bytes of one image, by what the taps promise; encoded ones are taken to be as large."""
        if self.extractor is None:
            return 3 * self.size**2 * torch.float32.itemsize
        taps = [self.extractor.taps[name] for name in self.taps]
        return sum(tap.channels * math.ceil(self.size / max(1, tap.stride)) ** 2 for tap in taps) * self.width


def feature_key(method: Method) -> Hashable:
    """Return a key of what the method's input depends on beside the image.  Equal keys mean equal features."""
    if reads_raw_pixels(method):
        return RAW_PIXELS
    if not reads_features(method) or method.backbone is None:
        return PIXELS
    require_taps(method)
    backbone = method.backbone
    # its structure is part of the key: if a plugin changed a stride, other methods must not get those features
    built = hashlib.sha256(f"{type(backbone).__qualname__} {backbone!r}".encode()).hexdigest()
    source = find_backbone_source(backbone).sha256
    return backbone.name, backbone.layout, backbone.weights_sha256, source, built
