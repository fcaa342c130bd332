"""PATNet: pyramid anchor transformation (Lei, Zhang, He, Chen, Du, Lu, ECCV 2022).

A linear map transforms the features of each tap before HSNet compares query and support.  It maps the background and
foreground prototypes of the support to two learnt anchors, which are the same for every domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import (
    AT_INFERENCE,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Predictor,
    Recipe,
    select_support,
)

from .hsnet import HSNet, HSNetConfig
from .layers.prototypes import average_over, scale_to_unit
from .layers.resize import read_size, resize
from .layers.volume import crop

if TYPE_CHECKING:
    from fssbench.api import Backbone

_EPS = 1e-6
_TUNED = 1
"""Number of the anchors that fine-tuning changes."""
_FIRST_LEVEL = 4
"""Number of taps of the first level in ResNet-50.  The reference uses this number on VGG-16 too."""


class PATNetConfig(HSNetConfig):
    """Settings of PATNet."""

    anchors_by_stage: bool = False
    """On VGG-16, whether each stage has its own anchors.  The reference counts taps as in ResNet-50.  The first four
    taps use the first anchors, although one of them belongs to the next stage.  All others use the second
    anchors, and none uses the third.  On other backbones anchors always depend on stage and width."""
    finetune: Annotated[int, AT_INFERENCE] = Field(0, ge=0)
    """Steps of the paper's fine-tuning at test time, per episode.  0 as in the published test."""
    finetune_rate: Annotated[float, AT_INFERENCE] = Field(1e-3, gt=0)
    """Learning rate of the fine-tuning (Adam).  The paper states 1e-3 on DeepGlobe and ISIC, and 5e-5 on
    radiographs and FSS-1000."""


