"""FECANet: feature-enhanced context-aware network (Liu et al., IEEE Transactions on Multimedia 2023).

HSNet's cosine volumes each get one more channel: the cosines of what query and support cells look like in their own
neighbourhoods.  Before that, query and support features enhance each other by attention.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from fssbench.api import (
    AT_INFERENCE,
    Ablation,
    FeatureMethod,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
    Taps,
)

from ..hsnet import list_levels
from ..layers.correlation import correlate_levels
from ..layers.feature_maps import mask_features, pick_activated
from ..layers.resize import Size, read_size, resize
from .head import Context, Enhancement, HistoryHead

if TYPE_CHECKING:
    from fssbench.api import Backbone

_ENHANCEMENT = "fem_"
"""How the release's entries of the enhancement modules begin."""
_RELEASE = (
    (r"^fem_1\.", "enhancement.fine."),
    (r"^fem_2\.", "enhancement.middle."),
    (r"^fem_3\.", "enhancement.coarse."),
    (r"\.common_v\.", ".value."),
    (r"\.Trans_s\.", ".expand_support."),
    (r"\.Trans_q\.", ".expand_query."),
    (r"\.ChannelGate\.mlp\.1\.", ".gate.0."),
    (r"\.ChannelGate\.mlp\.3\.", ".gate.2."),
    (r"^ss\.conv\.", "context.near."),
    (r"^ss\.conv1\.", "context.far."),
    (r"\.residule1\.", ".refine.0."),
    (r"\.residule2\.", ".refine.1."),
    (r"\.residule3\.", ".refine.2."),
)
"""Patterns in names of the release, and ours; applied in turn."""


class FECANetConfig(MethodConfig):
    """Settings of FECANet."""

    enhance: bool = True
    """Whether query and support features enhance each other.  The release trains the modules that do it only if it
    runs on two devices or more; on one device they stay the identity."""
    looks: Annotated[int, AT_INFERENCE] = Field(1, ge=1)
    """Number of predictions of an episode; each but the first reads the probabilities of the one before."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "enhancement": Ablation({"enhance": False}, label="w/o enhancement (trained on one device)")
    }


def pick_outputs(backbone: Backbone, levels: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Name the tap with the activated features of each level.

    It is the activation of the level's last tap.  VGG has no such taps; there it is the pool before the level's
    convolutions, as in the release.  If a backbone has neither, it is the level's last tap.

    Args:
        backbone: any backbone with named taps.
        levels: names of taps before their activation, by level.
    """
    names = list(backbone.taps)
    outputs = {}
    for level, taps in levels.items():
        before = names[max(names.index(taps[0]) - 1, 0)]
        outputs[level] = pick_activated(backbone, taps[-1])
        if outputs[level] == taps[-1] and backbone.taps[before].stride == backbone.taps[taps[0]].stride:
            outputs[level] = before
    return outputs


