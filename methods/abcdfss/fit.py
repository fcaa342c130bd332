"""How the heads of ABCDFSS are fitted to a single episode.

The fit makes the description of a cell robust to shears of the image, and separates the mean of the object from that of
the background.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.resize import Size, read_size, resize
from .gradients import Block, Part, Side, compute_gradients
from .shear import Shear, find_source_indices
from .task_head import WIDTH, TaskHead

_PAIRS_IN_CACHE = 350_000
"""Pairs of cells whose exponentials are computed at once on a CPU: 1.4 MB, less than a core's cache."""
_PAIRS_ON_GPU = 16_000_000
"""The same on other devices, where few large operations are faster."""
_EPS = 1e-8
"""Added to the sum of the weights of a prototype."""


@dataclass(frozen=True)
class Views:
    """The maps of one tap in an episode, of the images and of their sheared copies.

    Copies are ordered by shear, with K supports per shear.
    """

    query: Tensor
    """(1, C, h, w)"""
    support: Tensor
    """(K, C, h, w)"""
    query_copies: Tensor
    """(V, C, h, w): features of the sheared query."""
    support_copies: Tensor
    """(V * K, C, h, w): features of the sheared supports."""


def fit(
    heads: Sequence[TaskHead],
    views: Sequence[Views],
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit heads to one episode, in place, by plain gradient descent.

    Each head has a loss of its own.  Heads on maps of one size are stacked and fitted together, which gives the
    processor fewer and larger operations.

    Args:
        heads: the heads, which are the only objects that change.
        views: maps of one tap for each head.
        mask_copies: sheared support masks (V * K, H, W).
        shears: the V shears of the copies.
        steps: number of gradient steps.
        rate: learning rate.
        temperature: temperature of the dense contrast.
    """
    places: dict[Size, list[int]] = {}
    for place, each in enumerate(views):
        places.setdefault(read_size(each.query), []).append(place)
    most = _PAIRS_IN_CACHE if mask_copies.device.type == "cpu" else _PAIRS_ON_GPU
    for (height, width), members in places.items():
        together = max(1, most // (height * width) ** 2)
        for start in range(0, len(members), together):
            chosen = members[start : start + together]
            _fit_stack(
                [heads[i] for i in chosen],
                [views[i] for i in chosen],
                mask_copies,
                shears,
                most=most,
                steps=steps,
                rate=rate,
                temperature=temperature,
            )


@torch.no_grad()
def _fit_stack(
    heads: Sequence[TaskHead],
    views: Sequence[Views],
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    most: int,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit heads on maps of one size.  Arguments as for `fit`; `most` is the number of pairs to compute at once."""
    plane = read_size(views[0].support)
    masks = resize(mask_copies.unsqueeze(1), plane, align_corners=False)
    masks = masks.view(len(shears), -1, plane[0] * plane[1])
    sources = torch.stack([find_source_indices(*plane, shear) for shear in shears]).to(masks.device)
    query = _lay_out_side(sources, 1, None, len(heads), most, like=masks, first=0)
    last = query.copies.columns.stop
    support = _lay_out_side(sources, masks.shape[1], masks, len(heads), most, like=masks, first=last)

    hidden = masks.new_empty(len(heads), WIDTH, support.copies.columns.stop)
    firsts = [
        _FirstLayer(head.conv.weight.view(WIDTH, -1), _join_cells(each), out)
        for head, each, out in zip(heads, views, hidden, strict=True)
    ]
    weights = [
        torch.stack([values.reshape(values.shape[:2]) for values in same])
        for same in zip(*map(_list_later, heads), strict=True)
    ]
    for _ in range(steps):
        slope, gradients = compute_gradients(hidden, weights, (query, support), temperature)
        for first, its_slope in zip(firsts, slope, strict=True):
            first.learn(its_slope, rate)
        for values, gradient in zip(weights, gradients, strict=True):
            values.add_(gradient, alpha=-rate)
    for place, (head, first) in enumerate(zip(heads, firsts, strict=True)):
        first.finish()
        for own, values in zip(_list_later(head), weights, strict=True):
            own.copy_(values[place].view_as(own))


def _list_later(head: TaskHead) -> list[Tensor]:
    """List the weights of the norm and of the last convolution.

    The bias of the first convolution is not fitted, because the norm removes it.
    """
    return [*head.bn.parameters(), *head.linear.parameters()]


class _FirstLayer:
    """The first convolution of a head, which is applied to the same cells in each step.

    A step adds combinations of cells to the kernel.  If there are fewer cells than channels, the cells' inner products
    tell faster what this does to the outputs than the kernel does.

    Args:
        kernel: the kernel (D, C), which learns in place.
        cells: cells (C, N).
        out: outputs (D, N), which are overwritten.
    """

    def __init__(self, kernel: Tensor, cells: Tensor, out: Tensor) -> None:
        self._kernel, self._cells, self._out = kernel, cells, torch.mm(kernel, cells, out=out)
        channels, number = cells.shape
        self._products = cells.T @ cells if number < channels else None
        self._moves = torch.zeros_like(out)

    def learn(self, slope: Tensor, rate: float) -> None:
        """Move the kernel against the gradient of the outputs (D, N), and compute the outputs."""
        if self._products is None:
            self._kernel.addmm_(slope, self._cells.T, alpha=-rate)
            torch.mm(self._kernel, self._cells, out=self._out)
        else:
            self._moves.sub_(slope, alpha=rate)
            self._out.addmm_(slope, self._products, alpha=-rate)

    def finish(self) -> None:
        """Bring the kernel to the state of the outputs."""
        if self._products is not None:
            self._kernel.addmm_(self._moves, self._cells.T)


def _join_cells(views: Views) -> Tensor:
    """Join the cells (C, N) of plain maps and copies, of the query and then of the supports.

    A cell of zeros follows those of each plain map.  The cells outside a sheared map come from it.
    """
    parts = []
    for plain, copies in ((views.query, views.query_copies), (views.support, views.support_copies)):
        cells = plain.flatten(2)
        with_outside = torch.cat([cells, cells.new_zeros((*cells.shape[:2], 1))], dim=2)
        parts += [each.transpose(0, 1).flatten(1) for each in (with_outside, copies.flatten(2))]
    return torch.cat(parts, dim=1)


def _lay_out_side(
    sources: Tensor, images: int, masks: Tensor | None, heads: int, most: int, *, like: Tensor, first: int
) -> Side:
    """Find the cells, weights and pairs of the query or of the supports.

    Args:
        sources: index of the plain map's cell for each cell of a sheared map (V, n); n means outside.
        images: K.
        masks: sheared masks (V, K, n), or None for a side without.
        heads: number of stacked heads.
        most: number of pairs to compute at once.
        like: a tensor with the type of the weights, on their device.
        first: number of cells before those of this side.
    """
    shears, cells = sources.shape
    maps, rows = shears * images, cells + 1
    middle, last = first + images * rows, first + images * rows + maps * cells
    counts = like.new_zeros(shears, rows)
    counts.scatter_add_(1, sources, like.new_ones(shears, cells))

    # the first averages are those of the single maps, in the order of the copies
    plain = torch.einsum("vs,kl->ksvl", counts / cells, torch.eye(images).to(like))
    plain_averages = [plain.reshape(images * rows, maps)]
    copied_averages = [_join_diagonally(like.new_full((maps, cells), 1 / cells))]
    if masks is not None:
        of_plain = like.new_zeros(shears, images, rows)
        of_plain.scatter_add_(2, sources.unsqueeze(1).expand_as(masks), masks)
        plain_averages.append(_share(of_plain.flatten(1)).T)
        copied_averages += [_join_diagonally(_share(each.flatten(1))) for each in (masks, 1 - masks)]

    return Side(
        Part(
            slice(first, middle),
            (counts.sum(dim=0) / (maps * cells)).repeat(images),
            torch.cat(plain_averages, dim=1),
        ),
        Part(
            slice(middle, last),
            like.new_full((maps * cells,), 1 / (maps * cells)),
            torch.cat(copied_averages, dim=1),
        ),
        [
            block
            for shear in range(shears)
            for image in range(images)
            for block in _cut_blocks(
                sources[shear],
                counts[shear],
                heads,
                max(1, most // (heads * cells)),
                first + image * rows,
                middle + (shear * images + image) * cells,
            )
        ],
        maps=maps,
        cells=cells,
        has_masks=masks is not None,
    )


def _cut_blocks(
    sources: Tensor, counts: Tensor, heads: int, most: int, plain: int, copied: int
) -> Iterator[Block]:
    """Cut the pairs of a plain map and a copy into blocks of at most `most` rows.

    Args:
        sources: index of the plain map's cell for each cell of the copy (n,).
        counts: number of cells for each cell of the plain map (n + 1,).
        heads: number of stacked heads.
        most: number of rows.
        plain: number of cells before the plain map.
        copied: number of cells before the copy.
    """
    cells = len(sources)
    for start in range(0, cells + 1, most):
        stop = min(start + most, cells + 1)
        places = torch.nonzero((sources >= start) & (sources < stop)).squeeze(1)
        # the same rows of each head
        rows = (
            sources[places] - start + (stop - start) * torch.arange(heads, device=sources.device).unsqueeze(1)
        )
        yield Block(
            slice(plain + start, plain + stop),
            slice(copied, copied + cells),
            counts[start:stop].unsqueeze(1),
            own=(rows * cells + places).flatten(),
            own_rows=rows.flatten(),
        )


def _share(weights: Tensor) -> Tensor:
    """Divide weights (N, cells) by their sums, to which a small number is added."""
    return weights / (weights.sum(dim=1, keepdim=True) + _EPS)


def _join_diagonally(weights: Tensor) -> Tensor:
    """Make a matrix (N * cells, N) that averages each of N groups of cells with its own weights (N, cells)."""
    return torch.block_diag(*weights.unsqueeze(2))
