"""Deformable attention against its definition, cell by cell and point by point."""

from __future__ import annotations

import math

import pytest
import torch
from fssbench.methods.layers.deformable import DeformableAttention, make_rings
from torch import Tensor


def read_point(values: Tensor, x: float, y: float) -> Tensor:
    """The value (C,) of a map (C, h, w) between the cells around (x, y), which counts cells; zero outside the map."""
    left, top = math.floor(x), math.floor(y)
    total = values.new_zeros(len(values))
    for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        if 0 <= row < values.shape[1] and 0 <= column < values.shape[2]:
            share = (1 - abs(x - column)) * (1 - abs(y - row))
            total += share * values[:, row, column]
    return total


@torch.no_grad()
@pytest.mark.parametrize(("heads", "bias"), [(1, True), (4, False)])
def test_every_cell_reads_its_points(heads: int, bias: bool) -> None:
    torch.manual_seed(0)
    height, width, channels, points = 4, 3, 8, 5
    layer = DeformableAttention(channels, heads, points=points, bias=bias).double().eval()
    for parameter in layer.parameters():  # offsets of a few cells, some of them outside the map
        parameter.copy_(torch.randn_like(parameter))
    cells = torch.randn(2, height * width, channels, dtype=torch.float64)
    positions = torch.randn(height * width, channels, dtype=torch.float64)
    result = layer(cells, positions, (height, width))
    part = channels // heads
    for b in range(2):
        values = layer.value_proj(cells[b]).T.reshape(channels, height, width)
        for n in range(height * width):
            query = cells[b, n] + positions[n]
            offsets = layer.sampling_offsets(query).reshape(heads, points, 2)
            weights = layer.attention_weights(query).reshape(heads, points).softmax(dim=1)
            read = []
            for head in range(heads):
                own = values[head * part : (head + 1) * part]
                places = [(n % width + float(x), n // width + float(y)) for x, y in offsets[head]]
                read.append(
                    sum(w * read_point(own, *place) for w, place in zip(weights[head], places, strict=True))
                )
            expected = layer.output_proj(torch.cat(read))  # type: ignore[arg-type]
            assert torch.allclose(result[b, n], expected, atol=1e-10)
    assert (layer.value_proj.bias is not None) == bias


def test_points_start_on_rings_with_equal_weights() -> None:
    layer = DeformableAttention(8, 4, points=3)
    assert not layer.sampling_offsets.weight.any()
    assert not layer.attention_weights.weight.any()
    rings = make_rings(4, 3)
    assert torch.equal(layer.sampling_offsets.bias.view(4, 3, 2), rings)
    assert torch.allclose(rings.abs().amax(dim=2), torch.tensor([1.0, 2.0, 3.0]).expand(4, 3))
    assert torch.allclose(rings[0], torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]), atol=1e-6)
