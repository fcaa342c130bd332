"""What CyCTR, IPMT and AAFormer share: encoder, settings, merged features, segmentation head and recipe."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fssbench.api import FeatureMethod, Features, MethodConfig, PartRecipe, Recipe, Taps

from .feature_maps import list_stages, pick_activated
from .pfenet_head import make_classifier, make_narrowing, make_reduction, make_refinement
from .prior import compute_prior_mask
from .prototypes import average_weighted
from .resize import read_size, resize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fssbench.api import Backbone

RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.0375,
    stated_rate=2.5e-3,
    momentum=0.9,
    weight_decay=1e-4,
    batch=4,
    epochs=200,
    schedule="poly",
    power=0.9,
    parts=(
        PartRecipe(names=r"^transformer\..*bias", optimizer="adamw", learning_rate=1e-4),
        PartRecipe(names=r"^transformer\.", optimizer="adamw", learning_rate=1e-4, weight_decay=1e-2),
    ),
    source="PASCAL-5i configurations of CyCTR and IPMT, whose schedule multiplies the stated rate by 15",
)
"""The recipe of CyCTR and IPMT; AAFormer's differs in batch and start."""

_REFERENCE_LAYOUTS = {"resnet50": "cyctr", "resnet101": "cyctr"}


class CyCTRBaseConfig(MethodConfig):
    """Settings of CyCTR and its relatives."""

    reduce_dim: int = Field(default=384, ge=8, multiple_of=8)
    """Channels of every map and token in the head."""
    layout: Literal["reference", "standard"] = "reference"
    """Which form of a ResNet: `reference` is the authors' (three-convolution stem, dilated, stride 8), whose weights
    come with their checkpoints; `standard` takes torchvision's weights.  Other backbones have one form."""


class Merged(NamedTuple):
    """Features of B episodes of K shots before attention; d is `reduce_dim`."""

    cells: Tensor
    """Query features, narrowed (B, d, h, w)."""
    objects: Tensor
    """Support features, narrowed (B, K, d, h, w)."""
    query: Tensor
    """Query features with the objects' mean vector and the prior merged in (B, d, h, w)."""
    support: Tensor
    """Support features, each with its own vector merged in (B, K, d, h, w)."""
    vectors: Tensor
    """The average of each support's object (B, K, d)."""


class CyCTRBase(FeatureMethod):
    """A method on the last blocks of stages two to four, after their activation, whose head is a transformer.

    The second and third stage are compared, on the third one's grid; the fourth gives the prior mask.  Modules are
    named as in the authors' checkpoints.
    """

    Config: ClassVar[type[MethodConfig]] = CyCTRBaseConfig
    recipe: ClassVar[Recipe | None] = RECIPE
    reference_backbone: ClassVar[str] = "backbone.body."
    narrow_prior: ClassVar[bool] = True
    """Whether features are averaged to `reduce_dim` channels before the prior compares them."""
    config: CyCTRBaseConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        last = [stage[-1] for stage in list_stages(self.backbone, 4)[1:4]]
        self._low, self._mid, self._high = (pick_activated(self.backbone, tap.name) for tap in last)
        width = self.config.reduce_dim
        channels = last[0].channels + last[1].channels
        self.adjust_feature_supp = make_narrowing(channels, width)
        self.adjust_feature_qry = make_narrowing(channels, width)
        self.qry_merge_feat = make_reduction(2 * width + 1, width)
        self.supp_merge_feat = make_reduction(2 * width, width)
        self.merge_multi_lvl_reduce = make_reduction(width, width)
        self.merge_multi_lvl_sum = make_refinement(width)
        self.cls = make_classifier(width)

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """The authors' encoder if the backbone has it and the settings do not choose another."""
        if isinstance(config, CyCTRBaseConfig) and config.layout == "standard":
            return "standard"
        return _REFERENCE_LAYOUTS.get(backbone, "standard")

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """The width of the head."""
        narrowing = state.get("adjust_feature_qry.0.weight")
        return {} if narrowing is None else {"reduce_dim": len(narrowing)}

    @property
    def taps(self) -> Taps:
        """Stages two, three and four of both."""
        taps = (self._low, self._mid, self._high)
        return Taps(query=taps, support=taps)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        merged = self._merge(query, support, support_mask)
        logits: Tensor = self.cls(self._fuse(merged, support_mask))
        return logits

    @abstractmethod
    def _fuse(self, merged: Merged, support_mask: Tensor) -> Tensor:
        """The query's features after attention (B, d, h, w), which `cls` classifies."""

    def _merge(self, query: Features, support: Features, support_mask: Tensor) -> Merged:
        shots = support_mask.shape[1]
        cells = self.adjust_feature_qry(self._middle(query))
        flat = self._middle({tap: maps.flatten(0, 1) for tap, maps in support.items()})
        objects = self.adjust_feature_supp(flat).unflatten(0, (-1, shots))
        vectors = average_weighted(objects, resize(support_mask, read_size(objects)))
        with torch.no_grad():
            prior = self._make_prior(query, support, support_mask)
        spread = vectors.mean(dim=1)[:, :, None, None].expand(-1, -1, *read_size(cells))
        own = vectors[..., None, None].expand_as(objects)
        return Merged(
            cells,
            objects,
            self.qry_merge_feat(torch.cat([cells, spread, prior], dim=1)),
            self.supp_merge_feat(torch.cat([objects, own], dim=2).flatten(0, 1)).unflatten(0, (-1, shots)),
            vectors,
        )

    def _middle(self, maps: Features) -> Tensor:
        """Concatenate the second and the third stage on the grid of the third: (B, C, h, w)."""
        mid = maps[self._mid]
        return torch.cat([resize(maps[self._low], read_size(mid)), mid], dim=1)

    def _make_prior(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute the mean prior mask of all supports, on the query's grid: (B, 1, h, w)."""
        cells, high = query[self._high], support[self._high]
        objects = high * resize(support_mask, read_size(high)).unsqueeze(2)
        if self.narrow_prior:
            cells, objects = self._average_channels(cells), self._average_channels(objects)
        priors = torch.stack([compute_prior_mask(cells, each) for each in objects.unbind(dim=1)], dim=1)
        return resize(priors, read_size(query[self._mid])).mean(dim=1, keepdim=True)

    def _average_channels(self, maps: Tensor) -> Tensor:
        """Average neighbouring channels of maps (..., C, h, w) so that `reduce_dim` are left."""
        tokens = maps.flatten(-2).transpose(-1, -2)
        narrow = functional.adaptive_avg_pool1d(tokens.flatten(0, -3), self.config.reduce_dim)
        return narrow.unflatten(0, tokens.shape[:-2]).transpose(-1, -2).unflatten(-1, read_size(maps))

    def _merge_levels(self, attended: Tensor) -> Tensor:
        """Convolve the attended map (B, d, h, w) before it is classified."""
        reduced = self.merge_multi_lvl_reduce(attended)
        fused: Tensor = reduced + self.merge_multi_lvl_sum(reduced)
        return fused
