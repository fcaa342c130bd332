"""The fit of ABCDFSS in its plain form: losses as in the paper, gradients by autograd, one head at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from fssbench.methods.abcdfss.fit import Views
from fssbench.methods.abcdfss.shear import Shear, make_copies
from fssbench.methods.abcdfss.task_head import TaskHead
from torch import Tensor
from torch.nn import functional


def fit_plainly(
    head: TaskHead,
    views: Views,
    mask_copies: Tensor,
    shears: Sequence[Shear],
    *,
    steps: int,
    rate: float,
    temperature: float,
) -> None:
    """Fit a head in place.  Arguments as for `fssbench.methods.abcdfss.fit.fit`, of one head."""
    weights = [values.requires_grad_() for values in head.parameters()]
    with torch.enable_grad():
        for _ in range(steps):
            loss = compute_loss(head, views, mask_copies, shears, temperature)
            gradients = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for values, gradient in zip(weights, gradients, strict=True):
                    values.add_(gradient, alpha=-rate)


def compute_loss(
    head: TaskHead, views: Views, mask_copies: Tensor, shears: Sequence[Shear], temperature: float
) -> Tensor:
    """Compute the loss of a head: contrast and moments of query and supports, and prototypes of the supports."""
    query, query_copies, support, support_copies = (
        functional.normalize(head(maps), dim=1)
        for maps in (
            make_copies(views.query, shears),
            views.query_copies,
            make_copies(views.support, shears),
            views.support_copies,
        )
    )
    masks = functional.interpolate(
        mask_copies.unsqueeze(1), support.shape[-2:], mode="bilinear", align_corners=False
    )
    loss = compute_prototype_loss(support, support_copies, masks, len(shears))
    for plain, copied in ((query, query_copies), (support, support_copies)):
        loss = loss + compute_contrast_loss(plain, copied, temperature) + compute_moment_loss(plain, copied)
    return loss


def compute_contrast_loss(plain: Tensor, copied: Tensor, temperature: float) -> Tensor:
    """Compute the dense InfoNCE loss: each cell of `plain` must match itself among all cells of its copy."""
    likeness = torch.einsum("ndi,ndj->nij", plain.flatten(2), copied.flatten(2)) / temperature
    targets = torch.arange(likeness.shape[2]).repeat(len(likeness))
    return functional.cross_entropy(likeness.flatten(0, 1), targets)


def compute_moment_loss(plain: Tensor, copied: Tensor) -> Tensor:
    """Compute the mean absolute differences of the channels' means and variances over the plane."""
    (var_a, mean_a), (var_b, mean_b) = (torch.var_mean(each.flatten(2), dim=2) for each in (plain, copied))
    return (mean_a - mean_b).abs().mean() + (var_a - var_b).abs().mean()


def compute_prototype_loss(plain: Tensor, copied: Tensor, masks: Tensor, count: int) -> Tensor:
    """Compute the loss that pulls the object's prototype to its copy's, and away from the copy's background.

    Prototypes are pooled over the K supports of each of `count` shears.
    """

    def average(maps: Tensor, weights: Tensor) -> Tensor:
        grouped, its_weights = (each.unflatten(0, (count, -1)) for each in (maps, weights))
        return (grouped * its_weights).sum(dim=(1, 3, 4)) / (its_weights.sum(dim=(1, 3, 4)) + 1e-8)

    near = functional.cosine_similarity(average(plain, masks), average(copied, masks), dim=1).exp()
    far = functional.cosine_similarity(average(plain, masks), average(copied, 1 - masks), dim=1).exp()
    return -(near / (near + far)).log().mean()
