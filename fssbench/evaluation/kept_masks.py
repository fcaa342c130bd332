"""Masks that a run predicted, kept for a second answer to the same question."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class KeptMasks:
    """The masks of some episodes, one bit per pixel.

    Args:
        indices: of the episodes.
    """

    def __init__(self, indices: Iterable[int]) -> None:
        self._indices = frozenset(indices)
        self._masks: dict[int, tuple[tuple[int, ...], NDArray[np.uint8]]] = {}

    def keep(self, index: int, mask: NDArray[np.bool_]) -> None:
        """Keep the mask (H, W) of an episode, if it is one of them."""
        if index in self._indices:
            self._masks[index] = mask.shape, np.packbits(mask)

    def get(self, index: int) -> NDArray[np.bool_] | None:
        """Return the mask (H, W) of an episode; None if this process has not predicted it."""
        if index not in self._masks:
            return None
        (height, width), bits = self._masks[index]
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)
