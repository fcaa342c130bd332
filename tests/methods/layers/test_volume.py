"""Layers on affinity volumes against loops over the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fssbench.methods.layers.correlation import LENGTH_EPS, multiply_pairs, scale_cells
from fssbench.methods.layers.prototypes import scale_to_unit
from fssbench.methods.layers.volume import (
    CentrePivotConv4d,
    VolumeBatchNorm,
    VolumeGroupNorm,
    Window,
    add_up,
    apply_over_query,
    apply_over_support,
    average_support,
    crop,
    resize_planes,
)
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn


def full_4d(volume: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """4-D cross-correlation by definition; kernel (out, in, k, k, k, k), stride on the support plane."""
    pad = kernel.shape[-1] // 2
    padded = np.pad(volume.numpy(), [(0, 0), (0, 0)] + [(pad, pad)] * 4)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3, 4, 5))
    windows = windows[:, :, :, :, ::stride, ::stride]
    return torch.from_numpy(np.einsum("bcpqrsijkl,ocijkl->bopqrs", windows, kernel.numpy()))


@settings(max_examples=25, deadline=None)
@given(
    plane=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 4]),
    channels_last=st.booleans(),
)
def test_centre_pivot_is_a_4d_convolution_with_a_sparse_kernel(
    plane: tuple[int, int, int, int], kernel: int, stride: int, channels_last: bool
) -> None:
    torch.manual_seed(0)
    layer = CentrePivotConv4d(2, 3, kernel, stride=stride).double()
    volume = torch.randn(2, 2, *plane, dtype=torch.float64)
    given = volume.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else volume
    sparse = torch.zeros(3, 2, *(kernel,) * 4, dtype=torch.float64)
    middle = kernel // 2
    with torch.no_grad():
        sparse[:, :, :, :, middle, middle] += layer.conv1.weight
        sparse[:, :, middle, middle] += layer.conv2.weight
        bias = (layer.conv1.bias + layer.conv2.bias).view(1, -1, 1, 1, 1, 1)
        assert torch.allclose(layer(given), full_4d(volume, sparse, stride) + bias, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    plane=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    box=st.tuples(*[st.integers(0, 12)] * 4),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 4]),
)
def test_a_window_gives_the_same_as_the_whole_plane(
    plane: tuple[int, int], box: tuple[int, int, int, int], kernel: int, stride: int
) -> None:
    """Values and gradients; the object is a box, perhaps empty, in a plane of any size."""
    torch.manual_seed(0)
    layer = CentrePivotConv4d(2, 3, kernel, stride=stride).double()
    mask = torch.zeros(1, *plane, dtype=torch.float64)
    mask[:, box[0] : box[1] + 1, box[2] : box[3] + 1] = 0.5
    volume = (torch.randn(1, 2, 3, 2, *plane, dtype=torch.float64) * mask).requires_grad_()
    expected = layer(volume)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), [volume, *layer.parameters()])
    window = layer.find_window(mask)
    if window is None:  # the object is near all borders
        window = Window(slice(0, plane[0]), slice(0, plane[1]), plane)
    result = layer(crop(volume, window), window)
    assert torch.allclose(result, expected, atol=1e-12)
    gradients = torch.autograd.grad((result * weights).sum(), [volume, *layer.parameters()])
    for ours, theirs in zip(gradients, wanted, strict=True):
        inside = mask.bool().expand_as(ours) if ours is gradients[0] else torch.ones_like(ours).bool()
        assert torch.allclose(ours[inside], theirs[inside], atol=1e-11)


def test_a_window_covers_the_objects_of_all_episodes() -> None:
    masks = torch.zeros(2, 16, 16)
    masks[0, 2, 3], masks[1, 9, 5] = 1, 1
    window = CentrePivotConv4d(1, 1, 3, stride=2).find_window(masks)
    assert window is not None
    assert (window.rows, window.columns, window.plane) == (slice(0, 11), slice(2, 7), (16, 16))


@pytest.mark.parametrize("over", [apply_over_query, apply_over_support])
def test_layers_touch_one_plane_only(over) -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1)
    volume = torch.zeros(1, 1, 5, 5, 5, 5)
    volume[0, 0, 2, 2, 2, 2] = 1
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.zero_()
        reached = over(layer, volume)[0, 0].nonzero()
    moved, still = (
        (reached[:, :2], reached[:, 2:]) if over is apply_over_query else (reached[:, 2:], reached[:, :2])
    )
    assert len(reached) == 9
    assert (still == 2).all()
    assert moved.min() == 1
    assert moved.max() == 3


@pytest.mark.parametrize("episodes", [1, 2])
@pytest.mark.parametrize("over", [apply_over_query, apply_over_support])
def test_layers_read_images_whose_channels_come_last(over, episodes: int) -> None:
    volume = torch.randn(episodes, 3, 4, 2, 5, 3, 6).movedim(-1, 1)[:, :, 0]
    read = []
    over(lambda images: read.append(images) or images, volume)
    (images,) = read
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("over", [apply_over_query, apply_over_support])
def test_gradients_reach_layers_with_the_channels_last_and_unchanged(over) -> None:
    torch.manual_seed(0)
    volume = torch.randn(2, 3, 4, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    layer = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).double()
    seen = []
    layer.register_full_backward_hook(lambda _, __, grads: seen.append(grads[0]))
    out = over(layer, volume)
    weights = torch.randn_like(out)
    (got,) = torch.autograd.grad((out * weights).sum(), volume)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)

    axes = (0, 4, 5, 1, 2, 3) if over is apply_over_query else (0, 2, 3, 1, 4, 5)
    planes = volume.permute(axes).flatten(0, 2)
    scales = weights.permute(axes).flatten(0, 2)
    (expected,) = torch.autograd.grad((layer(planes) * scales).sum(), volume)
    assert torch.allclose(got, expected, atol=1e-12)


def test_over_query_is_over_support_of_the_transpose() -> None:
    volume = torch.randn(2, 3, 4, 5, 6, 7)
    conv = nn.Conv2d(3, 2, 3)
    swapped = volume.permute(0, 1, 4, 5, 2, 3)
    assert torch.allclose(
        apply_over_query(conv, volume), apply_over_support(conv, swapped).permute(0, 1, 4, 5, 2, 3), atol=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.sampled_from([4, 8, 16]), st.integers(2, 6), st.floats(-50, 50))
def test_norms_are_torch_s(batch: int, channels: int, side: int, offset: float) -> None:
    torch.manual_seed(1)
    volume = torch.randn(batch, channels, side, 2, side, 3) + offset
    group, batch_norm = VolumeGroupNorm(4, channels), VolumeBatchNorm(channels)
    for norm in (group, batch_norm):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    expected = nn.functional.group_norm(volume.double(), 4, group.weight.double(), group.bias.double())
    assert torch.allclose(group(volume).double(), expected, atol=2e-3 if abs(offset) > 10 else 1e-5)
    plain = nn.BatchNorm3d(channels)
    plain.load_state_dict(batch_norm.state_dict())
    assert torch.allclose(
        batch_norm(volume), plain(volume.flatten(2).unflatten(2, (-1, 1, 1))).view_as(volume), atol=1e-3
    )
    assert torch.allclose(batch_norm.running_mean, plain.running_mean, rtol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (0, 3, 4, 1, 2, 5)])
def test_norm_and_bound_in_parts_are_norm_and_relu(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever plane comes first in memory; a mean far from zero, parts of different sizes, two episodes."""
    monkeypatch.setattr("fssbench.methods.layers.volume._VALUES_AT_ONCE", 100)
    norm = VolumeGroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    volume = (torch.randn(2, 3, 4, 2, 5, 8) + 30).permute(order).contiguous()
    volume = volume.permute(order).movedim(-1, 1)
    expected = nn.functional.group_norm(volume.double(), 4, norm.weight.double(), norm.bias.double()).relu()
    with torch.no_grad():
        assert torch.allclose(norm.normalise_and_bound(volume.clone()).double(), expected, atol=2e-5)
        given = volume.clone()
        assert norm.normalise_and_bound(given).data_ptr() == given.data_ptr()
    assert torch.allclose(norm.normalise_and_bound(volume).double(), expected, atol=2e-5)


