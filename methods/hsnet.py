"""HSNet: hypercorrelation squeeze (Min, Kang, Cho, ICCV 2021).

Centre-pivot 4-D convolutions squeeze the cosine volumes of all blocks of the last three stages over the support
plane.  The volumes are then mixed top-down over the query plane and decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Recipe, Taps

from .layers.correlation import correlate_levels, stays_low
from .layers.feature_maps import list_names, list_stages
from .layers.module_inputs import record_inputs
from .layers.resize import double_size, read_size, resize
from .layers.volume import (
    CentrePivotConv4d,
    VolumeGroupNorm,
    Window,
    apply_blocks,
    average_support,
    crop,
    resize_planes,
)

if TYPE_CHECKING:
    from fssbench.api import Backbone


STRIDES = ((2, 2, 2), (4, 2, 2), (4, 4, 2))
"""HSNet's steps over the support plane, per level (coarse first) and layer."""
Windows = tuple[Window | None, Window | None, Window | None]
"""Window of each level, coarse first; None for the whole support plane."""
WHOLE: Windows = (None, None, None)


def make_squeeze(channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Make centre-pivot convolution, GroupNorm(4) and ReLU, once per kernel."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in zip(channels[:-1], channels[1:], kernels, strides, strict=True):
        layers += [
            CentrePivotConv4d(inputs, outputs, kernel, stride=stride),
            VolumeGroupNorm(4, outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class HypercorrelationHead(nn.Module):
    """Maps three cosine volumes, coarse first, to logits at twice the side of the finest plane.

    Args:
        taps: channels of the volumes, coarse first.
        width: channels after the squeeze, a multiple of 8; half of them before its last layer and in
            the decoder's last.
        strides: steps of the squeeze over the support plane, coarse first.

    Attributes are named as in the authors' checkpoints, which therefore load without renaming.
    """

    def __init__(
        self, taps: tuple[int, int, int], width: int = 128, strides: Sequence[Sequence[int]] = STRIDES
    ) -> None:
        super().__init__()
        coarse, middle, fine = taps
        half = width // 2
        self.encoder_layer4 = make_squeeze((coarse, 16, half, width), (3, 3, 3), strides[0])
        self.encoder_layer3 = make_squeeze((middle, 16, half, width), (5, 3, 3), strides[1])
        self.encoder_layer2 = make_squeeze((fine, 16, half, width), (5, 5, 3), strides[2])
        self.encoder_layer4to3 = make_squeeze((width,) * 4, (3, 3, 3), (1, 1, 1))
        self.encoder_layer3to2 = make_squeeze((width,) * 4, (3, 3, 3), (1, 1, 1))
        self.decoder1 = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, half, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder2 = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(half, 2, 3, padding=1)
        )

    def forward(self, volumes: Sequence[Tensor], windows: Windows = WHOLE) -> Tensor:
        """Compute logits (B, 2, 2h, 2w) from three volumes (B, L, h, w, hs, ws), coarse first; see `squeeze`."""
        return self.decode(self.squeeze(volumes, windows))

    @property
    def encoders(self) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """The squeezes of the three levels, coarse first."""
        return self.encoder_layer4, self.encoder_layer3, self.encoder_layer2

    def find_windows(self, masks: Sequence[Tensor]) -> Windows:
        """Find for each level the window that contains the objects of masks (B, hs, ws), coarse first."""
        coarse, middle, fine = (
            _first_layer(encoder).find_window(mask)
            for encoder, mask in zip(self.encoders, masks, strict=True)
        )
        return coarse, middle, fine

    def squeeze(self, volumes: Sequence[Tensor], windows: Windows = WHOLE) -> Tensor:
        """Squeeze three volumes and mix them top-down: (B, width, h, w), averaged over the support plane.

        Args:
            volumes: (B, L, h, w, hs, ws), coarse first, each in its window.
            windows: from `find_windows`, by level; None for the whole support plane.
        """
        coarse, middle, fine = map(apply_blocks, self.encoders, volumes, windows)
        mixed = apply_blocks(self.encoder_layer4to3, _add(coarse, middle))
        mixed = apply_blocks(self.encoder_layer3to2, _add(mixed, fine))
        return average_support(mixed)

    def decode(self, squeezed: Tensor) -> Tensor:
        """Logits (B, 2, 2h, 2w) from what `squeeze` made (B, width, h, w)."""
        logits: Tensor = self.decoder2(double_size(self.decoder1(squeezed)))
        return logits


def _first_layer(encoder: nn.Sequential) -> CentrePivotConv4d:
    layer = encoder[0]
    assert isinstance(layer, CentrePivotConv4d)  # as `make_squeeze` makes it
    return layer


def _add(coarse: Tensor, fine: Tensor) -> Tensor:
    """Resize the coarse volume to the query plane of the fine one, and add both.

    After the squeeze both support planes have the same few cells.  If the strides of a backbone round differently,
    the support plane is resized too.
    """
    return resize_planes(coarse, fine.shape[2:4], fine.shape[4:6]) + fine


def list_levels(backbone: Backbone) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """List the names of all taps of the last three stages, the coarse stage first."""
    fine, middle, coarse = list_stages(backbone, 3)[-3:]
    return list_names(coarse), list_names(middle), list_names(fine)


class HSNetConfig(MethodConfig):
    """Settings of HSNet."""

    width: int = Field(128, ge=8, multiple_of=8)
    """Number of channels after the squeeze.  The published network has 128."""


class HSNet(FeatureMethod):
    """Hypercorrelation squeeze network.  For K shots it predicts from each support, and the masks are voted on."""

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
                "Where the resized support mask is zero except for rounding, the cosine enlarges the rounding "
                "to an ordinary value; another precision or device can therefore change single cells.",
            ),
            Note(
                "corrected",
                "The reference keeps the support index table of its first input, so that one instance "
                "works for one input size only; here any size works.",
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
    replayable: ClassVar[bool] = True
    reads_bfloat16: ClassVar[bool] = True
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
        self._levels = list_levels(self.backbone)
        coarse, middle, fine = self._levels
        self.hpn_learner = HypercorrelationHead((len(coarse), len(middle), len(fine)), self.config.width)

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages, coarse first, of query and support."""
        every = sum(self._levels, ())
        return Taps(query=every, support=every)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) at half the finest tap's stride, from one support per query."""
        windows = self.find_windows(support, support_mask)
        objects: dict[str, Tensor] = {}
        for level, window in zip(self._levels, windows, strict=True):
            like = support[level[0]]
            mask = crop(resize(support_mask, read_size(like)), window)
            if stays_low(like):  # a mask in single precision would make the features single
                mask = mask.to(like.dtype)
            objects |= {tap: crop(support[tap][:, 0], window) * mask for tap in level}
        return self.match(query, objects, windows)

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the highest correlation of each query cell with the object by level, (1, h, w), averaged over taps."""
        head = {"volumes": self.hpn_learner}
        volumes = record_inputs(head, lambda: self.logits(query, support, support_mask))["volumes"]
        levels = zip(("coarse", "middle", "fine"), volumes, strict=True)
        return {f"highest correlation, {level} level": v.amax(dim=(4, 5)).mean(dim=1) for level, v in levels}

    def find_windows(self, support: Features, mask: Tensor) -> Windows:
        """Find by level the part of the support plane that is needed, from support masks (B, 1, H, W)."""
        masks = [resize(mask, read_size(support[level[0]]))[:, 0] for level in self._levels]
        return self.hpn_learner.find_windows(masks)

    def match(self, query: Features, objects: Features, windows: Windows = WHOLE) -> Tensor:
        """Compute logits from query features and the features of one support's object.

        Args:
            query: (B, C, h, w) by tap.
            objects: (B, C, h, w) by tap, in the window of their level.
            windows: from `find_windows`; the objects are zero outside of them.
        """
        volumes = correlate_levels(self._levels, query, objects)
        logits: Tensor = self.hpn_learner(volumes, windows)
        return logits
