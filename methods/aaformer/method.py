"""AAFormer: adaptive agent transformer (Wang, Sun, Zhang, Zhang, ECCV 2022).

The object of the support is split into fourteen agents.  Support tokens are assigned to agents by optimal transport.
Each query cell attends to the tokens of the agent that is most similar to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from fssbench.api import Ablation, MethodCard, MethodConfig, Note, Recipe

from ..layers.cyctr_base import RECIPE, Merged
from ..layers.sampled_support import SampledSupport, SampledSupportConfig
from ..layers.token_sampling import Order
from .agents import make_agents
from .transformer import AgentTransformer

if TYPE_CHECKING:
    from fssbench.api import Backbone

_ROUNDS = {True: 15, False: 5}
"""Updates of the clusters in training and in evaluation."""


class AAFormerConfig(SampledSupportConfig):
    """Settings of AAFormer."""

    align: bool = True
    """Whether a query cell attends only to tokens of its own agent."""

    ablations: ClassVar[Mapping[str, Ablation]] = {"align": Ablation({"align": False}, label="w/o alignment")}


class AAFormer(SampledSupport):
    """Adaptive agents; vectors and priors of K supports are averaged, their tokens pooled, agents are the first's."""

    card: ClassVar[MethodCard] = MethodCard(
        name="aaformer",
        title="AAFormer",
        paper="Yuan Wang, Rui Sun, Zhe Zhang, Tianzhu Zhang: Adaptive Agent Transformer for Few-Shot Segmentation, "
        "ECCV",
        year=2022,
        kind="pixelwise",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="Wyxdm/AgentTR@cc3542a",
        licence="none",
        training="Dice loss of the query and, by the query's true object, of the supports. Transformer: AdamW, "
        "learning rate 1e-4, constant, weight decay 1e-2, none for biases. The rest: SGD, momentum 0.9, weight decay "
        "1e-4, one epoch of linear warm-up, polynomial decay 0.9; learning rate 2.5e-3 (five supports 3e-3, COCO "
        "1.5e-2 without warm-up), which the schedule multiplies by 15; PASCAL: batch 6 (five supports 8), 200 epochs; "
        "COCO: batch 24, 50 epochs. Scale, rotation, blur, flip and crop.",
        parity=("aaformer_resnet50_233: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "differs",
                "The reference draws support tokens at random in evaluation too, so that two evaluations differ. By "
                "default the first ones are taken; `--set sampling=random` draws them, the same for each episode.",
            ),
            Note(
                "reproduced",
                "The mask of a drawn token is read at the wrong place, so that drawn background counts as object in "
                "the attention of the agents and in the transport, and the reverse (`own_masks` corrects it).",
            ),
            Note(
                "reproduced",
                "Of several supports, agents are made of the first alone; the tokens of all are listed one after the "
                "other, and the list is cut. So their order matters.",
            ),
            Note(
                "reproduced",
                "Whether a token has the agent of a query cell is tested by a square root that also takes agents 0 and "
                "12, and 3 and 11, for the same.",
            ),
            Note(
                "reproduced",
                "Seeds in the first row or column of the grid can lower the number of agents used; missing agents are "
                "zero vectors.",
            ),
            Note(
                "corrected",
                "Sinkhorn's rounds of a whole batch end together in the reference; here each episode ends by itself.",
            ),
            Note(
                "differs",
                "The reference reads the pixels marked 255 in the labels of query and supports, the padding among "
                "them, in evaluation too, and lets them take no part. Here no method sees the query's label, and a "
                "support mask has no such pixels.",
            ),
            Note(
                "reproduced",
                "`addtional_proj` and `supp_level_embed` have parameters, are counted, and are never used.",
            ),
            Note(
                "remark",
                "With random weights the agents are equal but for rounding, and which of them is nearest is noise.",
            ),
            Note(
                "remark",
                "The code says otherwise than the paper, as far as the paper is quoted: always 14 agents, trash for "
                "the background in the transport, and at most 100 rounds of it instead of 10.",
            ),
            Note(
                "remark",
                "torchvision's weights of a ResNet need `--set layout=standard`. Other backbones: the last block of "
                "stages two to four; where strides differ, the second is resized to the third.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = AAFormerConfig
    recipe: ClassVar[Recipe | None] = RECIPE.changed(
        batch=6,
        warm_up=1 / 200,
        source="PASCAL-5i configuration of the release, whose schedule multiplies the stated rate by 15",
    )
    waivers: ClassVar[dict[str, str]] = {
        **SampledSupport.waivers,
        **dict.fromkeys(
            ("batch_equals_single", "strided_inputs"),
            "agents of random weights are almost equal, so that rounding decides which of them is nearest",
        ),
    }
    config: AAFormerConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        self.transformer = AgentTransformer(
            self.config.reduce_dim, align=self.config.align, own_masks=self.config.own_masks
        )

    def _attend(self, merged: Merged, support_mask: Tensor, masks: Tensor, order: Order) -> Tensor:
        agents = make_agents(merged.support[:, 0], support_mask[:, 0], _ROUNDS[self.training])
        attended: Tensor = self.transformer(merged.query, merged.support, masks, agents, order)
        return attended
