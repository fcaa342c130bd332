"""Methods whose first weights are not drawn, for tests that replace all of them at once.

Drawing and hashing the weights of a ResNet takes longer than most forward passes of tests.  What is left undrawn is
NaN, so that a weight which the test did not replace makes its outputs NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from fssbench import load_method
from fssbench.api import Backbone, Method
from fssbench.contracts import backbones, methods
from fssbench.loading.backbones import build_backbone

_UNKNOWN = "0" * 64
"""What stands for the hash of weights that nobody asks for."""


class _NothingDrawn(TorchFunctionMode):
    """Context in which numbers that would be drawn are NaN."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__.endswith(("normal_", "uniform_")):  # of tensors, and of `torch.nn.init`
            tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().fill_(torch.nan)
            return tensor
        return func(*args, **kwargs)


@torch.no_grad()
def _fill_with_nan(backbone: Backbone, seed: int) -> None:
    for value in backbone.state_dict().values():
        value.fill_(torch.nan if value.is_floating_point() else 0)
    backbone.record("random")


@contextmanager
def nothing_hashed() -> Iterator[None]:
    """Hash no state dict that is loaded: for tests that compare its tensors."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (backbones, methods):
            patch.setattr(module, "digest_state", lambda state: _UNKNOWN)
        yield


@contextmanager
def _nothing_drawn() -> Iterator[None]:
    with nothing_hashed(), _NothingDrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone, "randomise", _fill_with_nan)
        yield


def load_undrawn(name: str, **given: Any) -> Method:
    """Load a method as `fssbench.load_method` does, with NaN where it would draw weights."""
    with _nothing_drawn():
        return load_method(name, **given)


def build_undrawn(name: str, layout: str | None = None) -> Backbone:
    """Build a backbone whose random weights are NaN."""
    with _nothing_drawn():
        return build_backbone(name, layout=layout)
