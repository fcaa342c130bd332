"""The method class that is checked: builds it and gives it synthetic episodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor

from fssbench.contracts.methods import Method, reads_raw_pixels
from fssbench.episodes.synthetic import SIDE, Synthetic
from fssbench.errors import FssbenchError
from fssbench.evaluation.isolation import isolated
from fssbench.loading.load import load_method, require_taps
from fssbench.plugins.process_state import ProcessState

SMALL_BACKBONE = "efficientnet-lite0"


class MethodSubject:
    """The method class that is checked, built once.

    Args:
        cls: the method class.
        backbone: backbone to build on; None for the smallest one that the method accepts.
        size: side of the synthetic episodes, pixels; a method with an input size of its own is checked at that.
        beat: called before each prediction with its number of episodes times supports.
    """

    def __init__(
        self,
        cls: type[Method],
        backbone: str | None = None,
        size: int = SIDE,
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.cls = cls
        self.backbone = backbone
        self._beat = beat
        self.state = ProcessState()
        """The state of the process before the method was built."""
        self.size = cls.card.input_size or size

    def episodes(self, batch: int = 1, shot: int = 1) -> Synthetic:
        """Make synthetic episodes at the size of this check."""
        return self.make(batch, shot, self.size)

    def make(self, batch: int, shot: int, side: int) -> Synthetic:
        """Make synthetic episodes of another size."""
        return Synthetic.make(batch, shot, side, side, raw=reads_raw_pixels(self.method))

    def build(self, seed: int = 0) -> Method:
        """Build the method with random weights, on the requested backbone or the smallest one possible."""
        settings = self.cls.check_settings
        if self.backbone is not None or not self.cls.needs_backbone:
            weights = None if self.backbone is None else "random"
            return self._load(backbone=self.backbone, weights=weights, seed=seed, **settings)
        try:
            method = self._load(backbone=SMALL_BACKBONE, weights="random", seed=seed, **settings)
            require_taps(method)
            return method
        except FssbenchError:  # some methods do not accept the small backbone
            return self._load(weights="random", seed=seed, **settings)

    def _load(self, **options: Any) -> Method:
        return load_method(self.cls, untrained=True, **options)

    @cached_property
    def method(self) -> Method:
        """The method in eval mode; no check changes it."""
        return self.build()

    @cached_property
    def learner(self) -> Method:
        """Another copy of the method, in training mode."""
        return self.build().train()

    def predict(self, episodes: Synthetic, method: Method | None = None, **options: Any) -> Tensor:
        """Return the logits of the episodes, from a fixed state of the random generators."""
        self._beat(episodes.mask.shape[0] * episodes.mask.shape[1])
        with isolated(0):
            logits = (method or self.method).predict(
                episodes.query, episodes.support, episodes.mask, **options
            )
        return logits.detach().clone()
