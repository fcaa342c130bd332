"""The backbone contract: a frozen network with named taps, its card, and its published weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fssbench.contracts.records import Record
from fssbench.errors import PluginError, UsageError, make_unknown_error
from fssbench.files.state_dicts import assign_state, digest_state, read_state_dict

STANDARD = "standard"
"""The layout of a backbone that is built in one way."""


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


class PublishedWeights(Record):
    """One published file of backbone weights."""

    id: str
    """Name that `--weights` takes."""
    file: str
    """File name as published."""
    sha256: str
    """Hash of the file, or its first digits if these are part of the published name; empty for a `hub`, which names
    each file by its hash."""
    licence: str
    """Licence as the publisher states it."""
    source: str
    """What it was trained on, and by whom."""
    pretraining: str = ""
    """Data that it was trained on, if they are not those that the card names."""
    origin: Literal["url", "torchvision", "timm", "hub", "package"] = "url"
    """Who publishes it, which decides how its address is known."""
    key: str
    """The address (`url`), the weight enum (`torchvision`), the model's name (`timm`), the repository of the Hugging
    Face hub (`hub`), or the distribution that holds the file (`package`)."""
    extra: str = ""
    """Extra of fssbench, or another distribution, to install for a `package`; empty: the distribution itself."""
    bytes: int | None = None
    """Size of the file, if it is known."""
    gate: str = ""
    """What must be accepted, and where, before the publisher hands the file out.  Such a file is never downloaded
    by fssbench: it has to be put in place, or given as `--weights FILE`."""


class BackboneCard(Record):
    """What a backbone is: for `show`, `list` and reports."""

    name: str
    """Id that `--backbone` takes."""
    title: str
    """Name as papers print it."""
    licence: str
    """Licence of the network's code."""
    layouts: tuple[str, ...] = (STANDARD,)
    """Variants of the network; the first is the default."""
    weights: tuple[PublishedWeights, ...] = ()
    """Published weights; the first is the default.  `random` and a file work for every backbone."""
    own_files: Mapping[str, str] = {}
    """What weight files are for, by layout, if the published weights do not fit that layout."""
    pretraining: str = ""
    """Data that the published weights were trained on, such as `ImageNet-1K`; weights that were trained on other data
    say so themselves."""
    input: str = ""
    """What the network does with its input by itself: another normalisation, a multiple of a patch size."""
    notes: tuple[str, ...] = ()
    """What a reader of figures should know."""


