"""The running average of a method's weights over its steps, which is what is validated and kept where asked.

Weights of the last steps of a short episodic training scatter, and with them the figures on other domains;
their exponential average does so less (Izmailov et al., UAI 2018; Cha et al., NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fssbench.contracts.methods import Method, head


class Average:
    """Exponential moving average of a method's own weights and running statistics.

    Early steps weigh no more than they would in a plain mean of ten, so that the first weights, drawn at
    random, are soon forgotten.

    Args:
        method: what is trained; averages start from its weights.
        decay: what a step leaves of the average, 0 to 1; with 0 there is none, and nothing is copied.

    Attributes:
        values: the averages by entry of the method's state dict; empty with decay 0.
    """

    def __init__(self, method: Method, decay: float) -> None:
        self._method = method
        self._decay = decay
        self.values: dict[str, Tensor] = (
            {name: value.detach().clone() for name, value in head(method).items()} if decay else {}
        )

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self._decay, step / (step + 9))
        own = head(self._method)
        for name, average in self.values.items():
            if average.is_floating_point():
                average.lerp_(own[name], 1 - decay)
            else:
                average.copy_(own[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the method holds the averages, after it what it held before, to the bit."""
        own = head(self._method)
        before = {name: own[name].detach().clone() for name in self.values}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(before)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        own = head(self._method)
        for name, value in values.items():
            own[name].copy_(value)
