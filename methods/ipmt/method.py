"""IPMT: intermediate prototype mining transformer (Liu, Liu, Yao, Han, NeurIPS 2022).

A prototype is mined from the object of the supports, and then also from what it finds in the query.  Query features,
its mask and the prototype improve each other in five layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.nn import functional

from fssbench.api import MethodCard, MethodConfig, Note

from ..layers.cyctr_base import CyCTRBase, CyCTRBaseConfig, Merged
from ..layers.dice import compute_dice_loss
from ..layers.pfenet_head import make_classifier, make_refinement
from ..layers.resize import Size, read_size, resize
from ..layers.transformer_parts import make_token_masks
from .transformer import Mined, PrototypeTransformer

if TYPE_CHECKING:
    from fssbench.api import Backbone

_INITIAL = 0.3
"""Weight of the first of two masks of the query, the initial one, in the main loss."""
_QUERY_MASKS = 0.3
"""Weight of the query's intermediate masks in the auxiliary loss; the supports' have the rest."""


class IPMTConfig(CyCTRBaseConfig):
    """Settings of IPMT."""


class IPMT(CyCTRBase):
    """Intermediate prototype mining; vectors and priors of K supports are averaged, their object tokens pooled."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ipmt",
        title="IPMT",
        paper="Yuanwei Liu, Nian Liu, Xiwen Yao, Junwei Han: Intermediate Prototype Mining Transformer for Few-Shot "
        "Semantic Segmentation, NeurIPS",
        year=2022,
        kind="prototype",
        backbone="resnet50",
        size=473,
        trained=True,
        reference="LIUYUANWEI98/IPMT@d887858",
        licence="MIT",
        training="Dice loss of the logits (0.7) and the initial ones (0.3), plus the mean cross-entropies of ten masks "
        "of the query (0.3) and five of the supports (0.7). Transformer: AdamW, learning rate 1e-4, constant, weight "
        "decay 1e-2, none for biases. The rest: SGD, momentum 0.9, weight decay 1e-4, polynomial decay 0.9; learning "
        "rate 2.5e-3, which the schedule multiplies by 15; PASCAL: batch 4, 200 epochs. Rotation, scale, blur, flip "
        "and crop.",
        parity=("ipmt_resnet50_233: logits of one and five supports, to 1e-4",),
        notes=(
            Note(
                "corrected",
                "The release does not run: a class is imported by another name, the transformer returns a mask where "
                "the network needs features, its grid is written in as 60 x 60, and the loss cannot take several "
                "supports. These four repairs are also those of a working copy (Alisa1114/IPMT2Plus).",
            ),
            Note(
                "reproduced",
                "Five feed-forward layers and ten norms are built and never used: 4,431,360 of 42,697,099 parameters.",
            ),
            Note(
                "reproduced",
                "The paper lets one prototype go through the layers. In the release the supports are read ahead for "
                "all layers, what the query adds does not flow back, the map is updated after four of the five layers, "
                "and the query attends to itself before each.",
            ),
            Note(
                "differs",
                "The release inverts the initial mask as an integer, bit by bit, and so adds numbers above 10,000 to "
                "scores, which rounds them. Here it is a mask of true and false.",
            ),
            Note(
                "differs",
                "The reference reads the pixels marked 255 in the query's label, the padding among them, in evaluation "
                "too, and lets them take no part. Here no method sees the query's label.",
            ),
            Note(
                "remark",
                "torchvision's weights of a ResNet need `--set layout=standard`. Other backbones: the last block of "
                "stages two to four; where strides differ, the second is resized to the third.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = IPMTConfig
    waivers: ClassVar[dict[str, str]] = {
        "loss_reaches_what_learns": "the release has layers and norms that its forward pass never uses",
    }
    config: IPMTConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        width = self.config.reduce_dim
        self.merge_res = make_refinement(width)
        self.ini_cls = make_classifier(width)
        self.transformer = PrototypeTransformer(width)

    def _fuse(self, merged: Merged, support_mask: Tensor) -> Tensor:
        return self._merge_levels(self._mine(merged, support_mask)[1].query)

    def _mine(self, merged: Merged, support_mask: Tensor) -> tuple[Tensor, Mined]:
        """Compute the initial logits (B, 2, h, w), and what the transformer makes of them."""
        query = merged.query
        initial = self.ini_cls(query + self.merge_res(query))
        masks = make_token_masks(support_mask, read_size(merged.support))
        return initial, self.transformer(query, initial[:, 1] > initial[:, 0], merged.support, masks)

    def losses(
        self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The Dice losses of the query's logits, and the cross-entropies of all masks; arguments as for `loss`."""
        merged = self._merge(*self.read(query, support), support_mask)
        initial, mined = self._mine(merged, support_mask)
        final = self.cls(self._merge_levels(mined.query))
        dice, dice_initial = (
            compute_dice_loss(resize(x, read_size(target)), target, ignore) for x in (final, initial)
        )
        main = (1 - _INITIAL) * dice + _INITIAL * dice_initial
        inside = _read_at_cells((target & ~ignore).unsqueeze(1), read_size(mined.query)).expand_as(
            mined.query_masks
        )
        objects = _read_at_cells(support_mask, read_size(mined.support_masks)).unsqueeze(1)
        of_query = functional.binary_cross_entropy_with_logits(mined.query_masks.float(), inside)
        of_support = functional.binary_cross_entropy_with_logits(
            mined.support_masks.float(), objects.expand_as(mined.support_masks)
        )
        return main, _QUERY_MASKS * of_query + (1 - _QUERY_MASKS) * of_support

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """The Dice losses of the query, plus the cross-entropies of the intermediate masks of query and supports.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of them that belong to neither map (B, H, W), bool; background in intermediate masks.
        """
        main, auxiliary = self.losses(query, support, support_mask, target, ignore)
        return main + auxiliary


def _read_at_cells(masks: Tensor, size: Size) -> Tensor:
    """Masks (B, K, H, W) at the nearest pixel of each cell: (B, K, *size), float, zero or one."""
    return (functional.interpolate(masks.float(), size, mode="nearest") == 1).float()
