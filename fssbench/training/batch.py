"""One batch of training episodes as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fssbench.contracts.episodes import Episode


@dataclass(frozen=True)
class Batch:
    """B episodes, as `Method.loss` takes them."""

    episodes: tuple[Episode, ...]
    query: Any
    support: Any
    support_mask: Tensor
    """(B, K, S, S), float."""
    target: Tensor
    """(B, S, S), bool, or int64 class numbers (`Method.supervision`)."""
    ignore: Tensor
    """(B, S, S), bool."""
    numbers: Tensor
    """Number of each episode's class, (B,), int64 (`Method.loss`)."""
    class_names: tuple[str, ...]
    """Name of each episode's class."""
    labels: Tensor | None = None
    """Number of the class of each pixel, (B, S, S), int64, if the loss learns from them (`Method.loss`)."""
