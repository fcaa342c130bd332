"""BAM: learning what not to segment (Lang, Cheng, Tu, Han, CVPR 2022), on PFENet's encoder.

A base learner, trained before on the labels of the base classes, marks what is none of the episode's business.  A meta
learner compares query and supports.  The map of base classes is added to the background that the meta learner predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from fssbench.api import (
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
    Stage,
    Supervision,
    UsageError,
    pixel_loss,
)

from ..layers.prior_base import LayoutConfig, PriorMethod
from ..layers.prototypes import average_weighted
from ..layers.resize import read_size, resize
from ..layers.supervision import compute_resized_loss
from .ensemble import Ensemble, make_shot_layers, measure_scene_distance, sum_base_classes, weigh_shots
from .learners import BaseLearner, MetaLearner, rename_release

if TYPE_CHECKING:
    from fssbench.api import Backbone

_SHOT_LAYERS = "kshot_rw."


class BAMConfig(LayoutConfig):
    """Settings of BAM."""

    classes: int = Field(15, ge=1)
    """Base classes, without background: 15 on a fold of PASCAL, 60 of COCO, 20 on all of PASCAL.  Weights in the
    authors' layout imply their number."""
    weighted_shots: int = Field(5, ge=1)
    """Number of supports for which their weighting is learned.  With any other number supports weigh the same."""
    kshot_trans_dim: int = Field(2, ge=0)
    """Width of the hidden layer that weighs supports; 0 for one linear layer."""


class _Predicted(NamedTuple):
    """Predictions of B episodes on the third stage's grid."""

    final: Tensor
    """Unnormalised probabilities of background and object (B, 2, h, w), which serve as logits."""
    meta: Tensor
    """Logits of the meta learner (B, 2, h, w)."""
    base: Tensor
    """Logits of the base learner (B, 1 + classes, h, w)."""


