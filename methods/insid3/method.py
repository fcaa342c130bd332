"""INSID3: in-context segmentation with frozen DINOv3 features, without training.

Query cells are candidates if they resemble the object of the supports, and if the cells that they resemble most lie in
it.  The query's cells are grouped, and groups that resemble the best group are kept.  The part of the features that
depends on the place in the image alone is removed before two images are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fssbench.api import MEAN, STD, FeatureMethod, Features, MethodCard, MethodConfig, Note, Taps

from ..layers.feature_maps import choose_tap, pick_last, pick_normed
from ..layers.resize import Size, read_size
from .clusters import average_groups, group_cells
from .masks import reduce_mask
from .positions import find_basis, remove_positions

if TYPE_CHECKING:
    from fssbench.api import Backbone

_QUANTILE = 0.9


class INSID3Config(MethodConfig):
    """Settings of INSID3."""

    tap: str = "auto"
    """Backbone tap that is compared.  `auto` is the last tap with a norm, as published, or the last tap."""
    tau: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """Average cosine above which two groups of cells are merged."""
    merge: float = 0.2
    """Score above which a group is kept."""
    components: Annotated[int, Field(ge=0)] | None = None
    """Directions of position that are removed; by default the share of the channels that 500 are of ViT-L's 1,024."""


class _Steps(NamedTuple):
    """What the method finds on the way, for one episode."""

    forward: Tensor
    """Similarity of each query cell with the prototype (h, w)."""
    candidates: Tensor
    """Cells that pass both tests (h, w), bool."""
    groups: Tensor
    """Group of each cell (h, w)."""
    kept: Tensor
    """The mask on the grid (h, w), bool."""


class INSID3(FeatureMethod):
    """Finds candidate cells by forward and backward similarity, and keeps groups of cells like the best one."""

    card: ClassVar[MethodCard] = MethodCard(
        name="insid3",
        title="INSID3",
        paper="INSID3: in-context segmentation with frozen DINOv3, CVPR",
        year=2026,
        kind="pixelwise",
        backbone="dinov3-l",
        size=1024,
        answer="mask",
        trained=False,
        reference="visinf/INSID3@f1c9622",
        licence="Apache-2.0",
        training="Nothing is trained.",
        parity=(
            "insid3_dinov3s_224: basis, prototype, candidates, groups and masks of one and five supports under two "
            "settings, and masks of tiny objects; masks equal",
        ),
        notes=(
            Note(
                "remark",
                "The result is a mask and no score: logits are 1 and -1 on the grid of the features. So curves over "
                "thresholds say nothing about it.",
            ),
            Note("reproduced", "All cells can be dropped, the best group included; the mask is then empty."),
            Note(
                "differs",
                "The reference removes 500 directions from every network, which leaves only rounding of ViT-S. Here "
                "the number is a share of the channels, and directions without variance are not counted.",
            ),
            Note(
                "corrected",
                "A support with an empty mask ends the reference with an error. Here it is left out. Without any "
                "object the mask is empty.",
            ),
            Note("differs", "The dense CRF of the reference needs a compiled package and is not offered."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = INSID3Config
    align_corners: ClassVar[bool] = False
    config: INSID3Config

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._tap = choose_tap(self.backbone, self.config.tap, _pick_last_normed)
        self._bases: dict[Size, Tensor] = {}

    @property
    def taps(self) -> Taps:
        """The one tap that is compared."""
        return Taps(query=(self._tap,), support=(self._tap,))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the feature grid: 1 and -1 by the mask."""
        steps = self._follow_steps(query[self._tap], support[self._tap], support_mask)
        signs = torch.stack([torch.where(each.kept, 1.0, -1.0) for each in steps])
        return torch.stack([-signs, signs], dim=1)

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the similarity with the prototype, the candidates, and the groups, each (1, h, w)."""
        (steps,) = self._follow_steps(query[self._tap], support[self._tap], support_mask)
        return {
            "similarity with the object": steps.forward[None],
            "candidates": steps.candidates[None].float(),
            "groups": steps.groups[None].float(),
        }

    def _follow_steps(self, query: Tensor, support: Tensor, masks: Tensor) -> list[_Steps]:
        """Segment queries (B, C, h, w) from supports (B, K, C, h, w) with masks (B, K, H, W)."""
        basis = self._find_basis(read_size(masks), query)
        return [self._segment(*episode, basis) for episode in zip(query, support, masks, strict=True)]

    def _find_basis(self, size: Size, like: Tensor) -> Tensor:
        """Return the directions of position for an input size.  They depend on the backbone alone, so they are kept."""
        if size not in self._bases:
            black = -torch.tensor(MEAN, device=like.device) / torch.tensor(STD, device=like.device)
            image = black.view(1, 3, 1, 1).expand(1, 3, *size)
            with torch.no_grad():
                blank = self.backbone(image, [self._tap])[self._tap][0]
            self._bases[size] = find_basis(blank.float(), self.config.components)
        return self._bases[size].to(like.device)

    def _segment(self, query: Tensor, supports: Tensor, masks: Tensor, basis: Tensor) -> _Steps:
        """Segment one query (C, h, w) from supports (K, C, h, w) with masks (K, H, W)."""
        size = read_size(query)
        cells = functional.normalize(query.flatten(1).T, dim=1)
        content = remove_positions(cells, basis)
        groups = group_cells(cells, self.config.tau)
        empty = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
        references = []
        for features, mask in zip(supports, masks, strict=True):
            inside = reduce_mask(mask, read_size(features)).flatten()
            if bool(inside.any()):
                directions = functional.normalize(features.flatten(1).T, dim=1)
                references.append((remove_positions(directions, basis), inside))
        if not references:
            return _Steps(*(value.unflatten(0, size) for value in (empty.float(), empty, groups, empty)))
        means = torch.stack([vectors[inside].mean(dim=0) for vectors, inside in references])
        prototype = functional.normalize(means.mean(dim=0), dim=0)
        forward = content @ prototype
        votes = torch.stack([inside[(content @ vectors.T).argmax(dim=1)] for vectors, inside in references])
        candidates = _pass_forward(forward) & (2 * votes.sum(dim=0) >= len(references))
        kept = empty
        if bool(candidates.any()):
            kept = self._score_groups(cells, content, groups, candidates, forward, prototype)[groups]
        return _Steps(*(value.unflatten(0, size) for value in (forward, candidates, groups, kept)))

    def _score_groups(
        self,
        cells: Tensor,
        content: Tensor,
        groups: Tensor,
        candidates: Tensor,
        forward: Tensor,
        prototype: Tensor,
    ) -> Tensor:
        """Decide which groups are kept, bool (G,)."""
        shares = average_groups(candidates.to(cells.dtype), groups)
        across = functional.normalize(average_groups(content, groups), dim=1) @ prototype
        seed = int(across.masked_fill(shares == 0, -torch.inf).argmax())
        shares[seed] = 1.0
        own = functional.normalize(average_groups(cells, groups), dim=1)
        return average_groups(forward, groups) * (own @ own[seed]) * shares > self.config.merge


def _pass_forward(forward: Tensor) -> Tensor:
    """Return the cells whose similarity is above zero; if there are none, those above the 0.9 quantile."""
    passing = forward > 0
    return passing if bool(passing.any()) else forward > torch.quantile(forward, _QUANTILE)


def _pick_last_normed(backbone: Backbone) -> str:
    return pick_normed(backbone, pick_last(backbone))
