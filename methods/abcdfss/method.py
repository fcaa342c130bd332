"""ABCDFSS: adapt before comparison (Herzog, CVPR 2024).

Nothing is trained before the test.  In each episode one small head per backbone tap is fitted to the query and the
supports.  Attention in the space of each head then transfers the support masks to the query.  The resulting maps are
averaged and thresholded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from fssbench.api import Ablation, Backbone, ImageMethod, MethodCard, MethodConfig, Note, Predictor

from ..layers.feature_maps import list_names, list_stages
from ..layers.resize import read_size, resize
from .attention import carry_mask, find_otsu_threshold
from .fit import Views, fit
from .shear import Shear, draw_shears, make_copies
from .task_head import TaskHead


class ABCDFSSConfig(MethodConfig):
    """Settings of ABCDFSS.  The defaults are those of the reference."""

    steps: int = Field(25, ge=0)
    """Gradient steps per head and episode.  0 compares the features of the backbone."""
    learning_rate: float = Field(0.01, gt=0)
    """Learning rate of the plain gradient descent."""
    temperature: float = Field(0.5, gt=0)
    """Temperature of the dense contrast between an image and its sheared copies."""
    views: int = Field(2, ge=1)
    """Number of sheared copies of the query and of each support."""
    shear: int = Field(20, ge=0, le=60)
    """Largest shear of a copy along each axis, in degrees."""
    threshold: Literal["max", "otsu", "mean"] = "max"
    """Threshold of the map: Otsu's threshold, the mean of the map, or the larger of both."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "adaptation": Ablation({"steps": 0}, label="w/o adaptation"),
        "otsu": Ablation({"threshold": "mean"}, label="w/o Otsu's threshold"),
    }


@dataclass(frozen=True)
class _Fitted:
    """The predictor of one episode, with one fitted head per tap, and the maps that it was fitted to."""

    method: ABCDFSS
    heads: Sequence[TaskHead]
    views: Sequence[Views]

    def maps(self, support_mask: Tensor) -> list[Tensor]:
        """Compute one coarse map (1, 1, h, w) per tap, from the support masks (1, K, H, W)."""
        with torch.no_grad():
            return [
                carry_mask(head(each.query), head(each.support), support_mask[0])
                for head, each in zip(self.heads, self.views, strict=True)
            ]

    def __call__(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (1, 2, H, W), threshold and map, of the episode to which the heads were fitted."""
        return self.method.cut(self.maps(support_mask), support_mask)


class ABCDFSS(ImageMethod):
    """Heads that are fitted to each episode, then attention over the cells of all K supports."""

    card: ClassVar[MethodCard] = MethodCard(
        name="abcdfss",
        title="ABCDFSS",
        paper="Jonas Herzog: Adapt Before Comparison: A New Perspective on Cross-Domain Few-Shot Segmentation, "
        "CVPR",
        year=2024,
        kind="adaptation",
        backbone="resnet50",
        size=400,
        trained=False,
        reference="Vision-Kek/ABCDFSS@9d00f68",
        licence="none",
        training="Nothing before the test.  In an episode: 25 steps of plain SGD, learning rate 0.01, for each "
        "tap's head (1x1 convolutions, 64 channels; 974,080 parameters on ResNet-50).",
        parity=(
            "abcdfss_resnet50_256: fitted biases to 1e-4, the mean map of one and five supports to 2e-3",
        ),
        notes=(
            Note("remark", "Published figures use torchvision's later weights (`--weights v2`)."),
            Note(
                "corrected",
                "By default the reference fits the heads in the first episode of a class and keeps them "
                "for the others, so that a result depends on which episode came first; here every episode is "
                "fitted by itself (the reference's `every-episode`), with 25 steps per tap and episode.",
            ),
            Note(
                "corrected",
                "Shears and start weights come from the episode's own generator; the reference draws them "
                "from the one that also draws the episodes.",
            ),
            Note(
                "reproduced",
                "The heads' batch norm uses the statistics of what it is given, also when applied: the "
                "query alone, the supports together.",
            ),
            Note(
                "reproduced",
                "Shears are the only augmentation; the reference's blur, jitter, rotation and scale "
                "are switched off by its own settings.",
            ),
            Note(
                "remark",
                "Not offered: refinement by a dense CRF and the `dynamic` votes on support copies, both off by "
                "default.",
            ),
            Note(
                "remark",
                "Sums of absolute values and gates make the fit sensitive to rounding: another machine, device "
                "or number "
                "of threads moves a tap's map by up to 1e-2 and their mean by up to 1e-3.",
            ),
            Note(
                "remark",
                "Other backbones: all taps but those of the first stage (ResNets, VGG-16, EfficientNet-Lite0).",
            ),
            Note(
                "remark",
                "Logits are threshold and map: their order is the prediction, their softmax no probability.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = ABCDFSSConfig
    needs_backbone: ClassVar[bool] = True
    align_corners: ClassVar[bool] = False
    reference_backbone: ClassVar[str] = "feature_extractor."
    config: ABCDFSSConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        every = [tap for stage in list_stages(self.backbone, 2)[1:] for tap in stage]
        self._taps = list_names(every)
        self.channels = tuple(tap.channels for tap in every)

    @property
    def steps(self) -> int:
        """Gradient steps of each head."""
        return self.config.steps

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Draw shears, make one head per tap, and fit the heads.  See `Method.adapt`."""
        shears = draw_shears(self.config.views, self.config.shear, generator)
        heads = [TaskHead(channels, generator).to(query.device) for channels in self.channels]
        return self.fit(heads, query, support, support_mask, shears, steps)

    def fit(
        self,
        heads: Sequence[TaskHead],
        query: Tensor,
        support: Tensor,
        support_mask: Tensor,
        shears: Sequence[Shear],
        steps: int,
    ) -> _Fitted:
        """Fit one head per tap, in place, to one episode with given shears.  Return the predictor of the episode."""
        images = (query, support[0], make_copies(query, shears), make_copies(support[0], shears))
        views = [Views(*each) for each in zip(*map(self.features, images), strict=True)]
        fit(
            heads,
            views,
            make_copies(support_mask[0], shears),
            shears,
            steps=steps,
            rate=self.config.learning_rate,
            temperature=self.config.temperature,
        )
        return _Fitted(self, heads, views)

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, H, W) without adaptation, from the backbone's own features."""
        episodes = []
        for one, shots, masks in zip(query, support, support_mask, strict=True):
            pairs = zip(self.features(one[None]), self.features(shots), strict=True)
            episodes.append(self.cut([carry_mask(a, b, masks) for a, b in pairs], masks[None]))
        return torch.cat(episodes)

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of images (N, 3, H, W) at all taps, shallow first, each (N, C, h, w)."""
        with torch.no_grad():
            maps = self.backbone(images, self._taps)
        return [maps[tap] for tap in self._taps]

    def cut(self, maps: Sequence[Tensor], support_mask: Tensor) -> Tensor:
        """Compute logits (1, 2, H, W), threshold and map, from coarse maps (1, 1, h, w), shallow first."""
        resized = [resize(each, read_size(maps[0]), align_corners=False) for each in maps]
        mean = torch.stack(resized).mean(dim=0)
        fused = resize(mean, read_size(support_mask), align_corners=False)
        return torch.cat([torch.full_like(fused, self._threshold(fused)), fused], dim=1)

    def _threshold(self, fused: Tensor) -> float:
        rule = self.config.threshold
        candidates = {"otsu": find_otsu_threshold(fused), "mean": float(fused.mean())}
        return max(candidates.values()) if rule == "max" else candidates[rule]
