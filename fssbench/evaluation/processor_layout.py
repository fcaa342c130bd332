"""Changes to a copy of a built-in convolutional network that make it faster on a processor.

Channels come last, and a frozen batch norm is part of the convolution before it.  Features differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor, nn

from fssbench.contracts.backbones import Backbone

_FAMILIES = frozenset(
    f"fssbench.backbones.{name}"
    for name in (
        "deeplab_resnet",
        "deeplab_vgg",
        "deepstem",
        "efficientnet",
        "resnet",
        "resnet_family",
        "vgg",
        "vgg_bn",
    )
)
"""Modules of the networks that never ask how their maps lie in memory, and run each norm right after the convolution
that is registered before it.  They are named here because the sources of backbones are part of identities."""


def gains_from_layout(network: Backbone) -> bool:
    """Return whether a network is one of these families, and on a processor."""
    return type(network).__module__ in _FAMILIES and next(network.parameters()).device.type == "cpu"


def put_channels_last(network: nn.Module) -> None:
    """Store the weights of all convolutions as those compute fastest on images with channels last."""
    for weights in network.parameters():
        if weights.ndim == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)


def put_channels_first(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps (B, C, h, w) as methods expect them in memory.

    torch copies one map with one thread.  On a processor several maps are therefore copied at once.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(maps) == 1 or maps[0].device.type != "cpu":
        return [_put_channels_first(features) for features in maps]
    with ThreadPoolExecutor(threads) as copiers:
        return list(copiers.map(_put_channels_first, maps))


def _put_channels_first(features: Tensor) -> Tensor:
    """Return a map (B, C, h, w) with channels first.

    Matrices (C, h * w) are copied one by one, because torch transposes a matrix in blocks, in half the time.
    """
    if features.is_contiguous():
        return features
    matrices = [image.flatten(1).contiguous() for image in features]
    whole = matrices[0] if len(matrices) == 1 else torch.stack(matrices)
    return whole.view(features.shape)


def fold_norms(network: nn.Module) -> None:
    """Put each frozen batch norm into the convolution that is registered before it, in the same module."""
    for module in list(network.modules()):
        for (name, convolution), (after, norm) in pairwise(list(module.named_children())):
            if not (isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if _can_fold(convolution, norm):
                folded = nn.utils.fuse_conv_bn_eval(convolution, norm)
                module.set_submodule(name, folded if type(folded) is nn.Conv2d else _Shifted(folded))
                module.set_submodule(after, nn.Identity())


def _can_fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Return whether these are a convolution and its norm, as the library or the families have them.

    A method may have put modules or hooks of its own into its backbone.
    """
    if type(convolution) is not nn.Conv2d and type(convolution).__module__ not in _FAMILIES:
        return False
    hooked = has_hooks(convolution) or has_hooks(norm)
    frozen = norm.running_mean is not None and not norm.training
    return type(norm) is nn.BatchNorm2d and frozen and not hooked


def has_hooks(module: nn.Module) -> bool:
    """Return whether somebody listens to what a module gets or computes."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


class _Shifted(nn.Module):
    """A convolution whose own `forward` reads no bias, which is therefore added afterwards."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        assert convolution.bias is not None
        self.shift = nn.Parameter(convolution.bias[:, None, None], requires_grad=False)
        convolution.bias = None
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convolution(x)
        return out.add_(self.shift.to(out.dtype))  # one in another precision takes ten times as long
