"""SCL: self-guided and cross-guided learning (Zhang, Xiao, Qin, CVPR 2021), on PFENet.

The head first predicts the support itself from its averaged vector.  The correctly predicted part and the missed part
of the object then give two vectors instead of one.  Several supports are weighted: a support counts more if its
vectors predict the objects of all supports better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from fssbench.api import Features, MethodCard, MethodConfig, Note

from .layers.pfenet_base import INSIDE, PyramidMethod
from .layers.pfenet_head import WIDTH, Enriched, make_merge, make_narrowing, make_reduction
from .layers.prototypes import average_weighted
from .layers.resize import read_size, resize
from .layers.supervision import compute_enriched_loss

if TYPE_CHECKING:
    from fssbench.api import Backbone

_DIVISOR = 5.0
"""The reference divides by five for any number of supports.  This changes no mask."""

Vectors = tuple[Tensor, Tensor]


class _Support(NamedTuple):
    """Everything that is computed from one support image."""

    objects: Tensor
    """(B, 256, h, w)."""
    first: Enriched
    """The support's prediction of itself, from its averaged vector."""
    vectors: Vectors
    """Averages of the predicted part and of the missed part of the object, (B, 256) each."""


class SCL(PyramidMethod):
    """Self-guided learning on PFENet.  K supports are weighted by how well they predict each other."""

    card: ClassVar[MethodCard] = MethodCard(
        name="scl",
        title="SCL (PFENet)",
        paper="Bingfeng Zhang, Jimin Xiao, Terry Qin: Self-Guided and Cross-Guided Learning for Few-Shot "
        "Segmentation, CVPR",
        year=2021,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="zbf1991/SCL@872233a, folder SCL_PFENet",
        licence="none",
        training="Cross-entropy of the query and of two predictions of the support (from the averaged vector, and "
        "from the two parts' vectors), each with the mean over its scales' auxiliary logits; one support; "
        "SGD, learning rate 2.5e-2 (stated as 2.5e-3), momentum 0.9, weight decay 1e-4, polynomial decay 0.9, "
        "batch 4, 200 epochs.",
        parity=("scl_pfenet_resnet50_257: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "remark",
                "Published checkpoints bring their encoder, and must: the reference's batch norm drifts in "
                "training, as PFENet's does.  Corrected here: statistics stay as loaded.",
            ),
            Note(
                "reproduced",
                "Weights of several supports are not normalised, and the sum is divided by five "
                "whatever their number; logits are scaled, masks are not moved.",
            ),
            Note(
                "reproduced",
                "A support re-predicted with another's vectors is informed, scale by scale, by its own "
                "first prediction (the authors say so in their README).",
            ),
            Note(
                "reproduced",
                "Object cells whose resized mask is a fraction (input sides other than 8k + 1) count as "
                "neither found nor missed.  Corrected: rounding alone does not exclude a cell.",
            ),
            Note("corrected", "The reference's one-shot file stops at scales given as shares of the grid."),
            Note("remark", "The variant on CANet is not offered."),
        ),
    )

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        scales = self.config.ppm_scales
        self.down_query = make_narrowing(self._channels)
        self.down_supp = make_narrowing(self._channels)
        self.init_merge = nn.ModuleList(make_reduction(3 * WIDTH + 1) for _ in scales)
        self.supp_init_merge = nn.ModuleList(make_reduction(3 * WIDTH) for _ in scales)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        supports, answers = self.predict_from_each(query, support, support_mask)
        if len(answers) == 1:
            return answers[0].logits
        weights = [
            self.compute_merit(each.vectors, supports, support_mask).view(-1, 1, 1, 1) for each in supports
        ]
        weighted = [weight * each.logits for weight, each in zip(weights, answers, strict=True)]
        return torch.stack(weighted).sum(dim=0) / _DIVISOR

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the loss of the query and of both predictions of the support, averaged over supports.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of the queries that do not count (B, H, W), bool.
        """
        supports, answers = self.predict_from_each(*self.read(query, support), support_mask)
        total = []
        for each, answer, mask in zip(supports, answers, support_mask.unbind(1), strict=True):
            truth, nothing = mask == 1, torch.zeros_like(mask, dtype=torch.bool)
            second = self.predict_support(each.objects, each.vectors, each.first.levels)
            total.append(compute_enriched_loss(self.enrich, answer, target, ignore))
            total += [compute_enriched_loss(self.enrich, own, truth, nothing) for own in (each.first, second)]
        return torch.stack(total).sum() / len(supports)

    def predict_from_each(
        self, query: Features, support: Features, support_mask: Tensor
    ) -> tuple[list[_Support], list[Enriched]]:
        """Read each support, and predict the query from each support alone."""
        cells = self.down_query(self._middle(query))
        priors = self._priors(query, support, support_mask)
        supports = [
            self.read_support({tap: maps[:, k] for tap, maps in support.items()}, support_mask[:, k])
            for k in range(support_mask.shape[1])
        ]
        return supports, [
            self.predict_query(cells, each.vectors, priors[:, k : k + 1]) for k, each in enumerate(supports)
        ]

    def read_support(self, maps: Features, mask: Tensor) -> _Support:
        """Predict a support from itself, and split its object by the result.

        Args:
            maps: features (B, C, h, w) of the support, by tap.
            mask: masks (B, H, W).
        """
        objects = self.down_supp(self._middle(maps))
        weights = resize(mask.unsqueeze(1), read_size(objects))[:, 0]
        vector = average_weighted(objects, weights)
        first = self.predict_support(objects, (vector, vector))
        hit = first.logits[:, 1] > first.logits[:, 0]
        inside = weights > INSIDE
        parts = [average_weighted(objects, (inside & part).to(objects.dtype)) for part in (hit, ~hit)]
        return _Support(objects, first, (parts[0], parts[1]))

    def predict_support(
        self, objects: Tensor, vectors: Vectors, above: list[Tensor] | None = None
    ) -> Enriched:
        """Predict a support from two vectors.

        Args:
            objects: features of the support (B, 256, h, w).
            vectors: averages of the predicted and of the missed part of an object, (B, 256) each.
            above: levels of the support's first prediction, which inform each scale.  By default its own levels do.
        """
        enriched: Enriched = self.enrich(
            make_merge(self.supp_init_merge, objects, vectors), read_size(objects), above
        )
        return enriched

    def predict_query(self, cells: Tensor, vectors: Vectors, prior: Tensor) -> Enriched:
        """Predict the query (B, 256, h, w) from the vectors of one support and its prior mask (B, 1, h, w)."""
        enriched: Enriched = self.enrich(make_merge(self.init_merge, cells, vectors, prior), read_size(cells))
        return enriched

    @torch.no_grad()
    def compute_merit(self, vectors: Vectors, supports: list[_Support], support_mask: Tensor) -> Tensor:
        """Compute the mean IoU (B,) over all supports, which are predicted with the vectors of one support."""
        scores = []
        for other, mask in zip(supports, support_mask.unbind(1), strict=True):
            again = resize(
                self.predict_support(other.objects, vectors, other.first.levels).logits,
                read_size(support_mask),
            )
            scores.append(compute_mean_iou(again[:, 1] > again[:, 0], mask == 1))
        return torch.stack(scores).mean(dim=0)


def compute_mean_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Compute the mean of background and foreground IoU of masks (B, H, W), bool: (B,).  An empty union gives 0."""
    ious = []
    for a, b in ((~predicted, ~truth), (predicted, truth)):
        union = (a | b).sum(dim=(1, 2)).clamp(min=1)
        ious.append((a & b).sum(dim=(1, 2)) / union)
    return (ious[0] + ious[1]) / 2
