"""Optimised operators against their plain forms, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from inspect import signature
from typing import Any

import pytest
import reference_order as plain
import torch
from fssbench.methods.dcama import MaskAttention
from fssbench.methods.layers.correlation import multiply_pairs, scale_cells
from fssbench.methods.layers.prototypes import scale_to_unit
from fssbench.methods.layers.resize import convolve_resized
from fssbench.methods.panet.prototype import average_masked
from fssbench.methods.patnet import _make_axes, _make_coordinates, _map_to_axes, _transform
from fssbench.methods.pmnet.head import PlaneBranch, _make_plane_branch, compute_coarse_map
from fssbench.methods.vat.head import PooledConv4d
from fssbench.methods.vat.pooling import pool_cosines
from fssbench.methods.vat.swin import Swin
from torch import Tensor, nn


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def make_branch() -> PlaneBranch:
    branch = _make_plane_branch(3).double().eval()
    for norm in branch[1::3]:
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(values, 0.5, 2.0)
    return branch


def list_cases() -> dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]]:
    """Optimised form, plain form and inputs of each operator."""
    torch.manual_seed(0)
    conv, uneven = (nn.Conv2d(7, 5, k, padding=(k[0] // 2, k[1] // 2)).double() for k in ((3, 3), (5, 1)))
    attention, branch = MaskAttention(6, 3).double().eval(), make_branch()

    def pairs(multiply: Any) -> Callable[..., Tensor]:
        return lambda q, s, r, t: multiply([q, r], [s, t], at_least=0, prepare=scale_cells)

    def objects(*shape: int, rows: slice = slice(1, 3), columns: slice = slice(2)) -> Tensor:
        """Cells outside a box are zero."""
        maps = torch.zeros(shape, dtype=torch.float64)
        maps[..., rows, columns] = torch.randn_like(maps[..., rows, columns])
        return maps.requires_grad_()

    def pooled(pool: Any, layer: PooledConv4d) -> Callable[..., Tensor]:
        return lambda q, s, r, t: layer(pool([q, r], [s, t], layer.strides))

    def pooled_case(strides: tuple[int, int], draw_support: Callable[..., Tensor]) -> Any:
        layer = PooledConv4d(2, 3, *strides).double()
        maps = [draw(2, 5, 6, 4), draw_support(2, 5, 8, 12), draw(2, 6, 6, 4), draw_support(2, 6, 8, 12)]
        return pooled(pool_cosines, layer), pooled(plain.pool_cosines, layer), maps

    def swin_case(*dims: int) -> Any:
        swin = Swin(8, 2, 2, 2, len(dims)).double().eval()

        def plain_swin(maps: Tensor) -> Tensor:
            grid = reduce(lambda cells, block: block(cells), swin.blocks, maps.movedim(1, -1))
            return swin.norm(grid).movedim(-1, 1)

        return swin, plain_swin, [draw(2, 8, *dims)]

    return {
        "resized": (
            lambda low, high: convolve_resized(conv, low, high),
            lambda low, high: plain.convolve_resized(conv, low, high),
            [draw(2, 4, 3, 4), draw(2, 3, 7, 5)],
        ),
        "resized, uneven kernel": (
            lambda low, high: convolve_resized(uneven, low, high),
            lambda low, high: plain.convolve_resized(uneven, low, high),
            [draw(2, 4, 3, 4), draw(2, 3, 7, 5)],
        ),
        "unit": (
            lambda maps: scale_to_unit(maps, eps=1e-5),
            lambda maps: plain.scale_to_unit(maps, eps=1e-5),
            [draw(2, 5, 3, 4)],
        ),
        "pairs": (
            pairs(multiply_pairs),
            pairs(plain.multiply_pairs),
            [draw(2, 5, 3, 2), draw(2, 5, 4, 3), draw(2, 6, 3, 2), draw(2, 6, 4, 3)],
        ),
        "pairs of equal taps": (
            pairs(multiply_pairs),
            pairs(plain.multiply_pairs),
            [draw(2, 5, 3, 2), draw(2, 5, 4, 3), draw(2, 5, 3, 2), draw(2, 5, 4, 3)],
        ),
        "pairs with an object": (
            pairs(multiply_pairs),
            pairs(plain.multiply_pairs),
            [draw(2, 5, 3, 2), objects(2, 5, 4, 3), draw(2, 6, 3, 2), objects(2, 6, 4, 3)],
        ),
        "pooled cosines": pooled_case((2, 2), draw),
        "pooled cosines of a box": pooled_case(
            (2, 2), partial(objects, rows=slice(3, 5), columns=slice(5, 9))
        ),
        "pooled cosines of a corner": pooled_case(
            (1, 2), partial(objects, rows=slice(7, 8), columns=slice(3))
        ),
        "cosines of a box, pooled over the query": pooled_case((2, 1), objects),
        "cosines of no object": pooled_case((2, 2), partial(objects, rows=slice(0), columns=slice(0))),
        "shifted windows of images": swin_case(4, 6),
        "shifted windows of volumes": swin_case(4, 4, 2, 4),
        "coarse map": (
            lambda a, b, mask: compute_coarse_map([a, b], mask),
            lambda a, b, mask: plain.compute_coarse_map([a, b], mask),
            [draw(2, 3, 4, 3, 2, 4, 5), draw(2, 3, 4, 3, 2, 4, 5), draw(2, 2, 4, 5)],
        ),
        "masked average": (
            average_masked,
            plain.compute_cell_average,
            [draw(2, 3, 4, 5, 6), draw(2, 3, 13, 17)],
        ),
        "mask attention": (
            attention,
            lambda q, s, v: plain.gather_masks(attention, q, s, v),
            [draw(2, 7, 6), draw(2, 5, 6), draw(2, 5)],
        ),
        "plane branch": (branch, lambda maps: plain.apply_in_turn(branch, maps), [draw(2, 3, 6, 5)]),
    }


CASES = tuple(list_cases())


@pytest.mark.parametrize("name", CASES)
def test_an_optimised_operator_is_its_plain_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fssbench.methods.dcama._SCORES_AT_ONCE", 11)  # two rows at a time for each thread
    monkeypatch.setattr("fssbench.methods.layers.correlation._PRODUCTS_AT_ONCE", 200)
    monkeypatch.setattr("fssbench.methods.vat.pooling._PRODUCTS_AT_ONCE", 70)
    monkeypatch.setattr("fssbench.methods.vat.swin._VALUES_AT_ONCE", 500)
    ours, theirs, inputs = list_cases()[name]
    expected = theirs(*inputs)
    with torch.no_grad():
        assert torch.allclose(ours(*inputs), expected, atol=1e-12)
        with plain.as_on_a_gpu():
            assert torch.allclose(ours(*inputs), expected, atol=1e-12)
    result = ours(*inputs)
    assert torch.allclose(result, expected, atol=1e-12)
    weights = torch.randn_like(expected)
    gradients = (
        torch.autograd.grad((out * weights).sum(), inputs, retain_graph=True) for out in (result, expected)
    )
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


@pytest.mark.parametrize("operator", plain.FUNCTIONS)
def test_a_plain_form_takes_the_options_of_its_operator(operator: Callable[..., Any]) -> None:
    def list_options(function: Callable[..., Any]) -> set[str]:
        return {p.name for p in signature(function).parameters.values() if p.default is not p.empty}

    assert list_options(operator) <= list_options(plain.FUNCTIONS[operator])


def test_two_coordinates_have_the_cosines_of_transformed_features() -> None:
    torch.manual_seed(0)
    query, support, anchors = draw(2, 9, 3, 4), draw(2, 9, 4, 2), draw(2, 9)
    coordinates = _make_coordinates(support, torch.rand(2, 1, 4, 2, dtype=torch.float64))
    axes = _make_axes(coordinates, anchors)

    def compute_cosines(change: Callable[..., Tensor], how: Any) -> Tensor:
        q, s = (scale_to_unit(change(maps, *how), eps=1e-5) for maps in (query, support))
        return multiply_pairs([q], [s])

    short, long = compute_cosines(_map_to_axes, [axes]), compute_cosines(_transform, [coordinates, anchors])
    assert torch.allclose(short, long, atol=1e-12)
    weights = torch.randn_like(long)
    gradients = (
        torch.autograd.grad((out * weights).sum(), [query, support, anchors], retain_graph=True)
        for out in (short, long)
    )
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-10)
