"""Maps of images as an episode reads them: lent from the cache, or copied into buffers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fssbench.contracts.methods import Method
from fssbench.contracts.precision import Precision
from fssbench.evaluation.apart_maps import ApartMaps
from fssbench.evaluation.buffers import Buffers
from fssbench.evaluation.feature_store import Maps
from fssbench.plugins.calls import says_itself

_ALIGNMENT = 64
"""Bytes to whose multiples torch aligns a new tensor of the processor."""


class Staging:
    """The maps of one episode.  Those that are copied are copied together: a GPU is asked once, not once per tap.

    Args:
        buffers: where the copies are.
        lends: whether maps of a single image may be read where the cache holds them.
        trusted: whether the reader writes to nothing.
        widens: whether maps in bfloat16 become float32.
    """

    def __init__(self, buffers: Buffers, *, lends: bool, trusted: bool, widens: bool) -> None:
        self._buffers = buffers
        self._lends = lends
        self._trusted = trusted
        self._widens = widens
        self._targets: list[Tensor] = []
        self._sources: list[Tensor] = []

    def stage(self, role: str, tap: str, images: Sequence[Maps]) -> Tensor:
        """Return where one tap of K images (1, C, h, w) will be after `copy`: (1, K, C, h, w)."""
        if self._lends and len(images) == 1 and (lent := self._lend(images[0], tap)) is not None:
            return lent
        first = images[0][tap]
        shape = (1, len(images), *first.shape[1:])
        like = first.new_empty(0, dtype=torch.float32) if self._is_widened(first) else first
        buffer = self._buffers.get((role, tap), shape, like)
        self._targets += buffer.unbind(dim=1)
        self._sources += [maps[tap] for maps in images]
        return buffer

    def copy(self) -> None:
        """Copy what is not lent."""
        if self._targets:
            torch._foreach_copy_(self._targets, self._sources)

    def _lend(self, maps: Maps, tap: str) -> Tensor | None:
        """Return one tap of an image without a copy; None if its reader could harm the next one."""
        features = maps[tap]
        if self._is_widened(features) or not _lies_as_a_copy(features):
            return None
        if isinstance(maps, ApartMaps):
            return features.data[:, None]  # with a version of its own, so that only its writer is refused
        return features[:, None] if self._trusted else None

    def _is_widened(self, features: Tensor) -> bool:
        return self._widens and features.dtype == torch.bfloat16


def reads_float32_only(method: Method, precision: Precision) -> bool:
    """Return whether a method gets features in bfloat16 as float32.

    In a run in float32 every method does, because a backbone of others may compute them in bfloat16.
    """
    return precision == "float32" or not says_itself(method, "reads_bfloat16")


def _lies_as_a_copy(features: Tensor) -> bool:
    """Return whether features are in memory as a copy would be, so that operators compute the same bits from both."""
    plain = features.device.type == "cpu" and features.dtype in (torch.float32, torch.bfloat16)
    return plain and features.is_contiguous() and features.data_ptr() % _ALIGNMENT == 0