class PATNet(HSNet):
    """HSNet on features that are transformed to learnt anchors."""

    card: ClassVar[MethodCard] = MethodCard(
        name="patnet",
        title="PATNet",
        paper="Shuo Lei, Xuchao Zhang, Jianfeng He, Fanglan Chen, Bowen Du, Chang-Tien Lu: Cross-Domain "
        "Few-Shot Semantic Segmentation, ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="slei109/PATNet@0155c5f",
        licence="none",
        training="Cross-entropy over all pixels; Adam, learning rate 1e-3, constant; batch 20, one support, no "
        "augmentation, on all twenty classes of PASCAL VOC; model chosen on FSS-1000.",
        parity=("patnet_resnet50_400: logits of one support, mask of five, to 1e-4",),
        notes=(
            Note("reproduced", "Biases of the anchors are counted as parameters and never used."),
            Note(
                "reproduced",
                "On VGG-16, taps are given anchors by ResNet-50's positions, and the third anchors "
                "are never used (`--set anchors_by_stage=true` corrects it).",
            ),
            Note(
                "remark",
                "Off by default, as in the published test: the paper's fine-tuning at test time (`--set "
                "finetune=STEPS`). "
                "The release has a function for it that nothing calls, that takes the query's mask, and whose loss "
                "reaches the encoder but no anchor.  Corrected here: the mask is the present prediction, "
                "prototypes are "
                "compared after the transform, and the first level's anchors learn, in each episode anew.  Steps and "
                "optimiser are not published.",
            ),
            Note("remark", "The transform has rank 2: after it, features differ along two directions only."),
            Note(
                "remark",
                "Other backbones: one pair of anchors for each stage and width among the taps of the last three "
                "stages; the reference knows ResNet-50 and VGG-16.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = PATNetConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adam",
        learning_rate=1e-3,
        batch=20,
        epochs=2000,
        source="paper (batch) and training script of the release",
    )
    loss_ignores: ClassVar[bool] = False
    waivers: ClassVar[dict[str, str]] = {
        "loss_reaches_what_learns": "the reference layers have biases, as published, and only their weights are used"
    }
    config: PATNetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        shallow_first = [name for level in reversed(self._levels) for name in level]
        groups = {name: (tap.stage, tap.channels) for name, tap in self.backbone.taps.items()}
        distinct = sorted({groups[name] for name in shallow_first})
        self._anchors = {name: distinct.index(groups[name]) + 1 for name in shallow_first}
        if self.backbone.name == "vgg16" and not self.config.anchors_by_stage:
            self._anchors = {name: 1 if i < _FIRST_LEVEL else 2 for i, name in enumerate(shallow_first)}
        for number, (_, channels) in enumerate(distinct, start=1):
            layer = nn.Linear(channels, 2)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
            self.add_module(f"reference_layer{number}", layer)

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Compute logits (B, 2, h, w) at half the finest tap's stride, from one support per query."""
        return self._match(query, support, support_mask, self._anchor_rows())

    def _anchor_rows(self) -> dict[int, Tensor]:
        numbers = set(self._anchors.values())
        return {number: self.get_parameter(f"reference_layer{number}.weight") for number in numbers}

    def _match(
        self, query: Features, support: Features, support_mask: Tensor, rows: Mapping[int, Tensor]
    ) -> Tensor:
        """Compute logits with given anchors, by number."""
        cells, objects = {}, {}
        windows = self.find_windows(support, support_mask)
        by_tap = {tap: w for level, w in zip(self._levels, windows, strict=True) for tap in level}
        for tap, number in self._anchors.items():
            features = support[tap][:, 0]
            mask = resize(support_mask, read_size(features))
            axes = _make_axes(_make_coordinates(features, mask), rows[number])
            cells[tap] = _map_to_axes(query[tap], axes)
            objects[tap] = _map_to_axes(crop(features, by_tap[tap]) * crop(mask, by_tap[tap]), axes)
        return self.match(cells, objects, windows)

    @property
    def steps(self) -> int:
        """Steps of fine-tuning.  0 by default, and in training, because fine-tuning belongs to the test."""
        return 0 if self.training else self.config.finetune

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Change a copy of the first anchors until the predicted object and the support objects agree.

        Nothing is drawn at random.  See `Method.adapt`.
        """
        rows = {number: anchors.detach().clone() for number, anchors in self._anchor_rows().items()}
        moved = rows[_TUNED].requires_grad_()
        optimiser = torch.optim.Adam([moved], lr=self.config.finetune_rate)
        shots = range(support_mask.shape[1])
        for _ in range(steps):
            with torch.no_grad():
                each = [
                    self._match(query, select_support(support, k), support_mask[:, k : k + 1], rows).softmax(
                        1
                    )
                    for k in shots
                ]
                predicted = (torch.stack(each).mean(dim=0)[:, 1:] > 0.5).to(support_mask.dtype)
            if not bool(predicted.any()):
                break  # nothing to compare with
            with torch.enable_grad():
                loss = torch.stack(
                    [
                        self.compute_divergence(query, support, support_mask, predicted, moved, k)
                        for k in shots
                    ]
                ).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        rows = {number: anchors.detach() for number, anchors in rows.items()}
        return lambda q, s, m: self._match(q, s, m, rows)

    def compute_divergence(
        self,
        query: Features,
        support: Features,
        support_mask: Tensor,
        predicted: Tensor,
        anchors: Tensor,
        k: int,
    ) -> Tensor:
        """Compute the divergence of the objects of query and support `k`, summed over the first anchors' taps."""
        total = anchors.new_zeros(())
        for tap in (tap for tap, number in self._anchors.items() if number == _TUNED):
            features = support[tap][:, k]
            mask = resize(support_mask[:, k : k + 1], read_size(features))
            query_object = resize(predicted, read_size(features))
            coordinates = _make_coordinates(features, mask)
            ours, theirs = (
                _transform(
                    average_over(maps, weights, (2, 3), eps=_EPS, keepdim=True), coordinates, anchors
                ).flatten(1)
                for maps, weights in ((query[tap], query_object), (features, mask))
            )
            total = total + functional.kl_div(ours.log_softmax(dim=1), theirs.softmax(dim=1), reduction="sum")
        return total


def _make_coordinates(support: Tensor, mask: Tensor) -> Tensor:
    """Compute the map from features to their coordinates in the background and foreground prototypes.

    Args:
        support: support features (B, C, h, w).
        mask: masks (B, 1, h, w), values 0..1.

    Returns:
        The transposed pseudo-inverse (B, 2, C) of the prototypes, each of unit length.
    """
    weights = torch.stack([1 - mask, mask], dim=1)
    prototypes = average_over(support.unsqueeze(1), weights, (3, 4), eps=_EPS)
    return torch.linalg.pinv(scale_to_unit(prototypes, -1, eps=_EPS)).transpose(1, 2)


def _make_axes(coordinates: Tensor, anchors: Tensor) -> Tensor:
    """Compute the map (B, 2, C) from features to the plane that the anchors (2, C) span, in an orthonormal basis of it.

    Transformed features lie in that plane, so that their lengths and cosines need two numbers per cell in place of C.
    """
    triangle = torch.linalg.qr(scale_to_unit(anchors, -1, eps=_EPS).transpose(0, 1)).R
    return torch.matmul(triangle, coordinates)


def _map_to_axes(features: Tensor, axes: Tensor) -> Tensor:
    """Map features (B, C, h, w) to their place in the plane of the anchors (B, 2, h, w)."""
    return torch.bmm(axes, features.flatten(2)).unflatten(2, features.shape[-2:])


def _transform(features: Tensor, coordinates: Tensor, anchors: Tensor) -> Tensor:
    """Express features (B, C, h, w) in the prototypes, and replace the prototypes by the anchors (2, C)."""
    written = torch.bmm(coordinates, features.flatten(2))
    return torch.matmul(scale_to_unit(anchors, -1, eps=_EPS).transpose(0, 1), written).view_as(features)
