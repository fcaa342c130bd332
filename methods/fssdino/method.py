"""FSSDINO: few-shot segmentation on frozen DINOv3 features, without training.

Each class, the background included, has the cluster centres of its support patches and a Gram matrix.  A query patch is
compared with both; the class with the highest score wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from fssbench.api import FeatureMethod, Features, MethodCard, MethodConfig, Note, Taps

from ..layers.feature_maps import choose_tap, pick_last
from ..layers.resize import read_size, resize
from .clusters import Start, find_centres

if TYPE_CHECKING:
    from fssbench.api import Backbone

_ABSENT = -1e4
"""Score of a class without support patches.  It is minus infinity in the reference, but logits are finite here."""
_EPS = 1e-8


class FSSDINOConfig(MethodConfig):
    """Settings of FSSDINO."""

    tap: str = "auto"
    """Backbone tap that is compared.  `auto` is the last tap without a norm, as published (`block11` of DINOv3
    ViT-B)."""
    clusters: int = Field(5, ge=1)
    """Cluster centres per class."""
    start: Start = "spread"
    """Where the centres start: `spread`, far from each other, or `strided`, at equal steps of the list of patches."""


class FSSDINO(FeatureMethod):
    """Compares query patches with cluster centres and a Gram matrix of each class.  K supports are pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="fssdino",
        title="FSSDINO",
        paper="FSSDINO, arXiv:2602.07550",
        year=2026,
        kind="prototype",
        backbone="dinov3-b",
        size=512,
        trained=False,
        reference="hussni0997/fssdino@2485898",
        licence="none",
        training="Nothing is trained.",
        parity=(
            "fssdino_dinov3s_256: similarity maps, scores and masks of one and five supports, un-normed and normed "
            "tap, to 1e-4",
        ),
        notes=(
            Note(
                "reproduced",
                "The tap is the output of the last block without a norm, as the pinned version of transformers gives "
                "it. `--set tap=block11.norm` is the normed one.",
            ),
            Note(
                "reproduced",
                "The score of a class is the product of the largest and the mean of its maps, so that two negative "
                "factors give a positive score.",
            ),
            Note("reproduced", "The query patch is not normalised before it meets the Gram matrix."),
            Note(
                "corrected",
                "The reference draws the start of its clusters from the generator that also draws its episodes. Here "
                "the start depends on the patches alone, and not on the order of the supports.",
            ),
            Note(
                "corrected",
                "A centre without members takes a random patch in the reference. Here it takes the patch that is "
                "farthest from its own centre.",
            ),
            Note(
                "differs",
                "The reference scores a class without support patches with minus infinity; here it is -10,000.",
            ),
            Note(
                "differs",
                "The reference resizes its one-hot masks to the image's own size. Here masks have the harness's size.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = FSSDINOConfig
    align_corners: ClassVar[bool] = False
    config: FSSDINOConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._tap = choose_tap(self.backbone, self.config.tap, pick_last)

    @property
    def taps(self) -> Taps:
        """The one tap that is compared."""
        return Taps(query=(self._tap,), support=(self._tap,))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute the scores of background and object as logits (B, 2, H, W), at the size of the support masks."""
        size = read_size(support_mask)
        scores = []
        for maps in self._compute_maps(query[self._tap], support[self._tap], support_mask):
            scores.append(torch.stack([_score_class(each, size, support_mask) for each in maps]))
        return torch.stack(scores)

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the largest cosine with a centre, and the Gram map, of background and object, each (1, h, w)."""
        shown = {}
        (classes,) = self._compute_maps(query[self._tap], support[self._tap], support_mask)
        for name, maps in zip(("background", "object"), classes, strict=True):
            if maps is not None:
                shown[f"cosine with centres of the {name}"] = maps[:-1].amax(dim=0, keepdim=True)
                shown[f"Gram map of the {name}"] = maps[-1:]
        return shown

    def _compute_maps(
        self, query: Tensor, support: Tensor, masks: Tensor
    ) -> list[tuple[Tensor | None, Tensor | None]]:
        """Compute the maps (centres + 1, h, w) of background and object per episode; None for one without patches."""
        size = read_size(support)
        inside = functional.interpolate(masks.float(), size, mode="nearest") == 1
        episodes = []
        for maps, features, mask in zip(query, support, inside, strict=True):
            patches = features.flatten(2).transpose(1, 2).flatten(0, 1)  # shot by shot, row by row
            chosen = mask.flatten()
            episodes.append((self._compare(maps, patches[~chosen]), self._compare(maps, patches[chosen])))
        return episodes

    def _compare(self, query: Tensor, patches: Tensor) -> Tensor | None:
        """Compare the query (C, h, w) with the patches (N, C) of one class: (centres + 1, h, w), the Gram map last."""
        if not len(patches):
            return None
        cells = query.flatten(1)
        centres = find_centres(patches, self.config.clusters, self.config.start)
        cosines = functional.normalize(centres, dim=1) @ functional.normalize(cells, dim=0)
        # the mean of (z . q) squared over normalised patches z is q' G q, without the matrix G
        gram = (functional.normalize(patches, dim=1) @ cells).square().mean(dim=0)
        low, high = gram.min(), gram.max()
        gram = (gram - low) / (high - low + _EPS)
        return torch.cat([cosines, gram.unsqueeze(0)]).unflatten(1, read_size(query))


def _score_class(maps: Tensor | None, size: tuple[int, int], like: Tensor) -> Tensor:
    """Compute the score (H, W) of a class from its maps (M, h, w): the largest times the mean, after resizing."""
    if maps is None:
        return torch.full(size, _ABSENT, device=like.device)
    large = resize(maps.unsqueeze(0), size, align_corners=False)[0]
    return large.amax(dim=0) * large.mean(dim=0)
