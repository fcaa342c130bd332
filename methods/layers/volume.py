"""Four-dimensional affinity volumes between a query plane and a support plane, and layers on them.

A volume is (B, L, hq, wq, hs, ws): L channels for every pair of a query cell and a support cell.

In memory the channels come last, so that both two-dimensional convolutions read channels-last images: a view over
the support plane, and a copy of whole channel vectors over the query plane.  On a CPU this takes half the time of
channels-first copies and a fifth of that of a three-dimensional convolution.  The layers compute the same numbers for
any memory layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .correlation import to_single
from .processor import count_at_once, runs_on_processor
from .resize import Size, read_size, resize

_VALUES_AT_ONCE = 1 << 18
"""Number of values that each thread norms together, so that they stay in the processor's cache."""
_DEVIATIONS = 4
"""Distance of a mean from zero, in standard deviations, up to which sums of squares in single precision give the
deviation to 0.2 %, with up to 25 million values: half of the rounding of bfloat16."""
_CELLS_SUMMED = 4
"""Largest number of cells whose average is summed map by map; torch sums up to so many in the same order."""
Layer = Callable[[Tensor], Tensor]
"""Anything on images (N, C, h, w)."""


class Window(NamedTuple):
    """A part of the support plane; all cells of a volume outside of it are zero."""

    rows: slice
    columns: slice
    plane: Size
    """Height and width of the whole plane."""


def crop(maps: Tensor, window: Window | None) -> Tensor:
    """Crop maps (..., hs, ws) of the whole plane to a window; None for the whole plane."""
    return maps if window is None else maps[..., window.rows, window.columns]


def find_window(occupied: Tensor, reach: int, stride: int = 1) -> Window | None:
    """Find the window of a plane that contains its occupied cells and every cell that a layer mixes with them.

    Args:
        occupied: which cells are not zero (h, w), bool.
        reach: number of cells on each side that the kernel of the layer mixes.
        stride: stride of the layer, which has its first pivot in the first cell of the window.

    Returns:
        None for the whole plane.
    """
    rows, columns = (_widen(occupied.any(dim=dim), reach, stride) for dim in (1, 0))
    plane = read_size(occupied)
    whole = (rows.stop - rows.start, columns.stop - columns.start) == plane
    return None if whole else Window(rows, columns, plane)


def _widen(occupied: Tensor, reach: int, stride: int) -> slice:
    """Widen the range of occupied rows or columns by the reach of a kernel, from a multiple of the stride on.

    Cells before the range are then no neighbours of the object.
    """
    places = occupied.nonzero()
    if not len(places):
        return slice(0, min(stride, len(occupied)))
    start = max(int(places[0]) - reach, 0)
    return slice(start - start % stride, min(int(places[-1]) + reach + 1, len(occupied)))


def surround(inside: Tensor, bias: Tensor, plane: Size, corner: tuple[int, int]) -> Tensor:
    """Put the result of a window into the whole plane; elsewhere a convolution of zeros leaves the biases.

    Args:
        inside: (B, C, hq, wq, h, w).
        bias: sum of the biases (C).
        plane: height and width of the support plane of the result.
        corner: row and column of it at which `inside` begins.
    """
    batch, _, rows, columns, height, width = inside.shape
    whole = bias.to(inside.dtype).expand(batch, rows, columns, *plane, -1).contiguous().movedim(-1, 1)
    top, left = corner
    whole[..., top : top + height, left : left + width] = inside
    return whole


def sum_biases(one: nn.Conv2d, other: nn.Conv2d) -> Tensor:
    """Sum the biases (C) of two layers that are made with a bias."""
    assert one.bias is not None
    assert other.bias is not None
    return one.bias + other.bias


def add_up(one: Tensor, other: Tensor) -> Tensor:
    """Add two volumes that nobody needs afterwards, in the memory of the first one where that is possible."""
    if not runs_on_processor(one):
        return one + other
    if torch.finfo(one.dtype).bits < 32:
        # torch adds numbers of lower precision one by one if they lie in another order: five times as slow
        other = torch.empty_like(one).copy_(other)
    return one.add_(other)


