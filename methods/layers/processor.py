"""Says where operators may take their quick form for a CPU, and how large its parts are."""

from __future__ import annotations

import torch
from torch import Tensor


def runs_on_processor(maps: Tensor) -> bool:
    """Return whether a CPU computes with these maps, without gradients.

    Operators then work part by part, so that what they compute stays in the cache, and in place, because nothing is
    needed again.  A GPU would wait for many small parts.
    """
    return maps.device.type == "cpu" and not torch.is_grad_enabled()


def count_at_once(values: int, each: int) -> int:
    """Count the items that are computed together, at least one, so that what they need stays in the cache.

    Args:
        values: number of values of each thread that its cache holds.
        each: number of values of an item.
    """
    return max(1, values * torch.get_num_threads() // each)
