"""What a backbone is to the rest of fssbench: named taps on a frozen network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fssbench.errors import UsageError, unknown
from fssbench.files.state_dicts import assign, digest_state


@dataclass(frozen=True, slots=True)
class Tap:
    """A place in a backbone whose output can be asked for."""

    name: str
    """`layer3.5` is the sum of that bottleneck before its last ReLU, `layer3.5.relu` after it."""
    channels: int
    stride: int
    """Input pixels per feature cell."""
    stage: int
    """1 is the first stage after the stem (stride 4 in a plain ResNet), 4 the last; 0 is no stage."""


class Backbone(nn.Module, ABC):
    """A frozen network; always in eval mode, its parameters take no gradient.

    A subclass builds its modules under `torch.device("meta")` and ends with `self.freeze()`, so that
    building neither draws random numbers nor fills memory twice.

    Attributes:
        name: id such as `resnet50`.
        layout: `standard`, or the variant a method's reference is built on (`panet`, ...).
        weights: id of the loaded weights (`random`, `v1`, `a1h`, `file:<hash>`, `reference`).
        weights_sha256: hash of the loaded state dict's bytes; part of every run's identity.
    """

    name: str
    layout: str
    weights: str
    weights_sha256: str

    @property
    @abstractmethod
    def taps(self) -> Mapping[str, Tap]:
        """All taps by name, in network order."""

    @abstractmethod
    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of normalised images (B, 3, H, W) at the named taps, each (B, C, h, w)."""

    def resume(self, features: Tensor, after: str, taps: Sequence[str]) -> dict[str, Tensor]:
        """Run on from features that stand in for what tap `after` gave, such as masked ones.

        Args:
            features: (B, C, h, w), as tap `after` gives them.
            after: a tap of this backbone.
            taps: deeper taps.

        Returns:
            Feature maps by tap, each (B, C, h, w).

        Raises:
            UsageError: where this backbone cannot, or a tap is unknown or not deeper.
        """
        raise UsageError(
            f"backbone {self.name!r} (layout {self.layout!r}) cannot be run from a tap on, which this method "
            "needs. Next: --backbone resnet50"
        )

    def part(self, after: str, last: str) -> nn.Module:
        """The modules between two taps, as one module on feature maps; it shares this network's weights.

        For methods that train some stages: they keep a copy of the part as their own.

        Args:
            after: the tap whose output the part reads.
            last: a deeper tap, whose output it gives.

        Raises:
            UsageError: where this backbone cannot, or a tap is unknown or not deeper.
        """
        raise UsageError(
            f"backbone {self.name!r} (layout {self.layout!r}) cannot be taken apart, which this method needs. "
            "Next: --backbone resnet50"
        )

    def select_after(self, after: str, taps: Sequence[str]) -> set[str]:
        """The asked taps as a set, all of them deeper than `after`.

        Raises:
            UsageError: for an unknown tap, for none, or for one that is not deeper.
        """
        order = list(self.taps)
        wanted = self.select([after, *taps]) - {after}
        early = [tap for tap in taps if order.index(tap) <= order.index(after)]
        if early or not wanted:
            raise UsageError(
                f"backbone {self.name!r} was asked for {', '.join(early) or 'no tap'} after {after}; "
                "ask for deeper taps"
            )
        return wanted

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Entries of a published state dict under this network's names; classifiers left out."""
        return dict(state)

    def stage(self, number: int) -> tuple[str, ...]:
        """Names of one stage's taps before their activation, in network order."""
        return tuple(t.name for t in self.taps.values() if t.stage == number and not t.name.endswith(".relu"))

    def select(self, taps: Sequence[str]) -> set[str]:
        """The asked taps as a set.

        Raises:
            UsageError: for an unknown tap, with its neighbours, or for none.
        """
        if not taps:
            raise UsageError(f"backbone {self.name!r} was asked for no tap")
        for tap in taps:
            if tap not in self.taps:
                raise unknown(f"tap of backbone {self.name} ({self.layout})", tap, self.taps)
        return set(taps)

    def load(self, state: Mapping[str, Tensor], weights: str) -> None:
        """Load a published state dict, or one in this network's own names.

        Args:
            state: tensors by name; ImageNet classifiers and `num_batches_tracked` may be in it.
            weights: id under which the weights are recorded from now on.

        Raises:
            DataError: for missing or unknown entries, or shapes that differ, naming them.
        """
        given = {k: v for k, v in self.own_names(state).items() if not k.endswith("num_batches_tracked")}
        assign(self.state_dict(), given, f"weights of backbone {self.name!r} ({self.layout})")
        self.record(weights)

    def record(self, weights: str) -> None:
        """Note under which id the present weights are known, and their hash."""
        self.weights = weights
        self.weights_sha256 = digest_state(self.state_dict())

    def randomise(self, seed: int) -> None:
        """Fill with He-normal weights that depend on `seed` alone; no global generator is touched.

        Frozen batch norm with fresh statistics normalises nothing, so branches that are added to an
        identity (`gain`) are scaled down; else features would double with every block.
        """
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
                nn.init.zeros_(_buffer(module.running_mean))
                nn.init.ones_(_buffer(module.running_var))
        for norm in self.branch_ends():
            nn.init.constant_(norm.weight, 0.2)
        self.record("random")

    def branch_ends(self) -> list[nn.BatchNorm2d]:
        """Norms whose output is added to an identity."""
        return []

    def freeze(self) -> None:
        """Move off the meta device (values undefined until loaded), drop counters, freeze."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None  # counts training steps: never read when frozen
        self.to_empty(device="cpu")
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in eval mode whatever is asked: batch norm statistics are frozen."""
        return super().train(False)


def _buffer(value: Tensor | None) -> Tensor:
    assert value is not None  # every norm here tracks its statistics
    return value
