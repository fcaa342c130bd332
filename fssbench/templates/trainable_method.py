"""Learns a projection of features in which the pixels of one class are similar."""

from __future__ import annotations

from typing import Any

import torch
from fssbench.api import Backbone, FeatureMethod, Features, MethodCard, MethodConfig, Recipe, Taps
from torch import Tensor, nn
from torch.nn import functional


class Settings(MethodConfig):
    """Settings, which `--set width=128` changes."""

    width: int = 64
    """Channels of the projection."""


class Mine(FeatureMethod):
    """Prototypes of the supports in a learned projection of the features."""

    card = MethodCard(
        name="mine",
        title="Mine",
        paper="unpublished",
        year=2026,
        kind="prototype",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="this file",
        licence="none",
    )
    Config = Settings
    config: Settings
    recipe = Recipe(optimizer="adam", learning_rate=1e-3, batch=4, steps=200, source="this file")

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        tap = self.backbone.taps[self.taps.query[0]]
        self.projection = nn.Conv2d(tap.channels, self.config.width, kernel_size=1)

    @property
    def taps(self) -> Taps:
        """Read the last tap of the third stage, or the deepest tap of a backbone with fewer stages."""
        tap = [*self.backbone.taps, *self.backbone.stage(3)][-1]
        return Taps(query=(tap,), support=(tap,))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, h, w): background, foreground.

        Args:
            query: features by tap, (B, C, h, w).
            support: features by tap, (B, K, C, h, w).
            support_mask: masks (B, K, H, W), 0 or 1, float.
        """
        (tap,) = self.taps.query
        projected = self.projection(query[tap])
        supports = self.projection(support[tap].flatten(0, 1)).unflatten(0, support_mask.shape[:2])
        mask = functional.interpolate(support_mask, supports.shape[-2:], mode="area")
        similarities = []
        for weight in (1 - mask, mask):
            weight = weight[:, :, None]
            mean = (supports * weight).sum((1, 3, 4)) / weight.sum((1, 3, 4)).clamp(min=1e-6)
            similarities.append(functional.cosine_similarity(projected, mean[..., None, None], dim=1))
        return torch.stack(similarities, dim=1) * 20.0

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Return the loss of a batch of episodes, a scalar: the cross-entropy over the pixels of the query.

        Args:
            query: images (B, 3, H, W), or their features.
            support: images (B, K, 3, H, W), or their features.
            support_mask: masks (B, K, H, W), 0 or 1, float.
            target: masks of the queries (B, H, W), bool.
            ignore: pixels of the queries that have no label (B, H, W), bool.
        """
        features, support_features = self.read(query, support)
        logits = self.logits(features, support_features, support_mask)
        logits = functional.interpolate(logits, target.shape[-2:], mode="bilinear", align_corners=True)
        return self.criterion(logits, target, ignore)
