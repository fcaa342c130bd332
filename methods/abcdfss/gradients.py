"""The gradient of ABCDFSS's loss with respect to the weights of the heads, written out.

A step of the fit reads each pair of a cell and a cell of a sheared copy.  Autograd would store the exponential of every
pair; here those of one image are computed, used and overwritten while they are in the processor's cache.

A sheared map contains cells of the plain map, some of them twice, and zeros.  The plain maps are therefore described
once and not sheared: a sum over the sheared map is a weighted sum over the plain map's cells and one cell of zeros.

`tests/support/plain_abcdfss.py` has the same losses in their plain form, as an oracle.

Sizes: H heads, K images, V shears, n cells per map, D channels of a description.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_NORM_EPS = 1e-5
"""Added to variances, as `torch.nn.BatchNorm2d` does."""
_SHORTEST = 1e-12
"""Lower bound of lengths, as in `torch.nn.functional.normalize`."""
_SHORTEST_PROTOTYPE = 1e-8
"""Lower bound of lengths, as in `torch.nn.functional.cosine_similarity`."""
_SAFE_TEMPERATURE = 0.05
"""From this temperature on, exponentials of cosines do not overflow, and need no maximum subtracted."""


@dataclass(frozen=True)
class Part:
    """The plain maps, or the copies, of the query or of the supports.

    The batch norm of a head uses the statistics of one part.
    """

    columns: slice
    """Their cells among those of all parts."""
    shares: Tensor
    """(cells,): share of each cell in the statistics of the norm.  The sum is 1."""
    averages: Tensor
    """(cells, J): weights of J averages over cells.  The first V * K are those of the single sheared maps."""


@dataclass(frozen=True)
class Block:
    """Pairs of some cells of one plain map with all cells of one copy."""

    plain: slice
    """The cells of the plain map among those of all parts."""
    copied: slice
    """The cells of the copy among those of all parts."""
    counts: Tensor
    """(rows, 1): number of cells of the sheared map that come from each cell of the plain map."""
    own: Tensor
    """Positions, in a block (H, rows, n) without its shape, of the pairs of a cell and its own copy."""
    own_rows: Tensor
    """Position in (H, rows) without its shape of the row of each of them."""


@dataclass(frozen=True)
class Side:
    """The query, or the supports."""

    plain: Part
    copies: Part
    blocks: Sequence[Block]
    maps: int
    """V * K, the number of sheared maps."""
    cells: int
    """n"""
    has_masks: bool
    """Whether the averages include prototypes: of V objects, and in the copies of V backgrounds after them."""


def compute_gradients(
    hidden: Tensor, weights: Sequence[Tensor], sides: Sequence[Side], temperature: float
) -> tuple[Tensor, list[Tensor]]:
    """Compute the gradient of the loss of each head.

    Args:
        hidden: outputs of the first convolution for the cells of all parts (H, D, N).  Its bias makes no difference,
            because the norm removes it.
        weights: weights of the norm and of the last convolution, in the order of `TaskHead.parameters`, stacked.
        sides: query and supports.
        temperature: temperature of the dense contrast.

    Returns:
        The gradients with respect to `hidden` and to the weights.
    """
    scale, shift, last_kernel, last_bias = weights
    scale = scale.unsqueeze(2)
    parts = [part for side in sides for part in (side.plain, side.copies)]

    normed = torch.empty_like(hidden)
    spreads = [
        _normalise(hidden[:, :, part.columns], part.shares, out=normed[:, :, part.columns]) for part in parts
    ]
    active = torch.addcmul(shift.unsqueeze(2), normed, scale).relu_()
    described = torch.baddbmm(last_bias.unsqueeze(2), last_kernel, active)
    lengths = described.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(_SHORTEST)
    units = described.div_(lengths)

    slope = torch.zeros_like(units)
    for side in sides:
        for block in side.blocks:
            _add_contrast(units, slope, block, temperature, 1 / (side.maps * side.cells))
        _add_averages(units, slope, side)

    slope = _pass_unit_length(slope, units, lengths)
    last_kernel_slope, last_bias_slope = slope @ active.transpose(1, 2), slope.sum(dim=2)
    slope = torch.bmm(last_kernel.transpose(1, 2), slope).mul_(active.sign_())
    shift_slope, scale_slope = torch.zeros_like(shift), torch.zeros_like(shift)
    for part, spread in zip(parts, spreads, strict=True):
        values, its_slope = normed[:, :, part.columns], slope[:, :, part.columns]
        total, moment = its_slope.sum(dim=2, keepdim=True), (its_slope * values).sum(dim=2, keepdim=True)
        shift_slope += total.squeeze(2)
        scale_slope += moment.squeeze(2)
        # what the mean and the variance of the part pass on
        its_slope.sub_(torch.addcmul(total, values, moment).mul_(part.shares)).mul_(scale / spread)
    return slope, [scale_slope, shift_slope, last_kernel_slope, last_bias_slope]


def _normalise(values: Tensor, shares: Tensor, *, out: Tensor) -> Tensor:
    """Write values (H, D, cells) with mean 0 and variance 1 to `out`.  Return the root of the variance (H, D, 1)."""
    torch.sub(values, (values @ shares).unsqueeze(2), out=out)
    spread = (out.square() @ shares).add_(_NORM_EPS).sqrt_().unsqueeze(2)
    out.div_(spread)
    return spread


def _pass_unit_length(slope: Tensor, units: Tensor, lengths: Tensor) -> Tensor:
    """Compute the gradient of vectors from that of the same vectors at unit length.  Vectors lie along dimension 1."""
    along = (units * slope).sum(dim=1, keepdim=True)
    return torch.addcmul(slope, units, along, value=-1).div_(lengths)


def _add_contrast(units: Tensor, slope: Tensor, block: Block, temperature: float, share: float) -> None:
    """Add the gradient of the dense InfoNCE loss of a block: softmax over the copy's cells, minus identity.

    Args:
        units: unit vectors of all parts (H, D, N).
        slope: gradient to which is added.
        block: the pairs.
        temperature: divisor of the cosines.
        share: share of one cell in the loss.
    """
    plain, copied = units[:, :, block.plain], units[:, :, block.copied]
    pairs = torch.bmm((plain / temperature).transpose(1, 2), copied)
    if temperature < _SAFE_TEMPERATURE:
        pairs.sub_(pairs.amax(dim=2, keepdim=True))
    pairs.exp_()
    sums = pairs.sum(dim=2, keepdim=True)
    # rows are divided by their sums after the products, where they are short
    pairs.view(-1).index_add_(0, block.own, (sums / block.counts).view(-1)[block.own_rows], alpha=-1)
    rates = (block.counts / sums).mul_(share / temperature).transpose(1, 2)
    slope[:, :, block.copied].baddbmm_(plain * rates, pairs)
    slope[:, :, block.plain].addcmul_(torch.bmm(copied, pairs.transpose(1, 2)), rates)


def _add_averages(units: Tensor, slope: Tensor, side: Side) -> None:
    """Add the gradients of the moment and prototype losses of a side, which depend on averages over cells."""
    parts = (side.plain, side.copies)
    averages = [units[:, :, part.columns] @ part.averages for part in parts]
    means = [each[:, :, : side.maps] for each in averages]
    variances = [
        (units[:, :, part.columns].square() @ part.averages[:, : side.maps]).sub_(mean.square())
        for part, mean in zip(parts, means, strict=True)
    ]
    share = 1 / (side.maps * units.shape[1])
    by_mean = (means[0] - means[1]).sign_().mul_(share)
    by_variance = (variances[0] - variances[1]).sign_().mul_(share * side.cells / max(side.cells - 1, 1))
    prototypes = [each[:, :, side.maps :] for each in averages]
    by_prototype = _differentiate_prototypes(*prototypes) if side.has_masks else prototypes
    for part, mean, its_prototypes, sign in zip(parts, means, by_prototype, (1, -1), strict=True):
        rates = torch.cat([(by_mean - 2 * by_variance * mean).mul_(sign), its_prototypes], dim=2)
        its_slope, columns = slope[:, :, part.columns], part.averages.T
        its_slope.add_(rates @ columns)
        its_slope.addcmul_(units[:, :, part.columns], by_variance @ columns[: side.maps], value=2 * sign)


def _differentiate_prototypes(plain: Tensor, copied: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradient of the loss that pulls the object to its copy, and away from the copy's background.

    The loss is the mean over shears of the softplus of cos(object, copied background) - cos(object, copied object).

    Args:
        plain: prototypes of the object (H, D, V).
        copied: prototypes of the object and of the background in the copies (H, D, 2 * V).

    Returns:
        The gradients with respect to both.
    """
    count = plain.shape[2]
    both = torch.cat([plain, copied], dim=2)
    lengths = both.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(_SHORTEST_PROTOTYPE)
    anchor, near, far = (both / lengths).split(count, dim=2)
    away = far - near
    rate = (anchor * away).sum(dim=1, keepdim=True).sigmoid_().div_(count)
    slope = torch.cat([rate * away, -rate * anchor, rate * anchor], dim=2)
    slope = _pass_unit_length(slope, both / lengths, lengths)
    return slope[:, :, :count], slope[:, :, count:]
