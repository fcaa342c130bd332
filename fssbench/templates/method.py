"""Compares each query pixel with the mean feature of background and of foreground."""

from __future__ import annotations

import torch
from fssbench.api import Ablation, FeatureMethod, Features, MethodCard, MethodConfig, Taps
from torch import Tensor
from torch.nn import functional


class Settings(MethodConfig):
    """Settings, which `--set scale=10` and `--ablate unscaled` change."""

    scale: float = 20.0
    """Factor on the cosine similarities."""
    ablations = {"unscaled": Ablation({"scale": 1.0}, label="w/o scale")}


class Mine(FeatureMethod):
    """Prototypes of the supports, without any training."""

    card = MethodCard(
        name="mine",
        title="Mine",
        paper="unpublished",
        year=2026,
        kind="prototype",
        backbone="resnet50",
        size=400,
        trained=False,
        reference="this file",
        licence="none",
    )
    Config = Settings
    config: Settings

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
        mask = functional.interpolate(support_mask, support[tap].shape[-2:], mode="area")
        similarities = []
        for weight in (1 - mask, mask):
            weight = weight[:, :, None]
            mean = (support[tap] * weight).sum((1, 3, 4)) / weight.sum((1, 3, 4)).clamp(min=1e-6)
            similarities.append(functional.cosine_similarity(query[tap], mean[..., None, None], dim=1))
        return torch.stack(similarities, dim=1) * self.config.scale
