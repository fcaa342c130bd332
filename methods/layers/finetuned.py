"""A backbone of which some stages are trained: a copy that the method owns, behind the frozen rest."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from fssbench.api import Backbone


class FineTuned(nn.Module):
    """A copy of a backbone's part, its convolutions learning, its norms frozen.

    The frozen part before it stays the harness's, whose features are cached; only what is trained
    belongs to the method and its checkpoints.
    """

    def __init__(self, backbone: Backbone, after: str, last: str) -> None:
        super().__init__()
        self.part = copy.deepcopy(backbone.part(after, last))
        for module in self.part.modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(True)
        self.part.eval()

    def forward(self, features: Tensor) -> Tensor:
        """The last tap's map (B, C, h', w') from the first one's (B, C', h, w)."""
        out: Tensor = self.part(features)
        return out

    def train(self, mode: bool = True) -> FineTuned:
        """Norms keep their statistics whatever is asked."""
        return super().train(False)

    def entries(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """This part's entries of a whole backbone's state dict, `part.` put before their names.

        Entries of norm counters and of other layers are left out.
        """
        own = self.part.state_dict()
        return {f"{prefix}part.{name}": state[name] for name in own if name in state}


class Trained(nn.Module):
    """A copy of a whole backbone that learns, norms and their statistics included."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network = copy.deepcopy(backbone).requires_grad_(True)

    def forward(self, images: Tensor, tap: str) -> Tensor:
        """The map (B, C, h, w) of one tap from normalised images (B, 3, H, W)."""
        return self.network(images, (tap,))[tap]

    def train(self, mode: bool = True) -> Trained:
        """Set the mode of every layer, though a harness's backbone stays in eval mode whatever is asked."""
        for module in self.modules():
            module.training = mode
        return self

    def entries(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """The network's entries of a whole method's state dict, `network.` put before their names."""
        parts = dict(self.network.named_children())
        own = self.network.own_names({k: v for k, v in state.items() if k.partition(".")[0] in parts})
        return {f"{prefix}network.{name}": value for name, value in own.items()}
