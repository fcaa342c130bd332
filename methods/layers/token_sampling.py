"""Which cells of the supports take part in attention: CyCTR's sample of the object and of its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

PER_SHOT = 300
"""Object tokens per support, and as many background tokens."""

_TRAINING_FACTORS = {False: (0.6, 4.0), True: (0.6, 1.4)}
"""Range of the factor on their number in training, by whether there are several supports."""

Order = Callable[[int], Tensor]
"""An order of the numbers from 0 to n - 1, as an index tensor (n,) on the CPU."""


class Sample(NamedTuple):
    """The tokens of one episode that were drawn: its cells, and what the reference takes for their masks."""

    cells: Tensor
    """Places in the map of all supports, (T,)."""
    inside: Tensor
    """Whether each token counts as the object's, (T,), bool."""


def keep_order(count: int) -> Tensor:
    """The numbers as they come."""
    return torch.arange(count)


def make_random_order(generator: torch.Generator | None = None) -> Order:
    """Make a random order, from torch's default generator unless another is given."""
    return lambda count: torch.randperm(count, generator=generator)


def sample_tokens(mask: Tensor, most: int, order: Order, *, own_masks: bool) -> Sample:
    """Draw up to `most` object and `most` background tokens of an episode.

    Where one kind has fewer, all of it is taken and the rest comes from the other kind.

    Args:
        mask: the object's cells in all supports, one after the other, (N,), bool.
        most: tokens of each kind.
        order: decides which tokens of a kind are taken, where not all are.
        own_masks: whether a drawn token keeps its own mask.  The reference reads the mask of a drawn token at its
            place in the list of its kind, not in the map, so that background can count as object and the reverse.

    Returns:
        min(N, 2 * most) tokens, those of the object first.
    """
    inside, outside = mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]
    all_inside = len(inside) < most
    all_outside = len(outside) < most and not all_inside
    cells, labels = [], []
    for tokens, rest, all_taken in ((inside, len(outside), all_inside), (outside, len(inside), all_outside)):
        drawn = None
        if not all_taken:
            drawn = order(len(tokens))[: max(most, 2 * most - rest)].to(mask.device)
        taken = tokens if drawn is None else tokens[drawn]
        cells.append(taken)
        labels.append(mask[taken if drawn is None or own_masks else drawn])
    return Sample(torch.cat(cells), torch.cat(labels))


def sample_episodes(masks: Tensor, most: int, order: Order, *, own_masks: bool) -> Sample:
    """Draw the tokens of each episode from masks (B, N), see `sample_tokens`: cells and labels, each (B, T)."""
    samples = [sample_tokens(mask, most, order, own_masks=own_masks) for mask in masks]
    cells, labels = zip(*samples, strict=True)
    return Sample(torch.stack(cells), torch.stack(labels))


def take_tokens(tokens: Tensor, sample: Sample) -> Tensor:
    """The sampled tokens (B, T, C) of all tokens (B, N, C)."""
    return tokens.gather(1, sample.cells.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def count_tokens(shots: int, *, training: bool) -> int:
    """How many tokens of each kind are drawn from K supports: 300 each, in training times a random factor.

    The factor is between 0.6 and 4 with one support, and between 0.6 and 1.4 with more, as published.
    """
    if not training:
        return PER_SHOT * shots
    low, high = _TRAINING_FACTORS[shots > 1]
    return int(PER_SHOT * shots * float(torch.empty(()).uniform_(low, high)))


def draw_support(
    support: Tensor, masks: Tensor, order: Order, *, training: bool, own_masks: bool
) -> tuple[Tensor, Sample]:
    """Choose the tokens of the supports that take part in an attention.

    Args:
        support: maps (B, K, C, h, w).
        masks: the object's cells in them (B, K, h, w), bool.
        order: decides in evaluation which tokens take part; in training they are drawn at random.
        training: whether the network is trained.
        own_masks: as for `sample_tokens`.

    Returns:
        The tokens, and which ones they are.
    """
    most = count_tokens(support.shape[1], training=training)
    sample = sample_episodes(
        masks.flatten(1), most, make_random_order() if training else order, own_masks=own_masks
    )
    every = support.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
    return take_tokens(every, sample), sample