def _keep_gradient_layout(images: Tensor) -> Tensor:
    """Make the gradient of images contiguous with channels last.  The images stay the same.

    Gradients arrive in the layout of the volume.  Without this, the backward passes of the layers use strided loops
    and are several times slower.
    """
    if images.requires_grad:
        images.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
    return images


def apply_over_query(layer: Layer, volume: Tensor) -> Tensor:
    """Apply a layer on images (N, C, h, w) to the query plane, at every support cell by itself."""
    batch, _, _, _, height, width = volume.shape
    planes = volume.permute(0, 4, 5, 2, 3, 1).flatten(0, 2)
    if volume.device.type == "cpu":
        # for one episode `flatten` is a view, whose channels come first for convolutions
        planes = planes.contiguous()
    out = torch.unflatten(_keep_gradient_layout(layer(planes.permute(0, 3, 1, 2))), 0, (batch, height, width))
    return out.permute(0, 3, 4, 5, 1, 2)


def apply_over_support(layer: Layer, volume: Tensor) -> Tensor:
    """Apply a layer on images (N, C, h, w) to the support plane, at every query cell by itself."""
    batch, _, height, width, _, _ = volume.shape
    planes = volume.permute(0, 2, 3, 4, 5, 1).flatten(0, 2).permute(0, 3, 1, 2)
    out = torch.unflatten(_keep_gradient_layout(layer(planes)), 0, (batch, height, width))
    return out.permute(0, 3, 1, 2, 4, 5)


def resize_planes(volume: Tensor, query: Sequence[int], support: Sequence[int]) -> Tensor:
    """Resize the query plane to `query` and the support plane to `support`, bilinearly, corners aligned."""
    if tuple(volume.shape[2:4]) != tuple(query):
        volume = apply_over_query(partial(_resize_channels_last, size=(int(query[0]), int(query[1]))), volume)
    if tuple(volume.shape[4:6]) != tuple(support):
        volume = apply_over_support(
            partial(_resize_channels_last, size=(int(support[0]), int(support[1]))), volume
        )
    return volume


def _resize_channels_last(images: Tensor, size: Size) -> Tensor:
    """Resize many small images (N, C, h, w); channels first, one thread of a GPU goes through all N * C of a cell."""
    return resize(images.contiguous(memory_format=torch.channels_last), size)


def average_support(volume: Tensor) -> Tensor:
    """Average a volume over its support plane: (B, C, hq, wq)."""
    if not runs_on_processor(volume) or math.prod(read_size(volume)) > _CELLS_SUMMED:
        return volume.mean(dim=(4, 5))
    # torch sums the few cells after a squeeze one value at a time, in ten times the time of whole maps
    first, *others = to_single(volume).flatten(4).unbind(dim=4)
    total = sum(others, first) / (len(others) + 1)
    return total.contiguous() if total.dtype == volume.dtype else total.to(volume.dtype)


def _move_pairs_last(volume: Tensor) -> Tensor:
    """View the volume as (B, hq * wq * hs * ws, C), without a copy if the channels come last."""
    return volume.permute(0, 2, 3, 4, 5, 1).flatten(1, 4)


def _view_pairs(volume: Tensor) -> Tensor | None:
    """View the volume as (B, hq * wq * hs * ws, C) in its order in memory; None if its channels do not come last."""
    for order in ((0, 2, 3, 4, 5, 1), (0, 4, 5, 2, 3, 1)):
        if (pairs := volume.permute(order)).is_contiguous():
            return pairs.flatten(1, 4)
    return None


def _support_first(volume: Tensor) -> Tensor:
    """View the volume as (B, hs, ws, hq * wq, C)."""
    return volume.permute(0, 4, 5, 2, 3, 1).flatten(3, 4)


def _unflatten(pairs: Tensor, like: Tensor) -> Tensor:
    return torch.unflatten(pairs, 1, like.shape[2:]).movedim(-1, 1)


