"""Methods whose costs are easy to count by hand."""

from __future__ import annotations

import os

import torch
from torch import nn

from fssbench.api import FeatureMethod, ImageMethod, MethodCard, MethodConfig, Taps

CHANNELS = 6


def make_card(name: str) -> MethodCard:
    return MethodCard(
        name=name,
        title=name,
        paper="none",
        year=2026,
        kind="other",
        backbone="efficientnet-lite0",
        size=64,
        trained=False,
        reference="none",
        licence="Apache-2.0",
    )


class Steps(MethodConfig):
    """Settings: number of adaptation steps, and a secret as methods with a remote model have."""

    steps: int = 0
    api_key: str = ""
    ablations = {"two": {"steps": 2}}


class OneConvolution(ImageMethod):
    """A 3x3 convolution of the query; each adaptation step adds one, forward and backward."""

    card = make_card("one-convolution")
    Config = Steps

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.convolution = nn.Conv2d(3, 2, 3, padding=1, bias=False)

    @property
    def steps(self):
        return self.config.steps

    def adapt(self, query, support, support_mask, *, generator, steps):
        weight = self.convolution.weight.detach().clone().requires_grad_()
        with torch.enable_grad():
            for _ in range(steps):
                out = nn.functional.conv2d(support[:, 0], weight, padding=1)
                (gradient,) = torch.autograd.grad(out.square().mean(), weight)
                weight = (weight - gradient).detach().requires_grad_()
        return lambda q, s, m: nn.functional.conv2d(q, weight.detach(), padding=1)

    def logits(self, query, support, support_mask):
        return self.convolution(query)


class Hoard(ImageMethod):
    """Holds 200 MiB during a forward."""

    card = make_card("hoard")

    def logits(self, query, support, support_mask):
        buffer = torch.ones(200 << 18)
        out = query[:, :2] + buffer[:1]
        del buffer
        return out


class Dies(ImageMethod):
    """Ends its process during a forward."""

    card = make_card("dies")

    def logits(self, query, support, support_mask):
        os._exit(9)


class Fails(ImageMethod):
    """Raises an exception during a forward."""

    card = make_card("fails")

    def logits(self, query, support, support_mask):
        raise ValueError("not today")


class Linear(FeatureMethod):
    """One 1x1 convolution behind the deepest tap."""

    card = make_card("linear")

    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        self.head = nn.Conv2d(self.backbone.taps[self.taps.query[0]].channels, 2, 1, bias=False)

    @property
    def taps(self):
        deepest = list(self.backbone.taps)[-1]
        return Taps(query=(deepest,), support=(deepest,))

    def logits(self, query, support, support_mask):
        return self.head(query[self.taps.query[0]])
