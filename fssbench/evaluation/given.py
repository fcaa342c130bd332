"""What a method receives of one episode, and the truth that its mask is scored against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fssbench.contracts.episodes import Episode
from fssbench.contracts.precision import Precision
from fssbench.data.reader import Target


@dataclass(frozen=True)
class Given:
    """Input of a method for one episode, and the ground truth of its query."""

    episode: Episode
    query: Any
    support: Any
    support_mask: Tensor
    target: Target
    seconds: float
    """Time that the inputs took."""
    precision: Precision = "float32"
    """Precision of the prediction."""
    begun: int = 0
    """Number of images whose features were begun when this was read, those of this episode included."""

    @property
    def tensors(self) -> tuple[Any, Any, Tensor]:
        """Query, supports and masks of the supports, as the method reads them."""
        return self.query, self.support, self.support_mask

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the mask that it is to give."""
        height, width = self.target.foreground.shape
        return int(height), int(width)