class VolumeGroupNorm(nn.GroupNorm):
    """Group norm over all pairs of cells of a volume.

    torch's channels-last kernel sums squares in single precision, with errors of 1e-4 and more at these sizes.  Here
    values are centred first, which is exact to rounding and keeps the channels last.  A volume in lower precision, as
    under autocast, stays in it, because the norm takes as long as memory does; its means are in single precision.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, hq, wq, hs, ws)."""
        pairs = _move_pairs_last(input)
        precision, single = pairs.dtype, torch.promote_types(pairs.dtype, torch.float32)
        centred = pairs - self._group_mean(pairs.mean(dim=1, dtype=single)).to(precision)
        variance = self._group_mean(centred.square().mean(dim=1, dtype=single))
        scale = (variance + self.eps).rsqrt() * self.weight
        return _unflatten(torch.addcmul(self.bias.to(precision), centred, scale.to(precision)), input)

    def normalise_and_bound(self, volume: Tensor) -> Tensor:
        """Apply the norm and ReLU to a volume that nobody needs afterwards.

        Without gradients a CPU does so in place and part by part, so that it reads the volume twice and writes it once.
        """
        pairs = _view_pairs(volume)
        if pairs is None or not runs_on_processor(volume):
            return self(volume).relu_()
        if torch.finfo(pairs.dtype).bits < 32 and self._normalise_by_kernel(pairs):
            return volume
        for episode in pairs:
            parts = episode.split(count_at_once(_VALUES_AT_ONCE, episode.shape[1]))
            scale, shift = self._find_scale(parts)
            for part in parts:
                single = to_single(part)  # the part itself, unless it is in lower precision
                torch.addcmul(shift, single, scale, out=single).relu_()
                if single is not part:
                    part.copy_(single)
        return volume

    def _normalise_by_kernel(self, pairs: Tensor) -> bool:
        """Apply norm and ReLU to pairs (B, N, C) in place by torch's kernel, in half the time.

        It sums squares in single precision.  If a mean is several deviations from zero, the error of the deviation
        may be larger than the rounding of these numbers.  Then nothing is changed.

        Returns:
            Whether the kernel is precise enough.
        """
        batch, count, channels = pairs.shape
        images = pairs[:, :, None].permute(0, 3, 1, 2)
        normed, mean, inverse_deviation = torch.native_group_norm(
            images, self.weight, self.bias, batch, channels, count, self.num_groups, self.eps
        )
        precise = bool((mean * inverse_deviation).abs().max() < _DEVIATIONS)  # not if it is NaN
        if precise:
            torch.clamp_min(normed, 0, out=images)
        return precise

    def _find_scale(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Find what each channel is multiplied by, and what is added, from parts (n, C) of an episode."""
        counts = torch.tensor([len(part) for part in parts], dtype=torch.float64)[:, None]
        means = [to_single(part).mean(dim=0) for part in parts]
        pairs = zip(parts, means, strict=True)
        squares = torch.stack([(part - mean).square_().sum(dim=0) for part, mean in pairs]).double()
        mean = torch.stack(means).double()
        centre = self._group_mean((counts * mean).sum(dim=0, keepdim=True) / counts.sum())[0]
        squares = squares + counts * (mean - centre).square()  # from the mean of the group
        variance = self._group_mean(squares.sum(dim=0, keepdim=True) / counts.sum())[0, 0]
        scale = (variance + self.eps).rsqrt() * self.weight
        return scale.to(means[0].dtype), (self.bias - centre[0] * scale).to(means[0].dtype)

    def _group_mean(self, channels: Tensor) -> Tensor:
        """Average groups of channels (B, C), and repeat the means for each of their channels: (B, 1, C)."""
        groups = torch.unflatten(channels, 1, (self.num_groups, -1))
        return groups.mean(dim=2, keepdim=True).expand_as(groups).flatten(1).unsqueeze(1)


def apply_blocks(layers: nn.Sequential, volume: Tensor, window: Window | None = None) -> Tensor:
    """Apply blocks of a centre-pivot convolution, a group norm and ReLU to a volume, the first one in its window."""
    modules = list(layers)
    for conv, norm in zip(modules[::3], modules[1::3], strict=True):
        assert isinstance(norm, VolumeGroupNorm)
        volume, window = norm.normalise_and_bound(conv(volume, window)), None
    return volume


class VolumeBatchNorm(nn.BatchNorm1d):
    """Batch norm over all pairs of cells of all volumes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, hq, wq, hs, ws)."""
        pairs = _move_pairs_last(input)
        return _unflatten(super().forward(pairs.flatten(0, 1)).view_as(pairs), input)


class CentrePivotConv4d(nn.Module):
    """Centre-pivot 4-D convolution (HSNet; at stride 1 also the layer of PMNet's release).

    Of a full 4-D kernel it keeps only the entries with the pivot in the middle of one plane.  This equals the sum of a
    convolution over the query plane and one over the support plane.

    Args:
        inputs: number of channels of the volume.
        outputs: number of channels of the result.
        kernel: side of both kernels, odd.
        stride: stride over the support plane.  The query plane keeps its size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.reach = kernel // 2
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, padding=self.reach)
        self.conv2 = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=self.reach)

    def forward(self, volume: Tensor, window: Window | None = None) -> Tensor:
        """Convolve a volume.

        Args:
            volume: (B, C, hq, wq, hs, ws), or its cells in `window`.
            window: from `find_window`; None for the whole plane.

        Returns:
            (B, outputs, hq, wq, ceil(hs/stride), ceil(ws/stride)), hs and ws of the whole plane.
        """
        if window is None and self._reaches_all(volume):
            return self._multiply_support(volume)
        pivots = volume[..., :: self.stride, :: self.stride]
        inside = add_up(apply_over_support(self.conv2, volume), apply_over_query(self.conv1, pivots))
        return inside if window is None else self._surround(inside, window)

    def _reaches_all(self, volume: Tensor) -> bool:
        """Whether every support cell reaches every other, as after a squeeze, and no gradient is needed.

        The convolution over the support plane is then one matrix for all query cells.
        """
        small = self.stride == 1 and max(read_size(volume)) <= self.reach + 1
        return small and not torch.is_grad_enabled()

    def _multiply_support(self, volume: Tensor) -> Tensor:
        """Convolve over the query plane, and add products of support cells: no entry is beyond the small plane."""
        bias = sum_biases(self.conv1, self.conv2)
        out = apply_over_query(
            lambda images: functional.conv2d(images, self.conv1.weight, bias, padding=self.reach), volume
        )
        entries = self._gather_entries(read_size(volume), out.dtype)
        if not runs_on_processor(volume):
            cells = volume.permute(0, 2, 3, 4, 5, 1).flatten(3)  # (B, hq, wq, cells * inputs)
            matrix = entries.transpose(1, 2).flatten(2).flatten(0, 1)
            products = torch.unflatten(cells.to(out.dtype) @ matrix, 3, (*read_size(volume), -1))
            return products.movedim(-1, 1) + out
        for place, matrices in enumerate(entries):
            row, column = divmod(place, volume.shape[-1])
            for source, target in zip(_support_first(volume), _support_first(out), strict=True):
                pairs = source[row, column].to(out.dtype).expand(len(matrices), -1, -1)
                target.flatten(0, 1).baddbmm_(pairs, matrices)
        return out

    def _gather_entries(self, plane: Size, dtype: torch.dtype) -> Tensor:
        """Gather what each support cell adds to each other: (source cells, target cells, inputs, outputs)."""
        cells = list(product(*map(range, plane)))
        kernel = self.conv2.weight.to(dtype).permute(2, 3, 1, 0).contiguous()
        entries = [
            kernel[self.reach + source[0] - row, self.reach + source[1] - column]
            for source in cells
            for row, column in cells
        ]
        return torch.unflatten(torch.stack(entries), 0, (len(cells), -1))

    def find_window(self, mask: Tensor) -> Window | None:
        """Find the window of the support plane that contains the object and every cell that this layer mixes with it.

        A cosine with a cell outside the object is zero, so that products and convolutions are needed in this window
        only.

        Args:
            mask: support masks at feature size (B, hs, ws), zero outside the objects.

        Returns:
            None for the whole plane, and on a GPU, which would have to wait for the mask.
        """
        if mask.device.type != "cpu":
            return None
        return find_window((mask != 0).any(dim=0), self.reach, self.stride)

    def _surround(self, inside: Tensor, window: Window) -> Tensor:
        height, width = (-(-side // self.stride) for side in window.plane)
        top, left = window.rows.start // self.stride, window.columns.start // self.stride
        return surround(inside, sum_biases(self.conv1, self.conv2), (height, width), (top, left))