class BAM(PriorMethod):
    """Base and meta learner; vectors, priors and scene distances of K supports are weighed."""

    card: ClassVar[MethodCard] = MethodCard(
        name="bam",
        title="BAM",
        paper="Chunbo Lang, Gong Cheng, Binfei Tu, Junwei Han: Learning What Not to Segment: A New Perspective on "
        "Few-Shot Segmentation, CVPR",
        year=2022,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="chunbolang/BAM@c0f935c",
        licence="MIT",
        training="Cross-entropy of the final and of the meta learner's logits; SGD, momentum 0.9, weight decay 1e-4, "
        "polynomial decay 0.9, learning rate 5e-2 (stated as 5e-3), batch 8; PASCAL: 200 epochs; COCO: 641 px, 50 "
        "epochs.",
        parity=(
            "bam_resnet50_233: logits of both learners and the ensemble, one and five supports, losses, to 1e-4",
        ),
        notes=(
            Note(
                "remark",
                "On another data set the base learner marks source classes that are absent or foreign there: it may "
                "suppress the object.",
            ),
            Note(
                "differs",
                "Supports are weighed by a layer for one number of supports, which is a separate training in the "
                "reference. Its start is zero here, so that without such a training all supports weigh the same.",
            ),
            Note(
                "remark",
                "The reference adds the cross-entropy of the frozen base learner to the loss of the second stage: a "
                "number without a gradient, which is left out.",
            ),
            Note(
                "differs",
                "In the stage `base` pixels of classes that are not base classes are left out of the loss. The "
                "reference teaches them as background, so that its base network is trained to reject the test classes.",
            ),
            Note(
                "differs",
                "The reference keeps the base network with the best validation, and leaves out images that show a test "
                "class (`--without-novel`) in the second stage. Here the last step of the base network is kept.",
            ),
            Note(
                "reproduced",
                "The final probabilities are not normalised, and their cross-entropy takes them as logits.",
            ),
            Note(
                "reproduced",
                "The base learner's dropout stays active while the meta learner is trained.",
            ),
            Note(
                "remark",
                "Published there, mean of four folds, 1 / 5 shots: PASCAL-5i VGG-16 64.41 / 68.76, ResNet-50 67.81 / "
                "70.91; COCO-20i VGG-16 43.50 / 49.34, ResNet-50 46.23 / 51.16.",
            ),
            Note("remark", "Labels of supports may be boxes in the reference's test; here they are masks."),
            Note(
                "remark",
                "The reference pastes images of other shapes on a black canvas; here images are squashed.",
            ),
            Note("remark", "The generalised test, with base and novel classes together, is not offered."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = BAMConfig
    replayable: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=5e-2,
        stated_rate=5e-3,
        momentum=0.9,
        weight_decay=1e-4,
        batch=8,
        epochs=200,
        schedule="poly",
        power=0.9,
        source="PASCAL-5i configuration of the release (batch 2 on four devices).  It states 5e-3, but the schedule "
        "multiplies the rate of every parameter group by ten",
    )
    waivers: ClassVar[dict[str, str]] = {
        "loss_reaches_what_learns": "the weights of supports learn from episodes of `weighted_shots` supports alone"
    }
    supervision: ClassVar[Supervision] = "numbered"
    stages: ClassVar[Mapping[str, Stage]] = {
        "base": Stage(
            names=r"^base\.",
            trains_backbone=True,
            supervision="classes",
            recipe=Recipe(
                optimizer="sgd",
                learning_rate=2.5e-4,
                momentum=0.9,
                weight_decay=1e-4,
                batch=12,
                epochs=100,
                schedule="poly",
                power=0.9,
                size=417,
                source="PASCAL-5i configuration of the release's base network: the encoder learns at this rate, the "
                "head at ten times.  COCO: 20 epochs, and ten times the rate for the encoder too",
            ),
        )
    }
    config: BAMConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.base = BaseLearner(self._high_channels, self.config.classes)
        self.base.requires_grad_(False)
        self.meta = MetaLearner(self._channels)
        self.ensemble = Ensemble()
        shots = self.config.weighted_shots
        self.kshot_rw: nn.Module | None = (
            make_shot_layers(shots, self.config.kshot_trans_dim) if shots > 1 else None
        )

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """The number of base classes, and the layers that weigh supports."""
        implied: dict[str, Any] = {}
        if (bias := state.get("learner_base.1.4.bias")) is not None and len(bias) > 1:
            implied["classes"] = len(bias) - 1
        if (linear := state.get(f"{_SHOT_LAYERS}weight")) is not None:
            implied |= {"weighted_shots": int(linear.shape[0]), "kshot_trans_dim": 0}
        elif (first := state.get(f"{_SHOT_LAYERS}0.weight")) is not None:
            implied |= {"weighted_shots": int(first.shape[1]), "kshot_trans_dim": int(first.shape[0])}
        return implied

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        return self._predict(query, support, support_mask).final

    def _predict(
        self, query: Features, support: Features, support_mask: Tensor, numbers: Tensor | None = None
    ) -> _Predicted:
        """Predict B episodes; in training the map of base classes leaves out `numbers` (B,), the episodes' own."""
        shots = support_mask.shape[1]
        cells = self.meta.down_query(self._middle(query))
        objects = self._middle({tap: maps.flatten(0, 1) for tap, maps in support.items()})
        objects = self.meta.down_supp(objects).unflatten(0, (-1, shots))
        distances = self._measure_distances(query, support)
        weights = weigh_shots(self.kshot_rw if shots == self.config.weighted_shots else None, distances)
        vectors = average_weighted(objects, resize(support_mask, read_size(objects)))
        vector = (weights.unsqueeze(2) * vectors).sum(dim=1)
        priors = self._priors(query, support, support_mask)
        prior = (weights[:, :, None, None] * priors).sum(dim=1, keepdim=True)
        meta = self.meta(cells, vector, prior)
        base = self.base(query[self._high])
        other = sum_base_classes(base, read_size(meta), numbers)
        final = self.ensemble(meta.softmax(dim=1), other, (weights * distances).sum(dim=1))
        return _Predicted(final, meta, base)

    @torch.no_grad()
    def _measure_distances(self, query: Features, support: Features) -> Tensor:
        """Compute the scene distance of each support to its query, (B, K)."""
        own = resize(query[self._low], read_size(query[self._mid]))
        supports = support[self._low].unbind(1)
        size = read_size(support[self._mid])
        return torch.stack([measure_scene_distance(own, resize(maps, size)) for maps in supports], dim=1)

    def begin_stage(self, name: str) -> None:
        """Prepare for the stage of the base learner; see `Method.begin_stage`."""
        super().begin_stage(name)
        self.base.learns_norms = True

    def train(self, mode: bool = True) -> BAM:
        """Set the mode of all layers, those of the encoder too while the base learner is trained."""
        super().train(mode)
        if self.stage is not None:
            for module in self.backbone.modules():
                module.training = mode
        return self

    def rate_factor(self, name: str) -> float:
        """In the stage `base` the head learns at ten times the rate of the encoder."""
        return 10.0 if name.startswith("base.") else 1.0

    def loss(
        self,
        query: Any,
        support: Any,
        support_mask: Tensor,
        target: Tensor,
        ignore: Tensor,
        numbers: Tensor | None = None,
    ) -> Tensor:
        """Compute the training loss of B episodes, a scalar: of the ensemble, and of the meta learner.

        In the stage `base` it is that of the base learner on the queries.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`; the stage `base` does not read it.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool; in the stage `base` the numbers of their classes, int64.
            ignore: pixels of them that are left out (B, H, W), bool.
            numbers: number of each episode's class (B,), which the map of base classes leaves out; without it that
                map has all classes.
        """
        if self.stage is not None:
            return self._base_loss(query, target, ignore)
        self._require_known(numbers)
        predicted = self._predict(*self.read(query, support), support_mask, numbers)
        return compute_resized_loss(predicted.final, target, ignore) + compute_resized_loss(
            predicted.meta, target, ignore
        )

    def _base_loss(self, query: Any, target: Tensor, ignore: Tensor) -> Tensor:
        self._require_known(target)
        if self.training and len(target) < 2:
            raise UsageError(
                "the base learner of method 'bam' needs two images a forward: its batch norm sees one cell of each. "
                "Next: a larger --batch"
            )
        maps = self.backbone(query, (self._high,)) if isinstance(query, Tensor) else query
        return pixel_loss(resize(self.base(maps[self._high]).float(), read_size(target)), target, ignore)

    def _require_known(self, numbers: Tensor | None) -> None:
        if numbers is not None and int(numbers.max()) > self.config.classes:
            raise UsageError(
                f"method 'bam' has {self.config.classes} base classes and is told of number {int(numbers.max())}. "
                "Next: --set classes=N with the number of classes that are trained on"
            )

    def rename_reference(self, name: str) -> str | None:
        """Own name of an authors' entry."""
        own = rename_release(name)
        return f"ensemble.{own}" if own.startswith(("gram_merge.", "cls_merge.")) else own

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' state dict; in a file of one support all supports weigh the same."""
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        if self.kshot_rw is not None and not any(name.startswith(_SHOT_LAYERS) for name in plain):
            equal = make_shot_layers(self.config.weighted_shots, self.config.kshot_trans_dim)
            plain |= {f"{_SHOT_LAYERS}{name}": value for name, value in equal.state_dict().items()}
        super().load_reference(plain)
