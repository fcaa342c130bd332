"""PATNet: pyramid anchor transformation (Lei, Zhang, He, Chen, Du, Lu, ECCV 2022).

Before HSNet compares query and support, each tap's features are moved by the linear map that takes
the support's background and foreground prototypes to two learnt anchors, the same for every domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from fssbench.api import Features, MethodCard, MethodConfig, Recipe

from ._features import soft_mask
from .hsnet import HSNet, HSNetConfig

if TYPE_CHECKING:
    from fssbench.backbones import Backbone

_EPS = 1e-6
_FIRST_LEVEL = 4
"""Taps of the first level in ResNet-50; the reference counts so on VGG-16 too."""


class PATNetConfig(HSNetConfig):
    """Settings of PATNet."""

    anchors_by_stage: bool = False
    """On VGG-16, whether each stage has its own anchors.  The reference counts taps as in ResNet-50: four
    use the first anchors (one of them of the next stage), the others the second, none the third.  Other
    backbones have anchors by stage and width always."""


class PATNet(HSNet):
    """HSNet on features transformed to learnt anchors; for K shots, one forward each and a vote."""

    card: ClassVar[MethodCard] = MethodCard(
        name="patnet",
        title="PATNet",
        paper="Shuo Lei, Xuchao Zhang, Jianfeng He, Fanglan Chen, Bowen Du, Chang-Tien Lu: Cross-Domain "
        "Few-Shot Semantic Segmentation, ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="slei109/PATNet@0155c5f",
        licence="none",
        training="Cross-entropy over all pixels; Adam, learning rate 1e-3, constant; batch 20, one support, no "
        "augmentation, on all twenty classes of PASCAL VOC; model chosen on FSS-1000.",
        notes=(
            "Reproduced: biases of the anchors are counted as parameters and never used.",
            "Reproduced on VGG-16: taps are given anchors by ResNet-50's positions, and the third anchors "
            "are never used (`--set anchors_by_stage=true` corrects it).",
            "Left out: the paper's fine-tuning of anchors at test time. The reference never calls it, and "
            "its loss does not reach the anchors.",
            "The transform has rank 2: after it, features differ along two directions only.",
            "Other backbones: one pair of anchors for each stage and width among the taps of the last three "
            "stages; the reference knows ResNet-50 and VGG-16.",
        ),
    )
    Config: ClassVar[type[MethodConfig]] = PATNetConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adam",
        learning_rate=1e-3,
        batch=20,
        epochs=2000,
        source="paper (batch) and training script of the release",
    )
    loss_ignores: ClassVar[bool] = False
    config: PATNetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        assert self.backbone is not None
        shallow_first = [name for level in reversed(self._levels) for name in level]
        groups = {name: (tap.stage, tap.channels) for name, tap in self.backbone.taps.items()}
        distinct = sorted({groups[name] for name in shallow_first})
        self._anchors = {name: distinct.index(groups[name]) + 1 for name in shallow_first}
        if self.backbone.name == "vgg16" and not self.config.anchors_by_stage:
            self._anchors = {name: 1 if i < _FIRST_LEVEL else 2 for i, name in enumerate(shallow_first)}
        for number, (_, channels) in enumerate(distinct, start=1):
            layer = nn.Linear(channels, 2)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
            self.add_module(f"reference_layer{number}", layer)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at half the finest tap's stride, from one support for each query."""
        cells, objects = {}, {}
        for tap, number in self._anchors.items():
            anchors = self.get_parameter(f"reference_layer{number}.weight")
            features = support[tap][:, 0]
            mask = soft_mask(support_mask, (int(features.shape[-2]), int(features.shape[-1])))
            coordinates = _coordinates(features, mask)
            cells[tap] = _transform(query[tap], coordinates, anchors)
            objects[tap] = _transform(features * mask, coordinates, anchors)
        return self.match(cells, objects)


def _coordinates(support: Tensor, mask: Tensor) -> Tensor:
    """The map from features to their coordinates in background and foreground prototype.

    Args:
        support: (B, C, h, w).
        mask: (B, 1, h, w), values 0..1.

    Returns:
        (B, 2, C): the transposed pseudo-inverse of the prototypes, each of unit length.
    """
    weights = torch.stack([1 - mask, mask], dim=1)
    sums = (support.unsqueeze(1) * weights).sum(dim=(3, 4))
    prototypes = sums / (weights.sum(dim=(3, 4)) + _EPS)
    return torch.linalg.pinv(_unit_rows(prototypes)).transpose(1, 2)


def _transform(features: Tensor, coordinates: Tensor, anchors: Tensor) -> Tensor:
    """Features (B, C, h, w) written in prototypes, read in anchors (2, C)."""
    written = torch.bmm(coordinates, features.flatten(2))
    return torch.matmul(_unit_rows(anchors).transpose(0, 1), written).view_as(features)


def _unit_rows(rows: Tensor) -> Tensor:
    return rows / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + _EPS)
