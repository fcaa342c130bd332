"""The inference of RePRI: fits a linear classifier of cells to the supports and to the query's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.prototypes import average_over

_TEMPERATURE = 20.0
_EPS = 1e-10
_UPDATE = 9
"""Number of steps after which the proportion is estimated again and the weight of its term grows by one."""


@dataclass(frozen=True)
class Task:
    """The cells of one episode, each of unit length, and their masks."""

    query: Tensor
    """(1, C, h, w)"""
    support: Tensor
    """(K, C, h, w)"""
    mask: Tensor
    """Object cells of the supports (K, h, w), bool."""
    query_valid: Tensor
    """Cells of the query that count (1, h, w), bool: all cells except in the padding of an image."""
    support_valid: Tensor
    """Cells of the supports that count (K, h, w), bool."""

    @classmethod
    def of(cls, query: Tensor, support: Tensor, mask: Tensor) -> Task:
        """Make a task in which every cell counts."""
        return cls(query, support, mask, torch.ones_like(query[:, 0] > 0), torch.ones_like(mask))


@dataclass
class Classifier:
    """Compares 20 times the cosine with a prototype to a bias."""

    prototype: Tensor
    """(C,)"""
    bias: Tensor
    """Scalar."""
    proportion: Tensor
    """Last estimate of the shares of background and object in the query, (2,)."""

    @classmethod
    def begin(cls, task: Task) -> Classifier:
        """Start with the mean of the object's cells as prototype and the mean of the query's logits as bias."""
        mean = average_over(task.support, task.mask.unsqueeze(1), (0, 2, 3), eps=_EPS)
        classifier = cls(mean, mean.new_zeros(()), mean.new_zeros(2))
        classifier.bias = classifier.logits(task.query).mean()
        classifier.proportion = _average(classifier.probabilities(task.query), task.query_valid)
        return classifier

    def logits(self, cells: Tensor) -> Tensor:
        """Compute logits (N, h, w) of cells (N, C, h, w).  They are compared with the bias."""
        products = torch.einsum("nchw,c->nhw", cells, self.prototype)
        return _TEMPERATURE * products / (self.prototype.norm() * cells.norm(dim=1) + _EPS)

    def probabilities(self, cells: Tensor) -> Tensor:
        """Compute probabilities (N, 2, h, w) of background and object."""
        objects = torch.sigmoid(self.logits(cells) - self.bias)
        return torch.stack([1 - objects, objects], dim=1)


def fit(task: Task, *, steps: int, rate: float) -> Classifier:
    """Fit a classifier to a task by plain gradient descent.

    The loss is the sum of three terms: the cross-entropy of the supports, 1/K of the entropy of the query, and 1/K of
    the divergence of the query's proportion from its estimate.

    Args:
        task: the episode.
        steps: number of gradient steps.
        rate: learning rate.

    Returns:
        The classifier, without a graph.
    """
    classifier = Classifier.begin(task)
    shots = len(task.support)
    divergence_weight = entropy_weight = 1 / shots
    classifier.prototype, classifier.bias = (
        t.detach().requires_grad_() for t in (classifier.prototype, classifier.bias)
    )
    optimiser = torch.optim.SGD([classifier.prototype, classifier.bias], lr=rate)
    truth = torch.stack([~task.mask, task.mask], dim=1)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            query, support = classifier.probabilities(task.query), classifier.probabilities(task.support)
            known = -_average((truth * (support + _EPS).log()).sum(dim=1, keepdim=True), task.support_valid)
            entropy = -_average((query * (query + _EPS).log()).sum(dim=1, keepdim=True), task.query_valid)
            share = _average(query, task.query_valid)
            # 0 log 0 is 0: a share may underflow if every cell is sure
            divergence = torch.special.xlogy(share, share / (classifier.proportion + _EPS)).sum()
            loss = known.sum() + divergence_weight * divergence + entropy_weight * entropy.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step == _UPDATE:
            with torch.no_grad():
                classifier.proportion = _average(classifier.probabilities(task.query), task.query_valid)
            divergence_weight += 1
    return Classifier(classifier.prototype.detach(), classifier.bias.detach(), classifier.proportion)


def _average(maps: Tensor, valid: Tensor) -> Tensor:
    """Average maps (N, C, h, w) over the valid cells (N, h, w) of all images: (C,)."""
    return (maps * valid.unsqueeze(1)).sum(dim=(0, 2, 3)) / valid.sum().clamp(min=1)
