"""The settings, the recipe, the loss and the names in checkpoints that PFENet, SCL, ASGNet and NTRENet share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator
from torch import Tensor

from fssbench.api import Features, MethodConfig, Recipe

from .pfenet_head import Enriched, FeatureEnrichment, rename_head
from .prior_base import LayoutConfig, PriorMethod
from .supervision import Auxiliary, compute_enriched_loss

if TYPE_CHECKING:
    from fssbench.api import Backbone


class PyramidConfig(LayoutConfig):
    """Settings of PFENet and its relatives."""

    ppm_scales: tuple[float, ...] = (60, 30, 15, 8)
    """Cells along a side of each scale, finest first; a number up to 1 is a share of the grid.  PASCAL: 60, 30, 15, 8
    (for 473 px); the authors' COCO setting is 1, 0.5, 0.25, 0.125."""

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


class PyramidMethod(PriorMethod):
    """A method that enriches the features at several scales."""

    Config: ClassVar[type[MethodConfig]] = PyramidConfig
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
        self.enrich = FeatureEnrichment(self.config.ppm_scales)

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
        return compute_enriched_loss(self._classifier, enriched, target, ignore)

    @property
    def _classifier(self) -> Auxiliary:
        """The module that classifies each scale by itself."""
        return self.enrich
