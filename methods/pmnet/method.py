"""PMNet: pixel matching network (Chen, Dong, Lu, Yu, Han, WACV 2024).

Dense affinities of query and support cells are enhanced along both planes.  A softmax over *all* support cells,
including the background, turns them into coarse maps.  A light head refines these maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from fssbench.api import (
    Ablation,
    FeatureMethod,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
    Taps,
    UsageError,
)

from ..layers.correlation import LENGTH_EPS, multiply_pairs
from ..layers.feature_maps import list_names, list_stages, mask_features
from ..layers.module_inputs import record_inputs
from ..layers.processor import runs_on_processor
from ..layers.prototypes import scale_to_unit
from ..layers.resize import read_size, resize
from ..layers.volume import VolumeBatchNorm, VolumeGroupNorm
from .head import (
    WIDTH,
    Classifier,
    CoarseEncoder,
    Fusion,
    TwoBranchEnhancement,
    compute_coarse_map,
    make_pivot_enhancement,
)

if TYPE_CHECKING:
    from fssbench.api import Backbone, Tap

_COSINE_SCALE = 10.0
_HEADS = 4

_RELEASE = {
    "conv_4d_blocks.2": "enhance.high",
    "conv_4d_blocks.3": "enhance.low",
    "conv_layer.2": "encode.high",
    "conv_layer.3": "encode.low",
    "conv4": "fuse.refine1",
    "conv5": "fuse.refine2",
    "mixer1": "classify.mix1",
    "mixer2": "classify.mix2",
    "mixer3": "classify.mix3",
}
"""Module names of the release, and ours."""
_RELEASE_ENCODER = {
    "conv1": "a",
    "conv23": "b3",
    "conv21": "b1",
    "conv33": "c3",
    "conv31": "c1",
    "conv4": "out",
}
_RELEASE_REFINEMENT = {
    "conv13": "q3",
    "conv11": "p1",
    "conv23": "t3",
    "conv21": "r1",
    "conv33": "tt3",
    "conv4": "out",
}


class PMNetConfig(MethodConfig):
    """Settings of PMNet.

    The default is the form that did best when all forms were trained alike on the sample of PASCAL VOC
    (docs/training.md): the paper's text, with affinities of unit vectors.
    """

    variant: Literal["paper", "released", "onehead"] = "paper"
    """`paper`: two branches and batch norm.  `released`: the authors' code without its linear heads and positional
    encodings.  It has four heads and group norm, and sums both directions in each layer.  `onehead`: the same
    with one head and batch norm."""
    affinity: Literal["dot", "cosine"] = "cosine"
    """`cosine`: inner products of unit vectors, times 10.  Raw products reach thousands, which makes the softmax
    one-hot.  `dot`: raw inner products, as in Eq. 1 of the paper.  `dot` is the default of the variants
    `released` and `onehead`, because their code computes it."""
    b3dconv: bool = True
    """Whether affinities are enhanced.  Without it, the softmax reads raw affinities (paper, Table 6)."""
    background: bool = True
    """Whether background cells take part in the softmax with their features.  Without it, support features are
    multiplied by the mask before the affinity, as in HSNet (paper, Table 6)."""

    @model_validator(mode="before")
    @classmethod
    def _affinity_of_the_release(cls, given: Any) -> Any:
        release = isinstance(given, dict) and given.get("variant") in {"released", "onehead"}
        return {"affinity": "dot", **given} if release else given

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "b3dconv": Ablation({"b3dconv": False}, label="w/o B3DConvs"),
        "background": Ablation({"background": False}, label="w/o background"),
    }


class PMNet(FeatureMethod):
    """Pixel matching network.  K supports are matched jointly, with their cells side by side."""

    card: ClassVar[MethodCard] = MethodCard(
        name="pmnet",
        title="PMNet",
        paper="Hao Chen, Yonghan Dong, Zheming Lu, Yunlong Yu, Jungong Han: Pixel Matching Network for "
        "Cross-Domain Few-Shot Segmentation, WACV",
        year=2024,
        kind="pixelwise",
        backbone="resnet50",
        size=384,
        trained=True,
        reference="chenhao-zju/PMNet",
        licence="Apache-2.0",
        training="Cross-entropy; SGD, learning rate 1e-3, momentum 0.9, Nesterov, weight decay 1e-4; batch "
        "36, 150 epochs, no augmentation.",
        parity=(
            "pmnet_onehead_resnet50_384: logits of one and five supports, to 1e-4",
            "pmnet_released_resnet50_384: logits of one and five supports, to 1e-4",
        ),
        notes=(
            Note(
                "remark",
                "Three variants: the paper's text and the released code disagree on norm, branches and heads; "
                "`released` and `onehead` equal the code, `paper` the text.",
            ),
            Note(
                "remark",
                "Left out of every variant: the release's linear heads (10.5 M parameters, not in the paper's "
                "0.68 M) and positional encodings (not in the paper).",
            ),
            Note(
                "corrected",
                "The release does not run as published (undefined attributes) and chooses its "
                "checkpoint on the test episodes.",
            ),
            Note(
                "remark",
                "The paper says that five supports are concatenated along channels; the release, and this, "
                "concatenate along support positions, which takes any number.",
            ),
            Note(
                "reproduced",
                "Affinities of each support are enhanced (and group-normalised) by themselves; the "
                "softmax alone runs over all of them.",
            ),
            Note("remark", "Published figures use timm's a1h weights (`--weights a1h`)."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = PMNetConfig
    replayable: ClassVar[bool] = True
    shipped: ClassVar[str | None] = "../checkpoints"
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        batch=36,
        epochs=150,
        source="configuration of the release (chenhao-zju/PMNet)",
    )
    reference_backbone: ClassVar[str] = "feature_extractor."
    config: PMNetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        every = list_stages(self.backbone, 4)
        high, low = every[-2:]
        self._matched = {"low": list_names(low), "high": list_names(high)}
        self._shallow, self._deeper = every[0][-1].name, every[1][-1].name
        self._heads = _HEADS if self.config.variant == "released" else 1
        for tap in (*high, *low):
            if tap.channels % self._heads:
                raise UsageError(
                    f"variant='released' splits channels in {self._heads}; tap {tap.name!r} of backbone "
                    f"{self.backbone.name!r} has {tap.channels}. Next: --set variant=onehead"
                )
        matched = {"low": low, "high": high}
        if self.config.b3dconv:
            self.enhance = nn.ModuleDict({name: self._enhancement(taps) for name, taps in matched.items()})
        self.encode = nn.ModuleDict(
            {
                name: CoarseEncoder(WIDTH if self.config.b3dconv else len(taps))
                for name, taps in matched.items()
            }
        )
        self.fuse = Fusion()
        self.classify = Classifier(every[0][-1].channels, every[1][-1].channels)

    def _enhancement(self, taps: list[Tap]) -> nn.Module:
        if self.config.variant == "paper":
            return TwoBranchEnhancement(len(taps))
        norm = VolumeGroupNorm if self.config.variant == "released" else VolumeBatchNorm
        return make_pivot_enhancement(len(taps), norm)

    @property
    def taps(self) -> Taps:
        """All blocks of the last two stages.  Of the query also the last block of the first two stages."""
        matched = (*self._matched["low"], *self._matched["high"])
        return Taps(query=(*matched, self._deeper, self._shallow), support=matched)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) at a quarter of the first tap's stride, from all K supports jointly."""
        low = self._encode("low", query, support, support_mask)
        high = self._encode("high", query, support, support_mask)
        deeper, shallow = query[self._deeper], query[self._shallow]
        fused = self.fuse(low, high, (int(deeper.shape[-2]), int(deeper.shape[-1])))
        logits: Tensor = self.classify(fused, deeper, shallow)
        return logits

    def debug_maps(self, query: Features, support: Features, support_mask: Tensor) -> dict[str, Tensor]:
        """Return the coarse map of each stage, (1, h, w): the share of object cells, averaged over channels."""
        coarse = record_inputs(dict(self.encode), lambda: self.logits(query, support, support_mask))
        return {f"coarse map, {stage} stage": maps.mean(dim=1) for stage, maps in coarse.items()}

    def _encode(self, stage: str, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Encode the coarse map of one stage: (B, 64, h, w)."""
        taps = self._matched[stage]
        maps = {tap: support[tap] for tap in taps}
        if not self.config.background:
            maps = {tap: mask_features(each, support_mask) for tap, each in maps.items()}
        mask = resize(support_mask, read_size(maps[taps[0]]))
        # a processor is fastest if the affinities of one support at a time stay in its cache, a GPU with all in a batch
        at_once = 1 if runs_on_processor(mask) else mask.shape[1]
        cells = [self._cells(query[tap].repeat_interleave(at_once, dim=0)) * self._scale for tap in taps]
        affinities: list[Tensor] = []
        for some in zip(*(maps[tap].split(at_once, dim=1) for tap in taps), strict=True):
            affinity = multiply_pairs(cells, [self._cells(each.flatten(0, 1)) for each in some])
            enhanced = self.enhance[stage](affinity) if self.config.b3dconv else affinity
            affinities += torch.unflatten(enhanced, 0, (-1, at_once, self._heads)).unbind(dim=1)
        coarse = compute_coarse_map(affinities, mask)
        encoded: Tensor = self.encode[stage](coarse)
        return encoded

    def _cells(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, h, w) with heads as part of the batch, of unit length for an affinity of cosines."""
        if self._heads > 1:
            maps = torch.unflatten(maps, 1, (self._heads, -1)).flatten(0, 1)
        return scale_to_unit(maps, eps=LENGTH_EPS) if self.config.affinity == "cosine" else maps

    @property
    def _scale(self) -> float:
        """What affinities are multiplied by."""
        return _COSINE_SCALE if self.config.affinity == "cosine" else 1.0

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint."""
        for theirs, ours in _RELEASE.items():
            if name.startswith(f"{theirs}."):
                inner, _, rest = name.removeprefix(f"{theirs}.").partition(".")
                table = {"encode": _RELEASE_ENCODER, "fuse": _RELEASE_REFINEMENT}.get(
                    ours.partition(".")[0], {}
                )
                return f"{ours}.{table.get(inner, inner)}.{rest}"
        return name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load the layout of the release.  Its B3DConv kernels (C, L, 1, k, k) become planes (C, L, k, k)."""
        super().load_reference({name: t.squeeze(2) if t.ndim == 5 else t for name, t in state.items()})
