"""Two of the smallest methods there can be, one on features and one on pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fssbench.api import FeatureMethod, Features, ImageMethod, MethodCard, MethodConfig, Taps


class ToyConfig(MethodConfig):
    """Settings of the prototype method."""

    temperature: float = 20.0
    """Factor on cosine similarities."""
    ablations = {"flat": {"temperature": 1.0}}


class ToyPrototype(FeatureMethod):
    """Cosine similarity to the mean foreground and background feature of the supports."""

    card = MethodCard(
        name="toy-prototype",
        title="Toy prototype",
        paper="none: a test plugin",
        year=2026,
        kind="prototype",
        backbone="resnet50",
        size=64,
        trained=False,
        reference="none",
        licence="Apache-2.0",
    )
    Config = ToyConfig

    @property
    def taps(self) -> Taps:
        assert self.backbone is not None
        last = (list(self.backbone.taps)[-1],)
        return Taps(last, last)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        (tap,) = self.taps.union
        q, s = query[tap], support[tap]
        mask = functional.interpolate(support_mask, s.shape[-2:], mode="area")
        scores = []
        for weight in (1 - mask, mask):
            total = weight.sum(dim=(1, 2, 3)).clamp(min=1e-6)[:, None]
            prototype = (s * weight[:, :, None]).sum(dim=(1, 3, 4)) / total
            scores.append(functional.cosine_similarity(q, prototype[..., None, None], dim=1))
        return torch.stack(scores, dim=1) * self.config.temperature


class ToyColour(ImageMethod):
    """Distance of each query pixel to the mean foreground and background colour of the supports."""

    card = ToyPrototype.card.model_copy(
        update={"name": "toy-colour", "title": "Toy colour", "kind": "other", "backbone": "none"}
    )

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        scores = []
        for weight in (1 - support_mask, support_mask):
            total = weight.sum(dim=(1, 2, 3)).clamp(min=1e-6)[:, None]
            colour = (support * weight[:, :, None]).sum(dim=(1, 3, 4)) / total
            scores.append(-(query - colour[..., None, None]).abs().mean(dim=1))
        return torch.stack(scores, dim=1)
