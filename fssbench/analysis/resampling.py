"""Sums over resamples: clusters are drawn with replacement, and their counts are summed.

A comparison of hundreds of runs spends half of its time here.  The draws are the whole numbers of `Generator.integers`,
made of the same random words in less time.  The sums are exact: they are computed in single precision only if no
partial sum can be too large for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_EXACT = 1 << 24
"""Whole numbers below this one are exact in single precision, and so are sums whose parts are no larger."""
_BLOCK = 100_000
"""Draws made at once, so that their weights stay in a processor's cache.  The draws are equal for any number."""


class Draws:
    """Whole numbers below a bound, as `rng.integers(0, bound, size)` draws them one call after another.

    Args:
        rng: the generator; nothing else may draw from it.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._words = np.empty(0, dtype=np.uint32)

    def draw(self, bound: int, count: int) -> NDArray[np.int32]:
        """Draw `count` numbers below `bound`, which is at most 2**31."""
        if bound == 1 or not count:
            return np.zeros(count, dtype=np.int32)
        drawn = self._accept(bound, count)
        while len(drawn) < count:
            drawn = np.concatenate([drawn, self._accept(bound, count - len(drawn))])
        return drawn

    def _accept(self, bound: int, count: int) -> NDArray[np.int32]:
        """Make numbers of the next `count` words, by Lemire's method; it rejects a word in millions."""
        products = self._take(count).astype("<u8")
        products *= np.uint64(bound)
        low, high = products.view("<u4").reshape(-1, 2).T
        threshold = (1 << 32) % bound
        if threshold and int(low.min()) < threshold:
            high = high[low >= threshold]
        return high.astype(np.int32)

    def _take(self, count: int) -> NDArray[np.uint32]:
        """Take the next random words of 32 bits."""
        lacking = count - len(self._words)
        if lacking > 0:
            raw: Any = self._rng.bit_generator.random_raw(-(-lacking // 2))
            more = raw.astype("<u8", copy=False).view("<u4")
            self._words = np.concatenate([self._words, more]) if len(self._words) else more
        taken, self._words = self._words[:count], self._words[count:].copy()
        return taken


def sum_resamples(
    counts: NDArray[np.float64], resamples: int, draws: Draws
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Sum whole numbers (clusters, k), none below zero, over resamples of the clusters, some at a time.

    Yields:
        The places of some resamples, and their (k, resamples) sums; nothing without clusters.
    """
    from scipy.sparse import csr_array

    n = len(counts)
    if not n:
        return
    parts, middle = counts, np.zeros(counts.shape[1])
    if n * counts.max(initial=0) >= LARGEST_EXACT:
        middle = np.floor((counts.min(axis=0) + counts.max(axis=0)) / 2)
        parts = counts - middle
    kind: Any = np.float32 if n * np.abs(parts).max(initial=0) < LARGEST_EXACT else np.float64
    parts = np.ascontiguousarray(parts.T, dtype=kind)
    block = min(max(1, _BLOCK // n), resamples)
    drawn = csr_array(
        (
            np.ones(block * n, kind),
            np.zeros(block * n, np.int32),
            np.arange(0, block * n + 1, n, dtype=np.int32),
        ),
        shape=(block, n),
    )
    weights = np.empty((block, n), kind)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn.indices[: rows * n] = draws.draw(n, rows * n)
        sums = parts @ drawn.toarray(out=weights)[:rows].T
        if middle.any():
            sums = sums.astype(np.float64) + n * middle[:, None]
        yield slice(start, start + rows), sums
