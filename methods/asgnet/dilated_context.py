"""The alternative context module of ASGNet: residual pairs, ASPP, and a decoder with shallow features."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from ..layers.canet_head import WIDTH, Context, make_residual_pair
from ..layers.pfenet_head import Enriched, make_classifier
from ..layers.resize import read_size, resize

_RELEASE = (
    (r"^ASPP\.layer6_(\d)\.", r"context.branches.\1."),
    (r"^ASPP\.layer7\.", "narrow."),
    (r"^corr_conv\.", "begin."),
    (r"^skip1\.", "skips.0."),
    (r"^skip2\.", "skips.1."),
    (r"^skip3\.", "skips.2."),
    (r"^decoder\.conv1\.", "shallow.0."),
    (r"^decoder\.bn1\.", "shallow.1."),
    (r"^decoder\.last_conv\.", "join."),
)
"""Patterns in names of the release, and our names."""
_OWN = ("context", "narrow", "begin", "skips", "shallow", "join", "cls", "cls_aux")


class DilatedContext(nn.Module):
    """Maps guided features to logits at a quarter of the input's side.

    Args:
        inputs: number of channels of the guided features.
        shallow: number of channels of the first stage.
    """

    def __init__(self, inputs: int, shallow: int) -> None:
        super().__init__()
        self.begin = nn.Sequential(
            nn.Conv2d(inputs, WIDTH, 3, padding=1, bias=False), nn.ReLU(), nn.Dropout2d(0.5)
        )
        self.skips = nn.ModuleList(make_residual_pair(WIDTH, bias=False) for _ in range(3))
        self.context = Context()
        self.narrow = nn.Sequential(nn.Conv2d(5 * WIDTH, WIDTH, 1), nn.ReLU(), nn.Dropout2d(0.5))
        compressed = WIDTH // 4
        self.shallow = nn.Sequential(
            nn.Conv2d(shallow, compressed, 1, bias=False), nn.BatchNorm2d(compressed), nn.ReLU()
        )
        self.join = nn.Sequential(
            nn.Conv2d(WIDTH + compressed, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.cls = make_classifier()
        self.cls_aux = make_classifier()

    def forward(self, guided: Tensor, shallow: Tensor) -> Enriched:
        """Compute logits (B, 2, H, W) from guided features (B, C', h, w) and shallow features (B, C, H, W)."""
        maps = self.begin(guided)
        for skip in self.skips:
            # the first ReLU of the release works in place, so the residual connection adds rectified maps
            maps = maps.relu()
            maps = maps + skip(maps)
        maps = self.narrow(self.context(maps))
        joined = torch.cat([resize(maps, read_size(shallow)), self.shallow(shallow)], dim=1)
        return Enriched(self.cls(self.join(joined)), [maps], [])

    def auxiliary(self, enriched: Enriched) -> list[Tensor]:
        """Compute logits (B, 2, h, w) before the shallow features are added."""
        return [self.cls_aux(maps) for maps in enriched.cells]


def rename_dilated(name: str, prefix: str) -> str:
    """Return our name, below `prefix`, of an entry of this module.  Other names are returned unchanged."""
    for pattern, own in _RELEASE:
        name = re.sub(pattern, own, name)
    return f"{prefix}{name}" if name.partition(".")[0] in _OWN else name
