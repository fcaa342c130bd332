"""Two lower bounds that do not look at the query: everything is the object, or the masks of the supports are copied.

A method that is not clearly better than these has made no use of the query.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fssbench.api import ImageMethod, MethodCard, Note


class AllForeground(ImageMethod):
    """Predicts the object at every pixel."""

    card: ClassVar[MethodCard] = MethodCard(
        name="all-foreground",
        title="All foreground",
        paper="none: a lower bound, defined here",
        year=2026,
        kind="bound",
        backbone="none",
        size=400,
        answer="mask",
        trained=False,
        reference="fssbench",
        licence="Apache-2.0",
        training="Nothing is trained.",
        notes=(
            Note("remark", "The IoU of a class is its share of the pixels. No method should be below it."),
            Note("remark", "Neither the query nor the supports are read."),
        ),
    )
    waivers: ClassVar[dict[str, str]] = {
        "support_matters": "a lower bound: what it predicts depends on nothing"
    }

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, H, W): -1 for the background and 1 for the object."""
        ones = torch.ones(len(query), *query.shape[-2:], device=query.device)
        return torch.stack([-ones, ones], dim=1)


class CopyMask(ImageMethod):
    """Copies the mask of the support; of several supports, the pixels that more than half of them mark."""

    card: ClassVar[MethodCard] = MethodCard(
        name="copy-mask",
        title="Support mask copied",
        paper="none: a lower bound, defined here",
        year=2026,
        kind="bound",
        backbone="none",
        size=400,
        trained=False,
        reference="fssbench",
        licence="Apache-2.0",
        training="Nothing is trained.",
        notes=(
            Note(
                "remark", "The query is not read. The figure shows how alike the objects of a data set lie."
            ),
        ),
    )

    def logits(self, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        """Return logits (B, 2, H, W): the share of the supports that mark a pixel, from -1 to 1."""
        marked = 2 * support_mask.float().mean(dim=1) - 1
        return torch.stack([-marked, marked], dim=1)
