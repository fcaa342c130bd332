"""HSNet: hypercorrelation squeeze (Min, Kang, Cho, ICCV 2021).

Cosine volumes of all blocks of the last three stages are squeezed over the support plane by
centre-pivot 4-D convolutions, mixed top-down over the query plane, and decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Recipe, Taps

from .layers.correlation import correlations
from .layers.feature_maps import masked, names, stages
from .layers.resize import double
from .layers.volume import CentrePivotConv4d, VolumeGroupNorm, resize_planes

if TYPE_CHECKING:
    from fssbench.api import Backbone


def squeeze(channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Centre-pivot convolution, GroupNorm(4) and ReLU, once for each kernel."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in zip(channels[:-1], channels[1:], kernels, strides, strict=True):
        layers += [
            CentrePivotConv4d(inputs, outputs, kernel, stride=stride),
            VolumeGroupNorm(4, outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class HypercorrelationHead(nn.Module):
    """From three cosine volumes, coarse first, to logits at twice the finest plane's side.

    Args:
        taps: channels of the volumes, coarse first.
        width: channels after the squeeze, a multiple of 8; half of them before its last layer and in
            the decoder's last.

    Attributes are named as in the authors' checkpoints, so that these load as they are.
    """

    def __init__(self, taps: tuple[int, int, int], width: int = 128) -> None:
        super().__init__()
        coarse, middle, fine = taps
        half = width // 2
        self.encoder_layer4 = squeeze((coarse, 16, half, width), (3, 3, 3), (2, 2, 2))
        self.encoder_layer3 = squeeze((middle, 16, half, width), (5, 3, 3), (4, 2, 2))
        self.encoder_layer2 = squeeze((fine, 16, half, width), (5, 5, 3), (4, 4, 2))
        self.encoder_layer4to3 = squeeze((width,) * 4, (3, 3, 3), (1, 1, 1))
        self.encoder_layer3to2 = squeeze((width,) * 4, (3, 3, 3), (1, 1, 1))
        self.decoder1 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, half, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder2 = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(half, 2, 3, padding=1)
        )

    def forward(self, volumes: Sequence[Tensor]) -> Tensor:
        """Logits (B, 2, 2h, 2w) from three volumes (B, L, h, w, hs, ws), coarse first."""
        coarse, middle, fine = volumes
        mixed = self.encoder_layer4(coarse)
        mixed = self.encoder_layer4to3(_add(mixed, self.encoder_layer3(middle)))
        mixed = self.encoder_layer3to2(_add(mixed, self.encoder_layer2(fine)))
        logits: Tensor = self.decoder2(double(self.decoder1(mixed.mean(dim=(4, 5)))))
        return logits


def _add(coarse: Tensor, fine: Tensor) -> Tensor:
    """The coarse volume at the fine one's query plane, added to it.

    After the squeeze both support planes have the same few cells; where a backbone's strides
    round differently, the coarse one is resized there too.
    """
    return resize_planes(coarse, fine.shape[2:4], fine.shape[4:6]) + fine


def levels(backbone: Backbone) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Names of all taps of the last three stages, the coarse stage first."""
    fine, middle, coarse = stages(backbone, 3)[-3:]
    return names(coarse), names(middle), names(fine)


class HSNetConfig(MethodConfig):
    """Settings of HSNet."""

    width: int = Field(128, ge=8, multiple_of=8)
    """Channels after the squeeze; the published network has 128."""


class HSNet(FeatureMethod):
    """Hypercorrelation squeeze network; for K shots, one forward each and a vote."""

    card: ClassVar[MethodCard] = MethodCard(
        name="hsnet",
        title="HSNet",
        paper="Juhong Min, Dahyun Kang, Minsu Cho: Hypercorrelation Squeeze for Few-Shot Segmentation, ICCV",
        year=2021,
        kind="pixelwise",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="juhongm999/hsnet@6b1bc12",
        licence="none",
        training="Cross-entropy over all pixels; Adam, learning rate 1e-3, constant; batch 20 (PASCAL, "
        "FSS-1000) or 40 (COCO), one support, no augmentation, best validation mIoU kept; "
        "pixels of value 255 count as background in the loss.",
        parity=(
            "hsnet_resnet50_400: logits of one support, mask of five, to 1e-4",
            "hsnet_vgg16_400: logits of one support, mask of five, to 1e-4",
        ),
        notes=(
            Note(
                "reproduced",
                "Top-down mixing resizes the query plane (the reference's function is named after "
                "the support plane).",
            ),
            Note(
                "reproduced",
                "Where the resized support mask is zero but for rounding, the cosine blows the "
                "rounding up to a value like any other; another precision or device can move single cells.",
            ),
            Note(
                "corrected",
                "The reference keeps the support index table of its first input, so that one instance "
                "only serves one input size; here any size works.",
            ),
            Note("remark", "Shipped weights are of width 64: five networks of width 128 would take 25 MB."),
            Note(
                "remark",
                "Other backbones: the taps of the last three stages; the reference knows ResNet-50/101, VGG-16.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = HSNetConfig
    shots: ClassVar[Literal["joint", "vote"]] = "vote"
    shipped: ClassVar[str | None] = "checkpoints"
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adam",
        learning_rate=1e-3,
        batch=20,
        epochs=2000,
        source="training script and README of the release, PASCAL-5i (COCO: batch 40)",
    )
    loss_ignores: ClassVar[bool] = False
    config: HSNetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._levels = levels(self.backbone)
        coarse, middle, fine = self._levels
        self.hpn_learner = HypercorrelationHead((len(coarse), len(middle), len(fine)), self.config.width)

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages, coarse first, of query and support alike."""
        every = sum(self._levels, ())
        return Taps(query=every, support=every)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at half the finest tap's stride, from one support for each query."""
        return self.match(query, {tap: masked(support[tap], support_mask)[:, 0] for tap in self.taps.support})

    def match(self, query: Features, objects: Features) -> Tensor:
        """Logits from query features and the features of one support's object, each (B, C, h, w) by tap."""
        logits: Tensor = self.hpn_learner(correlations(self._levels, query, objects))
        return logits
