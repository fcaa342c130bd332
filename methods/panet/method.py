"""PANet: prototype alignment network (Wang, Liew, Zou, Zhou, Feng, ICCV 2019), at test time.

The two prototypes are the average features of the object and of its background; each query cell is compared with both
by cosine.  Nothing is trained here: on a frozen ImageNet backbone this is the training-free baseline, with trained
VGG-16 weights it is PANet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Taps

from ..layers.feature_maps import choose_tap, list_stages
from .prototype import average_masked, compute_cosines

if TYPE_CHECKING:
    from fssbench.api import Backbone

_SCALE = 20.0


class PANetConfig(MethodConfig):
    """Settings of PANet."""

    tap: str = "auto"
    """Backbone tap that is compared.  `auto` is the last tap of the third stage, with stride 16 in most
    networks.  The choice depends on its position alone, not on scores of a target domain."""


class PANet(FeatureMethod):
    """Compares query cells with the prototypes of foreground and background.  K supports are averaged."""

    card: ClassVar[MethodCard] = MethodCard(
        name="panet",
        title="PANet",
        paper="Kaixin Wang, Jun Hao Liew, Yingtian Zou, Daquan Zhou, Jiashi Feng: PANet: Few-Shot Image "
        "Semantic Segmentation with Prototype Alignment, ICCV",
        year=2019,
        kind="prototype",
        backbone="vgg16",
        size=417,
        trained=False,
        reference="kaixin96/PANet@1695bf3",
        licence="none",
        training="Not trained here.  Reference: cross-entropy with alignment loss over the whole encoder; "
        "SGD, learning rate 1e-3, momentum 0.9, weight decay 5e-4, x0.1 every 10,000 of 30,000 steps.",
        parity=("panet_vgg16_257: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "remark",
                "On `vgg16` the encoder is the reference's (stride 8, last block dilated, signed features); on "
                "other backbones the same rule reads one tap.",
            ),
            Note(
                "reproduced",
                "Averages are taken at image resolution, with corners not aligned; background is "
                "all that is not the class.",
            ),
            Note("remark", "The encoder is frozen; the alignment loss and several ways are not offered."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = PANetConfig
    replayable: ClassVar[bool] = True
    align_corners: ClassVar[bool] = False
    reference_backbone: ClassVar[str] = "encoder.backbone."
    config: PANetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._tap = choose_tap(self.backbone, self.config.tap, self._choose)

    @staticmethod
    def _choose(backbone: Backbone) -> str:
        every = list_stages(backbone, 1)
        return every[min(len(every), 3) - 1][-1].name

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Return the layout of PANet's own encoder for VGG-16, else the standard layout."""
        return "panet" if backbone == "vgg16" else "standard"

    @property
    def taps(self) -> Taps:
        """The one tap that is compared."""
        return Taps(query=(self._tap,), support=(self._tap,))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the feature grid: 20 times the cosine with each prototype."""
        features = support[self._tap]
        regions = (1 - support_mask, support_mask)
        prototypes = torch.stack([average_masked(features, r).mean(dim=1) for r in regions], dim=1)
        return _SCALE * compute_cosines(prototypes, query[self._tap])

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the cosine of each query cell with the prototypes of background and object, (1, h, w)."""
        cosines = self.logits(query, support, support_mask) / _SCALE
        return {"cosine with the background": cosines[:, 0], "cosine with the object": cosines[:, 1]}
