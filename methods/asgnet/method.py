"""ASGNet: adaptive superpixel-guided network (Li, Jampani, Sevilla-Lara, Sun, Kim, Kim, CVPR 2021).

The object is split into superpixels, and each superpixel gives a prototype.  A larger object has more
prototypes.  Every query cell is compared with the prototype that is most similar to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import Ablation, Features, MethodCard, MethodConfig, Note, Taps

from ..layers.feature_maps import list_stages, pick_activated
from ..layers.pfenet_base import INSIDE, OneEnrichment, PyramidConfig
from ..layers.pfenet_head import WIDTH, Enriched, FeatureEnrichment, make_merge, make_reduction
from ..layers.prototypes import average_weighted
from ..layers.resize import read_size, resize
from ..layers.superpixels import cluster, place_seeds, sample_mask, select_seeds
from ..layers.supervision import Auxiliary
from .dilated_context import DilatedContext, rename_dilated

if TYPE_CHECKING:
    from fssbench.api import Backbone

_STEPS = {True: 10, False: 5}
"""Number of updates of the clusters in training and in evaluation."""


class ASGNetConfig(PyramidConfig):
    """Settings of ASGNet."""

    superpixels: int = Field(default=5, ge=1)
    """Maximum number of superpixels per support.  1 means plain averaging."""

    area: int = Field(default=100, ge=1)
    """Number of object cells per superpixel."""

    context: Literal["auto", "fem", "aspp"] = "auto"
    """Module after the guided map.  `fem`: PFENet's feature enrichment, with which figures were published.  `aspp`:
    the alternative of the release.  `auto`: the module of the loaded authors' weights, or `fem` without such
    weights."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "superpixels": Ablation({"superpixels": 1}, label="w/o superpixels")
    }


