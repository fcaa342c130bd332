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
    query, support = _Cells.of(task.query, task.query_valid), _Cells.of(task.support, task.support_valid)
    objects = task.mask.flatten()
    truth = torch.stack([~objects, objects])
    prototype, bias = (t.detach().requires_grad_() for t in (classifier.prototype, classifier.bias))
    for step in range(1, steps + 1):
        with torch.enable_grad():
            length = prototype.norm()
            asked, shown = (each.compute_probabilities(prototype, length, bias) for each in (query, support))
            known = -support.average((truth * (shown + _EPS).log()).sum(dim=0))
            entropy = -query.average((asked * (asked + _EPS).log()).sum(dim=0))
            share = query.average(asked)
            # 0 log 0 is 0: a share may underflow if every cell is sure
            divergence = torch.special.xlogy(share, share / (classifier.proportion + _EPS)).sum()
            loss = known + divergence_weight * divergence + entropy_weight * entropy
        gradients = torch.autograd.grad(loss, (prototype, bias))
        with torch.no_grad():
            for values, gradient in zip((prototype, bias), gradients, strict=True):
                values.add_(gradient, alpha=-rate)
            if step == _UPDATE:
                classifier.proportion = query.average(
                    query.compute_probabilities(prototype, prototype.norm(), bias)
                )
                divergence_weight += 1
    return Classifier(prototype.detach(), bias.detach(), classifier.proportion)


@dataclass(frozen=True)
class _Cells:
    """The cells of one or several maps in the form in which each step of a fit reads them once."""

    columns: Tensor
    """(C, M)"""
    lengths: Tensor
    """Lengths of the columns (M,)."""
    shares: Tensor
    """Weight of each cell in an average (M,): zero for those that do not count."""

    @classmethod
    def of(cls, maps: Tensor, valid: Tensor) -> _Cells:
        """Make the cells of maps (N, C, h, w), of which those in `valid` (N, h, w) count."""
        columns = maps.transpose(0, 1).flatten(1).contiguous()
        counting = valid.flatten().to(maps.dtype)
        return cls(columns, columns.norm(dim=0), counting / counting.sum().clamp(min=1))

    def compute_probabilities(self, prototype: Tensor, length: Tensor, bias: Tensor) -> Tensor:
        """Compute probabilities (2, M) of background and object.

        Args:
            prototype: (C,).
            length: its length.
            bias: scalar.
        """
        likeness = _TEMPERATURE * (prototype @ self.columns) / (length * self.lengths + _EPS)
        objects = torch.sigmoid(likeness - bias)
        return torch.stack([1 - objects, objects])

    def average(self, values: Tensor) -> Tensor:
        """Average values (..., M) over the cells that count: (...)."""
        return values @ self.shares


def _average(maps: Tensor, valid: Tensor) -> Tensor:
    """Average maps (N, C, h, w) over the valid cells (N, h, w) of all images: (C,)."""
    return (maps * valid.unsqueeze(1)).sum(dim=(0, 2, 3)) / valid.sum().clamp(min=1)
