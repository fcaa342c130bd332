"""HM: hybrid masking (Moon et al., ECCV 2022), in front of HSNet or VAT.

Masked features still contain the surroundings of the object, which lie in their receptive fields.  Features of an
image with a blank background do not, but they lose detail of small objects.  Hybrid masking takes the masked features
where they are positive, and those of the blanked image elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from fssbench.api import Ablation, ImageMethod, MethodCard, MethodConfig, Note, Recipe

from .hsnet import HSNet, HSNetConfig
from .layers.feature_maps import mask_features
from .vat import VAT, VATConfig

if TYPE_CHECKING:
    from fssbench.api import Backbone

Masking = Literal["hybrid", "feature", "input"]


_HOSTS: dict[str, type[HSNet | VAT]] = {"hsnet": HSNet, "vat": VAT}
_OF_VAT = "hpn_learner.ours."
"""Part of a name that only entries of VAT have."""


class HMConfig(MethodConfig):
    """Settings of hybrid masking."""

    host: Literal["auto", "hsnet", "vat"] = "auto"
    """The method after the masking.  `auto` is the host of the loaded authors' weights, or HSNet without such
    weights."""
    guidance: Literal["pascal", "coco", "fss"] = "pascal"
    """Query features that guide VAT's decoder, by training set.  HSNet has no such setting."""
    masking: Masking = "hybrid"
    """`feature`: features times the mask, as in the host method.  `input`: features of the image with its
    background set to the mean colour.  `hybrid`: the first where they are positive, else the second."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "input-masking": Ablation({"masking": "feature"}, label="w/o input masking"),
        "feature-masking": Ablation({"masking": "input"}, label="w/o feature masking"),
    }


def extract_object(
    backbone: Backbone, taps: Sequence[str], images: Tensor, mask: Tensor, masking: Masking
) -> dict[str, Tensor]:
    """Compute features of the masked objects in images.

    Args:
        backbone: the frozen network.
        taps: names of its taps.
        images: normalised images (B, 3, H, W), in which zero is the mean colour.
        mask: binary masks (B, H, W).
        masking: kind of masking, see `HMConfig`.

    Returns:
        Maps (B, C, h, w) by tap, each at its own size.
    """
    blanked = images * mask.unsqueeze(1)
    if masking == "input":
        return backbone(blanked, taps)
    features = {
        tap: mask_features(maps.unsqueeze(1), mask.unsqueeze(1))[:, 0]
        for tap, maps in backbone(images, taps).items()
    }
    if masking == "feature":
        return features
    inside = backbone(blanked, taps)
    return {tap: torch.where(maps > 0, maps, inside[tap]) for tap, maps in features.items()}


class HybridMasking(ImageMethod):
    """HSNet or VAT with hybrid masking.  For K shots it predicts from each support, and the masks are voted on."""

    card: ClassVar[MethodCard] = MethodCard(
        name="hm",
        title="HSNet-HM",
        paper="Seonghyeon Moon, Samuel S. Sohn, Honglu Zhou, Sejong Yoon, Vladimir Pavlovic, Muhammad Haris "
        "Khan, Mubbasir Kapadia: HM: Hybrid Masking for Few-Shot Segmentation, ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="moonsh/HM-Hybrid-Masking@f73e323",
        licence="none",
        training="As the host method; with HSNet: cross-entropy; Adam, learning rate 1e-3, constant; batch 20 (PASCAL, "
        "FSS-1000) or 40 (COCO), one support, no augmentation, best validation mIoU kept.",
        parity=("hm_hsnet_resnet50_400: logits of one support, mask of five, to 1e-4",),
        published=("hsnet-hm", "vat-hm"),
        notes=(
            Note(
                "reproduced",
                "Taps are before their activation, so that negative features of the object, and all "
                "of the background, take the blanked image's value; the hybrid is not zero outside the mask.",
            ),
            Note(
                "remark",
                "With VAT (`--set host=vat`), masking comes before features are resized to its grids, not after.",
            ),
            Note("remark", "The reference also has ASNet as a host, which is not here."),
            Note(
                "remark",
                "Reads pixels, not shared features: a support is run through the backbone twice, once blanked.",
            ),
            *(
                note
                for note in HSNet.card.notes
                if note.kind == "reproduced" or note.text.startswith("Other backbones")
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = HMConfig
    replayable: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = HSNet.recipe
    loss_ignores: ClassVar[bool] = False
    shots: ClassVar[Literal["joint", "vote"]] = "vote"
    needs_backbone: ClassVar[bool] = True
    config: HMConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        name = "vat" if self.config.host == "vat" else "hsnet"
        settings = VATConfig(guidance=self.config.guidance) if name == "vat" else HSNetConfig()
        self.host = _HOSTS[name](settings, backbone)
        del self.host.backbone  # this method owns it, and a state dict should hold it once

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Return the host whose layout the authors' weights have."""
        return {"host": "vat" if any(_OF_VAT in name for name in state) else "hsnet"}

    def read(self, query: Any, support: Any) -> tuple[Any, Any]:
        """Run the backbone on the query, once for all shots.

        Supports stay pixels, because masking needs their masks.
        """
        if isinstance(query, Tensor):
            query = self.backbone(query, self.host.taps.query)
        return query, support

    def logits(self, query: Any, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) from query features by tap and one support image (B, 1, 3, H, W) per query."""
        taps = self.host.taps.support
        objects = extract_object(self.backbone, taps, support[:, 0], support_mask[:, 0], self.config.masking)
        return self.host.match(query, objects)

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint, which has the layout of the host's."""
        renamed = self.host.rename_reference(name)
        return None if renamed is None else f"host.{renamed}"
