"""Feature enrichment (Tian et al., TPAMI 2020, section 3.3): a map at several scales, fine ones informing coarse ones.

PFENet, SCL, ASGNet and NTRENet differ in the input of each scale and share the rest, which is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .resize import Size, resize

WIDTH = 256
"""Channels of every map in the head."""

Merged = Callable[[int, Size], Tensor]
"""The merged map (B, 256, h, w) of a scale, from its number and its `(h, w)`."""


def scale_size(scale: float, size: Size) -> Size:
    """Compute the cells of one scale: a number above 1 is the side, up to 1 a share of the grid, rounded down."""
    if scale > 1:
        return int(scale), int(scale)
    return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)


def make_reduction(inputs: int, width: int = WIDTH) -> nn.Sequential:
    """Make a 1x1 convolution without bias to the head's width, and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), nn.ReLU())


def make_narrowing(inputs: int, width: int = WIDTH) -> nn.Sequential:
    """Make a reduction that drops half of the channels in training."""
    return nn.Sequential(*make_reduction(inputs, width), nn.Dropout2d(0.5))


def make_classifier(width: int = WIDTH) -> nn.Sequential:
    """Make a 3x3 convolution, ReLU, dropout and a 1x1 convolution to background and foreground."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        nn.Conv2d(width, 2, 1),
    )


def make_refinement(width: int = WIDTH) -> nn.Sequential:
    """Make two 3x3 convolutions without bias, each with ReLU; the caller adds the result to its input."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.ReLU(),
    )


def make_merge(
    layers: nn.ModuleList, cells: Tensor, vectors: Sequence[Tensor], likeness: Tensor | None = None
) -> Merged:
    """Make the function that merges the input of a scale: pooled cells, vectors spread over it, and a likeness map.

    Args:
        layers: one for each scale, on these side by side.
        cells: (B, C, h, w), average-pooled to each scale; one of more cells than the grid repeats them.
        vectors: any number of (B, C).
        likeness: (B, 1, h, w), resized to each scale.
    """

    def merged(scale: int, size: Size) -> Tensor:
        parts = [functional.adaptive_avg_pool2d(cells, size)]
        parts += [vector[:, :, None, None].expand(-1, -1, *size) for vector in vectors]
        if likeness is not None:
            parts.append(resize(likeness, size))
        out: Tensor = layers[scale](torch.cat(parts, dim=1))
        return out

    return merged


class Enriched(NamedTuple):
    """The result of an enrichment."""

    logits: Tensor
    """(B, 2, h, w) on the full grid."""
    cells: list[Tensor]
    """Each scale's refined map at its own size, finest first: the input of the auxiliary classifiers."""
    levels: list[Tensor]
    """The same on the full grid, (B, 256, h, w), which inform the next scale."""


class FeatureEnrichment(nn.Module):
    """Refines merged maps across scales, concentrates them into one, and classifies it.

    Args:
        scales: one number for each scale, see `scale_size`.

    Attributes are named as in the authors' checkpoints.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.alpha_conv = nn.ModuleList(make_reduction(2 * WIDTH) for _ in self.scales[1:])
        self.beta_conv = nn.ModuleList(make_refinement() for _ in self.scales)
        self.inner_cls = nn.ModuleList(make_classifier() for _ in self.scales)
        self.res1 = make_reduction(WIDTH * len(self.scales))
        self.res2 = make_refinement()
        self.cls = make_classifier()

    def forward(self, merged: Merged, size: Size, above: Sequence[Tensor] | None = None) -> Enriched:
        """Enrich the merged maps of all scales.

        Args:
            merged: the merged map of each scale, see `merging`.
            size: height and width of the full grid.
            above: levels of another pass, to inform each scale in place of this pass's own (SCL).
        """
        cells: list[Tensor] = []
        levels: list[Tensor] = []
        for i, scale in enumerate(self.scales):
            inner = scale_size(scale, size)
            x = merged(i, inner)
            if i > 0:
                finer = resize((levels if above is None else above)[i - 1], inner)
                x = x + self.alpha_conv[i - 1](torch.cat([x, finer], dim=1))
            x = x + self.beta_conv[i](x)
            cells.append(x)
            levels.append(resize(x, size))
        joint = self.res1(torch.cat(levels, dim=1))
        joint = joint + self.res2(joint)
        return Enriched(self.cls(joint), cells, levels)

    def auxiliary(self, enriched: Enriched) -> list[Tensor]:
        """Logits (B, 2, *cells) of each scale by itself, for the auxiliary loss."""
        return [classify(cells) for classify, cells in zip(self.inner_cls, enriched.cells, strict=True)]


def rename_head(name: str) -> str:
    """Name below `enrich.` of an authors' entry that belongs to the enrichment; others unchanged."""
    own = ("alpha_conv", "beta_conv", "inner_cls", "res1", "res2", "cls")
    return f"enrich.{name}" if name.partition(".")[0] in own else name
