"""HSNet: hypercorrelation squeeze (Min, Kang, Cho, ICCV 2021).

Cosine volumes of all blocks of the last three stages are squeezed over the support plane by
centre-pivot 4-D convolutions, mixed top-down over the query plane, and decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Recipe, Taps

from ._features import masked, names, stages
from ._volume import CentrePivotConv4d, VolumeGroupNorm, pairwise, resize_planes, unit

if TYPE_CHECKING:
    from fssbench.backbones import Backbone


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

    Attributes are named as in the authors' checkpoints, so that these load as they are.
    """

    def __init__(self, taps: tuple[int, int, int]) -> None:
        super().__init__()
        coarse, middle, fine = taps
        self.encoder_layer4 = squeeze((coarse, 16, 64, 128), (3, 3, 3), (2, 2, 2))
        self.encoder_layer3 = squeeze((middle, 16, 64, 128), (5, 3, 3), (4, 2, 2))
        self.encoder_layer2 = squeeze((fine, 16, 64, 128), (5, 5, 3), (4, 4, 2))
        self.encoder_layer4to3 = squeeze((128,) * 4, (3, 3, 3), (1, 1, 1))
        self.encoder_layer3to2 = squeeze((128,) * 4, (3, 3, 3), (1, 1, 1))
        self.decoder1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 64, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder2 = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(64, 2, 3, padding=1)
        )

    def forward(self, volumes: Sequence[Tensor]) -> Tensor:
        """Logits (B, 2, 2h, 2w) from three volumes (B, L, h, w, hs, ws), coarse first."""
        coarse, middle, fine = volumes
        mixed = self.encoder_layer4(coarse)
        mixed = self.encoder_layer4to3(_add(mixed, self.encoder_layer3(middle)))
        mixed = self.encoder_layer3to2(_add(mixed, self.encoder_layer2(fine)))
        query = self.decoder1(mixed.mean(dim=(4, 5)))
        size = (2 * query.shape[-2], 2 * query.shape[-1])
        query = functional.interpolate(query, size, mode="bilinear", align_corners=True)
        logits: Tensor = self.decoder2(query)
        return logits


def _add(coarse: Tensor, fine: Tensor) -> Tensor:
    """The coarse volume at the fine one's query plane, added to it.

    After the squeeze both support planes have the same few cells; where a backbone's strides
    round differently, the coarse one is resized there too.
    """
    return resize_planes(coarse, fine.shape[2:4], fine.shape[4:6]) + fine


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
        notes=(
            "Reproduced: top-down mixing resizes the query plane (the reference's function is named after "
            "the support plane).",
            "Reproduced: where the resized support mask is zero but for rounding, the cosine blows the "
            "rounding up to a value like any other; another precision or device can move single cells.",
            "Corrected: the reference keeps the support index table of its first input, so that one instance "
            "only serves one input size; here any size works.",
            "Other backbones: the taps of the last three stages; the reference knows ResNet-50/101, VGG-16.",
        ),
    )
    shots: ClassVar[Literal["joint", "vote"]] = "vote"
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adam",
        learning_rate=1e-3,
        batch=20,
        epochs=2000,
        source="training script and README of the release, PASCAL-5i (COCO: batch 40)",
    )
    loss_ignores: ClassVar[bool] = False

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        assert self.backbone is not None
        fine, middle, coarse = stages(self.backbone, 3)[-3:]
        self._levels = (names(coarse), names(middle), names(fine))
        self.hpn_learner = HypercorrelationHead((len(coarse), len(middle), len(fine)))

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages, coarse first, of query and support alike."""
        every = sum(self._levels, ())
        return Taps(query=every, support=every)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at half the finest tap's stride, from one support for each query."""
        volumes = []
        for level in self._levels:
            cells = [unit(query[tap]) for tap in level]
            objects = [unit(masked(support[tap], support_mask)[:, 0]) for tap in level]
            volumes.append(pairwise(cells, objects).clamp(min=0))
        logits: Tensor = self.hpn_learner(volumes)
        return logits
