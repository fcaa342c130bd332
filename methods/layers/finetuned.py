"""Parts of a backbone that are trained with a method.  The method owns a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from fssbench.api import Backbone


class FineTuned(nn.Module):
    """A copy of a part of a backbone.  Its convolutions learn, and its norms are frozen.

    The frozen part before it stays with fssbench, which caches its features.  Only the trained part belongs to the
    method and its checkpoints.
    """

    def __init__(self, backbone: Backbone, after: str, last: str) -> None:
        super().__init__()
        self.part = copy.deepcopy(backbone.part(after, last))
        for module in self.part.modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(True)
        self.part.eval()

    def forward(self, features: Tensor) -> Tensor:
        """Compute the map (B, C, h', w') of the last tap from that of the first (B, C', h, w)."""
        out: Tensor = self.part(features)
        return out

    def train(self, mode: bool = True) -> FineTuned:
        """Stay in eval mode, so that norms keep their statistics."""
        return super().train(False)

    def entries(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Select this part's entries from the state dict of a whole backbone, and put `part.` before their names.

        Entries of norm counters and of other layers are left out.
        """
        own = self.part.state_dict()
        return {f"{prefix}part.{name}": state[name] for name in own if name in state}


class Trained(nn.Module):
    """A copy of a whole backbone that learns, including the norms and their statistics."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone).requires_grad_(True)

    def forward(self, images: Tensor, tap: str) -> Tensor:
        """Compute the map (B, C, h, w) of one tap from normalised images (B, 3, H, W)."""
        return self.network(images, (tap,))[tap]

    def train(self, mode: bool = True) -> Trained:
        """Set the mode of every layer.  A backbone of fssbench would stay in eval mode."""
        for module in self.modules():
            module.training = mode
        return self

    def entries(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Select the network's entries from the state dict of a method, and put `network.` before their names."""
        parts = dict(self.network.named_children())
        own = self.network.own_names({k: v for k, v in state.items() if k.partition(".")[0] in parts})
        return {f"{prefix}network.{name}": value for name, value in own.items()}
