"""Draws and sums of resamples are those of numpy, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fssbench.analysis.exchange_draws import draw_exchanges, unpack_signs
from fssbench.analysis.resampling import Draws, sum_resamples
from fssbench.analysis.statistics import compute_quantile


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**31), st.integers(0, 50)), max_size=8), st.integers(0, 99))
def test_draws_are_those_of_numpy(asked: list[tuple[int, int]], seed: int) -> None:
    """A bound near 2**31 rejects every second word, a small one nearly none."""
    mine, theirs = (np.random.Generator(np.random.Philox(key=seed)) for _ in range(2))
    draws = Draws(mine)
    for bound, count in asked:
        assert draws.draw(bound, count).tolist() == theirs.integers(0, bound, size=count).tolist()


@pytest.mark.parametrize(
    ("queries", "draws"), [(0, 9), (1, 8), (3, 1000), (7, 13), (60, 33_344), (2001, 2005)]
)
def test_exchanges_are_the_booleans_of_numpy(queries: int, draws: int) -> None:
    mine, theirs = (np.random.Generator(np.random.Philox(key=4)) for _ in range(2))
    for _ in range(2):
        signs = unpack_signs(draw_exchanges(queries, draws, mine), np.float32)[:, :draws]
        block = max(1, 2_000_000 // max(queries, 1))
        parts = [
            theirs.integers(0, 2, size=(queries, min(block, draws - start)), dtype=np.bool_)
            for start in range(0, draws, block)
        ]
        assert np.array_equal(signs, np.where(np.hstack(parts), -1, 1))


@pytest.mark.parametrize("largest", [100, 400_000, 2**24, 10**9])
def test_sums_are_exact_for_counts_of_every_size(largest: int) -> None:
    counts = np.random.default_rng(largest).integers(0, largest + 1, size=(60, 4))
    rng, again = (np.random.Generator(np.random.Philox(key=1)) for _ in range(2))
    sums = np.hstack([part for _, part in sum_resamples(counts.astype(float), 2500, Draws(rng))])
    drawn = again.integers(0, 60, size=(2500, 60))
    assert np.array_equal(sums, counts[drawn].sum(axis=1).T)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["normal", "heavy", "ties", "two", "sorted"]), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(seed: int, kind: str, share: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9000))
    numbers = {
        "normal": rng.normal(3, 2, n),
        "heavy": rng.standard_cauchy(n),
        "ties": rng.integers(0, 5, n).astype(float),
        "two": np.where(rng.random(n) < 0.03, -1e9, rng.random(n)),
        "sorted": np.sort(rng.normal(size=n)),
    }[kind]
    for wanted in (share, 0.025, 0.975):
        assert compute_quantile(numbers, wanted) == np.quantile(numbers, wanted)
