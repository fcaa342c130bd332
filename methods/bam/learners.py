"""The two learners of BAM: one segments the base classes, one the object of the supports."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from ..layers.canet_head import Context
from ..layers.pfenet_head import WIDTH, make_classifier, make_narrowing, make_reduction, make_refinement
from ..layers.pyramid_pooling import POOLED_WIDTH, PyramidPooling

_RELEASE = (
    (r"^learner_base\.0\.features\.(\d)\.1\.", r"base.pyramid.pools.\1.0."),
    (r"^learner_base\.0\.features\.(\d)\.2\.", r"base.pyramid.pools.\1.1."),
    (r"^learner_base\.1\.4\.", "base.classifier."),
    (r"^learner_base\.1\.", "base.pyramid.bottleneck."),
    (r"^ASPP_meta\.layer6_(\d)\.", r"meta.context.branches.\1."),
    (r"^(down_query|down_supp|init_merge|res1_meta|res2_meta|cls_meta)\.", r"meta.\1."),
)
"""Patterns in names of the release, and ours."""


class BaseLearner(nn.Module):
    """The head of a PSPNet over background and base classes; it is frozen outside of its own stage.

    Args:
        channels: channels of the last stage.
        classes: base classes, without the background.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(channels)
        self.classifier = nn.Conv2d(POOLED_WIDTH, classes + 1, 1)
        self.learns_norms = False
        """Whether norms update their statistics in training mode; dropout is active there in any case."""

    def forward(self, maps: Tensor) -> Tensor:
        """Compute logits (B, 1 + classes, h, w) from maps (B, C, h, w) of the last stage."""
        out: Tensor = self.classifier(self.pyramid(maps))
        return out

    def train(self, mode: bool = True) -> BaseLearner:
        """Set the mode; norms stay in eval mode unless they learn."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = mode and self.learns_norms
        return self


class MetaLearner(nn.Module):
    """Compares the query with the support vector and the prior mask, at one scale.

    Attributes are named as in the authors' checkpoints.

    Args:
        channels: channels of the second and third stage together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down_query = make_narrowing(channels)
        self.down_supp = make_narrowing(channels)
        self.init_merge = make_reduction(2 * WIDTH + 1)
        self.context = Context(dropout=0.0)
        self.res1_meta = make_reduction(5 * WIDTH)
        self.res2_meta = make_refinement()
        self.cls_meta = make_classifier()

    def forward(self, cells: Tensor, vector: Tensor, prior: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) of background and object.

        Args:
            cells: narrowed query map (B, 256, h, w).
            vector: support vector (B, 256).
            prior: prior mask (B, 1, h, w).
        """
        merged = self.init_merge(torch.cat([cells, vector[:, :, None, None].expand_as(cells), prior], dim=1))
        joint = self.res1_meta(self.context(merged))
        out: Tensor = self.cls_meta(joint + self.res2_meta(joint))
        return out


def rename_release(name: str) -> str:
    """Own name of an authors' entry; names that are the same here stay."""
    for pattern, own in _RELEASE:
        name, count = re.subn(pattern, own, name)
        if count:
            break
    return name