class FECANet(FeatureMethod):
    """Cosine volumes of features and of their contexts; for K shots, one forward each and a vote."""

    card: ClassVar[MethodCard] = MethodCard(
        name="fecanet",
        title="FECANet",
        paper="Huafeng Liu, Pai Peng, Tao Chen, Qiong Wang, Yazhou Yao, Xian-Sheng Hua: FECANet: Boosting Few-Shot "
        "Semantic Segmentation with Feature-Enhanced Context-Aware Network, IEEE Transactions on Multimedia",
        year=2023,
        kind="pixelwise",
        backbone="resnet50",
        size=400,
        trained=True,
        reference="NUST-Machine-Intelligence-Laboratory/FECANET@4d8d1fe",
        licence="none",
        training="Cross-entropy over all pixels; Adam, learning rate 1e-3, constant; batch 20, 300 epochs, one "
        "support, no augmentation, best validation mIoU kept; an earlier prediction of the same query is given with "
        "probability 0.3; pixels of value 255 count as background in the loss.",
        parity=("fecanet_resnet50_200: logits of one support, mask of five, to 1e-4",),
        notes=(
            Note(
                "corrected",
                "The release trains its enhancement modules on two devices or more. On one device they are hidden "
                "from the optimiser and stay the identity, which has the published 3.5 million learnable parameters "
                "(`--ablate enhancement`).",
            ),
            Note(
                "corrected",
                "The reference feeds each query its earlier prediction from another episode, when the random "
                "sampler has drawn the query before. Here the history is empty, and `looks=2` gives an episode its "
                "own first prediction.",
            ),
            Note("differs", "`fssbench train` always trains with an empty history."),
            Note(
                "reproduced",
                "The mutual attention of query and support weighs values of the image itself, not of the other.",
            ),
            Note("reproduced", "The volumes compare unmasked support features; only the context is masked."),
            Note(
                "reproduced",
                "Each residual block is added to the squeezed volumes, and not to the block before it.",
            ),
            Note(
                "corrected",
                "VGG-16 works at 400 px only in the reference, which resizes its last pool to 13 x 13 cells; here it "
                "is resized to half of the level before, rounded up.",
            ),
            Note(
                "remark",
                "Other backbones: the taps of the last three stages; the reference knows ResNet-50 and VGG-16.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = FECANetConfig
    shots: ClassVar[Literal["joint", "vote"]] = "vote"
    replayable: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="adam",
        learning_rate=1e-3,
        batch=20,
        epochs=300,
        source="training script of the release",
    )
    loss_ignores: ClassVar[bool] = False
    config: FECANetConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self._levels = dict(zip(("coarse", "middle", "fine"), list_levels(self.backbone), strict=True))
        self._outputs = pick_outputs(self.backbone, self._levels)
        coarse, middle, fine = (len(taps) + 1 for taps in self._levels.values())
        self.hpn_learner = HistoryHead((coarse, middle, fine))
        self.context = Context()
        self.enhancement = nn.ModuleDict()
        if self.config.enhance:
            for level, tap in self._outputs.items():
                self.enhancement[level] = Enhancement(self.backbone.taps[tap].channels)

    @classmethod
    def settings_of(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Whether the weights come from a training in which the enhancement modules learned."""
        return {"enhance": any(name.startswith(_ENHANCEMENT) for name in state)}

    @property
    def taps(self) -> Taps:
        """All blocks of the last three stages and the output of each, of query and support alike."""
        every = (*sum(self._levels.values(), ()), *self._outputs.values())
        return Taps(query=tuple(dict.fromkeys(every)), support=tuple(dict.fromkeys(every)))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) at half the finest tap's stride, from one support for each query."""
        dense_query: dict[str, Tensor] = {}
        dense_support: dict[str, Tensor] = {}
        levels: list[tuple[str, ...]] = []
        half: Size | None = None  # half of the plane of the finer level, rounded up
        for level, taps in reversed(self._levels.items()):
            output = self._outputs[level]
            size = half or read_size(query[output])
            context_query = resize(query[output], size)
            context_support = resize(mask_features(support[output], support_mask)[:, 0], size)
            for tap in taps:
                dense_query[tap] = resize(query[tap], size)
                dense_support[tap] = resize(support[tap][:, 0], size)
            if level in self.enhancement:
                context_query, context_support = self.enhancement[level](context_query, context_support)
            context = f"context of {level}"
            dense_query[context] = self.context(context_query)
            dense_support[context] = self.context(context_support)
            levels.insert(0, (*taps, context))
            half = -(-size[0] // 2), -(-size[1] // 2)
        volumes = correlate_levels(levels, dense_query, dense_support)
        looks = 1 if self.training else self.config.looks  # a training has an empty history
        logits: Tensor = self.hpn_learner(volumes, looks=looks)
        return logits

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Load weights in the authors' key layout; without enhancement modules if they have none.

        Raises:
            DataError: for missing or unknown entries, or shapes that differ, naming them.
        """
        if self.config.enhance and not any(_ENHANCEMENT in name for name in state):
            self.config = self.config.model_copy(update={"enhance": False})
            self.enhancement = nn.ModuleDict()
        super().load_reference(state)

    def rename_reference(self, name: str) -> str | None:
        """Own name of an entry of the release."""
        for pattern, own in _RELEASE:
            name = re.sub(pattern, own, name)
        return name