def test_group_norm_is_exact_on_large_volumes_with_a_large_mean() -> None:
    volume = torch.randn(1, 4, 20, 20, 20, 20) * 0.3 + 2
    norm = VolumeGroupNorm(4, 4)
    last = volume.movedim(1, -1).contiguous().movedim(-1, 1)
    expected = nn.functional.group_norm(volume.double(), 4)
    assert (norm(last) - expected).abs().max() < 2e-5


def test_group_norm_keeps_bfloat16_and_takes_its_means_in_single_precision() -> None:
    volume = (torch.randn(1, 4, 9, 9, 9, 9) + 1).bfloat16()
    norm = VolumeGroupNorm(4, 4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    normed = norm(volume)
    expected = nn.functional.group_norm(volume.double(), 4, norm.weight.double(), norm.bias.double())
    assert normed.dtype == torch.bfloat16
    assert ((normed - expected).abs() <= 2**-6 * (1 + expected.abs())).all()


@pytest.mark.parametrize("order", ["query first", "support first"])
@torch.no_grad()
def test_norm_and_bound_keep_bfloat16_and_compute_in_single_precision(order: str) -> None:
    norm = VolumeGroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    volume = (torch.randn(2, 3, 4, 2, 5, 8) + 3).bfloat16().movedim(-1, 1)
    if order == "support first":
        volume = volume.permute(0, 1, 4, 5, 2, 3)
    expected = nn.functional.group_norm(volume.double(), 4, norm.weight.double(), norm.bias.double()).relu()
    bounded = norm.normalise_and_bound(volume)
    assert bounded.data_ptr() == volume.data_ptr()
    assert bounded.dtype == torch.bfloat16
    assert ((bounded - expected).abs() <= 2**-8 * expected.abs() + 1e-5).all()


@torch.no_grad()
def test_norm_and_bound_in_bfloat16_are_exact_for_a_mean_of_many_deviations() -> None:
    """Sums of squares in single precision, as torch's kernel has them, would be wrong by many times the rounding."""
    norm = VolumeGroupNorm(2, 4)
    volume = (torch.randn(1, 25, 25, 25, 25, 4) - 20).bfloat16().movedim(-1, 1)
    expected = nn.functional.group_norm(volume.double(), 2).relu()
    bounded = norm.normalise_and_bound(volume)
    assert bounded.data_ptr() == volume.data_ptr()
    assert ((bounded - expected).abs() <= 2**-8 * expected.abs() + 1e-4).all()


@torch.no_grad()
def test_few_support_cells_are_mixed_in_bfloat16_too() -> None:
    layer = CentrePivotConv4d(6, 4, 3)
    volume = torch.randn(1, 6, 5, 4, 2, 2)
    over_query = apply_over_query(layer.conv1, volume)
    expected = over_query + apply_over_support(layer.conv2, volume)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(volume.bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert (mixed - expected).abs().max() < 2**-5 * expected.abs().max()


def test_bounded_products_stay_in_bfloat16_and_others_do_not() -> None:
    query, support = ([torch.randn(1, 9, *size).bfloat16()] for size in ((3, 4), (5, 2)))
    support[0][..., 1:3, :] = 0
    with torch.autocast("cpu", torch.bfloat16):
        expected = multiply_pairs(query, support, at_least=0, prepare=scale_cells)
        assert multiply_pairs(query, support, bounded=True).dtype == torch.float32, "gradients may be needed"
        with torch.no_grad():
            low = multiply_pairs(query, support, at_least=0, prepare=scale_cells, bounded=True)
    assert (expected.dtype, low.dtype) == (torch.float32, torch.bfloat16)
    assert (low - expected).abs().max() < 2**-6
    assert (low[..., 1:3, :] == 0).all()


def test_pairwise_is_every_inner_product() -> None:
    query = [torch.randn(2, c, 3, 4) for c in (5, 7)]
    support = [torch.randn(2, c, 2, 6) for c in (5, 7)]
    volume = multiply_pairs(query, support)
    assert volume.shape == (2, 2, 3, 4, 2, 6)
    for tap in range(2):
        expected = torch.einsum("bchw,bcij->bhwij", query[tap], support[tap])
        assert torch.allclose(volume[:, tap], expected, atol=1e-5)


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_cells_outside_an_object_have_products_of_zero(taps: int, dtype: torch.dtype) -> None:
    query = [torch.randn(2, 5, 3, 4) for _ in range(taps)]
    support = [torch.randn(2, 5, 2, 6) for _ in range(taps)]
    for maps in support:
        maps[..., 1:4] = 0
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        volume = multiply_pairs(query, support, prepare=scale_cells, bounded=True)
    assert volume.dtype == dtype
    for tap in range(taps):
        asked, others = (scale_to_unit(maps[tap], eps=LENGTH_EPS) for maps in (query, support))
        expected = torch.einsum("bchw,bcij->bhwij", asked, others)
        assert (volume[:, tap] - expected).abs().max() < (1e-5 if dtype is torch.float32 else 2**-6)
        assert (volume[:, tap, ..., 1:4] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_volumes_in_other_orders_are_added_in_the_memory_of_the_first(dtype: torch.dtype) -> None:
    one = torch.randn(2, 3, 4, 5, 2, 6).to(dtype).movedim(-1, 1)
    other = torch.randn(2, 5, 2, 3, 4, 6).to(dtype).permute(0, 5, 3, 4, 1, 2)
    expected = one + other
    total = add_up(one, other)
    assert torch.equal(total, expected)
    assert total.data_ptr() == one.data_ptr()


def test_unit_has_length_one_and_survives_zero() -> None:
    features = torch.randn(2, 6, 3, 3)
    features[0, :, 0, 0] = 0
    lengths = scale_to_unit(features, eps=LENGTH_EPS).norm(dim=1)
    assert lengths[0, 0, 0] == 0
    assert (lengths.flatten()[1:] - 1).abs().max() < 1e-4


def test_resize_planes_keeps_corners_and_linear_ramps() -> None:
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1, 1).expand(1, 1, 4, 2, 3, 2)
    out = resize_planes(ramp, (7, 3), (2, 5))
    assert out.shape == (1, 1, 7, 3, 2, 5)
    assert torch.allclose(out[0, 0, :, 0, 0, 0], torch.arange(7.0) / 2, atol=1e-5)
    assert resize_planes(ramp, (4, 2), (3, 2)) is ramp


@pytest.mark.parametrize("plane", [(1, 1), (2, 2), (3, 2)])
def test_an_average_over_the_support_plane_is_the_mean(plane: tuple[int, int]) -> None:
    volume = torch.randn(2, 4, 5, *plane, 3).movedim(-1, 1)
    expected = volume.double().mean(dim=(4, 5))
    assert torch.allclose(average_support(volume).double(), expected, atol=1e-6)
    with torch.no_grad():
        quick = average_support(volume)
        low = average_support(volume.bfloat16())
    assert quick.is_contiguous(), "decoders get the same order in memory"
    assert torch.allclose(quick.double(), expected, atol=1e-6)
    assert low.dtype == torch.bfloat16
    exact = volume.bfloat16().double().mean(dim=(4, 5))
    assert torch.allclose(low.double(), exact, rtol=2**-8, atol=1e-6)


@torch.no_grad()
def test_an_average_over_the_support_plane_is_the_mean_to_the_bit() -> None:
    query_first = torch.randn(1, 7, 6, 2, 2, 40).movedim(-1, 1)
    support_first = torch.randn(1, 2, 2, 7, 6, 40).permute(0, 5, 3, 4, 1, 2)
    larger = torch.randn(1, 7, 6, 3, 3, 40).movedim(-1, 1)
    for volume in (query_first, support_first, larger):
        assert torch.equal(average_support(volume), volume.mean(dim=(4, 5)))
