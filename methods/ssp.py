"""SSP: self-support few-shot semantic segmentation (Fan, Pei, Tai, Tang, ECCV 2022).

Prototypes of the supports give a first prediction.  The query cells with a confident prediction give the query's own
prototypes, which fit the query better than those of another image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from fssbench.api import (
    Ablation,
    EncodingMethod,
    FeatureMethod,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
    Taps,
)

from .layers.feature_maps import list_stages
from .layers.finetuned import FineTuned
from .layers.resize import read_size, resize
from .layers.self_support import Prototypes, add_self_support, average_shots, refine_prediction
from .layers.supervision import compute_resized_loss

if TYPE_CHECKING:
    from fssbench.api import Backbone

_DEEP_STEM = ("resnet50", "resnet101")
_CELLS = "cells"


class SSPConfig(MethodConfig):
    """Settings of SSP."""

    refine: bool = False
    """Whether self-support is repeated on the refined prediction (the reference's flag `--refine`)."""
    stem: Literal["deep", "plain"] = "deep"
    """Stem of a ResNet.  `deep`: three 3x3 convolutions, as in the reference.  `plain`: one 7x7 convolution, which
    fits torchvision's weights.  Other backbones have their own stem."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "refined": Ablation({"refine": True}, label="with refinement")
    }


class SSP(EncodingMethod, FeatureMethod):
    """Self-support prototypes on features of the third stage.  Stages 2 and 3 are trained."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ssp",
        title="SSP",
        paper="Qi Fan, Wenjie Pei, Yu-Wing Tai, Chi-Keung Tang: Self-Support Few-Shot Semantic Segmentation, ECCV",
        year=2022,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="fanq15/SSP@df5bd49",
        licence="MIT",
        training="Cross-entropy of the final and the first self-supported prediction, of the query's prediction "
        "by its own prototypes, and 0.2 of the supports' by theirs; SGD, learning rate 1e-3, x0.1 at each third, "
        "momentum 0.9, weight decay 5e-4; 24,000 episodes, batch 4, crops of 473 px, flips.",
        parity=("ssp_resnet50_256: logits of one and five supports, plain and refined, to 1e-4",),
        notes=(
            Note(
                "remark",
                "Trained are the convolutions of stages 2 and 3, on a copy that the method owns; the stem, stage 1 "
                "and every norm are frozen.",
            ),
            Note(
                "remark",
                "ResNets have a 3x3 deep stem and a third stage dilated by 2 (layout `ssp`, stride 8); torchvision's "
                "weights fit `--set stem=plain` only.",
            ),
            Note(
                "reproduced",
                "No similarity of a foreground cell is used, though the paper describes both; the "
                "adaptive prototype serves the background alone.",
            ),
            Note("reproduced", "0.7 and 0.6 as thresholds, and the 12 likeliest cells if none is sure."),
            Note(
                "differs",
                "The reference tests at each image's own size; here queries have the harness's size.",
            ),
            Note(
                "differs",
                "Pixels marked 255 in a support count as background; the reference leaves them out.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = SSPConfig
    waivers: ClassVar[dict[str, str]] = {
        "loss_honours_ignore": "one term takes prototypes from the query's mask, in which ignored pixels are "
        "background, as published"
    }
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        batch=4,
        steps=6000,
        schedule="step",
        milestones=(1 / 3, 2 / 3),
        source="training script of the release: 24,000 episodes",
    )
    reference_backbone: ClassVar[str] = ""
    config: SSPConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        first, _, last = list_stages(self.backbone, 3)[:3]
        self._tap = first[-1].name
        self.encoder = FineTuned(self.backbone, self._tap, last[-1].name)

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Return the layout of the reference's ResNet, unless `stem` is `plain`."""
        deep = backbone in _DEEP_STEM and getattr(config, "stem", "deep") == "deep"
        return "ssp" if deep else "standard"

    @property
    def taps(self) -> Taps:
        """The last tap of the first stage, where the trained part begins."""
        return Taps(query=(self._tap,), support=(self._tap,))

    def encode(self, images: Features) -> dict[str, Tensor]:
        """Compute the map (N, C, h, w) of the third stage."""
        return {_CELLS: self.encoder(images[self._tap])}

    def match(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the grid of the third stage."""
        cells, objects = query[_CELLS], support[_CELLS].flatten(0, 1)
        mask = resize_mask(support_mask.flatten(0, 1), objects)
        first = average_shots(Prototypes.of_mask(objects, mask), support_mask.shape[1])
        *_, last = self._predictions(first, cells)
        return last

    def loss(
        self, query: Features, support: Features, support_mask: Tensor, target: Tensor, ignore: Tensor
    ) -> Tensor:
        """Compute the training loss of B episodes, a scalar.  The card lists its terms.

        Args:
            query: query tap (B, C, h, w).
            support: support tap (B, K, C, h, w).
            support_mask: masks (B, K, H, W), values 0 and 1.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of the queries that are marked 255 (B, H, W), bool.
        """
        query, support = self.read(query, support)
        cells, objects, mask = self._encode(query, support, support_mask)
        each = Prototypes.of_mask(objects, mask)
        predictions = self._predictions(average_shots(each, support_mask.shape[1]), cells)
        own = Prototypes.of_mask(cells, resize_mask(target.to(cells.dtype), cells))
        total = sum(compute_resized_loss(p, target, ignore) for p in (*predictions, own.logits(cells)))
        supports = support_mask.flatten(0, 1).bool()
        nothing = supports.new_zeros(supports.shape)
        return total + 0.2 * compute_resized_loss(each.logits(objects), supports, nothing)

    def _predictions(self, first: Prototypes, cells: Tensor) -> list[Tensor]:
        """Compute the self-supported logits and, if `refine` is set, the refined ones after them."""
        second = add_self_support(first, cells, first.logits(cells))
        logits = second.logits(cells)
        return (
            [logits, refine_prediction(first, second, cells, logits)[1]] if self.config.refine else [logits]
        )

    def _encode(
        self, query: Features, support: Features, support_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode queries (B, C, h, w) and supports (B * K, C, h, w), and resize the masks to (B * K, h, w)."""
        cells = self.encoder(query[self._tap])
        objects = self.encoder(support[self._tap].flatten(0, 1))
        return cells, objects, resize_mask(support_mask.flatten(0, 1), objects)

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' state dict.  Stages 2 and 3 go to the backbone and to the trained copy."""
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        super().load_reference({**plain, **self.encoder.entries(plain, "encoder.")})


def resize_mask(mask: Tensor, features: Tensor) -> Tensor:
    """Resize masks (N, H, W) to the size of the features.  They become soft."""
    return resize(mask.unsqueeze(0), read_size(features))[0]
