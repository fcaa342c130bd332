"""ABCNet: adaptive buoys correlation (Wang, Sun, Zhang, CVPR 2023), built from the paper's abstract.

No code is public, and the section on the method could not be read.  This is DCAMA with a second comparison of query
and support tokens through learned vectors, the buoys.  The card says which parts are stated, inferred or chosen.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from fssbench.api import NO_REFERENCE, MethodCard, MethodConfig, Note, Recipe

from ..dcama import DCAMA, DCAMAConfig
from .buoys import BuoyAttention


class ABCNetConfig(DCAMAConfig):
    """Settings of ABCNet."""

    buoys: int = Field(default=32, ge=1)
    """Number of buoys for each stage and width of the backbone."""
    penalty: float = Field(default=0.1, ge=0)
    """Weight of the penalty that keeps the buoys apart."""


class ABCNet(DCAMA):
    """DCAMA with adaptive buoys correlation; one softmax covers the cells of all K supports."""

    card: ClassVar[MethodCard] = MethodCard(
        name="abcnet",
        title="ABCNet",
        paper="Yuan Wang, Rui Sun, Tianzhu Zhang: Rethinking the Correlation in Few-Shot Segmentation: A Buoys "
        "View, CVPR",
        year=2023,
        kind="pixelwise",
        backbone="resnet50",
        size=384,
        trained=True,
        reference=NO_REFERENCE,
        licence="none",
        learnable=14_966_024,
        training="Not published. Chosen here: DCAMA's recipe, and 0.1 times a penalty on buoys that are alike.",
        notes=(
            Note(
                "stated",
                "Cells are also compared through representative reference vectors, the buoys, which reduces false "
                "matches.",
            ),
            Note(
                "stated",
                "The buoys are learned without supervision of matches, and are representative, aware of the task, and "
                "resilient.",
            ),
            Note("stated", "The matching through buoys is made adaptive."),
            Note("stated", "Both are added to existing methods."),
            Note(
                "inferred",
                "The published rows extend DCAMA: fold by fold they run parallel to its rows in the same tables, and "
                "22 of 24 figures are higher. So the backbone, the taps, 384 px and the training are DCAMA's.",
            ),
            Note(
                "choice",
                "Representative: 32 vectors for each stage and width, of the width of one head and shared by all "
                "heads and episodes. They start orthogonal, and a penalty of 0.1 keeps them apart.",
            ),
            Note(
                "choice",
                "Aware of the task: in one block with one head the buoys attend to the tokens of the query and of all "
                "supports; then follow a layer norm, two linear layers of twice the width, and a layer norm. The "
                "support mask is not read there.",
            ),
            Note(
                "choice",
                "Resilient: in training, each buoy is dropped with probability 0.1, and tokens get noise of 0.1 of "
                "their deviation.",
            ),
            Note(
                "choice",
                "The profile of a token is a softmax over buoys of cosines divided by 0.1. The correlation of two "
                "tokens is the weighted product of their profiles.",
            ),
            Note(
                "choice",
                "Adaptive: two linear layers weigh each buoy from the buoy and the mean token of the support object.",
            ),
            Note(
                "choice",
                "The score is DCAMA's plus a learned gain times the standardised logarithm of the correlation. The "
                "gain starts at zero, so that a training starts at DCAMA.",
            ),
            Note(
                "remark",
                "The paper states no number of parameters. The PMNet paper cites another work for its rows.",
            ),
        ),
    )
    Config: ClassVar[type[MethodConfig]] = ABCNetConfig
    replayable: ClassVar[bool] = True
    recipe: ClassVar[Recipe | None] = Recipe(
        optimizer="sgd",
        learning_rate=1e-3,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        batch=48,
        epochs=500,
        source="chosen here: DCAMA's recipe, since the paper's is not public",
    )
    config: ABCNetConfig

    def make_attention(self, channels: int) -> BuoyAttention:
        """Make the attention of one group of taps."""
        return BuoyAttention(channels, self.config.heads, self.config.buoys)

    def loss(self, query: Any, support: Any, support_mask: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
        """Compute DCAMA's loss plus the penalty on the buoys of all groups; arguments as for `Method.loss`."""
        penalties = [module.buoys.penalty() for module in self.attention if isinstance(module, BuoyAttention)]
        loss = super().loss(query, support, support_mask, target, ignore)
        return loss + self.config.penalty * sum(penalties[1:], start=penalties[0])
