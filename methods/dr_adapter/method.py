"""DR-Adapter: domain-rectifying adapters (Su, Fan, Pei, Lu, Chen, CVPR 2024) on SSP.

Adapters after the stem and the first two stages change the channel statistics of each image towards those of the
training images.  In training, random changes of these statistics imitate other domains, and the adapters learn to undo
the changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import (
    AT_INFERENCE,
    Ablation,
    DataError,
    EncodingMethod,
    Features,
    ImageMethod,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
)

from ..layers.resize import read_size, resize
from ..layers.self_support import Prototypes, add_self_support, average_shots
from ..layers.supervision import compute_resized_loss
from .encoder import CutEncoder
from .perturbation import Perturbation, TrainingStyle
from .rectification import SMALLEST_SIDE, Adapter, Statistics, ask_adapter, measure, rectify

if TYPE_CHECKING:
    from fssbench.api import Backbone

_DEEP_STEM = ("resnet50", "resnet101")
_SUPPORT_WEIGHT = 0.2
_EPS = 1e-6
_CELLS = "cells"


class DRAdapterConfig(MethodConfig):
    """Settings of DR-Adapter."""

    rectify: Annotated[bool, AT_INFERENCE] = True
    """Whether the adapters change statistics when the method predicts."""
    perturb: Literal["both", "local", "global"] = "both"
    """Changes of statistics that the training draws: relative to the mean of the image (`local`), or to that of all
    training images (`global`)."""
    cyclic: float = Field(2.0, ge=0)
    """Weight of the cyclic loss, which asks for the statistics of before the change."""
    distance: Literal["auto", "absolute", "relative"] = "auto"
    """Distance of the cyclic loss: `absolute`, as published, or divided by the mean size of the wanted statistics.
    `auto` is absolute for ResNets and relative for others, whose maps may have variances of several hundred."""
    lasting: int = Field(3420, ge=1)
    """Number of forwards for which the noise of the global change stays the same.  The reference draws it anew in each
    epoch, which is 3,420 steps of 4 episodes on PASCAL VOC."""
    small: Annotated[Literal["skip", "refuse"], AT_INFERENCE] = "skip"
    """What is done if a map has a side of less than 38 cells, which an adapter cannot read: its rectification is left
    out, or the input is refused."""
    stem: Literal["deep", "plain"] = "deep"
    """Stem of a ResNet.  `deep`: three 3x3 convolutions, as in the reference.  `plain`: one 7x7 convolution, which
    fits torchvision's weights.  Other backbones have their own stem."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "rectification": Ablation({"rectify": False}, label="w/o rectification"),
        "local": Ablation({"perturb": "global"}, label="w/o local perturbation"),
        "global": Ablation({"perturb": "local"}, label="w/o global perturbation"),
        "cyclic": Ablation({"cyclic": 0.0}, label="w/o cyclic loss"),
    }


class Losses(NamedTuple):
    """The terms of the training loss, before their weights, each a scalar."""

    main: Tensor
    """Cross-entropy of the self-supported prediction of the queries."""
    own: Tensor
    """That of the queries by the prototypes of their own truth."""
    support: Tensor
    """That of the supports by the prototypes of their own masks."""
    cyclic: Tensor
    """Mean distance of statistics, over the rectified cuts; 0 if nothing was perturbed."""


class _Trace:
    """Collects at each cut what statistics should be and what the adapter asks for, of queries and of supports."""

    def __init__(self, *, relative: bool) -> None:
        self._relative = relative
        self._cuts: dict[int, list[tuple[Statistics, Statistics, Statistics]]] = {}

    def add(self, cut: int, wanted: Statistics, first: Statistics, second: Statistics) -> None:
        """Add one set of images: the wanted statistics, and those of the first and of the second rectification."""
        self._cuts.setdefault(cut, []).append((wanted, first, second))

    def compute_loss(self, like: Tensor) -> Tensor:
        """Compute the cyclic loss, a scalar on the device of `like`."""
        terms = []
        for sets in self._cuts.values():
            wanted, *answers = (
                [torch.cat(each) for each in zip(*kind, strict=True)] for kind in zip(*sets, strict=True)
            )
            pairs = [pair for answer in answers for pair in zip(wanted, answer, strict=True)]
            terms.append(torch.stack([self._measure_distance(*pair) for pair in pairs]).sum())
        return torch.stack(terms).mean() if terms else like.new_zeros(())

    def _measure_distance(self, wanted: Tensor, answer: Tensor) -> Tensor:
        """Measure the mean distance of statistics (N, C, 1, 1), a scalar."""
        distance = functional.l1_loss(answer, wanted)
        return distance / (wanted.abs().mean() + _EPS) if self._relative else distance


