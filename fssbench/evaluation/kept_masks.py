"""Masks that a run predicted, kept for a second answer to the same question."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class KeptMasks:
    """The masks of some episodes, one bit per pixel.

    Args:
        indices: of the episodes.
        room: bytes of all masks together; those that find no room are not kept.
    """

    def __init__(self, indices: Iterable[int], room: float = math.inf) -> None:
        self._indices = frozenset(indices)
        self._room = room
        self._masks: dict[int, tuple[tuple[int, ...], NDArray[np.uint8]]] = {}

    def keep(self, index: int, mask: NDArray[np.bool_]) -> None:
        """Keep the mask (H, W) of an episode, if it is one of them."""
        if index in self._indices and index not in self._masks and mask.size <= 8 * self._room:
            bits = np.packbits(mask)
            self._masks[index] = mask.shape, bits
            self._room -= bits.nbytes

    def get(self, index: int) -> NDArray[np.bool_] | None:
        """Return the mask (H, W) of an episode; None if it is not kept."""
        if index not in self._masks:
            return None
        (height, width), bits = self._masks[index]
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)
