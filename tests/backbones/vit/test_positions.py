"""The position table as DINOv2's code resamples it, against its definition in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from fssbench.backbones.vit.positions import resample_table


def weigh(distance: float) -> float:
    """Cubic convolution with a = -0.75, as torch's bicubic."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def resample_line(values: list[float], count: int) -> list[float]:
    """Resample one line to `count` cells, with the scale (count + 0.1) / side."""
    side, scale = len(values), (count + 0.1) / len(values)
    line = []
    for i in range(count):
        place = (i + 0.5) / scale - 0.5
        first = math.floor(place)
        line.append(
            sum(values[min(max(j, 0), side - 1)] * weigh(place - j) for j in range(first - 1, first + 3))
        )
    return line


@settings(max_examples=20)
@given(st.integers(2, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_both_axes_by_definition(side: int, rows: int, columns: int, seed: int) -> None:
    table = torch.randn(1, side * side, 1, generator=torch.Generator().manual_seed(seed))
    square = table.reshape(side, side).tolist()
    if (rows, columns) == (side, side):
        assert resample_table(table, (rows, columns)) is table
        return
    across = [resample_line(line, columns) for line in square]
    both = [resample_line([line[j] for line in across], rows) for j in range(columns)]
    expected = torch.tensor(both).T.reshape(1, -1, 1)
    torch.testing.assert_close(resample_table(table, (rows, columns)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [16, 29, 36, 38, 40])
def test_the_number_of_cells_is_exact(count: int) -> None:
    assert resample_table(torch.randn(1, 37 * 37, 2), (count, count)).shape == (1, count * count, 2)