class DRAdapter(EncodingMethod, ImageMethod):
    """SSP's self-support on features whose statistics adapters correct.  Prototypes of K supports are averaged."""

    card: ClassVar[MethodCard] = MethodCard(
        name="dr-adapter",
        title="DR-Adapter",
        paper="Jiapeng Su, Qi Fan, Wenjie Pei, Guangming Lu, Fanglin Chen: Domain-Rectifying Adapter for "
        "Cross-Domain Few-Shot Segmentation, CVPR",
        year=2024,
        kind="prototype",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="Matt-Su/DR-Adapter@6223dfd",
        licence="none",
        learnable=59_250_752,
        training="Cross-entropy of the query's self-supported prediction and of its prediction by its own prototypes, "
        "0.2 of the supports' by theirs, and 2 times the cyclic loss; SGD, learning rate 1e-3, constant, momentum 0.9, "
        "weight decay 5e-4; 4 epochs on all of PASCAL VOC, batch 4; the whole network learns, batch norm included.",
        parity=(
            "dradapter_resnet50_320: logits of one and five supports, features, statistics, and the losses and "
            "gradients of four kinds of training forwards, to 1e-4",
        ),
        notes=(
            Note(
                "reproduced",
                "Maps are divided by and multiplied with variances where the paper writes standard deviations. Their "
                "factor is therefore one plus the adapter's number, and not the root of that.",
            ),
            Note(
                "reproduced",
                "A training forward without perturbation, a quarter of them, is not rectified; a test always is.",
            ),
            Note(
                "reproduced",
                "Local noise is applied again in the second rectification if both kinds are drawn.",
            ),
            Note(
                "corrected",
                "The released test ends with an index error with several supports, and a list of supports is cut to "
                "its first. Here each support runs alone, and their prototypes are averaged as in SSP, which the paper "
                "describes. The published figures of five supports come from code that is not public.",
            ),
            Note(
                "corrected",
                "The reference chooses its checkpoint by the mIoU on the target's test set. Here the target is not "
                "seen: the checkpoint is the last one or that of the best validation on the source.",
            ),
            Note(
                "differs",
                "The reference first runs an epoch without learning to gather the running statistics. Here they are "
                "corrected for their short history, learning begins at once, and the first forward has no global "
                "perturbation.",
            ),
            Note(
                "remark",
                "The reference starts from SSP's weights, trained on VOC (`Ori_SSP_trained_on_VOC.pth`): "
                "`fssbench train --weights FILE`. Without them the encoder starts from the backbone's own weights.",
            ),
            Note(
                "remark",
                "An adapter takes 36 cells from each side. The smallest input with which all three are used is 297 px "
                "for the ResNets of the reference (stride 8 at the last cut).",
            ),
            Note(
                "choice",
                "Below that the rectification of a cut is left out (`small=skip`), which the paper does not define.",
            ),
            Note(
                "remark",
                "Other backbones: cuts at the last taps before stage 1, of stage 1 and of stage 2. The distance of "
                "their cyclic loss is relative, because variances of EfficientNet-Lite0 are several hundred.",
            ),
            Note(
                "remark", "Pixels marked 255 in a support count as background; the reference leaves them out."
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = DRAdapterConfig
    waivers: ClassVar[dict[str, str]] = {
        "loss_honours_ignore": "one term takes prototypes from the query's mask, in which ignored pixels are "
        "background, as in SSP"
    }
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        batch=4,
        epochs=4,
        source="training script of the release, without its first epoch, in which nothing learns",
    )
    needs_backbone: ClassVar[bool] = True
    reference_backbone: ClassVar[str] = ""
    config: DRAdapterConfig
    backbone: Backbone

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.encoder = CutEncoder(self.backbone)
        self.adapters = nn.ModuleList(Adapter(channels) for channels in self.encoder.channels)
        choice = self.config.distance
        self._relative = choice == "relative" or (choice == "auto" and not self.encoder.is_resnet)
        self._style = TrainingStyle(self.encoder.channels, self.config.lasting)

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """Return the layout of the reference's ResNet, unless `stem` is `plain`."""
        deep = backbone in _DEEP_STEM and getattr(config, "stem", "deep") == "deep"
        return "ssp" if deep else "standard"

    def encode(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the rectified map (N, C, h, w) of the third stage."""
        return {_CELLS: self.encoder.run(images, self._rectify)}

    def match(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) on the grid of the third stage."""
        cells, objects = query[_CELLS], support[_CELLS].flatten(0, 1)
        prototypes = average_shots(_pool(objects, support_mask.flatten(0, 1)), support_mask.shape[1])
        return add_self_support(prototypes, cells, prototypes.logits(cells)).logits(cells)

    def loss(
        self, query: Tensor, support: Tensor, support_mask: Tensor, target: Tensor, ignore: Tensor
    ) -> Tensor:
        """Compute the training loss of B episodes, a scalar.  The card lists its terms.

        In training mode a perturbation is drawn, and the running statistics move.  Arguments as for `Method.loss`.
        """
        perturbations = None
        if self.training:
            kinds = ("local", "global") if self.config.perturb == "both" else (self.config.perturb,)
            perturbations = self._style.draw(len(query), query.device, kinds)
        terms = self.compute_losses(query, support, support_mask, target, ignore, perturbations)
        total = terms.main + terms.own + _SUPPORT_WEIGHT * terms.support + self.config.cyclic * terms.cyclic
        # adapters that had no part in it get a gradient of zero, which training on several devices needs
        return total + 0.0 * torch.stack([p.sum() for p in self.adapters.parameters()]).sum()

    def compute_losses(
        self,
        query: Tensor,
        support: Tensor,
        support_mask: Tensor,
        target: Tensor,
        ignore: Tensor,
        perturbations: list[Perturbation] | None,
    ) -> Losses:
        """Compute the terms of the training loss.

        Args:
            query: images (B, 3, H, W).
            support: images (B, K, 3, H, W).
            support_mask: masks (B, K, H, W), values 0 and 1.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of the queries that are marked 255 (B, H, W), bool.
            perturbations: one per cut; None for a forward without perturbation, which is not rectified either.
        """
        shots = support_mask.shape[1]
        trace, seen = _Trace(relative=self._relative), dict[int, list[Statistics]]()

        def change(cut: int, maps: Tensor, repeats: int) -> Tensor:
            if self.training and maps[0, 0].numel() > 1:
                seen.setdefault(cut, []).append(measure(maps.detach()))
            if perturbations is None or not self._is_large_enough(maps):
                return maps
            return self._perturb_and_rectify(cut, maps, perturbations[cut].of_supports(repeats), trace)

        cells = self.encoder.run(query, lambda cut, maps: change(cut, maps, 1))
        objects = self.encoder.run(support.flatten(0, 1), lambda cut, maps: change(cut, maps, shots))
        for cut, statistics in seen.items():
            self._style.add(cut, Statistics(*(torch.cat(each) for each in zip(*statistics, strict=True))))
        supports = support_mask.flatten(0, 1)
        each = _pool(objects, supports)
        prototypes = average_shots(each, shots)
        predicted = add_self_support(prototypes, cells, prototypes.logits(cells)).logits(cells)
        own = _pool(cells, target.to(cells.dtype)).logits(cells)
        truth, nothing = supports.bool(), torch.zeros_like(supports, dtype=torch.bool)
        return Losses(
            compute_resized_loss(predicted, target, ignore),
            compute_resized_loss(own, target, ignore),
            compute_resized_loss(each.logits(objects), truth, nothing),
            trace.compute_loss(cells),
        )

    def _rectify(self, cut: int, maps: Tensor) -> Tensor:
        """Give maps (N, C, h, w) at a cut the statistics that the adapter asks for."""
        if not self.config.rectify or not self._is_large_enough(maps):
            return maps
        return rectify(maps, self.adapters[cut]).maps

    def _perturb_and_rectify(
        self, cut: int, maps: Tensor, perturbation: Perturbation, trace: _Trace
    ) -> Tensor:
        """Perturb and rectify maps (N, C, h, w) at a cut.  What the cyclic loss compares goes to the trace."""
        adapter = self.adapters[cut]
        wanted = perturbation.find_target(maps)
        first = rectify(perturbation.apply(maps), adapter)
        again, statistics = perturbation.perturb_again(first.maps, first.statistics)
        trace.add(cut, wanted, first.statistics, ask_adapter(again, statistics, adapter))
        return first.maps

    def _is_large_enough(self, maps: Tensor) -> bool:
        """Whether an adapter can read maps (N, C, h, w).

        Raises:
            DataError: if it cannot, and the settings ask to refuse such input.
        """
        height, width = read_size(maps)
        if min(height, width) >= SMALLEST_SIDE:
            return True
        if self.config.small == "refuse":
            raise DataError(
                f"method 'dr-adapter' has a map of {height} x {width} cells, and its adapters need "
                f"{SMALLEST_SIDE} x {SMALLEST_SIDE}. Next: a larger --size, or --set small=skip"
            )
        return False

    def training_memory(self) -> dict[str, Tensor]:
        """Return the running statistics of the training images, and the noise that lasts."""
        return self._style.store()

    def restore_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Take back what `training_memory` returned."""
        self._style.restore(memory)

    def rename_reference(self, name: str) -> str | None:
        """Return our name of an entry of the authors' checkpoint."""
        return f"adapters.{name.removeprefix('DR_Adapter.')}" if name.startswith("DR_Adapter.") else name

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load the authors' state dict.  The encoder's entries go to the backbone and to the trained copy."""
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        super().load_reference({**plain, **self.encoder.entries(plain, "encoder.")})


def _pool(maps: Tensor, masks: Tensor) -> Prototypes:
    """Make prototypes of maps (N, C, h, w) under masks (N, H, W) with values 0 and 1."""
    return Prototypes.of_mask(maps, resize(masks.unsqueeze(1), read_size(maps))[:, 0])
