"""What CyCTR and AAFormer share beyond their base: a sample of support tokens, and a loss on the supports too."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fssbench.api import AT_INFERENCE, Features, MethodConfig

from .cyctr_base import CyCTRBase, CyCTRBaseConfig, Merged
from .dice import compute_dice_loss
from .pfenet_head import make_classifier, make_reduction, make_refinement
from .prototypes import average_weighted
from .resize import read_size, resize
from .token_sampling import Order, keep_order, make_random_order
from .transformer_parts import make_token_masks

if TYPE_CHECKING:
    from fssbench.api import Backbone, Predictor


class SampledSupportConfig(CyCTRBaseConfig):
    """Settings of CyCTR and AAFormer."""

    sampling: Annotated[Literal["first", "random"], AT_INFERENCE] = "first"
    """Which 300 object and 300 background tokens per support the query attends to, if there are more: `first`, those
    that come first in reading order, so that one episode has one result; or `random`, as in the reference, drawn for
    each episode by its own generator.  Training draws at random."""
    own_masks: bool = False
    """Whether a drawn token keeps its own mask.  The reference reads the mask at the token's place in the list of
    object (or background) cells instead of its place in the map, so that some background counts as object."""


class SampledSupport(CyCTRBase):
    """A method whose query attends to sampled support tokens.

    In training it also segments each support, by the vector of the query's true object.
    """

    Config: ClassVar[type[MethodConfig]] = SampledSupportConfig
    waivers: ClassVar[dict[str, str]] = {
        "loss_reaches_what_learns": "the release has projections that its forward pass never uses",
        "support_order": "tokens of all supports are listed one after the other, and the list is cut, as published",
    }
    config: SampledSupportConfig

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config, backbone)
        width = self.config.reduce_dim
        # never used, under the name that the release has
        self.addtional_proj = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False)
        )
        self.pred_supp_qry_proj = make_reduction(width, width)
        self.supp_init_merge = make_reduction(2 * width, width)
        self.supp_beta_conv = make_refinement(width)
        self.supp_cls = make_classifier(width)

    @property
    def steps(self) -> int:
        """One if the tokens are drawn for each episode, else none."""
        return int(self.config.sampling == "random")

    def adapt(
        self, query: Any, support: Any, support_mask: Tensor, *, generator: torch.Generator, steps: int
    ) -> Predictor:
        """Predict with tokens that are drawn by the episode's generator."""

        def predict(query: Features, support: Features, support_mask: Tensor) -> Tensor:
            merged = self._merge(query, support, support_mask)
            logits: Tensor = self.cls(self._fuse_sampled(merged, support_mask, make_random_order(generator)))
            return logits

        return predict

    def _fuse(self, merged: Merged, support_mask: Tensor) -> Tensor:
        return self._fuse_sampled(merged, support_mask, keep_order)

    def _fuse_sampled(self, merged: Merged, support_mask: Tensor, order: Order) -> Tensor:
        masks = make_token_masks(support_mask, read_size(merged.support))
        return self._merge_levels(self._attend(merged, support_mask, masks, order))

    @abstractmethod
    def _attend(self, merged: Merged, support_mask: Tensor, masks: Tensor, order: Order) -> Tensor:
        """Let the query attend to the supports.

        Args:
            merged: features of B episodes of K shots.
            support_mask: binary masks (B, K, H, W).
            masks: the object's cells on the grid of the features (B, K, h, w), bool.
            order: decides in evaluation which support tokens take part.

        Returns:
            The query after attention (B, d, h, w).
        """

    def losses(
        self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The Dice loss of the query's logits, and of the supports'; arguments as for `loss`."""
        query, support = self.read(query, support)
        merged = self._merge(query, support, support_mask)
        fused = self._fuse(merged, support_mask)
        main = compute_dice_loss(resize(self.cls(fused), read_size(target)), target, ignore)
        inside = resize((target & ~ignore).unsqueeze(1).to(fused.dtype), read_size(fused))[:, 0]
        vector = average_weighted(self.pred_supp_qry_proj(fused) + merged.cells, inside)
        spread = vector[:, None, :, None, None].expand_as(merged.objects)
        x = self.supp_init_merge(torch.cat([merged.objects, spread], dim=2).flatten(0, 1))
        x = self.supp_cls(x + self.supp_beta_conv(x))
        masks = support_mask.flatten(0, 1)
        return main, compute_dice_loss(resize(x, read_size(masks)), masks == 1)

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """The Dice loss of the query, plus that of the supports, which the query's true object predicts.

        Args:
            query: images or features, as for `predict`.
            support: images or features, as for `predict`.
            support_mask: binary masks (B, K, H, W), float.
            target: the queries' masks (B, H, W), bool.
            ignore: pixels of them that belong to neither map (B, H, W), bool.
        """
        main, auxiliary = self.losses(query, support, support_mask, target, ignore)
        return main + auxiliary