class Backbone(nn.Module, ABC):
    """A frozen network; always in eval mode, its parameters take no gradient.

    A subclass has a `card`, may take a layout in its constructor, and ends its constructor with `self.freeze()`.
    Modules that are built under `torch.device("meta")` neither draw random numbers nor fill memory twice.  What
    `state_dict()` holds is what weights are: it is loaded, filled with random values and hashed as a whole.

    Attributes:
        name: id such as `resnet50`; that of the card by default.
        layout: `standard`, or the variant a method's reference is built on (`panet`, ...).
        weights: id of the loaded weights (`random`, `v1`, `a1h`, `file:<hash>`, `reference`).
        weights_sha256: hash of the loaded state dict's bytes; part of every run's identity.
    """

    card: ClassVar[BackboneCard]
    files: ClassVar[tuple[str, ...]] = ()
    """Data files that the plugin reads after it was built, relative to its own file; patterns are allowed.  Their
    bytes are part of a run's identity.  Weights are not named here."""
    replayable: ClassVar[bool] = False
    """Whether `forward` gives the same operations to the device for all images of a shape, see `Method.replayable`."""
    waivers: ClassVar[Mapping[str, str]] = {}
    """Contract checks that this backbone does not keep, by name, each with its reason (`fssbench check`)."""

    name: str
    layout: str = STANDARD
    weights: str = ""
    weights_sha256: str = ""

    def __init_subclass__(cls, **options: Any) -> None:
        """Name a class that has a card of its own after that card."""
        super().__init_subclass__(**options)
        if isinstance(card := cls.__dict__.get("card"), BackboneCard) and "name" not in cls.__dict__:
            cls.name = card.name

    @classmethod
    def from_layout(cls, layout: str) -> Backbone:
        """Build the network of one layout, with undefined weights.

        By default the class is called: without arguments if the card has one layout, else with the layout.
        A backbone whose layouts are different classes overrides this.

        Args:
            layout: one of the card's.
        """
        return cls() if len(cls.card.layouts) == 1 else cls(layout)

    @classmethod
    def read_weights(cls, path: Path) -> Mapping[str, Tensor]:
        """Read a file of weights, published or given with `--weights FILE`.

        Args:
            path: the file; its hash was compared with the published one.

        Returns:
            A state dict, as `load` takes it.

        Raises:
            DataError: if the file cannot be read.
        """
        return read_state_dict(path)

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
            UsageError: if this backbone cannot, or a tap is unknown or not deeper.
        """
        raise UsageError(
            f"backbone {self.name!r} (layout {self.layout!r}) cannot be run from a tap on, which this method "
            "needs. Next: --backbone resnet50"
        )

    def part(self, after: str, last: str) -> nn.Module:
        """Return the modules between two taps, as one module on feature maps; it shares this network's weights.

        For methods that train some stages: they keep a copy of the part as their own.

        Args:
            after: the tap whose output the part reads.
            last: a deeper tap, whose output it gives.

        Raises:
            UsageError: if this backbone cannot, or a tap is unknown or not deeper.
        """
        raise UsageError(
            f"backbone {self.name!r} (layout {self.layout!r}) cannot be taken apart, which this method needs. "
            "Next: --backbone resnet50"
        )

    def select_after(self, after: str, taps: Sequence[str]) -> set[str]:
        """Return the asked taps as a set, all of them deeper than `after`.

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
        """Return the names of one stage's taps before their activation, in network order."""
        return tuple(t.name for t in self.taps.values() if t.stage == number and not t.name.endswith(".relu"))

    def select(self, taps: Sequence[str]) -> set[str]:
        """Return the asked taps as a set.

        Raises:
            UsageError: for an unknown tap, with its neighbours, or for none.
        """
        if not taps:
            raise UsageError(f"backbone {self.name!r} was asked for no tap")
        for tap in taps:
            if tap not in self.taps:
                raise make_unknown_error(f"tap of backbone {self.name} ({self.layout})", tap, self.taps)
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
        assign_state(self.state_dict(), given, f"weights of backbone {self.name!r} ({self.layout})")
        self.record(weights)

    def record(self, weights: str) -> None:
        """Note under which id the present weights are known, and their hash."""
        self.weights = weights
        self.weights_sha256 = digest_state(self.state_dict())

    def randomise(self, seed: int) -> None:
        """Fill with He-normal weights that depend on `seed` alone; no global generator is touched.

        Frozen batch norm with fresh statistics normalises nothing, so branches that are added to an
        identity (`branch_ends`) are scaled down; else features would double with every block.  Parameters of
        no known module, such as tokens and position tables, become normal with deviation 0.02.
        """
        generator = torch.Generator().manual_seed(seed)
        left = {id(value): value for value in self.state_dict(keep_vars=True).values()}
        for module in self.modules():
            for value in _fill(module, generator):
                left.pop(id(value), None)
        for value in left.values():
            if value.is_floating_point():
                nn.init.normal_(value, std=0.02, generator=generator)
            else:
                value.zero_()
        for norm in self.branch_ends():
            nn.init.constant_(norm.weight, 0.2)
        self.record("random")

    def branch_ends(self) -> list[nn.BatchNorm2d]:
        """Norms whose output is added to an identity."""
        return []

    def freeze(self) -> None:
        """Move off the meta device (values undefined until loaded), drop counters, freeze.

        Raises:
            PluginError: if a buffer that no state dict holds has no value, because nothing would ever fill it.
        """
        for module in self.modules():
            if isinstance(module, _BATCH_NORMS):
                module.num_batches_tracked = None  # counts training steps: never read when frozen
        kept = self.state_dict(keep_vars=True)
        undefined = [name for name, value in self.named_buffers() if value.is_meta and name not in kept]
        if undefined:
            raise PluginError(
                f"{type(self).__name__}: buffer {undefined[0]!r} is not persistent and was made on the meta device, "
                "so it has no value and no weights fill it. Next: register it outside of `torch.device('meta')`"
            )
        self._apply(_leave_meta_device)  # type: ignore[no-untyped-call]
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in eval mode whatever is asked: batch norm statistics are frozen."""
        return super().train(False)


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_NORMS = (*_BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)


def _fill(module: nn.Module, generator: torch.Generator) -> list[Tensor]:
    """Give a module of a known kind its initial values; return the tensors that were filled."""
    if isinstance(module, _LINEAR):
        nn.init.kaiming_normal_(module.weight, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _NORMS):
        if module.weight is not None:
            nn.init.ones_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, _BATCH_NORMS) and module.running_mean is not None:
            nn.init.zeros_(module.running_mean)
            nn.init.ones_(_buffer(module.running_var))
    else:
        return []
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return [value for value in own if value is not None]


def _leave_meta_device(value: Tensor) -> Tensor:
    if not value.is_meta:
        return value
    # not `empty_like`, which imports sympy and 500 other modules for a tensor on the meta device
    return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="cpu")


def _buffer(value: Tensor | None) -> Tensor:
    assert value is not None  # a norm that keeps a mean keeps a variance
    return value
