"""Convolutions of a frozen network whose weights stay in the order in which a processor's kernel reads them.

torch's own convolution puts its weights in this order anew for every image: a tenth of the time of ResNet-50 at
400 px, and a third at 192 px.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

from fssbench.evaluation.processor_layout import has_hooks

_AUTHORS = frozenset(("fssbench", "torch", "torchvision"))
"""Packages whose modules do not read the weights of a convolution that they contain."""


def can_pack(network: nn.Module) -> bool:
    """Return whether packed convolutions were measured on such a processor, and nobody else is in the network."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    known = all(type(module).__module__.partition(".")[0] in _AUTHORS for module in network.modules())
    return known and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def pack_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """Replace the convolutions of a network that needs no gradients by packed ones.

    Args:
        network: on a processor.  Its weights may not change any more.
        dtype: of the weights, and of what these convolutions compute.
    """
    for name, module in list(network.named_modules()):
        if type(module) is nn.Conv2d and _is_plain(module):
            network.set_submodule(name, PackedConvolution(module, dtype))


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution pads with zeros, as numbers say, and nobody listens to it."""
    pads_plainly = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return pads_plainly and not has_hooks(convolution)


class PackedConvolution(nn.Module):
    """A convolution of images with channels last, with weights packed for the size of the latest ones.

    Args:
        convolution: its weights are copied.
        dtype: of the weights and of the result.
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._weight = convolution.weight.detach().to(dtype).to_mkldnn()
        self._bias = None if convolution.bias is None else convolution.bias.detach().to(dtype)
        self._settings = (
            convolution.padding,
            convolution.stride,
            convolution.dilation,
            convolution.groups,
        )
        self._packed_for: torch.Size | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (B, C, h, w)."""
        if images.shape != self._packed_for:
            # another size may have another kernel, which would order the weights anew in each call
            self._weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                self._weight, *self._settings, list(images.shape)
            )
            self._packed_for = images.shape
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images.to(self._dtype), self._weight, self._bias, *self._settings, "none", [], ""
        )
        return out
