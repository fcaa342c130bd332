"""RTD: meta-memory transfer (Wang, Duan, Wang, En, Fan, Zhang, CVPR 2022), built from the paper's abstract.

No code is public, and the section on the method could not be read.  A memory keeps how the feature statistics of single
training images differ from those of the training domain.  In training it makes second views of images.  At test time it
helps to correct the statistics of images of another domain.  The card says which parts are stated, inferred or chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fssbench.api import (
    AT_INFERENCE,
    NO_REFERENCE,
    Ablation,
    FeatureMethod,
    Features,
    MethodCard,
    MethodConfig,
    Note,
    Recipe,
    Taps,
)

from ..layers.canet_head import Context, make_residual_pair
from ..layers.feature_maps import list_stages, pick_activated
from ..layers.pfenet_head import WIDTH, make_classifier, make_reduction
from ..layers.prototypes import average_weighted
from ..layers.resize import read_size, resize
from ..layers.supervision import compute_resized_loss
from .style import Enhancement, StyleMemory, change_style, measure_style

if TYPE_CHECKING:
    from fssbench.api import Backbone

_DEEP_STEM = ("resnet50", "resnet101")
_TEMPERATURE = 0.1


class RTDConfig(MethodConfig):
    """Settings of RTD."""

    slots: int = Field(default=64, ge=1)
    """Number of style differences that the memory holds."""
    contrast: float = Field(default=0.1, ge=0)
    """Weight of the contrastive loss."""
    transfer: Annotated[bool, AT_INFERENCE] = True
    """Whether the statistics of images are corrected with the memory when the method predicts."""
    layout: Literal["deepstem", "standard"] = "deepstem"
    """Which form of a ResNet: `deepstem` is that of the PFENet family (dilated, output stride 8), `standard` takes
    torchvision's weights.  Other backbones have one form."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "transfer": Ablation({"transfer": False}, label="w/o memory transfer"),
        "contrast": Ablation({"contrast": 0.0}, label="w/o contrastive loss"),
    }


