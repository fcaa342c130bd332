"""Networks are built in a fraction of the time if their large tensors are not filled."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_FILLS = {
    *("uniform_", "normal_", "trunc_normal_", "erfinv_", "mul_", "div_", "add_", "clamp_", "fill_", "zero_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
}
_LARGE = 20_000
"""Values of a tensor; smaller ones may be read while a network is built."""


class UnfilledWeights(TorchFunctionMode):
    """Context in which large tensors are not filled, for networks of which only names and shapes are read."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor as it is in place of filling it."""
        options = kwargs or {}
        if getattr(function, "__name__", "") in _FILLS:
            tensor = args[0] if args else options.get("tensor")
            if isinstance(tensor, Tensor) and tensor.numel() > _LARGE:
                return tensor
        return function(*args, **options)
