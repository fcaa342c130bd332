"""The enrichment module: scales, merging, top-down information, names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fssbench.methods.layers.pfenet_head import (
    WIDTH,
    FeatureEnrichment,
    make_merge,
    make_narrowing,
    make_reduction,
    rename_head,
    scale_size,
)
from fssbench.methods.layers.resize import resize
from fssbench.methods.layers.supervision import compute_enriched_loss, compute_resized_loss
from torch import Tensor, nn
from torch.nn import functional


def module(scales: tuple[float, ...] = (6, 3)) -> FeatureEnrichment:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FeatureEnrichment(scales).eval()


def source(size: tuple[int, int], seed: int = 0) -> Any:
    return torch.rand(1, WIDTH, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("scale", "cells"), [(60, (60, 60)), (8, (8, 8)), (1, (33, 17)), (0.5, (16, 8)), (0.01, (1, 1))]
)
def test_scales_are_sides_above_one_and_shares_up_to_one(scale: float, cells: tuple[int, int]) -> None:
    assert scale_size(scale, (33, 17)) == cells


def test_resize_leaves_equal_sizes_alone() -> None:
    maps = torch.rand(1, 2, 5, 7)
    assert resize(maps, (5, 7)) is maps
    corners = resize(maps, (9, 13))
    assert torch.allclose(corners[..., ::8, ::12], maps[..., ::4, ::6])


@torch.no_grad()
def test_a_merged_map_holds_pooled_cells_then_vectors_then_likeness() -> None:
    cells, vector, likeness = torch.rand(2, 3, 8, 8), torch.rand(2, 4), torch.rand(2, 1, 8, 8)
    merged = make_merge(nn.ModuleList([nn.Identity()]), cells, (vector,), likeness)(0, (4, 4))
    assert merged.shape == (2, 8, 4, 4)
    assert torch.allclose(merged[:, :3], functional.avg_pool2d(cells, 2))
    assert torch.equal(merged[:, 3:7], vector[:, :, None, None].expand(-1, -1, 4, 4))
    assert torch.allclose(merged[:, 7:], resize(likeness, (4, 4)))
    assert make_merge(nn.ModuleList([nn.Identity()]), cells, (vector, vector))(0, (2, 2)).shape == (
        2,
        11,
        2,
        2,
    )


def plain(conv: nn.Module, x: Tensor) -> Tensor:
    weight = conv.weight
    assert isinstance(weight, Tensor)
    return functional.conv2d(x, weight, padding=weight.shape[-1] // 2).clamp(min=0)


@torch.no_grad()
def test_two_scales_written_out() -> None:
    head, size = module((6, 3)), (5, 5)
    first, second = source((6, 6), 1), source((3, 3), 2)
    result = head(lambda i, inner: (first, second)[i], size)

    def refine(pair: Any, x: Tensor) -> Tensor:
        return x + plain(pair[2], plain(pair[0], x))

    def enlarge(x: Tensor, side: int) -> Tensor:
        return functional.interpolate(x, (side, side), mode="bilinear", align_corners=True)

    fine = refine(head.beta_conv[0], first)
    informed = second + plain(head.alpha_conv[0][0], torch.cat([second, enlarge(enlarge(fine, 5), 3)], 1))
    coarse = refine(head.beta_conv[1], informed)
    joint = plain(head.res1[0], torch.cat([enlarge(fine, 5), enlarge(coarse, 5)], 1))
    joint = refine(head.res2, joint)
    logits = functional.conv2d(plain(head.cls[0], joint), head.cls[3].weight, head.cls[3].bias)
    assert torch.allclose(result.logits, logits, atol=1e-4)
    assert torch.allclose(result.cells[1], coarse, atol=1e-4)


@torch.no_grad()
def test_each_scale_is_informed_by_the_finer_one_of_this_or_another_pass() -> None:
    head, size = module((6, 3)), (5, 5)
    first = head(lambda i, inner: source(inner), size)
    assert torch.equal(head(lambda i, inner: source(inner), size, first.levels).logits, first.logits)
    other = head(lambda i, inner: source(inner), size, [2 * level for level in first.levels])
    assert torch.equal(other.cells[0], first.cells[0])
    assert not torch.allclose(other.cells[1], first.cells[1])


@torch.no_grad()
def test_one_scale_alone_works_and_sizes_are_kept() -> None:
    for scales in ((4,), (6, 3, 1, 0.5)):
        head = module(scales)
        result = head(lambda i, inner: source(inner), (5, 7))
        assert result.logits.shape == (1, 2, 5, 7)
        assert [tuple(a.shape) for a in head.auxiliary(result)] == [
            (1, 2, *scale_size(scale, (5, 7))) for scale in scales
        ]
        assert len(head.alpha_conv) == len(scales) - 1


def test_dropout_is_where_the_reference_has_it() -> None:
    rates = [m.p for m in make_narrowing(4).modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0.5]
    assert not any(isinstance(m, nn.Dropout2d) for m in make_reduction(4).modules())
    assert {m.p for m in module().modules() if isinstance(m, nn.Dropout2d)} == {0.1}


def test_names_of_the_authors() -> None:
    assert rename_head("alpha_conv.0.0.weight") == "enrich.alpha_conv.0.0.weight"
    assert rename_head("cls.3.bias") == "enrich.cls.3.bias"
    assert rename_head("init_merge.2.0.weight") == "init_merge.2.0.weight"
    assert rename_head("cls_aux.0.weight") == "cls_aux.0.weight"


def test_pixel_loss_is_cross_entropy_over_counted_pixels_of_each_episode() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 6, 6, generator=generator)
    target = torch.rand(2, 6, 6, generator=generator) > 0.5
    ignore = torch.zeros(2, 6, 6, dtype=torch.bool)
    assert torch.allclose(
        compute_resized_loss(logits, target, ignore), functional.cross_entropy(logits, target.long())
    )
    ignore[0, :4] = True
    labels = target.long().masked_fill(ignore, 255)
    each = [functional.cross_entropy(logits[b : b + 1], labels[b : b + 1], ignore_index=255) for b in (0, 1)]
    assert torch.allclose(compute_resized_loss(logits, target, ignore), (each[0] + each[1]) / 2)
    assert compute_resized_loss(logits, target, torch.ones_like(ignore)) == 0


def test_the_whole_loss_adds_the_mean_over_scales() -> None:
    head = module((6, 3))
    result = head(lambda i, inner: source(inner), (5, 5))
    target, ignore = torch.ones(1, 9, 9, dtype=torch.bool), torch.zeros(1, 9, 9, dtype=torch.bool)
    scales = [compute_resized_loss(logits, target, ignore) for logits in head.auxiliary(result)]
    total = compute_enriched_loss(head, result, target, ignore)
    assert torch.allclose(total, compute_resized_loss(result.logits, target, ignore) + sum(scales) / 2)
    total.backward()
    assert all(p.grad is not None for p in head.parameters())
