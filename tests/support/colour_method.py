"""Methods on pixel colours, whose answers are known: they find the colour of the object of the examples."""

from __future__ import annotations

import torch

from fssbench.api import ImageMethod, MethodCard, MethodConfig

SHARPNESS = 4.0
"""Factor from distances of colours to logits."""


class Strength(MethodConfig):
    """Settings."""

    sharpness: float = SHARPNESS


class ColourMatch(ImageMethod):
    """Each pixel belongs to the nearer of the mean colours of object and background, over all examples."""

    card = MethodCard(
        name="colour-match",
        title="Colour match",
        paper="none",
        year=2026,
        kind="other",
        backbone="none",
        size=64,
        trained=False,
        reference="none",
        licence="Apache-2.0",
    )
    Config = Strength

    def logits(self, query, support, support_mask):
        mask = support_mask[:, :, None]

        def distance(weight):
            colour = (support * weight).sum((1, 3, 4)) / weight.sum((1, 3, 4)).clamp(min=1)
            return (query - colour[:, :, None, None]).square().sum(1)

        return -self.config.sharpness * torch.stack([distance(1 - mask), distance(mask)], dim=1)


class ColourVote(ColourMatch):
    """The same from each example by itself, and a vote."""

    card = ColourMatch.card.changed(name="colour-vote")
    shots = "vote"


class LooksAtImages(ColourMatch):
    """Ignores the examples: bright pixels belong to the object."""

    card = ColourMatch.card.changed(name="looks-at-images")

    def logits(self, query, support, support_mask):
        bright = query.mean(1)
        return torch.stack([-bright, bright], dim=1)


class NeedsTraining(ColourMatch):
    """A method that needs trained weights and has none."""

    card = ColourMatch.card.changed(name="needs-training", trained=True)
