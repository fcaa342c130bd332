"""Buffers that the inputs of an episode are copied into, so that a method that writes to its input changes no other's.

They are reused from episode to episode, because new memory costs more than the copy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from fssbench.evaluation.shared_tensors import SharedTensors


class Buffers:
    """Buffers by name and shape.

    Args:
        shared: memory for them; None for memory of this process, on the device of the inputs.
    """

    def __init__(self, shared: SharedTensors | None = None) -> None:
        self._shared = shared
        self._buffers: dict[Hashable, Tensor] = {}

    def get(self, name: Hashable, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return the buffer of a name and shape, with the type of another tensor."""
        key = name, tuple(shape), like.dtype
        if key not in self._buffers:
            self._buffers[key] = (
                like.new_empty(tuple(shape))
                if self._shared is None
                else self._shared.allocate(shape, like.dtype)
            )
        return self._buffers[key]
