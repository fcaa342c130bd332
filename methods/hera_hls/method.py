"""HERA-HLS: the hierarchical layer selection of HERA, without its tuning.

Each support is segmented with the help of the others, with the features of each layer of a transformer and with
weighted sums of several layers.  The query is segmented with those features that served best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from fssbench.api import Ablation, ImageMethod, MethodCard, MethodConfig, Note, UsageError

from ..layers.feature_maps import list_stages
from ..layers.resize import read_size, resize
from ..layers.self_support import average_shots
from .selection import Candidate, Maps, compare, normalise_cells, pool_mask, select_layers

if TYPE_CHECKING:
    from fssbench.api import Backbone


class HERAHLSConfig(MethodConfig):
    """Settings of HERA-HLS."""

    layers: Literal["fused", "single", "last"] = "fused"
    """Features among which the supports choose: single layers and sets of them, single layers alone, or the last layer
    without a choice."""
    hls_depth: int | None = Field(None, ge=1)
    """Number of layers, counted from the last, that are candidates.  By default it is half of them: 12 of the 24 blocks
    of ViT-L, as published."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "fusion": Ablation({"layers": "single"}, label="w/o fused sets"),
        "selection": Ablation({"layers": "last"}, label="w/o layer selection"),
    }


class HERAHLS(ImageMethod):
    """SSP's self-support on the features that suit the supports best.  Prototypes of K supports are averaged."""

    card: ClassVar[MethodCard] = MethodCard(
        name="hera-hls",
        title="HERA-HLS",
        paper="Selective, Regularized, and Calibrated: Harnessing Vision Foundation Models for Cross-Domain Few-Shot "
        "Semantic Segmentation, CVPR",
        year=2026,
        kind="prototype",
        backbone="dinov3-l",
        size=400,
        trained=False,
        reference="Zhiyuan624/HERA-CDFSS@188321a",
        licence="MIT",
        training="Nothing is trained.",
        parity=(
            "hera_hls_160a: scores, sets, weights, choice and logits of one and five supports, on made-up maps and on "
            "DINOv3 ViT-L, scores to 2e-3 and logits to 1e-4",
        ),
        notes=(
            Note(
                "remark",
                "HERA without what follows the selection: the tuning of the selected layer, the attention prior and "
                "the refinement. The paper reports 76.7 mIoU for the selection alone and 77.9 for all (5 supports, "
                "mean of its benchmarks). Whether the first figure includes the tuning is not known.",
            ),
            Note(
                "remark",
                "The released main loop does not run, since it calls two functions that do not exist. The outputs that "
                "this method reproduces were made by the released functions, called one by one.",
            ),
            Note(
                "reproduced",
                "One support is joined by two equal copies in which its object is added onto itself, so that its "
                "normalised values are doubled. They serve the selection alone.",
            ),
            Note(
                "reproduced",
                "The set up to the last layer need not hold the best layer, and two of the six sets may be equal.",
            ),
            Note(
                "reproduced",
                "A support without object or without background has a prototype of zeros. The IoU of two empty masks "
                "is 1.",
            ),
            Note("reproduced", "Of equal scores the first counts; equal supports choose the lowest layer."),
            Note(
                "differs",
                "The reference runs the backbone again for each candidate. Here it runs once per image.",
            ),
            Note(
                "choice",
                "Networks of other depths: the second half of the blocks are candidates, the last block is the anchor, "
                "and sets end where the candidates end.",
            ),
            Note(
                "choice",
                "Convolutional networks: the taps before their activation are the layers. Those whose map has another "
                "shape than that of the last one cannot be fused, and are left out of the sets.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = HERAHLSConfig
    needs_backbone: ClassVar[bool] = True
    config: HERAHLSConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        every = [tap for stage in list_stages(self.backbone, 1) for tap in stage]
        every = [tap for tap in every if not tap.name.endswith(".norm")]
        depth = self.config.hls_depth or (len(every) + 1) // 2
        if depth > len(every):
            raise UsageError(
                f"backbone {self.backbone.name!r} has {len(every)} layers, and hls_depth asks for {depth}. "
                f"Next: --set hls_depth=N with N from 1 to {len(every)}"
            )
        candidates = every[-1:] if self.config.layers == "last" else every[-depth:]
        self._taps = tuple(tap.name for tap in candidates)
        anchor = candidates[-1]
        self._fusable = [(tap.channels, tap.stride) == (anchor.channels, anchor.stride) for tap in candidates]

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the grid of the chosen layer, each episode by itself."""
        logits = []
        for image, supports, masks in zip(query, support, support_mask, strict=True):
            maps = self._read_maps(image, supports, masks)
            logits.append(segment(maps, masks, self._choose(maps, masks)))
        # on a convolutional network, whose layers have several grids
        if len({each.shape for each in logits}) > 1:
            logits = [resize(each, read_size(support_mask)) for each in logits]
        return torch.cat(logits)

    def debug_maps(self, query: Tensor, support: Tensor, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the logit of the object minus that of the background, with the chosen layers and with the last one."""
        maps = self._read_maps(query[0], support[0], support_mask[0])
        choice = self._choose(maps, support_mask[0])
        shown = {}
        for kind, candidate in (("chosen", choice), ("last", Candidate((len(self._taps) - 1,)))):
            names = ", ".join(self._taps[layer] for layer in candidate.layers)
            logits = segment(maps, support_mask[0], candidate)
            shown[f"object minus background, {kind}: {names}"] = logits[:, 1] - logits[:, 0]
        return shown

    def _choose(self, maps: EpisodeMaps, masks: Tensor) -> Candidate:
        """Choose the layers for an episode, whose masks are (K, H, W)."""
        if len(self._taps) == 1:
            return Candidate((0,))
        examples = masks if len(masks) > 1 else masks.expand(len(maps.examples[0]), -1, -1)
        fusable = self._fusable if self.config.layers == "fused" else []
        return select_layers(maps.examples, examples, fusable=fusable).winner

    def _read_maps(self, query: Tensor, supports: Tensor, masks: Tensor) -> EpisodeMaps:
        """Compute the maps of an episode: query (3, H, W), supports (K, 3, H, W) and masks (K, H, W)."""
        shots, images = len(supports), [query.unsqueeze(0), supports]
        if shots == 1:
            images.append(supports * (1 + masks.unsqueeze(1)))  # the object is added onto itself
        every = self.backbone(torch.cat(images), self._taps)
        maps = [normalise_cells(every[tap]) for tap in self._taps]
        examples = [each[1:] if shots > 1 else each[[1, 2, 2]] for each in maps]
        return EpisodeMaps([each[:1] for each in maps], [each[1 : 1 + shots] for each in maps], examples)


class EpisodeMaps(NamedTuple):
    """The maps of one episode, one (N, C, h, w) per candidate layer."""

    query: Maps
    """Of one image."""
    supports: Maps
    """Of the K supports."""
    examples: Maps
    """Of the images that predict each other in the selection: the supports, or one support and two copies."""


def segment(maps: EpisodeMaps, masks: Tensor, candidate: Candidate) -> Tensor:
    """Compute the logits (1, 2, h, w) of an episode's query, from masks (K, H, W) and the chosen layers."""
    prototypes = average_shots(pool_mask(candidate.fuse(maps.supports), masks), len(masks))
    return compare(candidate.fuse(maps.query), prototypes)
