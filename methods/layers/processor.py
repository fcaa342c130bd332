"""Says where operators may take their quick form for a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def runs_on_processor(maps: Tensor) -> bool:
    """Return whether a CPU computes with these maps, without gradients.

    Operators then work part by part, so that what they compute stays in the cache, and in place, because nothing is
    needed again.  A GPU would wait for many small parts.
    """
    return maps.device.type == "cpu" and not torch.is_grad_enabled()
