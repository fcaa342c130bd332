"""RePRI's inference: a linear classifier of cells fitted to supports and to the query's own distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.prototypes import weighted_mean

_TEMPERATURE = 20.0
_EPS = 1e-10
_UPDATE = 9
"""Steps after which the proportion is estimated again, and its term weighs one more."""


@dataclass(frozen=True)
class Task:
    """One episode's cells, each of unit length, and what is known of them."""

    query: Tensor
    """(1, C, h, w)"""
    support: Tensor
    """(K, C, h, w)"""
    mask: Tensor
    """Object cells of the supports (K, h, w), bool."""
    query_valid: Tensor
    """Cells of the query that count (1, h, w), bool; all of them, but where an image was padded."""
    support_valid: Tensor
    """Cells of the supports that count (K, h, w), bool."""

    @classmethod
    def of(cls, query: Tensor, support: Tensor, mask: Tensor) -> Task:
        """A task in which every cell counts."""
        return cls(query, support, mask, torch.ones_like(query[:, 0] > 0), torch.ones_like(mask))


@dataclass
class Classifier:
    """Object or not: twenty times the cosine with a prototype, against a bias."""

    prototype: Tensor
    """(C,)"""
    bias: Tensor
    """Scalar."""
    proportion: Tensor
    """Share of background and object in the query as last estimated, (2,)."""

    @classmethod
    def begin(cls, task: Task) -> Classifier:
        """The mean of the object's cells, and the mean of the query's logits as bias."""
        mean = weighted_mean(task.support, task.mask.unsqueeze(1), (0, 2, 3), eps=_EPS)
        found = cls(mean, mean.new_zeros(()), mean.new_zeros(2))
        found.bias = found.logits(task.query).mean()
        found.proportion = _mean(found.probabilities(task.query), task.query_valid)
        return found

    def logits(self, cells: Tensor) -> Tensor:
        """Logits (N, h, w) of cells (N, C, h, w); to be compared with the bias."""
        products = torch.einsum("nchw,c->nhw", cells, self.prototype)
        return _TEMPERATURE * products / (self.prototype.norm() * cells.norm(dim=1) + _EPS)

    def probabilities(self, cells: Tensor) -> Tensor:
        """Probabilities (N, 2, h, w) of background and object."""
        objects = torch.sigmoid(self.logits(cells) - self.bias)
        return torch.stack([1 - objects, objects], dim=1)


def fit(task: Task, *, steps: int, rate: float) -> Classifier:
    """Fit a classifier to a task by plain gradient descent.

    The loss is the supports' cross-entropy, and 1/K each of the query's entropy and of how far its proportion
    is from the estimate.

    Args:
        task: the episode.
        steps: gradient steps.
        rate: learning rate.

    Returns:
        The classifier, without a graph.
    """
    found = Classifier.begin(task)
    shots = len(task.support)
    divergence_weight = entropy_weight = 1 / shots
    found.prototype, found.bias = (t.detach().requires_grad_() for t in (found.prototype, found.bias))
    optimiser = torch.optim.SGD([found.prototype, found.bias], lr=rate)
    truth = torch.stack([~task.mask, task.mask], dim=1)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            query, support = found.probabilities(task.query), found.probabilities(task.support)
            known = -_mean((truth * (support + _EPS).log()).sum(dim=1, keepdim=True), task.support_valid)
            entropy = -_mean((query * (query + _EPS).log()).sum(dim=1, keepdim=True), task.query_valid)
            share = _mean(query, task.query_valid)
            # 0 log 0 is 0: a share may underflow where every cell is sure
            divergence = torch.special.xlogy(share, share / (found.proportion + _EPS)).sum()
            loss = known.sum() + divergence_weight * divergence + entropy_weight * entropy.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == _UPDATE:
            with torch.no_grad():
                found.proportion = _mean(found.probabilities(task.query), task.query_valid)
            divergence_weight += 1
    return Classifier(found.prototype.detach(), found.bias.detach(), found.proportion)


def _mean(maps: Tensor, valid: Tensor) -> Tensor:
    """Mean (C,) of maps (N, C, h, w) over valid cells (N, h, w) of all images."""
    return (maps * valid.unsqueeze(1)).sum(dim=(0, 2, 3)) / valid.sum().clamp(min=1)