class ASGNet(OneEnrichment):
    """Superpixel-guided clustering, then allocation of prototypes.  Prototypes of K supports are pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="asgnet",
        title="ASGNet",
        paper="Gen Li, Varun Jampani, Laura Sevilla-Lara, Deqing Sun, Jonghyun Kim, Joongkyu Kim: Adaptive "
        "Prototype Learning and Allocation for Few-Shot Segmentation, CVPR",
        year=2021,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="Reagan1311/ASGNet@cd898c5",
        licence="none",
        training="Cross-entropy, and the mean of it over the scales' auxiliary logits; SGD, momentum 0.9, weight "
        "decay 1e-4, polynomial decay 0.9; PASCAL: learning rate 2.5e-2 (stated as 2.5e-3), batch 4, "
        "200 epochs; COCO: 641 px, 5e-2 (5e-3), batch 8, 50 epochs.",
        parity=("asgnet_resnet50_fem_257: logits of one and five supports, and with one prototype, to 1e-4",),
        notes=(
            Note(
                "remark",
                "By default the published configuration, with PFENet's feature enrichment; the release's "
                "alternative is "
                "`--set context=aspp`.  Reproduced there: a residual's first ReLU also changes what it is added to.",
            ),
            Note(
                "remark",
                "Published checkpoints contain their encoder, and it is needed: the reference's batch norm drifts in "
                "training, as PFENet's does.  Corrected here: statistics stay as loaded.",
            ),
            Note(
                "reproduced",
                "Likeness is summed over the prototypes of all supports, so that its scale grows "
                "with their number, and one support given twice is not one support.",
            ),
            Note(
                "reproduced",
                "Seeds in the first row or column of the grid can lower the number of superpixels used.",
            ),
            Note(
                "reproduced",
                "Five updates of the clusters in evaluation, ten in training; no gradient goes through "
                "the prototypes.",
            ),
            Note(
                "remark",
                "Seeds are placed by scipy's distance transform, as in the reference, on the grid of the features: "
                "for the reference's sizes, 8k + 1, the same grid.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = ASGNetConfig
    config: ASGNetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.down_conv = nn.Sequential(nn.Conv2d(self._channels, WIDTH, 1, bias=False), nn.Dropout2d(0.5))
        first = list_stages(self.backbone, 4)[0][-1]
        self._shallow, self._shallow_channels = pick_activated(self.backbone, first.name), first.channels
        aspp = self.config.context == "aspp"
        self.context = DilatedContext(2 * WIDTH + 1, self._shallow_channels) if aspp else None
        if aspp:
            del self.enrich
        else:  # drawn again after `down_conv`: a seed keeps its start weights
            self.enrich = FeatureEnrichment(self.config.ppm_scales)
        scales = () if aspp else self.config.ppm_scales
        self.corr_conv = nn.ModuleList(make_reduction(2 * WIDTH + 1) for _ in scales)

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Return the context module of the weights."""
        return {"context": "aspp" if any(name.startswith("ASPP.") for name in state) else "fem"}

    @property
    def taps(self) -> Taps:
        """The second and third stage, and for ASPP the first.

        The fourth stage is in checkpoints, but it is never run.
        """
        pair = (self._low, self._mid)
        return Taps(query=pair if self.context is None else (self._shallow, *pair), support=pair)

    def _enrich(self, query: Features, support: Features, support_mask: Tensor) -> Enriched:
        shots = support_mask.shape[1]
        cells = self.down_conv(self._middle(query))
        objects = self.down_conv(self._middle({tap: maps.flatten(0, 1) for tap, maps in support.items()}))
        prototypes = self.make_prototypes(objects.unflatten(0, (-1, shots)), support_mask)
        guides, likeness = zip(*(allocate(c, p) for c, p in zip(cells, prototypes, strict=True)), strict=True)
        guided = torch.cat([cells, torch.stack(guides)], dim=1)
        if self.context is not None:
            seen: Enriched = self.context(
                torch.cat([guided, torch.stack(likeness)], dim=1), query[self._shallow]
            )
            return seen
        enriched: Enriched = self.enrich(
            make_merge(self.corr_conv, guided, (), torch.stack(likeness)), read_size(cells)
        )
        return enriched

    @property
    def _classifier(self) -> Auxiliary:
        return self.enrich if self.context is None else self.context

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint, for either context module."""
        return super().rename_reference(name) if self.context is None else rename_dilated(name, "context.")

    @torch.no_grad()
    def make_prototypes(self, objects: Tensor, support_mask: Tensor) -> list[Tensor]:
        """Make the prototypes (P, 256) of all supports, per episode, from features (B, K, 256, h, w)."""
        weights = resize(support_mask, read_size(objects))
        masks = support_mask.cpu().numpy() == 1
        return [
            torch.cat([self._split(*one) for one in zip(*episode, strict=True)])
            for episode in zip(objects, weights, masks, strict=True)
        ]

    def _split(self, features: Tensor, weights: Tensor, mask: Any) -> Tensor:
        """Make the prototypes (P, 256) of one support: its superpixels, or its average if the object is small."""
        config = self.config
        seeds = select_seeds(
            place_seeds(sample_mask(mask, read_size(features)), config.superpixels, config.area)
        )
        inside = weights > INSIDE
        if len(seeds) < 2 or not bool(inside.any()):
            return average_weighted(features, weights).unsqueeze(0)
        return cluster(features, inside, seeds, _STEPS[self.training])


def allocate(cells: Tensor, prototypes: Tensor) -> tuple[Tensor, Tensor]:
    """Give each query cell (C, h, w) the prototype of (P, C) that is most similar to it.

    Returns:
        The chosen prototypes (C, h, w), and the cosines summed over all prototypes (1, h, w).
    """
    likeness = functional.cosine_similarity(cells.unsqueeze(0), prototypes[:, :, None, None], dim=1, eps=1e-7)
    chosen = prototypes[likeness.argmax(dim=0)].movedim(-1, 0)
    return chosen, likeness.sum(dim=0, keepdim=True)
