"""CyCTR: cycle-consistent transformer (Zhang, Kang, Yang, Wei, NeurIPS 2021).

Query cells attend to single support tokens, of the object and of its surroundings, instead of to an average.  Tokens
whose best match in the query leads back to another kind of token are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import Tensor

from fssbench.api import Ablation, MethodCard, MethodConfig, Note

from ..layers.cyctr_base import Merged
from ..layers.sampled_support import SampledSupport, SampledSupportConfig
from ..layers.token_sampling import Order
from .transformer import CycleTransformer

if TYPE_CHECKING:
    from fssbench.api import Backbone


class CyCTRConfig(SampledSupportConfig):
    """Settings of CyCTR."""

    reduce_dim: int = Field(default=256, ge=8, multiple_of=8)
    """Channels of every map and token in the head: 256 in all configurations of the release.  The 15.9 M parameters of
    published tables are those of 384, the default of its constructor, without a projection that is never used."""
    cycle: bool = True
    """Whether support tokens that are not consistent in a cycle are left out of the attention."""

    ablations: ClassVar[Mapping[str, Ablation]] = {
        "cycle": Ablation({"cycle": False}, label="w/o cycle consistency")
    }


class CyCTR(SampledSupport):
    """Cycle-consistent transformer; vectors and priors of K supports are averaged, their tokens pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="cyctr",
        title="CyCTR",
        paper="Gengwei Zhang, Guoliang Kang, Yi Yang, Yunchao Wei: Few-Shot Segmentation via Cycle-Consistent "
        "Transformer, NeurIPS",
        year=2021,
        kind="pixelwise",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="YanFangCS/CyCTR-Pytorch@1a06183",
        licence="none",
        training="Dice loss of the query and, by the query's true object, of the supports. Transformer: AdamW, "
        "learning rate 1e-4, constant, weight decay 1e-2, none for biases. The rest: SGD, momentum 0.9, weight decay "
        "1e-4, polynomial decay 0.9; learning rate 2.5e-3 (COCO 2e-2 with batch 32, 5e-3 with batch 8), which the "
        "schedule multiplies by 15; PASCAL: batch 4, 200 epochs; COCO: 50 epochs. Scale, rotation, blur, "
        "flip and crop.",
        parity=("cyctr_resnet50_225: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "differs",
                "The reference draws support tokens at random in evaluation too, so that two evaluations differ. By "
                "default the first ones are taken; `--set sampling=random` draws them, the same for each episode.",
            ),
            Note(
                "reproduced",
                "The mask of a drawn token is read at the wrong place, so that drawn background counts as object in "
                "the cycle check, and the reverse (`own_masks` corrects it).",
            ),
            Note(
                "reproduced",
                "The order of several supports matters: their tokens are listed one after the other, and the list is "
                "cut.",
            ),
            Note(
                "differs",
                "The reference is given the padding of pasted images and, of PASCAL, pixels marked 255 in support "
                "masks, which then take no part. Here images have no padding, and a support mask has no such pixels.",
            ),
            Note(
                "reproduced",
                "Parameters of `addtional_proj` are counted, and are never used.",
            ),
            Note(
                "remark",
                "The number of tokens goes by the number of supports in the episode; the reference is built for one.",
            ),
            Note(
                "remark",
                "The authors also publish ResNet-101 on PASCAL-5i: 63.7 with one support and 67.4 with five, mean of "
                "the folds.",
            ),
            Note(
                "remark",
                "The authors' own repository (GengDavid/CyCTR) only refers to the one named here.",
            ),
            Note(
                "remark",
                "torchvision's weights of a ResNet need `--set layout=standard`. Other backbones: the last block of "
                "stages two to four; where strides differ, the second is resized to the third.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = CyCTRConfig
    narrow_prior: ClassVar[bool] = False
    config: CyCTRConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.transformer = CycleTransformer(
            self.config.reduce_dim, cycle=self.config.cycle, own_masks=self.config.own_masks
        )

    def _attend(self, merged: Merged, support_mask: Tensor, masks: Tensor, order: Order) -> Tensor:
        attended: Tensor = self.transformer(merged.query, merged.support, masks, order)
        return attended