class PrototypeHead(nn.Module):
    """Classifies query cells beside one support vector: reduction, context at five ranges, residual pair, classifier.

    Args:
        channels: channels of the encoded maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = make_reduction(channels)
        self.merge = make_reduction(2 * WIDTH)
        self.context = Context()
        self.reduce = make_reduction(5 * WIDTH)
        self.refine = make_residual_pair(WIDTH, bias=False)
        self.classify = make_classifier()

    def forward(self, cells: Tensor, vector: Tensor) -> Tensor:
        """Logits (B, 2, h, w) from narrowed cells (B, 256, h, w) and vectors (B, 256)."""
        beside = vector[:, :, None, None].expand(-1, -1, *read_size(cells))
        maps = self.reduce(self.context(self.merge(torch.cat([cells, beside], dim=1))))
        logits: Tensor = self.classify(maps + self.refine(maps))
        return logits


class RTD(FeatureMethod):
    """Prototype network whose input statistics are corrected by a memory; vectors of K supports are averaged."""

    card: ClassVar[MethodCard] = MethodCard(
        name="rtd",
        title="RTD",
        paper="Wenjian Wang, Lijuan Duan, Yuxi Wang, Qing En, Junsong Fan, Zhaoxiang Zhang: Remember the Difference: "
        "Cross-Domain Few-Shot Semantic Segmentation via Meta-Memory Transfer, CVPR",
        year=2022,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference=NO_REFERENCE,
        licence="none",
        learnable=4_794_882,
        training="Not published. Chosen here: cross-entropy of both views and 0.1 times a contrastive loss; SGD, "
        "momentum 0.9, weight decay 1e-4, learning rate 2.5e-3, polynomial decay 0.9; batch 8, 50 epochs.",
        notes=(
            Note(
                "stated",
                "Training and test episodes are of different domains; no target data are trained on.",
            ),
            Note(
                "stated",
                "A memory stores style information of source images, and transfers it to target images.",
            ),
            Note(
                "stated",
                "A contrastive loss explores knowledge of categories; its pairs come from styles of the memory.",
            ),
            Note("stated", "The PMNet paper adds that there are two stages, and that features are enhanced."),
            Note(
                "inferred",
                "On COCO-20i to PASCAL-5i, the published folds rise from 0 to 3 as those of RePRI, HSNet and VAT do. "
                "So they follow the same rule for classes that both data sets have.",
            ),
            Note(
                "choice",
                "Host: a prototype network of the PFENet family without prior. The second and third stage are reduced "
                "to 256 channels; the averaged support vector stands beside each query cell; CANet's context module "
                "and PFENet's classifier follow. The backbone is frozen.",
            ),
            Note(
                "choice",
                "Style: mean and logarithm of the standard deviation of the first stage's channels. The domain's style "
                "is a running mean of rate 0.01 over training images.",
            ),
            Note(
                "choice",
                "Memory: 64 slots with learned keys of 128 numbers. In training, a difference moves each slot by 0.05 "
                "of its share; the shares are a softmax of cosines divided by 0.1.",
            ),
            Note(
                "choice",
                "Second view: every image gets the domain's style plus a random share of a random other slot.",
            ),
            Note(
                "choice",
                "Contrast: the support vectors of both views of an episode attract each other, and are repelled by "
                "the background vectors of both views. Vectors of other episodes are not used, so that the loss of an "
                "episode does not depend on its batch.",
            ),
            Note(
                "choice",
                "Transfer: two layers turn the difference of an image and the memory's answer into a change of style. "
                "They learn to undo the second view, by mean squared error. This loss and that of the host share no "
                "parameters, so both stages are trained at once.",
            ),
            Note("remark", "Without training the correction is zero, and the method is its host."),
            Note("remark", "The paper states no number of parameters."),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = RTDConfig
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=2.5e-3,
        momentum=0.9,
        weight_decay=1e-4,
        batch=8,
        epochs=50,
        schedule="poly",
        power=0.9,
        source="chosen here, near the recipes of the PFENet family, since the paper's is not public",
    )
    config: RTDConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        first, second, third = (stage[-1] for stage in list_stages(self.backbone, 3)[:3])
        self._styled, self._low, self._mid = (
            pick_activated(self.backbone, tap.name) for tap in (first, second, third)
        )
        self.head = PrototypeHead(second.channels + third.channels)
        self.memory = StyleMemory(first.channels, self.config.slots, key=128)
        self.enhance = Enhancement(first.channels, hidden=128)

    @classmethod
    def backbone_layout(cls, backbone: str, config: MethodConfig) -> str:
        """The dilated form with a deep stem if the backbone has it and the settings do not choose another."""
        wanted = isinstance(config, RTDConfig) and config.layout == "deepstem" and backbone in _DEEP_STEM
        return "deepstem" if wanted else "standard"

    @property
    def taps(self) -> Taps:
        """The first stage of query and support; the deeper stages are run after its statistics are corrected."""
        return Taps(query=(self._styled,), support=(self._styled,))

    def logits(self, query: Features, support: Features, support_mask: Tensor) -> Tensor:
        """Logits (B, 2, h, w) on the third stage's grid, from all K supports jointly."""
        cells, objects = query[self._styled], support[self._styled].flatten(0, 1)
        if self.config.transfer:
            cells, objects = self._correct(cells), self._correct(objects)
        logits: Tensor = self.head(self._encode(cells), self._pool(self._encode(objects), support_mask))
        return logits

    def _correct(self, maps: Tensor) -> Tensor:
        """Correct the style of maps (B, C, h, w) of the first stage with the memory."""
        style = measure_style(maps)
        change = self.enhance(self.memory.subtract_domain(style), self.memory.load(style))
        return change_style(maps, style, change)

    def _encode(self, maps: Tensor) -> Tensor:
        """Run maps of the first stage through the next two: (B, 256, h, w)."""
        deeper = self.backbone.resume(maps, self._styled, (self._low, self._mid))
        mid = deeper[self._mid]
        narrowed: Tensor = self.head.narrow(
            torch.cat([mid, resize(deeper[self._low], read_size(mid))], dim=1)
        )
        return narrowed

    def _pool(self, objects: Tensor, masks: Tensor) -> Tensor:
        """Average object cells (B * K, 256, h, w) under masks (B, K, H, W), then over the supports: (B, 256)."""
        weights = resize(masks, read_size(objects))
        return average_weighted(objects.unflatten(0, masks.shape[:2]), weights).mean(dim=1)

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute the losses of both views, the contrastive loss and that of the correction, averaged over episodes.

        In training mode, the memory then stores the styles of the images.  Arguments as for `Method.loss`.
        """
        query, support = self.read(query, support)
        cells, objects = query[self._styled], support[self._styled].flatten(0, 1)
        images = (cells, objects)
        styles = [measure_style(maps) for maps in images]
        changes = [self.memory.draw_change(style, fixed=not self.training) for style in styles]
        views = (images, [change_style(*given) for given in zip(images, styles, changes, strict=True)])
        total = torch.zeros((), device=target.device)
        vectors, backgrounds = [], []
        for seen_query, seen_support in views:
            encoded = self._encode(seen_support)
            vectors.append(self._pool(encoded, support_mask))
            backgrounds.append(self._pool(encoded, 1 - support_mask))
            total = total + compute_resized_loss(
                self.head(self._encode(seen_query), vectors[-1]), target, ignore
            )
        total = total + self.config.contrast * contrast_views(vectors, backgrounds).mean()
        style, change = torch.cat(styles), torch.cat(changes)
        total = total + self._miss(style + change, -change)
        if self.training:
            self.memory.store(style)
        return total

    def _miss(self, style: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared error of the change (B, 2C) that styles (B, 2C) get, against the one that is wanted."""
        change = self.enhance(self.memory.subtract_domain(style), self.memory.load(style))
        return functional.mse_loss(change, wanted)


def contrast_views(vectors: list[Tensor], backgrounds: list[Tensor]) -> Tensor:
    """Compute InfoNCE of the object vectors of two views, with the backgrounds of both as negatives: (B,).

    Args:
        vectors: object vectors (B, C), one tensor per view.
        backgrounds: background vectors (B, C), one tensor per view.
    """
    first, second = vectors
    others = [second, *backgrounds]
    scores = [functional.cosine_similarity(first, other) / _TEMPERATURE for other in others]
    return -torch.stack(scores, dim=1).log_softmax(dim=1)[:, 0]
