"""Inputs of several episodes, side by side in memory that every batch uses again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fssbench.contracts.encoded import Encoded
from fssbench.contracts.prediction import select_episodes
from fssbench.evaluation.buffers import Buffers


class StackedInputs:
    """Copies of the inputs of up to N episodes.

    Args:
        batch: N.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._buffers = Buffers()
        self._inputs: list[Any] = []

    def put(self, b: int, inputs: tuple[Any, Any, Tensor]) -> None:
        """Copy the inputs of one episode, each with a first dimension of 1, to place b."""
        self._inputs = [self._copy(role, b, each) for role, each in enumerate(inputs)]

    def select(self, number: int) -> tuple[Any, Any, Tensor]:
        """Return query, supports and support masks of the first episodes, with a first dimension of their number."""
        query, support, mask = (select_episodes(each, slice(0, number)) for each in self._inputs)
        return query, support, mask

    def _copy(self, role: int, b: int, given: Any) -> Any:
        if isinstance(given, Mapping):
            maps = {tap: self._copy_tensor((role, tap), b, tensor) for tap, tensor in given.items()}
            return Encoded(maps) if isinstance(given, Encoded) else maps
        return self._copy_tensor((role, ""), b, given)

    def _copy_tensor(self, name: tuple[int, str], b: int, tensor: Tensor) -> Tensor:
        buffer = self._buffers.get(name, (self._batch, *tensor.shape[1:]), tensor)
        buffer[b : b + 1].copy_(tensor)
        return buffer
