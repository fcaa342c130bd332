"""Groups points by their masks, and decides which masks belong to the object."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from .priors import Priors, average_inside

_EPS_AREA = 1e-6
ACCEPTED, HALF_ACCEPTED, REFUSED = 1, 2, 0
"""What becomes of a mask: it passes both tests, one, or none."""


class Gates(NamedTuple):
    """Result of the growth test, by what the masks cover."""

    grown: Tensor
    """Masks that pass the growth test (N), bool."""
    scores: Tensor
    """Score of each point (N): that of its group."""


class Selection(NamedTuple):
    """What was decided about the masks of one query."""

    groups: Tensor
    """Group of each point (N)."""
    grown: Tensor
    """Masks that pass the growth test: they cover more of the object than of the background (N), bool."""
    scores: Tensor
    """Score of each point (N)."""
    kept: Tensor
    """`ACCEPTED`, `HALF_ACCEPTED` or `REFUSED` (N)."""
    mask: Tensor
    """The answer (H, W), bool."""
    fallback: bool
    """Whether no mask was accepted, so that one mask was taken by its score."""


def select_masks(
    masks: Tensor,
    points: Tensor,
    priors: Priors,
    own_cosines: Tensor,
    *,
    clustering: bool = True,
    growth: bool = True,
    consistency: bool = True,
    last_score: bool = True,
) -> Selection:
    """Select among the masks of the points.

    Args:
        masks: the mask of each point (N, H, W), bool.
        points: column and row of each point on the grid (N, 2).
        priors: the maps of the query.
        own_cosines: cosines between the query's cells (h * w, h * w).
        clustering: whether points are grouped by their masks; otherwise each point is a group.
        growth: whether masks are tested by what they cover; otherwise all pass.
        consistency: whether points are tested by their groups; otherwise all pass.
        last_score: whether the score of a group is the gain of its last mask; otherwise its largest gain.
    """
    size = (priors.positive_mean.shape[0], priors.positive_mean.shape[1])
    groups = find_groups(masks, points, size) if clustering else torch.arange(len(points))
    every = torch.ones(len(points), dtype=torch.bool, device=masks.device)
    grown, scores = check_growth(_reduce(masks, size), groups, priors, last_score=last_score)
    if not growth:
        grown = every
    consistent = every
    if consistency:
        unions = torch.stack([masks[groups == group].any(dim=0) for group in range(int(groups.max()) + 1)])
        consistent = check_consistency(_reduce(unions, size), groups, points, own_cosines)
    kept = torch.where(grown & consistent, ACCEPTED, torch.where(grown | consistent, HALF_ACCEPTED, REFUSED))
    answer = masks[kept == ACCEPTED].any(dim=0)
    fallback = not bool(answer.any())
    if fallback:
        best = int(torch.where(kept == HALF_ACCEPTED, scores, 0.0).argmax())
        answer = masks[best]
    return Selection(groups, grown, scores, kept, answer, fallback)


def find_groups(masks: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """Group points: two belong together if the mask of one covers the other, directly or through further points.

    Args:
        masks: the mask of each point (N, H, W), bool.
        points: column and row of each point on the grid (N, 2).
        size: rows and columns of the grid.

    Returns:
        The group of each point (N), numbered by the first point of each group.
    """
    nearest = functional.interpolate(masks[None].float(), size, mode="nearest")[0]
    covers = nearest[:, points[:, 1], points[:, 0]] > 0
    _, labels = connected_components(csr_array(covers.cpu().numpy()), directed=True, connection="weak")
    return torch.from_numpy(labels).long().to(masks.device)


def check_growth(covers: Tensor, groups: Tensor, priors: Priors, *, last_score: bool) -> Gates:
    """Test masks by what they add to their group: more of the object than of the background.

    Args:
        covers: masks on the grid (N, h, w), from 0 to 1.
        groups: the group of each mask (N).
        priors: the maps of the query.
        last_score: see `select_masks`.
    """
    excess = priors.positive_mean.square() - priors.negative_mean * priors.half
    is_object = (excess > 0).to(covers.dtype)
    worth = (excess * covers).sum(dim=(1, 2)) / (covers.sum(dim=(1, 2)) + _EPS_AREA)
    grown = torch.zeros(len(covers), dtype=torch.bool, device=covers.device)
    scores = torch.zeros(len(covers), device=covers.device)
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero()[:, 0]
        covered = torch.zeros_like(excess)
        gains = []
        for index in members[worth[members].argsort(descending=True, stable=True)].tolist():
            added = covers[index] * (1 - covered)
            inside, outside = (is_object * added).sum(), ((1 - is_object) * added).sum()
            gains.append(inside - outside)
            if inside > outside:
                grown[index] = True
                covered = covered + added
        scores[members] = gains[-1] if last_score else torch.stack(gains).max()
    return Gates(grown, scores)


def check_consistency(unions: Tensor, groups: Tensor, points: Tensor, own_cosines: Tensor) -> Tensor:
    """Test whether each point resembles its own group more than every other group.

    Each likeness is divided by the distance to the group, so near groups are preferred.

    Args:
        unions: the union of the masks of each group, on the grid (G, h, w), from 0 to 1.
        groups: the group of each point (N).
        points: column and row of each point (N, 2).
        own_cosines: cosines between the query's cells (h * w, h * w).

    Returns:
        Points that pass (N), bool.  A group fails as a whole if fewer than half of its points pass.
    """
    cells = points[:, 1] * unions.shape[2] + points[:, 0]
    between = (points[:, None] - points[None]).float().norm(dim=2)
    values = []
    for group, union in enumerate(unions):
        distance = between[:, groups == group].amin(dim=1)
        likeness = average_inside(own_cosines[cells], union.flatten())
        values.append(likeness / torch.where(distance == 0, 1.0, distance))
    passes = torch.stack(values).argmax(dim=0) == groups
    for group in range(len(unions)):
        of_group = groups == group
        if 2 * int(passes[of_group].sum()) < int(of_group.sum()):
            passes[of_group] = False
    return passes


def _reduce(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (N, H, W) to the grid without antialias: (N, h, w), from 0 to 1."""
    return functional.interpolate(masks[None].float(), size, mode="bilinear", align_corners=False)[0]
