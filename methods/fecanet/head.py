"""Layers of FECANet: enhancement of both images by each other, context of every cell, and the decoder with history."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..hsnet import WHOLE, HypercorrelationHead, Windows
from ..layers.resize import read_size, resize

STRIDES = ((2, 2, 1), (2, 2, 2), (4, 2, 2))
"""Steps of the squeeze over the support plane, per level (coarse first) and layer."""
CONTEXT_CHANNELS = (128, 64)


class Enhancement(nn.Module):
    """Adds to both images what their mutual attention selects (the paper's feature enhancement module).

    The affinities weigh values of the image itself and not of the other image, as in the release.  Both images
    therefore need the same plane.  The last norms start at zero, so that the untrained module changes nothing.

    Args:
        channels: channels of the maps, a multiple of 16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.value = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.expand_support = _make_expansion(inner, channels)
        self.expand_query = _make_expansion(inner, channels)
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // 16), nn.ReLU(inplace=True), nn.Linear(channels // 16, channels)
        )

    def forward(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance query and support maps, both (B, C, h, w)."""
        keys, questions = self.key(support).flatten(2), self.query(query).flatten(2)
        affinities = torch.bmm(keys.transpose(1, 2), questions)  # (B, support cells, query cells)
        return (
            self._add_selected(query, affinities.transpose(1, 2), self.expand_query),
            self._add_selected(support, affinities, self.expand_support),
        )

    def _add_selected(self, maps: Tensor, affinities: Tensor, expand: nn.Module) -> Tensor:
        """Add the values of maps (B, C, h, w), averaged under affinities (B, cells, cells) and gated by channel."""
        values = self.value(maps).flatten(2)
        selected = torch.bmm(values, affinities.softmax(dim=2).transpose(1, 2))
        gate = self.gate(maps.mean(dim=(2, 3))).sigmoid()
        added: Tensor = expand(torch.unflatten(selected, 2, read_size(maps))) * gate[:, :, None, None]
        return maps + added


def _make_expansion(inputs: int, outputs: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs)
    nn.init.zeros_(norm.weight)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), norm)


def compare_neighbours(maps: Tensor) -> Tensor:
    """Compute the cosines of every cell with its 3 x 3 neighbours, itself included.

    Args:
        maps: (B, C, h, w).

    Returns:
        (B, 9, h, w); channel 3c + r belongs to the neighbour r - 1 rows below and c - 1 columns to the right.  It is
        zero beyond the border.
    """
    height, width = read_size(maps)
    cells = functional.normalize(maps, dim=1)
    padded = functional.pad(cells, (1, 1, 1, 1))
    return torch.stack(
        [
            (cells * padded[:, :, r : r + height, c : c + width]).sum(dim=1)
            for c in range(3)
            for r in range(3)
        ],
        dim=1,
    )


class Context(nn.Module):
    """Describes each cell by its similarities to its neighbourhood, at three ranges; one module for all maps."""

    def __init__(self) -> None:
        super().__init__()
        near, far = CONTEXT_CHANNELS
        self.near = nn.Conv2d(9, near, 3, padding=1)
        self.far = nn.Conv2d(near, far, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Context (B, 201, h, w) of maps (B, C, h, w) of any number of channels."""
        own = compare_neighbours(maps)
        near = self.near(own).relu()
        far = self.far(near).relu()
        return torch.cat([own, near, far], dim=1)


class HistoryHead(HypercorrelationHead):
    """HSNet's squeeze, then three residual blocks of which the first reads an earlier prediction, and a decoder.

    Args:
        channels: channels of the volumes, coarse first.
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__(channels, strides=STRIDES)
        self.refine = nn.ModuleList([_make_block(130), _make_block(128), _make_block(128)])

    def forward(self, volumes: Sequence[Tensor], windows: Windows = WHOLE, looks: int = 1) -> Tensor:
        """Logits (B, 2, 2h, 2w) from three volumes (B, L, h, w, hs, ws), coarse first.

        Args:
            volumes: cosines of all pairs of cells.
            windows: the part of the support plane that each volume has.
            looks: number of predictions; each but the first reads the probabilities of the one before.
        """
        squeezed = self.squeeze(volumes, windows)
        logits = self.look(squeezed, None)
        for _ in range(looks - 1):
            logits = self.look(squeezed, logits.softmax(dim=1))
        return logits

    def look(self, squeezed: Tensor, history: Tensor | None) -> Tensor:
        """Predict logits (B, 2, 2h, 2w) from squeezed volumes (B, 128, h, w) and earlier probabilities (B, 2, ., .).

        Without an earlier prediction the history is zero.
        """
        if history is None:
            history = torch.zeros_like(squeezed[:, :2])
        first, second, third = self.refine
        refined = squeezed + first(torch.cat([squeezed, resize(history, read_size(squeezed))], dim=1))
        refined = squeezed + second(refined)  # each block is added to the squeezed volumes, as in the release
        return self.decode(squeezed + third(refined))


def _make_block(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, 128, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(128, 128, 3, padding=1),
    )
