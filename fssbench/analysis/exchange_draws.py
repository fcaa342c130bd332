"""Which queries each draw of the exchange test exchanges, packed as bits.

The bits are those that numpy draws as booleans, one call per block of draws of a class.  numpy takes them from whole
numbers of 32 bits, the lowest first; to draw the numbers and to leave the bits in them takes a twentieth of the time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2_000_000
"""Bits drawn at once.  Another number would draw others."""


def draw_exchanges(queries: int, draws: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw which queries of a class each draw exchanges.

    Returns:
        (queries, draws / 8) bytes; the lowest bit of a byte belongs to the first of its eight draws.
    """
    block = max(1, _BLOCK // max(queries, 1))
    parts = []
    for start in range(0, draws if queries else 0, block):
        wide = min(block, draws - start)
        words = rng.integers(0, 1 << 32, size=-(-queries * wide // 32), dtype=np.uint32)
        packed = words.astype("<u4", copy=False).view(np.uint8)
        if draws == wide and wide % 8 == 0:
            return packed[: queries * wide // 8].reshape(queries, wide // 8)
        bits = np.unpackbits(packed, count=queries * wide, bitorder="little")
        parts.append(bits.reshape(queries, wide))
    if not parts:
        return np.zeros((queries, -(-draws // 8)), dtype=np.uint8)
    return np.packbits(np.concatenate(parts, axis=1), axis=1, bitorder="little")


def unpack_signs(packed: NDArray[np.uint8], kind: Any) -> NDArray[Any]:
    """Return (queries, 8 x bytes) numbers of a kind: -1 for a query that is exchanged, otherwise 1."""
    return _list_signs(kind).take(packed, axis=0).reshape(len(packed), 8 * packed.shape[1])


@lru_cache
def _list_signs(kind: Any) -> NDArray[Any]:
    """List the (256, 8) signs that are packed in each value of a byte."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, -1, 1).astype(kind)
