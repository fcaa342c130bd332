"""VAT: volumetric aggregation with transformers (Hong, Cho, Nam, Lin, Kim, ECCV 2022).

4-D convolutions embed HSNet's cosine volumes at fixed grids.  Swin blocks refine them over query and support plane
together.  A decoder, which the features of the query guide, turns them into logits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Recipe, Taps

from ..layers.feature_maps import list_names, list_stages, mask_features
from ..layers.resize import resize
from .head import STRIDES, VATHead
from .pooling import pool_cosines

if TYPE_CHECKING:
    from fssbench.api import Backbone

_GUIDANCE = {"pascal": (False, True, True), "coco": (False, False, True), "fss": (True, True, True)}
_RELEASE = (
    (r"hpn_learner\.ours\.", ""),
    (r"^encoders\.(\d)\.conv4d\.", r"embed.\1."),
    (r"query_conv", "query"),
    (r"supp_conv", "support"),
    (r"^transformer\.(\d)\.transformer\.(layer\.)?", r"mix.\1."),
    (r"^swin_decoder\.(\d)\.0\.transformer\.(layers\.0\.)?", r"refine.\1."),
    (r"^swin_decoder\.(\d)\.1\.", r"reduce.\1."),
    (r"relative_position_bias_table", "bias_table"),
    (r"mlp\.fc1", "mlp.0"),
    (r"mlp\.fc2", "mlp.2"),
    (r"^decoder\.", "decode."),
    (r"^proj_query_feat\.", "guide."),
)
"""Patterns in names of the release, and ours; applied in turn."""


class VATConfig(MethodConfig):
    """Settings of VAT."""

    guidance: Literal["pascal", "coco", "fss"] = "pascal"
    """Query features that guide the decoder, by training set as published.  `pascal`: those of the first two
    stages.  `coco`: of the first.  `fss`: of the first three."""
    grid: int = Field(default=128, ge=64, multiple_of=64)
    """Side of the finest grid to which features are resized.  The other grids have 1/2, 1/4 and 1/8 of it.  128 is
    published.  64 takes a fraction of the time and memory."""


class VAT(FeatureMethod):
    """Cost aggregation with 4-D Swin blocks.  For K shots it predicts from each support, and the masks are voted on."""

    card: ClassVar[MethodCard] = MethodCard(
        name="vat",
        title="VAT",
        paper="Sunghwan Hong, Seokju Cho, Jisu Nam, Stephen Lin, Seungryong Kim: Cost Aggregation with 4D "
        "Convolutional Swin Transformer for Few-Shot Segmentation, ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="Seokju-Cho/Volumetric-Aggregation-Transformer@5534a15",
        licence="MIT",
        training="Cross-entropy over all pixels; AdamW, learning rate 5e-4, no weight decay, constant; batch "
        "16, 300 epochs (400 on COCO), one support; colour and contrast augmentation with probability 0.2 "
        "each, no flips; best validation mIoU kept. 473 px on PASCAL and FSS-1000, 417 on COCO.",
        parity=("vat_resnet50_pascal_256: logits of one support, mask of five, to 1e-4",),
        notes=(
            Note("differs", "`fssbench train` augments nothing; every image is seen as it is."),
            Note(
                "reproduced",
                "The last norm of the 4-D transformers and projections that guide nothing have "
                "parameters, are counted, and are never used.",
            ),
            Note("reproduced", "Features are resized to fixed grids, so that larger inputs add no detail."),
            Note(
                "remark",
                "The release's attention masks and position indices are computed here, not stored or loaded.",
            ),
            Note(
                "remark",
                "The guidance of a published checkpoint goes by its training set (`--set guidance=coco`).",
            ),
            Note(
                "remark",
                "Other backbones: the taps of the last four stages; the reference knows ResNet-50 and 101.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = VATConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adamw",
        learning_rate=5e-4,
        batch=16,
        epochs=300,
        source="configurations of the release, PASCAL-5i and FSS-1000 (COCO: 400 epochs)",
    )
    loss_ignores: ClassVar[bool] = False
    shots: ClassVar[Literal["joint", "vote"]] = "vote"
    waivers: ClassVar[dict[str, str]] = {
        "fast_enough": "features are resized to the same grids whatever the input, as published",
        "loss_reaches_what_learns": "the release has norms and projections that its forward pass never uses",
    }
    config: VATConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        first, fine, middle, coarse = list_stages(self.backbone, 4)[-4:]
        self._levels = (list_names(coarse), list_names(middle), list_names(fine))
        self._guides = (middle[-1].name, fine[-1].name, first[-1].name)
        self._sides = {
            tap.name: self.config.grid >> step
            for step, taps in enumerate((first[-1:], fine, middle, coarse))
            for tap in taps
        }
        self.head = VATHead(
            (len(coarse), len(middle), len(fine)),
            (middle[-1].channels, fine[-1].channels, first[-1].channels),
            _GUIDANCE[self.config.guidance],
        )

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages, coarse first.  Of the query also the last block of the first stage."""
        every = sum(self._levels, ())
        return Taps(query=(*every, self._guides[-1]), support=every)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, grid, grid) from one support per query."""
        resized = {tap: self._at_grid(tap, support[tap][:, 0]).unsqueeze(1) for tap in self.taps.support}
        return self.match(
            query, {tap: mask_features(maps, support_mask)[:, 0] for tap, maps in resized.items()}
        )

    def match(self, query: Features, objects: Features) -> Tensor:
        """Compute logits from query features and the features of one support's object, each (B, C, h, w) by tap."""
        cells = {tap: self._at_grid(tap, query[tap]) for tap in self.taps.query}
        others = {tap: self._at_grid(tap, maps) for tap, maps in objects.items()}
        volumes = [
            pool_cosines([cells[tap] for tap in level], [others[tap] for tap in level], strides)
            for level, strides in zip(self._levels, STRIDES, strict=True)
        ]
        logits: Tensor = self.head(volumes, [cells[tap] for tap in self._guides])
        return logits

    def _at_grid(self, tap: str, maps: Tensor) -> Tensor:
        return resize(maps, (self._sides[tap], self._sides[tap]))

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the release.  Its attention masks and position indices are not needed."""
        if name.endswith(("attn_mask", "relative_position_index")):
            return None
        for pattern, own in _RELEASE:
            name = re.sub(pattern, own, name)
        return f"head.{name}"
