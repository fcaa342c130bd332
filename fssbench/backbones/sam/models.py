"""SAM with its mask decoder, in three sizes.  `sam-b` and `sam-l` are the image encoders alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fssbench.api import BackboneCard, PublishedWeights
from fssbench.backbones.sam.decoder import ClickDecoder
from fssbench.backbones.vit.network import TimmBackbone

_CLICKS = 64
"""Clicks that are decoded at once, which bounds the memory."""


class PromptableSAM(TimmBackbone):
    """SAM: the taps of its image encoder, and masks for clicks."""

    last_tap: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.decoder = ClickDecoder()
        self.freeze()

    @torch.no_grad()
    def segment_clicks(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Segment the object at each click.

        Args:
            image: a normalised square image (3, S, S).  SAM was trained with S = 1,024.
            clicks: x and y of each click in pixels (N, 2).

        Returns:
            One mask per click (N, S, S), bool.
        """
        side = image.shape[-1]
        embedding = self(image[None], [self.last_tap])[self.last_tap][0]
        masks = []
        for part in clicks.split(_CLICKS):
            logits = self.decoder(embedding, part, side)
            large = functional.interpolate(logits[None], (side, side), mode="bilinear", align_corners=False)
            masks.append(large[0] > 0)
        return torch.cat(masks)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of the authors' file under our names; parts that no click needs are left out."""
        if any(name.startswith(("network.", "decoder.")) for name in state):
            return dict(state)
        own = set(self.decoder.state_dict())
        named = {
            f"decoder.{name}": value
            for name, value in state.items()
            if name.startswith(_DECODER) and (name in own or not name.startswith(_IDLE))
        }
        return super().own_names({k: v for k, v in state.items() if not k.startswith(_DECODER)}) | named


_DECODER = ("prompt_encoder.", "mask_decoder.")
_IDLE = (
    "prompt_encoder.point_embeddings.",
    "prompt_encoder.mask_downscaling.",
    "mask_decoder.output_hypernetworks_mlps.",
    "mask_decoder.iou_prediction_head.",
)
"""Parts for boxes, mask prompts and multiple answers."""


def _make_card(letter: str, file: str, sha256: str, size: int) -> BackboneCard:
    """Make the card of one size; its weights are those that Meta publishes."""
    return BackboneCard(
        name=f"sam-{letter}-promptable",
        title=f"SAM ViT-{letter.upper()}/16 with its mask decoder",
        licence="Apache-2.0 (timm and SAM)",
        weights=(
            PublishedWeights(
                id="sa1b",
                file=file,
                sha256=sha256,
                licence="Apache-2.0",
                source="SA-1B, weights as Meta publishes them, encoder and decoder",
                origin="url",
                key=f"https://dl.fbaipublicfiles.com/segment_anything/{file}",
                bytes=size,
            ),
        ),
        pretraining="SA-1B",
        input="sides that 16 does not divide are resized to the nearest multiple, bilinearly with antialias",
        notes=(
            "SAM was trained at 1,024 px with the longest side resized and the rest padded; at other sizes its "
            "position tables are resampled",
            "a click gives SAM's first mask, the one for a single answer",
        ),
    )


class SAMBasePromptable(PromptableSAM):
    """SAM ViT-B with its mask decoder."""

    timm_name = "samvit_base_patch16"
    last_tap = "block11.norm"
    card = _make_card(
        "b",
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    )


class SAMLargePromptable(PromptableSAM):
    """SAM ViT-L with its mask decoder."""

    timm_name = "samvit_large_patch16"
    last_tap = "block23.norm"
    card = _make_card(
        "l",
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    )


class SAMHugePromptable(PromptableSAM):
    """SAM ViT-H with its mask decoder."""

    timm_name = "samvit_huge_patch16"
    last_tap = "block31.norm"
    card = _make_card(
        "h",
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    )
