"""The encoder, the settings and the names in checkpoints that PFENet, SCL, ASGNet and NTRENet share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import field_validator
from torch import Tensor

from fssbench.api import FeatureMethod, Features, MethodConfig, Recipe, Taps

from .feature_maps import list_stages, pick_activated
from .pfenet_head import Enriched, FeatureEnrichment, rename_head
from .prior import prior_mask
from .resize import grid, resize
from .supervision import Auxiliary, enriched_loss

if TYPE_CHECKING:
    from fssbench.api import Backbone


class PyramidConfig(MethodConfig):
    """Settings of PFENet and its relatives."""

    ppm_scales: tuple[float, ...] = (60, 30, 15, 8)
    """Cells along a side of each scale, finest first; a number up to 1 is a share of the grid.  PASCAL: 60, 30, 15, 8
    (for 473 px); the authors' COCO setting is 1, 0.5, 0.25, 0.125."""
    layout: Literal["reference", "standard"] = "reference"
    """Which form of a ResNet or VGG: `reference` is the authors' (three-convolution stem, dilated, stride
    8; VGG with batch norm), whose weights come with their checkpoints; `standard` takes torchvision's
    weights.  Other backbones have one form."""

    @field_validator("ppm_scales", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Take `60,30,15,8` as the command line gives it."""
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("ppm_scales")
    @classmethod
    def _usable(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or not all(0 < scale <= 1 or scale == int(scale) > 0 for scale in value):
            raise ValueError("needs whole numbers above 1, or shares of the grid up to 1")
        return value


INSIDE = 0.999
"""A cell is inside the object if its resized mask is at least this: one, apart from rounding."""
_REFERENCE_LAYOUTS = {"resnet50": "deepstem", "resnet101": "deepstem", "vgg16": "batchnorm"}


class PyramidMethod(FeatureMethod):
    """A method on the last blocks of stages two to four, after their activation.

    The second and third stage are compared, on the third one's grid; the fourth gives the prior mask.
    """

    Config: ClassVar[type[MethodConfig]] = PyramidConfig
    reference_backbone: ClassVar[str] = ""
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=2.5e-2,
        stated_rate=2.5e-3,
        momentum=0.9,
        weight_decay=1e-4,
        batch=4,
        epochs=200,
        schedule="poly",
        power=0.9,
        source="PASCAL-5i configurations of PFENet, SCL and ASGNet, which share it.  They state 2.5e-3, but the "
        "schedule of all three multiplies the rate of every parameter group after number -1 by ten, hence of all",
    )
    config: PyramidConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        last = [stage[-1] for stage in list_stages(self.backbone, 4)[1:4]]
        self._low, self._mid, self._high = (pick_activated(self.backbone, tap.name) for tap in last)
        self._channels = last[0].channels + last[1].channels
        self.enrich = FeatureEnrichment(self.config.ppm_scales)

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """The authors' encoder if the backbone has it and the settings do not choose another."""
        if isinstance(config, PyramidConfig) and config.layout == "standard":
            return "standard"
        return _REFERENCE_LAYOUTS.get(backbone, "standard")

    @property
    def taps(self) -> Taps:
        """Stages two and three of both; of the query also stage four, for the prior mask."""
        return Taps(query=(self._low, self._mid, self._high), support=(self._low, self._mid))

    def _middle(self, maps: Features) -> Tensor:
        """Concatenate the third and the second stage on the grid of the third: (B, C, h, w)."""
        mid = maps[self._mid]
        return torch.cat([mid, resize(maps[self._low], grid(mid))], dim=1)

    @torch.no_grad()
    def _priors(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute one prior mask per support, on the query's grid: (B, K, h, w).

        The fourth stage runs on the object cells of the third alone, so that it sees no background.
        """
        mid = support[self._mid]
        priors = []
        for k in range(support_mask.shape[1]):
            mask = support_mask[:, k : k + 1]
            objects = mid[:, k] * resize(mask, grid(mid))
            high = self.backbone.resume(objects, self._mid, (self._high,))[self._high]
            priors.append(prior_mask(query[self._high], high * resize(mask, grid(high))))
        # over the grid of the support, as in the reference; it differs from the query's if the inputs differ in shape
        return resize(resize(torch.stack(priors, dim=1), grid(mid)), grid(query[self._mid]))

    def rename_reference(self, name: str) -> str | None:
        """Own name of an authors' entry."""
        return rename_head(name)


class OneEnrichment(PyramidMethod):
    """A method with one enrichment of all supports together, from which logits and loss come."""

    @abstractmethod
    def _enrich(self, query: Features, support: Features, support_mask: Tensor) -> Enriched:
        """The enrichment of B episodes of K shots, on features."""

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        return self._enrich(query, support, support_mask).logits

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Cross-entropy, plus the mean of it over the scales' auxiliary logits.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of them that are left out (B, H, W), bool.
        """
        enriched = self._enrich(*self.read(query, support), support_mask)
        return enriched_loss(self._classifier, enriched, target, ignore)

    @property
    def _classifier(self) -> Auxiliary:
        """The module that classifies each scale by itself."""
        return self.enrich
