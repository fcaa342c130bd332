"""Exponential moving average of a method's weights; on request it is validated and saved.

The weights of the last steps of a short episodic training scatter, and so do the scores on other domains.  The
average scatters less (Izmailov et al., UAI 2018; Cha et al., NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fssbench.contracts.methods import Method, collect_method_weights


class Average:
    """Exponential moving average of a method's own weights and running statistics.

    Early steps have the weight that they would have in a plain mean of ten, so the random first weights soon have
    no effect.

    Args:
        method: the method that is trained; averages start from its weights.
        decay: share of the average that remains after a step, 0 to 1; with 0 no average is kept.

    Attributes:
        values: the averages by entry of the method's state dict; empty with decay 0.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self._method = method
        self._decay = decay
        self.values: dict[str, Tensor] = (
            {name: value.detach().clone() for name, value in collect_method_weights(method).items()}
            if decay
            else {}
        )

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Add the weights after a step to the average; steps count from 1."""
        decay = min(self._decay, step / (step + 9))
        own = collect_method_weights(self._method)
        for name, average in self.values.items():
            if average.is_floating_point():
                average.lerp_(own[name], 1 - decay)
            else:
                average.copy_(own[name])

    @contextmanager
    def put_in_place(self) -> Iterator[None]:
        """Context in which the method holds the averaged weights; its own weights are restored to the bit."""
        own = collect_method_weights(self._method)
        before = {name: own[name].detach().clone() for name in self.values}
        self._copy_into_method(self.values)
        try:
            yield
        finally:
            self._copy_into_method(before)

    @torch.no_grad()
    def _copy_into_method(self, values: dict[str, Tensor]) -> None:
        own = collect_method_weights(self._method)
        for name, value in values.items():
            own[name].copy_(value)
